"""Set up the environment once, before anything is installed, then run in it.

Standard library only, Python 3.10 or newer. The environment is a virtual environment under
``DISTILLERY_HOME``, named after a hash of ``requirements.lock``, Python's version and the platform, so that
checkouts with the same pins share it and a changed pin makes a new one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Loaded by path from the launcher, where there is no package yet.
if __package__:
    from ...nodes.model_files.file_lock import exclusive
    from ..paths import HomeError, home
    from . import pypi
    from .steps import Say, SetupError, Steps, inherited_lock, once, run_step, say_to_stderr
else:
    _HERE = Path(__file__).resolve().parent
    sys.path[:0] = [str(_HERE), str(_HERE.parent), str(_HERE.parents[1] / "nodes" / "model_files")]
    import pypi  # type: ignore[import-not-found,no-redef]
    from file_lock import exclusive  # type: ignore[import-not-found,no-redef]
    from paths import HomeError, home  # type: ignore[import-not-found,no-redef]
    from steps import (  # type: ignore[import-not-found,no-redef]
        Say,
        SetupError,
        Steps,
        inherited_lock,
        once,
        run_step,
        say_to_stderr,
    )  # fmt: skip

    del sys.path[:3]

OLDEST, NEWEST = (3, 10), (3, 13)
MARKER = ".complete"
"""Written last: an environment without it is unfinished and is completed by the next run."""
TOOLS_MARKER = ".tools"
"""Holds the hash of the requirements-dev.lock whose packages are in the environment too."""
ADDED = {"cluster": "what a cluster needs", "bot": "what the bot needs"}
"""Extras that are installed once a command needs them, with what to call them: each has a requirements-NAME.lock, and a
marker ``.NAME`` that holds the lock's hash."""
NEEDED_BYTES = (12 if sys.platform == "linux" else 5) * 2**30
"""Disk that an environment with torch takes while it is made, downloads included; on Linux torch brings CUDA."""

USAGE = """\
usage: distillery COMMAND …

  upscale SOURCE…         upscale images 2x, keeping their prompts, LoRAs and other parameters
  checkmetadata SOURCE    show what an image says of how it was made
  server start|stop|status|logs
                          the managed ComfyUI
  worker                  run the jobs of a cluster on this machine's ComfyUIs
  jobs list|show|cancel|retry|dead|replay
                          the jobs of a cluster
  bot                     the Discord bot
  doctor                  what is there, what is missing, what to do
  test [pytest options]   run the tests
  check                   lint, types, import rules and the quick tests, in about a minute
  python …                the environment's Python, with this checkout importable as distillery

The first command sets up an environment with PyTorch (about 7 GB on Linux) in
{home}
(DISTILLERY_HOME moves it). `distillery COMMAND --help` tells more.
"""

_HOOK = '''\
"""Makes `import distillery` find the checkout that DISTILLERY_CHECKOUT names."""
import os
import sys


class CheckoutFinder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        root = os.environ.get("DISTILLERY_CHECKOUT")
        if name != "distillery" or not root:
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(name, os.path.join(root, "__init__.py"), submodule_search_locations=[root])


sys.meta_path.insert(0, CheckoutFinder)
'''


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:2])) -> None:
    """Raise SetupError where this Python is not one of those that the pins are made for."""
    if OLDEST <= version[:2] <= NEWEST:
        return
    found = _suitable_python()
    advice = f"{found} is installed" if found else "Install one"
    raise SetupError(
        f"This is Python {_dotted(version)} ({sys.executable}); Python {_dotted(OLDEST)} to {_dotted(NEWEST)} is "
        f"needed. {advice}: run the launcher with it, for example: {found or 'python3.12'} distillery doctor"
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version[:2]))


