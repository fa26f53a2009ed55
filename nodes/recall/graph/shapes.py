"""What a node's inputs show it to be, where its class is not known.

There are thousands of node packs. Their nodes differ in class, yet a loader of a checkpoint has a ``ckpt_name``, a
text encoder a text and a ``clip``, a node of parameters the name of each. Whoever reads a node by its shape warns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .nodes import Node, Step, plain, to_link

MADE = -1
"""Slot of an output that was asked for by name: the slots of an unknown class have no order that is known."""

_SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("seed", "noise_seed", "seed_num", "seed_value"),
    ("steps", "steps_total", "total_steps", "base_steps", "num_steps", "num_inference_steps"),
    ("cfg", "cfg_scale", "guidance_scale"),
    ("sampler_name", "sampler"),
    ("scheduler", "scheduler_name", "schedule"),
    ("denoise", "denoise_strength"),
    ("ckpt_name", "ckpt", "checkpoint", "checkpoint_name"),
    ("model", "opt_model", "optional_model", "model1", "model_1", "model_a"),
    ("clip", "opt_clip", "optional_clip", "clip1", "clip_1", "clip_a"),
    ("vae", "opt_vae", "optional_vae"),
    ("positive", "pos", "conditioning", "cond", "positive_cond", "conditioning_positive", "base_positive"),
    ("negative", "neg", "neg_conditioning", "negative_cond", "conditioning_negative", "base_negative", "uncond"),
    ("latent_image", "latent", "samples", "latents", "init_latent", "image_to_latent"),
    ("image", "images", "pixels"),
    ("width", "empty_latent_width", "image_width", "clip_width"),
    ("height", "empty_latent_height", "image_height", "clip_height"),
)
"""Names of the same thing in several packs."""
_SAME = {name: names for names in _SYNONYMS for name in names}
_NUMBERS = {
    name for names in _SYNONYMS[:3] for name in names
} | {
    "denoise", "denoise_strength", "width", "height", "guidance", "strength", "strength_model", "strength_clip",
    "start_at_step", "end_at_step", "scale_by", "upscale_by", "a", "b", "c",
}  # fmt: skip
_TEXT = re.compile(
    r"(?:.*_)?(?:text|prompt|string|str|positive|negative|caption|clip_[lg]|t5xxl|llama|bert|mt5xl)(?:_?[a-z0-9]{1,3})?"
)
_CARRIES = re.compile(
    r"(?:.*_)?(?:text|prompt|string|str|value|content|number|int|float|integer|seed|input|any\w{0,6}|source)"
)
"""Inputs of a node that only carries a value."""
_CHANGES = re.compile(
    r"random|wildcard|everywhere\?|split|regex|extract|index|replace|translat|interrogat|caption|tagger|describ|llm|gpt|ollama|"
    r"vlm|generat|length|count|compar|remove|select.*line|shuffle|style|math|convert|switch|format|parse|list|random",
    re.IGNORECASE,
)
"""Classes that change a text: what stands at their input is not what they give."""
_CONTROLS = {"control_after_generate", "mode", "action", "filename", "title", "label", "name", "speak_and_recognation"}
_PIPE = re.compile(r"(?:\w{1,40}_)?(?:pipe|ctx|context|tuple)(?:_?\w{1,20})?|\w{1,40}_config")
_FILE = re.compile(r"\.(?:safetensors|sft|ckpt|pth?|bin|gguf)$", re.IGNORECASE)

CHECKPOINT_INPUTS = ("ckpt_name", "ckpt", "checkpoint", "checkpoint_name", "base_ckpt_name", "ckpt_path")
MODEL_INPUTS = (
    "unet_name",
    "gguf_name",
    "stage_c_name",
    "stage_c",
    "model_name",
    "model_path",
    "diffusion_model",
    "diffusion_model_name",
    "unet",
    "model",
)
VAE_INPUTS = ("vae_name", "vae", "vae_model")
_NO_ENCODER = (".none", ".use_ckpt_clip", "None", "none", "")
BAKED = ("Baked VAE", "Baked-VAE", "None", "none", "", "baked VAE", "Default", "Automatic", ".use_ckpt_vae", ".none")
"""Values of a loader's VAE that mean the checkpoint's own."""


def named(node: Node, *names: str) -> str | None:
    """Return the first input of these names, whatever its case."""
    lower = {name.lower().strip(): name for name in node.inputs}
    return next((lower[name] for name in names if name in lower), None)


def same_names(wanted: str) -> tuple[str, ...]:
    """Return a name and its synonyms, itself first."""
    return (wanted, *(name for name in _SAME.get(wanted, ()) if name != wanted))


def is_text_input(name: str) -> bool:
    """Return True for the name of an input with a text."""
    return _TEXT.fullmatch(name.lower().strip()) is not None


def value_input(node: Node, wanted: str) -> str | None:
    """Return the input whose value a node of an unknown class gives for an input ``wanted``; ``None`` if unclear."""
    wanted = wanted.lower()
    for_text = is_text_input(wanted)
    if for_text and _CHANGES.search(node.class_type):
        return None
    usable = [name for name, value in node.inputs.items() if plain(value) is not None or to_link(value)]
    lower = {name.lower().strip(): name for name in usable}
    for name in same_names(wanted):
        if name in lower:
            return lower[name]
    literals = [
        name for name in usable if not to_link(node.inputs[name])
        and not isinstance(plain(node.inputs[name]), bool) and name.lower() not in _CONTROLS
    ]  # fmt: skip
    links = [name for name in usable if to_link(node.inputs[name])]
    if len(literals) + len(links) != 1 or _CHANGES.search(node.class_type):
        return None
    (only,) = literals or links
    value = plain(node.inputs[only])
    if wanted in _NUMBERS and isinstance(value, int | float):
        return only
    fits = _CARRIES.fullmatch(only.lower()) is not None or (for_text and is_text_input(only))
    return only if fits and (links or isinstance(value, str) or not for_text) else None


def pipes(node: Node) -> Iterator[str]:
    """Yield the linked inputs that carry several values by name."""
    for name, value in node.inputs.items():
        if _PIPE.fullmatch(name.lower()) and to_link(value):
            yield name


def piped(node: Node, wanted: str) -> list[Step] | None:
    """Return where a pipe out of an unknown node has a value from; ``None`` if the node makes it itself."""
    if wanted in _PICTURES and node.class_type in ("KSampler", "KSamplerAdvanced"):
        return None  # what a sampler was taken for: it makes the latent of the pipe that it gives
    for name in same_names(wanted):
        at = named(node, name)
        if at is None or (plain(node.inputs[at]) is None and not to_link(node.inputs[at])):
            continue
        if to_link(node.inputs[at]) or wanted not in _OBJECTS:
            return [Step(node.inputs[at], None)]
        return None  # a prompt's text, or the name of a file
    if wanted in ("model", "clip", "vae") and file_input(node) is not None:
        return None
    if wanted in _SIDES and any(
        wanted[:3] in name.lower() and plain(node.inputs[name]) not in ("", None) for name in text_inputs(node, wanted)
    ):
        return None
    if wanted in _PICTURES and (named(node, "steps") or named(node, *same_names("width")) or _repaints(node)):
        return None
    return [Step(node.inputs[name], wanted) for name in pipes(node)]


def _repaints(node: Node) -> bool:
    """Return True for a node that a picture and its mask are linked to, which then take the place of an empty latent."""
    return all(to_link(node.inputs.get(name)) for name in ("image", "mask"))


_OBJECTS = {"model", "clip", "vae", "positive", "pos", "negative", "neg", "latent_image", "latent", "samples", "image"}
_SIDES = {"positive", "pos", "negative", "neg"}
_PICTURES = {"latent_image", "latent", "samples", "image", "images"}


def file_input(node: Node) -> str | None:
    """Return the input with a checkpoint's or diffusion model's file, of a node that no model is linked to."""
    if any(to_link(node.inputs.get(name)) for name in _SAME["model"]):
        return None
    for name in (*CHECKPOINT_INPUTS, *MODEL_INPUTS):
        at = named(node, name)
        if at is None:
            continue
        value = node.inputs[at]
        told = plain(value)
        if isinstance(told, str) and told and (name != "model" or _FILE.search(told)):
            return at
        if to_link(value) and name not in ("model", "stage_c"):
            return at
    return None


def has_checkpoint(node: Node) -> bool:
    """Return True for a loader of a whole checkpoint, with text encoder and VAE."""
    return named(node, *CHECKPOINT_INPUTS) is not None


def vae_input(node: Node) -> str | None:
    """Return the input with a VAE's file."""
    at = named(node, *VAE_INPUTS)
    return at if at is not None and isinstance(plain(node.inputs[at]), str) else None


