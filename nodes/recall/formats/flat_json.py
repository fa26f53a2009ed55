"""Flat JSON with settings by name, as many programs write it, each with spellings of its own.

Draw Things, RuinedFooocus, Easy Diffusion, demonstration pages for SDXL models, Civitai's upscales. One reader for all:
names are compared without case and punctuation, and whatever is not known is named in a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...generation import Generation
from ...values import to_integer, to_number
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks
from ..sampler_names import key_of
from ..unread import warn_of_unread
from .prompt_syntax import lift_networks

ORIGIN = "json"
KEYS = ("parameters", "Comment", "Description", "UserComment")
MAX_LORAS = 100
MIN_SETTINGS = 3
"""Number of settings beside a prompt that make JSON one of settings."""

_NAMES: dict[str, tuple[str, ...]] = {
    "positive": ("prompt", "positiveprompt", "positive", "c"),
    "negative": ("negativeprompt", "negative", "uc"),
    "seed": ("seed",),
    "steps": ("steps", "numinferencesteps", "samplingsteps", "numsteps"),
    "cfg": ("cfg", "cfgscale", "guidancescale", "scale"),
    "guidance": ("distilledcfgscale", "distilledguidance", "guidanceembed"),
    "checkpoint": (
        "model", "basemodelname", "usestablediffusionmodel", "stablediffusionmodel", "checkpoint", "modelname", "ckptname",
    ),
    "checkpoint_hash": ("modelhash", "basemodelhash"),
    "vae": ("vae", "vaename", "vaemodel", "usevaemodel"),
    "width": ("width",),
    "height": ("height",),
}  # fmt: skip
_SAMPLER = ("sampler", "samplername", "samplingmethod")
_SCHEDULER = ("scheduler", "schedulername", "scheduletype", "schedule")
_SIZES = ("size", "resolution", "dimensions")
_LORAS = ("loras", "lora", "useloramodel")
_ALPHAS = ("loraalpha", "loraweights")
_SKIPPED = ("clipskip",)
_DENOISE = ("strength", "denoisingstrength", "denoise", "promptstrength")
_KNOWN = {
    key
    for keys in (*_NAMES.values(), _SAMPLER, _SCHEDULER, _SIZES, _LORAS, _ALPHAS, _SKIPPED, _DENOISE)
    for key in keys
}
_HARMLESS = re.compile(
    r"software|version|v2|profile|quantity|draft|workflow|resources|basemodel|created\w*|date|time\w*|author|nsfw|userid|"
    r"numoutputs|batch\w*|outputformat|outputquality|outputlossless|streamimageprogress\w*|vramusagelevel|showonlyfilteredimage|"
    r"sessionid|requestid|taskid|id|index|filename|usefacecorrection|activetags|inactivetags|originalprompt|metadatascheme|"
    r"startstep|shape|seedmode|clipvision|enginet?\w*|type|params|fluxguidance|url|priority|clipmodel\w*|aspectratio|format|"
    r"metadata\w*|blockcontrol|usecpu|fullscreen|name|description|extra|transformations|remixofid|experimental|process|input|"
    r"disablepoi|ecosystem|output\w*|samplers|colorprofile|wasrefined",
)
_SIZE = re.compile(r"\s*(\d{1,6})\s*[x×,]\s*(\d{1,6})\s*", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r"<(?:lora:)?([^<>:]{1,300}):(-?[\d.]{1,10})>")
_PLACEHOLDERS = ("none", "default", "automatic", "unknown", "")


def read(chunks: TextChunks) -> Generation | None:
    """Read JSON of settings from any text, or texts that are such settings each."""
    for key in KEYS:
        data = chunks.json_object(key) if chunks.looks_like_json(key) else None
        # Draw Things has some settings only in an object of its newer version.
        newer = data.get("v2") if data is not None and "c" in data else None
        if data is not None and is_settings({**newer, **data} if isinstance(newer, Mapping) else data):
            return read_settings(data, key, program_of(data)).build(program_of(data))
    # Easy Diffusion writes a text for each of its settings.
    if is_settings(chunks) and not chunks.looks_like_json("prompt"):
        return read_settings(dict(chunks), "", program_of(chunks)).build(program_of(chunks))
    return None


def is_settings(data: Mapping[str, Any]) -> bool:
    """Return True for settings of a picture: a prompt, and at least three that each such program writes."""
    keys = {key_of(key): value for key, value in list(data.items())[:500]}
    if "uc" in keys and "c" not in keys:
        return False  # NovelAI's, whose weights are of another kind
    if not any(isinstance(keys.get(name), str) for name in _NAMES["positive"]):
        return False
    groups = [_NAMES["seed"], _NAMES["steps"], _NAMES["cfg"], _SAMPLER, (*_SIZES, "width"), _NAMES["checkpoint"]]
    return sum(any(_plain(keys.get(name)) for name in group) for group in groups) >= MIN_SETTINGS


def program_of(data: Mapping[str, Any]) -> str:
    """Return the name of the format, for ``origin``."""
    keys = {key_of(key) for key in list(data)[:500]}
    if str(data.get("software", "")).lower() == "ruinedfooocus":
        return "ruinedfooocus"
    if "usestablediffusionmodel" in keys:
        return "easydiffusion"
    if "c" in keys and {"uc", "sampler", "v2"} & keys:
        return "drawthings"
    return "civitai" if "cfgscale" in keys and "clipskip" in keys and "resources" in keys else ORIGIN


def read_settings(data: Mapping[str, Any], where: str, program: str) -> GenerationBuilder:
    """Read settings into a builder. where: the text's name in the provenance of fields."""
    builder = GenerationBuilder()
    newer = data.get("v2")
    merged = {**(newer if isinstance(newer, Mapping) and program == "drawthings" else {}), **data}
    values: dict[str, tuple[str, Any]] = {}
    for key, value in list(merged.items())[:500]:
        if value is not None:
            values[key_of(key)] = (key, value)

    def place(key: str) -> str:
        return f"{where}.{key}" if where else key

    def first(names: tuple[str, ...], usable: Callable[[Any], bool] = lambda value: True) -> tuple[str, Any]:
        return next((values[name] for name in names if name in values and usable(values[name][1])), ("", None))

    _prompts(builder, first, place)
    for name in ("seed", "steps", "cfg", "guidance", "width", "height", "checkpoint_hash"):
        key, value = first(_NAMES[name], _plain)
        if name != "seed" or to_integer(value) != -1:
            builder.set(name, value[:64] if isinstance(value, str) else value, place(key))
    for name in ("checkpoint", "vae"):
        key, value = first(_NAMES[name])
        value = value.get("name", value.get("model")) if isinstance(value, Mapping) else value
        if isinstance(value, str) and value.strip().lower() not in _PLACEHOLDERS:
            builder.set(name, value, place(key))
        elif name == "vae":
            builder.set_known_none("vae", f"{place('vae')}: the checkpoint's own")
    key, value = first(_SIZES)
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        builder.set("width", match[1], place(key))
        builder.set("height", match[2], place(key))
    (sampler_key, sampler), (scheduler_key, scheduler) = first(_SAMPLER), first(_SCHEDULER)
    if isinstance(sampler, str) or isinstance(scheduler, str):
        if not isinstance(sampler, str):
            sampler, scheduler = scheduler, None  # diffusers' word for a sampler
        builder.set_sampling(
            sampler, scheduler, place(sampler_key or scheduler_key), place(scheduler_key or sampler_key)
        )
    key, value = first(_SKIPPED)
    if (to_integer(value) or 0) > 1:
        builder.set("clip_skip", value, place(key))
    key, value = first(_DENOISE)
    if to_number(value) is not None and (program != "easydiffusion" or "initimage" in values):
        builder.set("denoise", value, place(key))
    _loras(builder, first, place)
    _upscale(builder, values.get("useupscaler", ("", None)), place)
    _unread(builder, values)
    builder.carried[where or "texts"] = dict(data)
    return builder