def _suitable_python() -> str | None:
    """A command that runs a Python of the right version, the newest one."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = f"python3.{minor}"
        # It is run, because version managers leave commands of that name that do nothing.
        if shutil.which(name) and subprocess.run([name, "-I", "-c", ""], capture_output=True).returncode == 0:
            return name
    return None


def environment_name(lock: bytes) -> str:
    """Folder name of the environment for a requirements.lock."""
    # Line ends differ between checkouts on Windows and elsewhere and say nothing.
    identity = lock.replace(b"\r\n", b"\n") + f"{sys.version_info[:2]}{sys.platform}{platform.machine()}".encode()
    return f"env-{hashlib.sha256(identity).hexdigest()[:12]}"


def environment_dir(root: Path) -> Path:
    """The environment of a checkout, made or not."""
    return home() / environment_name((root / "requirements.lock").read_bytes())


def environment_python(directory: Path) -> Path:
    """The interpreter of an environment."""
    return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_complete(directory: Path) -> bool:
    """Return True if an environment was made to its end."""
    return (directory / MARKER).is_file() and environment_python(directory).exists()


def ensure_environment(root: Path, say: Say = say_to_stderr) -> Path:
    """Make the environment if it is not there; returns its interpreter.

    Safe to interrupt and to run twice at once: one makes it while the other waits, and what is
    unfinished is completed. Raises SetupError.
    """
    directory = environment_dir(root)
    if is_complete(directory):
        return environment_python(directory)
    check_python()
    try:
        home().mkdir(parents=True, exist_ok=True)
        waiting = once(say, "Another distillery is setting up; waiting for it.")
        with exclusive(home() / f"{directory.name}.lock", waiting):
            if not is_complete(directory):
                _make(root, directory, say)
    except OSError as error:
        raise SetupError(f"Cannot set up in {home()}: {error}. DISTILLERY_HOME names another folder.") from error
    return environment_python(directory)


def _make(root: Path, directory: Path, say: Say) -> None:
    lock = root / "requirements.lock"
    large = b"\ntorch==" in b"\n" + lock.read_bytes()
    if large:
        _check_disk(directory)
    steps = Steps(say)
    size = " (once; about 7 GB on Linux, less elsewhere; a few minutes on a fast line)" if large else ""
    say(f"Setting up in {directory}{size}.")
    python = environment_python(directory)
    log = directory.with_name(f"{directory.name}.log")
    with inherited_lock(directory.with_name(f"{directory.name}.steps.lock"), say) as held:
        if _works(python):
            steps("going on with what is there")
            _forget_half_installed(_site_packages(python))
        else:
            steps("making a virtual environment")
            venv = [sys.executable, pypi.ISOLATED, "-m", "venv", "--clear", str(directory)]
            run_step(venv, "venv", log, steps, held, child_environment())
        _install(python, lock, log, steps, held, "resolving and downloading packages")
        _install_hook(_site_packages(python))
        steps("importing what was installed")
        _verify(python, lock, directory, log)
        (directory / MARKER).write_text(f"{platform.python_version()}\n", encoding="utf-8")
    steps("ready")


def _install(python: Path, lock: Path, log: Path, steps: Steps, held: tuple[int, ...], doing: str) -> None:
    """Have pip install what a lock pins; each file's hash is compared before anything of it is run."""
    try:
        variables = pypi.pip_environment(python, "install")
    except pypi.PipError as error:
        raise SetupError(f"pip cannot read its configuration: {error}. See: pip config debug") from error
    steps(doing)
    # A new pip is not needed for the pins, and asking for one would cost a request.
    command = pypi.pip(python, "install", "--require-hashes", "-r", str(lock))
    run_step(command, "pip", log, steps, held, variables)


def _verify(python: Path, lock: Path, directory: Path, log: Path) -> None:
    """Raise SetupError where pip ended well and what it should have installed cannot be imported all the same."""
    command = [str(python), pypi.ISOLATED, str(Path(__file__).with_name("verify.py")), str(lock)]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=child_environment(), encoding="utf-8",
        errors="replace",
    )  # fmt: skip
    if result.returncode:
        with log.open("a", encoding="utf-8", errors="replace") as file:
            file.write(result.stdout + result.stderr)
        lines = (result.stdout.strip() or result.stderr.strip() or "it said nothing").splitlines()
        shown = "\n".join(f"    {line[:300]}" for line in lines[:4])
        raise SetupError(
            f"The environment was made, and does not work. If its folder was changed meanwhile, delete {directory} and "
            f"run the command again; else this system lacks something that a package needs.\n{shown}\n"
            f"  (all of it: {log})"
        )


def ensure_tools(root: Path, say: Say = say_to_stderr) -> None:
    """Install what tests and checks need into the environment, which has been made, if it is not there.

    Raises SetupError.
    """
    lock = root / "requirements-dev.lock"
    if not lock.is_file() or not (root / "tests").is_dir():
        raise SetupError(f"{root} is a copy without tests and tools: clone the repository for them.")
    _add(root, lock, TOOLS_MARKER, "installing what tests and checks need", say)


def ensure_added(root: Path, extras: Sequence[str], say: Say = say_to_stderr) -> None:
    """Install extras into the environment, which has been made, where they are not there. Raises SetupError."""
    for name in extras:
        _add(root, root / f"requirements-{name}.lock", f".{name}", f"installing {ADDED[name]}", say)


