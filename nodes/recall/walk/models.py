"""Read checkpoint, LoRAs, text encoders, clip skip and VAE, upstream from sampler and prompts to the loaders."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ...model_parts import PATCHES, Parts, Patch, to_patch
from ...values import to_integer, to_model_name, to_name, to_number
from ..builder import shown
from ..graph.composites.loras import NONE, tags_in
from ..graph.nodes import Link, Node, Output, plain, to_link
from ..graph.shapes import (
    BAKED,
    encoder_inputs,
    file_input,
    has_checkpoint,
    lora_inputs,
    named,
    numbered_lora_inputs,
    other_loras,
    pipes,
    same_names,
    vae_input,
)
from .image_path import ImagePath
from .prompts import Prompt
from .reader import GraphReader, InputRef
from .samplers import TILED_UPSCALERS, Sampling

LORA_LOADERS = {
    "LoraLoader": True, "LoraLoader|pysssss": True, "LoraLoaderModelOnly": False, "LoraLoaderBypass": True,
    "LoraLoaderBypassModelOnly": False, "Lora Loader with Name (Image Saver)": True,
}  # fmt: skip
"""LoRA loaders; True if they patch the text encoder too."""
CHECKPOINT_LOADERS = {
    "CheckpointLoaderSimple": "ckpt_name", "CheckpointLoaderSimple|pysssss": "ckpt_name",
    "CheckpointLoader|pysssss": "ckpt_name", "CheckpointLoader": "ckpt_name", "unCLIPCheckpointLoader": "ckpt_name",
    "CheckpointLoaderNF4": "ckpt_name", "Checkpoint Loader": "ckpt_name", "Checkpoint Loader (Simple)": "ckpt_name",
    "Checkpoint Loader with Name (Image Saver)": "ckpt_name",
}  # fmt: skip
"""Checkpoint loaders, and the input with the file name."""
MODEL_LOADERS = {
    "UNETLoader": "unet_name", "UnetLoaderGGUF": "unet_name", "UnetLoaderGGUFAdvanced": "unet_name",
    "UNETLoaderNF4": "unet_name", "NunchakuFluxDiTLoader": "model_path", "DiffusionModelLoaderKJ": "model_name",
    "UNETLoader with Name (Image Saver)": "unet_name",
}  # fmt: skip
"""Loaders of a diffusion model alone, and the input with the file name."""
CLIP_LOADERS = {
    f"{count}CLIPLoader{form}" for count in ("", "Dual", "Triple", "Quadruple") for form in ("", "GGUF", "MultiGPU")
}  # fmt: skip
"""Loaders of text encoders alone: their files are at ``clip_name`` or ``clip_name1`` and so on."""
VAE_LOADERS = {"VAELoader": "vae_name", "VAELoaderKJ": "vae_name"}
_FAMILIES = {
    "flux": "flux", "sd3": "sd3", "sdxl": "sdxl", "chroma": "chroma", "qwen_image": "qwen_image", "hidream": "hidream", "flux2": "flux2",
}  # fmt: skip
"""Families by the type that text encoders are loaded for."""
MAX_CHAIN = 500
"""Length limit of a chain of nodes to a loader."""
_VARIES = re.compile(r"schedul|random|cycl", re.IGNORECASE)
"""Classes of nodes that choose a file when the graph runs: what stands at their input is not what they give."""


@dataclass
class Chain:
    """The chain of nodes from a sampler or a text encoder to its loader."""

    loras: list[Node] = field(default_factory=list)
    """Nearest to the loader first: the order of application."""
    loader: Node | None = None
    clip_skip: tuple[Any, str] | None = None
    patches: list[tuple[Patch, str]] = field(default_factory=list)
    """Stock nodes that change the sampling, nearest to the loader first, with their places."""


def read_models(reader: GraphReader, sampling: Sampling, prompts: list[Prompt]) -> None:
    """Set checkpoint, family, clip skip and LoRAs."""
    builder = reader.builder
    model = _chain(reader, sampling.model, "model", str(sampling.node))
    clips = {
        node.id: Chain(loader=node, clip_skip=_own_clip_skip(reader, node)) if reader.graph.link(node, name) is None and file_input(node)
        else _chain(reader, reader.graph.link(node, name), "clip", str(node))
        for prompt in prompts for node, name in prompt.encoders[:1]
    }  # fmt: skip
    clip = next(iter(clips.values()), Chain())
    if model.loader:
        reader.set_from("checkpoint", InputRef(model.loader, _file_of(model.loader)))
    builder.set_patches(model.patches)
    _text_encoders(reader, model, clip)
    if any(c.loras != clip.loras or c.clip_skip != clip.clip_skip for c in clips.values()):
        builder.warn("positive and negative prompt have different text encoders: the positive's is kept")
    if clip.clip_skip:
        layers, place = clip.clip_skip
        builder.set("clip_skip", layers, place)
        if layers is None:
            builder.warn(f"{place} could not be read: the last layer of the text encoder is used")
    if model.loader or model.loras or clip.loras:
        _set_loras(reader, sampling, model, clip)


def _chain(reader: GraphReader, link: Link | None, kind: str, what: str) -> Chain:
    """Follow ``model`` or ``clip`` inputs back to a loader."""
    graph, builder = reader.graph, reader.builder
    found = Chain()
    loaders = CHECKPOINT_LOADERS.keys() | (MODEL_LOADERS if kind == "model" else CLIP_LOADERS)
    visited: set[str] = set()
    source = graph.source(link)
    while source is not None and source[0].id not in visited and len(visited) < MAX_CHAIN:
        node = source[0]
        visited.add(node.id)
        if node.class_type in loaders:
            found.loader = node
            return found
        if node.class_type in LORA_LOADERS:
            found.loras.insert(0, node)
        elif _VARIES.search(node.class_type) and not reader.follow(node, *_through(kind)):
            builder.warn(f"{what} has its {kind} from {node}, which is not read here: it is chosen when the graph runs")
            return found
        elif _VARIES.search(node.class_type) and lora_inputs(node):
            builder.warn(f"{node} chooses a LoRA when the graph runs, which is not read")
        elif _assumed_loader(reader, node, kind):
            found.loader = node
            if kind == "clip" and found.clip_skip is None:
                found.clip_skip = _own_clip_skip(reader, node)
            if node.inputs.keys() & {"loras", "lora_name", "lora"} or numbered_lora_inputs(node):
                found.loras.insert(0, node)
            return found
        elif (lora_inputs(node) or numbered_lora_inputs(node)) and reader.follow(node, *_through(kind)):
            reader.assume(node, "a LoRA")
            found.loras.insert(0, node)
        elif kind == "clip" and node.class_type == "CLIPSetLastLayer":
            # The one nearest to the encoder has the last word.
            if found.clip_skip is None:
                layer = to_integer(graph.value(node, "stop_at_clip_layer"))
                found.clip_skip = (None if layer is None else -layer, reader.place(node, "stop_at_clip_layer"))
        elif kind == "model" and (patch := _patch(reader, node)) is not None:
            found.patches.insert(0, (patch, reader.place(node)))
        elif reader.follow(node, *_through(kind)):
            if names := other_loras(node):
                builder.warn(f"{node} names LoRAs that are not read: {', '.join(map(shown, names[:8]))}")
            builder.warn(f"{node} lies between {what} and the checkpoint: what it does to the {kind} is not kept")
        elif (piped := _out_of_a_pipe(reader, node, kind)) is not None:
            builder.warn(f"{node} lies between {what} and the checkpoint: what it does to the {kind} is not kept")
            source = piped
            continue
        else:
            builder.warn(f"{what} has its {kind} from {node}, which is not read here")
            return found
        source = graph.source(reader.follow(node, *_through(kind)))
    builder.warn(f"{what}: its {kind} leads to no checkpoint")
    return found


def _own_clip_skip(reader: GraphReader, loader: Node) -> tuple[int, str] | None:
    """Return the layers that a loader of an unknown class skips; 0 and -1 are the last one, which is taken anyway."""
    at = named(loader, "clip_skip")
    layer = to_integer(reader.graph.value(loader, at)) if at else None
    return (-layer, reader.place(loader, at)) if at and layer is not None and layer < -1 else None


def _out_of_a_pipe(reader: GraphReader, node: Node, kind: str) -> Output | None:
    """Return where the model or text encoder in a pipe at an unknown node comes from."""
    for pipe in pipes(node):
        if (found := reader.graph.source(reader.graph.link(node, pipe), kind)) is not None:
            return found
    return None


def _patch(reader: GraphReader, node: Node) -> Patch | None:
    """Return a stock node that changes the sampling, or None where it is none or a value of it cannot be read."""
    checks = PATCHES.get(node.class_type)
    if checks is None:
        return None
    values = {name: reader.graph.value(node, name) for name in checks if name in node.inputs}
    return None if None in values.values() else to_patch(node.class_type, values)


def _through(kind: str) -> tuple[str, ...]:
    """Return the names of inputs through which a node passes the model on; of a merge, the first."""
    return same_names(kind)


def _file_of(loader: Node) -> str:
    """Return the input with a loader's file."""
    known = CHECKPOINT_LOADERS.get(loader.class_type) or MODEL_LOADERS.get(loader.class_type)
    return known or file_input(loader) or ""


