"""Files that appear whole or not at all."""

from __future__ import annotations

import os

import pytest

from distillery.nodes.files import atomic_file, file_stamp, put_in_place


def test_a_file_appears_at_the_end_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["x.png"]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half of it")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.png"]


def test_two_writers_do_not_mix(tmp_path):
    with atomic_file(tmp_path / "x") as first, atomic_file(tmp_path / "x") as second:
        first.write(b"1" * 10)
        second.write(b"2" * 5)
    assert (tmp_path / "x").read_bytes() == b"1" * 10  # the one that ended last


def test_a_folder_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "no" / "x"):
        pass


@pytest.fixture
def disk(monkeypatch) -> list[str]:
    """What the disk is asked for, in order; it is still done."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def spy_replace(one: object, other: object) -> None:
        done.append("name")
        replace(one, other)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    return done


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="what a handle is of is asked of Linux")
def test_content_is_on_the_disk_before_the_name_and_the_name_before_it_is_told(tmp_path, disk):
    with atomic_file(tmp_path / "x") as file:
        file.write(b"new")
    assert disk == ["file", "name", "folder"]
    disk.clear()
    (tmp_path / "part").write_bytes(b"newer")
    put_in_place(tmp_path / "part", tmp_path / "x")
    assert disk == ["file", "name", "folder"] and (tmp_path / "x").read_bytes() == b"newer"


def test_a_file_that_was_replaced_has_another_stamp(tmp_path):
    path = tmp_path / "x"
    assert file_stamp(path) is None and file_stamp("a\0b") is None
    path.write_bytes(b"one")
    first = file_stamp(path)
    os.utime(path, ns=(1, 1))
    assert file_stamp(path) == (3, 1) != first