def extras_of(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the extras that a command cannot be run without."""
    if arguments[0] == "bot":
        return ("cluster", "bot")
    clustered = arguments[0] in ("worker", "jobs") or any(a.lower().split("=")[0] == "--cluster" for a in arguments)
    return ("cluster",) if clustered else ()


def _add(root: Path, lock: Path, name: str, doing: str, say: Say) -> None:
    """Install what a lock pins into the environment, unless the marker of that name says that it is there."""
    directory = environment_dir(root)
    marker, wanted = directory / name, hashlib.sha256(lock.read_bytes()).hexdigest()

    def there() -> bool:
        return marker.is_file() and marker.read_text(encoding="utf-8") == wanted

    if there():
        return
    try:
        waiting = once(say, "Another distillery is setting up; waiting for it.")
        with exclusive(home() / f"{directory.name}.lock", waiting):
            if there():
                return
            steps = Steps(say)
            marker.unlink(missing_ok=True)
            log = directory.with_name(f"{directory.name}.log")
            with inherited_lock(directory.with_name(f"{directory.name}.steps.lock"), say) as held:
                _forget_half_installed(_site_packages(environment_python(directory)))
                _install(environment_python(directory), lock, log, steps, held, doing)
            marker.write_text(wanted, encoding="utf-8")
            steps("ready")
    except OSError as error:
        raise SetupError(f"Cannot set up in {home()}: {error}. DISTILLERY_HOME names another folder.") from error


def _check_disk(directory: Path) -> None:
    there = sum(f.lstat().st_size for f in directory.rglob("*") if f.is_file()) if directory.is_dir() else 0
    free, needed = shutil.disk_usage(directory.parent).free, NEEDED_BYTES - there
    if free < needed:
        raise SetupError(
            f"The disk of {directory.parent} has {free / 2**30:.1f} GiB free; setting up needs {needed / 2**30:.1f} "
            "GiB. Make room, or set DISTILLERY_HOME to a folder on another disk."
        )


def _works(python: Path) -> bool:
    """Return True if a virtual environment is whole enough to run pip: its making may have been interrupted."""
    if not python.exists():
        return False
    command = [str(python), pypi.ISOLATED, "-m", "pip", "--version"]
    check = subprocess.run(command, capture_output=True, env=child_environment())
    return check.returncode == 0


def _forget_half_installed(site: Path) -> None:
    """Have pip install again what it was installing when it was interrupted.

    pip takes a package for installed as soon as its metadata is there, which may be before its code is;
    INSTALLER is written after both.
    """
    for metadata in site.glob("*.dist-info"):
        if not (metadata / "INSTALLER").exists():
            shutil.rmtree(metadata)


def _site_packages(python: Path) -> Path:
    query = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    command = [str(python), pypi.ISOLATED, "-c", query]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=child_environment())
    return Path(answer.stdout.strip())


def _install_hook(site: Path) -> None:
    (site / "distillery_checkout.py").write_text(_HOOK, encoding="utf-8")
    (site / "distillery_checkout.pth").write_text("import distillery_checkout\n", encoding="utf-8")


def child_environment(root: Path | None = None) -> dict[str, str]:
    """Environment variables for what runs in the environment: nothing of the caller's Python leaks in."""
    variables = pypi.child_environment()
    if root is not None:
        variables["DISTILLERY_CHECKOUT"] = str(root)
        variables["DISTILLERY_HOME"] = str(home())
    return variables


def command_line(root: Path, python: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command to run in the environment for the launcher's arguments."""
    if arguments[0] == "python":
        return [str(python), *arguments[1:]]
    start = [str(python), str(Path(__file__).with_name("start.py"))]
    if arguments[0] == "test":
        pytest = [*start, "pytest", "-c", str(root / "pyproject.toml"), "--rootdir", str(root)]
        return [*pytest, *_test_paths(root, arguments[1:])]
    if arguments[0] == "check":
        return [*start, "distillery.tools.check", *arguments[1:]]
    return [*start, "distillery.driver", *arguments]


def _test_paths(root: Path, options: Sequence[str]) -> list[str]:
    """pytest's arguments; without a path of the caller's, the tests folder of this checkout."""
    named = any(not option.startswith("-") and Path(option.split("::")[0]).exists() for option in options)
    return [*options] if named else [*options, str(root / "tests")]


def _end_on_signals() -> None:
    """Have a terminated launcher end its pip too, where the default would leave that behind."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)


def main(arguments: Sequence[str], root: Path) -> int:
    """The launcher. Returns an exit code; on POSIX it does not return once the environment is there."""
    try:
        check_python()
        directory = environment_dir(root)
        if (not arguments or arguments[0] in ("-h", "--help", "help")) and not is_complete(directory):
            print(USAGE.format(home=home()))
            return 0
        if is_complete(directory):
            python = environment_python(directory)
        else:
            _end_on_signals()
            python = ensure_environment(root)
        if arguments and arguments[0] in ("test", "check"):
            _end_on_signals()
            ensure_tools(root)
        elif arguments and (extras := extras_of(arguments)):
            _end_on_signals()
            ensure_added(root, extras)
    except (SetupError, HomeError) as error:
        say_to_stderr(f"distillery: {error}")
        return 1
    except OSError as error:
        say_to_stderr(f"distillery: cannot use {home()}: {error}. DISTILLERY_HOME names another folder.")
        return 1
    except KeyboardInterrupt:
        say_to_stderr("\ndistillery: interrupted; the next command goes on from here.")
        return 130
    if not arguments or arguments[0] == "help":
        arguments = ["--help"]
    command = command_line(root, python, arguments)
    variables = child_environment(root)
    if os.name != "nt":
        sys.stdout.flush()
        os.execve(command[0], command, variables)
    # Windows has no exec; Ctrl-C reaches the child by itself, so here it only must not end the wait.
    process = subprocess.Popen(command, env=variables)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
