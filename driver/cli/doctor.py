"""``distillery doctor``: checks of the installation, each with a remedy."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import requests
from rich.console import Console
from rich.text import Text

from ...nodes.model_files.download import OFFLINE, offline
from ...nodes.model_files.families import missing_parts
from ...nodes.model_files.names import EXTENSIONS, match_name
from ...nodes.model_files.ultrasharp import LICENCE, SIZE
from ...nodes.model_files.upscalers import REALESRGAN, ULTRASHARP
from ...nodes.parameters import MINI_NAME
from .. import paths
from ..errors import ServerError
from ..server import managed, probe
from ..setup import comfyui, launcher
from ..setup.steps import SetupError

State = Literal["ok", "note", "later", "missing"]
"""``note``: no action needed, but it may matter; ``later``: installed automatically on first use."""

LOOKING_TIME = 10.0
"""Seconds for looking into model files; thousands on a network drive would take minutes."""
LOW_DISK_BYTES = 2 * 2**30
"""Free bytes below which a job may fail: models that are assembled, temporary files, results."""
_STYLES: dict[State, str] = {"ok": "green", "note": "cyan", "later": "yellow", "missing": "bold red"}
_PROBE_TIMEOUT = 300


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    state: State
    found: str
    todo: str | None = None


def diagnose() -> Iterator[Check]:
    """Run every check, the quick ones first."""
    home, models = paths.home(), paths.models_dir()
    yield check_python(sys.version_info[:3])
    yield check_environment(paths.checkout(), Path(sys.prefix))
    yield check_disk(home)
    yield from check_variables(os.environ)
    yield from check_models(models, offline())
    yield from check_servers()
    yield from check_leftovers(home, paths.checkout())
    yield check_torch()
    source = check_comfyui(comfyui.comfyui_dir(), offline())
    yield source
    yield check_pack(comfyui.comfyui_dir() if source.state == "ok" else None)


def check_python(version: tuple[int, ...]) -> Check:
    """Check that the pinned packages support this Python."""
    found = f"{'.'.join(map(str, version))} ({sys.executable})"
    try:
        launcher.check_python(version)
    except SetupError as error:
        return Check("Python", "missing", found, str(error))
    return Check("Python", "ok", found)


def check_environment(root: Path, prefix: Path) -> Check:
    """Check that the launcher's environment is complete, and that this runs in it."""
    if not (root / "requirements.lock").is_file():
        return Check("environment", "note", f"{prefix}: installed as a package, without the launcher")
    directory = launcher.environment_dir(root)
    if not launcher.is_complete(directory):
        return Check("environment", "missing", f"{directory} is not complete", "Run: ./distillery doctor")
    if not prefix.exists() or not os.path.samefile(prefix, directory):
        return Check(
            "environment",
            "note",
            f"this runs in {prefix}, not in {directory}",
            "The launcher uses the latter: ./distillery",
        )
    return Check("environment", "ok", str(directory))


def check_disk(home: Path) -> Check:
    """Check for free space for models, temporary files and results."""
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 2**30:.1f} GiB free in {home}"
    if free < LOW_DISK_BYTES:
        return Check("disk", "missing", found, "Make room, or set DISTILLERY_HOME to a folder on another disk.")
    return Check("disk", "ok", found)


def check_variables(environ: Mapping[str, str]) -> Iterator[Check]:
    """List the environment variables that configure this project."""
    # The launcher sets these two for its children; the second one is in the line of the disk.
    for name in sorted(set(environ) - {"DISTILLERY_CHECKOUT", "DISTILLERY_HOME"}):
        if name.startswith("DISTILLERY_"):
            yield Check("variable", "note", f"{name}={environ[name]}")


