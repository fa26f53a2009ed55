"""NovelAI: ``Software`` is ``NovelAI`` and ``Comment`` the JSON of the request.

Its models are not published, so another checkpoint has to be chosen for the HiRes pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...generation import Generation
from ..builder import GenerationBuilder, shown
from ..containers.texts import TextChunks
from ..unread import warn_of_unread

ORIGIN = "novelai"
KEY = "Comment"

_STEP = 1.05
"""Factor of a brace on a weight; a bracket divides by it."""
_TOKEN = re.compile(r"[{}\[\]]|(?<![\w.])(-?\d{1,3}(?:\.\d{1,4})?)::|::", re.ASCII)
_KNOWN = re.compile(
    r"prompt|uc|v4_\w+|seed|steps|scale|width|height|sampler|noise_schedule|strength|noise|n_samples|request_type|signed_hash|"
    r"extra_noise_seed|legacy\w*|lora_\w+|reference_\w+|director_\w+|controlnet_\w+|hide_debug_overlay|add_original_image|version|"
    r"explike_fine_detail|minimize_sigma_inf|uncond_per_vibe|wonky_vibe_correlation|stream|deliberate_euler_ancestral_bug|"
    r"prefer_brownian|params_version|quality_?toggle|ucpreset|use_coords|characterprompts|image_format|sampler_seed|"
    r"normalize_reference_strength_multiple|variety_?plus_?scale|skip_cfg_below_sigma|use_upscaled_credits|use_new_shared_trial|"
    r"temp_conversion|image|mask|color_correct|inpaint\w*|img2img|autosmea|cfg_sched_eligibility|extra_passthrough\w*|uncond_scale",
    re.IGNORECASE,
)
"""Parts of a request that are kept, named elsewhere, or without effect on the picture."""
_NOT_USED = {
    "reference_image_multiple": "vibe transfer",
    "reference_strength_multiple": "vibe transfer",
    "director_reference_strengths": "a character reference",
    "controlnet_model": "a control model",
}


def read(chunks: TextChunks) -> Generation | None:
    """Read the request."""
    if chunks.get("Software") != "NovelAI" or not chunks.looks_like_json(KEY):
        return None
    data = chunks.json_object(KEY)
    if data is None or "c" in data:  # Draw Things' JSON has other names of the same kind
        return None
    builder = GenerationBuilder()
    for side, key, version4, older in (
        ("positive", "prompt", "v4_prompt", chunks.get("Description")),
        ("negative", "uc", "v4_negative_prompt", None),
    ):
        captions, where = _captions(data.get(version4))
        if captions is None:
            captions, where = ([data[key]], f"{KEY}.{key}") if key in data else ([older], "Description")
        else:
            where = f"{KEY}.{version4}.caption"
        if len(captions) > 1:
            builder.warn(f"the {side} prompt has a part for each character: they are joined by commas")
        _prompt(builder, side, captions, where)
    for name, key in (("seed", "seed"), ("steps", "steps"), ("cfg", "scale"), ("width", "width"), ("height", "height")):
        builder.set(name, data.get(key), f"{KEY}.{key}")
    if str(data.get("request_type", "")) in ("Img2ImgRequest", "NativeInfillingRequest") or "strength" in data:
        builder.set("denoise", data.get("strength"), f"{KEY}.strength")
    _sampler(builder, data)
    for key, what in _NOT_USED.items():
        if data.get(key):
            builder.warn(f"the image was made with {what} ({key}), which the HiRes pass does not use")
    warn_of_unread(
        builder, {key: value for key, value in data.items() if key not in _NOT_USED and not _KNOWN.fullmatch(key)}
    )
    source = chunks.get("Source", "")
    builder.warn(
        f"the image was made with a model of NovelAI's own ({shown(source)}), which cannot be had as a file: "
        "choose a checkpoint with --model"
    )
    builder.carried.update(Source=source, Comment=data)
    return builder.build(ORIGIN)


def _captions(prompt: Any) -> tuple[list[Any] | None, str]:
    """Return the prompts of NovelAI 4: of the whole image, then of each character."""
    caption = prompt.get("caption") if isinstance(prompt, Mapping) else None
    if not isinstance(caption, Mapping) or not isinstance(caption.get("base_caption"), str):
        return None, ""
    characters = caption.get("char_captions")
    return [
        caption["base_caption"],
        *(
            entry["char_caption"]
            for entry in (characters[:20] if isinstance(characters, list) else ())
            if isinstance(entry, Mapping) and isinstance(entry.get("char_caption"), str) and entry["char_caption"]
        ),
    ], ""


def _prompt(builder: GenerationBuilder, side: str, captions: list[Any], where: str) -> None:
    if not all(isinstance(text, str) for text in captions):
        builder.set(side, captions[0], where)
        return
    text = ", ".join(captions)
    written = comfyui_weights(text)
    if written != text:
        builder.warn(f"NovelAI's weights in the {side} prompt are written as ComfyUI has them, such as (words:1.05)")
    builder.set(side, written, where)


def _sampler(builder: GenerationBuilder, data: Mapping[str, Any]) -> None:
    where = (f"{KEY}.sampler", f"{KEY}.noise_schedule")
    builder.set_sampling(data.get("sampler"), data.get("noise_schedule"), *where, packs=False)


def comfyui_weights(prompt: str) -> str:
    """Translate NovelAI's weights, ``{more}``, ``[less]`` and ``1.2::words::``, into ComfyUI's.

    Round brackets are plain characters to NovelAI, so they are escaped. An unclosed weight holds to the end.
    """
    parts: list[tuple[str, float]] = []
    braces, number, at = 0, 1.0, 0
    for match in _TOKEN.finditer(prompt):
        parts.append((prompt[at : match.start()], _weight(number, braces)))
        at = match.end()
        token = match[0]
        if token in ("{", "]"):
            braces += 1
        elif token in ("}", "["):
            braces -= 1
        else:
            number = float(match[1]) if match[1] else 1.0
    parts.append((prompt[at:], _weight(number, braces)))
    return "".join(_weighted(text, weight) for text, weight in parts)


def _weight(number: float, braces: int) -> float:
    """Return the weight of a text, clamped to the range of ComfyUI's own editor."""
    power = _STEP ** max(-100, min(braces, 100))
    return max(-10.0, min(number * power, 10.0))


def _weighted(text: str, weight: float) -> str:
    text = re.sub(r"(?<!\\)([()])", r"\\\1", text)
    core = text.strip(" ,\n")
    if not core or abs(weight - 1) < 0.005:
        return text
    start = text.index(core)
    return f"{text[:start]}({core}:{weight:.3g}){text[start + len(core) :]}"
