"""A generation in the words of an artist: what the editor shows on the nodes. See web/js/distillery.js."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from .generation import Generation, Lora
from .model_parts import patch_text

SUMMARY_KEY = "distillery_summary"
"""Name of the summary among the results that a node sends to the editor."""

NOTHING = "This image says nothing of how it was made"
ADVICE = (
    "Use the original file: chat programs and converters remove the data. Or write --prompt and --model into the "
    "command, or --power 0 to enlarge without the HiRes pass."
)

BUILT_IN, INSTALLED, MISSING, BY_HASH = "built in", "installed", "not installed", "looked for by its hash when run"
"""Notes on a file that an image names. ``installed as NAME`` where another name is used for it."""

Find = Callable[[str, str, "str | None"], str]
"""Returns the note on a file: folder below models (``checkpoints``, ``diffusion_models``, ``vae`` …), name, hash."""


@dataclass(frozen=True)
class Row:
    """One line: name, value, and for a file a note."""

    name: str
    value: str
    note: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Summary:
    """The text that a node shows."""

    heading: str
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> str:
        """``{"heading": …, "rows": [{"name", "value", "note", "missing"}], "warnings": […]}``"""
        # In ASCII: halves of surrogate pairs, which untrusted input can hold, cannot be sent otherwise.
        return json.dumps(asdict(self))


def summarize_image(generation: Generation, find: Find) -> Summary:
    """Summarize a recalled generation, with a note on each of its models."""
    if generation.empty:
        return Summary(NOTHING, (), (ADVICE, *generation.warnings))
    rows = (*_prompts(generation), *_models(generation, find), *_sampling(generation, generation.steps))
    return Summary(f"Recalled from its {generation.origin} data", rows, generation.warnings)


def summarize_models(generation: Generation) -> Summary:
    """Summarize the loaded models, with warnings."""
    return Summary("Loaded", tuple(_models(generation)), generation.warnings)


def summarize_result(generation: Generation) -> Summary:
    """Summarize the parameters that a result was made with."""
    power = generation.hires.denoise
    if not power:
        heading, rows = "Enlarged, without a HiRes pass", [Row("Power", "0")]
    else:
        heading, rows = "Made with", [Row("Power", f"{power:g}"), *_prompts(generation), *_models(generation)]
        rows += _sampling(generation, generation.hires.steps)
    if generation.sharpen is not None:
        rows.append(Row("Sharpen", f"{generation.sharpen:g}"))
    if generation.hires.keep and generation.hires.keep != "nothing":
        rows.append(Row("Kept of the enlarged image", generation.hires.keep))
    if generation.hires.upscaler:
        rows.append(Row("Upscaler", generation.hires.upscaler))
    return Summary(heading, tuple(rows), generation.warnings)


def _prompts(g: Generation) -> Iterator[Row]:
    if g.positive is not None:
        yield Row("Prompt", g.positive)
    if g.negative:
        yield Row("Negative", g.negative)


def _models(g: Generation, find: Find | None = None) -> Iterator[Row]:
    def row(name: str, folder: str, file: str, digest: str | None, shown: str = "") -> Row:
        note = find(folder, file, digest) if find else ""
        return Row(name, shown or file, note, note == MISSING)

    if g.checkpoint:
        name, folder = ("Checkpoint", "checkpoints") if g.parts is None else ("Diffusion model", "diffusion_models")
        yield row(name, folder, g.checkpoint, g.checkpoint_hash)
    for encoder in g.parts.encoders if g.parts else ():
        yield row("Text encoder", "text_encoders", encoder, None)
    for patch in g.patches:
        yield Row("Sampling patch", patch_text(patch))
    if g.vae:
        yield row("VAE", "vae", g.vae, g.vae_hash)
    for lora in g.loras:
        yield row("LoRA", "loras", lora.name, lora.hash, f"{lora.name} {_strength(lora)}")


def _sampling(g: Generation, steps: int | None) -> Iterator[Row]:
    if g.seed is not None:
        yield Row("Seed", str(g.seed))
    parts = [part for part in (g.sampler, g.scheduler) if part]
    if steps is not None:
        parts.append(f"{steps} steps")
    if g.cfg is not None:
        parts.append(f"CFG {g.cfg:g}")
    if g.clip_skip is not None:
        parts.append(f"CLIP skip {g.clip_skip}")
    if parts:
        yield Row("Sampling", ", ".join(parts))


def _strength(lora: Lora) -> str:
    if lora.strength_model == lora.strength_clip:
        return f"{lora.strength_model:g}"
    return f"{lora.strength_model:g} (clip {lora.strength_clip:g})"
