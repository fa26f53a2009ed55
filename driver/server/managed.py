"""The managed ComfyUI: started when it is needed, kept warm, ended when it is idle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import psutil
import requests

from .. import paths
from ..errors import ServerError
from ..setup.comfyui import ensure_comfyui
from .entrypoint import LAST_USED, START_TIMEOUT, STATE

DEFAULT = "default"
IDLE_TIMEOUT = 900.0
"""Seconds without a job after which a managed server ends."""
PACK_NAME = "distillery-upscale"
"""Project name in pyproject.toml, and the pack's folder name in a managed server."""
PACK_NODE = "DistilleryParameters"

_STOP_TIMEOUT = 20.0
_SILENCE = 30.0
"""Seconds for which a living server may not answer (it loads a model, the machine swaps) before it is replaced."""
_PACK_CODE = ("__init__.py", "nodes/**/*.py", "web/**/*")
_PORT_TAKEN = re.compile(r"already in use|\b(errno|winerror) (48|98|10048)\b|only one usage of each", re.I)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

Say = Callable[[str], None]


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class RunningServer:
    """A ComfyUI that answers."""

    url: str
    pid: int
    log: Path
    base: Path
    """Its base directory: input, output, temp, user."""
    create_time: float
    """Of the process, so that a reused pid is not taken for it."""
    managed: bool = True

    @property
    def output(self) -> Path:
        """Where it saves images."""
        return self.base / "output"

    def lives(self) -> bool:
        """Whether its process runs, answering or not."""
        return _process(self) is not None


@dataclass(frozen=True)
class ServerState:
    """What is written down of a started server."""

    pid: int
    create_time: float
    """Of the process, so that a reused pid is not taken for it."""
    url: str
    base: str
    pack: str
    """Hash of the pack's code at the start."""


@dataclass(frozen=True)
class ServerStatus:
    """One line of ``server status``."""

    instance: str
    url: str
    pid: int
    answers: bool
    seconds_idle: float
    memory: int
    """Resident memory in bytes."""


def ensure(
    instance: str = DEFAULT,
    comfyui: Path | None = None,
    idle_timeout: float = IDLE_TIMEOUT,
    say: Say = _silent,
) -> RunningServer:
    """The managed server of that name, started where it is not running.

    comfyui: a ComfyUI of the user's own to start instead, with its models and settings; this pack must be
    in its ``custom_nodes``. A server that runs an older version of this pack's code is restarted. Two
    processes that ask at once get the same server. Raises ServerError.
    """
    if comfyui is not None:
        comfyui = own_comfyui(comfyui)
        instance = own_instance(comfyui)
    folder = _folder(instance)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(instance, say):
            state = _read_state(folder)
            if state is not None and _answers_in_time(state):
                running = _running(folder, state)
                touch(running)  # so that it does not end between here and the job
                if state.pack == _pack_hash():
                    return running
                if _busy(state.url):
                    say("ComfyUI is at work with an older state of this pack's code; it is restarted when it is idle.")
                    return running
                say("The pack's code has changed: restarting ComfyUI.")
            _end(folder, state)
            return _start(folder, comfyui, idle_timeout, say)
    except OSError as error:
        raise ServerError(
            f"The managed server cannot be started in {folder}: {error}. Check the folder's permissions and the free "
            "space; DISTILLERY_HOME names another folder."
        ) from error


def touch(server: RunningServer) -> None:
    """Tell a managed server that it is in use."""
    with contextlib.suppress(OSError):
        (_state_dir(server.log.parent) / LAST_USED).touch()


def stop(instance: str = DEFAULT) -> bool:
    """Stop a managed server, its running job included. False where none was running."""
    folder = _folder(instance)
    if not folder.is_dir():
        return False
    with _lock(instance):
        state = _read_state(folder)
        was_running = state is not None and _process(state) is not None
        _end(folder, state)
    return was_running


def instances() -> Iterator[str]:
    """Names of the servers that have a folder, running or not."""
    if paths.servers_dir().is_dir():
        yield from sorted(p.name for p in paths.servers_dir().iterdir() if p.is_dir() and _NAME.fullmatch(p.name))


