"""Hashes of model files, as the programs that write them into images compute them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from distillery.nodes.model_files import file_hashes
from distillery.nodes.model_files.file_hashes import HashCache, HashIndex, compute


def tensors(path: Path, value: float, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.full((700, 800), value, np.float32)}, path, metadata=metadata)
    return path


def cached(folder: Path) -> set[str]:
    """The files that the cache on the disk remembers."""
    with closing(sqlite3.connect(folder / "user" / "hashes.sqlite3")) as database:
        return {path for (path,) in database.execute("SELECT path FROM hashes")}


def whole(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(path: Path) -> str:
    """As A1111's addnet_hash_safetensors."""
    data = path.read_bytes()
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


@pytest.fixture
def index(tmp_path):
    folder = tmp_path / "models"

    def make(**options) -> HashIndex:
        def path_of(name: str) -> Path | None:
            return folder / name if (folder / name).exists() else None

        return HashIndex(HashCache(tmp_path / "user" / "hashes.sqlite3"), path_of, **options)

    tensors(folder / "a.safetensors", 1)
    tensors(folder / "sub" / "b.safetensors", 2)
    (folder / "c.ckpt").write_bytes(os.urandom(0x130000))
    return make, folder, ["a.safetensors", "sub/b.safetensors", "c.ckpt", "gone.safetensors"]


def test_the_three_hashes_are_those_that_other_programs_write(tmp_path):
    path = tensors(tmp_path / "x.safetensors", 3)
    data = path.read_bytes()
    old = hashlib.sha256(data[0x100000:0x110000]).hexdigest()
    assert compute(path, file_hashes.KINDS) == {"sha256": whole(path), "content": content(path), "old": old}


def test_what_a_file_does_not_have_is_empty(tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"short")
    assert compute(path, file_hashes.KINDS) == {"sha256": whole(path), "content": "", "old": ""}
    wrong = tmp_path / "x.safetensors"
    wrong.write_bytes(b"\xff" * 20)
    assert compute(wrong, ["content"]) == {"content": ""}


@pytest.mark.parametrize("digits", [10, 12, 64])
def test_files_are_found_by_sha256_of_any_length(index, digits):
    make, folder, names = index
    for name in names[:3]:
        assert make().find(whole(folder / name)[:digits], names) == [name]
    assert make().find("0" * digits, names) == []


@pytest.mark.parametrize("digits", [12, 64])
def test_files_are_found_by_the_hash_of_their_tensors(index, digits):
    make, folder, names = index
    assert make().find(content(folder / names[1])[:digits], names) == [names[1]]


def test_all_files_of_an_old_hash_are_found(index):
    make, folder, names = index
    data = (folder / "c.ckpt").read_bytes()
    (folder / "d.ckpt").write_bytes(b"!" + data[1:])
    old = hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
    assert make().find(old, [*names, "d.ckpt"]) == ["c.ckpt", "d.ckpt"]


def test_a_trainers_claim_is_taken_and_a_merging_tools_is_only_a_hint(index):
    make, folder, names = index
    tensors(folder / "l.safetensors", 4, {"sshs_model_hash": "ab" * 32})
    tensors(folder / "m.safetensors", 5, {"modelspec.hash_sha256": "0x" + content(folder / "a.safetensors")})
    names += ["l.safetensors", "m.safetensors"]
    assert make().find("ab" * 6, names) == ["l.safetensors"]
    assert make().find(content(folder / "a.safetensors"), names) == ["a.safetensors"]


def test_nothing_is_read_twice(index, monkeypatch):
    make, folder, names = index
    make().find("0" * 12, names)
    monkeypatch.setattr(file_hashes, "compute", None)  # not callable: reading a file would raise
    for name in names[:3]:
        assert make().find(whole(folder / name)[:10], names) == [name]  # by another object: from the disk
    assert make().known("a.safetensors", whole(folder / "a.safetensors")) is True
    assert make().known("c.ckpt", "0" * 12) is False
    assert make().known("c.ckpt", "0" * 8) is None and make().known("gone.safetensors", "0" * 10) is None


def test_a_changed_file_is_read_again(index):
    make, folder, names = index
    before = whole(folder / "c.ckpt")
    assert make().find(before, names) == ["c.ckpt"]
    (folder / "c.ckpt").write_bytes(b"other")
    assert make().known("c.ckpt", before) is None
    assert make().find(before, names) == []
    assert make().find(whole(folder / "c.ckpt"), names) == ["c.ckpt"]


def test_the_search_begins_with_like_names_and_ends_with_the_first_that_matches(index):
    make, folder, names = index
    assert make().find(whole(folder / "sub" / "b.safetensors")[:10], names, like="x/b_v1.safetensors")
    known = [name for name in names[:3] if make().known(name, "0" * 10) is not None]
    assert known == ["sub/b.safetensors"]


