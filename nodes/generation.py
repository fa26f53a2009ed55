"""The generation of an image: the one representation that node, driver and bot share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .model_parts import MAX_PATCHES, Parts, Patch, parts_to_dict, patch_to_dict, to_parts, to_patch
from .values import CHECKS, STRENGTH, to_hash, to_text


@dataclass(frozen=True)
class Lora:
    """One LoRA of the chain, in the order in which it is applied."""

    name: str
    """File name as the image gives it, possibly with folders."""
    strength_model: float = 1.0
    strength_clip: float = 1.0
    hash: str | None = None
    """The file's hash as the image gives it, lower-case hexadecimal: see :attr:`Generation.checkpoint_hash`."""


@dataclass(frozen=True)
class HiRes:
    """The second, high resolution pass that made the image. ``None``: the image does not say."""

    steps: int | None = None
    """Sampling steps, all of them run."""
    denoise: float | None = None
    """0 … 1."""
    tile: int | None = None
    """Tile side in pixels."""
    scale: float | None = None
    """Enlargement over the first pass."""
    upscaler: str | None = None
    """File name of the upscale model."""
    keep: str | None = None
    """Parts kept of the enlarged picture: ``detail``, ``colours``, ``both`` or ``nothing``."""


@dataclass(frozen=True)
class Generation:
    """The recalled parameters of an image. A field is ``None`` where the image does not tell.

    Nothing here is a default posing as a recalled value: defaults come in with
    :func:`.settings.settings_for`, and ``fields`` says where each recalled value came from.
    """

    origin: str = "none"
    """Name of the format that was read (see :mod:`.recall`); ``none`` without generation data."""
    positive: str | None = None
    negative: str | None = None
    seed: int | None = None
    """0 … 2^64-1."""
    cfg: float | None = None
    steps: int | None = None
    """Steps of the first pass that were run, counted as KSampler counts them."""
    sampler: str | None = None
    """ComfyUI's name of the sampler, such as ``uni_pc``."""
    scheduler: str | None = None
    """ComfyUI's name of the scheduler, such as ``karras``."""
    denoise: float | None = None
    """Denoise of the first pass: 1 from an empty latent, less from an image."""
    guidance: float | None = None
    """Distilled guidance (FluxGuidance, Forge's "Distilled CFG Scale"), which is not ``cfg``."""
    checkpoint: str | None = None
    """File name of the checkpoint, or of the diffusion model alone."""
    checkpoint_hash: str | None = None
    """The file's hash as the image gives it, lower-case hexadecimal: the beginning of its SHA-256
    (10 digits or more), or A1111's old hash (8 digits)."""
    parts: Parts | None = None
    """The files beside ``checkpoint``, where that is a diffusion model alone; None: a whole checkpoint."""
    patches: tuple[Patch, ...] = ()
    """Stock nodes that change the model's sampling, in the order in which they are applied."""
    vae: str | None = None
    """``None``: the checkpoint's own."""
    vae_hash: str | None = None
    loras: tuple[Lora, ...] = ()
    clip_skip: int | None = None
    """1 is the last layer of the text encoder; ComfyUI's ``stop_at_clip_layer`` is its negative."""
    width: int | None = None
    """Width of the first pass in pixels, as the image records it."""
    height: int | None = None
    hires: HiRes = HiRes()
    family: str | None = None
    """One of :data:`.values.FAMILIES` where the image says so."""
    sharpen: float | None = None
    """Sharpening that the image has already had, 0 … 1."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Provenance of each recalled field: field name to a place in the file."""
    warnings: tuple[str, ...] = ()
    carried: Mapping[str, Any] = field(default_factory=dict)
    """Other metadata of the image, for ``checkmetadata`` to show. Never used for upscaling."""

    @property
    def empty(self) -> bool:
        """True where the image carried nothing that this project can use."""
        return self.origin == "none"

    def warn(self, *messages: str) -> Generation:
        """Return a copy with the messages added, each at most once."""
        new = tuple(m for m in dict.fromkeys(messages) if m not in self.warnings)
        return replace(self, warnings=self.warnings + new) if new else self


_HIRES_KEYS = tuple(f.name for f in fields(HiRes))
_LORA_KEYS = tuple(f.name for f in fields(Lora))


def to_dict(generation: Generation, carried: bool = True) -> dict[str, Any]:
    """Return the generation as JSON-ready data, with the keys that ``checkmetadata --json`` documents."""
    data: dict[str, Any] = {}
    for f in fields(Generation):
        value = getattr(generation, f.name)
        if f.name == "loras":
            value = [{k: getattr(lora, k) for k in _LORA_KEYS} for lora in value]
        elif f.name == "hires":
            value = {k: getattr(value, k) for k in _HIRES_KEYS if getattr(value, k) is not None}
        elif f.name == "parts":
            value = parts_to_dict(value)
        elif f.name == "patches":
            value = [patch_to_dict(patch) for patch in value]
        elif f.name in ("fields", "carried"):
            value = dict(value)
        elif f.name == "warnings":
            value = list(value)
        data[f.name] = value
    if not carried:
        del data["carried"]
    return data


def from_dict(data: Any) -> Generation:
    """Read what :func:`to_dict` wrote.

    The data may be untrusted input: a value of the wrong type or out of range is dropped and
    named in ``warnings``, never trusted.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"a generation is a JSON object, not {type(data).__name__}")
    dropped: list[str] = []

    def take(source: Mapping[str, Any], key: str, check: Callable[[Any], Any], where: str = "") -> Any:
        value = source.get(key)
        if value is None:
            return None
        checked = check(value)
        if checked is None:
            dropped.append(where + key)
        return checked

    values: dict[str, Any] = {k: take(data, k, check) for k, check in CHECKS.items() if "." not in k}
    values["origin"] = take(data, "origin", to_text) or "none"

    loras = []
    for i, entry in enumerate(data.get("loras") or ()) if isinstance(data.get("loras"), list) else ():
        name = CHECKS["checkpoint"](entry.get("name")) if isinstance(entry, Mapping) else None
        if name is None:
            dropped.append(f"loras[{i}]")
            continue
        model, clip = (take(entry, f"strength_{part}", STRENGTH, f"loras[{i}].") for part in ("model", "clip"))
        digest = take(entry, "hash", to_hash, f"loras[{i}].")
        loras.append(Lora(name, 1.0 if model is None else model, 1.0 if clip is None else clip, digest))
    values["loras"] = tuple(loras)

    hires = data.get("hires")
    if isinstance(hires, Mapping):
        values["hires"] = HiRes(**{k: take(hires, k, CHECKS[f"hires.{k}"], "hires.") for k in _HIRES_KEYS})

    values["parts"] = take(data, "parts", to_parts)
    patches = []
    listed = data.get("patches")
    for i, entry in enumerate(listed[:MAX_PATCHES]) if isinstance(listed, list) else ():
        patch = to_patch(entry.get("node"), entry.get("values")) if isinstance(entry, Mapping) else None
        patches += [patch] if patch is not None else []
        dropped.extend([f"patches[{i}]"] if patch is None else [])
    values["patches"] = tuple(patches)

    where = data.get("fields")
    values["fields"] = {str(k): str(v) for k, v in where.items()} if isinstance(where, Mapping) else {}
    warnings = data.get("warnings")
    values["warnings"] = tuple(w for w in warnings if isinstance(w, str)) if isinstance(warnings, list) else ()
    generation = Generation(**values)
    return generation.warn(*(f"the recorded {name} is not usable and was left out" for name in dropped))