def status(instance: str = DEFAULT) -> ServerStatus | None:
    """What a managed server is doing; None where it is not running."""
    folder = _folder(instance)
    state = _read_state(folder)
    process = _process(state) if state else None
    if state is None or process is None:
        return None
    try:
        idle = time.time() - (_state_dir(folder) / LAST_USED).stat().st_mtime
    except OSError:
        idle = 0.0
    try:
        memory = process.memory_info().rss
    except psutil.Error:
        return None
    return ServerStatus(instance, state.url, state.pid, _answers(state.url), max(0.0, idle), memory)


def logs(instance: str = DEFAULT, lines: int = 50) -> str:
    """The end of a server's log, without colours."""
    return "\n".join(_log_lines(_log(_folder(instance)))[-lines:])


def pack_present(url: str) -> bool:
    """Whether a server has this pack's nodes."""
    return PACK_NODE in _get(f"{url}/object_info/{PACK_NODE}", timeout=30).json()


def install_hint(custom_nodes: Path | None = None) -> str:
    """How to put this pack into a ComfyUI."""
    where = custom_nodes or Path("ComfyUI") / "custom_nodes"
    pack, link = paths.checkout(), where / PACK_NAME
    return (
        "Put this folder into its custom_nodes and restart it, for example with a link: "
        f'ln -s "{pack}" "{link}" (Windows: mklink /J "{link}" "{pack}").'
    )


# --- a server's folder -------------------------------------------------------------------------------------------


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _folder(instance: str) -> Path:
    if not _NAME.fullmatch(instance):
        raise ServerError(
            f"{instance!r} is no name for a server: use up to 64 letters, digits, dots, hyphens and underscores, "
            "beginning with a letter or a digit."
        )
    return paths.servers_dir() / instance


