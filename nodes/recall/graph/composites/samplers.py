"""Expand samplers that include pipes, decoding or a HiRes pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....values import to_integer, to_number
from ..nodes import Link, Node
from .expansion import Expansion, Rule

_SAMPLING = ("steps", "cfg", "sampler_name", "scheduler")


def efficient_sampler(expansion: Expansion, node: Node) -> None:
    """Expand KSampler (Efficient) and its advanced form: it decodes, passes its inputs on, and may run a HiRes pass."""
    advanced = "Adv" in node.class_type
    inputs = {k: v for k, v in node.inputs.items() if k not in ("script", "optional_vae")}
    sampled = expansion.add_node("KSamplerAdvanced" if advanced else "KSampler", **inputs)
    sampled = _scripts(expansion, node, sampled, inputs, "noise_seed" if advanced else "seed")
    vae = node.inputs.get("optional_vae")
    passed = [node.inputs.get(name) for name in ("model", "positive", "negative")]
    expansion.slots.update(
        enumerate([*passed, sampled, vae, expansion.add_node("VAEDecode", samples=sampled, vae=vae)])
    )


def efficient_sampler_sdxl(expansion: Expansion, node: Node) -> None:
    bundle = expansion.add_node("Unpack SDXL Tuple", sdxl_tuple=node.inputs.get("sdxl_tuple"))
    base, refiner = (
        {name: Link(bundle.id, slot + i) for i, name in enumerate(("model", "clip", "positive", "negative"))}
        for slot in (0, 4)
    )
    settings = {name: node.inputs.get(name) for name in (*_SAMPLING, "noise_seed")}
    at, start = node.inputs.get("refine_at_step"), node.inputs.get("start_at_step")
    refines = (to_integer(expansion.graph.value(node, "refine_at_step")) or -1) > 0  # -1: never
    refined = refines and expansion.graph.source(refiner["model"]) is not None
    sampled = expansion.add_node(
        "KSamplerAdvanced", {"end_at_step": "refine_at_step"}, **settings, **_without(base, "clip"),
        latent_image=node.inputs.get("latent_image"), add_noise="enable", start_at_step=start,
        end_at_step=at if refined else 10_000, return_with_leftover_noise="enable" if refined else "disable",
    )  # fmt: skip
    if refined:
        sampled = expansion.add_node(
            "KSamplerAdvanced", {"start_at_step": "refine_at_step"}, **settings, **_without(refiner, "clip"),
            latent_image=sampled, add_noise="disable", start_at_step=at, end_at_step=10_000,
            return_with_leftover_noise="disable",
        )  # fmt: skip
    sampled = _scripts(expansion, node, sampled, {**settings, **_without(base, "clip")}, "noise_seed")
    vae = node.inputs.get("optional_vae")
    decoded = expansion.add_node("VAEDecode", samples=sampled, vae=vae)
    expansion.slots.update({0: node.inputs.get("sdxl_tuple"), 1: sampled, 2: vae, 3: decoded})


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _scripts(expansion: Expansion, node: Node, sampled: Link, inputs: Mapping[str, Any], seed: str) -> Link:
    """Add the HiRes pass of a HighRes-Fix script."""
    graph, visited = expansion.graph, set[str]()
    source = graph.input(node, "script")
    while source is not None and source[0].id not in visited:
        script = source[0]
        visited.add(script.id)
        if script.class_type == "HighRes-Fix Script":
            return _highres_fix(expansion, script, sampled, inputs, seed)
        graph.notes[f"{script} changes what {node} does, which is not kept"] = None
        source = graph.input(script, "script")
    return sampled


def _highres_fix(expansion: Expansion, script: Node, sampled: Link, inputs: Mapping[str, Any], seed: str) -> Link:
    graph = expansion.graph
    if any((to_number(graph.value(script, name)) or 0) <= 0 for name in ("iterations", "upscale_by")):
        return sampled
    composite = expansion.node
    expansion.node = script  # the nodes that follow belong to the script
    try:
        by = script.inputs.get("upscale_by")
        if graph.value(script, "upscale_type") == "latent":
            enlarged = expansion.add_node("LatentUpscaleBy", {"scale_by": "upscale_by"}, samples=sampled, scale_by=by)
        else:
            upscaler = expansion.add_renamed("UpscaleModelLoader", {"model_name": "pixel_upscaler"})
            decoded = expansion.add_node("VAEDecode", samples=sampled, vae=composite.inputs.get("optional_vae"))
            larger = expansion.add_node("ImageUpscaleWithModel", image=decoded, upscale_model=upscaler)
            # The script brings the picture to the scale, whatever the model's own.
            enlarged = expansion.add_node("LatentUpscaleBy", {"scale_by": "upscale_by"}, samples=larger, scale_by=by)
        own = {k: v for k, v in inputs.items() if k in ("model", "positive", "negative", *_SAMPLING)}
        own |= {"steps": script.inputs.get("hires_steps"), "denoise": script.inputs.get("denoise")}
        return expansion.add_node(
            "KSampler", {"steps": "hires_steps"}, **own, seed=inputs.get(seed), latent_image=enlarged
        )
    finally:
        expansion.node = composite


def pipe_sampler(pipe: str, unpacked: tuple[str, ...], names: Mapping[str, str], class_type: str = "KSampler") -> Rule:
    """Expand a sampler whose models and prompts come through a pipe.

    unpacked: outputs of the pipe's unpacking node, by slot. names: the sampler's inputs, by their names there.
    """

    def rule(expansion: Expansion, node: Node) -> None:
        unpacking = {"basic_pipe": "FromBasicPipe", "pipe": "easy unpack"}[pipe]
        bundle = expansion.add_node(unpacking, **{pipe: node.inputs.get(pipe)})
        taken = {name: Link(bundle.id, unpacked.index(given)) for name, given in names.items()}
        own = {k: v for k, v in node.inputs.items() if k in _KSAMPLER and v is not None}
        if "latent" in node.inputs:
            own["latent_image"] = node.inputs["latent"]
        sampled = expansion.add_node(class_type, **{**taken, **own})
        vae = node.inputs.get("vae") or Link(bundle.id, unpacked.index("vae"))
        decoded = expansion.add_node("VAEDecode", samples=sampled, vae=vae)
        if pipe == "basic_pipe":
            expansion.slots.update({0: node.inputs.get(pipe), 1: sampled, 2: vae})
        else:
            expansion.slots.update({0: node.inputs.get(pipe), 1: decoded, 5: sampled})

    return rule


_KSAMPLER = {
    "model", "positive", "negative", "latent_image", "seed", "steps", "cfg", "sampler_name", "scheduler", "denoise",
    "add_noise", "noise_seed", "start_at_step", "end_at_step", "return_with_leftover_noise",
}  # fmt: skip
BASIC_PIPE = ("model", "clip", "vae", "positive", "negative")
BASIC_NAMES = {"model": "model", "positive": "positive", "negative": "negative"}
EASY_NAMES = {
    "model": "model", "positive": "pos", "negative": "neg", "latent_image": "latent",
    **{name: name for name in ("seed", *_SAMPLING, "denoise")},
}  # fmt: skip


def renamed_sampler(class_type: str, names: Mapping[str, str]) -> Rule:
    """Expand a sampler that differs from ComfyUI's own in the names of its inputs."""

    def rule(expansion: Expansion, node: Node) -> None:
        kept = {k: v for k, v in node.inputs.items() if k not in names.values()}
        expansion.slots[0] = expansion.add_renamed(class_type, names, **kept)

    return rule
