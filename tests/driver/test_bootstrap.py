"""The launcher, on environments with one tiny package instead of PyTorch: made, shared, interrupted, repaired."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkouts import Checkout, make_checkout, make_wheel, pinned

from distillery.driver.setup import launcher as bootstrap
from distillery.driver.setup import steps

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose environment is there."""
    checkout = make_checkout(tmp_path_factory.mktemp("made"))
    first = checkout.run("python", "-c", "")
    assert first.returncode == 0, first.stderr
    assert "making a virtual environment" in first.stderr
    return checkout


# --- before anything is made -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(3, 10), (3, 11, 4), (3, 12), (3, 13)])
def test_the_supported_pythons_are_taken(version: tuple[int, ...]) -> None:
    bootstrap.check_python(version)


@pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 14)])
def test_another_python_is_refused_with_what_was_found_and_what_is_needed(version: tuple[int, ...]) -> None:
    with pytest.raises(steps.SetupError) as caught:
        bootstrap.check_python(version)
    assert f"Python {version[0]}.{version[1]} " in str(caught.value)
    assert "3.10 to 3.13" in str(caught.value)


@pytest.mark.parametrize("version", ["(2, 7, 18)", "(3, 9, 1)"])
def test_the_launcher_itself_refuses_a_python_that_cannot_read_the_rest(checkout: Checkout, version: str) -> None:
    code = f"import sys, runpy; sys.version_info = {version}; runpy.run_path({str(checkout.root / 'distillery')!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=checkout.variables())
    assert result.returncode == 1
    assert "3.10 to 3.13 is needed" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_launcher_is_plain_ascii_for_the_oldest_pythons() -> None:
    (ROOT / "distillery").read_bytes().decode("ascii")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_installs_nothing(checkout: Checkout, arguments: tuple[str, ...]) -> None:
    result = checkout.run(*arguments)
    assert result.returncode == 0
    for command in ("upscale", "checkmetadata", "server", "doctor", "test", "check", "python"):
        assert f"\n  {command} " in result.stdout
    assert str(checkout.home) in result.stdout
    assert not checkout.home.exists()


def test_environments_are_named_after_the_pins_alone() -> None:
    assert bootstrap.environment_name(b"a==1\nb==2\n") == bootstrap.environment_name(b"a==1\r\nb==2\r\n")
    assert bootstrap.environment_name(b"a==1\n") != bootstrap.environment_name(b"a==2\n")


# --- the environment ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_checkout_and_its_pins_are_importable(made: Checkout) -> None:
    code = "import distillery, tiny, sys; print(distillery.__file__); print(tiny.VALUE); print(sys.prefix)"
    result = made.run("python", "-c", code)
    assert result.stdout.splitlines() == [str(made.root / "__init__.py"), "1", str(made.environments[0])]
    assert result.stderr == ""


@pytest.mark.slow
def test_two_checkouts_share_an_environment_and_each_imports_itself(made: Checkout, tmp_path: Path) -> None:
    other = Checkout(tmp_path / "other", made.home, made.wheels)
    shutil.copytree(made.root, other.root)
    result = other.run("python", "-c", "import distillery; print(distillery.__file__)")
    assert result.stdout.strip() == str(other.root / "__init__.py")
    assert len(made.environments) == 1


@pytest.mark.slow
def test_a_made_environment_is_left_alone(made: Checkout) -> None:
    marker = made.environments[0] / bootstrap.MARKER
    before = marker.stat().st_mtime_ns
    assert made.run("python", "-c", "").stderr == ""
    assert marker.stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_exit_code_and_the_streams_pass_through(made: Checkout) -> None:
    code = "import sys; print(sys.stdin.read(), sys.argv[1:]); print('err', file=sys.stderr); sys.exit(7)"
    result = subprocess.run(
        made.command("python", "-c", code, "--help", "a b"),
        env=made.variables(),
        input="in",
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout.strip(), result.stderr.strip()) == (7, "in ['--help', 'a b']", "err")


