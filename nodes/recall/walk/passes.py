"""Which pass made the pixels.

Where samplers follow each other, each may have a checkpoint, LoRAs and prompts of its own. After a pass with denoise 1
nothing of the earlier ones is left. From about half on, what a pass sampled with makes the picture; below that, it is
named in a warning.
"""

from __future__ import annotations

from typing import NamedTuple

from ...generation import Lora
from ..builder import GenerationBuilder, shown
from ..graph.nodes import Node
from .hires import ran_denoise
from .image_path import ImagePath, is_sampler
from .models import read_models
from .prompts import is_conditioning, read_prompt
from .reader import GraphReader
from .samplers import Sampling

TAKEN_FROM = 0.5
"""Denoise from which on a pass makes the picture more than the one before it."""
WHOLE = 0.999
MAX_STAGES = 3
MAX_PASSES = 20
"""Number of passes that are compared."""


class Contents(NamedTuple):
    """What a pass sampled with; ``None`` is unknown."""

    checkpoint: str | None
    positive: str | None
    negative: str | None
    loras: tuple[Lora, ...]


def first_pass(image_path: ImagePath, base: Node) -> Node:
    """Return the sampler whose picture all later passes start from: the last one that leaves nothing of those before."""
    for node in _later(image_path, base):
        sampling = image_path.sampling(node)
        if sampling.adds_noise and ran_denoise(sampling) >= WHOLE and not image_path.repaints_a_part(node):
            return node
    return base


def stage_before(reader: GraphReader, image_path: ImagePath, node: Node) -> Node | None:
    """Return the sampler whose latent a pass takes as its conditioning, as Stable Cascade's second stage does the first's."""
    graph = reader.graph
    # One that says so in its name hands its latent on in a pipe.
    named = (n for n in image_path.upstream(node)[1:] if is_sampler(n) and n.composite is not None)
    found = next((n for n in named if n.composite and "cascade" in n.composite.class_type.lower()), None)
    if found is not None:
        return found
    for _ in range(MAX_STAGES):
        visited: set[str] = set()
        todo = [graph.source(link) for link in image_path.sampling(found or node).positive]
        stage: Node | None = None
        while todo and stage is None:
            source = todo.pop()
            if source is None or source[0].id in visited or is_sampler(source[0]):
                continue
            visited.add(source[0].id)
            behind = [
                graph.input(source[0], name)
                for name in source[0].inputs
                if is_conditioning(name) or name.startswith("stage")
            ]
            stage = next((s[0] for s in behind if s is not None and is_sampler(s[0])), None)
            todo += behind
        if stage is None or stage is node:
            break
        found = stage
    return found


def making_pass(reader: GraphReader, image_path: ImagePath, first: Node) -> Node:
    """Return the sampler whose checkpoint, LoRAs and prompts are the picture's, and warn of those that differ."""
    later = _later(image_path, first)[:MAX_PASSES]
    if not later:
        return first
    contents = {node.id: read_contents(reader, image_path.sampling(node)) for node in [first, *later]}
    kept = next((node for node in later if _makes_the_picture(image_path, node)), first)
    if kept is first:
        # A pass that continues what others began, with the same model: most of the steps have its prompts.
        alike = (node for node in later if contents[node.id].checkpoint == contents[first.id].checkpoint)
        kept = next((n for n in alike if _continues_most(image_path, n)), first)
    for node in reversed([*later, first]):
        differing = _differences(contents[node.id], contents[kept.id])
        if node is kept or not differing:
            continue
        denoise = ran_denoise(image_path.sampling(node))
        how = f" with denoise {denoise:.3g}" if denoise and node is not first else ""
        if not image_path.sampling(node).adds_noise and contents[node.id].checkpoint != contents[kept.id].checkpoint:
            reader.builder.warn(f"{node} ran the last steps with a refiner: the HiRes pass does not use it")
        reader.builder.warn(
            f"{node} sampled{how} with another {' and another '.join(differing)} than {kept}: that of {kept} is kept"
        )
    return kept


def read_contents(reader: GraphReader, sampling: Sampling) -> Contents:
    """Read checkpoint, LoRAs and prompts of one pass, by itself."""
    alone = GraphReader(reader.graph, reader.where, GenerationBuilder())
    prompts = [read_prompt(alone, "positive", sampling.positive)]
    if sampling.negative:
        prompts.append(read_prompt(alone, "negative", sampling.negative))
    read_models(alone, sampling, prompts)
    found = alone.builder.build("comfyui")
    negative = found.negative if sampling.negative else ""
    return Contents(found.checkpoint, found.positive, negative, found.loras)


def _later(image_path: ImagePath, first: Node) -> list[Node]:
    """Return the samplers behind the first pass, the last one first."""
    ids = image_path.downstream([first])
    return [node for node in image_path.samplers if node.id in ids and node is not first]


def _makes_the_picture(image_path: ImagePath, node: Node) -> bool:
    sampling = image_path.sampling(node)
    return sampling.adds_noise and ran_denoise(sampling) >= TAKEN_FROM and not image_path.repaints_a_part(node)


def _continues_most(image_path: ImagePath, node: Node) -> bool:
    sampling = image_path.sampling(node)
    return not sampling.adds_noise and ran_denoise(sampling) > TAKEN_FROM and not image_path.repaints_a_part(node)


def _differences(theirs: Contents, ours: Contents) -> list[str]:
    """Return what differs, with the other's names; the unknown is not compared."""
    found = []
    if theirs.checkpoint and ours.checkpoint and theirs.checkpoint != ours.checkpoint:
        found.append(f"checkpoint ({theirs.checkpoint} instead of {ours.checkpoint})")
    for side in ("positive", "negative"):
        other, own = getattr(theirs, side), getattr(ours, side)
        if other is not None and own is not None and other.split() != own.split():
            found.append(f"{side} prompt ({shown(other)} instead of {shown(own)})")
    if theirs.loras != ours.loras and (theirs.checkpoint or theirs.loras) and (ours.checkpoint or ours.loras):
        found.append(f"choice of LoRAs ({_listed(theirs.loras)} instead of {_listed(ours.loras)})")
    return found


def _listed(loras: tuple[Lora, ...]) -> str:
    return ", ".join(f"{lora.name} {lora.strength_model:g}" for lora in loras[:8]) or "none"
