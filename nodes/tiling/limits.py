"""Reject conditioning and patches that cannot be tiled: better refused by name than computed wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..errors import DistilleryError


class TilingError(DistilleryError):
    """Something of the workflow cannot be cut into tiles."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"HiRes Tiles cannot cut {what} into tiles. It works with image models of four-dimensional latents, "
            "prompts with areas, masks and GLIGEN boxes, ControlNet, T2I-Adapter, inpainting models and reference "
            "latents. Take it out of the workflow, or set tiling to off in HiRes Tiles to run the whole canvas at once."
        )


def check_patches(model_options: Mapping[str, Any]) -> None:
    """Refuse patches of a model that know of places on the canvas, or that look at the canvas through a tile.

    Most patches see the features of whatever the model is given and work on tiles as they do on pictures. Those that
    lay a mask over the features (IPAdapter's attention masks, regional attention) would lay all of it over each tile;
    Self-Attention Guidance blurs the canvas where the attention of the last tile was.

    Raises:
        TilingError: there is such a patch.
    """
    for function in model_options.get("sampler_post_cfg_function") or ():
        if getattr(function, "__qualname__", "").startswith("SelfAttentionGuidance."):
            raise TilingError("Self-Attention Guidance")
    options = model_options.get("transformer_options") or {}
    for by_block in (options.get("patches_replace") or {}).values():
        for patch in by_block.values():
            _check_patch(patch)
    for patches in (options.get("patches") or {}).values():
        for patch in patches:
            _check_patch(patch)


def _check_patch(patch: Any) -> None:
    for name, value in _held(patch):
        if "mask" in name and any(min(tensor.shape[-2:]) > 1 for tensor in tensors_in(value) if tensor.ndim > 1):
            owner = getattr(patch, "__qualname__", type(patch).__qualname__)
            raise TilingError(f"the attention mask {name!r} of the patch {owner} (as IPAdapter's attn_mask)")


def _held(patch: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of what a patch works with: attributes, keyword arguments kept for later, a closure's values."""
    holders = [patch, getattr(patch, "__self__", None)]
    for holder in holders:
        attributes = getattr(holder, "__dict__", None)
        for name, value in dict(attributes or {}).items():
            yield name, value
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(inner, dict):
                    yield from ((key, held) for key, held in inner.items() if isinstance(key, str))
    code, cells = getattr(patch, "__code__", None), getattr(patch, "__closure__", None)
    if code is not None and cells:
        for name, cell in zip(code.co_freevars, cells, strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not assigned yet
                continue


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []
