"""What the launcher does before anything is installed: make the environment once, then run in it.

Standard library only, Python 3.10 or newer. The environment is a virtual environment under
``DISTILLERY_HOME``, named after a hash of ``requirements.lock``, Python's version and the platform, so that
checkouts with the same pins share it and a changed pin makes a new one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Loaded by path from the launcher, where there is no package yet.
if __package__:
    from ..nodes.file_lock import exclusive
    from .paths import home
else:
    _HERE = Path(__file__).resolve().parent
    sys.path[:0] = [str(_HERE), str(_HERE.parent / "nodes")]
    from file_lock import exclusive  # type: ignore[import-not-found,no-redef]
    from paths import home  # type: ignore[import-not-found,no-redef]

    del sys.path[:2]

OLDEST, NEWEST = (3, 10), (3, 13)
MARKER = ".complete"
"""Written last: an environment without it is unfinished and is completed by the next run."""
NEEDED_BYTES = 12 * 2**30
"""Free disk that an environment with torch takes while it is made, downloads included."""

USAGE = """\
usage: distillery COMMAND …

  upscale SOURCE…         upscale images 2x, keeping their prompts, LoRAs and other parameters
  checkmetadata SOURCE    show what an image says of how it was made
  server start|stop|status|logs
                          the managed ComfyUI
  doctor                  what is there, what is missing, what to do
  test [pytest options]   run the tests
  python …                the environment's Python, with this checkout importable as distillery

The first command sets up an environment with PyTorch (about 5.5 GB on Linux) in
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

Say = Callable[[str], None]


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def say_to_stderr(text: str) -> None:
    """The launcher's way of telling what it does."""
    print(text, file=sys.stderr, flush=True)


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:2])) -> None:
    """Raise SetupError where this Python is not one of those that the pins are made for."""
    if not OLDEST <= version[:2] <= NEWEST:
        raise SetupError(
            f"This is Python {'.'.join(map(str, version[:2]))} ({sys.executable}); Python "
            f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))} is needed. "
            "Install one and run the launcher with it, for example: python3.12 distillery doctor"
        )


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
    """Whether an environment was made to its end."""
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
        with exclusive(home() / f"{directory.name}.lock", _once(say, "Another distillery is setting up; waiting for it.")):
            if not is_complete(directory):
                _make(root, directory, say)
    except OSError as error:
        raise SetupError(f"Cannot set up in {home()}: {error}. DISTILLERY_HOME names another folder.") from error
    return environment_python(directory)


def _once(say: Say, text: str) -> Callable[[], None]:
    """A callback that tells the text the first time."""
    told: list[str] = []

    def tell() -> None:
        if not told:
            told.append(text)
            say(text)

    return tell


def _make(root: Path, directory: Path, say: Say) -> None:
    lock = root / "requirements.lock"
    large = b"\ntorch==" in b"\n" + lock.read_bytes()
    free = shutil.disk_usage(home()).free
    if large and free < NEEDED_BYTES:
        raise SetupError(
            f"{home()} has {free / 2**30:.1f} GiB free; setting up needs {NEEDED_BYTES / 2**30:.0f} GiB. Make room, or set "
            "DISTILLERY_HOME to a folder on another disk."
        )
    started = time.monotonic()
    say(f"Setting up in {directory}" + (" (once; about 5.5 GB on Linux, a few minutes)." if large else "."))
    python = environment_python(directory)
    if not _works(python):
        say("  making a virtual environment")
        _run([sys.executable, "-m", "venv", "--clear", str(directory)], directory, "venv", lambda line: None)
    # A new pip is not needed for the pins, and asking for one would cost a request.
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    _run([*command, "-r", str(lock)], directory, "pip", _PipReporter(say))
    _install_hook(python)
    (directory / MARKER).write_text(f"{platform.python_version()}\n", encoding="utf-8")
    say(f"  ready after {time.monotonic() - started:.0f} s")


def _works(python: Path) -> bool:
    """Whether a virtual environment is whole enough to run pip: its making may have been interrupted."""
    if not python.exists():
        return False
    check = subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, env=child_environment())
    return check.returncode == 0


