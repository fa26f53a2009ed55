"""Expand loaders of checkpoint, LoRAs, VAE, prompts and an empty latent in one node."""

from __future__ import annotations

from typing import Any

from ....values import to_integer
from ..nodes import Link, Node, to_link
from ..value_nodes import preset_size
from .expansion import Expansion, LoraEntry, Rule
from .loras import NONE, stacked, used


def _baked(name: Any) -> bool:
    return name in ("Baked VAE", "Baked-VAE", *NONE)


def _loader(expansion: Expansion, node: Node, checkpoint: str, stack: str, skip: str = "clip_skip") -> tuple[Any, ...]:
    """Add checkpoint, LoRAs, clip skip and VAE of such a loader; returns links to the model, clip and VAE."""
    loaded = expansion.add_renamed("CheckpointLoaderSimple", {"ckpt_name": checkpoint})
    model, clip = expansion.add_loras(
        loaded,
        Link(loaded.id, 1),
        used(iter([LoraEntry.of(node, "lora_name", "lora_model_strength", "lora_clip_strength")]))
        + stacked(expansion, node.inputs.get(stack)),
    )
    layers = to_integer(expansion.graph.value(node, skip))
    # -1 is the last layer, which is what a checkpoint's text encoder does by itself; so does "no clip skip", 0.
    if layers is not None and layers < -1:
        clip = expansion.add_renamed("CLIPSetLastLayer", {"stop_at_clip_layer": skip}, clip=clip)
    baked = _baked(expansion.graph.value(node, "vae_name"))
    vae = Link(loaded.id, 2) if baked else expansion.add_renamed("VAELoader", {"vae_name": "vae_name"})
    return model, clip, vae


def efficient_loader(expansion: Expansion, node: Node) -> None:
    model, clip, vae = _loader(expansion, node, "ckpt_name", "lora_stack")
    positive, negative = _encoders(expansion, node, clip, "cnet_stack")
    expansion.slots.update({0: model, 1: positive, 2: negative, 3: _latent(expansion), 4: vae, 5: clip})


def efficient_loader_sdxl(expansion: Expansion, node: Node) -> None:
    model, clip, vae = _loader(expansion, node, "base_ckpt_name", "lora_stack", "base_clip_skip")
    positive, negative = _encoders(expansion, node, clip, "cnet_stack")
    bundle = {"base_model": model, "base_clip": clip, "base_positive": positive, "base_negative": negative}
    if expansion.graph.value(node, "refiner_ckpt_name") not in NONE:
        refiner = expansion.add_renamed("CheckpointLoaderSimple", {"ckpt_name": "refiner_ckpt_name"})
        bundle |= {"refiner_model": refiner, "refiner_clip": Link(refiner.id, 1)}
    expansion.slots.update({0: expansion.add_node("Pack SDXL Tuple", **bundle), 1: _latent(expansion), 2: vae})


def easy_loader(expansion: Expansion, node: Node) -> None:
    model, clip, vae = _loader(expansion, node, "ckpt_name", "optional_lora_stack")
    model, clip, vae = (
        node.inputs.get(f"{name}_override") or own for name, own in (("model", model), ("clip", clip), ("vae", vae))
    )
    positive, negative = _encoders(expansion, node, clip, "optional_controlnet_stack")
    latent = _latent(expansion)
    pipe = expansion.add_node("easy pipeIn", model=model, pos=positive, neg=negative, latent=latent, vae=vae, clip=clip)
    # Only the full loader has more outputs than these three.
    full = {3: clip, 4: positive, 5: negative, 6: latent} if node.class_type == "easy fullLoader" else {}
    expansion.slots.update({0: pipe, 1: model, 2: vae, **full})


def _encoders(expansion: Expansion, node: Node, clip: Any, controlnets: str) -> tuple[Link, Link]:
    positive, negative = (
        expansion.add_renamed("CLIPTextEncode", {"text": side}, clip=clip) for side in ("positive", "negative")
    )
    if to_link(node.inputs.get(controlnets)):
        applied = expansion.add_node("ControlNetApplyAdvanced", positive=positive, negative=negative)
        return applied, Link(applied.id, 1)
    return positive, negative


def _latent(expansion: Expansion) -> Link:
    if size := preset_size(expansion.graph.value(expansion.node, "resolution")):
        return expansion.add_node("EmptyLatentImage", _RESOLUTION, width=size[0], height=size[1])
    return expansion.add_renamed("EmptyLatentImage", {"width": "empty_latent_width", "height": "empty_latent_height"})


_RESOLUTION = {"width": "resolution", "height": "resolution"}


def preset_latent(preset: str, latent: int, width: int, height: int) -> Rule:
    """Expand an empty latent whose size has a name. The numbers are slots of the node."""

    def rule(expansion: Expansion, node: Node) -> None:
        graph = expansion.graph
        size = preset_size(graph.value(node, preset))
        sides: list[Any] = [node.inputs.get("width"), node.inputs.get("height")]
        if size:
            swapped = graph.value(node, "swap_dimensions") == "On" or graph.value(node, "invert") is True
            sides = list(size[::-1] if swapped else size)
        for i, side in enumerate(("width", "height")):
            if to_integer(graph.value(node, f"{side}_override")):
                sides[i] = node.inputs.get(f"{side}_override")
        names = {"width": preset, "height": preset} if size else {}
        expansion.slots[latent] = expansion.add_node("EmptyLatentImage", names, width=sides[0], height=sides[1])
        expansion.slots.update({width: sides[0], height: sides[1]})

    return rule
