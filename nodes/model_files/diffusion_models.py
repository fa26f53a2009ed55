"""Models in parts: families of diffusion models, text encoders and VAEs by the shapes in their headers.

The names of tensors that tell families apart are those by which ComfyUI does it (comfy/model_detection.py, comfy/sd.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..files import Stamp, file_stamp
from .families import CONTEXT
from .safetensors_header import Header, HeaderError, read_header

CLIP_L, CLIP_G, T5_XXL = "clip_l", "clip_g", "t5xxl"
QWEN_7B, QWEN_4B, GEMMA_2B, LLAMA_8B, MISTRAL = "qwen2.5_7b", "qwen3_4b", "gemma2_2b", "llama3_8b", "mistral3"


@dataclass(frozen=True)
class Family:
    """What a family of models is put together from."""

    type: str
    """ComfyUI's name of what the text encoders are for."""
    encoders: tuple[str, ...]
    """The text encoders, in the loader's order."""
    channels: int
    """Of the latent."""
    vaes: tuple[str, ...]
    """Words of which one stands in the name of its VAE, as its makers and ComfyUI's pages name it."""


PARTS: dict[str, Family] = {
    "sd15": Family("stable_diffusion", (CLIP_L,), 4, ("vae-ft-mse", "vae-ft-ema", "sd15", "sd1")),
    "sdxl": Family("sdxl", (CLIP_L, CLIP_G), 4, ("sdxl",)),
    "sd3": Family("sd3", (CLIP_L, CLIP_G, T5_XXL), 16, ("sd3",)),
    "flux": Family("flux", (CLIP_L, T5_XXL), 16, ("ae", "flux")),
    "flux2": Family("flux2", (MISTRAL,), 32, ("flux2",)),
    "chroma": Family("chroma", (T5_XXL,), 16, ("ae", "flux")),
    "qwen_image": Family("qwen_image", (QWEN_7B,), 16, ("qwen_image", "qwen-image")),
    "z_image": Family("lumina2", (QWEN_4B,), 16, ("ae", "flux")),
    "lumina2": Family("lumina2", (GEMMA_2B,), 16, ("ae", "flux")),
    "hidream": Family("hidream", (CLIP_L, CLIP_G, T5_XXL, LLAMA_8B), 16, ("ae", "flux")),
    "auraflow": Family("stable_diffusion", ("pile_t5xl",), 4, ("sdxl", "auraflow")),
}
"""Families by name."""

# The tensor that only this family has, in the order in which they are asked for. Norms are called scale or weight.
_MARKS = (
    ("flux2", ("double_stream_modulation_img.lin.weight",)),
    ("chroma", tuple(f"distilled_guidance_layer.{i}norms.0.{n}" for i in ("", "0.") for n in ("scale", "weight"))),
    ("flux", tuple(f"double_blocks.0.img_attn.norm.key_norm.{n}" for n in ("scale", "weight"))),
    ("sd3", ("joint_blocks.0.context_block.attn.qkv.weight",)),
    ("auraflow", ("double_layers.0.attn.w1q.weight",)),
    ("hidream", ("caption_projection.0.linear.weight",)),
    ("qwen_image", ("txt_norm.weight", "txt_norm.scale")),
)
_PREFIXES = ("", "model.diffusion_model.")
_CAPTIONS = {2304: "lumina2", 2560: "z_image"}
"""Width of the caption's features to family, for the two that share everything else."""


def diffusion_family(path: Path) -> str | None:
    """Return the family of a diffusion model, one of PARTS, or None where it cannot be told. Never raises; cached."""
    return _family(path, file_stamp(path))


def encoder_kind(path: Path) -> str | None:
    """Return which text encoder a file is, or None where it cannot be told. Never raises; cached."""
    return _encoder(path, file_stamp(path))


def latent_channels(path: Path) -> int | None:
    """Return the channels of the latent that a VAE decodes, or None where it cannot be told. Never raises; cached."""
    return _channels(path, file_stamp(path))


def _shapes(path: Path) -> dict[str, list[int]]:
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return {}
    try:
        header: Header = read_header(path)
    except (OSError, HeaderError):
        return {}
    return {name: tensor["shape"] for name, tensor in header.tensors.items()}


@lru_cache(maxsize=512)
def _family(path: Path, stamp: Stamp | None) -> str | None:
    shapes = _shapes(path)
    for prefix in _PREFIXES:
        for family, marks in _MARKS:
            if any(prefix + mark in shapes for mark in marks):
                return family
        captions = shapes.get(f"{prefix}cap_embedder.1.weight")
        if captions and f"{prefix}noise_refiner.0.attention.k_norm.weight" in shapes:
            return _CAPTIONS.get(captions[-1])
        if f"{prefix}input_blocks.0.0.weight" in shapes:
            widths = {s[-1] for name, s in shapes.items() if name.endswith(".attn2.to_k.weight") and len(s) == 2}
            return CONTEXT.get(widths.pop()) if len(widths) == 1 else None
    return None


@lru_cache(maxsize=512)
def _encoder(path: Path, stamp: Stamp | None) -> str | None:
    shapes = _shapes(path)
    blocks = "text_model.encoder.layers.{}.mlp.fc1.weight"
    if blocks.format(30) in shapes:
        return CLIP_G
    if blocks.format(0) in shapes and blocks.format(22) not in shapes:
        return CLIP_L
    gate = shapes.get("encoder.block.23.layer.1.DenseReluDense.wi_1.weight")
    if gate:
        return {10240: T5_XXL, 5120: "pile_t5xl"}.get(gate[0])
    if "model.layers.0.post_feedforward_layernorm.weight" in shapes:
        return GEMMA_2B if "model.layers.0.self_attn.q_norm.weight" not in shapes else None
    bias = shapes.get("model.layers.0.self_attn.k_proj.bias")
    if bias:
        return {512: QWEN_7B}.get(bias[0])
    norm = shapes.get("model.layers.0.post_attention_layernorm.weight")
    if norm:
        if "model.layers.0.self_attn.q_norm.weight" in shapes:
            return {2560: QWEN_4B}.get(norm[0])
        return {4096: LLAMA_8B, 5120: MISTRAL}.get(norm[0])
    return None


@lru_cache(maxsize=512)
def _channels(path: Path, stamp: Stamp | None) -> int | None:
    shapes = _shapes(path)
    for name in ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight", "decoder.conv1.weight"):
        if name in shapes and len(shapes[name]) >= 4:
            return shapes[name][1]
    for name in ("taesd_decoder.1.weight", "decoder.1.weight", "1.weight"):  # TAESD's shape
        if name in shapes and len(shapes[name]) == 4:
            return shapes[name][1]
    return None
