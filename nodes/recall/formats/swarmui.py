"""SwarmUI: JSON in the text ``parameters``, with the request in ``sui_image_params``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ...values import to_integer, to_number
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks
from ..unread import warn_of_unread
from .prompt_syntax import lift_networks

ORIGIN = "swarmui"
KEY = "parameters"
PARAMS = "sui_image_params"

_FIELDS = {
    "seed": ("seed",),
    "steps": ("steps",),
    "cfg": ("cfgscale",),
    "guidance": ("fluxguidancescale",),
    "checkpoint": ("model",),
    "width": ("width",),
    "height": ("height",),
}
_SAMPLING = (("sampler", "comfyuisampler", "comfysampler"), ("scheduler", "comfyuischeduler", "comfyscheduler"))
_SECTION = re.compile(
    r"<(base|refiner|segment|object|region|video|videoswap|clear|extend|edit)\b[^<>]{0,200}>", re.IGNORECASE
)
_EMBED = re.compile(r"<embed(?:ding)?:([^<>]{1,200})>", re.IGNORECASE)
_TAG = re.compile(r"<(\w{1,40})[:\[>]")
_KNOWN = re.compile(
    r"prompt|negativeprompt|model|seed|steps|cfgscale|fluxguidancescale|width|height|vae|(?:comfy(?:ui)?)?(?:sampler|scheduler)|"
    r"clipstopatlayer|loras|lora\w*|refiner\w*|initimage\w*|images|aspectratio|sidelength|automaticvae|swarm_?version|date|"
    r"generation_time|batchsize|donotsave\w*|personalnote|outputintermediateimages|presets?|original(?:prompt|negative)\w*|"
    r"wildcardseed\w*|variationseedstrength|controlnet\w*|ipadapter\w*|freeu\w*|used_?embeddings|preferreddtype|modelspecificenhancements|"
    r"savesegmentmask|imageformat|colordepth|smartimagepromptresizing|zeroterminal|unused_parameters|extra\w*|comfyuiworkflow\w*|videoformat|"
    r"maskblur|maskshrinkgrow|maskgrow|mask\w*|clip\w*model|t5xxlmodel|\w*encodermodel|noloadmodels|noseedincrement|webhooks?",
    re.IGNORECASE,
)
"""Parameters that are kept, named elsewhere, or without effect on the picture."""
_NOT_USED = {
    "controlnetmodel": "a ControlNet",
    "controlnettwomodel": "a second ControlNet",
    "controlnetthreemodel": "a third ControlNet",
    "useipadapter": "an IPAdapter",
    "ipadaptermodel": "an IPAdapter",
    "promptimages": "an image as a prompt",
    "maskimage": "a mask (inpainting)",
    "freeuapplyto": "FreeU",
    "variationseed": "a variation seed",
    "seamlesstileable": "seamless tiling",
}


def read(chunks: TextChunks) -> Generation | None:
    """Read ``sui_image_params``; its LoRAs are parallel lists of names, weights and text encoder weights."""
    data = chunks.json_object(KEY) if chunks.looks_like_json(KEY) else None
    params = data.get(PARAMS) if data is not None else None
    if data is None or not isinstance(params, Mapping):
        return None
    builder = GenerationBuilder()
    for name, keys in _FIELDS.items():
        for key in keys:
            builder.set(name, params.get(key), place(key))
    sampler, scheduler = (next((key for key in keys if key in params), keys[0]) for keys in _SAMPLING)
    builder.set_sampling(params.get(sampler), params.get(scheduler), place(sampler), place(scheduler))
    layer = to_integer(params.get("clipstopatlayer"))
    builder.set("clip_skip", None if layer is None else -layer, place("clipstopatlayer"))
    vae = params.get("vae")
    if vae in ("None", "Automatic", None):
        builder.set_known_none("vae", f"{PARAMS} without vae: the checkpoint's own")
    builder.set("vae", vae, place("vae"))

    hashes = _hashes(data.get("sui_models"))
    builder.set("checkpoint_hash", hashes.get(("model", _stem(params.get("model")))), "sui_models")
    builder.set("vae_hash", hashes.get(("vae", _stem(vae))), "sui_models")
    tags = _prompts(builder, params)
    _set_loras(builder, params, tags, hashes)
    _passes(builder, params, data.get("sui_extra_data"))
    for key, what in _NOT_USED.items():
        if params.get(key) not in (None, "", "None", "none", "false", False, 0):
            builder.warn(f"the image was made with {what} ({key}), which the HiRes pass does not use")
    warn_of_unread(
        builder, {key: value for key, value in params.items() if key not in _NOT_USED and not _KNOWN.fullmatch(key)}
    )
    builder.carried[PARAMS] = dict(params)
    return builder.build(ORIGIN)


def _prompts(builder: GenerationBuilder, params: Mapping[str, Any]) -> list[tuple[Any, Any, Any, str]]:
    """Set the prompts; returns the LoRAs in their tags."""
    tags: list[tuple[Any, Any, Any, str]] = []
    for name, key in (("positive", "prompt"), ("negative", "negativeprompt")):
        prompt = params.get(key)
        if not isinstance(prompt, str):
            builder.set(name, prompt, place(key))
            continue
        first, *sections = _SECTION.split(prompt)
        text = first
        for kind, section in zip(sections[::2], sections[1::2], strict=True):
            if kind.lower() == "base":
                text += section
            else:
                builder.warn(f"the {name} prompt has a part for <{kind.lower()}>, which the HiRes pass does not use")
        lifted = lift_networks(text, model_first=True)
        builder.warn(*lifted.warnings)
        tags += [(tag.name, tag.strength_model, tag.strength_clip, place(key)) for tag in lifted.loras]
        text = _EMBED.sub(lambda match: f" embedding:{match[1].strip()} ", lifted.text)
        text = re.sub(r"[ \t]{2,}", " ", text).strip()
        if others := sorted({match[1].lower() for match in _TAG.finditer(text)}):
            builder.warn(
                f"the {name} prompt has SwarmUI's <{'>, <'.join(others[:5])}>, which ComfyUI reads as plain words"
            )
        builder.set(name, text, place(key))
    if "negativeprompt" not in params and builder.has("positive"):
        builder.set("negative", "", f"{PARAMS} without negativeprompt")
    return tags


def _set_loras(
    builder: GenerationBuilder,
    params: Mapping[str, Any],
    tags: list[tuple[Any, Any, Any, str]],
    hashes: Mapping[tuple[str, str], Any],
) -> None:
    names, weights, on_clip = (_list(params.get(key)) for key in ("loras", "loraweights", "loratencweights"))
    confined = _list(params.get("lorasectionconfinement"))
    loras = []
    for i, name in enumerate(names):
        model = weights[i] if i < len(weights) else 1.0
        clip = on_clip[i] if i < len(on_clip) and on_clip[i] not in ("", None) else model
        section = to_integer(confined[i]) if i < len(confined) else 0
        if section is not None and section > 0:
            builder.warn(f"the LoRA {shown(name)} was for one section of the prompt alone: it is kept for all of it")
        loras.append((name, model, clip, place(f"loras[{i}]")))
    # SwarmUI moves the tags of the prompt into the lists; one that is in neither is not lost.
    known = {_stem(name) for name in names}
    loras += [tag for tag in tags if _stem(tag[0]) not in known]
    digests = {entry[0]: hashes.get(("loras", _stem(entry[0]))) for entry in loras if isinstance(entry[0], str)}
    builder.set_loras(loras, f"{PARAMS} without loras", digests)


def _passes(builder: GenerationBuilder, params: Mapping[str, Any], extra: Any) -> None:
    """Set image to image and the refiner, which SwarmUI uses for its HiRes pass."""
    from_image = "initimage" in params or (isinstance(extra, Mapping) and "initimage_filename" in extra)
    if from_image:
        builder.set("denoise", params.get("initimagecreativity"), place("initimagecreativity"))
    scale = to_number(params.get("refinerupscale"))
    method = params.get("refinermethod", "PostApply")
    model = params.get("refinermodel")
    same = (
        model is None or str(model).lower() in ("(use base)", "none", "") or _stem(model) == _stem(params.get("model"))
    )
    if not same or method != "PostApply":
        builder.warn(f"the image was made with a refiner ({shown(model)}), which the HiRes pass does not use")
    if method == "PostApply" and scale is not None and scale != 1:
        builder.set("hires.scale", scale, place("refinerupscale"))
        builder.set("hires.denoise", params.get("refinercontrolpercentage"), place("refinercontrolpercentage"))
        builder.set("hires.steps", params.get("refinersteps"), place("refinersteps"))
        upscaler = params.get("refinerupscalemethod")
        if isinstance(upscaler, str) and upscaler.startswith("model-"):
            builder.set("hires.upscaler", upscaler.removeprefix("model-"), place("refinerupscalemethod"))


def _hashes(models: Any) -> dict[tuple[str, str], Any]:
    """Return SHA-256 by kind of model and stem of its name."""
    return {
        (str(entry.get("param")), _stem(entry.get("name"))): entry.get("hash")
        for entry in (models[:1000] if isinstance(models, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)
    }


def _stem(name: Any) -> str:
    return str(name).replace("\\", "/").strip().lower().removesuffix(".safetensors") if name is not None else ""


def _list(value: Any) -> list[Any]:
    """Return a list, which some versions write as text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value.strip() else []
    return value[:1000] if isinstance(value, list) else []


def place(key: str) -> str:
    """Provenance of a value, for ``fields``."""
    return f"{PARAMS}.{key}"