def check_torch() -> Check:
    """Check that PyTorch, torchvision and torchaudio import, and name their device."""
    answer = _run_python(_TORCH_PROBE)
    if answer.returncode:
        return Check("PyTorch", "missing", _last_line(answer.stderr), _remake_environment())
    version, device, kind = json.loads(answer.stdout.splitlines()[-1])
    found = f"{version} on {device}"
    if kind != "cpu":
        return Check("PyTorch", "ok", found)
    if shutil.which("nvidia-smi"):
        todo = "There is an NVIDIA driver, but PyTorch cannot use it: update the driver (CUDA 13 is needed)."
        return Check("PyTorch", "note", f"{found}: works, but slowly", todo)
    return Check("PyTorch", "note", f"{found}: works, but slowly; no graphics card that PyTorch can use was found")


def check_comfyui(directory: Path, no_downloads: bool) -> Check:
    """Check that ComfyUI is unpacked."""
    name = f"ComfyUI {comfyui.VERSION}"
    if (directory / "main.py").is_file():
        return Check(name, "ok", str(directory))
    if directory.exists():
        return Check(
            name, "missing", f"{directory} is damaged: it has no main.py", f"Delete {directory}; it is made again."
        )
    if no_downloads:
        todo = f"Unset {OFFLINE} once to fetch it (12 MB), or use one of your own with --comfyui DIR."
        return Check(name, "missing", f"not in {directory}", todo)
    return Check(
        name, "later", f"not in {directory}", "Fetched (12 MB) on first use, or now: ./distillery server start"
    )


def check_pack(directory: Path | None) -> Check:
    """Check that ComfyUI loads this pack's nodes: ask a running server, or else import them."""
    for name in managed.instances():
        running = managed.status(name)
        if running is not None and running.answers:
            try:
                if probe.pack_present(running.endpoint):
                    return Check("node pack", "ok", f"loaded by the server at {running.url}")
            except (requests.RequestException, ValueError):
                continue
    if directory is None:
        return Check("node pack", "note", "not checked: that takes ComfyUI")
    answer = _run_python(_PACK_PROBE, str(directory), str(paths.checkout()))
    if answer.returncode:
        todo = "Restore this checkout (git status tells what was changed), or report it."
        return Check("node pack", "missing", f"does not load: {_last_line(answer.stderr)}", todo)
    return Check("node pack", "ok", f"{answer.stdout.split()[-1]} nodes load in ComfyUI")


def check_models(models: Path, no_downloads: bool) -> Iterator[Check]:
    """Count the installed models, and check that the default ones are there or can be fetched."""
    folders = ("checkpoints", "loras", "vae", "upscale_models")
    installed = {folder: _models_in(models / folder) for folder in folders}
    counts = ", ".join(f"{len(installed[folder])} {folder.replace('_', ' ')}" for folder in folders)
    yield Check("models", "ok" if models.is_dir() else "later", f"{counts} in {models}")

    upscalers = installed["upscale_models"]
    ultrasharp, stand_in = match_name(ULTRASHARP, upscalers), match_name(REALESRGAN, upscalers)
    if ultrasharp:
        yield _check_file("upscaler", models / "upscale_models" / ultrasharp, ULTRASHARP, "missing")
    elif not no_downloads:
        yield Check(
            "upscaler", "later", f"no {ULTRASHARP}", f"Downloaded on first use ({SIZE / 1e6:.0f} MB). {LICENCE}"
        )
    elif stand_in:
        todo = f"Put {ULTRASHARP} into {models / 'upscale_models'}, or unset {OFFLINE}."
        yield Check("upscaler", "note", f"no {ULTRASHARP}: {stand_in} stands in for it", todo)
    else:
        todo = f"Put {ULTRASHARP} or another upscale model into {models / 'upscale_models'}, or unset {OFFLINE}."
        yield Check("upscaler", "missing", "no upscale model, and downloads are forbidden", todo)
    if stand_in:
        damaged: State = "note" if ultrasharp else "missing"
        yield _check_file("stand-in upscaler", models / "upscale_models" / stand_in, stand_in, damaged)
    elif not no_downloads:
        yield Check("stand-in upscaler", "later", f"no {REALESRGAN}", "Fetched (43 MB) on first use.")

    own = [name for name in installed["checkpoints"] if not match_name(MINI_NAME, [name])]
    if own:
        yield Check("checkpoints", "ok", _some(own))
    else:
        yield Check(
            "checkpoints",
            "note",
            f"none but the built-in {Path(MINI_NAME).stem}, a tiny model that shows the pipeline, no more",
            f"Put the checkpoints of your images into {models / 'checkpoints'} (LoRAs into loras, VAEs into vae), "
            "or set DISTILLERY_MODELS to a models folder that you have.",
        )
    if match_name(MINI_NAME, installed["checkpoints"]):
        yield Check("built-in checkpoint", "ok", MINI_NAME)
    else:
        yield Check("built-in checkpoint", "later", f"no {MINI_NAME}", "Assembled (283 MB, no download) on first use.")
    rest = [
        models / folder / name for folder in folders for name in installed[folder] if name not in (ultrasharp, stand_in)
    ]
    yield from check_files(rest, models / "checkpoints")