@contextlib.contextmanager
def _lock(instance: str, say: Say = _silent) -> Iterator[None]:
    """What starts or stops this server, one process at a time; the lock ends with its process."""
    lock = filelock.FileLock(paths.servers_dir() / f"{instance}.lock")
    try:
        lock.acquire(timeout=0.5)
    except filelock.Timeout:
        say("Another process is starting or stopping ComfyUI; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _state_dir(folder: Path) -> Path:
    return folder / "state"


def _log(folder: Path) -> Path:
    return folder / "server.log"


def _read_state(folder: Path) -> ServerState | None:
    try:
        return ServerState(**json.loads((_state_dir(folder) / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_state(folder: Path, state: ServerState) -> None:
    target = _state_dir(folder) / STATE
    part = target.with_suffix(".part")
    part.write_text(json.dumps(asdict(state)), encoding="utf-8")
    part.replace(target)


def _running(folder: Path, state: ServerState) -> RunningServer:
    return RunningServer(state.url, state.pid, _log(folder), Path(state.base), state.create_time)


def _log_lines(log: Path) -> list[str]:
    try:
        return _ANSI.sub("", log.read_text(encoding="utf-8", errors="replace")).splitlines()
    except OSError:
        return []


def _pack_hash() -> str:
    root = paths.checkout()
    digest = hashlib.sha256(str(root).encode())
    for path in sorted({p for pattern in _PACK_CODE for p in root.glob(pattern) if p.is_file()}):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


# --- processes ---------------------------------------------------------------------------------------------------


def _process(state: ServerState | RunningServer) -> psutil.Process | None:
    """The server's process, or None where it has ended (and its pid may be another's)."""
    try:
        process = psutil.Process(state.pid)
        if abs(process.create_time() - state.create_time) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.Error:
        pass
    return None


def _end(folder: Path, state: ServerState | None) -> None:
    """End a server with all its children, politely first, and forget it."""
    process = _process(state) if state else None
    if process is not None:
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            if os.name == "nt":
                # There terminate() gives no chance to clean up; the server's watchdog ends it when this is gone.
                shutil.rmtree(_state_dir(folder), ignore_errors=True)
            elif process.status() == psutil.STATUS_STOPPED:
                process.kill()  # it cannot hear anything milder
            else:
                process.terminate()
            _, alive = psutil.wait_procs(family, timeout=_STOP_TIMEOUT)
            for survivor in alive:
                with contextlib.suppress(psutil.Error):
                    survivor.kill()
            psutil.wait_procs(alive, timeout=5)
    shutil.rmtree(_state_dir(folder), ignore_errors=True)


def _start(folder: Path, comfyui: Path | None, idle_timeout: float, say: Say) -> RunningServer:
    own = comfyui is not None
    source = comfyui or ensure_comfyui(say)
    base = source if own else folder
    arguments = _own_arguments(source) if own else _managed_arguments(folder)
    python = _own_interpreter(source) if own else Path(sys.executable)
    for attempt in range(3):
        port = _free_port()
        say("Starting ComfyUI." if attempt == 0 else "The port was taken meanwhile; trying another.")
        state = _launch(folder, python, source, idle_timeout, [*arguments, "--port", str(port)], base, port)
        try:
            # The process is asked after: on a port that was taken it is another server that answers.
            if _wait_until_it_answers(state) and _process(state) is not None:
                if not pack_present(state.url):
                    raise ServerError(_pack_failed(folder))
                running = _running(folder, state)
                touch(running)
                return running
            ended = _process(state) is None
        except BaseException:
            _end(folder, state)
            raise
        _end(folder, state)
        if not ended:
            raise ServerError(
                f"ComfyUI did not answer within {START_TIMEOUT:.0f} s of its start and was ended. "
                f"Its log: {_log(folder)}"
            )
        if not any(_PORT_TAKEN.search(line) for line in _log_lines(_log(folder))):
            break
    raise ServerError(_start_failed(folder))


def _launch(
    folder: Path, python: Path, source: Path, idle: float, arguments: list[str], base: Path, port: int
) -> ServerState:
    state_dir = _state_dir(folder)
    state_dir.mkdir(parents=True, exist_ok=True)
    log = _log(folder)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    main = Path(__file__).with_name("entrypoint.py")
    command = [str(python), "-u", str(main), str(source), str(state_dir), str(idle), "--", *arguments]
    detached: dict[str, object] = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}  # type: ignore[attr-defined]
        if os.name == "nt"
        else {"start_new_session": True}
    )
    # Everything that the server needs is on disk: no library of its own asks a network for it.
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONUTF8": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, **offline}, **detached,  # type: ignore[call-overload]
        )  # fmt: skip
    state = ServerState(
        process.pid, psutil.Process(process.pid).create_time(), f"http://127.0.0.1:{port}", str(base), _pack_hash()
    )
    _write_state(folder, state)
    return state


def _managed_arguments(folder: Path) -> list[str]:
    """ComfyUI's arguments for a base directory of its own, with this pack and only this pack."""
    for name in ("custom_nodes", "input", "output", "user"):
        (folder / name).mkdir(exist_ok=True)
    shutil.rmtree(folder / "temp", ignore_errors=True)
    models = paths.models_dir()
    models.mkdir(parents=True, exist_ok=True)
    _link(folder / "custom_nodes" / PACK_NAME, paths.checkout())
    return [
        "--listen", "127.0.0.1", "--base-directory", str(folder), "--models-directory", str(models),
        "--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes",
        "--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK_NAME,
    ]  # fmt: skip


def _link(link: Path, target: Path) -> None:
    """A link to the pack: a symbolic one, on Windows a junction, which needs no privilege."""
    if os.path.lexists(link):
        if link.resolve() == target.resolve():
            return
        link.unlink() if link.is_symlink() else link.rmdir()
    if os.name == "nt":
        import _winapi

        _winapi.CreateJunction(str(target), str(link))  # type: ignore[attr-defined]
    else:
        link.symlink_to(target, target_is_directory=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(state: ServerState) -> bool:
    """False where the process ended before it answered."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if _answers(state.url):
            return True
        if _process(state) is None:
            return False
        time.sleep(0.2)
    return False


_CAUSE = re.compile(
    r"(?:\[ERROR\] )?[\w.]*(?:Error|Exception|Interrupt)\b.*|\[(?:ERROR|CRITICAL)\].*|Fatal .*|.*: error: .*"
)


def _start_failed(folder: Path) -> str:
    lines = [line.strip() for line in _log_lines(_log(folder)) if line.strip()]
    causes = [line for line in lines if _CAUSE.fullmatch(line)]
    cause = (causes or lines or ["it said nothing"])[-1]
    advice = ""
    if re.match(r"(ModuleNotFound|Import)Error", cause):
        advice = " Its Python lacks something that it needs: install ComfyUI's requirements.txt there."
    return f"ComfyUI did not start: {cause[:300]}.{advice} Its log: {_log(folder)}"


def _pack_failed(folder: Path) -> str:
    causes = [line for line in _log_lines(_log(folder)) if "Cannot import" in line or "IMPORT FAILED" in line]
    why = causes[0].strip()[:300] if causes else "it was not loaded"
    return f"ComfyUI runs, but without this pack's nodes: {why}. Its log: {_log(folder)}"


# --- a ComfyUI of the user's own ---------------------------------------------------------------------------------


def own_instance(directory: Path) -> str:
    """The name under which a ComfyUI of the user's own is managed; one for each folder."""
    return f"own-{hashlib.sha256(str(directory).encode()).hexdigest()[:10]}"


def own_comfyui(directory: Path) -> Path:
    """The folder with main.py of the user's ComfyUI. Raises ServerError where it is none."""
    directory = directory.expanduser().resolve()
    if not (directory / "main.py").is_file() and (directory / "ComfyUI" / "main.py").is_file():
        directory = directory / "ComfyUI"  # the folder of a portable build
    if not (directory / "main.py").is_file() or not (directory / "comfy").is_dir():
        raise ServerError(
            f"{directory} is not a ComfyUI folder, which has a main.py and a folder comfy. Give the one that has them."
        )
    return directory


def _own_arguments(directory: Path) -> list[str]:
    custom_nodes = directory / "custom_nodes"
    folders = sorted(custom_nodes.iterdir()) if custom_nodes.is_dir() else []
    pack = next((f for f in folders if _is_pack(f)), None)
    if pack is None:
        raise ServerError(f"The ComfyUI in {directory} does not have this pack. {install_hint(custom_nodes)}")
    return [
        "--listen", "127.0.0.1", "--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:",
        "--disable-all-custom-nodes", "--whitelist-custom-nodes", pack.name,
    ]  # fmt: skip


def _is_pack(folder: Path) -> bool:
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(rf'^name\s*=\s*"{PACK_NAME}"', text, re.MULTILINE) is not None


def _own_interpreter(directory: Path) -> Path:
    """The Python that an installation brings along, else this one."""
    names = ("Scripts/python.exe", "bin/python")
    candidates = [directory / venv / name for venv in ("venv", ".venv") for name in names]
    candidates.append(directory.parent / "python_embeded" / "python.exe")  # spelt so in the portable build
    return next((c for c in candidates if c.exists()), Path(sys.executable))


# --- its HTTP ----------------------------------------------------------------------------------------------------


def _get(url: str, timeout: float) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # a proxy has no business with loopback
        response = session.get(url, timeout=timeout)
        response.raise_for_status()
        return response


def _answers(url: str) -> bool:
    try:
        return "system" in _get(f"{url}/system_stats", timeout=5).json()
    except (requests.RequestException, ValueError):
        return False


def _answers_in_time(state: ServerState) -> bool:
    """Whether a server lives and answers; one that lives is given some time to."""
    deadline = time.monotonic() + _SILENCE
    while _process(state) is not None:
        if _answers(state.url):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return False


def _busy(url: str) -> bool:
    try:
        return bool(_get(f"{url}/prompt", timeout=5).json()["exec_info"]["queue_remaining"] > 0)
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return False