def encoder_inputs(node: Node) -> list[str]:
    """Return the inputs with the files of text encoders, without those that name none."""
    return [
        name for name in sorted(node.inputs)
        if re.match(r"clip_name|text_encoder\d?$", name) and plain(node.inputs[name]) not in _NO_ENCODER
    ]  # fmt: skip


def text_inputs(node: Node, side: str) -> list[str]:
    """Return the inputs with the texts that a node encodes for a side, ``positive`` or ``negative``."""
    found = [
        name for name, value in node.inputs.items()
        if is_text_input(name) and (isinstance(plain(value), str) or to_link(value))
    ]  # fmt: skip
    other = "neg" if side == "positive" else "pos"
    mine = [name for name in found if side[:3] in name.lower()]
    if mine:
        return mine
    return [name for name in found if other not in name.lower() and "system" not in name.lower()]


MAX_LORAS = 100
LORA_NAMES = ("lora_name", "lora", "lora_path", "lora_file")
LORA_MODEL = ("strength_model", "lora_strength", "strength", "model_strength", "lora_model_strength", "lora_weight",
              "weight", "lora_wt", "model_weight")  # fmt: skip
LORA_CLIP = ("strength_clip", "clip_strength", "lora_clip_strength", "clip_weight")


def lora_inputs(node: Node) -> tuple[str, str | None, str | None] | None:
    """Return the inputs with a LoRA's name and its strengths on model and text encoder; ``None`` if it loads none."""
    name = named(node, *LORA_NAMES)
    if name is None or not (isinstance(plain(node.inputs[name]), str) or to_link(node.inputs[name])):
        return None
    return name, named(node, *LORA_MODEL), named(node, *LORA_CLIP)


