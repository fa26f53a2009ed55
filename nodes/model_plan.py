"""Which of the installed files a generation is run with. Decisions only: nothing is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .errors import DistilleryError
from .generation import Generation, Lora
from .names import match_name, nearest, without_inpainting
from .parameters import MINI_NAME

BUILT_IN = "distillery-mini (built in)"
"""Fallback choice: the small model that ships with this project, where no other checkpoint is installed."""
NO_FALLBACK = "none: stop with an error"


class ModelError(DistilleryError):
    """A model that the generation needs is not installed."""


@dataclass(frozen=True)
class Installed:
    """The file names that ComfyUI lists, by folder."""

    checkpoints: Sequence[str]
    vaes: Sequence[str]
    loras: Sequence[str]
    is_inpainting: Callable[[str], bool] = lambda name: False
    """Whether an installed checkpoint is an inpainting model, by its contents."""
    family: Callable[[str], str | None] = lambda name: None
    """Model family of an installed checkpoint (``sd15``, ``sdxl``), or None where it cannot be told."""


@dataclass(frozen=True)
class ModelPlan:
    """The files to load, by the names that ComfyUI's loaders take."""

    checkpoint: str
    vae: str | None
    """None: the checkpoint's own."""
    loras: tuple[Lora, ...]
    clip_skip: int | None
    generation: Generation
    """The generation as used: these names, and warnings about everything that differs from the image."""


def plan_models(generation: Generation, installed: Installed, fallback: str, missing_lora: str) -> ModelPlan:
    """Find the generation's models among the installed ones.

    fallback: an installed checkpoint, BUILT_IN or NO_FALLBACK; used, with a warning, where the
    generation's own checkpoint is not installed. missing_lora: ``error`` or ``skip``.
    Raises ModelError where a model is missing and no rule covers it.
    """
    warnings: list[str] = []
    checkpoint = _checkpoint(generation, installed, fallback, warnings)
    if checkpoint == MINI_NAME:
        vae, loras = _parts_of_mini(generation, warnings)
        clip_skip = None
    else:
        vae = _vae(generation, installed, warnings)
        loras = _loras(generation, installed, missing_lora, warnings)
        clip_skip = generation.clip_skip
        family = installed.family(checkpoint)
        if generation.family and family and family != generation.family:
            warnings.append(
                f"the image was made with a model of the family {generation.family}, {checkpoint} is {family}: "
                "the result will differ, and its LoRAs and VAE may not fit"
            )
        if family == "sdxl":
            clip_skip = None
    used = replace(generation, checkpoint=checkpoint, vae=vae, loras=loras, clip_skip=clip_skip).warn(*warnings)
    return ModelPlan(checkpoint, vae, loras, clip_skip, used)


def _checkpoint(generation: Generation, installed: Installed, fallback: str, warnings: list[str]) -> str:
    wanted = generation.checkpoint
    found = None
    if wanted:
        if match_name(wanted, [MINI_NAME]):
            return MINI_NAME  # by its own name, installed or yet to be assembled
        found = match_name(wanted, installed.checkpoints)
        base = without_inpainting(wanted)
        if base is not None or (found and installed.is_inpainting(found)):
            # An inpainting model has mask channels that a HiRes pass does not feed.
            found = _swap_inpainting(wanted, base, installed)
            warnings.append(f"{wanted} is an inpainting model: its base model {found} is used for the HiRes pass")
    if found:
        return found

    missing = (
        f'The checkpoint "{wanted}" of this image is not installed.' if wanted else "The image names no checkpoint."
    )
    others = [name for name in installed.checkpoints if not match_name(MINI_NAME, [name])]
    if fallback == BUILT_IN and not others:
        warnings.append(
            f"{missing[:-1]}: the built-in {MINI_NAME} stands in for it. It is a tiny model that shows the pipeline, "
            "not the picture's style. Put the checkpoint into models/checkpoints, or choose one with --model NAME."
        )
        return MINI_NAME
    if fallback not in (BUILT_IN, NO_FALLBACK):
        chosen = match_name(fallback, installed.checkpoints)
        if chosen is None:
            raise ModelError(
                f'{missing} The fallback checkpoint "{fallback}" is not installed either. {_choose(wanted, others)}'
            )
        if installed.is_inpainting(chosen):
            raise ModelError(
                f'{missing} The fallback "{chosen}" is an inpainting model, which cannot stand in. '
                f"{_choose(wanted, others)}"
            )
        warnings.append(f"{missing[:-1]}: the fallback {chosen} is used")
        return chosen
    raise ModelError(f"{missing} {_choose(wanted, others)}")


def _swap_inpainting(wanted: str, base: str | None, installed: Installed) -> str:
    found = match_name(base, installed.checkpoints) if base else None
    if found is None or installed.is_inpainting(found):
        name = f'"{base}"' if base else "its base model"
        raise ModelError(
            f'The checkpoint "{wanted}" is an inpainting model, which cannot run a HiRes pass, and {name} is not '
            "installed. Put the base model into models/checkpoints, or choose another with --model NAME."
        )
    return found


def _choose(wanted: str | None, available: Sequence[str]) -> str:
    if not available:
        return "Put it into models/checkpoints; no checkpoint is installed there."
    near = nearest(wanted, available) if wanted else list(available[:3])
    shown = ", ".join(near or available[:3])
    more = f" ({len(available)} installed)" if len(available) > 3 else ""
    return f"Put it into models/checkpoints, or choose one with --model NAME, such as {shown}{more}."


def _vae(generation: Generation, installed: Installed, warnings: list[str]) -> str | None:
    if not generation.vae:
        return None
    found = match_name(generation.vae, installed.vaes)
    if found is None:
        warnings.append(f"the VAE {generation.vae} is not installed: the checkpoint's own is used")
    return found


def _loras(generation: Generation, installed: Installed, missing_lora: str, warnings: list[str]) -> tuple[Lora, ...]:
    found, missing = [], []
    for lora in generation.loras:
        name = match_name(lora.name, installed.loras)
        if name is None:
            missing.append(lora.name)
        else:
            found.append(replace(lora, name=name))
    if missing and missing_lora != "skip":
        names = ", ".join(dict.fromkeys(missing))
        near = nearest(missing[0], installed.loras)
        hint = f" Installed with a similar name: {', '.join(near)}." if near else ""
        raise ModelError(
            f"LoRA not installed: {names}. Put the file into models/loras, or upscale without it "
            f"(--missing_lora skip).{hint}"
        )
    warnings.extend(f"the LoRA {name} is not installed and was skipped" for name in dict.fromkeys(missing))
    return tuple(found)


def _parts_of_mini(generation: Generation, warnings: list[str]) -> tuple[None, tuple[Lora, ...]]:
    """The built-in model has an architecture and a latent space of its own: nothing made for others fits."""
    if generation.vae:
        warnings.append(f"the VAE {generation.vae} does not fit {MINI_NAME} and is not used")
    warnings.extend(f"the LoRA {lora.name} does not fit {MINI_NAME} and is not used" for lora in generation.loras)
    return None, ()
