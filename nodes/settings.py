"""Settings of the HiRes pass, from a recalled generation and a command."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TypeVar

from .command import Command
from .errors import DistilleryError
from .generation import Generation, HiRes
from .parameters import BY_NAME, CFG, DEFAULT_FAMILY, HIRES_STEPS, MAX_PROMPT, NEGATIVE_SUFFIX, POWER, SAMPLING, SHARPEN

NO_DATA = (
    "This image carries no generation data that can be read, so there is nothing to keep. Give a prompt "
    "(--prompt TEXT) and a checkpoint (--model NAME), or upscale without the HiRes pass (--power 0)."
)


COMMAND, IMAGE, DEFAULT = "command", "image", "default"
"""Sources of a value."""

T = TypeVar("T")


class NoPromptError(DistilleryError):
    """A HiRes pass is asked for, and neither image nor command has a prompt."""


@dataclass(frozen=True)
class Settings:
    """Everything that the stock nodes of the workflow are given."""

    positive: str
    negative: str
    seed: int
    steps: int
    """Steps of the HiRes pass; ComfyUI runs all of them, on the tail of a longer schedule."""
    cfg: float
    sampler: str
    scheduler: str
    denoise: float
    sharpen: float
    missing_lora: str | None
    """``error`` or ``skip`` where the command says so."""
    keep: str | None
    """One of :data:`.parameters.KEEP` where the command says so."""
    generation: Generation
    """The generation as it will be used, with the warnings so far."""


def settings_for(
    generation: Generation,
    command: Command,
    samplers: Collection[str] = (),
    schedulers: Collection[str] = (),
) -> Settings:
    """Lay the command over the recalled generation over the defaults.

    samplers, schedulers: those that the server knows; a recalled one that is not among them is replaced
    by the default, with a warning. Empty: not checked.
    Raises NoPromptError where a HiRes pass is asked for and neither image nor command has a prompt.
    """
    places = dict(generation.fields)

    def choose(name: str, given: T | None, recalled: T | None, default: T) -> T:
        value, source = resolve(given, recalled, default)
        if source != IMAGE:  # else the place in the file stays
            places[name] = source
        return value

    # Power and sharpening are of this upscale: those of an earlier one are not taken over.
    denoise = choose("hires.denoise", command.power, None, POWER)
    sharpen = choose("sharpen", command.sharpen, None, SHARPEN)
    warnings: list[str] = list(command.warnings)
    if denoise > 0 and command.prompt is None and generation.positive is None:
        if generation.empty:
            raise NoPromptError(NO_DATA)
        raise NoPromptError(
            f"No prompt was found in this image ({generation.origin} data). Give one with --prompt TEXT, "
            "or upscale without the HiRes pass (--power 0)."
        )
    if denoise > 0 and command.seed is None and generation.seed is None:
        warnings.append("the image has no seed: 0 is used (choose one with --seed)")

    sampler, scheduler = SAMPLING.get(generation.family or DEFAULT_FAMILY, SAMPLING[DEFAULT_FAMILY])
    sampling = {"sampler": sampler, "scheduler": scheduler}
    for name, known in (("sampler", samplers), ("scheduler", schedulers)):
        recalled = getattr(generation, name)
        usable = recalled if recalled and (not known or recalled in known) else None
        sampling[name] = choose(name, None, usable, sampling[name])
        if usable is None and denoise > 0:
            why = f"ComfyUI has no {name} {recalled!r}" if recalled else f"the image names no {name}"
            warnings.append(f"{why}: {sampling[name]} is used")
    if generation.origin == "distillery-upscale" and generation.sharpen and sharpen > 0:
        warnings.append(
            f"this image was already sharpened ({generation.sharpen:g}) by an upscale; --sharpen 0 keeps it as it is"
        )

    checkpoint, checkpoint_hash = generation.checkpoint, generation.checkpoint_hash
    if command.model is not None:
        places["checkpoint"] = COMMAND
        checkpoint, checkpoint_hash = command.model, None  # the hash is that of the image's own
    given_negative = None if command.negative is None else negative_prompt(generation.negative, command.negative)

    def bounded(name: str, prompt: str) -> str:
        if len(prompt) <= MAX_PROMPT:
            return prompt
        if denoise > 0:
            warnings.append(f"the {name} prompt has {len(prompt):,} characters: the first {MAX_PROMPT:,} are used")
        return prompt[:MAX_PROMPT]

    settings = Settings(
        positive=bounded("positive", choose("positive", command.prompt, generation.positive, "")),
        negative=bounded("negative", choose("negative", given_negative, generation.negative, "")),
        seed=choose("seed", command.seed, generation.seed, 0),
        steps=choose("hires.steps", None, generation.hires.steps or None, HIRES_STEPS),
        cfg=choose("cfg", command.cfg, generation.cfg, CFG),
        sampler=sampling["sampler"],
        scheduler=sampling["scheduler"],
        denoise=denoise,
        sharpen=sharpen,
        missing_lora=command.missing_lora,
        keep=command.keep,
        generation=generation,
    )
    places["hires.scale"] = "this upscale"
    upscaler = generation.hires.upscaler
    if command.upscaler is not None:
        upscaler, places["hires.upscaler"] = command.upscaler, COMMAND
    used = replace(
        generation,
        positive=settings.positive,
        negative=settings.negative,
        seed=settings.seed,
        cfg=settings.cfg,
        sampler=settings.sampler,
        scheduler=settings.scheduler,
        checkpoint=checkpoint,
        checkpoint_hash=checkpoint_hash,
        hires=HiRes(
            steps=settings.steps,
            denoise=denoise,
            tile=generation.hires.tile,
            scale=2.0,
            upscaler=upscaler,
        ),
        sharpen=sharpen,
        fields=places,
    )
    return replace(settings, generation=used.warn(*warnings))


def resolve(given: T | None, recalled: T | None, default: T) -> tuple[T, str]:
    """Choose between a command's value, the image's and the default, in this order, and name the source."""
    if given is not None:
        return given, COMMAND
    return (recalled, IMAGE) if recalled is not None else (default, DEFAULT)


def with_power(settings: Settings, power: float) -> Settings:
    """Return the same settings with another power, 0 to 1; where the command names one, that does not count.

    Raises NoPromptError where neither image nor command has a prompt, and a HiRes pass is asked for only now.
    """
    generation = settings.generation
    if power > 0 and not settings.positive and generation.fields.get("positive") == DEFAULT:
        raise NoPromptError(NO_DATA)
    generation = replace(
        generation,
        hires=replace(generation.hires, denoise=power),
        fields={**generation.fields, "hires.denoise": "the Power node"},
        warnings=warnings_without_power(generation),
    )
    advice = BY_NAME["power"].advice_on(power)
    return replace(settings, denoise=power, generation=generation.warn(advice) if advice else generation)


def warnings_without_power(generation: Generation) -> tuple[str, ...]:
    """The warnings of a generation with settings, but for the advice on its power."""
    power = generation.hires.denoise
    advice = None if power is None else BY_NAME["power"].advice_on(power)
    return tuple(warning for warning in generation.warnings if warning != advice)


def negative_prompt(recalled: str | None, given: str | None) -> str:
    """Return the negative prompt: a given one replaces the user's part and keeps Distillery's standing suffix."""
    if given is None:
        return recalled or ""
    if recalled is not None and recalled.strip().endswith(NEGATIVE_SUFFIX):
        # Nothing is doubled when the user pasted a negative that has the suffix already.
        given = given.strip().removesuffix(NEGATIVE_SUFFIX).rstrip(", ")
        return f"{given}, {NEGATIVE_SUFFIX}" if given else NEGATIVE_SUFFIX
    return given
