"""Save Image + Record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.latest import io
from PIL.PngImagePlugin import PngInfo

from ..files import atomic_file
from ..finite import NotFiniteError, is_finite
from ..generation import Generation, from_dict
from ..imaging.pixels import tensors_to_image
from ..record import RECORD_KEY, UpscalerInfo, record_for
from ..summary import summarize_result
from .show import show
from .types import CATEGORY, NOT_CONNECTED, GenerationLink, UpscalerInfoLink

COMPRESS_LEVEL = 4


class SaveImageRecord(io.ComfyNode):
    """PNG with the workflow and the record of the generation as used."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistillerySave",
            display_name="Save Image + Record",
            category=CATEGORY,
            description="Saves PNG files with the workflow, so that they can be dragged back into the editor, and "
            "with a record of the generation, so that they can be upscaled again.",
            search_aliases=["save image", "distillery"],
            inputs=[
                io.Image.Input("images", tooltip="The images to save."),
                GenerationLink.Input("generation", tooltip="The generation as it was used."),
                io.String.Input(
                    "filename_prefix",
                    default="distillery/upscale",
                    tooltip="Where to save in the output folder. Placeholders such as %date:yyyy-MM-dd% work.",
                ),
                io.Mask.Input(
                    "mask", optional=True, lazy=True, tooltip="Transparency; saved as an alpha channel unless it is 0."
                ),
                UpscalerInfoLink.Input("upscaler_info", optional=True, tooltip="Which upscale model was used."),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def check_lazy_status(cls, mask: Any = NOT_CONNECTED, **_: Any) -> list[str]:
        # Asked for when the images are there: else Upscale 2x would run before the models are looked for.
        return ["mask"] if mask is None else []

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        generation: Generation,
        filename_prefix: str,
        mask: torch.Tensor | None = None,
        upscaler_info: UpscalerInfo | None = None,
    ) -> io.NodeOutput:
        if not is_finite(images):
            raise NotFiniteError(
                "The images hold values that are no numbers (NaN or infinity) and would be saved as black. A model of an "
                "earlier node made them: try another one, or ComfyUI's options --fp32-vae and --force-fp32."
            )
        record = record_for(generation, upscaler_info)
        used = from_dict(json.loads(record)["generation"])
        info = _png_info(cls.hidden.prompt, cls.hidden.extra_pnginfo, record)
        height, width = images.shape[1:3]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        saved = []
        for i, image in enumerate(images):
            transparency = None if mask is None else mask[min(i, len(mask) - 1)]
            file = f"{name.replace('%batch_num%', str(i))}_{counter + i:05}_.png"
            with atomic_file(Path(folder, file)) as out:
                tensors_to_image(image, transparency).save(
                    out, format="PNG", pnginfo=info, compress_level=COMPRESS_LEVEL
                )
            saved.append({"filename": file, "subfolder": subfolder, "type": "output"})
        return io.NodeOutput(ui={"images": saved, RECORD_KEY: [record], **show(summarize_result(used))})


def _png_info(prompt, extra_pnginfo, record: str) -> PngInfo | None:  # type: ignore[no-untyped-def]
    if args.disable_metadata:
        return None
    info = PngInfo()
    if prompt is not None:
        info.add_text("prompt", json.dumps(prompt))
    for key, value in (extra_pnginfo or {}).items():
        info.add_text(key, json.dumps(value))
    # iTXt: prompts are in any language, and tEXt holds Latin-1 only.
    info.add_itxt(RECORD_KEY, record)
    return info
