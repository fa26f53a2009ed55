"""The steps of the set-up: what is told of them, how they are run and ended, and what their failures mean.

Standard library only: the launcher loads this before anything is installed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Loaded by path from the launcher, where there is no package yet.
if __package__:
    from . import pypi
else:
    import pypi  # type: ignore[import-not-found,no-redef]

Say = Callable[[str], None]


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def say_to_stderr(text: str) -> None:
    """The launcher's way of telling what it does."""
    print(text, file=sys.stderr, flush=True)


def once(say: Say, text: str) -> Callable[[], None]:
    """A callback that tells the text the first time."""
    told: list[str] = []

    def tell() -> None:
        if not told:
            told.append(text)
            say(text)

    return tell


class Steps:
    """Tells the steps of the set-up, with the seconds since its start, and again what takes long."""

    def __init__(self, say: Say, every: float = 20.0) -> None:
        self._say, self._every = say, every
        self._started = time.monotonic()
        self._doing = ""

    def __call__(self, doing: str) -> None:
        self._doing = doing
        self._say(f"  {time.monotonic() - self._started:4.0f} s  {doing}")

    def pip(self, line: str) -> None:
        """Tell of a line of pip's output if it means a step."""
        large = re.match(r"\s*Downloading (\S+?)-(\d\S*?)-\S+\.whl.* \((\d+(?:\.\d+)?) ([MG])B\)", line)
        if large and (large[4] == "G" or float(large[3]) >= 50):
            self(f"downloading {large[1]} {large[2]} ({large[3]} {large[4]}B)")
        elif line.startswith("Installing collected packages"):
            self(f"installing {line.count(',') + 1} packages (this is the long part)")

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Meanwhile, say what is still being done."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._every):
                self._say(f"  {time.monotonic() - self._started:4.0f} s  … still {self._doing}")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def inherited_lock(path: Path, say: Say) -> Iterator[tuple[int, ...]]:
    """A lock that the steps of the set-up inherit; yields the descriptors to pass on.

    A launcher that is killed may leave its pip running: the next one waits for that pip's end. Windows has
    no such locks, but there the second pip fails on the files that the first one has open.
    """
    if sys.platform == "win32":
        yield ()
        return
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("A set-up that was interrupted is still at work; waiting for its end.")
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield (fd,)
    finally:
        os.close(fd)


def run_step(
    command: Sequence[str], what: str, log: Path, steps: Steps, held: tuple[int, ...], variables: dict[str, str]
) -> None:
    """Run a step of the set-up, its output in a log; SetupError with its last words where it fails."""
    tail: list[str] = []
    with log.open("a", encoding="utf-8", errors="replace") as file, steps.heartbeat():
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            errors="replace", env=variables, pass_fds=held, start_new_session=os.name != "nt",
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                tail = [*tail[-7:], line.rstrip()]
                steps.pip(line)
            code = process.wait()
        except BaseException:
            _end(process)
            raise
    if code:
        raise SetupError(failure(what, [line for line in tail if line], log))


def _end(process: subprocess.Popen[str]) -> None:
    """End a step with the processes that it started; venv runs pip in one of its own."""
    if sys.platform == "win32":
        process.terminate()
        process.wait()
        return
    for number in (signal.SIGINT, signal.SIGKILL):  # on the first one pip removes its temporary files
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)  # to the end of the pipe: until all of them have ended
            return


_NO_NETWORK = re.compile(
    r"Connection|Name or service|Temporary failure|Could not fetch|No matching distribution|timed? ?out|SSLError|Proxy"
)


def failure(what: str, tail: list[str], log: Path) -> str:
    text = "\n".join(tail)
    if "No space left" in text or "not enough space" in text:
        advice = "The disk is full: make room, or set DISTILLERY_HOME to a folder on another disk."
    elif "ensurepip" in text:
        advice = "Python's venv module is incomplete here: on Debian and Ubuntu install python3-venv."
    elif pypi.is_hash_mismatch(text) or "hashes are required" in text:
        advice = (
            "A package that was fetched is not the one that is pinned, and has not been installed: check which index "
            "pip is configured for (pip config list). An index with builds of its own cannot serve here."
        )
    elif _NO_NETWORK.search(text):
        advice = (
            "The package index could not be reached, or lacks a pinned version for this system: check the network and "
            "pip's configuration, and run the command again."
        )
    else:
        advice = "Run the command again; what is done already is kept."
    shown = "\n".join(f"    {line[:300]}" for line in tail[-4:])
    return f"{what} failed. {advice}\n{shown}\n  (all of it: {log})"