def _is_checkpoint(loader: Node) -> bool:
    return loader.class_type in CHECKPOINT_LOADERS or (
        loader.class_type not in MODEL_LOADERS and has_checkpoint(loader)
    )


def _assumed_loader(reader: GraphReader, node: Node, kind: str) -> bool:
    """Return True for a node of an unknown class that loads the model, or the text encoder, out of a file."""
    if reader.follow(node, *_through(kind)):
        return False
    if (kind == "clip" and encoder_inputs(node)) or file_input(node) is not None:
        reader.assume(node, "a loader")
        return True
    return False


def _text_encoders(reader: GraphReader, model: Chain, clip: Chain) -> None:
    """Set the family, and warn, if the text encoders are not the checkpoint's own."""
    loader = clip.loader
    if model.loader is not None and not _is_checkpoint(model.loader):
        reader.builder.set_parts(_parts(reader, model.loader, loader), reader.place(loader or model.loader))
    if loader is None:
        return
    if loader.class_type not in CLIP_LOADERS and not encoder_inputs(loader):
        if model.loader and loader.id != model.loader.id and _is_checkpoint(model.loader):
            reader.builder.warn(f"the text encoder comes from another checkpoint ({loader}): it is not kept")
        return
    names = [reader.graph.value(loader, name) for name in encoder_inputs(loader)]
    reader.builder.carried["text_encoders"] = [name for name in names if isinstance(name, str)]
    kind = reader.graph.value(loader, "type")
    if loader.class_type.startswith("Triple"):
        reader.builder.set("family", "sd3", reader.place(loader))  # nothing else has three
    elif isinstance(kind, str) and kind in _FAMILIES:
        reader.builder.set("family", _FAMILIES[kind], reader.place(loader, "type"))
    if model.loader and _is_checkpoint(model.loader):
        reader.builder.warn(f"the text encoder comes from {loader}, not from the checkpoint: it is not kept")


