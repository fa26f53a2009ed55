"""Distillery's newer format: ``template_inputs`` and the switches, no graph.

``template_inputs`` is authoritative, with every value a string; ``payload_keymaker`` holds the real module
switches; ``preset_dict`` is from before overrides and only fills gaps of the HiRes pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ...values import to_number
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks
from ..cutoff import FILLER, NOT_APPLIED, used_regions

ORIGIN = "distillery"

_FIELDS = {
    "positive": "POSITIVE_PROMPT",
    "negative": "NEGATIVE_PROMPT",
    # Per image: the images of one batch have seeds of their own, the command string only has the first.
    "seed": "NOISE_SEED",
    "cfg": "CFG",
    "steps": "TARGET_STEPS",
    "sampler": "SAMPLER",
    "scheduler": "SCHEDULER",
    "denoise": "KSAMPLER_MAIN_IMAGE_DENOISE",
    "checkpoint": "MODEL_CHECKPOINT_FILENAME",
    "vae": "VAE_MODEL_FILENAME",
    "width": "BASE_WIDTH",
    "height": "BASE_HEIGHT",
    "family": "MODEL_TYPE",
    "sharpen": "SHARPEN_ALPHA",
    "hires.steps": "HIRESFIX_STEPS",
    "hires.denoise": "HIRESFIX_DENOISE_POWER",
    "hires.tile": "HIRESFIX_TILE_WIDTH",
    "hires.scale": "HIRESFIX_TARGET_UPSCALE_FACTOR",
    "hires.upscaler": "MODEL_UPSCALER_FILENAME",
}
_FROM_PRESET = {"hires.steps": "HIRESFIX_STEPS", "hires.tile": "HIRESFIX_TILE_WIDTH"}

_NOT_USED = {
    # switch: (key that tells of it where there is no switch, what it is)
    "CONTROLNET_ADD": ("CONTROLNET_MODEL_FILENAME", "a ControlNet"),
    "CONTROLNET_INPAINTING_ADD": ("CONTROLNET_INPAINTING_WEIGHT", "an inpainting ControlNet"),
    "IPADAPTER_ADD": ("IPADAPTER_MODEL_FILENAME", "an IPAdapter"),
    "KSAMPLER_SEC_ADD": ("KSAMPLER_SEC_MODEL_FILENAME", "a refiner"),
    "FREEU_ADD": ("FREEU_B1_STRING", "FreeU"),
    "KOHYA_DEEPSHRINK_ADD": ("", "Kohya Deep Shrink"),
}
_LORA = re.compile(r"LORA_(\d{1,3})_FILENAME", re.ASCII)
_CUTOFF = re.compile(r"CUTOFF_(?:REGION|TARGET|WEIGHT)_\d+", re.ASCII)


def read(chunks: TextChunks) -> Generation | None:
    """Read ``template_inputs``; the rest of the record is carried along."""
    data = chunks.json_object("prompt")
    if data is None or "comfy_api" in data or not isinstance(data.get("template_inputs"), Mapping):
        return None
    inputs: Mapping[str, Any] = data["template_inputs"]
    switches = _mapping(data.get("payload_keymaker"))
    preset = _mapping(data.get("preset_dict"))

    builder = GenerationBuilder()
    for name, key in _FIELDS.items():
        builder.set(name, inputs.get(key), f"template_inputs.{key}")
    builder.set("family", data.get("sd_version"), "sd_version")
    for name, key in _FROM_PRESET.items():
        builder.set(name, preset.get(key), f"preset_dict.{key}")
    if inputs.get("VAE_MODEL_FILENAME") is None:
        builder.set_known_none("vae", "template_inputs without VAE_MODEL_FILENAME: the checkpoint's own")
    builder.set_loras(_lora_entries(inputs, switches, builder), "template_inputs without LoRAs")

    for switch, (key, what) in _NOT_USED.items():
        if switches.get(switch, key in inputs) is True:
            refiner = inputs.get("KSAMPLER_SEC_MODEL_FILENAME") if switch == "KSAMPLER_SEC_ADD" else None
            which = f" ({shown(refiner)})" if refiner else ""
            builder.warn(f"the image was made with {what}{which}, which the HiRes pass does not use")

    builder.carried.update(_carried(data, inputs, switches))
    if builder.carried.get("cutoff"):
        builder.warn(NOT_APPLIED)
    return builder.build(ORIGIN)


def _lora_entries(
    inputs: Mapping[str, Any], switches: Mapping[str, Any], builder: GenerationBuilder
) -> list[tuple[Any, Any, Any, str]]:
    numbers = sorted(int(match.group(1)) for key in inputs if (match := _LORA.fullmatch(key)))
    entries = []
    for n in dict.fromkeys(numbers):
        key = f"LORA_{n}"
        name = inputs.get(f"{key}_FILENAME")
        if switches.get(f"{key}_ADD") is False:
            builder.warn(f"template_inputs names the LoRA {shown(name)}, which payload_keymaker.{key}_ADD turns off")
            continue
        strengths = (inputs.get(f"{key}_STRENGTH_MODEL"), inputs.get(f"{key}_STRENGTH_CLIP"))
        entries.append((name, *strengths, f"template_inputs.{key}_*"))
    for switch, on in switches.items():
        if on is True and re.fullmatch(r"LORA_\d+_ADD", switch) and f"{switch[:-4]}_FILENAME" not in inputs:
            builder.warn(f"payload_keymaker.{switch} is on, but template_inputs does not name that LoRA")
    if switches.get("LCM_ADAPTER_ADD") is True:
        strengths = (inputs.get("LCM_LORA_STRENGTH_MODEL"), inputs.get("LCM_LORA_STRENGTH_CLIP"))
        entries.append((inputs.get("LCM_LORA_FILENAME"), *strengths, "template_inputs.LCM_LORA_*"))
    return entries


def _carried(data: Mapping[str, Any], inputs: Mapping[str, Any], switches: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of Distillery's own /checkmetadata: request type, command, then the template inputs."""
    carried = {
        key: data[key]
        for key in (
            "request_type", "command_string", "raw_input", "request_id", "sd_version", "images_per_batch",
            "payload_template_key",
        )
        if isinstance(data.get(key), str | int | float)
    }  # fmt: skip
    carried["modules"] = [name.removesuffix("_ADD") for name, on in switches.items() if on is True]
    numbers = sorted(key[-2:] for key in inputs if key.startswith("CUTOFF_REGION_"))
    carried["cutoff"] = used_regions(
        (inputs.get(f"CUTOFF_REGION_{n}"), inputs.get(f"CUTOFF_TARGET_{n}"), inputs.get(f"CUTOFF_WEIGHT_{n}"))
        for n in numbers
    )
    carried["template_inputs"] = {
        key: value for key, value in inputs.items()
        if not (_CUTOFF.fullmatch(key) and (value == FILLER or to_number(value) == 0))
    }  # fmt: skip
    return {key: value for key, value in carried.items() if value not in ([], {})}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
