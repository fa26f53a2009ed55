"""What ComfyUI says of a failure, as the error that the user sees."""

from __future__ import annotations

import pytest

from distillery.driver.errors import JobOutOfMemory
from distillery.driver.server.job_errors import job_error


@pytest.mark.parametrize(
    ("kind", "message", "main"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.", False),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 9 GB)", False),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory", True),
        ("RuntimeError", "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.", True),
        ("RuntimeError", "could not create a primitive", True),
        ("MemoryError", "", True),
        ("OSError", "[Errno 12] Cannot allocate memory", True),
    ],
)
def test_memory_that_ran_out_is_told_by_whose_it_was(kind, message, main):
    error = job_error({"node_id": "1", "exception_type": kind, "exception_message": message}, {})
    assert isinstance(error, JobOutOfMemory) and error.main == main and ("main memory" in str(error)) == main


def test_other_failures_are_not_taken_for_memory():
    said = {"node_id": "1", "exception_type": "RuntimeError", "exception_message": "could not create a primitive cache"}
    assert not isinstance(job_error(said, {}), JobOutOfMemory)
