"""Files that appear whole or not at all."""

from __future__ import annotations

import os

import pytest

from distillery.nodes.files import atomic_file


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
