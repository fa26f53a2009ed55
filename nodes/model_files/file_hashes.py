"""Finding a model file by what it holds: the hashes that images give of the files they were made with.

Programs write three: the beginning of the file's SHA-256 (10 digits or more: A1111's "Model hash", Civitai's
AutoV2); A1111's old hash (8 digits: SHA-256 of 64 KiB at 1 MiB); and the SHA-256 of a safetensors file behind its
header (12 digits or all: A1111's LoRA hash, Civitai's AutoV3), which a change of the header's notes leaves alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .names import likeness
from .safetensors_header import HeaderError, read_header

Kind = Literal["sha256", "content", "old"]
KINDS: tuple[Kind, ...] = ("sha256", "content", "old")
OLD_DIGITS = 8
_AUTOV2_DIGITS = 10
_OLD_START, _OLD_LENGTH = 0x100000, 0x10000
_BLOCK = 1 << 20
_TRAINER, _MODELSPEC = "sshs_model_hash", "modelspec.hash_sha256"
"""Where headers claim the ``content`` hash. Merging tools hand the second one down to files that it is not of."""

MAX_ENTRIES = 5000
"""Files that a cache remembers; the ones not used for the longest time go first."""
_MAX_CACHE_BYTES = 16 << 20
_SAVE_EVERY = 5.0
"""Seconds between two writes of the cache while many small files are hashed."""

Progress = Callable[[int, int], None]
"""Bytes hashed so far and bytes in all; may raise to stop."""


def kinds_of(digest: str) -> tuple[Kind, ...]:
    """What a hash of that many digits may be."""
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
    """Hashes that were computed before, in a JSON file, by path, size and time of change.

    A file that is missing, damaged or cannot be written costs time and nothing else.
    """

    file: Path
    _entries: dict[str, dict[str, str | int]] | None = None
    _changed: bool = False
    _saved: float = field(default_factory=time.monotonic)

    def get(self, path: Path) -> dict[Kind, str]:
        """What is known of the file as it is now."""
        entries, stamp = self._load(), _stamp(path)
        entry = entries.get(str(path))
        if entry is None or stamp is None or (entry.get("size"), entry.get("mtime_ns")) != stamp:
            return {}
        entries[str(path)] = entries.pop(str(path))  # to the end: the first ones are dropped when it is full
        return {kind: str(entry[kind]) for kind in KINDS if isinstance(entry.get(kind), str)}

    def put(self, path: Path, digests: Mapping[Kind, str], stamp: tuple[int, int] | None) -> None:
        """Remember hashes. stamp: size and time of change from before the file was read."""
        if stamp is None or stamp != _stamp(path):
            return  # written to meanwhile
        known = self.get(path)
        entries = self._load()
        entries.pop(str(path), None)
        hashes = {str(kind): digest for kind, digest in {**known, **digests}.items()}
        entries[str(path)] = {"size": stamp[0], "mtime_ns": stamp[1], **hashes}
        self._changed = True
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write what is new, whole or not at all."""
        self._saved = time.monotonic()
        if not self._changed or self._entries is None:
            return
        self._changed = False
        # Another server may have written since: its entries are kept.
        others = {path: entry for path, entry in self._read().items() if path not in self._entries}
        self._entries = dict(list({**others, **self._entries}.items())[-MAX_ENTRIES:])
        part = self.file.with_name(f"{self.file.name}.{os.getpid()}.part")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"version": 1, "files": self._entries}), encoding="utf-8")
            os.replace(part, self.file)
        except OSError:
            try:
                part.unlink(missing_ok=True)
            except OSError:
                pass

    def _load(self) -> dict[str, dict[str, str | int]]:
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def _read(self) -> dict[str, dict[str, str | int]]:
        try:
            if self.file.stat().st_size > _MAX_CACHE_BYTES:
                return {}
            data = json.loads(self.file.read_text(encoding="utf-8"))
            files = data["files"] if data["version"] == 1 else {}
            return {path: entry for path, entry in files.items() if isinstance(entry, dict)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


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
        """Whether the file has this hash; None where that is not known without reading the file."""
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
        try:
            for name in self._hashed(unread, paths, digest):
                found.append(name)
                if not old:
                    break
        finally:
            self.cache.save()
        return sorted(found)

    def _hashed(self, names: Sequence[str], paths: Mapping[str, Path], digest: str) -> Iterator[str]:
        """Hash the files in turn and yield those that match."""
        stamps = {name: _stamp(paths[name]) for name in names}
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
    """None where the hashes that are known do not decide it."""
    kinds = kinds_of(digest)
    if any(digests.get(kind, "").startswith(digest) for kind in kinds):
        return True
    return None if any(kind not in digests for kind in kinds) else False


def _claimed(digest: str, path: Path) -> bool:
    """Whether a LoRA names the hash as its own: A1111 takes its trainer's word, and so the hash that it writes."""
    return _says(path, _TRAINER, digest)


def _says(path: Path, key: str, digest: str) -> bool:
    return "content" in kinds_of(digest) and _header_hash(path, key).startswith(digest)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
