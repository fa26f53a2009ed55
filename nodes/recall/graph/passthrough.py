"""Passthrough nodes: reroutes, switches, pipes.

A pipe (rgthree's context, Impact's basic pipe, …) carries several values by name through one link; ``wanted`` is
the name to look for in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...values import to_integer
from .nodes import Node, Step, to_link
from .shapes import same_names


class Values(Protocol):
    """Interface of a graph for switches: the values at inputs."""

    def value(self, node: Node, name: str) -> Any: ...


def passed_on(values: Values, node: Node, slot: int, wanted: str | None) -> list[Step] | None:
    """Return where to look for a node's output, in the order of precedence; ``None`` if the node makes it itself."""
    class_type = node.class_type
    if class_type in REROUTES:
        entries = list(node.inputs.values())
        return [Step(value, wanted) for value in sorted(entries, key=lambda value: to_link(value) is None)[:1]]
    if class_type in SWITCHES:
        return [Step(value, wanted) for value in SWITCHES[class_type](values, node, slot)]
    if class_type in SAME_SLOT:
        names = SAME_SLOT[class_type]
        return [Step(node.inputs.get(names[slot]), wanted)] if 0 <= slot < len(names) else []
    if class_type in PIPES:
        return PIPES[class_type].steps(node, slot, wanted)
    return None


REROUTES = {
    "Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss", "ModelPassThrough", "PlaySound|pysssss",
    "SystemNotification|pysssss",
}  # fmt: skip
"""Nodes with one input and one output."""

SAME_SLOT: dict[str, tuple[str, ...]] = {
    "CondPassThrough": ("positive", "negative"),
}
"""Nodes that pass their inputs to the output slots of the same order."""


# switches

Choice = Callable[[Values, Node, int], Sequence[Any]]
"""Returns the contents of the inputs that a switch may pass on, in the order of precedence."""


def _numbered(node: Node, prefix: str) -> list[str]:
    pattern = re.compile(re.escape(prefix) + r"_?(\d{1,6})", re.ASCII)
    found = [(int(match.group(1)), name) for name in node.inputs if (match := pattern.fullmatch(name))]
    return [name for _, name in sorted(found)]


def _first(prefix: str) -> Choice:
    """Choose the first connected input."""
    return lambda values, node, slot: [node.inputs[name] for name in _numbered(node, prefix)]


def _by_number(selector: str, *prefixes: str, first: int = 1) -> Choice:
    """Choose the input whose number is at the selector. prefixes: prefixes of the inputs' names, by output slot."""

    def choose(values: Values, node: Node, slot: int) -> Sequence[Any]:
        number = to_integer(values.value(node, selector))
        if number is None or not 0 <= slot < len(prefixes):
            return []
        names = _numbered(node, prefixes[slot])
        wanted = [name for name in names if to_integer(re.sub(r"\D+", "", name[len(prefixes[slot]) :])) == number]
        return [node.inputs[name] for name in wanted] if number >= first else []

    return choose


def _by_truth(selector: str, *pairs: tuple[str, str]) -> Choice:
    """Choose one of two inputs. pairs: the input for true and the one for false, by output slot."""

    def choose(values: Values, node: Node, slot: int) -> Sequence[Any]:
        truth = values.value(node, selector)
        if not isinstance(truth, int | float) or not 0 <= slot < len(pairs):
            return []
        return [node.inputs.get(pairs[slot][0 if truth else 1])]

    return choose


def _either(newer: Choice, older: Choice) -> Choice:
    """Combine the choices of two versions of a switch with different names of inputs."""
    return lambda values, node, slot: newer(values, node, slot) or older(values, node, slot)


SWITCHES: dict[str, Choice] = {
    # ComfyUI's own
    "ComfySwitchNode": _by_truth("switch", ("on_true", "on_false")),
    # others
    "Any Switch (rgthree)": _first("any"),
    "ImpactSwitch": _by_number("select", "input"),
    "LatentSwitch": _either(_by_number("select", "input"), _by_number("select", "latent")),
    "CR Model Input Switch": _by_number("Input", "model"),
    "CR Clip Input Switch": _by_number("Input", "clip"),
    "CR VAE Input Switch": _by_number("Input", "VAE"),
    "CR Image Input Switch": _by_number("Input", "image"),
    "CR Image Input Switch (4 way)": _by_number("Input", "image"),
    "CR Latent Input Switch": _by_number("Input", "latent"),
    "CR Conditioning Input Switch": _by_number("Input", "conditioning"),
    "CR Text Input Switch": _by_number("Input", "text"),
    "CR Text Input Switch (4 way)": _by_number("Input", "text"),
    "CR Switch Model and CLIP": _by_number("Input", "model", "clip"),
    "CR Pipe Switch": _by_number("Input", "pipe"),
    "easy anythingIndexSwitch": _by_number("index", "value", first=0),
    "easy conditioningIndexSwitch": _by_number("index", "cond", first=0),
    "easy imageIndexSwitch": _by_number("index", "image", first=0),
    "easy textIndexSwitch": _by_number("index", "text", first=0),
    "easy ifElse": _by_truth("boolean", ("on_true", "on_false")),
    "easy textSwitch": _by_number("input", "text"),
    "Latent Input Switch": _by_truth("boolean", ("latent_a", "latent_b")),
    "Image Input Switch": _by_truth("boolean", ("image_a", "image_b")),
    "Conditioning Input Switch": _by_truth("boolean", ("conditioning_a", "conditioning_b")),
    "Model Input Switch": _by_truth("boolean", ("model_a", "model_b")),
    "CLIP Input Switch": _by_truth("boolean", ("clip_a", "clip_b")),
    "VAE Input Switch": _by_truth("boolean", ("vae_a", "vae_b")),
    "Text Input Switch": _by_truth("boolean", ("text_a", "text_b")),
    "Upscale Model Switch": _by_truth("boolean", ("upscale_model_a", "upscale_model_b")),
    "Lora Input Switch": _by_truth("boolean", ("model_a", "model_b"), ("clip_a", "clip_b")),
    "SimpleCondition+": _by_truth("evaluate", ("on_true", "on_false")),
}