def test_progress_counts_all_bytes_and_a_stop_keeps_what_is_known(index):
    make, folder, names = index
    seen: list[tuple[int, int]] = []
    make(progress=lambda done, total: seen.append((done, total))).find("0" * 10, names)
    total = sum((folder / name).stat().st_size for name in names[:3])
    assert seen[-1] == (total, total) and seen == sorted(seen) and {t for _, t in seen} == {total}

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > (folder / "a.safetensors").stat().st_size:
            raise Stop

    (folder / "a.safetensors").touch()
    tensors(folder / "sub" / "b.safetensors", 9)
    (folder / "c.ckpt").write_bytes(os.urandom(0x130000))
    with pytest.raises(Stop):
        make(progress=stop).find("0" * 10, names, like="a")
    assert make().known("a.safetensors", "0" * 10) is False


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"version": 1, "files": {"a": 1}}',
        '{"version": 9, "files": {}}',
        "SQLite format 3\0" * 1000,
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_damaged_cache_costs_time_and_nothing_else(index, tmp_path, damage):
    make, folder, names = index
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "hashes.sqlite3").write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert make().find(whole(folder / "c.ckpt"), names) == ["c.ckpt"]
    assert str(folder / "c.ckpt") in cached(tmp_path)
    assert [p.name for p in (tmp_path / "user").iterdir()] == ["hashes.sqlite3"]


def test_a_cache_that_cannot_be_written_is_no_error(index, tmp_path):
    make, folder, names = index
    (tmp_path / "user").write_bytes(b"a file, where the folder should be")
    assert make().find(whole(folder / "c.ckpt"), names) == ["c.ckpt"]


def test_two_writers_keep_each_others_entries_and_the_cache_is_bounded(index, tmp_path, monkeypatch):
    make, folder, names = index
    first, second = make(), make()
    first.known("a.safetensors", "0" * 10), second.known("a.safetensors", "0" * 10)  # both have read the empty file
    first.find(whole(folder / "a.safetensors")[:10], names, like="a")
    second.find(whole(folder / "c.ckpt")[:10], names, like="c")
    assert make().known("a.safetensors", "0" * 10) is False and make().known("c.ckpt", "0" * 10) is False
    monkeypatch.setattr(file_hashes, "MAX_ENTRIES", 1)
    make().find("0" * 10, names)
    assert len(cached(tmp_path)) == 1
    assert sorted(p.name for p in (tmp_path / "user").iterdir()) == ["hashes.sqlite3"]  # no journal is left


def test_a_database_that_was_cut_off_is_replaced(index, tmp_path):
    make, folder, names = index
    make().find("0" * 10, names)
    file = tmp_path / "user" / "hashes.sqlite3"
    file.write_bytes(file.read_bytes()[:5000])
    assert make().find(whole(folder / "c.ckpt"), names) == ["c.ckpt"]
    make().find("0" * 10, names)
    assert len(cached(tmp_path)) == 3


def test_the_file_that_was_not_used_for_the_longest_time_is_forgotten(index, tmp_path, monkeypatch):
    make, folder, names = index
    for name in ("a.safetensors", "c.ckpt"):
        make().find(whole(folder / name)[:10], names, like=name)
    monkeypatch.setattr(file_hashes, "MAX_ENTRIES", 2)
    used = make()
    assert used.known("a.safetensors", "0" * 10) is False
    used.find(whole(folder / "sub" / "b.safetensors")[:10], ["a.safetensors", "sub/b.safetensors"], like="b")
    assert {Path(path).name for path in cached(tmp_path)} == {"a.safetensors", "b.safetensors"}


def test_names_that_are_not_utf_8_are_remembered(index, tmp_path):
    make, folder, _ = index
    name = os.fsdecode(b"\xff.ckpt")
    try:
        (folder / name).write_bytes(b"weights")
    except (OSError, ValueError):
        pytest.skip("this file system has no such names")
    assert make().find(whole(folder / name), [name]) == [name]
    assert make().known(name, whole(folder / name)) is True


WRITER = """
import sys
from pathlib import Path
from distillery.nodes.files import file_stamp
from distillery.nodes.model_files.file_hashes import HashCache
for i in range(25):
    path = Path(sys.argv[2]) / f"{sys.argv[3]}-{i}.ckpt"
    path.write_bytes(b"x")
    HashCache(Path(sys.argv[1])).put(path, {"sha256": "ab" * 32}, file_stamp(path))
"""


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(tmp_path):
    (tmp_path / "user").mkdir()
    command = [sys.executable, "-c", WRITER, str(tmp_path / "user" / "hashes.sqlite3"), str(tmp_path)]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(cached(tmp_path)) == 75
