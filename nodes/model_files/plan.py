"""Choose the installed files that a generation is run with. Decisions only: nothing is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..errors import DistilleryError
from ..generation import Generation, Lora
from ..model_parts import Parts, Patch
from ..parameters import MINI_NAME
from .aliases import NO_ALIASES, Aliases
from .embeddings import missing_embeddings
from .file_hashes import OLD_DIGITS
from .names import exact_name, match_name, nearest, without_inpainting
from .parts_plan import InstalledParts, PartsPlan, plan_parts

BUILT_IN_FALLBACK = "distillery-mini (built in)"
"""Fallback choice: the small model that ships with this project, where no other checkpoint is installed."""
TEXT_ENCODER = "text encoder"
NO_FALLBACK = "none: stop with an error"


class ModelError(DistilleryError):
    """A model that the generation needs is not installed."""


@dataclass(frozen=True)
class Files:
    """The files of one kind, and what is known of their hashes."""

    names: Sequence[str]
    """As ComfyUI lists them."""
    with_hash: Callable[[str, Sequence[str], str | None], Sequence[str]] = lambda digest, names, like: ()
    """The files among ``names`` with a hash, searching from names like ``like``: :meth:`.file_hashes.HashIndex.find`."""
    has_hash: Callable[[str, str], bool | None] = lambda name, digest: None
    """True if a file has a hash, None if unknown: :meth:`.file_hashes.HashIndex.known`."""


@dataclass(frozen=True)
class Installed:
    """The files that ComfyUI lists, by folder."""

    checkpoints: Files
    vaes: Files
    loras: Files
    models: Files = Files(())
    """Diffusion models in files of their own."""
    parts: InstalledParts = field(default_factory=InstalledParts)
    """What the headers of diffusion models, text encoders and VAEs say."""
    embeddings: Sequence[str] = ()
    aliases: Aliases = NO_ALIASES
    is_inpainting: Callable[[str], bool] = lambda name: False
    """True if an installed checkpoint is an inpainting model, by its contents."""
    family: Callable[[str], str | None] = lambda name: None
    """Model family of an installed checkpoint (``sd15``, ``sdxl``), or None where it cannot be told."""
    lacks: Callable[[str], Sequence[str]] = lambda name: ()
    """Parts that an installed checkpoint lacks for certain: see :func:`.families.missing_parts`."""
    lora_family: Callable[[str], str | None] = lambda name: None
    """Model family that an installed LoRA is for, or None."""


@dataclass(frozen=True)
class ModelPlan:
    """The files to load, by the names that ComfyUI's loaders take."""

    checkpoint: str
    """Or the diffusion model, where there are parts."""
    vae: str | None
    """None: the checkpoint's own."""
    loras: tuple[Lora, ...]
    clip_skip: int | None
    generation: Generation
    """The generation as used: these names, and warnings about everything that differs from the image."""
    parts: PartsPlan | None = None
    """The files of a model in parts; None: a whole checkpoint."""

    @property
    def patches(self) -> tuple[Patch, ...]:
        """Stock nodes to apply to the model."""
        return self.generation.patches

    @property
    def guidance(self) -> float | None:
        """Distilled guidance; None: the model's own."""
        return self.generation.guidance


