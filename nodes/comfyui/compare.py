"""Before / After."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui

from .types import CATEGORY

LARGEST = 2048
"""Longer side in pixels of what is shown; larger pictures are scaled down for it."""

BEFORE, AFTER = "distillery_before", "distillery_after"
"""Names of the pictures among the results; not ``images``, which the editor would draw over the slider."""


class Compare(io.ComfyNode):
    """Two images under one slider."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryCompare",
            display_name="Before / After",
            category=CATEGORY,
            description="Shows two images under one slider: move the pointer over the picture. Nothing is saved. Unlike "
            "ComfyUI's Compare Images it works in the classic editor too.",
            search_aliases=["compare", "before after", "slider", "image compare"],
            inputs=[
                io.Image.Input("before", tooltip="Shown left of the slider; any size, it is scaled to fit."),
                io.Image.Input("after", tooltip="Shown right of the slider."),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, before: torch.Tensor, after: torch.Tensor) -> io.NodeOutput:
        return io.NodeOutput(ui={BEFORE: _preview(before), AFTER: _preview(after)})


def _preview(images: torch.Tensor) -> list[Any]:
    """The first image of a batch (B,H,W,C, 0..1) as a file in ComfyUI's temporary folder."""
    shown = images[:1, ..., :3] if images.shape[-1] > 2 else images[:1, ..., :1].expand(-1, -1, -1, 3)
    height, width = shown.shape[1:3]
    if max(height, width) > LARGEST:
        size = [max(1, side * LARGEST // max(height, width)) for side in (height, width)]
        shown = torch.nn.functional.interpolate(shown.movedim(-1, 1), size, mode="area").movedim(1, -1)
    return list(ui.PreviewImage(shown).as_dict()["images"])
