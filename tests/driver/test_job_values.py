"""What a job is, and what a failure leads to: values and decisions, without a server."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from pathlib import Path

import pytest

from distillery.driver.errors import JobLost, JobOutOfMemory, JobStuck, ServerError
from distillery.driver.jobs.job import Job, Result, new_job_id, prompt_id
from distillery.driver.jobs.retry import Attempt, Reaction, react
from distillery.driver.server.event_stream import (
    Cached,
    Executing,
    NodeProgress,
    Other,
    PreviewFrame,
    parse_message,
)
from distillery.nodes.generation import Generation


def test_a_job_is_plain_data_that_reads_back():
    job = Job(new_job_id(), "a.png", "0" * 64, "--power 0.2", "x.safetensors", "a_2x", 1.5, user="u", deadline=9.0)
    assert Job(**json.loads(json.dumps(asdict(job)))) == job


def test_each_attempt_has_its_own_prompt_id_made_from_the_jobs():
    job = new_job_id()
    ids = [prompt_id(job, attempt) for attempt in (1, 2, 3)]
    assert uuid.UUID(ids[0]).hex == job and len(set(ids)) == 3
    assert ids == [prompt_id(job, attempt) for attempt in (1, 2, 3)]
    assert all(str(uuid.UUID(i)) == i for i in ids)


def test_a_result_is_written_down_in_one_way():
    result = Result(
        Path("a_2x.png"), 128, 64, Generation(), Generation(), {"Sharpen": 0.25}, 1.23456, ("Upscale 2x",),
        "http://127.0.0.1:8188", "id", "hash", job_id="job",
    )  # fmt: skip
    data = json.loads(json.dumps(result.as_dict()))
    assert (data["seconds"], data["stages"], data["job"]) == (1.235, {"Sharpen": 0.25}, "job")
    assert "skipped" not in data and "compare" not in data and "power" not in data


def attempt(number: int = 1, servers: int = 1, reached=True, can_restart=False, tile=None) -> Attempt:
    return Attempt(number, servers, reached, can_restart, tile)


LATE = ServerError("gone")
LATE.prompt_id = "given"


@pytest.mark.parametrize(
    ("error", "circumstances", "expected"),
    [
        # Memory: smaller tiles, once.
        (JobOutOfMemory("no memory"), attempt(), Reaction(True, small_tiles=True)),
        (JobOutOfMemory("no memory"), attempt(tile=512), Reaction(False)),
        (JobOutOfMemory("no memory"), attempt(number=3), Reaction(False)),
        (JobOutOfMemory("no memory"), attempt(reached=False), Reaction(False)),
        (
            JobOutOfMemory("no memory", main=True), attempt(can_restart=True),
            Reaction(True, restart="ran out of main memory", small_tiles=True),
        ),
        # The last one leaves a fresh process for the job after it.
        (JobOutOfMemory("no memory", main=True), attempt(tile=512), Reaction(False, restart="ran out of main memory")),
        # A given server that does not answer is nobody's to mend; a lost job is run again.
        (ServerError("down"), attempt(), Reaction(False, cool_down=True)),
        (ServerError("down"), attempt(can_restart=True), Reaction(True, cool_down=True)),
        (ServerError("down"), attempt(can_restart=True, reached=False), Reaction(False, cool_down=True)),
        (LATE, attempt(can_restart=True), Reaction(True, cool_down=True, restart="is stuck")),
        (JobLost("lost"), attempt(), Reaction(True, cool_down=True)),
        (JobStuck("stuck"), attempt(), Reaction(True, cool_down=True, restart="is stuck")),
        (JobStuck("stuck"), attempt(number=3), Reaction(False, cool_down=True)),
        # Others take it: one attempt a server and one more.
        (ServerError("down"), attempt(servers=2), Reaction(True, cool_down=True)),
        (ServerError("down"), attempt(number=4, servers=5), Reaction(True, cool_down=True)),
        (ServerError("down"), attempt(number=6, servers=5), Reaction(False, cool_down=True)),
    ],
)  # fmt: skip
def test_what_a_failure_leads_to(error, circumstances, expected):
    assert react(error, circumstances) == expected


def message(kind: str, **data) -> str:
    return json.dumps({"type": kind, "data": data})


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (message("executing", prompt_id="p", node=None), Executing(None)),
        (message("executing", prompt_id="p", node="7.0.1", display_node="7"), Executing("7.0.1", "7")),
        (message("execution_cached", prompt_id="p", nodes=["1", 2]), Cached(("1", "2"))),
        (message("progress", prompt_id="p", value=3, max=15), NodeProgress(3, 15)),
        (message("execution_success", prompt_id="p"), Other("execution_success")),
        (
            (4).to_bytes(4, "big") + (38).to_bytes(4, "big")
            + b'{"prompt_id":"p","image_type":"i/png"}' + b"PNG", PreviewFrame("None", "i/png", b"PNG"),
        ),
    ],
)  # fmt: skip
def test_messages_are_parsed_once_into_types(text, event):
    assert parse_message(text) == ("p", event)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", "null", message("status"), message("executing", prompt_id="p", node=5),
        message("execution_cached", prompt_id="p", nodes="1"), message("progress", prompt_id="p", value="1", max=2),
        '{"type": "progress", "data": {"prompt_id": "p", "value": NaN, "max": 2}}', message("executing", prompt_id=7, node="1"),
        b"", b"\0\0\0\1", b"\0\0\0\4\xff\xff\xff\xff{", (4).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"[]",
    ],
)  # fmt: skip
def test_messages_that_are_malformed_or_about_no_job_are_none(text):
    assert parse_message(text) is None