def plan_models(generation: Generation, installed: Installed, fallback: str, missing_lora: str) -> ModelPlan:
    """Find the generation's models among the installed ones: see :class:`Search` for how.

    fallback: an installed checkpoint, BUILT_IN_FALLBACK or NO_FALLBACK; used, with a warning, where the
    generation's own checkpoint is not installed. missing_lora: ``error`` or ``skip``.
    Raises ModelError where a model is missing and no rule covers it.
    """
    search = Search(installed.aliases)
    warnings = search.warnings
    warnings.extend(installed.aliases.warnings)
    places = dict(generation.fields)
    in_parts = _diffusion_model(generation, installed, search)
    chosen = in_parts or _checkpoint(generation, installed, fallback, search)
    checkpoint = chosen.name
    vae: Found | None = None
    parts: PartsPlan | None = None
    if in_parts is not None:
        parts = plan_parts(checkpoint, generation.parts or Parts(), generation.vae, generation.family, installed.parts)
        warnings.extend(parts.notes)
        vae = Found(parts.vae, generation.vae_hash)
        loras = _loras(generation, installed, missing_lora, search, places)
        clip_skip = generation.clip_skip if parts.family == "sd15" else None
        warnings.extend(_unfit_loras(loras, checkpoint, parts.family, installed))
        dtype = generation.parts.dtype if generation.parts is not None else None
        generation = replace(generation, parts=Parts(parts.encoders, parts.type, dtype))
    elif checkpoint == MINI_NAME:
        loras = _parts_of_mini(generation, warnings)
        clip_skip = None
        if not (
            generation.checkpoint and match_name(generation.checkpoint, [MINI_NAME])
        ):  # it stands in for another one
            generation = replace(generation, parts=None, patches=(), guidance=None)
    else:
        vae = _vae(generation, installed, search)
        lacks = installed.lacks(checkpoint)
        refuse_parts(checkpoint, TEXT_ENCODER not in lacks, "VAE" not in lacks or vae is not None, generation)
        loras = _loras(generation, installed, missing_lora, search, places)
        clip_skip = generation.clip_skip
        family = installed.family(checkpoint)
        if generation.family and family and family != generation.family:
            warnings.append(
                f"the image was made with a model of the family {generation.family}, {checkpoint} is {family}: "
                "the result will differ, and its LoRAs and VAE may not fit"
            )
        warnings.extend(_unfit_loras(loras, checkpoint, family, installed))
        if family == "sdxl":
            clip_skip = None
        if generation.parts is not None:  # another model stands in
            generation = replace(generation, parts=None, patches=(), guidance=None)
    warnings.extend(missing_embeddings((generation.positive, generation.negative), installed.embeddings))
    for name, found in (("checkpoint", chosen), ("vae", vae)):
        if found is not None and found.how:
            places[name] = found.place(places.get(name))
    used = replace(
        generation,
        checkpoint=checkpoint,
        checkpoint_hash=chosen.digest,
        vae=vae.name if vae else None,
        vae_hash=vae.digest if vae else None,
        loras=loras,
        clip_skip=clip_skip,
        fields=places,
    ).warn(*warnings)
    return ModelPlan(checkpoint, used.vae, loras, clip_skip, used, parts)


def refuse_parts(checkpoint: str, has_text_encoder: bool, has_vae: bool, generation: Generation) -> None:
    """Raise ModelError for a checkpoint that cannot run by itself. has_vae: true also where another VAE is used."""
    if not has_text_encoder:
        lacks = "text encoder (CLIP)" if has_vae else "text encoder (CLIP) and VAE"
        raise ModelError(
            f'The checkpoint "{checkpoint}" holds a diffusion model without {lacks}: it cannot run by itself, and belongs '
            "into models/diffusion_models. Put the whole checkpoint into models/checkpoints, or choose another one with "
            "--model NAME."
        )
    if not has_vae:
        why = f"the VAE {generation.vae} of the image is not installed" if generation.vae else "the image names none"
        what = (
            f"Put {generation.vae} into models/vae"
            if generation.vae
            else "Put the checkpoint with its VAE in its place"
        )
        raise ModelError(
            f'The checkpoint "{checkpoint}" holds no VAE, and {why}. {what}, or choose another checkpoint with --model NAME.'
        )


@dataclass(frozen=True)
class Found:
    """An installed file."""

    name: str
    digest: str | None
    """The hash that the image gives, unless the file is known to have another."""
    how: str = ""
    """The way it was found, if not by its name."""

    def place(self, where: str | None) -> str:
        """Provenance: the place in the image, and the way the file was found."""
        return f"{where}, {self.how}" if where else self.how


