"""A1111, Forge, SD.Next and their imitators: the text ``parameters``, see :mod:`.a1111_text`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks
from ..sampler_names import is_sampler, parse_names
from ..unread import is_off
from .a1111_loras import names_loras, pairs, set_loras
from .a1111_samplers import sampling
from .a1111_text import ParsedText, parse_text
from .a1111_warnings import warn_of_settings
from .prompt_syntax import a1111_differences, lift_networks, name_embeddings

ORIGIN = "a1111"
KEY = "parameters"

MAX_A1111_SEED = 2**32 - 1
MAX_TEXT = 1_000_000
"""Length limit of the whole text."""
PLACEHOLDERS = ("unknown", "undefined", "none", "null", "n/a", "nan")
"""What image savers write where they know nothing."""

_SIZE = re.compile(r"\s*(\d{1,6})\s*[x×]\s*(\d{1,6})\s*", re.ASCII)
_VERSION = re.compile(r"(?:^|[fv])(\d{1,3})\.(\d{1,3})", re.ASCII)
_MODULE = re.compile(r"Module \d{1,2}")
_NO_MODULE = ("built in", "automatic", "none", "use same choices", "")
_VAE_NAME = re.compile(r"vae|kl-?f8|(?:^|[^a-z])ae(?:$|[^a-z])|(?:^|[^a-z])(?:mse|ema)(?:$|[^a-z])|840000|560000")
"""VAEs by their names; text encoders are named otherwise."""
_SPELLINGS = {
    # keys in lower case: A1111's. Programs differ in case, and SD.Next in names.
    "cfg scale": "CFG scale", "guidance scale": "CFG scale", "clip skip": "Clip skip", "distilled cfg scale": "Distilled CFG Scale",
    "sampler": "Sampler", "seed": "Seed", "steps": "Steps", "size": "Size", "model": "Model", "model hash": "Model hash",
    "vae": "VAE", "hires scale": "Hires upscale", "hires strength": "Hires strength", "schedule type": "Schedule type",
    "scheduler": "Scheduler", "sampler sigma": "Schedule type", "sampler schedule": "Schedule type",
    "denoising strength": "Denoising strength", "version": "Version", "rng": "RNG",
}  # fmt: skip


def read(chunks: TextChunks) -> Generation | None:
    """Read the text; all its settings are carried along."""
    builder = collect(chunks)
    return None if builder is None else builder.build(ORIGIN)


def collect(chunks: TextChunks) -> GenerationBuilder | None:
    """Like :func:`read`, for formats that add to it. ``None`` for a text of another format."""
    text = chunks.get(KEY)
    if text is None or chunks.looks_like_json(KEY):
        return None
    if len(text) > MAX_TEXT:
        chunks.problems.append(f"the {KEY} of this file have {len(text)} characters; at most {MAX_TEXT} are read")
        return None
    parsed = parse_text(text)
    return None if parsed is None else _to_builder(parsed)


def _to_builder(parsed: ParsedText) -> GenerationBuilder:
    builder = GenerationBuilder()
    settings = parsed.settings
    texts: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, str):
            texts.setdefault(_SPELLINGS.get(key.lower(), key), value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            texts.setdefault(_SPELLINGS.get(key.lower(), key), repr(value))  # a number in quotes
    for key in ("Model", "Sampler", "VAE", "Seed"):
        if texts.get(key, "").lower() in PLACEHOLDERS[:2]:
            del texts[key]

    def set_text(name: str, key: str) -> None:
        if texts.get(key):
            builder.set(name, texts[key], place(key))

    hashes = _hashes(settings)
    _prompts(builder, parsed, hashes, texts)
    set_text("seed", "Seed")
    set_text("steps", "Steps")
    set_text("cfg", "CFG scale")
    set_text("guidance", "Distilled CFG Scale")
    if texts.get("Clip skip") == "1":
        # What each text encoder does anyway. As a setting it would change those that skip a layer of themselves.
        builder.set_known_none("clip_skip", f"{place('Clip skip')}: 1, none")
    set_text("clip_skip", "Clip skip")
    _models(builder, texts, hashes)
    _resources(builder, settings.get("Civitai resources"))
    if not builder.has("loras") and settings and not names_loras(settings):
        builder.set_loras((), f"{KEY} without LoRAs")

    version = version_of(texts.get("Version", ""))
    schedule = next((key for key in ("Schedule type", "Scheduler") if texts.get(key)), "Sampler")
    found = sampling(texts.get("Sampler", ""), texts[schedule] if schedule != "Sampler" else "", version)
    builder.set("sampler", found.sampler, place("Sampler"))
    builder.set("scheduler", found.scheduler, place(schedule))
    builder.warn(*found.warnings)

    _size(builder, texts)
    _hires(builder, texts)
    warn_of_settings(builder, texts, settings)
    if "Steps" in texts and _gpu_noise(builder, texts, version):
        builder.warn(
            "A1111 made its noise on the GPU: the same seed gives other noise in ComfyUI, which makes it on the CPU"
        )
    if not settings:
        builder.warn(f"the {KEY} of this image have prompts and no settings")
    builder.carried["settings"] = settings
    return builder


def _prompts(
    builder: GenerationBuilder, parsed: ParsedText, hashes: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str]
) -> None:
    # ComfyUI's image savers write a LoRA's strength on the model first, as its loader has it.
    lifted = lift_networks(parsed.positive, model_first="ComfyUI" in texts.get("Version", ""))
    builder.warn(*lifted.warnings)
    prompts = {"positive": lifted.text, "negative": parsed.negative}
    builder.warn(*a1111_differences(prompts))
    inversions = [*hashes["embed"], *(name.strip() for name in texts.get("Embeddings", "").split(","))]
    for side, prompt in prompts.items():
        if parsed.settings and prompt.strip().lower() in PLACEHOLDERS:
            builder.warn(f"the {side} prompt is only {shown(prompt)}, a placeholder: it is taken for nothing")
            continue
        text, used = name_embeddings(prompt, inversions)
        builder.set(side, text, f"{KEY}: {side} prompt")
        for name in used:
            builder.warn(
                f'the textual inversion "{name[:60]}" is written as embedding:{name[:60]}, as ComfyUI wants it: '
                "it has to be in the embeddings folder"
            )
    set_loras(builder, lifted.loras, parsed.settings, hashes["lora"], place)


def _hashes(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return hashes of files by kind (``model``, ``vae``, ``lora``, ``embed``) and name (empty for the first two)."""
    found: dict[str, dict[str, Any]] = {"model": {}, "vae": {}, "lora": {}, "embed": {}}
    written = settings.get("Hashes")
    for key, value in written.items() if isinstance(written, Mapping) else ():
        kind, _, name = key.partition(":")
        if kind.lower() in found:
            found[kind.lower()][name.strip()] = value
    # A1111's own hash of a LoRA is of its weights alone, so that of the file goes before it.
    for kind, key in (("lora", "Lora hashes"), ("embed", "TI hashes")):
        for name, value in pairs(settings.get(key)).items():
            found[kind].setdefault(name, value)
    return found


