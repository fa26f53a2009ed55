"""Manage a ComfyUI: start it when needed, keep it warm, end it when idle."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import psutil

from .. import paths
from ..errors import ServerError
from ..setup.comfyui import ensure_comfyui
from . import probe
from .access import private_folder
from .endpoint import Endpoint
from .entrypoint import LAST_USED, START_TIMEOUT
from .environment import server_identity
from .own import PACK_NAME, link_pack, own_arguments, own_comfyui, own_instance, own_interpreter
from .process import (
    PORT_TAKEN,
    RunningServer,
    ServerState,
    end,
    find_process,
    free_port,
    launch,
    log_file,
    log_lines,
    read_state,
    state_dir,
    wait_until_it_answers,
    why_not_started,
    why_without_pack,
)

DEFAULT = "default"
IDLE_TIMEOUT = 900.0
"""Seconds without a job after which a managed server ends."""
ANSWER_TIMEOUT = 30.0
"""Seconds for which a living server may not answer (it loads a model, the machine swaps) before it is replaced."""
_PACK_CODE = ("__init__.py", "nodes/**/*.py", "web/**/*")

Say = Callable[[str], None]


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class ServerStatus:
    """One line of ``server status``."""

    instance: str
    endpoint: Endpoint
    pid: int
    answers: bool
    seconds_idle: float
    memory: int
    """Resident memory in bytes."""

    @property
    def url(self) -> str:
        """Its address."""
        return self.endpoint.url


def ensure(
    instance: str = DEFAULT,
    comfyui: Path | None = None,
    idle_timeout: float = IDLE_TIMEOUT,
    say: Say = _silent,
    check: Callable[[], None] = lambda: None,
) -> RunningServer:
    """Return the managed server of that name, started if it is not running.

    comfyui: a ComfyUI of the user's own to start instead, with its models and settings; this pack must be
    in its ``custom_nodes``. A server that runs an older version of this pack's code is restarted. Two
    processes that ask at once get the same server. check: called again and again during a start; what it raises ends the start.
    Raises ServerError.
    """
    if comfyui is not None:
        comfyui = own_comfyui(comfyui)
        instance = own_instance(comfyui)
    try:
        private_folder(_folder(instance))
        with _lock(instance, say, check):
            folder, state = _choose(instance)
            if state is not None and answers_in_time(state):
                running = _running(folder, state)
                keep_alive(running)  # so that it does not end between here and the job
                if state.pack == _pack_hash():
                    return running
                if probe.is_busy(state.endpoint):
                    say("ComfyUI is at work with an older state of this pack's code; it is restarted when it is idle.")
                    return running
                say("The pack's code has changed: restarting ComfyUI.")
            end(folder, state)
            return _start(folder, comfyui, idle_timeout, say, check)
    except OSError as error:
        raise ServerError(
            f"The managed server cannot be started in {_folder(instance)}: {error}. Check the folder's permissions and the free "
            "space; DISTILLERY_HOME names another folder."
        ) from error


def _choose(instance: str) -> tuple[Path, ServerState | None]:
    """Return the folder of the server that serves this checkout and environment, and its state where it was started.

    The plain name belongs to whoever takes it first, and is free once that server has ended; who needs another one beside it
    has the name with a hash behind. Otherwise two checkouts, or two terminals with different devices, would restart each
    other's server with each job.
    """
    identity = server_identity(paths.checkout(), os.environ)
    for name in (instance, f"{instance}-{identity}"):
        state = read_state(_folder(name))
        if state is not None and state.identity == identity and find_process(state) is not None:
            return _folder(name), state
    state = read_state(_folder(instance))
    if state is None or find_process(state) is None:
        return _folder(instance), state
    other = _folder(f"{instance}-{identity}")
    private_folder(other)
    return other, read_state(other)


def variants(instance: str) -> list[str]:
    """Return the names of the servers that were started under a name: for other environments they have a hash behind it."""
    return [name for name in instances() if re.fullmatch(rf"{re.escape(instance)}({_HASH.pattern[:-1]})?", name)]


def keep_alive(server: RunningServer) -> None:
    """Tell a managed server that it is in use."""
    with contextlib.suppress(OSError):
        (state_dir(server.log.parent) / LAST_USED).touch()


def stop(instance: str = DEFAULT) -> bool:
    """Stop the managed servers of a name, their running jobs included. False where none was running."""
    was_running = False
    for name in variants(instance):
        folder = _folder(name)
        with _lock(instance):
            state = read_state(folder)
            was_running |= state is not None and find_process(state) is not None
            end(folder, state)
    return was_running


def end_server(server: RunningServer) -> None:
    """Stop this one server, its running job included."""
    folder = server.log.parent
    with _lock(_HASH.sub("", folder.name)):
        state = read_state(folder)
        if state is not None and state.pid == server.pid:
            end(folder, state)


def instances() -> Iterator[str]:
    """Names of the servers that have a folder, running or not."""
    if paths.servers_dir().is_dir():
        yield from sorted(p.name for p in paths.servers_dir().iterdir() if p.is_dir() and _NAME.fullmatch(p.name))


def status(instance: str = DEFAULT) -> ServerStatus | None:
    """Return the status of a managed server; None where it is not running."""
    folder = _folder(instance)
    state = read_state(folder)
    process = find_process(state) if state else None
    if state is None or process is None:
        return None
    try:
        idle = time.time() - (state_dir(folder) / LAST_USED).stat().st_mtime
    except OSError:
        idle = 0.0
    try:
        memory = process.memory_info().rss
    except psutil.Error:
        return None
    return ServerStatus(instance, state.endpoint, state.pid, probe.answers(state.endpoint), max(0.0, idle), memory)


def with_token(server: Endpoint) -> Endpoint:
    """Return the endpoint of a given server with the token, where it is one that this user's driver manages."""
    if not server.loopback or any(name.lower() == "authorization" for name in server.headers):
        return server
    port = urlsplit(server.url).port
    for instance in instances():
        state = read_state(_folder(instance))
        if state is not None and urlsplit(state.url).port == port and find_process(state) is not None:
            return replace(server, headers={**server.headers, **state.endpoint.headers})
    return server