class Search:
    """Finds the files that an image names, and collects what there is to warn of.

    In this order: the very name; the user's aliases; the file name without folder and extension, in any case
    (:func:`nodes.model_files.names.match_name`); the hash, where the image gives one.
    """

    def __init__(self, aliases: Aliases) -> None:
        self.aliases = aliases
        self.warnings: list[str] = []

    def find(self, wanted: str | None, digest: str | None, files: Files, section: str) -> Found | None:
        """The installed file for a name and a hash, either of which may be None; None where there is none.

        section: whose aliases are used, one of :data:`nodes.model_files.aliases.SECTIONS`.
        """
        if wanted:
            found = exact_name(wanted, files.names)
            if found is None:
                alias, warnings = self.aliases.find(wanted, section, files.names)
                self.warnings.extend(warnings)
                if alias is not None:
                    return Found(alias, None, f"{alias} by its alias")  # another file: the hash is not its own
                found = match_name(wanted, files.names)
            if found is not None:
                if not digest or files.has_hash(found, digest) is not False:
                    return Found(found, digest)
                self.warnings.append(
                    f"{found} is not the file that the image was made with: it has the same name but not the hash "
                    f"{digest}; the result may differ"
                )
                return Found(found, None)
        if not digest:
            return None
        same = list(files.with_hash(digest, files.names, wanted))
        if not same:
            return None
        if len(digest) == OLD_DIGITS:
            others = f" (as have {', '.join(same[1:4])})" if len(same) > 1 else ""
            self.warnings.append(
                f"{same[0]} is used for {wanted or 'the unnamed file'}: it has the hash {digest}{others}, which is of "
                "an old kind that different files can share"
            )
        return Found(same[0], digest, f"{same[0]} by its hash")


def _diffusion_model(generation: Generation, installed: Installed, search: Search) -> Found | None:
    """Return the diffusion model that the image was made with, where it stands in a file of its own and is installed."""
    wanted = generation.checkpoint
    if generation.parts is None and (not wanted or match_name(wanted, [MINI_NAME, *installed.checkpoints.names])):
        return None
    return search.find(wanted, generation.checkpoint_hash, installed.models, "checkpoints")


def _checkpoint(generation: Generation, installed: Installed, fallback: str, search: Search) -> Found:
    wanted, digest = generation.checkpoint, generation.checkpoint_hash
    if wanted and match_name(wanted, [MINI_NAME]):
        return Found(MINI_NAME, None)  # by its own name, installed or yet to be assembled
    files, warnings = installed.checkpoints, search.warnings
    if MINI_NAME not in files.names:  # an alias may stand for it
        files = replace(files, names=[*files.names, MINI_NAME])
    found = search.find(wanted, digest, files, "checkpoints")
    # What an alias stands for is what is wanted. Without a name, so is what has the hash.
    name = found.name if found and (found.how or not wanted) else wanted
    base = without_inpainting(name) if name else None
    if name and (base is not None or (found and installed.is_inpainting(found.name))):
        # An inpainting model has mask channels that a HiRes pass does not feed.
        found = Found(_swap_inpainting(name, base, installed, search), None)
        warnings.append(f"{name} is an inpainting model: its base model {found.name} is used for the HiRes pass")
    if found:
        return found

    missing = _not_installed(wanted, digest, "diffusion model" if generation.parts else "checkpoint")
    others = [name for name in installed.checkpoints.names if not match_name(MINI_NAME, [name])]
    if fallback == BUILT_IN_FALLBACK and not others:
        what, place = ("diffusion model", "diffusion_models") if generation.parts else ("checkpoint", "checkpoints")
        warnings.append(
            f"{missing}: the built-in {MINI_NAME} stands in for it. It is a tiny model that shows the pipeline, "
            f"not the picture's style. Put the {what} into models/{place}, or choose one with --model NAME."
        )
        return Found(MINI_NAME, None)
    what_to_do = _choose(wanted, others, "diffusion_models" if generation.parts else "checkpoints") + (
        _name_alias(wanted, installed.aliases) if others else ""
    )
    if fallback not in (BUILT_IN_FALLBACK, NO_FALLBACK):
        chosen = match_name(fallback, installed.checkpoints.names)
        if chosen is None:
            raise ModelError(f'{missing}. The fallback checkpoint "{fallback}" is not installed either. {what_to_do}')
        if installed.is_inpainting(chosen):
            raise ModelError(
                f'{missing}. The fallback "{chosen}" is an inpainting model, which cannot stand in. {what_to_do}'
            )
        warnings.append(f"{missing}: the fallback {chosen} is used")
        return Found(chosen, None)
    raise ModelError(" ".join([f"{missing}.", what_to_do, *search.aliases.warnings]))