First = Callable[..., tuple[str, Any]]
Place = Callable[[str], str]


def _prompts(builder: GenerationBuilder, first: First, place: Place) -> None:
    for side in ("positive", "negative"):
        key, value = first(_NAMES[side])
        if side == "positive" and isinstance(value, str):
            lifted = lift_networks(value)
            builder.warn(*lifted.warnings)
            if lifted.loras:
                builder.set_loras(
                    ((t.name, t.strength_model, t.strength_clip, place(key)) for t in lifted.loras), place(key)
                )
            value = lifted.text
        builder.set(side, value, place(key))
    if not builder.has("negative") and builder.has("positive"):
        builder.set("negative", "", f"{place('negative prompt')}: none")


def _loras(builder: GenerationBuilder, first: First, place: Place) -> None:
    key, value = first(_LORAS)
    _, alphas = first(_ALPHAS)
    entries = [(name, weight, weight, place(key)) for name, weight in _named_loras(value, alphas)][:MAX_LORAS]
    builder.set_loras(entries, place(key or "loras"))


def _named_loras(value: Any, alphas: Any) -> Iterator[tuple[Any, Any]]:
    """Yield names and weights of LoRAs in any of the forms that they have."""
    if isinstance(value, str):
        found = _TAG.findall(value)
        if found:
            yield from found
        elif value.strip().lower() not in _PLACEHOLDERS:
            yield value, alphas if alphas is not None else 1.0
    elif isinstance(value, Mapping):
        for name, weight in value.items():
            yield name, weight
    elif isinstance(value, list):
        weights = alphas if isinstance(alphas, list) else [alphas] * len(value)
        for i, entry in enumerate(value[:MAX_LORAS]):
            if isinstance(entry, Mapping):
                name = next((entry[k] for k in ("model", "file", "name", "lora_name", "lora") if k in entry), None)
                yield name, next((entry[k] for k in ("weight", "strength", "scale", "multiplier") if k in entry), 1.0)
            elif isinstance(entry, list) and len(entry) >= 2:
                yield entry[0], entry[1]
            elif isinstance(entry, str):
                weight = weights[i] if i < len(weights) and weights[i] is not None else 1.0
                yield from _TAG.findall(entry) or [(entry, weight)]


