"""Load Models."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
from comfy_api.latest import io

import nodes as stock  # ComfyUI's own module of that name

from ..model_files.aliases import read_aliases
from ..model_files.diffusion_models import diffusion_family, encoder_kind, latent_channels
from ..model_files.families import inspect_checkpoint, inspect_lora, missing_parts
from ..model_files.file_hashes import CACHE_NAME, HashCache, HashIndex
from ..model_files.mini import ensure_mini
from ..model_files.parts_plan import InstalledParts, PartFiles, PartsPlan
from ..model_files.plan import BUILT_IN_FALLBACK, NO_FALLBACK, Files, Installed, ModelPlan, plan_models, refuse_parts
from ..parameters import MINI_NAME
from ..settings import Settings
from ..summary import summarize_models
from .loading import loading
from .model_patches import apply_patches, run_stock
from .model_paths import identities, model_path
from .show import aliases_file, show
from .types import CATEGORY, GenerationLink, SettingsLink

GGUF_LOADER = "UnetLoaderGGUF"
"""ComfyUI-GGUF's loader of diffusion models."""


class LoadModels(io.ComfyNode):
    """The recalled checkpoint, VAE and LoRAs, through ComfyUI's own loaders."""

    def __init__(self) -> None:
        super().__init__()
        # ComfyUI keeps this object for as long as the node is in the workflow that runs, and drops it when another
        # workflow runs or its caches are cleared: the right lifetime for loaded models. Its cache of outputs
        # is not: any change of the command, an ancestor of this node, would load the checkpoint again.
        self.kept: dict[str, tuple[Any, Any]] = {}
        _holders.add(self)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryLoadModels",
            display_name="Load Models (recalled)",
            category=CATEGORY,
            description="Loads the checkpoint (or diffusion model and text encoders), VAE and LoRAs that the image was made with. Names are matched "
            "exactly, then by your aliases, then by file name without folder and extension, then by the file's hash.",
            search_aliases=["distillery", "load recalled checkpoint", "lora"],
            inputs=[
                SettingsLink.Input("settings", tooltip="From Upscale Parameters."),
                io.Combo.Input(
                    "fallback_checkpoint",
                    options=[BUILT_IN_FALLBACK, NO_FALLBACK, *folder_paths.get_filename_list("checkpoints")],
                    default=BUILT_IN_FALLBACK,
                    tooltip="Used, with a warning, when the image's own checkpoint is not installed. "
                    "The built-in model only stands in where no other checkpoint is installed.",
                ),
                io.Combo.Input(
                    "missing_lora",
                    options=["error", "skip"],
                    default="error",
                    tooltip="What to do when a LoRA of the image is not installed: stop with an error, or go on "
                    "without it and say so. --missing_lora in the command overrides it.",
                ),
            ],
            outputs=[
                io.Model.Output("model"),
                io.Clip.Output("clip"),
                io.Vae.Output("vae"),
                GenerationLink.Output("generation", tooltip="The generation with the names of the loaded files."),
            ],
        )

    @classmethod
    def execute(cls, settings: Settings, fallback_checkpoint: str, missing_lora: str) -> io.NodeOutput:
        policy = settings.missing_lora or missing_lora
        plan = plan_models(settings.generation, _installed(), fallback_checkpoint, policy)
        if plan.checkpoint == MINI_NAME:
            ensure_mini(Path(folder_paths.get_folder_paths("checkpoints")[0]))
        return io.NodeOutput(*_load(plan), plan.generation, ui=show(summarize_models(plan.generation)))

    @classmethod
    def validate_inputs(cls, fallback_checkpoint: str = BUILT_IN_FALLBACK) -> bool | str:
        # A workflow may name a checkpoint that is not installed here; that matters only when it is needed.
        return True

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> Any:
        # Models that were installed or replaced since the last run count, and so do changed aliases. Which of the files
        # are used is not known here: the settings are a link.
        kinds = ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "embeddings")
        aliases = [f"{alias.section} {alias.old} = {alias.new}" for alias in read_aliases(aliases_file()).entries]
        return [identities(kind) for kind in kinds], aliases


_holders: weakref.WeakSet[LoadModels] = weakref.WeakSet()


def _installed() -> Installed:
    def info(name: str) -> Any:
        return inspect_checkpoint(Path(folder_paths.get_full_path_or_raise("checkpoints", name)))

    bar = comfy.utils.ProgressBar(1)

    def progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    cache = HashCache(Path(folder_paths.get_system_user_directory("distillery")) / CACHE_NAME)

    def files(kind: str) -> Files:
        index = HashIndex(cache, lambda name: model_path(kind, name), progress, logging.info)
        return Files(folder_paths.get_filename_list(kind), index.find, index.known)

    return Installed(
        checkpoints=files("checkpoints"),
        vaes=files("vae"),
        loras=files("loras"),
        models=files("diffusion_models"),
        parts=InstalledParts(
            models=_parts("diffusion_models", diffusion_family),
            encoders=_parts("text_encoders", encoder_kind),
            vaes=_parts("vae", latent_channels),
            gguf=GGUF_LOADER in stock.NODE_CLASS_MAPPINGS,
        ),
        embeddings=folder_paths.get_filename_list("embeddings"),
        aliases=read_aliases(aliases_file()),
        is_inpainting=lambda name: info(name).inpainting,
        family=lambda name: info(name).family,
        lacks=lambda name: missing_parts(Path(folder_paths.get_full_path_or_raise("checkpoints", name))),
        lora_family=lambda name: inspect_lora(Path(folder_paths.get_full_path_or_raise("loras", name))),
    )