def _models(builder: GenerationBuilder, texts: Mapping[str, str], hashes: Mapping[str, Mapping[str, Any]]) -> None:
    builder.set("checkpoint", texts.get("Model") or None, place("Model"))
    for name, key, kind in (("checkpoint_hash", "Model hash", "model"), ("vae_hash", "VAE hash", "vae")):
        if texts.get(key):
            builder.set(name, texts[key], place(key))
        builder.set(name, hashes[kind].get(""), place("Hashes"))
    vae = texts.get("VAE", "")
    if vae and vae.lower() not in ("none", "automatic") and not vae.startswith("Default"):
        builder.set("vae", vae, place("VAE"))
    elif vae:
        builder.set_known_none("vae", f"{place('VAE')}: the checkpoint's own")
    modules = [value for key, value in texts.items() if _MODULE.fullmatch(key) and value.lower() not in _NO_MODULE]
    # Forge lists VAEs and text encoders alike.
    vaes = [module for module in modules if _VAE_NAME.search(module.lower())]
    for module in vaes[:1]:
        builder.set("vae", module, place("Module"))
    if encoders := [module for module in modules if module not in vaes]:
        builder.warn(f"the image was made with text encoders of their own: {', '.join(map(shown, encoders[:6]))}")


def _resources(builder: GenerationBuilder, resources: Any) -> None:
    """Set the models that Civitai names if the text names none. Its names are those of pages, not of files."""
    entries = [entry for entry in resources if isinstance(entry, Mapping)] if isinstance(resources, list) else []
    by_page = []
    loras = []
    for entry in entries[:100]:
        kind = str(entry.get("type", "")).lower()
        name = entry.get("modelName") or entry.get("air") or f"Civitai version {entry.get('modelVersionId')}"
        if kind == "checkpoint" and not builder.has("checkpoint") and not builder.has("checkpoint_hash"):
            builder.set("checkpoint", name, place("Civitai resources"))
            by_page.append(name)
        elif kind in ("lora", "lycoris", "locon", "dora"):
            weight = entry.get("weight", 1.0)
            loras.append((name, weight, weight, place("Civitai resources")))
    if loras and not builder.has("loras"):
        builder.set_loras(loras, KEY)
        by_page += [lora[0] for lora in loras]
    if by_page:
        names = ", ".join(shown(name) for name in by_page[:10])
        builder.warn(f"{names}: named by Civitai's pages, not by files. Give files these names to have them found")


