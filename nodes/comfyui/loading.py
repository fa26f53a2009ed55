"""Loading model files through ComfyUI's loaders, with errors that name the file and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import comfy.model_management

from ..errors import DistilleryError
from ..model_files.faults import ModelFileError, fault_of, words_of
from .model_paths import model_path

_WORDS = {
    "checkpoints": "checkpoint", "diffusion_models": "diffusion model", "text_encoders": "text encoder", "vae": "VAE",
    "loras": "LoRA", "upscale_models": "upscale model",
}  # fmt: skip


@contextlib.contextmanager
def loading(kind: str, name: str) -> Iterator[None]:
    """Look at a file before it is loaded, and put what a loader says of it into words.

    kind: ComfyUI's name of the folder. Raises ModelFileError. What is about memory goes on as it is.
    """
    path = model_path(kind, name)
    file = f'The {_WORDS[kind]} "{name}"'
    if path is None:
        raise ModelFileError(f"{file} is not in models/{kind} any more.")
    fault = fault_of(path)
    if fault is not None:
        raise ModelFileError(f"{file} {fault}")
    try:
        yield
    except (DistilleryError, MemoryError):
        raise
    except Exception as error:
        if comfy.model_management.is_oom(error) or "memory" in str(error).lower():
            raise
        raise ModelFileError(f"{file} {words_of(error, path)}") from error