def _parts(reader: GraphReader, model: Node, clip: Node | None) -> Parts:
    """Return the files beside a diffusion model."""
    dtype = to_name(reader.graph.value(model, "weight_dtype")) if "weight_dtype" in model.inputs else None
    dtype = None if dtype in (None, "default") else dtype
    inputs = encoder_inputs(clip) if clip is not None else []
    if clip is None or not inputs:
        return Parts(dtype=dtype)
    names = [to_model_name(reader.graph.value(clip, name)) for name in inputs]
    kind = to_name(reader.graph.value(clip, "type")) if "type" in clip.inputs else None
    implied = {3: "sd3", 4: "hidream"}.get(len(inputs))  # their loaders have no choice
    known = tuple(name for name in names if name is not None)
    return Parts(known if len(known) == len(names) else (), kind or implied, dtype)


def _set_loras(reader: GraphReader, sampling: Sampling, model: Chain, clip: Chain) -> None:
    graph, builder = reader.graph, reader.builder
    on_model, on_clip = {node.id for node in model.loras}, {node.id for node in clip.loras}
    entries = []
    for node in [*model.loras, *(node for node in clip.loras if node.id not in on_model)]:
        both = LORA_LOADERS.get(node.class_type)
        if both is None:
            entries += _assumed_loras(reader, node)
            continue
        name = graph.value(node, "lora_name")
        if name is None and to_link(node.inputs.get("lora_name")):
            builder.warn(f"{reader.why_unknown(node, 'lora_name')}: what LoRAs it names is not recalled")
            continue
        strengths = [graph.value(node, "strength_model"), graph.value(node, "strength_clip") if both else 0.0]
        # A loader acts only on the way that it lies on.
        if model.loader and node.id not in on_model:
            strengths[0] = 0.0
        if both and clip.loader and node.id not in on_clip:
            if to_number(strengths[1]):
                builder.warn(f"{node} does not reach the text encoder: its strength there is 0")
            strengths[1] = 0.0
        place = reader.place(node, "lora_name") if node.composite else reader.place(node)
        entries.append((name, strengths[0], strengths[1], place))
    builder.set_loras(entries, reader.place(sampling.node, "model"))