def check_files(files: Sequence[Path], checkpoints: Path) -> Iterator[Check]:
    """Look into model files, without reading a tensor, and list those that cannot be loaded."""
    end = time.monotonic() + LOOKING_TIME
    for count, path in enumerate(files):
        if time.monotonic() > end:
            yield Check(
                "model files", "note", f"only {count} of {len(files)} looked into: that took {LOOKING_TIME:g} s"
            )
            return
        check = _check_file("model file", path, str(path), "note")
        lacks = missing_parts(path) if path.is_relative_to(checkpoints) and check.state == "ok" else ()
        if lacks:
            todo = "Diffusion models alone belong into diffusion_models; a checkpoint without VAE needs the VAE of its images."
            yield Check("model file", "note", f"{path} has no {' and no '.join(lacks)}", todo)
        elif check.state != "ok":
            yield check


def _check_file(name: str, path: Path, found: str, damaged: State) -> Check:
    from ...nodes.model_files.faults import fault_of  # brings Pillow along, which --help does not need

    fault = fault_of(path)
    if fault is None:
        return Check(name, "ok", found)
    what, _, todo = fault.partition(". ")
    return Check(name, damaged, f"{path} {what}", todo or f"Until then, move {path} away.")


def check_servers() -> Iterator[Check]:
    """List the running managed servers."""
    for name in managed.instances():
        found = managed.status(name)
        if found is None:
            continue
        text = f"{name}: {found.url} (pid {found.pid}, {found.memory / 2**30:.1f} GiB of memory)"
        if found.answers:
            yield Check("server", "ok", text)
        else:
            todo = f"It starts, or hangs. If it stays so: ./distillery server stop --name {name}"
            yield Check("server", "note", f"{text} does not answer", todo)


def check_leftovers(home: Path, root: Path) -> Iterator[Check]:
    """List environments and ComfyUIs of other versions of this project. Other checkouts may use them."""
    if not home.is_dir():
        return
    keep = {comfyui.comfyui_dir().name}
    if (root / "requirements.lock").is_file():
        keep.add(launcher.environment_dir(root).name)
    for pattern, what in (("env-*", "environment"), ("comfyui-*", "ComfyUI")):
        for folder in sorted(home.glob(pattern)):
            if folder.is_dir() and folder.name not in keep:
                remove = f'rmdir /s "{folder}"' if os.name == "nt" else f"rm -r '{folder}'"
                todo = f"If no other checkout uses it, delete it: {remove}"
                yield Check(f"other {what}", "note", str(folder), todo)


# --- help --------------------------------------------------------------------------------------------------------

