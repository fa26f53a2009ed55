"""Walk a ComfyUI graph and collect a generation.

Upstream from the output nodes along pixels and latents to the samplers (:mod:`.image_path`); from the first of them
along the conditioning (:mod:`.prompts`), and along the model and the text encoder to the loaders (:mod:`.models`).
Unknown nodes on the way are named in a warning: nothing is guessed.
"""

from __future__ import annotations

from ..builder import GenerationBuilder, shown
from ..graph.graph import Graph
from ..graph.nodes import Node
from ..sampler_names import is_sampler as is_comfyui_sampler
from ..sampler_names import is_scheduler as is_comfyui_scheduler
from .assumed import assume_detailer, assume_samplers
from .hires import read_hires, read_sharpening, read_size, read_steps
from .image_path import ImagePath
from .models import read_models, read_vae
from .passes import first_pass, making_pass, read_contents, stage_before
from .prompts import read_prompt
from .reader import GraphReader, InputRef
from .samplers import TILED_UPSCALERS, read_sampling


def walk(graph: Graph, where: str, size: tuple[int, int] | None = None) -> GenerationBuilder:
    """Read a graph.

    where: its name in the provenance of fields, such as ``prompt``.
    size: width and height of the file, which tell several outputs apart.
    """
    reader = GraphReader(graph, where, GenerationBuilder())
    assume_samplers(reader)
    _read(reader, size)
    reader.warn_of_assumptions()
    reader.builder.warn(*graph.notes)
    if graph.exhausted:
        reader.builder.warn("the graph has more links than are followed: it was not read to its end")
    return reader.builder


def _read(reader: GraphReader, size: tuple[int, int] | None) -> None:
    builder = reader.builder
    image_path = ImagePath(reader, size)
    read_sharpening(reader, image_path)
    base = image_path.base_sampler()
    upscalers = [node for node in image_path.nodes if node.class_type in TILED_UPSCALERS]
    if base is None and not upscalers:
        others = image_path.other_samplers
        detailer = assume_detailer(reader, image_path.nodes[:1])
        if detailer is None:
            builder.warn(
                "the graph has no sampler that is read here: "
                + (", ".join(map(str, others[:5])) or "none leads to an output")
            )
            return
        _read_detailer(reader, detailer)
        return
    if base is not None:
        base = first_pass(image_path, base)
    last_stage = base or upscalers[-1]
    stage = stage_before(reader, image_path, base) if base is not None else None
    if stage is not None:
        builder.warn(
            f"{base} finishes what {stage} sampled, with a model of its own ({_model_of(reader, image_path, last_stage)}): "
            f"the settings, prompts and checkpoint are those of {stage}"
        )
        base = stage
    first = base or upscalers[-1]
    sampling = image_path.sampling(first)
    builder.warn(*sampling.problems)
    reader.set_from("seed", sampling.seed)
    reader.set_from("cfg", sampling.cfg)
    if first.composite is not None and "guidance" in first.inputs:
        reader.set_from("guidance", InputRef(first, "guidance"))
    reader.set_from("sampler", sampling.sampler)
    if base is None:
        # An image that was only upscaled: this is how its pixels were made.
        builder.warn(f"the graph has no first pass: what is known of the image is from its {first}")
        reader.set_from("scheduler", sampling.schedule.scheduler if sampling.schedule else None)
    else:
        read_steps(reader, sampling, image_path)
        read_size(reader, base, image_path)
    for other in image_path.other_samplers:
        builder.warn(f"{other} samples in a way that is not read here: what it did is not kept")
    if stage is None:
        read_hires(reader, first, image_path)
        sampling = image_path.sampling(making_pass(reader, image_path, first))
    prompts = [read_prompt(reader, "positive", sampling.positive)]
    if sampling.negative:
        prompts.append(read_prompt(reader, "negative", sampling.negative))
    elif sampling.cfg is not None:
        builder.set("negative", "", f"{reader.place(sampling.cfg.node)}, which takes none")
    read_models(reader, sampling, prompts)
    read_vae(reader, last_stage, image_path)
    _check_names(reader)


def _model_of(reader: GraphReader, image_path: ImagePath, node: Node) -> str:
    return read_contents(reader, image_path.sampling(node)).checkpoint or "unknown"


def _read_detailer(reader: GraphReader, node: Node) -> None:
    """Read a picture that was loaded and then repainted in parts: of its first pass nothing is known."""
    reader.builder.warn(
        f"the graph has no first pass: a picture was loaded, and {node} repainted parts of it. What is known is from there"
    )
    sampling = read_sampling(reader, node)
    reader.set_from("seed", sampling.seed)
    reader.set_from("cfg", sampling.cfg)
    reader.set_from("sampler", sampling.sampler)
    if sampling.schedule is not None:
        reader.set_from("scheduler", sampling.schedule.scheduler)
        reader.set_from("steps", InputRef(sampling.schedule.node, "steps"))
    prompts = [read_prompt(reader, "positive", sampling.positive), read_prompt(reader, "negative", sampling.negative)]
    read_models(reader, sampling, prompts)
    _check_names(reader)


def _check_names(reader: GraphReader) -> None:
    """Warn of a sampler or scheduler that ComfyUI itself does not have."""
    for name, known in (("sampler", is_comfyui_sampler), ("scheduler", is_comfyui_scheduler)):
        value = reader.builder.get(name)
        if value is not None and not known(value):
            reader.builder.warn(f"{shown(value)} is not one of ComfyUI's {name}s: it needs the node pack that has it")
