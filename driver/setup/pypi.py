"""pip and Python as this project runs them: with the user's indexes, and with nothing else of the user's settings.

Standard library only: the launcher loads this before anything is installed.
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ISOLATED = "-I"
"""Option of Python: neither the current folder nor PYTHON* variables reach what is imported."""

_KEPT_OF_PYTHON = frozenset(
    {
        *("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONHASHSEED"),
        *("PYTHONFAULTHANDLER", "PYTHONUTF8", "PYTHONIOENCODING"),
    }
)
"""The caller's PYTHON* variables that change neither what is imported nor how it behaves."""
_LEAKS = frozenset({"VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"})

_KEPT_OF_PIP = frozenset(
    {
        *("index-url", "pypi-url", "extra-index-url", "find-links", "no-index", "trusted-host"),
        *("proxy", "cert", "client-cert", "keyring-provider", "use-feature", "use-deprecated"),
        *("timeout", "default-timeout", "retries", "resume-retries", "cache-dir", "no-cache-dir"),
    }
)
"""pip's options that say where and how packages are fetched. All others (target, prefix, root, user, dry-run,
constraint, quiet, python, …) would put packages elsewhere, or others than those that are locked."""


class PipError(Exception):
    """pip did not do its work; ``str`` is the line of its output that tells most."""


class HashError(PipError):
    """A file that was fetched is not the one that is pinned; nothing of it has been run."""


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables for a Python of ours, without what would change what it imports."""
    environ = os.environ if environ is None else environ
    kept = {k: v for k, v in environ.items() if k not in _LEAKS and (_kept(k) or not k.upper().startswith("PYTHON"))}
    return {**kept, "PYTHONNOUSERSITE": "1"}


def _kept(name: str) -> bool:
    return name.upper() in _KEPT_OF_PYTHON


def pip_environment(python: Path, command: str) -> dict[str, str]:
    """Return the environment variables for ``pip COMMAND``, in which pip reads no configuration file.

    Settings about indexes, proxies and certificates are read from the user's files by pip itself (``pip config
    list``) and handed on as variables. Raises PipError where pip cannot read its configuration.
    """
    variables = child_environment()
    given = {_option(k): k for k in variables if k.upper().startswith("PIP_") and k.upper() != "PIP_CONFIG_FILE"}
    for option, name in given.items():
        if option not in _KEPT_OF_PIP:
            del variables[name]
    # Of pip's options these three could keep even this from telling.
    readable = {**variables, "PIP_PYTHON": str(python), "PIP_QUIET": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    listing = _output([str(python), ISOLATED, "-m", "pip", "config", "list"], readable)
    for option, value in configured(listing.splitlines(), command).items():
        if option in _KEPT_OF_PIP and option not in given:
            variables[f"PIP_{option.upper().replace('-', '_')}"] = value
    return {**variables, "PIP_CONFIG_FILE": os.devnull}


def _option(variable: str) -> str:
    return variable[len("PIP_") :].lower().replace("_", "-")


def configured(listing: Iterable[str], command: str) -> dict[str, str]:
    """Return pip's options for a command from the lines of ``pip config list``, [command] before [global]."""
    found: dict[str, dict[str, str]] = {"global": {}, command: {}}
    for line in listing:
        key, separator, value = line.partition("=")
        section, dot, option = key.partition(".")
        if separator and dot and section in found:
            try:
                text = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                continue
            # Several values are separated by white space, in files by line ends too.
            found[section][option.lower().replace("_", "-")] = " ".join(str(text).split())
    return {**found["global"], **found[command]}


def _output(command: Sequence[str], variables: Mapping[str, str]) -> str:
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=dict(variables), encoding="utf-8", errors="replace"
    )
    if result.returncode:
        raise PipError(last_error(result.stderr or result.stdout))
    return result.stdout


def pip(python: Path, command: str, *arguments: str) -> list[str]:
    """Return the command line of ``pip COMMAND`` with the options that every call of ours has."""
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    return [str(python), ISOLATED, "-m", "pip", command, *options, *arguments]


def download(python: Path, requirement: str, sha256: str, into: Path, *options: str, timeout: float) -> None:
    """Download one file of a package into a folder; its hash is compared before anything of it is run.

    requirement: a pinned one, such as ``name==1.0``. options: more of pip's. timeout: seconds for all of pip's work.
    Raises HashError, PipError and subprocess.TimeoutExpired.
    """
    pinned = into / "requirement.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    arguments = ["--no-deps", *options, "--dest", str(into), "--require-hashes", "-r", str(pinned)]
    try:
        result = subprocess.run(
            pip(python, "download", *arguments),
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout,
            env=pip_environment(python, "download"),
        )  # fmt: skip
    finally:
        pinned.unlink(missing_ok=True)
    if result.returncode:
        kind = HashError if is_hash_mismatch(result.stderr) else PipError
        raise kind(last_error(result.stderr))


def is_hash_mismatch(text: str) -> bool:
    """True if pip's output says that a file is another than the pinned one."""
    return "DO NOT MATCH THE HASHES" in text


def last_error(text: str) -> str:
    """Return the line of pip's output that tells most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or [line for line in lines if "No module" in line]
    return (errors or lines or ["it said nothing"])[0].removeprefix("ERROR:").strip().rstrip(".")
