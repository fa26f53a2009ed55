"""Load Image + Recall."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..errors import DistilleryError
from ..imaging.pixels import load_pixels
from ..model_files.download import sha256_of
from ..recall import recall
from ..summary import summarize_image
from .show import find_model, show
from .types import CATEGORY, GenerationLink


class LoadImageRecall(io.ComfyNode):
    """An image from the input folder, and how it was made."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        folder = folder_paths.get_input_directory()
        files = sorted(f for f in os.listdir(folder) if os.path.isfile(os.path.join(folder, f)))
        return io.Schema(
            node_id="DistilleryLoadImage",
            display_name="Load Image + Recall",
            category=CATEGORY,
            description="Loads an image and recalls from its metadata how it was made: prompts, seed, CFG, sampler, "
            "checkpoint, VAE and LoRAs. Reads images of Distillery, ComfyUI, A1111, Forge, SwarmUI, Fooocus, InvokeAI, "
            "NovelAI and this pack, from PNG, JPEG, WebP and AVIF files.",
            search_aliases=["recall", "metadata", "distillery", "load image with prompt"],
            inputs=[
                io.Combo.Input(
                    "image",
                    options=folder_paths.filter_files_content_types(files, ["image"]),
                    upload=io.UploadType.image,
                    image_folder=io.FolderType.input,
                    tooltip="The image to upscale. Use the original file: copies made by chat programs and "
                    "converters have usually lost the metadata.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The image without its alpha channel, upright (EXIF is applied)."),
                io.Mask.Output("mask", tooltip="1 where the image is transparent, 0 where it is opaque."),
                GenerationLink.Output(
                    "generation", display_name="generation", tooltip="What the image says of how it was made."
                ),
            ],
        )

    @classmethod
    def execute(cls, image: str) -> io.NodeOutput:
        path = folder_paths.get_annotated_filepath(image)
        pixels = load_pixels(path)
        generation = recall(Path(path)).warn(*pixels.warnings)
        return io.NodeOutput(
            pixels.colour, pixels.transparency, generation, ui=show(summarize_image(generation, find_model))
        )

    @classmethod
    def fingerprint_inputs(cls, image: str, **_: Any) -> str:
        return sha256_of(Path(folder_paths.get_annotated_filepath(image)))

    @classmethod
    def validate_inputs(cls, image: str = "") -> bool | str:
        # Replaces ComfyUI's own check, which would refuse "name.png [temp]" and files uploaded since.
        if not image.strip():
            return "no image is chosen yet: press the upload button of this node"
        try:
            exists = folder_paths.exists_annotated_filepath(image)
        except (ValueError, DistilleryError):
            exists = False
        return True if exists else f'there is no image "{image}" in the input folder: upload it or choose another'
