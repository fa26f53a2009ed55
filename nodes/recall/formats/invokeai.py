"""InvokeAI: ``invokeai_metadata`` (since 3), ``sd-metadata`` (2) and ``Dream`` (1: a command line)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ...values import to_integer
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks
from ..unread import warn_of_unread

ORIGIN = "invokeai"
KEYS = ("invokeai_metadata", "sd-metadata", "Dream")

_FAMILIES = {"sd-1": "sd15", "sdxl": "sdxl", "flux": "flux", "sd-3": "sd3"}
_SAMPLERS = {
    # InvokeAI's names that mean another sampler than ComfyUI's of that name, without blanks and underscores.
    "dpmpp2": "dpmpp_2m", "dpmpp2a": "dpmpp_2s_ancestral", "dpmpp2s": "dpmpp_2s_ancestral", "dpmpp3m": "dpmpp_3m_sde",
    "kdpmpp2": "dpmpp_2m", "kdpmpp2a": "dpmpp_2s_ancestral",
}  # fmt: skip
_NOT_USED = {
    "controlnets": "a ControlNet",
    "control_layers": "control layers",
    "ipAdapters": "an IPAdapter",
    "ref_images": "reference images",
    "t2iAdapters": "a T2I adapter",
    "regions": "regional prompts",
    "refiner_model": "a refiner",
    "seamless_x": "seamless tiling",
    "seamless_y": "seamless tiling",
    "hrf_enabled": "a HiRes pass of its own",
}
_KNOWN = re.compile(
    r"\w*prompt|generation_mode|seed|steps|cfg_scale|guidance|width|height|scheduler|clip_skip|model|vae|loras|strength|hrf_\w+|"
    r"rand_device|app_version|refiner_\w+|init_image|canvas_v2_metadata|qwen\w*|clip_embed_model|clip_[glh]\w*_model|t5_encoder|"
    r"upscale_\w+|creativity|structure|tile_\w+|board|img2img\w*|metadata_version|z_image_\w+|workflow|graph|_\w+",
    re.IGNORECASE,
)
"""Parts of the metadata that are kept, named elsewhere, or without effect on the picture."""
_WEIGHTS = re.compile(r"[\w)][+-]{1,9}(?=[\s,.)]|$)|\)\d*\.\d|\)\.(?:and|blend|swap)\(")
"""InvokeAI's weights: ``word+``, ``(words)1.2``."""
_NEGATIVE = re.compile(r"\[([^\[\]]{0,5000})\]")
_DREAM = re.compile(r'\s*"(.*?)"(?=\s+-|\s*$)(.*)', re.DOTALL)
_OPTION = re.compile(r"(?<!\S)(?:--(\w{2,40})[\s=]+|-([A-Za-z])\s*)([^\s-]\S{0,200})")
"""A long option, or a short one with or without a blank behind it."""
_DREAM_OPTIONS = {
    "s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg", "f": "denoise", "steps": "steps", "seed": "seed",
    "width": "width", "height": "height", "cfg_scale": "cfg", "strength": "denoise",
}  # fmt: skip


def read(chunks: TextChunks) -> Generation | None:
    """Read the newest of the three."""
    for key, reader in zip(KEYS, (_metadata, _sd_metadata), strict=False):
        data = chunks.json_object(key)
        if data is not None:
            builder = reader(data)
            builder.carried[key] = data
            return builder.build(ORIGIN)
    if "Dream" in chunks:
        return _dream(chunks["Dream"]).build(ORIGIN)
    return None