def _parts(folder: str, kind: Callable[[Path], Any]) -> PartFiles:
    def look(name: str) -> Any:
        path = model_path(folder, name)
        return None if path is None else kind(path)

    return PartFiles(folder_paths.get_filename_list(folder), look)


def _load(plan: ModelPlan) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a plan, each stage kept for the next image that is made with the same files."""
    checkpoint: Any
    if plan.parts is not None:
        parts = plan.parts
        checkpoint = [
            identities("diffusion_models", [parts.model]), identities("text_encoders", parts.encoders), parts.dtype, parts.type,
        ]  # fmt: skip
        model, clip, vae = _kept("checkpoint", checkpoint, lambda: _load_parts(parts))
    else:
        checkpoint = identities("checkpoints", [plan.checkpoint])
        model, clip, vae = _kept("checkpoint", checkpoint, lambda: _load_checkpoint(plan.checkpoint))
    if plan.vae is not None:
        name = plan.vae
        vae = _kept("vae", identities("vae", [name]), lambda: _load_vae(name))
    # What a header tells is said before; of a .ckpt nothing is known until it is loaded.
    refuse_parts(plan.checkpoint, clip is not None, getattr(vae, "first_stage_model", vae) is not None, plan.generation)

    def patch() -> tuple[Any, Any]:
        patched = (model, clip)
        if plan.clip_skip is not None:
            patched = (model, stock.CLIPSetLastLayer().set_last_layer(clip, -plan.clip_skip)[0])
        for lora in plan.loras:
            with loading("loras", lora.name):
                loader = stock.LoraLoader()
                patched = loader.load_lora(*patched, lora.name, lora.strength_model, lora.strength_clip)
        return apply_patches(patched[0], plan.patches, plan.guidance), patched[1]

    loras = [(identities("loras", [lora.name]), lora.strength_model, lora.strength_clip) for lora in plan.loras]
    patches = [(p.node, sorted(p.values.items())) for p in plan.patches]
    return *_kept("patched", (checkpoint, plan.clip_skip, loras, patches, plan.guidance), patch), vae


def _load_parts(parts: PartsPlan) -> tuple[Any, Any, None]:
    """Diffusion model and text encoders out of files of their own; the VAE is loaded like any other."""
    if parts.model.lower().endswith(".gguf"):
        model = run_stock(GGUF_LOADER, unet_name=parts.model)[0]
    else:
        with loading("diffusion_models", parts.model):
            model = stock.UNETLoader().load_unet(parts.model, parts.dtype)[0]
    if any(name.lower().endswith(".gguf") for name in parts.encoders):
        count = {1: "", 2: "Dual", 3: "Triple", 4: "Quadruple"}[len(parts.encoders)]
        names = {f"clip_name{i if len(parts.encoders) > 1 else ''}": n for i, n in enumerate(parts.encoders, 1)}
        return model, run_stock(f"{count}CLIPLoaderGGUF", **names, type=parts.type)[0], None
    with contextlib.ExitStack() as stack:
        for name in parts.encoders:
            stack.enter_context(loading("text_encoders", name))
        clip = comfy.sd.load_clip(
            ckpt_paths=[folder_paths.get_full_path_or_raise("text_encoders", name) for name in parts.encoders],
            embedding_directory=folder_paths.get_folder_paths("embeddings"),
            # As ComfyUI's loaders do: a type without an entry of its own, such as sdxl, is Stable Diffusion's.
            clip_type=getattr(comfy.sd.CLIPType, parts.type.upper(), comfy.sd.CLIPType.STABLE_DIFFUSION),
        )
    return model, clip, None


def _load_checkpoint(name: str) -> tuple[Any, Any, Any]:
    with loading("checkpoints", name):
        model, clip, vae = stock.CheckpointLoaderSimple().load_checkpoint(name)[:3]
        return model, clip, vae


def _load_vae(name: str) -> Any:
    with loading("vae", name):
        return stock.VAELoader().load_vae(name)[0]


def _kept(stage: str, key: Any, load: Callable[[], Any]) -> Any:
    """The value that was loaded last for a stage, where its key is the same; one value is kept a stage."""
    holders = list(_holders)
    for holder in holders:
        if stage in holder.kept and holder.kept[stage][0] == key:
            return holder.kept[stage][1]
    for holder in holders:
        holder.kept.pop(stage, None)  # before loading, so that two large models are never held at once
    value = load()
    for holder in holders:
        holder.kept[stage] = (key, value)
    return value