@posix
@pytest.mark.slow
def test_signals_reach_the_command(made: Checkout) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); "
        "print('up', flush=True); time.sleep(60)"
    )
    process = made.start("python", "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 9
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP"])
def test_nothing_of_the_callers_python_leaks_in(made: Checkout, tmp_path: Path, name: str) -> None:
    code = f"import os, sys; print(os.environ.get({name!r}), {str(tmp_path)!r} in sys.path)"
    variables = made.variables(**{name: str(tmp_path)})
    # Of these only PYTHONHOME would hinder the launcher's own interpreter.
    launcher = [sys.executable, "-E", *made.command("python", "-c", code)[1:]]
    result = subprocess.run(launcher, env=variables, capture_output=True, text=True)
    assert result.stdout.split() == ["None", "False"], result.stderr


@pytest.mark.parametrize(
    ("test", "code"), [("def test_it(): pass", 0), ("def test_it(): assert 0", 1), ("def helper(): pass", 5)]
)
@pytest.mark.slow
def test_the_tests_are_run_by_pytest(made: Checkout, test: str, code: int) -> None:
    (made.root / "tests" / "test_it.py").write_text(f"{test}\n")
    result = made.run("test", "-q", "-p", "no:cacheprovider")
    assert result.returncode == code, result.stdout + result.stderr


@pytest.mark.slow
def test_one_test_can_be_named(made: Checkout) -> None:
    (made.root / "tests" / "test_it.py").write_text("def test_a(): pass\ndef test_b(): assert 0\n")
    named = f"{made.root / 'tests' / 'test_it.py'}::test_a"
    result = made.run("test", "-q", "-p", "no:cacheprovider", named)
    assert "1 passed" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("worker",), ["cluster"]), (("jobs", "list"), ["cluster"]), (("upscale", "a.png", "--cluster", "local"), ["cluster"]),
        (("sweep", "a.png", "--cluster=local"), ["cluster"]), (("upscale", "cluster.png"), []), (("server", "status"), []),
        (("bot",), ["cluster", "bot"]), (("bot", "--cluster", "local"), ["cluster", "bot"]), (("upscale", "bot"), []),
    ],
)  # fmt: skip
def test_only_what_uses_a_cluster_or_the_bot_needs_their_packages(
    arguments: tuple[str, ...], needed: list[str]
) -> None:
    assert list(bootstrap.extras_of(arguments)) == needed


@pytest.mark.slow
def test_the_packages_of_a_cluster_are_installed_once_and_when_they_are_asked_for(checkout: Checkout) -> None:
    make_wheel(checkout.wheels, "many", "1.0", {"many.py": ""})
    (checkout.root / "requirements-cluster.lock").write_text(pinned(checkout.wheels, "many==1.0"))
    there = ("python", "-c", "import importlib.util; print(importlib.util.find_spec('many') is not None)")
    assert checkout.run(*there).stdout == "False\n"
    assert "installing what a cluster needs" in checkout.run("worker").stderr  # there is no driver in this checkout
    assert checkout.run(*there).stdout == "True\n"
    assert "installing" not in checkout.run("jobs", "list").stderr


@pytest.mark.slow
def test_changed_pins_make_another_environment_and_keep_the_old(checkout: Checkout) -> None:
    show = ("python", "-c", "import tiny; print(tiny.VALUE)")
    assert checkout.run(*show).stdout == "1\n"
    (checkout.root / "requirements.lock").write_text(pinned(checkout.wheels, "tiny==2.0"))
    assert checkout.run(*show).stdout == "2\n"
    (checkout.root / "requirements.lock").write_text(pinned(checkout.wheels, "tiny==1.0"))
    again = checkout.run(*show)
    assert (again.stdout, again.stderr) == ("1\n", "")
    assert len(checkout.environments) == 2


@pytest.mark.slow
def test_options_of_pip_that_put_packages_elsewhere_are_not_inherited(checkout: Checkout, tmp_path: Path) -> None:
    elsewhere = {"PIP_TARGET": str(tmp_path / "target"), "PIP_USER": "1", "PIP_PREFIX": str(tmp_path / "prefix")}
    assert checkout.run("python", "-c", "import tiny; print(tiny.VALUE)", **elsewhere).stdout == "1\n"
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "prefix").exists()


# --- what goes wrong ---------------------------------------------------------------------------------------------


def kill(process: subprocess.Popen[str], name: str) -> None:
    """As a terminal does it: Ctrl-C reaches the whole group, the others the launcher alone."""
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.Signals[name])


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("SIGINT", "making a virtual environment"),
        ("SIGTERM", "making a virtual environment"),
        ("SIGKILL", "making a virtual environment"),
        ("SIGINT", "resolving"),
        ("SIGKILL", "resolving"),
    ],
)
def test_an_interrupted_set_up_is_completed_by_the_next_run(checkout: Checkout, name: str, stage: str) -> None:
    process = checkout.start("python", "-c", "")
    assert process.stderr is not None
    while stage not in (line := process.stderr.readline()):
        assert line, "the set-up ended before that stage"
    while not checkout.environments:
        time.sleep(0.02)
    time.sleep(0.1)
    kill(process, name)
    process.wait(60)
    left = [p for p in psutil.process_iter(["cmdline"]) if str(checkout.home) in " ".join(p.info["cmdline"] or [])]
    if name != "SIGKILL":
        _, left = psutil.wait_procs(left, timeout=10)  # told to end, they take a moment on a busy machine
    assert bool(left) == (name == "SIGKILL")
    assert process.returncode not in (0, 1)
    assert not bootstrap.is_complete(checkout.environments[0])

    after = checkout.run("python", "-c", "import tiny; print(tiny.VALUE)")
    assert (after.returncode, after.stdout) == (0, "1\n"), after.stderr
    assert "ready" in after.stderr
    assert ("waiting for its end" in after.stderr) == (name == "SIGKILL")
    assert "Traceback" not in process.communicate()[1]


