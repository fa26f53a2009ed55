"""The manifest: a whole line for each source."""

from __future__ import annotations

import json
import threading

import pytest

from distillery.driver.errors import JobCancelled, JobError, NotStarted, SourceError
from distillery.driver.jobs.job import Item
from distillery.driver.jobs.manifest import Manifest, entry


def test_the_manifest_has_whole_lines_whoever_writes_at_a_time(tmp_path):
    file = tmp_path / "new" / "manifest.jsonl"
    manifests = [Manifest(file) for _ in range(4)]

    def write(number: int) -> None:
        for i in range(50):
            manifests[number].add({"writer": number, "i": i, "text": "ü" * 500})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert sorted((line["writer"], line["i"]) for line in lines) == [(w, i) for w in range(4) for i in range(50)]


def test_a_line_that_was_cut_off_spoils_only_itself(tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b": ')
    Manifest(file).add({"c": 3})
    assert file.read_bytes().split(b"\n")[2:] == [b'{"c": 3}', b""]


def test_failures_have_lines_too_and_signatures_do_not_get_there():
    url = "https://cdn.discordapp.com/attachments/1/2/a.png"
    for error, status in (
        (JobError("x"), "failed"),
        (JobCancelled("x"), "cancelled"),
        (NotStarted("x"), "not started"),
    ):
        line = entry(Item(0, f"{url}?hm=secret", None, error), "--power 0")
        assert (line["status"], line["source"], line["command"], line["error"]) == (status, url, "--power 0", "x")


def test_a_manifest_that_cannot_be_written_is_told_before_any_work(tmp_path):
    with pytest.raises(SourceError, match="cannot be written"):
        Manifest(tmp_path)