def _metadata(data: Mapping[str, Any]) -> GenerationBuilder:
    builder, place = GenerationBuilder(), _Places(KEYS[0])
    for name, key in (
        ("positive", "positive_prompt"), ("negative", "negative_prompt"), ("seed", "seed"), ("steps", "steps"),
        ("cfg", "cfg_scale"), ("guidance", "guidance"), ("width", "width"),
        ("height", "height"), ("hires.denoise", "hrf_strength"),
    ):  # fmt: skip
        builder.set(name, data.get(key), place(key))
    if "txt2img" not in str(data.get("generation_mode")):
        builder.set("denoise", data.get("strength"), place("strength"))
    _sampler(builder, data.get("scheduler"), place("scheduler"))
    skipped = to_integer(data.get("clip_skip"))
    if skipped:
        builder.set("clip_skip", skipped + 1, place("clip_skip"))
    model = data.get("model")
    builder.set("checkpoint", _name(model), place("model"))
    if isinstance(model, Mapping):
        builder.set("family", _FAMILIES.get(str(model.get("base", model.get("base_model")))), place("model.base"))
    if data.get("vae") is None:
        builder.set_known_none("vae", f"{KEYS[0]} without vae: the checkpoint's own")
    builder.set("vae", _name(data.get("vae")), place("vae"))
    loras = data.get("loras")
    entries = []
    for i, lora in enumerate(loras[:100] if isinstance(loras, list) else ()):
        lora = lora if isinstance(lora, Mapping) else {}
        name = _name(lora.get("model", lora.get("lora")))
        entries.append((name, lora.get("weight"), lora.get("weight"), place(f"loras[{i}]")))
    builder.set_loras(entries, f"{KEYS[0]} without loras")
    for key, what in _NOT_USED.items():
        if data.get(key):
            builder.warn(f"the image was made with {what} ({key}), which the HiRes pass does not use")
    warn_of_unread(
        builder, {key: value for key, value in data.items() if key not in _NOT_USED and not _KNOWN.fullmatch(key)}
    )
    for side in ("positive", "negative"):
        if style := data.get(f"{side}_style_prompt"):
            builder.warn(f"the image had a {side} prompt of its own for SDXL's second text encoder: {shown(style)}")
        _weights(builder, data.get(f"{side}_prompt"), side)
    return builder


def _sd_metadata(data: Mapping[str, Any]) -> GenerationBuilder:
    builder, place = GenerationBuilder(), _Places(KEYS[1])
    image = data.get("image")
    image = image if isinstance(image, Mapping) else {}
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        texts = [part["prompt"] for part in prompt if isinstance(part, Mapping) and isinstance(part.get("prompt"), str)]
        prompt = " ".join(texts)
    _prompt(builder, prompt, place("image.prompt"))
    for name, key in (
        ("seed", "seed"), ("steps", "steps"), ("cfg", "cfg_scale"), ("width", "width"), ("height", "height"),
    ):  # fmt: skip
        builder.set(name, image.get(key), place(f"image.{key}"))
    if image.get("type") == "img2img":
        builder.set("denoise", image.get("strength"), place("image.strength"))
    _sampler(builder, image.get("sampler"), place("image.sampler"))
    builder.set("checkpoint", data.get("model_weights"), place("model_weights"))
    builder.set("checkpoint_hash", data.get("model_hash"), place("model_hash"))
    return builder


def _dream(command: str) -> GenerationBuilder:
    builder = GenerationBuilder()
    match = _DREAM.match(command[:1_000_000])
    if match is None:
        builder.warn("the Dream text of this image is not one of InvokeAI's")
        return builder
    _prompt(builder, match[1], "Dream")
    for long, short, value in _OPTION.findall(match[2]):
        option = long or short
        if option in _DREAM_OPTIONS:
            builder.set(_DREAM_OPTIONS[option], value, f"Dream -{option}")
        elif option in ("A", "sampler", "m"):
            _sampler(builder, value, "Dream -A")
    return builder


def _prompt(builder: GenerationBuilder, prompt: Any, where: str) -> None:
    """Set both prompts; versions 1 and 2 have the negative one in brackets, anywhere in the prompt."""
    if not isinstance(prompt, str):
        builder.set("positive", prompt, where)
        return
    negative = ", ".join(text.strip() for text in _NEGATIVE.findall(prompt))
    builder.set("positive", _NEGATIVE.sub("", prompt).strip(), where)
    builder.set("negative", negative, where)
    _weights(builder, prompt, "positive")


def _sampler(builder: GenerationBuilder, name: Any, where: str) -> None:
    if not isinstance(name, str):
        builder.set("sampler", name, where)
        return
    base = name.strip()
    karras = base.lower().endswith("_k")
    schedule = "karras" if karras else "normal"
    builder.set_sampling(base[:-2] if karras else base, schedule, where, aliases=_SAMPLERS, packs=False)


def _weights(builder: GenerationBuilder, prompt: Any, side: str) -> None:
    if isinstance(prompt, str) and _WEIGHTS.search(prompt[:1_000_000]):
        builder.warn(f"the {side} prompt has InvokeAI's weights (word+, (words)1.2), which ComfyUI reads as plain text")


def _name(model: Any) -> Any:
    """Return a model's name: ``name`` since version 4, ``model_name`` before."""
    return model.get("name", model.get("model_name")) if isinstance(model, Mapping) else model


class _Places:
    """Provenance of values, for ``fields``."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, name: str) -> str:
        return f"{self.key}.{name}"