@pytest.mark.slow
def test_a_package_that_was_half_installed_is_installed_again(checkout: Checkout) -> None:
    assert checkout.run("python", "-c", "").returncode == 0
    environment = checkout.environments[0]
    module = next(environment.rglob("tiny.py"))
    module.unlink()
    (module.parent / "tiny-1.0.dist-info" / "INSTALLER").unlink()
    (environment / bootstrap.MARKER).unlink()
    after = checkout.run("python", "-c", "import tiny; print(tiny.VALUE)")
    assert after.stdout == "1\n", after.stderr
    assert "going on with what is there" in after.stderr


@pytest.mark.slow
def test_a_virtual_environment_without_pip_is_made_anew(checkout: Checkout) -> None:
    directory = checkout.home / bootstrap.environment_name((checkout.root / "requirements.lock").read_bytes())
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    assert checkout.run("python", "-c", "import tiny; print(tiny.VALUE)").stdout == "1\n"


@pytest.mark.slow
def test_two_at_once_make_it_once(checkout: Checkout) -> None:
    both = [checkout.start("python", "-c", "import tiny; print(tiny.VALUE)") for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in both]
    assert [out for out, _ in ended] == ["1\n", "1\n"]
    assert sum("making a virtual environment" in errors for _, errors in ended) == 1
    assert sum("waiting for it" in errors for _, errors in ended) == 1


@pytest.mark.slow
def test_a_package_that_cannot_be_had_is_a_clear_error(checkout: Checkout) -> None:
    (checkout.root / "requirements.lock").write_text(f"no-such-package==1.0 --hash=sha256:{64 * '0'}\n")
    result = checkout.run("doctor")
    assert result.returncode == 1
    assert "check the network and pip's configuration" in result.stderr
    assert "no-such-package==1.0" in result.stderr
    assert ".log)" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_home_that_is_no_folder_is_a_clear_error(checkout: Checkout) -> None:
    checkout.home.write_text("")
    result = checkout.run("doctor")
    assert result.returncode == 1
    assert str(checkout.home) in result.stderr
    assert "DISTILLERY_HOME names another folder" in result.stderr
    assert "Traceback" not in result.stderr


def test_too_small_a_disk_is_said_before_anything_is_downloaded(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout.root / "requirements.lock").write_text("torch==2.11.0\n")
    monkeypatch.setenv("DISTILLERY_HOME", str(checkout.home))
    monkeypatch.setattr(bootstrap, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(steps.SetupError, match=r"GiB free; setting up needs 1073741824\.0 GiB\. Make room"):
        bootstrap.ensure_environment(checkout.root, say=lambda text: None)
    assert not checkout.environments


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: [WinError 112] There is not enough space on the disk", "disk is full"),
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
        ("ERROR: No matching distribution found for torch==2.11.0", "check the network"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError: Temporary failure in name'",
            "check the network",
        ),
        ("ReadTimeoutError: Read timed out.", "check the network"),
        ("ERROR: something else", "Run the command again"),
    ],
)
def test_a_failed_step_says_what_to_do(said: str, advice: str) -> None:
    text = steps.failure("pip", ["before", said], Path("set-up.log"))
    assert advice in text
    assert said in text
    assert "set-up.log" in text


def test_pips_output_becomes_a_few_lines_and_a_sign_of_life() -> None:
    said: list[str] = []
    told_by = steps.Steps(said.append, every=0.05)
    for line in (
        "Collecting torch==2.11.0",
        "  Downloading torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (28 kB)",
        "Downloading torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl (530.6 MB)",
        "Downloading rich-15.0.0-py3-none-any.whl (310 kB)",
        "Downloading big-1.0-py3-none-any.whl (1.2 GB)",
        "Installing collected packages: a, b, c",
    ):
        told_by.pip(line)
    told = [line.split("s  ", 1)[1] for line in said]
    assert told == [
        "downloading torch 2.11.0 (530.6 MB)",
        "downloading big 1.0 (1.2 GB)",
        "installing 3 packages (this is the long part)",
    ]
    with told_by.heartbeat():
        time.sleep(0.3)
    assert "… still installing 3 packages" in said[-1]
