"""Upscale 2x."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import torch
from comfy_api.latest import io

from ..finite import NotFiniteError
from ..imaging.esrgan import ROWS, half_esrgan, is_esrgan
from ..imaging.precision import fast_dtype
from ..imaging.upscale import MIN_TILE, network_memory, tiles_for, upscale_2x, upscale_plane_2x
from .types import CATEGORY


class Upscale2x(io.ComfyNode):
    """An upscale model of any scale, brought to exactly 2x."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryUpscale2x",
            display_name="Upscale 2x",
            category=CATEGORY,
            description="Enlarges images with an upscale model and brings them to exactly twice their width and "
            "height, tile by tile, so that a 4x model never makes a 4x canvas.",
            search_aliases=["upscale", "enlarge", "2x", "esrgan"],
            inputs=[
                io.UpscaleModel.Input("upscale_model", tooltip="A single-image upscale model of any scale."),
                io.Image.Input("image", tooltip="Images of any size; grey and RGBA too (alpha is enlarged and kept)."),
                io.Mask.Input("mask", optional=True, tooltip="Transparency, enlarged with the image."),
            ],
            outputs=[io.Image.Output("image"), io.Mask.Output("mask")],
        )

    @classmethod
    def execute(cls, upscale_model: Any, image: torch.Tensor, mask: torch.Tensor | None = None) -> io.NodeOutput:
        patcher = _patcher(upscale_model)
        device = patcher.load_device
        scale = upscale_model.scale
        # What is free and what other models would give up: loading makes room for what is asked.
        cpu = mm.is_device_cpu(device)
        half = fast_dtype(device) if getattr(upscale_model, "supports_bfloat16", False) else None
        rows = ROWS if is_esrgan(_network(upscale_model)) else None
        tile, batch = tiles_for(mm.get_total_memory(device), scale, cpu, rows)
        while True:
            mm.load_models_gpu([patcher], memory_required=batch * network_memory(tile, scale, rows))
            tile, batch = min((tile, batch), tiles_for(mm.get_free_memory(device), scale, cpu, rows))
            try:
                out = _run(upscale_model, image, tile, batch, device, half)
                break
            except NotFiniteError:
                if half is None:
                    raise
                logging.info("The upscale model overflows in %s: once more in float32.", half)
                half = None
            except Exception as error:
                mm.raise_non_oom(error)
                if (tile, batch) == (MIN_TILE, 1):
                    raise
                tile, batch = (tile, 1) if batch > 1 else (tile // 2, 1)
            mm.soft_empty_cache()
        height, width = image.shape[1:3]
        if mask is None or tuple(mask.shape[-2:]) != (height, width):
            # ComfyUI's Load Image gives a 64x64 mask of zeros where an image has no alpha.
            mask = torch.zeros(1, height, width)
        return io.NodeOutput(out.to(mm.intermediate_device()), upscale_plane_2x(mask))


def _run(
    upscale_model: Any, image: torch.Tensor, tile: int, batch: int, device: torch.device, half: torch.dtype | None
) -> torch.Tensor:
    bar = None

    def on_tile(done: int, total: int) -> None:
        nonlocal bar
        mm.throw_exception_if_processing_interrupted()
        if bar is None:
            bar = comfy.utils.ProgressBar(total)
        bar.update_absolute(done, total)

    # Networks that are not known run under autocast.
    network = _network(upscale_model)
    known = None
    if network is not None:
        known = half_esrgan(network, half or torch.float32, between=mm.throw_exception_if_processing_interrupted)
    return upscale_2x(
        image,
        known or upscale_model,
        upscale_model.scale,
        tile=tile,
        batch=batch,
        device=device,
        half=None if known else half,
        on_tile=on_tile,
    )


def _patcher(upscale_model: Any) -> Any:
    """Return what ComfyUI's memory management knows an upscale model by.

    ComfyUI's loader makes one in 0.30 and made none in 0.27; loaders of other packs need not.
    """
    if getattr(upscale_model, "patcher", None) is None:
        devices = {"load_device": mm.get_torch_device(), "offload_device": mm.unet_offload_device()}
        # Kept on the model, so that it is the same one in the next job.
        upscale_model.patcher = comfy.model_patcher.CoreModelPatcher(upscale_model.model, **devices)
    return upscale_model.patcher


def _network(upscale_model: Any) -> torch.nn.Module | None:
    """The network in spandrel's model descriptor; None for other packs' models, which may be any callable."""
    network = getattr(upscale_model, "model", None)
    return network if isinstance(network, torch.nn.Module) else None
