"""Build a generation: check every value that a format finds, and record its provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..generation import Generation, HiRes, Lora
from ..model_parts import MAX_PATCHES, Parts, Patch
from ..texts import shorten
from ..values import CHECKS, STRENGTH, to_hash, to_model_name, to_name
from .sampler_names import parse_names

_GENERATION_DATA = {"positive", "negative", "seed", "cfg", "steps", "sampler", "scheduler", "checkpoint"}


class GenerationBuilder:
    """Builder of a generation. The first value of a field wins: call in order of precedence."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._fields: dict[str, str] = {}
        self._loras: tuple[Lora, ...] | None = None
        self._warnings: dict[str, None] = {}
        self.carried: dict[str, Any] = {}

    @property
    def has_generation_data(self) -> bool:
        """True if there is generation data; a size or a sharpening alone is none."""
        return bool(self._loras) or not self._values.keys().isdisjoint(_GENERATION_DATA)

    def has(self, name: str) -> bool:
        """Return True if a field is known, even as "none" (the checkpoint's own VAE, no LoRA)."""
        return name in self._fields

    def get(self, name: str) -> Any:
        """Return the value of a field so far; ``None`` if it has none."""
        return self._values.get(name)

    def set(self, name: str, value: Any, where: str) -> None:
        """Set a field (``hires.steps`` for the nested ones). Ignores ``None`` and fields that are set;
        leaves out a value of the wrong type or out of range, with a warning."""
        if value is None or self.has(name):
            return
        checked = CHECKS[name](value)
        if checked is None:
            self.warn(f"{where} is not usable as {name.replace('.', ' ')}: {shown(value)}")
            return
        self._values[name] = checked
        self._fields[name] = where

    def set_sampling(
        self, sampler: Any, scheduler: Any, where: str, where_scheduler: str = "",
        aliases: Mapping[str, str] | None = None, packs: bool = True,
    ) -> None:  # fmt: skip
        """Set sampler and scheduler from a program's names, see :func:`.sampler_names.parse_names`."""
        name, schedule = (text if isinstance(text, str) else "" for text in (sampler, scheduler))
        found = parse_names(name, schedule, aliases, packs)
        self.set("sampler", found.sampler if name else sampler, where)
        self.set("scheduler", found.scheduler if schedule or scheduler is None else scheduler, where_scheduler or where)
        self.warn(*found.warnings)

    def set_known_none(self, name: str, where: str) -> None:
        """Record that a field is known to be "none"."""
        self._fields.setdefault(name, where)

    def set_loras(
        self, loras: Iterable[tuple[Any, Any, Any, str]], where: str, hashes: Mapping[str, Any] | None = None
    ) -> None:
        """Set the LoRA chain: (name, model strength, clip strength, place) in the order of application.

        hashes: of the files, by the name in the chain, if the image has them.

        Leaves out a LoRA without effect (both strengths 0), and an unreadable one with a warning.
        """
        if self._loras is not None:
            return
        chain, places = [], []
        for name, model, clip, place in loras:
            checked = (to_model_name(name), STRENGTH(model), STRENGTH(clip))
            if None in checked:
                self.warn(f"the LoRA of {place} is left out: {shown(name)}, strengths {shown(model)} and {shown(clip)}")
                continue
            lora = Lora(*checked, hash=to_hash((hashes or {}).get(to_name(name))))  # type: ignore[arg-type]
            if lora.strength_model or lora.strength_clip:
                chain.append(lora)
                places.append(place.replace(to_name(name) or "", lora.name))
        self._loras = tuple(chain)
        self._fields["loras"] = ", ".join(places) or where

    def set_parts(self, parts: Parts, where: str) -> None:
        """Set the files beside a diffusion model."""
        if "parts" not in self._fields:
            self._values["parts"], self._fields["parts"] = parts, where

    def set_patches(self, patches: Iterable[tuple[Patch, str]]) -> None:
        """Set the patches of the model, with their places, in the order of application."""
        found = list(patches)[:MAX_PATCHES]
        if found and "patches" not in self._fields:
            self._values["patches"] = tuple(patch for patch, _ in found)
            self._fields["patches"] = ", ".join(place for _, place in found)

    def warn(self, *messages: str) -> None:
        """Add warnings, each once."""
        self._warnings.update(dict.fromkeys(messages))

    def build(self, origin: str) -> Generation:
        """Return the generation; its origin is ``none`` if nothing usable was found."""
        values = dict(self._values)
        hires = HiRes(**{k.partition(".")[2]: values.pop(k) for k in list(values) if k.startswith("hires.")})
        return Generation(
            origin=origin if self.has_generation_data else "none",
            **values,
            loras=self._loras or (),
            hires=hires,
            fields=dict(self._fields) if self.has_generation_data else {},
            warnings=tuple(self._warnings),
            carried=dict(self.carried),
        )


def shown(value: Any) -> str:
    """Shorten a value of an untrusted file for a message."""
    if value is None:
        return "nothing"
    return f'"{shorten(str(value) if isinstance(value, str | int | float) else type(value).__name__, 60)}"'