_TORCH_PROBE = """
import json, platform, torch, torchvision, torchaudio
if torch.cuda.is_available():
    card = torch.cuda.get_device_properties(0)
    device, kind = f"{card.name} ({card.total_memory / 2**30:.0f} GiB)", "cuda"
elif torch.backends.mps.is_available():
    device, kind = "Apple's GPU (MPS)", "mps"
elif torch.accelerator.is_available():
    device, kind = torch.accelerator.current_accelerator().type, "other"
else:
    device, kind = f"the CPU ({torch.get_num_threads()} threads)", "cpu"
print(json.dumps([torch.__version__, device, kind]))
"""

# As ComfyUI does it: by path, under a name of its own, with ComfyUI's modules on the path.
_PACK_PROBE = """
import asyncio, importlib.util, sys
comfyui, pack = sys.argv[1:]
sys.path.insert(0, comfyui)
sys.argv = ["main.py"]
from comfy.cli_args import args
args.cpu = True
import nodes
spec = importlib.util.spec_from_file_location("pack", f"{pack}/__init__.py", submodule_search_locations=[pack])
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
async def load():
    return await (await module.comfy_entrypoint()).get_node_list()
found = asyncio.run(load())
for node in found:
    node.GET_SCHEMA()
print(len(found))
"""


def _run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, so that this one stays quick and what crashes does not take it along."""
    # Without the current folder, whose modules would be imported in place of Python's own.
    command = [sys.executable, "-c", f"import sys\nsys.path[:] = filter(None, sys.path)\n{code}", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {_PROBE_TIMEOUT} s")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _remake_environment() -> str:
    if not (paths.checkout() / "requirements.lock").is_file():
        return "Install torch, torchvision and torchaudio."
    return f"Delete {launcher.environment_dir(paths.checkout())} and run: ./distillery doctor"


def _models_in(folder: Path) -> list[str]:
    """Return the model files below a directory, as ComfyUI names them."""
    if not folder.is_dir():
        return []
    found = []
    for directory, _, files in os.walk(folder, followlinks=True):
        found += [str((Path(directory) / f).relative_to(folder)) for f in files if f.lower().endswith(EXTENSIONS)]
    return sorted(found)


def _some(names: list[str], limit: int = 5) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


# --- the command -------------------------------------------------------------------------------------------------


def add_doctor_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``doctor`` to the command line; ``args.run(args)`` runs it."""
    parser = subparsers.add_parser(
        "doctor",
        help="what is there, what is missing, what to do",
        description="What is there, what is missing, what to do. Exit code 1 where something is missing.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON: {ok, home, system, checks: [{name, state, …}]}")
    parser.set_defaults(run=doctor_command)


def doctor_command(args: argparse.Namespace) -> int:
    """Run ``doctor``; 1 if a check found something missing that is not installed automatically, else 0."""
    checks = []
    if args.json:
        checks = list(diagnose())
        report = {
            "ok": is_healthy(checks),
            "home": str(paths.home()),
            "system": platform.platform(),
            "checks": [asdict(check) for check in checks],
        }
        print(json.dumps(report, indent=2))
    else:
        console = Console(highlight=False)
        try:
            for check in diagnose():
                checks.append(check)
                console.print(_line(check), soft_wrap=True)
        except ServerError as error:
            console.print(str(error), markup=False, soft_wrap=True)
            return 1
        missing = sum(check.state == "missing" for check in checks)
        later = any(check.state == "later" for check in checks)
        well = "All that is needed is there" + (", or comes by itself on first use." if later else ".")
        console.print(f"{missing} missing; see above what to do." if missing else well)
    return 0 if is_healthy(checks) else 1


def is_healthy(checks: Iterable[Check]) -> bool:
    """True if no check found something missing."""
    return all(check.state != "missing" for check in checks)


def _line(check: Check) -> Text:
    line = Text.assemble((f"{check.state:8}", _STYLES[check.state]), f"{check.name}: {check.found}")
    if check.todo:
        line.append(f"\n        -> {check.todo}")
    return line
