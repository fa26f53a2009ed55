"""The process of a managed ComfyUI: its state on disk, its start, its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import psutil

from .. import paths
from . import probe
from .access import private_folder, server_token, write_private
from .endpoint import Endpoint
from .entrypoint import START_TIMEOUT, STATE, TOKEN
from .environment import server_environment, server_identity
from .guard import TOKEN_PARAMETER

STOP_TIMEOUT = 20.0
"""Seconds that a server is given to end by itself."""
PORT_TAKEN = re.compile(r"already in use|\b(errno|winerror) (48|98|10048)\b|only one usage of each", re.I)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class RunningServer:
    """A ComfyUI that answers."""

    url: str
    pid: int
    log: Path
    base: Path
    """Its base directory: input, output, temp, user."""
    create_time: float
    """Start of the process in Unix seconds, so that a reused pid is not taken for it."""
    token: str = field(default="", repr=False)
    """What it asks of whoever wants in."""

    @property
    def endpoint(self) -> Endpoint:
        """How it is reached."""
        return managed_endpoint(self.url, self.token)

    @property
    def editor_url(self) -> str:
        """The link that opens its editor. It holds the token."""
        return f"{self.url}/?{urlencode({TOKEN_PARAMETER: self.token})}"

    @property
    def output(self) -> Path:
        """Folder of the saved images."""
        return self.base / "output"

    def is_alive(self) -> bool:
        """True while its process runs, answering or not."""
        return find_process(self) is not None


@dataclass(frozen=True)
class ServerState:
    """The record of a started server, kept on disk."""

    pid: int
    create_time: float
    """Start of the process in Unix seconds, so that a reused pid is not taken for it."""
    url: str
    base: str
    pack: str
    """Hash of the pack's code at the start."""
    token: str = field(default="", repr=False)
    """What it asks of whoever wants in."""
    identity: str = ""
    """Whom it serves: see :func:`.environment.server_identity`."""

    @property
    def endpoint(self) -> Endpoint:
        """How it is reached."""
        return managed_endpoint(self.url, self.token)


def managed_endpoint(url: str, token: str) -> Endpoint:
    """Return the endpoint of a managed server: nothing that the environment says of given ones applies."""
    return Endpoint(url, {"Authorization": f"Bearer {token}"})


def state_dir(folder: Path) -> Path:
    return folder / "state"


def log_file(folder: Path) -> Path:
    return folder / "server.log"


def read_state(folder: Path) -> ServerState | None:
    try:
        return ServerState(**json.loads((state_dir(folder) / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_state(folder: Path, state: ServerState) -> None:
    write_private(state_dir(folder) / STATE, json.dumps(asdict(state)))


def log_lines(log: Path) -> list[str]:
    try:
        return _ANSI.sub("", log.read_text(encoding="utf-8", errors="replace")).splitlines()
    except OSError:
        return []


def find_process(state: ServerState | RunningServer) -> psutil.Process | None:
    """The server's process, or None where it has ended (and its pid may be another's)."""
    try:
        process = psutil.Process(state.pid)
        if abs(process.create_time() - state.create_time) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.Error:
        pass
    return None


def end(folder: Path, state: ServerState | None) -> None:
    """End a server with all its children, politely first, and forget it."""
    process = find_process(state) if state else None
    if process is not None:
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            if os.name == "nt":
                # There terminate() gives no chance to clean up; the server's watchdog ends it when this is gone.
                shutil.rmtree(state_dir(folder), ignore_errors=True)
            elif process.status() == psutil.STATUS_STOPPED:
                process.kill()  # it cannot hear anything milder
            else:
                process.terminate()
            _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT)
            for survivor in alive:
                with contextlib.suppress(psutil.Error):
                    survivor.kill()
            psutil.wait_procs(alive, timeout=5)
    shutil.rmtree(state_dir(folder), ignore_errors=True)


def launch(
    folder: Path, python: Path, source: Path, idle: float, arguments: list[str], base: Path, port: int, pack: str
) -> ServerState:
    states = state_dir(folder)
    private_folder(states)
    # In a file and not among the arguments, which every user of the machine can read.
    token = server_token()
    write_private(states / TOKEN, token)
    log = log_file(folder)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    main = Path(__file__).with_name("entrypoint.py")
    command = [str(python), "-u", str(main), str(source), str(states), str(idle), "--", *arguments]
    detached: dict[str, object] = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}  # type: ignore[attr-defined]
        if os.name == "nt"
        else {"start_new_session": True}
    )
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            env=server_environment(os.environ), **detached,  # type: ignore[call-overload]
        )  # fmt: skip
    state = ServerState(
        process.pid,
        psutil.Process(process.pid).create_time(),
        f"http://127.0.0.1:{port}",
        str(base),
        pack,
        token,
        server_identity(paths.checkout(), os.environ),
    )
    write_state(folder, state)
    return state


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(state: ServerState, check: Callable[[], None]) -> bool:
    """Return False where the process ended before it answered. check: called meanwhile; what it raises is raised."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        check()
        if probe.answers(state.endpoint):
            return True
        if find_process(state) is None:
            return False
        time.sleep(0.2)
    return False


_CAUSE = re.compile(
    r"(?:\[ERROR\] )?[\w.]*(?:Error|Exception|Interrupt)\b.*|\[(?:ERROR|CRITICAL)\].*|Fatal .*|.*: error: .*"
)


def why_not_started(folder: Path) -> str:
    lines = [line.strip() for line in log_lines(log_file(folder)) if line.strip()]
    causes = [line for line in lines if _CAUSE.fullmatch(line)]
    cause = (causes or lines or ["it said nothing"])[-1]
    advice = ""
    if re.match(r"(ModuleNotFound|Import)Error", cause):
        advice = " Its Python lacks something that it needs: install ComfyUI's requirements.txt there."
    return f"ComfyUI did not start: {cause[:300]}.{advice} Its log: {log_file(folder)}"


def why_without_pack(folder: Path) -> str:
    causes = [line for line in log_lines(log_file(folder)) if "Cannot import" in line or "IMPORT FAILED" in line]
    why = causes[0].strip()[:300] if causes else "it was not loaded"
    return f"ComfyUI runs, but without this pack's nodes: {why}. Its log: {log_file(folder)}"