def _upscale(builder: GenerationBuilder, entry: tuple[str, Any], place: Place) -> None:
    """Set the HiRes pass of the demonstration pages."""
    key, data = entry
    if isinstance(data, Mapping):
        for name, inner in (("scale", "upscale_by"), ("denoise", "upscaler_strength"), ("steps", "upscale_steps")):
            builder.set(f"hires.{name}", data.get(inner), f"{place(key)}.{inner}")


def _unread(builder: GenerationBuilder, values: Mapping[str, tuple[str, Any]]) -> None:
    warn_of_unread(
        builder,
        {
            key: value for name, (key, value) in values.items()
            if name not in _KNOWN and name != "useupscaler" and not _HARMLESS.fullmatch(name) and not isinstance(value, str)
        },
    )  # fmt: skip
    words = {key: value for name, (key, value) in values.items() if name in _CHANGING and isinstance(value, str)}
    warn_of_unread(builder, words)
    resources = values.get("resources", ("", None))[1]
    if isinstance(resources, list) and not builder.has("checkpoint"):
        named = [
            f"Civitai version {entry.get('modelVersionId')}" for entry in resources[:10]
            if isinstance(entry, Mapping) and entry.get("modelVersionId") is not None
        ]  # fmt: skip
        if named:
            builder.warn(
                f"{', '.join(map(shown, named))}: named by Civitai's pages, not by files. Choose a checkpoint with --model"
            )


_CHANGING = {
    "hypernetwork",
    "usehypernetworkmodel",
    "refinermodel",
    "controlnetmodel",
    "usecontrolnetmodel",
    "tiling",
    "upscaler",
}
"""Settings with words that change the picture."""


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
