"""From a recalled generation and a command to what the HiRes pass is run with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from .command import Command
from .errors import DistilleryError
from .generation import Generation, HiRes
from .parameters import BY_NAME, CFG, DEFAULT_FAMILY, HIRES_STEPS, NEGATIVE_SUFFIX, POWER, SAMPLING, SHARPEN

NO_DATA = (
    "This image carries no generation data that can be read, so there is nothing to keep. Give a prompt "
    "(--prompt TEXT) and a checkpoint (--model NAME), or upscale without the HiRes pass (--power 0)."
)


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
    denoise = POWER if command.power is None else command.power
    sharpen = SHARPEN if command.sharpen is None else command.sharpen
    family = generation.family or DEFAULT_FAMILY
    warnings: list[str] = list(command.warnings)

    positive = generation.positive if command.prompt is None else command.prompt
    if positive is None:
        if denoise > 0 and generation.empty:
            raise NoPromptError(NO_DATA)
        if denoise > 0:
            raise NoPromptError(
                f"No prompt was found in this image ({generation.origin} data). Give one with --prompt TEXT, "
                "or upscale without the HiRes pass (--power 0)."
            )
        positive = ""

    if command.seed is not None:
        seed = command.seed
    elif generation.seed is not None:
        seed = generation.seed
    else:
        seed = 0
        if denoise > 0:
            warnings.append("the image has no seed: 0 is used (choose one with --seed)")
    sampler, scheduler = SAMPLING.get(family, SAMPLING[DEFAULT_FAMILY])
    sampling = {"sampler": sampler, "scheduler": scheduler}
    replaced = set()
    for name, known in (("sampler", samplers), ("scheduler", schedulers)):
        recalled = getattr(generation, name)
        if recalled and (not known or recalled in known):
            sampling[name] = recalled
            continue
        replaced.add(name)
        if denoise > 0:
            why = f"ComfyUI has no {name} {recalled!r}" if recalled else f"the image names no {name}"
            warnings.append(f"{why}: {sampling[name]} is used")
    if generation.origin == "distillery-upscale" and generation.sharpen and sharpen > 0:
        warnings.append(
            f"this image was already sharpened ({generation.sharpen:g}) by an upscale; --sharpen 0 keeps it as it is"
        )

    checkpoint, checkpoint_hash = generation.checkpoint, generation.checkpoint_hash
    if command.model is not None:
        checkpoint, checkpoint_hash = command.model, None  # the hash is that of the image's own
    settings = Settings(
        positive=positive,
        negative=negative_prompt(generation.negative, command.negative),
        seed=seed,
        steps=generation.hires.steps or HIRES_STEPS,
        cfg=command.cfg if command.cfg is not None else generation.cfg if generation.cfg is not None else CFG,
        sampler=sampling["sampler"],
        scheduler=sampling["scheduler"],
        denoise=denoise,
        sharpen=sharpen,
        missing_lora=command.missing_lora,
        keep=command.keep,
        generation=generation,
    )
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
            upscaler=generation.hires.upscaler,
        ),
        sharpen=sharpen,
        fields=_provenance(generation, command, replaced),
    )
    return replace(settings, generation=used.warn(*warnings))


def with_power(settings: Settings, power: float) -> Settings:
    """The same settings with another power, 0 to 1; where the command names one, that does not count.

    Raises NoPromptError where neither image nor command has a prompt, and a HiRes pass is asked for only now.
    """
    generation = settings.generation
    if power > 0 and not settings.positive and generation.fields.get("positive") == "default":
        raise NoPromptError(NO_DATA)
    generation = replace(
        generation,
        hires=replace(generation.hires, denoise=power),
        fields={**generation.fields, "hires.denoise": "the Power node"},
        warnings=tuple(w for w in generation.warnings if not w.startswith("--power ")),
    )
    advised, advice = BY_NAME["power"].advised, BY_NAME["power"].advice
    if advised and not advised[0] <= power <= advised[1]:
        generation = generation.warn(f"--power {power:g}: {advice}")
    return replace(settings, denoise=power, generation=generation)


def negative_prompt(recalled: str | None, given: str | None) -> str:
    """The negative prompt: a given one replaces the user's part and keeps Distillery's standing suffix."""
    if given is None:
        return recalled or ""
    if recalled is not None and recalled.strip().endswith(NEGATIVE_SUFFIX):
        # Nothing is doubled when the user pasted a negative that has the suffix already.
        given = given.strip().removesuffix(NEGATIVE_SUFFIX).rstrip(", ")
        return f"{given}, {NEGATIVE_SUFFIX}" if given else NEGATIVE_SUFFIX
    return given


def _provenance(generation: Generation, command: Command, replaced: Collection[str]) -> dict[str, str]:
    """Where each value of the used generation came from: image, command or default."""
    places = dict(generation.fields)
    given = {
        "positive": command.prompt, "negative": command.negative, "seed": command.seed, "cfg": command.cfg,
        "checkpoint": command.model, "hires.denoise": command.power, "sharpen": command.sharpen,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            places[name] = "command"
        elif name in ("hires.denoise", "sharpen") or (name != "checkpoint" and getattr(generation, name) is None):
            places[name] = "default"
    for name in replaced:
        places[name] = "default"
    if generation.hires.steps is None:
        places["hires.steps"] = "default"
    places["hires.scale"] = "this upscale"
    return places
