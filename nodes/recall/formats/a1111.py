"""A1111, Forge, SD.Next and their imitators: the text ``parameters``.

The prompt; the negative one, from a line that begins ``Negative prompt:``; one line of settings: ``Steps: 20,
Sampler: Euler a, …``. The prompts can hold newlines and those very words.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...generation import Generation
from ...values import to_number
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks, decode_json
from .a1111_samplers import sampling
from .prompt_syntax import a1111_differences, lift_networks, name_embeddings

ORIGIN = "a1111"
KEY = "parameters"

MAX_TEXT = 1_000_000
"""Length limit of the whole text."""
MAX_SETTINGS = 100_000
"""Length limit of the line of settings."""
MIN_SETTINGS = 3
"""Number of settings that make a line one of settings, the same as in A1111."""

# As A1111's own pattern, with bounds: a key of any length would be looked for without end.
_SETTING = re.compile(r"(\w[\w \-/]{1,99}):\s*")
_QUOTED = re.compile(r'"(?:\\.|[^\\"])+"(?=,|$)')
_NEGATIVE = "Negative prompt:"
_SIZE = re.compile(r"\s*(\d{1,6})\s*[x×]\s*(\d{1,6})\s*", re.ASCII)
_VERSION = re.compile(r"(?:^|[fv])(\d{1,3})\.(\d{1,3})", re.ASCII)
_VAE_NAME = re.compile(r"(?:^|[^a-z])(?:vae|ae)(?:$|[^a-z])")
_MODULE = re.compile(r"Module \d{1,2}")


class ParsedText(NamedTuple):
    """Prompts and settings of a text."""

    positive: str
    negative: str
    settings: dict[str, Any]
    """Settings in the order of the text: texts, or parsed JSON."""


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


def parse_text(text: str) -> ParsedText | None:
    """Split a text into prompts and settings; ``None`` if it is not A1111's."""
    lines = text.replace("\r\n", "\n").split("\n")
    last = next((i for i in reversed(range(len(lines))) if _is_settings(lines[i])), None)
    prompt = lines[:last]
    negative = next((i for i, line in enumerate(prompt) if line.lstrip().startswith(_NEGATIVE)), None)
    if last is None and negative is None:
        return None
    settings = dict(_settings(lines[last].strip())) if last is not None else {}
    if last is not None and (rest := "\n".join(lines[last + 1 :]).strip()):
        settings["text after the settings"] = rest
    if negative is None:
        return ParsedText("\n".join(prompt).strip(), "", settings)
    prompt[negative] = prompt[negative].lstrip().removeprefix(_NEGATIVE)
    return ParsedText("\n".join(prompt[:negative]).strip(), "\n".join(prompt[negative:]).strip(), settings)


def _is_settings(line: str) -> bool:
    line = line.strip()
    return line.startswith("Steps:") and len(list(itertools.islice(_settings(line), MIN_SETTINGS))) == MIN_SETTINGS


