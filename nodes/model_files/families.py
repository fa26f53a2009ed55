"""Detect the family of a checkpoint or LoRA by the shapes of its tensors.

As ComfyUI's own model detection does it: the width of the text features that cross attention takes names
the family, the channels of the UNet's first convolution tell an inpainting model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..files import Stamp, file_stamp
from .safetensors_header import Header, HeaderError, read_header

CONTEXT = {768: "sd15", 1024: "sd21", 1280: "sdxl-refiner", 2048: "sdxl"}
"""Width of the text features (context_dim) to family."""

_UNET = "model.diffusion_model."
_VAE = ("first_stage_model.", "vae.")
_TEXT = ("cond_stage_model.", "conditioner.embedders.", "text_encoders.", "text_encoder.")
_BESIDE = ("model_ema.", "denoiser.")
"""What checkpoints of Stable Diffusion have beside their three parts; names without a dot are schedules."""
_ALONE = ("input_blocks.", "down_blocks.", "double_blocks.", "joint_blocks.", "transformer_blocks.")
"""Beginnings of the tensors of a diffusion model that is in a file by itself."""
_INPAINTING_CHANNELS = 9
"""4 of the latent, 1 of the mask, 4 of the masked image."""

# The factor of a LoRA (kohya, diffusers, PEFT) or LoHa that takes the layer's input, of the layer whose
# input is the text. Its last dimension is the text features' width.
_LORA_TEXT = re.compile(
    r"(?:^|[._])attn2[._](?:processor\.)?to_[kv][._](?:.*[._])?"
    r"(?:lora_down\.weight|lora_A\.(?:default\.)?weight|lora\.down\.weight|lora_linear_layer\.down\.weight|hada_w1_b)$"
)


@dataclass(frozen=True)
class CheckpointInfo:
    """The facts in a checkpoint's header. Everything is unset where the file cannot be read as safetensors."""

    family: str | None = None
    """``sd15``, ``sd21``, ``sdxl``, ``sdxl-refiner``, or None where it is none of these or cannot be told."""
    inpainting: bool = False
    """True where the UNet takes a mask and a masked image beside the latent."""
    has_vae: bool = False
    has_text_encoder: bool = False


def inspect_checkpoint(path: Path) -> CheckpointInfo:
    """Family and parts of a checkpoint, from its safetensors header alone.

    ``.ckpt`` and other pickles are not opened: nothing is known of them. Never raises; results are cached
    for as long as the file's size and time of change stay.
    """
    return _checkpoint(path, file_stamp(path))


def missing_parts(path: Path) -> tuple[str, ...]:
    """What a checkpoint lacks for certain, of ``text encoder`` and ``VAE``, by its header. Never raises; cached.

    Nothing where the file cannot be read as safetensors, or holds parts that are not known here.
    """
    return _missing(path, file_stamp(path))


def inspect_lora(path: Path) -> str | None:
    """Family of the UNet that a LoRA file is for, as :class:`CheckpointInfo` names it.

    None where the file cannot be read or does not touch the UNet's text attention. Never raises; cached.
    """
    return _lora(path, file_stamp(path))


def _header(path: Path) -> Header | None:
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return None
    try:
        return read_header(path)
    except (OSError, HeaderError):
        return None


@lru_cache(maxsize=1024)
def _checkpoint(path: Path, stamp: Stamp | None) -> CheckpointInfo:
    header = _header(path)
    if header is None:
        return CheckpointInfo()
    shapes = {name: tensor["shape"] for name, tensor in header.tensors.items()}
    first = shapes.get(_UNET + "input_blocks.0.0.weight", [])
    return CheckpointInfo(
        family=_family_of_unet(shapes),
        inpainting=len(first) == 4 and first[1] == _INPAINTING_CHANNELS,
        has_vae=any(name.startswith(_VAE) for name in shapes),
        has_text_encoder=any(name.startswith(_TEXT) for name in shapes),
    )


@lru_cache(maxsize=1024)
def _missing(path: Path, stamp: Stamp | None) -> tuple[str, ...]:
    header = _header(path)
    names = [name for name in header.tensors if "." in name] if header is not None else []
    parts = (("text encoder", _TEXT), ("VAE", _VAE))
    if any(name.startswith(_UNET) for name in names):
        known = (_UNET, *_VAE, *_TEXT, *_BESIDE)
        if all(name.startswith(known) for name in names):
            return tuple(part for part, begin in parts if not any(name.startswith(begin) for name in names))
    elif any(name.startswith(_ALONE) for name in names) and not any(name.startswith((*_VAE, *_TEXT)) for name in names):
        return tuple(part for part, _ in parts)
    return ()


def _family_of_unet(shapes: dict[str, list[int]]) -> str | None:
    widths = set()
    for name, shape in shapes.items():
        if not name.startswith(_UNET):
            continue
        if ".time_stack." in name or ".temporal_transformer." in name:
            return None  # a video model (SVD, AnimateDiff), with the widths of the image model it grew from
        if name.endswith(".attn2.to_k.weight") and len(shape) == 2:
            widths.add(shape[1])
    return CONTEXT.get(widths.pop()) if len(widths) == 1 else None


@lru_cache(maxsize=4096)
def _lora(path: Path, stamp: Stamp | None) -> str | None:
    header = _header(path)
    if header is None:
        return None
    widths = {
        tensor["shape"][-1 if len(tensor["shape"]) == 2 else 1]
        for name, tensor in header.tensors.items()
        if len(tensor["shape"]) in (2, 4) and _LORA_TEXT.search(name)
    }
    return CONTEXT.get(widths.pop()) if len(widths) == 1 else None