def _size(builder: GenerationBuilder, texts: Mapping[str, str]) -> None:
    final, first = _sides(texts.get("Size")), _sides(texts.get("First pass size"))
    size, key = final, "Size"
    if first and final and min(first) > 0:
        # A1111 before 2023: "Size" is what the HiRes pass made.
        builder.set("hires.scale", final[0] / first[0], place("Size"))
        size, key = first, "First pass size"
    if size:
        builder.set("width", size[0], place(key))
        builder.set("height", size[1], place(key))
    elif texts.get("Size"):
        builder.warn(f"{place('Size')} is not usable: {shown(texts['Size'])}")


def _hires(builder: GenerationBuilder, texts: Mapping[str, str]) -> None:
    """Set the HiRes pass; without one "Denoising strength" is that of image to image."""
    tiled = any(key.startswith("Ultimate SD upscale") for key in texts)
    if not tiled and not any(key.startswith("Hires ") for key in texts) and "First pass size" not in texts:
        if "Denoising strength" in texts:
            builder.set("denoise", texts["Denoising strength"], place("Denoising strength"))
        return
    for name, key in (
        ("hires.denoise", "Hires strength"),
        ("hires.denoise", "Denoising strength"),
        ("hires.steps", "Hires steps"),
        ("hires.scale", "Hires upscale"),
        ("hires.tile", "Ultimate SD upscale tile_width"),
        ("hires.upscaler", "Ultimate SD upscale upscaler"),
    ):
        if texts.get(key) and (texts[key] != "0" or name != "hires.steps"):  # 0: as many as the first pass
            builder.set(name, texts[key], place(key))
    base, target = _sides(texts.get("Size")), _sides(texts.get("Hires resize"))
    if base and target and base[0] and target[0]:
        builder.set("hires.scale", target[0] / base[0], place("Hires resize"))
    upscaler = texts.get("Hires upscaler", "")
    if upscaler and not _NO_MODEL.match(upscaler):
        builder.set("hires.upscaler", upscaler, place("Hires upscaler"))
    others = [
        key for key, value in texts.items()
        if key.lower().startswith("hires ") and key.lower() not in _HIRES_KEPT and not is_off(value)
        and not value.lower().startswith("use same") and value != texts.get(_SPELLINGS.get(key[6:].lower(), key[6:]))
    ]  # fmt: skip
    if others:
        builder.warn(f"the image's own HiRes pass had settings that are not kept: {', '.join(others)}")


def _sides(text: str | None) -> tuple[int, int] | None:
    match = _SIZE.fullmatch(text or "")
    return (int(match[1]), int(match[2])) if match else None


def version_of(text: str) -> tuple[int, int] | None:
    """Parse A1111's major and minor version: ``v1.6.0-2-g4afaaf8a``, Forge's ``f2.0.1v1.10.1-previous-313``.

    Forge without A1111's number counts as A1111 1.10, its ancestor. ``None`` for other programs.
    """
    if text.startswith("Fooocus"):
        return None
    if text.lower().startswith(("neo", "classic", "forge")):
        return 1, 10
    found = _VERSION.findall(text[:100])
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def _gpu_noise(builder: GenerationBuilder, texts: Mapping[str, str], version: tuple[int, int] | None) -> bool:
    if (builder.get("seed") or 0) > MAX_A1111_SEED or _is_comfyuis(texts.get("Sampler", "")):
        return False  # an image saver of ComfyUI's wrote this
    if "RNG" in texts:
        return texts["RNG"].upper() in ("GPU", "NV")
    # A1111 names the source of its noise only where it is not the GPU. Others that write as it does have none of that.
    return version is not None or ("Version" not in texts and "Created Date" not in texts)


def _is_comfyuis(name: str) -> bool:
    """Return True for a sampler as ComfyUI's image savers write it: with its scheduler behind an underscore."""
    return is_sampler(name) or ("_" in name and name == name.lower() and parse_names(name).sampler is not None)


def place(key: str) -> str:
    """Provenance of a value, for ``fields``."""
    return f"{KEY}: {key}"


_HIRES_KEPT = {
    "hires upscale", "hires steps", "hires upscaler", "hires resize", "hires scale", "hires strength", "hires mode",
    "hires size", "hires force", "hires resize mode", "hires context", "hires fix", "hires resize width", "hires resize height",
}  # fmt: skip
"""Settings of the HiRes pass that are read, or say nothing more."""
_NO_MODEL = re.compile(r"(?:latent|none|nearest|lanczos)", re.IGNORECASE)
"""Upscalers without a model file."""