def _settings(line: str) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a line. A value is plain up to the next comma, quoted as a JSON string, or JSON."""
    line = line[:MAX_SETTINGS]
    attempts = 20  # at JSON that turns out to be none, each of which may run to the end of the line
    at = 0
    while match := _SETTING.search(line, at):
        key, start = match[1].strip(), match.end()
        value: Any = None
        quoted = _QUOTED.match(line, start)
        if attempts and (quoted or line[start : start + 1] in ("{", "[")):
            try:
                value, at = decode_json(line, start)
            except ValueError:
                attempts -= 1
        if value is None and quoted:
            value, at = quoted[0][1:-1], quoted.end()
        elif value is None:
            comma = line.find(",", start)
            at = len(line) if comma < 0 else comma
            value = line[start:at].strip()
        yield key, value


def _to_builder(parsed: ParsedText) -> GenerationBuilder:
    builder = GenerationBuilder()
    settings = parsed.settings
    texts = {key: value for key, value in settings.items() if isinstance(value, str)}

    def set_text(name: str, key: str) -> None:
        if texts.get(key):
            builder.set(name, texts[key], place(key))

    hashes = _hashes(settings)
    _prompts(builder, parsed, hashes)
    set_text("seed", "Seed")
    set_text("steps", "Steps")
    set_text("cfg", "CFG scale")
    set_text("cfg", "CFG Scale")
    set_text("guidance", "Distilled CFG Scale")
    if texts.get("Clip skip") == "1":
        # What each text encoder does anyway. As a setting it would change those that skip a layer of themselves.
        builder.set_known_none("clip_skip", f"{place('Clip skip')}: 1, none")
    set_text("clip_skip", "Clip skip")
    _models(builder, texts, hashes)
    _resources(builder, settings.get("Civitai resources"))
    if not builder.has("loras") and settings:
        builder.set_loras((), f"{KEY} without LoRAs")

    version = version_of(texts.get("Version", ""))
    schedule = next((key for key in ("Schedule type", "Scheduler") if texts.get(key)), "Sampler")
    found = sampling(texts.get("Sampler", ""), texts[schedule] if schedule != "Sampler" else "", version)
    builder.set("sampler", found.sampler, place("Sampler"))
    builder.set("scheduler", found.scheduler, place(schedule))
    builder.warn(*found.warnings)

    _size(builder, texts)
    _hires(builder, texts)
    _warn(builder, texts, version)
    if not settings:
        builder.warn(f"the {KEY} of this image have prompts and no settings")
    builder.carried["settings"] = settings
    return builder


def _prompts(builder: GenerationBuilder, parsed: ParsedText, hashes: Mapping[str, Mapping[str, Any]]) -> None:
    lifted = lift_networks(parsed.positive)
    builder.warn(*lifted.warnings)
    prompts = {"positive": lifted.text, "negative": parsed.negative}
    builder.warn(*a1111_differences(prompts))
    for side, prompt in prompts.items():
        text, used = name_embeddings(prompt, hashes["embed"])
        builder.set(side, text, f"{KEY}: {side} prompt")
        for name in used:
            builder.warn(
                f'the textual inversion "{name[:60]}" is written as embedding:{name[:60]}, as ComfyUI wants it: '
                "it has to be in the embeddings folder"
            )
    if lifted.loras:
        entries = [
            (tag.name, tag.strength_model, tag.strength_clip, place(f"<lora:{tag.name}>")) for tag in lifted.loras
        ]
        builder.set_loras(entries, KEY, hashes["lora"])
        return
    # Fooocus writes the weights apart from the prompt.
    weights = _pairs(parsed.settings.get("Lora weights"))
    if weights:
        entries = [(name, weight, weight, place("Lora weights")) for name, weight in weights.items()]
        builder.set_loras(entries, KEY, hashes["lora"])


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
        for name, value in _pairs(settings.get(key)).items():
            found[kind].setdefault(name, value)
    return found


def _pairs(value: Any) -> dict[str, str]:
    """Parse ``name: value, name: value``."""
    if not isinstance(value, str):
        return {}
    pairs = (part.rpartition(":") for part in value.split(","))
    return {name.strip(): text.strip() for name, _, text in pairs if name.strip()}


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
    modules = [value for key, value in texts.items() if _MODULE.fullmatch(key)]
    # Forge lists the VAE among the text encoders.
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
    others = [key for key in texts if key in _HIRES_ALONE]
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


def _warn(builder: GenerationBuilder, texts: Mapping[str, str], version: tuple[int, int] | None) -> None:
    """Warn of settings that the HiRes pass ignores or handles differently."""
    for what, keys in _NOT_USED.items():
        named = next((key for key in texts if key.startswith(keys)), None)
        if named is not None and texts[named].lower() not in ("false", "none", ""):
            builder.warn(
                f"the image was made with {what} ({named}: {texts[named][:60]}), which the HiRes pass does not use"
            )
    for key, what in _DIFFERENT.items():
        value = texts.get(key, "")
        if value and to_number(value) != 0:
            builder.warn(f"the image was made with {key} {value[:20]}: {what}")
    if "Steps" in texts and _gpu_noise(texts, version):
        builder.warn(
            "A1111 made its noise on the GPU: the same seed gives other noise in ComfyUI, which makes it on the CPU"
        )


def _gpu_noise(texts: Mapping[str, str], version: tuple[int, int] | None) -> bool:
    if "RNG" in texts:
        return texts["RNG"].upper() != "CPU"
    # A1111 names the source of its noise only where it is not the GPU. Others that write as it does have none of that.
    return version is not None or ("Version" not in texts and "Created Date" not in texts)


def place(key: str) -> str:
    """Provenance of a value, for ``fields``."""
    return f"{KEY}: {key}"


_NO_MODEL = re.compile(r"(?:latent|none|nearest|lanczos)", re.IGNORECASE)
"""Upscalers without a model file."""
_HIRES_ALONE = {
    "Hires sampler", "Hires schedule type", "Hires checkpoint", "Hires prompt", "Hires negative prompt",
    "Hires CFG Scale", "Hires CFG scale", "Hires Distilled CFG Scale", "Hires Module 1", "Hires VAE/TE",
}  # fmt: skip
_NOT_USED = {
    "a refiner": ("Refiner",),
    "ADetailer": ("ADetailer model",),
    "a ControlNet": ("ControlNet",),
    "Regional Prompter": ("RP Active",),
    "Forge Couple": ("forge_couple",),
    "Tiled Diffusion": ("Tiled Diffusion",),
    "Dynamic Thresholding": ("Dynamic thresholding enabled", "dynthres_enabled"),
    "FreeU": ("FreeU", "freeu_enabled"),
    "an IPAdapter": ("IPAdapter", "IP-Adapter"),
    "face restoration": ("Face restoration",),
    "a mask (inpainting)": ("Mask blur", "Masked content"),
    "a variation seed": ("Variation seed",),
    "a seed of another size": ("Seed resize from",),
    "styles": ("Styles",),
    "a hypernetwork": ("Hypernet",),
    "Perturbed Attention Guidance": ("pag_enabled", "PAG Active"),
}
"""Unused features by prefixes of their settings. Programs that expand styles have them in the prompt already."""
_DIFFERENT = {
    "ENSD": "ComfyUI has no such offset of the seed, so an ancestral sampler takes other noise",
    "Eta": "ComfyUI's samplers have an eta of 1",
}