def _assumed_loras(reader: GraphReader, node: Node) -> list[tuple[Any, Any, Any, str]]:
    """Return the LoRAs of a node of an unknown class."""
    entries: list[tuple[Any, Any, Any, str]] = []
    if isinstance(tags := plain(node.inputs.get("loras")), str):
        entries += [(*tag[:3], reader.place(node, "loras")) for tag in tags_in(tags, "loras")]
    own = lora_inputs(node)
    for name, on_model, on_clip in [own] if own else numbered_lora_inputs(node):
        file = reader.graph.value(node, name)
        if file in NONE:
            if to_link(node.inputs[name]):
                reader.builder.warn(f"{reader.why_unknown(node, name)}: what LoRAs it names is not recalled")
            continue
        model = reader.graph.value(node, on_model) if on_model else 1.0
        both = reader.follow(node, *_through("clip")) or file_input(node)
        entries.append((file, model, reader.graph.value(node, on_clip) if on_clip else model if both else 0.0,
                        reader.place(node, name)))  # fmt: skip
    return entries


def read_vae(reader: GraphReader, base: Node, image_path: ImagePath) -> None:
    """Set the VAE: the one that decodes the first pass, else the one of the HiRes pass."""
    graph, builder = reader.graph, reader.builder
    later = image_path.downstream([base]) | {base.id}
    for node in reversed(image_path.nodes):
        decodes = "samples" in node.inputs or node.class_type in TILED_UPSCALERS
        source: Output | None = graph.input(node, "vae")
        if source is None or not decodes or node.id not in later:
            continue
        loader = source[0]
        if loader.class_type in VAE_LOADERS:
            reader.set_from("vae", InputRef(loader, VAE_LOADERS[loader.class_type]))
        elif (
            (name := vae_input(loader))
            and loader.class_type not in CHECKPOINT_LOADERS
            and plain(loader.inputs[name]) not in BAKED
        ):
            reader.assume(loader, "a loader")
            reader.set_from("vae", InputRef(loader, name))
        elif _is_checkpoint(loader) or file_input(loader) is not None:
            builder.set_known_none("vae", f"{reader.place(node, 'vae')}: the checkpoint's own")
            own = builder.get("checkpoint")
            if own is not None and graph.value(loader, _file_of(loader)) != own:
                builder.warn(f"the VAE comes from another checkpoint ({loader}): it is not kept")
        else:
            builder.warn(f"the VAE comes from {loader}, which is not known here: it is not kept")
        return
