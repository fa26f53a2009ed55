"""Find a model file by its content: the hashes that images give of the files they were made with.

Programs write three: the beginning of the file's SHA-256 (10 digits or more: A1111's "Model hash", Civitai's
AutoV2); A1111's old hash (8 digits: SHA-256 of 64 KiB at 1 MiB); and the SHA-256 of a safetensors file behind its
header (12 digits or all: A1111's LoRA hash, Civitai's AutoV3), which a change of the header's notes leaves alone.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..files import Stamp, file_stamp
from .names import likeness
from .safetensors_header import HeaderError, read_header

Kind = Literal["sha256", "content", "old"]
KINDS: tuple[Kind, ...] = ("sha256", "content", "old")
OLD_DIGITS = 8
_AUTOV2_DIGITS = 10
_OLD_START, _OLD_LENGTH = 0x100000, 0x10000
_BLOCK = 1 << 20
_TRAINER, _MODELSPEC = "sshs_model_hash", "modelspec.hash_sha256"
"""Header keys that claim the ``content`` hash. Merging tools hand the second one down to files that it is not of."""

CACHE_NAME = "file_hashes.sqlite3"
MAX_ENTRIES = 5000
"""Files that a cache remembers; the ones not used for the longest time go first."""
_LOCK_TIMEOUT = 5.0
"""Seconds that another process's write is waited for."""
_TABLE = """
CREATE TABLE IF NOT EXISTS hashes (
    path TEXT, size INTEGER, mtime_ns INTEGER, kind TEXT, digest TEXT, used INTEGER, PRIMARY KEY (path, kind)
)
"""

Progress = Callable[[int, int], None]
"""Bytes hashed so far and bytes in all; may raise to stop."""


def kinds_of(digest: str) -> tuple[Kind, ...]:
    """The kinds that a hash of that many digits may be of."""
    if len(digest) == OLD_DIGITS:
        return ("old",)
    return ("sha256",) if len(digest) == _AUTOV2_DIGITS else ("sha256", "content")


def compute(path: Path, kinds: Collection[Kind], advance: Callable[[int], None] | None = None) -> dict[Kind, str]:
    """Hashes of a file in full, lower-case hexadecimal, in one reading.

    advance: called with the bytes read since the last call; may raise to stop. ``content`` of a file that is no
    safetensors file is empty, as is ``old`` of one that is shorter than where it begins.
    Raises OSError as ``open`` does.
    """
    result: dict[Kind, str] = dict.fromkeys(kinds, "")
    if "old" in kinds:
        with path.open("rb") as file:
            file.seek(_OLD_START)
            part = file.read(_OLD_LENGTH)
        if part:
            result["old"] = hashlib.sha256(part).hexdigest()
    start = _content_start(path) if "content" in kinds else None
    if "sha256" not in kinds and start is None:
        return result
    whole, content, position = hashlib.sha256(), hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if "sha256" in kinds:
                whole.update(block)
            if start is not None and position + len(block) > start:
                content.update(memoryview(block)[max(0, start - position) :])
            position += len(block)
            if advance is not None:
                advance(len(block))
    if "sha256" in kinds:
        result["sha256"] = whole.hexdigest()
    if start is not None:
        result["content"] = content.hexdigest()
    return result


def _content_start(path: Path) -> int | None:
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return None
    try:
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
        return start if start <= path.stat().st_size else None
    except OSError:
        return None


def _header_hash(path: Path, key: str) -> str:
    """A hash of the ``content`` as the header of a safetensors file claims it; empty where it does not."""
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return ""
    try:
        claimed = read_header(path).metadata.get(key)
    except (OSError, HeaderError):
        return ""
    return claimed.lower().removeprefix("0x") if isinstance(claimed, str) else ""