def _not_installed(wanted: str | None, digest: str | None, kind: str = "checkpoint") -> str:
    """A sentence without its full stop."""
    if not wanted and not digest:
        return f"The image names no {kind}"
    if not wanted:
        return f"The image names no {kind}, and none with its hash {digest} is installed"
    return f'The {kind} "{wanted}"{f" (hash {digest})" if digest else ""} of this image is not installed'


def _name_alias(wanted: str | None, aliases: Aliases) -> str:
    """Advice on having another file used from now on."""
    if not wanted or aliases.place is None:
        return ""
    return f' To always use another file for it, write the line "{wanted} = that file" into {aliases.place}.'


def _swap_inpainting(wanted: str, base: str | None, installed: Installed, search: Search) -> str:
    found = search.find(base, None, installed.checkpoints, "checkpoints") if base else None
    if found is None or installed.is_inpainting(found.name):
        name = f'"{base}"' if base else "its base model"
        raise ModelError(
            f'The checkpoint "{wanted}" is an inpainting model, which cannot run a HiRes pass, and {name} is not '
            "installed. Put the base model into models/checkpoints, or choose another with --model NAME."
        )
    return found.name


def _choose(wanted: str | None, available: Sequence[str], folder: str = "checkpoints") -> str:
    if not available:
        return f"Put it into models/{folder}; no checkpoint is installed{' either' if folder != 'checkpoints' else ' there'}."
    near = nearest(wanted, available) if wanted else list(available[:3])
    shown = ", ".join(near or available[:3])
    more = f" ({len(available)} installed)" if len(available) > 3 else ""
    return f"Put it into models/{folder}, or choose one with --model NAME, such as {shown}{more}."


def _vae(generation: Generation, installed: Installed, search: Search) -> Found | None:
    if not generation.vae and not generation.vae_hash:
        return None
    found = search.find(generation.vae, generation.vae_hash, installed.vaes, "vae")
    if found is None:
        name = generation.vae or f"with the hash {generation.vae_hash}"
        search.warnings.append(f"the VAE {name} is not installed: the checkpoint's own is used")
    return found


def _loras(
    generation: Generation, installed: Installed, missing_lora: str, search: Search, places: dict[str, str]
) -> tuple[Lora, ...]:
    loras, missing, notes = [], [], []
    for lora in generation.loras:
        found = search.find(lora.name, lora.hash, installed.loras, "loras")
        if found is None:
            missing.append(lora.name)
            continue
        loras.append(replace(lora, name=found.name, hash=found.digest))
        notes += [found.how] if found.how else []
    if missing and missing_lora != "skip":
        names = ", ".join(dict.fromkeys(missing))
        near = nearest(missing[0], installed.loras.names)
        hint = f" Installed with a similar name: {', '.join(near)}." if near else ""
        raise ModelError(
            f"LoRA not installed: {names}. Put the file into models/loras, or upscale without it "
            f"(--missing_lora skip).{hint}{_name_alias(missing[0], installed.aliases)}"
        )
    search.warnings.extend(f"the LoRA {name} is not installed and was skipped" for name in dict.fromkeys(missing))
    if notes:
        places["loras"] = ", ".join([places["loras"], *notes] if places.get("loras") else notes)
    return tuple(loras)


def _unfit_loras(loras: Sequence[Lora], checkpoint: str, family: str | None, installed: Installed) -> Iterator[str]:
    for name in dict.fromkeys(lora.name for lora in loras):
        own = installed.lora_family(name)
        if family and own and own != family:
            yield f"the LoRA {name} is for the family {own}, {checkpoint} is {family}: it will have little or no effect"


def _parts_of_mini(generation: Generation, warnings: list[str]) -> tuple[Lora, ...]:
    """The built-in model has an architecture and a latent space of its own: nothing made for others fits."""
    if generation.vae:
        warnings.append(f"the VAE {generation.vae} does not fit {MINI_NAME} and is not used")
    warnings.extend(f"the LoRA {lora.name} does not fit {MINI_NAME} and is not used" for lora in generation.loras)
    return ()
