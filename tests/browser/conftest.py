"""A headless Chromium for the tests of this folder. They are skipped, with the reason, where it cannot be had."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import pytest

from distillery.driver import paths
from distillery.nodes.model_files.download import OFFLINE, offline

if TYPE_CHECKING:
    from editor import Editor

HERE = Path(__file__).resolve().parent


def chromium() -> str | None:
    """The browser of the system; playwright's own download is not used."""
    return next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


def install_playwright() -> None:
    """Make playwright importable: 50 MB that only these tests need, in a folder of their own."""
    wanted = HERE / "requirements.txt"
    paths.home().mkdir(parents=True, exist_ok=True)
    name = f"browser-{hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    folder = paths.home() / name
    with filelock.FileLock(paths.home() / f"{name}.lock"):
        if not (folder / ".complete").exists():
            if offline():
                pytest.skip(f"playwright is not installed, and {OFFLINE} forbids downloads")
            command = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet"]
            done = subprocess.run(
                [*command, "--target", str(folder), "--upgrade", "-r", str(wanted)], capture_output=True, text=True
            )
            if done.returncode:
                pytest.skip(f"playwright cannot be installed: {done.stderr.strip()[-300:]}")
            (folder / ".complete").touch()
    sys.path.append(str(folder))
    importlib.invalidate_caches()


@pytest.fixture(scope="module")  # while playwright runs, nothing else in this process can have an event loop
def browser() -> Iterator[Any]:
    """A running Chromium."""
    executable = chromium()
    if executable is None:
        pytest.skip("there is no Chromium here: install it (Debian: apt-get install chromium)")
    try:
        import playwright  # noqa: F401
    except ImportError:
        install_playwright()
    sys.path.append(str(HERE))
    from editor import launched

    with launched(executable) as running:
        yield running


@pytest.fixture
def open_editor(browser: Any, server: Any) -> Iterator[Callable[..., Editor]]:
    """Opens the real server's editor for a first-time user; it is closed at the test's end."""
    from editor import Editor

    opened: list[Editor] = []

    def visit(settings: Mapping[str, Any] | None = None) -> Editor:
        opened.append(Editor(browser, server.editor_url, settings))
        return opened[-1]

    yield visit
    for editor in opened:
        editor.close()