@dataclass
class HashCache:
    """Hashes that were computed before, in an SQLite database, by path, size and time of change.

    Several processes may use one at once. A database that is missing, damaged or cannot be written costs time and
    nothing else; a damaged one is replaced.
    """

    file: Path
    _known: dict[str, dict[Stamp, dict[Kind, str]]] | None = None
    """The database as it was when it was first asked, and what was put since; by path."""
    _used: set[str] = field(default_factory=set)
    """Paths that were asked for since the last write."""

    def get(self, path: Path) -> dict[Kind, str]:
        """The hashes that are known of the file as it is now."""
        stamp = file_stamp(path)
        if self._known is None:
            self._known = self._read()
        digests = self._known.get(_key(path), {}).get(stamp) if stamp else None
        if digests is None:
            return {}
        self._used.add(_key(path))
        return dict(digests)

    def put(self, path: Path, digests: Mapping[Kind, str], stamp: Stamp | None) -> None:
        """Remember hashes. stamp: size and time of change from before the file was read."""
        if stamp is None or stamp != file_stamp(path):
            return  # written to meanwhile
        digests = {**self.get(path), **digests}
        assert self._known is not None  # get has read it
        self._known[_key(path)] = {stamp: digests}
        self._used.add(_key(path))
        try:
            try:
                self._write(_key(path), digests, stamp)
            except sqlite3.OperationalError:
                raise  # locked for too long, or not writable: not damaged
            except sqlite3.DatabaseError:
                for damaged in (self.file, self.file.with_name(f"{self.file.name}-journal")):
                    damaged.unlink(missing_ok=True)
                self._write(_key(path), digests, stamp)
        except (OSError, sqlite3.Error):
            pass

    def _read(self) -> dict[str, dict[Stamp, dict[Kind, str]]]:
        known: dict[str, dict[Stamp, dict[Kind, str]]] = {}
        try:
            if not self.file.is_file():  # connecting would make it
                return {}
            with closing(sqlite3.connect(self.file, timeout=_LOCK_TIMEOUT)) as database:
                rows = database.execute("SELECT path, size, mtime_ns, kind, digest FROM hashes")
                for path, size, mtime_ns, kind, digest in rows:
                    if kind in KINDS and isinstance(digest, str):
                        known.setdefault(path, {}).setdefault((size, mtime_ns), {})[kind] = digest
        except (OSError, sqlite3.Error):
            return {}
        return known

    def _write(self, key: str, digests: Mapping[Kind, str], stamp: Stamp) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.file, timeout=_LOCK_TIMEOUT, isolation_level=None)) as database:
            # IMMEDIATE waits for other writers here; a reader that becomes a writer would fail instead.
            database.execute("BEGIN IMMEDIATE")
            database.execute(_TABLE)
            now = time.time_ns()
            # Another process may have used them later than this one: the time of use never goes back.
            database.executemany("UPDATE hashes SET used = max(used, ?) WHERE path = ?", [(now, k) for k in self._used])
            database.execute(
                "DELETE FROM hashes WHERE path = ? AND (size <> ? OR mtime_ns <> ?)", (key, stamp[0], stamp[1])
            )
            database.executemany(
                "INSERT OR REPLACE INTO hashes (path, size, mtime_ns, kind, digest, used) VALUES (?, ?, ?, ?, ?, ?)",
                [(key, *stamp, kind, digest, now) for kind, digest in digests.items()],
            )
            database.execute(
                "DELETE FROM hashes WHERE path NOT IN "
                "(SELECT path FROM hashes GROUP BY path ORDER BY max(used) DESC, path = ? DESC LIMIT ?)",
                (key, MAX_ENTRIES),
            )
            database.execute("COMMIT")
        self._used.clear()


def _key(path: Path) -> str:
    """The path as SQLite can hold it: names that are not UTF-8 come with halves of surrogate pairs."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class HashIndex:
    """The hashes of the files of one kind."""

    cache: HashCache
    path_of: Callable[[str], Path | None]
    """A file's path by the name in ComfyUI's list; None where it is gone."""
    progress: Progress | None = None
    say: Callable[[str], None] = lambda text: None
    """Told once, before files are read that may take long."""

    def known(self, name: str, digest: str) -> bool | None:
        """True if the file has this hash; None if only reading the file would tell."""
        path = self.path_of(name)
        if path is None:
            return None
        answer = _matches(digest, self.cache.get(path))
        return True if answer is False and _claimed(digest, path) else answer

    def find(self, digest: str, names: Sequence[str], like: str | None = None) -> list[str]:
        """The files with this hash, of those in ``names``, sorted; empty where there is none.

        What was hashed before is asked first, then the headers, then the others are read up to the first that
        matches, those with names like ``like`` first. Old hashes, which are quick and not unique, are compared
        with all files.
        """
        paths = {name: path for name in sorted(names) if (path := self.path_of(name)) is not None}
        answers = {name: _matches(digest, self.cache.get(path)) for name, path in paths.items()}
        unread = [name for name, answer in answers.items() if answer is None]
        old = kinds_of(digest) == ("old",)
        found = [name for name, answer in answers.items() if answer]
        if found and not old:
            return found
        if not old:
            claimed = [name for name in unread if _claimed(digest, paths[name])]
            if claimed:
                return claimed
        unread.sort(key=lambda name: (not _says(paths[name], _MODELSPEC, digest), -likeness(like or "", name)))
        for name in self._hashed(unread, paths, digest):
            found.append(name)
            if not old:
                break
        return sorted(found)

    def _hashed(self, names: Sequence[str], paths: Mapping[str, Path], digest: str) -> Iterator[str]:
        """Hash the files in turn and yield those that match."""
        stamps = {name: file_stamp(paths[name]) for name in names}
        sizes = {name: _OLD_LENGTH if len(digest) == OLD_DIGITS else (stamps[name] or (0, 0))[0] for name in names}
        total, done = sum(sizes.values()), 0
        if total > 1 << 30:
            self.say(
                f"No file has the name that the image gives: {len(names)} files ({total / 1e9:.1f} GB) are searched "
                f"for the hash {digest}. This is done once; the hashes are kept."
            )

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self.progress is not None:
                self.progress(min(done, total), total)

        for name in names:
            before = done
            try:
                digests = compute(paths[name], kinds_of(digest), advance)
            except OSError:
                continue
            done = before
            advance(sizes[name])
            self.cache.put(paths[name], digests, stamps[name])
            if _matches(digest, digests):
                yield name


def _matches(digest: str, digests: Mapping[Kind, str]) -> bool | None:
    """True or False where the known hashes decide it, else None."""
    kinds = kinds_of(digest)
    if any(digests.get(kind, "").startswith(digest) for kind in kinds):
        return True
    return None if any(kind not in digests for kind in kinds) else False


def _claimed(digest: str, path: Path) -> bool:
    """True if a LoRA names the hash as its own: A1111 takes its trainer's word, and so the hash that it writes."""
    return _says(path, _TRAINER, digest)


def _says(path: Path, key: str, digest: str) -> bool:
    return "content" in kinds_of(digest) and _header_hash(path, key).startswith(digest)
