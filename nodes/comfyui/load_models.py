"""Load Models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from ..families import inspect_checkpoint
from ..mini import MINI_NAME, ensure_mini
from ..model_plan import BUILT_IN, NO_FALLBACK, Installed, ModelPlan, plan_models
from ..settings import Settings
from .types import CATEGORY, GenerationLink, SettingsLink


class LoadModels(io.ComfyNode):
    """The recalled checkpoint, VAE and LoRAs, through ComfyUI's own loaders."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DistilleryLoadModels",
            display_name="Load Models (recalled)",
            category=CATEGORY,
            description="Loads the checkpoint, VAE and LoRAs that the image was made with. Names are matched "
            "exactly, then by file name without folder and extension.",
            search_aliases=["distillery", "load recalled checkpoint", "lora"],
            inputs=[
                SettingsLink.Input("settings", tooltip="From Upscale Parameters."),
                io.Combo.Input(
                    "fallback_checkpoint",
                    options=[BUILT_IN, NO_FALLBACK, *folder_paths.get_filename_list("checkpoints")],
                    default=BUILT_IN,
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
            enable_expand=True,
        )

    @classmethod
    def execute(cls, settings: Settings, fallback_checkpoint: str, missing_lora: str) -> io.NodeOutput:
        policy = settings.missing_lora or missing_lora
        plan = plan_models(settings.generation, _installed(), fallback_checkpoint, policy)
        if plan.checkpoint == MINI_NAME:
            ensure_mini(Path(folder_paths.get_folder_paths("checkpoints")[0]))
        return _expand(plan)

    @classmethod
    def validate_inputs(cls, fallback_checkpoint: str = BUILT_IN) -> bool | str:
        # A workflow may name a checkpoint that is not installed here; that matters only when it is needed.
        return True

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> Any:
        # Models that were installed since the last run count.
        return [sorted(folder_paths.get_filename_list(kind)) for kind in ("checkpoints", "vae", "loras")]


def _installed() -> Installed:
    def info(name: str) -> Any:
        return inspect_checkpoint(Path(folder_paths.get_full_path_or_raise("checkpoints", name)))

    return Installed(
        checkpoints=folder_paths.get_filename_list("checkpoints"),
        vaes=folder_paths.get_filename_list("vae"),
        loras=folder_paths.get_filename_list("loras"),
        is_inpainting=lambda name: info(name).inpainting,
        family=lambda name: info(name).family,
    )


def _expand(plan: ModelPlan) -> io.NodeOutput:
    """Stock loader nodes with constant inputs: ComfyUI caches them by name, so that the next image made
    with the same models loads nothing, whatever else differs."""
    graph = GraphBuilder()
    checkpoint = graph.node("CheckpointLoaderSimple", ckpt_name=plan.checkpoint)
    model, clip, vae = checkpoint.out(0), checkpoint.out(1), checkpoint.out(2)
    if plan.vae is not None:
        vae = graph.node("VAELoader", vae_name=plan.vae).out(0)
    if plan.clip_skip is not None:
        clip = graph.node("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-plan.clip_skip).out(0)
    for lora in plan.loras:
        loader = graph.node(
            "LoraLoader",
            model=model,
            clip=clip,
            lora_name=lora.name,
            strength_model=lora.strength_model,
            strength_clip=lora.strength_clip,
        )
        model, clip = loader.out(0), loader.out(1)
    return io.NodeOutput(model, clip, vae, plan.generation, expand=graph.finalize())
