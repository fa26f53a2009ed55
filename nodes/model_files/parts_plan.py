"""Choose the installed files of a model in parts: diffusion model, text encoders and VAE. Decisions only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import DistilleryError
from ..model_parts import Parts
from .diffusion_models import PARTS, Family
from .names import match_name, nearest


class PartsError(DistilleryError):
    """A part of the model is missing, does not fit, or cannot be told from another."""


@dataclass(frozen=True)
class PartFiles:
    """The files of one folder, as ComfyUI lists them, and what their headers say."""

    names: Sequence[str]
    kind: Callable[[str], str | int | None] = lambda name: None
    """Family of a diffusion model, kind of a text encoder, channels of a VAE; None where it cannot be told."""


@dataclass(frozen=True)
class InstalledParts:
    """The files of the three folders."""

    models: PartFiles = PartFiles(())
    encoders: PartFiles = PartFiles(())
    vaes: PartFiles = PartFiles(())
    gguf: bool = False
    """True where ComfyUI-GGUF is installed."""


@dataclass(frozen=True)
class PartsPlan:
    """The files to load, by the names that ComfyUI's loaders take."""

    model: str
    dtype: str
    """``weight_dtype`` of the diffusion model; ``default``: the file's own."""
    encoders: tuple[str, ...]
    type: str
    vae: str
    family: str | None
    notes: tuple[str, ...] = ()
    """Warnings about what the image does not name."""


def plan_parts(model: str, parts: Parts, vae: str | None, family: str | None, installed: InstalledParts) -> PartsPlan:
    """Find the parts of a model among the installed files.

    model: name of an installed diffusion model. parts, vae: what the image names; what it does not name is the family's usual
    file where exactly one fits. family: what the image says, where the model's own file does not tell.
    Raises PartsError, naming what was looked for and where.
    """
    if model.lower().endswith(".gguf") and not installed.gguf:
        raise PartsError(
            f"{model} is a GGUF file, which ComfyUI loads with the pack ComfyUI-GGUF alone: install that, or the model as safetensors."
        )
    told = installed.models.kind(model)
    family = told if isinstance(told, str) else family
    known = PARTS.get(family or "")
    notes: list[str] = []
    encoders, kind = _encoders(model, parts, family, known, installed.encoders, notes)
    chosen = _vae(model, vae, family, known, installed.vaes, notes)
    return PartsPlan(model, parts.dtype or "default", encoders, kind, chosen, family, tuple(notes))


def _encoders(
    model: str, parts: Parts, family: str | None, known: Family | None, files: PartFiles, notes: list[str]
) -> tuple[tuple[str, ...], str]:
    kind = parts.type or (known.type if known else None)
    if kind is None:
        raise PartsError(
            f"It cannot be told which family {model} belongs to, and the image does not say what its text encoders are for. "
            "Choose a checkpoint with --model NAME."
        )
    if parts.encoders:
        found = []
        for wanted in parts.encoders:
            name = match_name(wanted, files.names)
            if name is None:
                raise PartsError(
                    f'The text encoder "{wanted}" of this image is not installed. Put it into models/text_encoders.'
                    f"{_similar(wanted, files.names)}"
                )
            found.append(name)
        _check_encoders(model, found, family, known, files)
        return tuple(found), kind
    if known is None:
        raise PartsError(f"The image does not name the text encoders of {model}, whose family cannot be told.")
    found = [_usual(role, model, family, files) for role in known.encoders]
    notes.append(
        f"the image does not name the text encoders of {model}: {', '.join(found)} are used, which fit its family {family}"
    )
    return tuple(found), kind


def _check_encoders(
    model: str, names: Sequence[str], family: str | None, known: Family | None, files: PartFiles
) -> None:
    if known is None:
        return
    for name in names:
        role = files.kind(name)
        if role is not None and role not in known.encoders:
            raise PartsError(
                f"The text encoder {name} is {role}; {model}, of the family {family}, takes {' and '.join(known.encoders)}."
            )


def _usual(role: str, model: str, family: str | None, files: PartFiles) -> str:
    """Return the one installed text encoder of a kind."""
    fitting = sorted(name for name in files.names if files.kind(name) == role)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise PartsError(
            f"{model} is of the family {family} and needs the text encoder {role}, which the image does not name and of which none "
            "is in models/text_encoders. Put one there."
        )
    raise PartsError(
        f"{model} needs the text encoder {role}, which the image does not name, and several fit: {', '.join(fitting[:6])}. Leave "
        "one in models/text_encoders, or choose a checkpoint with --model NAME."
    )


def _vae(
    model: str, wanted: str | None, family: str | None, known: Family | None, files: PartFiles, notes: list[str]
) -> str:
    if wanted is not None:
        name = match_name(wanted, files.names)
        if name is None:
            raise PartsError(
                f'The VAE "{wanted}" of this image is not installed. Put it into models/vae.{_similar(wanted, files.names)}'
            )
        channels = files.kind(name)
        if known is not None and isinstance(channels, int) and channels != known.channels:
            raise PartsError(
                f"The VAE {name} has {channels} channels; {model}, of the family {family}, needs one with {known.channels}."
            )
        return name
    if known is None:
        raise PartsError(f"The image does not name the VAE of {model}, whose family cannot be told.")
    fitting = [name for name in files.names if files.kind(name) in (known.channels, None)]
    named = sorted(name for name in fitting if any(_has_word(name, word) for word in known.vaes))
    if len(named) != 1:
        what = f"several fit: {', '.join(named[:6])}" if named else "none in models/vae fits by its name"
        raise PartsError(
            f"The image does not name the VAE of {model}, and {what}. The family {family} uses one that is called like "
            f"{' or '.join(known.vaes)}."
        )
    notes.append(f"the image does not name the VAE of {model}: {named[0]} is used, which fits its family {family}")
    return named[0]


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z])", name.lower()) is not None


def _similar(wanted: str, names: Sequence[str]) -> str:
    near = nearest(wanted, names)
    return f" Installed with a similar name: {', '.join(near)}." if near else ""