def logs(instance: str = DEFAULT, lines: int = 50) -> str:
    """The end of a server's log, without colours."""
    return "\n".join(log_lines(log_file(_folder(instance)))[-lines:])


# --- a server's folder -------------------------------------------------------------------------------------------


_HASH = re.compile(r"-[0-9a-f]{8}$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _folder(instance: str) -> Path:
    if not _NAME.fullmatch(instance):
        raise ServerError(
            f"{instance!r} is no name for a server: use up to 64 letters, digits, dots, hyphens and underscores, "
            "beginning with a letter or a digit."
        )
    return paths.servers_dir() / instance


@contextlib.contextmanager
def _lock(instance: str, say: Say = _silent, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock on starting and stopping this server; it ends with its process."""
    lock = filelock.FileLock(paths.servers_dir() / f"{instance}.lock")
    try:
        lock.acquire(timeout=0.5)
    except filelock.Timeout:
        say("Another process is starting or stopping ComfyUI; waiting for it.")
        while not lock.is_locked:
            check()
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=0.5)
    try:
        yield
    finally:
        lock.release()


def _running(folder: Path, state: ServerState) -> RunningServer:
    return RunningServer(state.url, state.pid, log_file(folder), Path(state.base), state.create_time, state.token)


def _pack_hash() -> str:
    root = paths.checkout()
    digest = hashlib.sha256(str(root).encode())
    for path in sorted({p for pattern in _PACK_CODE for p in root.glob(pattern) if p.is_file()}):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _start(
    folder: Path, comfyui: Path | None, idle_timeout: float, say: Say, check: Callable[[], None]
) -> RunningServer:
    own = comfyui is not None
    source = comfyui or ensure_comfyui(say)
    base = source if own else folder
    arguments = own_arguments(source) if own else _managed_arguments(folder)
    python = own_interpreter(source) if own else Path(sys.executable)
    for attempt in range(3):
        port = free_port()
        say("Starting ComfyUI." if attempt == 0 else "The port was taken meanwhile; trying another.")
        state = launch(
            folder, python, source, idle_timeout, [*arguments, "--port", str(port)], base, port, _pack_hash()
        )
        try:
            # The process is asked after: on a port that was taken it is another server that answers.
            if wait_until_it_answers(state, check) and find_process(state) is not None:
                if not probe.pack_present(state.endpoint):
                    raise ServerError(why_without_pack(folder))
                running = _running(folder, state)
                keep_alive(running)
                return running
            ended = find_process(state) is None
        except BaseException:
            end(folder, state)
            raise
        end(folder, state)
        if not ended:
            raise ServerError(
                f"ComfyUI did not answer within {START_TIMEOUT:.0f} s of its start and was ended. "
                f"Its log: {log_file(folder)}"
            )
        if not any(PORT_TAKEN.search(line) for line in log_lines(log_file(folder))):
            break
    raise ServerError(why_not_started(folder))


def _managed_arguments(folder: Path) -> list[str]:
    """ComfyUI's arguments for a base directory of its own, with this pack and only this pack."""
    for name in ("custom_nodes", "input", "output", "user"):
        (folder / name).mkdir(exist_ok=True)
    shutil.rmtree(folder / "temp", ignore_errors=True)
    models = paths.models_dir()
    models.mkdir(parents=True, exist_ok=True)
    link_pack(folder / "custom_nodes" / PACK_NAME, paths.checkout())
    return [
        "--listen", "127.0.0.1", "--base-directory", str(folder), "--models-directory", str(models),
        "--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes",
        "--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK_NAME,
        # The results of the last graph alone are kept. By default those of all are, until a tenth of the memory is left.
        "--cache-classic",
    ]  # fmt: skip


def answers_in_time(state: ServerState) -> bool:
    """Return True if a server answers; a living one is given ANSWER_TIMEOUT to."""
    deadline = time.monotonic() + ANSWER_TIMEOUT
    while find_process(state) is not None:
        if probe.answers(state.endpoint):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return False