# pipes


@dataclass(frozen=True)
class Pipe:
    """A node that packs, changes or unpacks a pipe."""

    outputs: tuple[str | None, ...]
    """Names in the pipe by output slot; ``None`` for the pipe itself."""
    base: str | None = None
    """The input with the pipe that the node's own inputs override."""
    own: tuple[str, ...] = ()
    """Inputs that enter the pipe under their own names."""
    merged: str | None = None
    """Prefix of the inputs with pipes, of which the first or last one counts."""
    last: bool = False

    def steps(self, node: Node, slot: int, wanted: str | None) -> list[Step]:
        if wanted is None:
            wanted = self.outputs[slot] if 0 <= slot < len(self.outputs) else None
            if wanted is None:
                return []  # the pipe itself, which is no value
        names = [name for name in same_names(wanted) if name in self.own and name in node.inputs][:1]
        steps = [Step(node.inputs[name], None) for name in names]
        if self.base is not None:
            steps.append(Step(node.inputs.get(self.base), wanted))
        if self.merged is not None:
            names = [name for name in _numbered(node, self.merged) if to_link(node.inputs[name])]
            # A switch looks into the first one only, a merge into all from the last.
            names = names[::-1] if self.last else names[:1]
            steps += [Step(node.inputs[name], wanted) for name in names]
        return steps


_CONTEXT = ("model", "clip", "vae", "positive", "negative", "latent", "images", "seed")
_CONTEXT_BIG = (
    *_CONTEXT, "steps", "step_refiner", "cfg", "ckpt_name", "sampler", "scheduler", "clip_width", "clip_height",
    "text_pos_g", "text_pos_l", "text_neg_g", "text_neg_l", "mask", "control_net",
)  # fmt: skip
_BASIC = ("model", "clip", "vae", "positive", "negative")
_SDXL = (
    "base_model", "base_clip", "base_positive", "base_negative", "refiner_model", "refiner_clip", "refiner_positive",
    "refiner_negative",
)  # fmt: skip
_EASY = ("model", "pos", "neg", "latent", "vae", "clip", "image")
_EASY_SETTINGS = ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")
EASY_PIPE = (*_EASY, *_EASY_SETTINGS)
"""Names in Easy Use's pipe."""

UNPACKED = ("model", "clip", "vae", "positive", "negative", "latent_image", *_EASY_SETTINGS)
"""Names in any pipe."""

PIPES: dict[str, Pipe] = {
    "Context (rgthree)": Pipe((None, *_CONTEXT), "base_ctx", _CONTEXT),
    "Context Big (rgthree)": Pipe((None, *_CONTEXT_BIG), "base_ctx", _CONTEXT_BIG),
    "Context Switch (rgthree)": Pipe((None, *_CONTEXT), merged="ctx"),
    "Context Switch Big (rgthree)": Pipe((None, *_CONTEXT_BIG), merged="ctx"),
    "Context Merge (rgthree)": Pipe((None, *_CONTEXT), merged="ctx", last=True),
    "Context Merge Big (rgthree)": Pipe((None, *_CONTEXT_BIG), merged="ctx", last=True),
    "ToBasicPipe": Pipe((None,), own=_BASIC),
    "EditBasicPipe": Pipe((None,), "basic_pipe", _BASIC),
    "FromBasicPipe": Pipe(_BASIC, "basic_pipe"),
    "FromBasicPipe_v2": Pipe((None, *_BASIC), "basic_pipe"),
    "Pack SDXL Tuple": Pipe((None,), own=_SDXL),
    "Unpack SDXL Tuple": Pipe(_SDXL, "sdxl_tuple"),
    "easy pipeIn": Pipe((None,), "pipe", _EASY),
    "easy pipeOut": Pipe((None, *_EASY, "seed"), "pipe"),
    "easy preSampling": Pipe((None,), "pipe", (*_EASY_SETTINGS, "image_to_latent", "latent")),
    # of this package: what a sampler takes out of a pipe
    "easy unpack": Pipe(EASY_PIPE, "pipe"),
    "unpack": Pipe(UNPACKED, "pipe"),
}
"""Nodes of pipes; those of one pack share their names."""

KNOWN = REROUTES | SWITCHES.keys() | SAME_SLOT.keys() | PIPES.keys()
"""Classes of all nodes that pass values on."""
