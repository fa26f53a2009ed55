"""Fetch one large file whose size and SHA-256 are known, with nothing but the standard library."""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import re
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DistilleryError
from ..files import put_in_place
from .file_lock import exclusive

OFFLINE = "DISTILLERY_OFFLINE"
"""Environment variable: 1 forbids every download."""
TIMEOUT = 20.0
"""Seconds without an answer, or without a byte, after which a server counts as dead."""

_CHUNK = 1 << 18
_MARGIN = 32 << 20
"""Bytes that are left free on the disk."""
_ROUNDS = 10
"""Requests to one address at most; each but the last must have brought something new."""
_REPORT_EVERY = 0.1

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all."""


class DownloadError(DistilleryError):
    """A file could not be fetched."""


class _AddressError(Exception):
    """One address failed; the next may do."""


@dataclass(frozen=True)
class _Wanted:
    """A download and its callbacks: one for all addresses and rounds."""

    part: Path
    size: int
    sha256: str
    """Hexadecimal, small letters."""
    progress: Progress | None
    interrupted: Callable[[], None] | None
    timeout: float

    def check_interrupt(self) -> None:
        if self.interrupted is not None:
            self.interrupted()

    def is_complete(self) -> bool:
        return _size(self.part) == self.size and sha256_of(self.part) == self.sha256


def offline() -> bool:
    """True where the user forbids downloads with DISTILLERY_OFFLINE=1."""
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "no", "false", "off")


def download(
    urls: Sequence[str],
    target: Path,
    size: int,
    sha256: str,
    progress: Progress | None = None,
    interrupted: Callable[[], None] | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """Fetch a file of ``size`` bytes and this SHA-256 (hexadecimal) to ``target``, and return it.

    urls: mirrors, tried in this order. interrupted: called often; whatever it raises ends the download.
    The bytes are collected in ``target``.part, which outlives every interruption, even a kill, and is
    resumed by the next call with whichever mirror; the hash decides whether the pieces fit. ``target``
    itself appears complete or not at all. A target that is there is returned as it is.
    Processes that want the same file take turns, by a lock of the operating system on ``target``.lock; on
    file systems without locks each has a part of its own, which is not resumed.
    Proxies are taken from the environment, certificates from the system and, where installed, certifi.
    Raises DownloadError.
    """
    if target.exists():
        return target
    if offline():
        raise DownloadError(f"{target.name} is not there, and {OFFLINE} forbids downloads. Unset it to fetch the file.")
    part = _beside(target, ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(_beside(target, ".lock"), interrupted) as locked:
            if target.exists():
                return target
            if not locked:
                part = _beside(target, f".{os.getpid()}.part")
            _check_space(part, size)
            _from_first(urls, _Wanted(part, size, sha256.lower(), progress, interrupted, timeout))
            put_in_place(part, target)
            return target
    except OSError as error:
        raise DownloadError(
            f"{target.name} cannot be written to {target.parent}: {error.strerror or error}. "
            "Check the folder's permissions and the free space."
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _from_first(urls: Sequence[str], wanted: _Wanted) -> None:
    failures = []
    for url in urls:
        try:
            return _from(url, wanted)
        except _AddressError as failure:
            failures.append(f"{url}: {failure}")
    have = _size(wanted.part)
    kept = f" The {have:,} bytes that are there will be used by the next attempt." if have else ""
    raise DownloadError(
        f"{wanted.part.name.removesuffix('.part')} could not be downloaded. {'; '.join(failures)}.{kept}"
    )


def _from(url: str, wanted: _Wanted) -> None:
    """Complete the part from one address; asks again for the rest for as long as each answer brings some."""
    part, size = wanted.part, wanted.size
    whole = False  # whether every byte of the part came from this address, now
    for _ in range(_ROUNDS):
        have = _size(part)
        if have > size:
            part.unlink()
            have = 0
        if have == size:
            found = sha256_of(part)
            if found == wanted.sha256:
                return
            part.unlink()
            if whole:
                raise _AddressError(f"sent another file (SHA-256 {found}, expected {wanted.sha256})")
            have = 0
        try:
            with _open(url, have, wanted) as response:
                start = _start_of(response, have, size)
                whole = whole or start == 0
                _receive(response, start, wanted)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                part.unlink()
                continue
            raise _AddressError(f"HTTP {error.code} {error.reason}".rstrip()) from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, _WriteError):
                raise error.reason from error
            if _size(part) <= have:
                raise _AddressError(_reason(error, wanted.timeout)) from error
    # The last round may have completed it.
    if not wanted.is_complete():
        raise _AddressError(f"the connection broke {_ROUNDS} times")


class _WriteError(OSError):
    """Carries a failure of the disk past the handling of the network's failures, which are OSErrors too."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _open(url: str, start: int, wanted: _Wanted) -> Any:
    """The response to a GET from byte ``start`` on.

    Name look-up has no time limit of its own, and connecting has one per address of the host: a thread
    keeps both from holding up the caller for more than ``wanted.timeout`` seconds in all.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "distillery-upscale"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    abandoned = threading.Event()

    def ask() -> None:
        answer: Any
        try:
            answer = _opener().open(request, timeout=wanted.timeout)
        except Exception as error:
            answer = error
        answers.put(answer)
        if abandoned.is_set() and hasattr(answer, "close"):
            answer.close()

    threading.Thread(target=ask, name="download", daemon=True).start()
    deadline = time.monotonic() + wanted.timeout
    try:
        while True:
            wanted.check_interrupt()
            try:
                answer = answers.get(timeout=0.1)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise TimeoutError from None
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer
    except BaseException:
        abandoned.set()
        raise


def _opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    try:
        # Python from python.org has no certificates on macOS; certifi comes with ComfyUI's requirements.
        import certifi

        context.load_verify_locations(certifi.where())
    except (ImportError, OSError):
        pass
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def _start_of(response: Any, asked: int, size: int) -> int:
    """The offset at which the response's body begins; refuses a body of another file's size."""
    start, total = 0, response.headers.get("Content-Length")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if not match or int(match.group(1)) != asked:
            raise _AddressError(f"answered with another part of the file than the one from byte {asked}")
        start, total = asked, match.group(2)
    if total and total.isdigit() and int(total) != size:
        raise _AddressError(f"offers another file ({int(total):,} bytes, expected {size:,})")
    return start


def _receive(response: Any, start: int, wanted: _Wanted) -> None:
    part, size, progress = wanted.part, wanted.size, wanted.progress
    done, reported = start, 0.0
    try:
        file = part.open("r+b" if start else "wb")
    except OSError as error:
        raise _WriteError(error) from error
    with file:
        file.seek(start)
        while done < size:
            wanted.check_interrupt()
            # read1 hands over what is there: a slow server is still interruptible.
            chunk = response.read1(min(_CHUNK, size - done))
            if not chunk:
                raise ConnectionError(f"the connection was closed after {done:,} of {size:,} bytes")
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise _WriteError(error) from error
            done += len(chunk)
            now = time.monotonic()
            if progress is not None and (done == size or now - reported >= _REPORT_EVERY):
                progress(done, size)
                reported = now
    if response.read1(1):
        # Longer than announced: not the file. The hash would not tell, as only its beginning was kept.
        part.unlink()
        raise _AddressError(f"sent more than the {size:,} bytes of the file")


def _check_space(part: Path, size: int) -> None:
    free, needed = shutil.disk_usage(part.parent).free, size - _size(part) + _MARGIN
    if free < needed:
        raise DownloadError(
            f"{part.name.removesuffix('.part')} needs {needed / 1e6:,.0f} MB of free space in {part.parent}, "
            f"and {free / 1e6:,.0f} MB are free. Make room and try again."
        )


def _reason(error: Exception, timeout: float) -> str:
    reason: Any = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(reason, OSError):
        return str(reason.strerror or reason)
    return str(reason) or type(reason).__name__


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)
