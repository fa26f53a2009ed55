"""Lint, types, import rules and the quick tests, in about a minute: ``./distillery check``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START = ROOT / "driver" / "setup" / "start.py"
QUICK = "not slow and not server"


@dataclass(frozen=True)
class Step:
    """A part of the check: commands that are run one after the other, until one fails."""

    name: str
    commands: Sequence[Sequence[str]]
    variables: dict[str, str]

    def run(self) -> tuple[int, str, float]:
        """Return the exit code, what was said, and the seconds that it took."""
        started, said, code = time.monotonic(), "", 0
        for command in self.commands:
            result = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **self.variables}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
            )  # fmt: skip
            said, code = said + result.stdout, result.returncode
            if code:
                break
        return code, said, time.monotonic() - started


def module(name: str, *arguments: str) -> list[str]:
    """Return a command line that runs a module of the environment."""
    return [sys.executable, str(START), name, *arguments]


def lint(fix: bool = False) -> Step:
    """ruff: its rules and its formatting, with ``fix`` carried out where ruff can."""
    check, form = ("--fix",) if fix else (), () if fix else ("--check",)
    commands = [module("ruff", "check", *check, "."), module("ruff", "format", *form, ".")]
    return Step("lint", commands, {})


def types(cache: Path | None = None) -> Step:
    """mypy, over nodes, driver and tools."""
    cache = cache or ROOT / ".mypy_cache"
    packages = [o for name in ("nodes", "driver", "tools") for o in ("-p", f"distillery.{name}")]
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    return Step("types", [module("mypy", *options, *packages)], {"MYPYPATH": str(_as_package(cache))})


def imports() -> Step:
    """The arrows between rooms, by import-linter."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    cache = ROOT / ".mypy_cache" / "imports"
    return Step("imports", [[sys.executable, "-c", code, "--cache-dir", str(cache)]], {})


def quick_tests() -> Iterator[Step]:
    """The tests that are neither slow nor need a server, in two halves that take about as long."""
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-q", "-p", "no:cacheprovider", "-m", QUICK]
    half = [ROOT / "tests" / name for name in ("nodes", "tools")]
    # Their tensors are small: more threads than cores would only wait for each other.
    one_thread = {"OMP_NUM_THREADS": "1"}
    yield Step("tests of nodes and tools", [module("pytest", *options, *map(str, half))], one_thread)
    others = [f"--ignore={folder}" for folder in half]
    yield Step("other tests", [module("pytest", *options, *others, str(ROOT / "tests"))], one_thread)


STEPS: dict[str, Callable[[], Iterable[Step]]] = {
    "lint": lambda: [lint()],
    "types": lambda: [types()],
    "imports": lambda: [imports()],
    "tests": quick_tests,
}


def _as_package(cache: Path) -> Path:
    """Return a folder in which this checkout is called distillery, whatever its own folder is called."""
    parent = cache / "package"
    parent.mkdir(parents=True, exist_ok=True)
    link = parent / "distillery"
    if not link.exists():
        if os.name == "nt":  # a junction, which needs no privilege
            import _winapi

            _winapi.CreateJunction(str(ROOT), str(link))  # type: ignore[attr-defined]
        else:
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT, target_is_directory=True)
    return parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps side by side and show each as it ends; returns 0 where all are well, else 1."""
    parser = argparse.ArgumentParser(
        prog="distillery check", description="Runs lint, types, import rules and the quick tests, in about a minute.",
        epilog="exit codes: 0 all is well, 1 something is not, 2 no such step",
    )  # fmt: skip
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"only these: {', '.join(STEPS)}")
    parser.add_argument("--fix", action="store_true", help="let ruff correct and format what it can first")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.steps if name not in STEPS]
    if unknown:
        parser.error(f"no step is called {unknown[0]!r}; there are {', '.join(STEPS)}")
    if options.fix:
        lint(fix=True).run()
    steps = [step for name in STEPS if not options.steps or name in options.steps for step in STEPS[name]()]
    failed = []
    started = time.monotonic()
    # Two at a time: types and each half of the tests take one core.
    with ThreadPoolExecutor(2) as pool:
        for future in as_completed(running := {pool.submit(step.run): step for step in steps}):
            code, said, seconds = future.result()
            name = running[future].name
            print(f"{'FAILED' if code else 'ok':6}  {name}  ({seconds:.0f} s)", flush=True)
            if code:
                failed.append(name)
                print(said.rstrip(), flush=True)
            elif "tests" in name:
                print(f"        {said.strip().splitlines()[-1]}", flush=True)
    verdict = f"failed: {', '.join(failed)}" if failed else "All is well."
    print(f"{verdict} ({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