class _PipReporter:
    """Turns pip's output into a few lines that people understand."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.packages = 0

    def __call__(self, line: str) -> None:
        large = re.match(r"\s*Downloading (\S+?)-(\d\S*?)-\S+\.whl.* \((\d+(?:\.\d+)? [MG]B)\)", line)
        if large and (large[3].endswith("GB") or float(large[3].split()[0]) >= 50):
            self.say(f"  downloading {large[1]} {large[2]} ({large[3]})")
        elif line.startswith("Installing collected packages"):
            self.say(f"  installing {line.count(',') + 1} packages (this is the long part)")


def _run(command: Sequence[str], directory: Path, what: str, report: Callable[[str], None]) -> None:
    """Run a step of the set-up, its output in a log; SetupError with its last words where it fails."""
    log = directory.with_name(f"{directory.name}.log")
    tail: list[str] = []
    with log.open("a", encoding="utf-8", errors="replace") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=child_environment(),
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                tail = [*tail[-7:], line.rstrip()]
                report(line)
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code:
        raise SetupError(_failure(what, [line for line in tail if line], log))


def _failure(what: str, tail: list[str], log: Path) -> str:
    text = "\n".join(tail)
    if "No space left" in text or "not enough space" in text:
        advice = "The disk is full: make room, or set DISTILLERY_HOME to a folder on another disk."
    elif "ensurepip" in text:
        advice = "Python's venv module is incomplete here: on Debian and Ubuntu install python3-venv."
    elif re.search(r"Connection|Name or service|Temporary failure|Could not fetch|No matching distribution|timed out", text):
        advice = "The package index could not be reached, or lacks a pinned version: check the network and pip's configuration."
    else:
        advice = "Run the command again; what is done already is kept."
    shown = "\n".join(f"    {line[:300]}" for line in tail[-4:])
    return f"{what} failed. {advice}\n{shown}\n  (all of it: {log})"


def _install_hook(python: Path) -> None:
    query = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    out = subprocess.run([str(python), "-c", query], capture_output=True, text=True, check=True, env=child_environment())
    site = Path(out.stdout.strip())
    (site / "distillery_checkout.py").write_text(_HOOK, encoding="utf-8")
    (site / "distillery_checkout.pth").write_text("import distillery_checkout\n", encoding="utf-8")


def child_environment(root: Path | None = None) -> dict[str, str]:
    """Environment variables for what runs in the environment: nothing of the caller's Python leaks in."""
    leaks = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONUSERBASE", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")
    variables = {k: v for k, v in os.environ.items() if k not in leaks}
    variables["PYTHONNOUSERSITE"] = "1"
    if root is not None:
        variables["DISTILLERY_CHECKOUT"] = str(root)
        variables["DISTILLERY_HOME"] = str(home())
    return variables


def command_line(root: Path, python: Path, arguments: Sequence[str]) -> list[str]:
    """What to run in the environment for the launcher's arguments."""
    if arguments[0] == "python":
        return [str(python), *arguments[1:]]
    if arguments[0] == "test":
        return [str(python), "-m", "pytest", "-c", str(root / "pyproject.toml"), "--rootdir", str(root), *_test_paths(root, arguments[1:])]
    return [str(python), "-m", "distillery.driver", *arguments]


def _test_paths(root: Path, options: Sequence[str]) -> list[str]:
    """pytest's arguments; without a path of the caller's, the tests folder of this checkout."""
    named = any(not option.startswith("-") and Path(option.split("::")[0]).exists() for option in options)
    return [*options] if named else [*options, str(root / "tests")]


def main(arguments: Sequence[str], root: Path) -> int:
    """The launcher. Returns an exit code; on POSIX it does not return once the environment is there."""
    try:
        check_python()
        directory = environment_dir(root)
        if (not arguments or arguments[0] in ("-h", "--help", "help")) and not is_complete(directory):
            print(USAGE.format(home=home()))
            return 0
        python = ensure_environment(root)
    except SetupError as error:
        say_to_stderr(f"distillery: {error}")
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
