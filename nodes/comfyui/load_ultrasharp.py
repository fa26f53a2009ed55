"""Load UltraSharp."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io
from comfy_extras.nodes_upscale_model import UpscaleModelLoader

from ..errors import DistilleryError
from ..model_files.download import DownloadError
from ..model_files.names import match_name
from ..model_files.ultrasharp import ensure_ultrasharp
from ..model_files.upscalers import REALESRGAN, ULTRASHARP, check_channels
from ..record import UpscalerInfo
from .loading import loading
from .model_paths import identities
from .types import CATEGORY, UpscalerInfoLink

STAND_IN = "RealESRGAN_x4plus"
NO_STAND_IN = "none: stop with an error"


class LoadUltraSharp(io.ComfyNode):
    """4x-UltraSharp, fetched when it is missing, or any other upscale model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        installed = folder_paths.get_filename_list("upscale_models")
        return io.Schema(
            node_id="DistilleryLoadUltraSharp",
            display_name="Load UltraSharp",
            category=CATEGORY,
            description="Loads 4x-UltraSharp (licence CC BY-NC-SA 4.0: no commercial use) from models/upscale_models "
            "and downloads it on first use. Any other single-image model can be chosen instead.",
            search_aliases=["upscale model", "ultrasharp", "esrgan"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=[ULTRASHARP, *(n for n in installed if n != ULTRASHARP)],
                    default=ULTRASHARP,
                    tooltip="4x-UltraSharp is downloaded when it is missing (64 MiB). Models of other scales work too.",
                ),
                io.Combo.Input(
                    "stand_in",
                    options=[STAND_IN, NO_STAND_IN],
                    default=STAND_IN,
                    tooltip="Used, with a notice, when 4x-UltraSharp is missing and cannot be downloaded.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.UpscaleModel.Output("upscale_model"),
                UpscalerInfoLink.Output("upscaler_info", tooltip="Which model it is, for the record of the result."),
            ],
        )

    @classmethod
    def execute(cls, model_name: str, stand_in: str) -> io.NodeOutput:
        installed = folder_paths.get_filename_list("upscale_models")
        found, notice = match_name(model_name, installed), None
        if found is None and model_name == ULTRASHARP:
            found, notice = _obtain(installed, stand_in)
        if found is None:
            raise DistilleryError(
                f'The upscale model "{model_name}" is not installed. Put it into {_folder()}, or choose another one (--upscaler, '
                f"or in the Load UltraSharp node). Installed: {', '.join([*installed[:20]]) or 'none'}."
            )
        with loading("upscale_models", found):
            model = UpscaleModelLoader.execute(found)[0]
        check_channels(found, model.input_channels, model.output_channels)
        return io.NodeOutput(model, UpscalerInfo(found, notice))

    @classmethod
    def validate_inputs(cls, model_name: str = "") -> bool | str:
        return True  # a missing file has a better error when the node runs

    @classmethod
    def fingerprint_inputs(cls, model_name: str, **_: Any) -> Any:
        # A stand-in must not stay in the cache once the real model is there, nor a file that was replaced.
        found = match_name(model_name, folder_paths.get_filename_list("upscale_models"))
        if found is None and model_name == ULTRASHARP:
            found = match_name(REALESRGAN, folder_paths.get_filename_list("upscale_models"))
        return identities("upscale_models", [found] if found else [])


def _folder() -> Path:
    return Path(folder_paths.get_folder_paths("upscale_models")[0])


def _obtain(installed: list[str], stand_in: str) -> tuple[str, str | None]:
    """Download UltraSharp, or fall back to the stand-in where the user allows it and it is installed."""
    bar = comfy.utils.ProgressBar(1)
    try:
        path = ensure_ultrasharp(
            _folder(),
            progress=lambda done, total: bar.update_absolute(done, total),
            say=logging.info,
            interrupted=comfy.model_management.throw_exception_if_processing_interrupted,
        )
        return path.name, None
    except DownloadError as error:
        name = match_name(REALESRGAN, installed) if stand_in == STAND_IN else None
        if name is None:
            raise
        logging.info("%s", error)
        return name, f"{ULTRASHARP} is not installed and could not be downloaded: {name} stands in for it"
