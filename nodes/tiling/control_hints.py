"""Cropping the hints of controls (ControlNet, T2I-Adapter and chains of them) to tiles."""

from __future__ import annotations

import copy
import types
from typing import Any

import torch

from .limits import TilingError
from .tiles import Tile, crop

HINTS = ("cond_hint_original", "cond_hint", "control_input", "extra_concat")
"""A control's tensors that lie on the canvas, or derive from those."""


def check_control(control: Any) -> None:
    """Refuse controls, anywhere in the chain, that hold more than hints of the canvas."""
    from comfy.controlnet import ControlBase

    if control is None:
        return
    name = type(control).__name__
    if not isinstance(control, ControlBase):
        raise TilingError(f"the control of the unknown kind {name}")
    for attribute, value in vars(control).items():
        if isinstance(value, torch.Tensor) and value.ndim > 2 and attribute not in HINTS:
            raise TilingError(f"the {attribute} of the control {name}")
    if control.cond_hint_original is not None and control.cond_hint_original.ndim != 4:
        raise TilingError(f"the video hint of the control {name}")
    check_control(control.previous_controlnet)


class Hints:
    """Copies of controls (ControlNet, T2I-Adapter and chains of them) whose hints are cropped.

    A copy shares the network with its control. It is made anew at each step, for a control may change from step to
    step, but what it computed from its hint (resized, VAE-encoded, run through the adapter) passes on to the next.
    """

    def __init__(self) -> None:
        self._parts: dict[Any, tuple[Any, Any, Any]] = {}

    def clear(self) -> None:
        self._parts.clear()

    def cropped(self, control: Any, frame: Tile, seen: Tile, made: dict[Any, Any]) -> Any:
        """Return ``control`` for the part that the model sees, ``seen``, of the ``frame`` its hint is stretched over.

        ``made`` holds the copies of the present call: ComfyUI batches only conds that share one control object.
        """
        if control is None:
            return None
        key = (id(control), frame, seen)
        if key in made:
            return made[key]
        part = made[key] = copy.copy(control)
        for name, value in vars(control).items():
            # Some packs shadow methods on the object: they would go on working on the original and its hint.
            if isinstance(value, types.MethodType) and value.__self__ is control:
                setattr(part, name, types.MethodType(value.__func__, part))
        origin, hint, before = self._parts.get(key, (None, None, None))
        if origin is control and hint is control.cond_hint_original:
            for name in (*HINTS, "extra_concat_orig"):
                if hasattr(before, name):
                    setattr(part, name, getattr(before, name))
        else:
            _crop_hint(part, frame, seen)
        self._parts[key] = (control, control.cond_hint_original, part)
        part.previous_controlnet = self.cropped(control.previous_controlnet, frame, seen, made)
        part.multigpu_clones = {
            device: self.cropped(clone, frame, seen, made) for device, clone in control.multigpu_clones.items()
        }
        return part


def _crop_hint(control: Any, frame: Tile, seen: Tile) -> None:
    """Crop the hint, and what is joined to it (inpainting masks), to ``seen``, both boxes in latent cells."""
    from comfy.utils import common_upscale

    def cut(image: torch.Tensor, cell: int) -> torch.Tensor:
        # As ControlNet.get_control does it for the canvas; there it finds the crop at the size it wants.
        whole = common_upscale(image, frame.width * cell, frame.height * cell, control.upscale_algorithm, "center")
        left, top = (seen.x - frame.x) * cell, (seen.y - frame.y) * cell
        return crop(whole, Tile(left, top, seen.width * cell, seen.height * cell))

    for name in HINTS:
        if name != "cond_hint_original" and hasattr(control, name):
            setattr(control, name, None)
    # Averaged over the picture (shuffle), a hint says nothing about places: each tile gets all of it.
    if control.global_average_pooling or control.cond_hint_original is None:
        return
    cell = control.compression_ratio
    control.extra_concat_orig = [cut(image, cell) for image in control.extra_concat_orig]
    if control.vae is not None:
        cell *= control.vae.spacial_compression_encode()
    control.cond_hint_original = cut(control.cond_hint_original, cell)
