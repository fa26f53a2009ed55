"""The reader on inputs that nobody thought of. tools/fuzz_recall.py runs a million of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings

from distillery.nodes.recall import recall
from distillery.tools import recall_inputs
from distillery.tools.fuzz_recall import Progress, Runner, TooSlow, load_progress_as_it_is, replay
from distillery.tools.recall_inputs import (
    MODES,
    Input,
    check,
    decode,
    file_samples,
    inputs,
    seeds,
    with_right_checksums,
)

ROOT = Path(__file__).resolve().parents[2]
BOUND = 5.0
"""Seconds of the processor for one input; the slowest of these takes a hundredth of it."""


@settings(max_examples=400, derandomize=True)
@given(inputs())
def test_no_input_raises_or_takes_long(item):
    start = time.process_time()
    check(item)
    assert time.process_time() - start < BOUND, item


def test_seeds_are_of_every_kind_and_survive_the_round_trip():
    items = seeds()
    assert all(decode(item.encode()) == item for item in items)
    origins = {generation.origin for item in items if (generation := check(item))}
    assert {"distillery", "distillery-old", "distillery-upscale", "comfyui"} <= origins


@pytest.mark.parametrize("mode", list(MODES))
def test_every_mode_takes_anything(mode):
    for payload in (b"", b"\0", b"\xff" * 100, b"UNICODE\0\xd8\x00", b"{" * 100_000, b'{"a":' * 10_000):
        check(Input(mode, payload))


def test_checksums_are_set_right():
    data = next(f for f in file_samples() if f.startswith(b"\x89PNG"))
    at = data.index(b"IDAT") + 8
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    assert with_right_checksums(data) == data
    assert with_right_checksums(changed) not in (data, changed)
    assert recall(data).warnings == recall(with_right_checksums(data)).warnings
    assert with_right_checksums(b"") == b"" and with_right_checksums(data[:50])[:8] == data[:8]


# --- the tool that runs many -----------------------------------------------------------------------------------------


def runner(folder: Path, bound: float = BOUND) -> Runner:
    return Runner(folder, Progress("hypothesis", 0, 0, 10), bound)


def test_what_fails_is_written_down_and_can_be_tried_again(tmp_path, monkeypatch, capsys):
    def broken(item: Input) -> None:
        raise KeyError("seed")

    monkeypatch.setattr(recall_inputs, "check", broken)
    data = Input("text prompt", b"{}").encode()
    with pytest.raises(KeyError):
        runner(tmp_path).run(data)
    (file,) = (tmp_path / "failures").glob("KeyError-*[!t]")
    assert file.read_bytes() == data and "broken" in file.with_name(f"{file.name}.txt").read_text()
    left = load_progress_as_it_is(tmp_path, Progress("hypothesis", 0, 0, 10))
    assert left.done == 1 and file.name in left.failure
    with pytest.raises(KeyError):
        replay(file, BOUND)
    assert "text prompt" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="timers of POSIX")
@pytest.mark.timeout(20)
def test_what_takes_too_long_is_stopped_whatever_it_catches(tmp_path, monkeypatch):
    def endless(item: Input) -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:
                pass

    monkeypatch.setattr(recall_inputs, "check", endless)
    with pytest.raises(TooSlow):
        runner(tmp_path, bound=0.2).run(b"")
    assert list((tmp_path / "failures").glob("TooSlow-*"))


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_and_ends(tmp_path):
    def run(count: int) -> str:
        command = [sys.executable, str(ROOT / "tools" / "fuzz_recall.py"), "--engine", "hypothesis", "--folder"]
        result = subprocess.run(
            [*command, str(tmp_path), "--inputs", str(count), "--processes", "2"], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    assert "100 inputs; 100 of them in this run" in run(100)
    assert "160 inputs; 60 of them in this run" in run(160)
    assert "Nothing was left to do" in run(160)
