"""Switches and pipes."""

from __future__ import annotations

from typing import Any

import pytest
from recall_graph_samples import Api
from recall_read import (
    PLAIN_LORAS,
    of,
)
from recall_samples import node


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        (node("Any Switch (rgthree)", any_01=["gone", 0], any_02=["60", 0], any_03=["61", 0]), 60),
        (node("ImpactSwitch", select=2, input1=["60", 0], input2=["61", 0], sel_mode=False), 61),
        (node("ImpactSwitch", select=["62", 0], input1=["60", 0], input2=["61", 0]), 61),
        (node("LatentSwitch", select=1, latent1=["60", 0], latent2=["61", 0]), 60),
        (node("LatentSwitch", select=2, input1=["60", 0], input2=["61", 0]), 61),
        (node("CR Text Input Switch", Input=1, text1=["60", 0], text2=["61", 0]), 60),
        (node("ComfySwitchNode", switch=True, on_false=["60", 0], on_true=["61", 0]), 61),
        (node("ComfySwitchNode", switch=False, on_false=5, on_true=["61", 0]), 5),
        (node("Latent Input Switch", boolean=False, latent_a=["60", 0], latent_b=["61", 0]), 61),
        (node("easy anythingIndexSwitch", index=0, value0=["60", 0], value1=["61", 0]), 60),
        (node("ReroutePrimitive|pysssss", value=["61", 0]), 61),
        (node("Reroute (rgthree)", **{"": ["60", 0]}), 60),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_switches_pass_on_what_is_chosen(switch: Api, value: int) -> None:
    generation = of(
        {"seed": ["50", 0]}, n50=switch, n60=node("PrimitiveInt", value=60), n61=node("PrimitiveInt", value=61),
        n62=node("INTConstant", value=2),
    )  # fmt: skip
    assert generation.seed == value and generation.warnings == ()


@pytest.mark.parametrize("select", [3, -1, "x", None, ["50", 0], ["gone", 0]])
def test_a_switch_that_chooses_nothing_is_a_warning(select: object) -> None:
    switch = node("ImpactSwitch", select=select, input1=["60", 0], input2=["60", 0])
    generation = of({"seed": ["50", 0]}, n50=switch, n60=node("PrimitiveInt", value=60))
    assert generation.seed is None and any("seed" in w for w in generation.warnings)


def context(kind: str, **inputs: Any) -> Api:
    return node(f"Context{kind} (rgthree)", **inputs)


def test_contexts() -> None:
    generation = of(
        {"model": ["53", 1], "positive": ["53", 4], "negative": ["53", 5], "seed": ["53", 8], "steps": ["54", 9]},
        n50=context("", model=["10", 0], positive=["6", 0], seed=["60", 0]),
        n51=context(" Big", base_ctx=["50", 0], negative=["7", 0], steps=["61", 0]),
        n52=context(" Switch", ctx_01=["gone", 0], ctx_02=["51", 0]),
        n53=context("", base_ctx=["51", 0]), n54=context(" Switch Big", ctx_05=["51", 0]),
        n60=node("PrimitiveInt", value=60), n61=node("PrimitiveInt", value=17),
    )  # fmt: skip
    assert (generation.positive, generation.negative) == ("a lake", "blurry")
    assert (generation.seed, generation.steps) == (60, 17) and generation.loras == PLAIN_LORAS


def test_merged_contexts_override_the_earlier_ones() -> None:
    generation = of(
        {"seed": ["53", 8], "positive": ["53", 4]},
        n50=context("", seed=["60", 0], positive=["6", 0]), n51=context("", seed=["61", 0]),
        n53=context(" Merge", ctx_01=["50", 0], ctx_02=["51", 0]),
        n60=node("PrimitiveInt", value=60), n61=node("PrimitiveInt", value=61),
    )  # fmt: skip
    assert (generation.seed, generation.positive) == (61, "a lake")


def test_latent_through_a_context_keeps_the_size() -> None:
    assert of({"latent_image": ["50", 6]}, n50=context("", latent=["5", 0])).width == 512
