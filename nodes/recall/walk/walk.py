"""From a ComfyUI graph to a generation.

From the output nodes back along the pixels and latents to the samplers (:mod:`nodes.recall.walk.image_path`); from the first
of them along the conditioning (:mod:`nodes.recall.walk.prompts`) and along the model and the text encoder to the loaders
(:mod:`nodes.recall.walk.models`). What is met on the way and not known here is named in a warning: nothing is guessed.
"""

from __future__ import annotations

from ..builder import Draft
from ..graph.graph import Graph
from .hires import read_hires, read_sharpening, read_size, read_steps
from .image_path import Picture
from .models import read_models, read_vae
from .prompts import read_prompt
from .reader import Reader
from .samplers import TILED_UPSCALERS, denoise_for


def walk(graph: Graph, where: str) -> Draft:
    """Read a graph. ``where`` names it in the places of the fields, such as ``prompt``."""
    reader = Reader(graph, where, Draft())
    _read(reader)
    if graph.exhausted:
        reader.draft.warn("the graph has more links than are followed: it was not read to its end")
    return reader.draft


def _read(reader: Reader) -> None:
    draft = reader.draft
    picture = Picture(reader)
    read_sharpening(reader, picture)
    base = picture.base_sampler()
    upscalers = [node for node in picture.nodes if node.class_type in TILED_UPSCALERS]
    if base is None and not upscalers:
        draft.warn(
            "the graph has no sampler that is read here: "
            + (", ".join(map(str, picture.other_samplers[:5])) or "none leads to an output")
        )
        return
    first = base or upscalers[-1]
    sampling = picture.sampling(first)
    draft.warn(*sampling.problems)
    reader.take("seed", sampling.seed)
    reader.take("cfg", sampling.cfg)
    reader.take("sampler", sampling.sampler)
    if base is None:
        # An image that was only upscaled: this is how its pixels were made.
        draft.warn(f"the graph has no first pass: what is known of the image is from its {first}")
        reader.take("scheduler", sampling.schedule.scheduler if sampling.schedule else None)
    else:
        read_steps(reader, sampling, picture)
        read_size(reader, base, picture)
    for other in picture.other_samplers:
        draft.warn(f"{other} samples in a way that is not read here: what it did is not kept")
    read_hires(reader, first, picture)
    prompts = [read_prompt(reader, "positive", sampling.positive)]
    if sampling.negative:
        prompts.append(read_prompt(reader, "negative", sampling.negative))
    elif sampling.cfg is not None:
        draft.set("negative", "", f"{reader.place(sampling.cfg.node)}, which takes none")
    read_models(reader, sampling, prompts)
    read_vae(reader, first, picture)


__all__ = ["denoise_for", "walk"]
