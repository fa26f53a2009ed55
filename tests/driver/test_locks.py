"""The locks: what they pin, for whom, and that everything in them has a hash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distillery.driver.setup import verify

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
TOOLS = ("pytest", "pytest-timeout", "hypothesis", "ruff", "mypy", "import-linter", "comfy-cli", "types-requests")


def entries(name: str) -> dict[str, set[str]]:
    """The lines that pin each package, without hashes."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if re.match(r"[a-z0-9]", line):
            found.setdefault(line.split("==")[0], set()).add(line.removesuffix("\\").strip())
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.search(r"\\\n    --hash=sha256:[0-9a-f]{64}", block), block
    assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_an_artist_gets_no_tools_of_development() -> None:
    assert not set(TOOLS) & set(entries("requirements.lock"))
    assert set(TOOLS) <= set(entries("requirements-dev.lock"))


def test_the_tools_leave_the_environment_as_it_is() -> None:
    """Where both locks pin a package, they pin the same versions."""

    def versions(lines: set[str]) -> set[str]:
        return {line.split(";")[0].strip() for line in lines}

    runtime = entries("requirements.lock")
    for name, lines in entries("requirements-dev.lock").items():
        if name in runtime:
            assert versions(lines) <= versions(runtime[name]), name


def test_what_is_imported_before_an_environment_is_complete_is_pinned() -> None:
    pinned = {name for name, _, _ in verify.pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))}
    assert set(verify.IMPORTED) <= pinned