def numbered_lora_inputs(node: Node) -> list[tuple[str, str | None, str | None]]:
    """Return the inputs of each LoRA of a node that numbers them, without those that are turned off."""
    groups: dict[str, dict[str, str]] = {}
    for name, value in node.inputs.items():
        lower = name.lower()
        digits = re.findall(r"\d{1,3}", lower[:80])
        if len(digits) != 1:
            continue
        clip = re.search(r"clip|_te(?:_|$)", lower) is not None
        kind = (
            "off" if re.search(r"switch|toggle|enable|(?:^|_)on(?:_|$)|active", lower) and value in (False, "Off", "off", "false")
            else "on" if re.search(r"switch|toggle|enable|(?:^|_)on(?:_|$)|active|(?:^|_)mode(?:_|$)", lower)
            else ("clip" if clip else "model") if re.search(r"strength|weight|wt|(?:^|_)str(?:_|$)", lower)
            else "name" if "lora" in lower and (isinstance(plain(value), str) or to_link(value))
            else ""
        )  # fmt: skip
        if kind:
            groups.setdefault(digits[0].lstrip("0"), {}).setdefault(kind, name)
    return [
        (found["name"], found.get("model"), found.get("clip")) for found in groups.values()
        if "name" in found and "off" not in found and plain(node.inputs[found["name"]]) not in ("None", "none", "")
    ][:MAX_LORAS]  # fmt: skip


def other_loras(node: Node) -> list[str]:
    """Return the names of files at inputs that name LoRAs, for a warning."""
    return [
        text for name, value in node.inputs.items()
        if "lora" in name.lower() for text in _strings(value) if _FILE.search(text) or "<lora:" in text
    ]  # fmt: skip


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, str))
