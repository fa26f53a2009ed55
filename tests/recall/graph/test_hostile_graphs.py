"""Hostile graphs: circles, long chains, explosions, wrong types."""

from __future__ import annotations

import copy
import json
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recall_graph_samples import basic_pipe, easy_use, efficient, efficient_sdxl, flux
from recall_read import graph_texts, of, of_graph, read
from recall_samples import node, plain_graph

from distillery.nodes.generation import Generation, Lora
from distillery.nodes.recall import recall_text
from distillery.nodes.recall.graph.composites.table import COMPOSITES
from distillery.nodes.recall.graph.passthrough import PIPES, SWITCHES
from distillery.nodes.recall.graph.ui_widgets import WIDGETS
from distillery.nodes.recall.graph.value_nodes import VALUE_NODES
from distillery.nodes.recall.walk.prompts import ENCODERS
from distillery.nodes.recall.walk.samplers import PLAIN_SAMPLERS, TILED_UPSCALERS


@pytest.mark.parametrize("socket", ["latent_image", "model", "positive", "seed", "steps"])
def test_circles(socket: str) -> None:
    graph = plain_graph()
    graph["3"]["inputs"][socket] = ["3", 0]
    assert recall_text(graph_texts(graph)).sampler in ("dpmpp_2m", None)


def test_circles_through_nodes_that_pass_on() -> None:
    graph = plain_graph(
        n1=node("Reroute", x=["2", 0]), n2=node("Reroute", x=["1", 0]),
        n50=node("SimpleMath", value="a+1", a=["50", 0]),
        n51=node("Context (rgthree)", base_ctx=["52", 0]), n52=node("Context Switch (rgthree)", ctx_01=["51", 0]),
        n53=node("LoraLoader", model=["53", 0], clip=["53", 1], lora_name="x", strength_model=1, strength_clip=1),
        n54=node("ConditioningCombine", conditioning_1=["54", 0], conditioning_2=["6", 0]),
    )  # fmt: skip
    graph["3"]["inputs"].update(
        negative=["1", 0], steps=["50", 0], cfg=["51", 8], model=["53", 0], positive=["54", 0], latent_image=["2", 0]
    )
    generation = recall_text(graph_texts(graph))
    assert generation.positive == "a lake"
    assert (generation.steps, generation.cfg, generation.checkpoint) == (None, None, None)


def test_long_chains_end() -> None:
    count = 3000
    reroutes = {f"r{i}": node("Reroute", x=[f"r{i + 1}", 0]) for i in range(count)}
    maths = {f"m{i}": node("SimpleMath", value="a+b", a=[f"m{i + 1}", 1], b=[f"m{i + 1}", 1]) for i in range(count)}
    graph = (
        plain_graph()
        | reroutes
        | maths
        | {f"r{count}": node("String", String="far"), f"m{count}": node("SimpleMath", value="1")}
    )
    graph["6"]["inputs"]["text"] = ["r0", 0]
    graph["3"]["inputs"]["cfg"] = ["m0", 1]
    generation = recall_text(graph_texts(graph))
    assert generation.positive == "far" and generation.cfg is None


def test_graph_with_too_many_nodes_is_refused() -> None:
    generation = recall_text(graph_texts({str(i): node("KSampler") for i in range(10_001)}))
    assert generation.empty and "10001 nodes" in generation.warnings[0]


def test_links_followed_in_one_graph_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not of_graph().warnings
    monkeypatch.setattr("distillery.nodes.recall.graph.graph.MAX_HOPS", 10)
    assert any("not read to its end" in w for w in of_graph().warnings)


def test_large_tangled_graph_is_read_in_reasonable_time() -> None:
    def wide(i: int) -> dict:
        sockets = ("images", "image", "samples", "latent_image", "latent", "pixels")
        inputs = {name: [str((i * 7 + j) % 8000), i + j] for j, name in enumerate(sockets)}
        return node(
            ("KSampler", "Reroute", "VAEDecode", "Context (rgthree)", "SaveImage")[i % 5],
            **inputs,
            base_ctx=[str(i + 1), 1],
        )

    assert recall_text(graph_texts({str(i): wide(i) for i in range(8000)})) is not None


# hostile graphs


@pytest.mark.parametrize(
    "kind", ["Any Switch (rgthree)", "ImpactSwitch", "Context Merge (rgthree)", "ToBasicPipe", "Power Lora Loader (rgthree)",
             "Efficient Loader", "KSampler (Efficient)", "KSampler SDXL (Eff.)", "easy kSampler", "CR Apply LoRA Stack",
             "LoRA Stacker", "SplitSigmas", "SamplerCustomAdvanced", "ConditioningCombine", "LoraTagLoader"]
)  # fmt: skip
def test_nodes_that_feed_themselves(kind: str) -> None:
    names = ("model", "clip", "positive", "negative", "latent_image", "script", "sdxl_tuple", "lora_stack", "select",
             "input1", "any_01", "ctx_01", "basic_pipe", "sigmas", "guider", "noise", "sampler", "conditioning_1", "text",
             "pipe", "cnet_stack", "ckpt_name", "vae_name", "lora_name", "steps", "seed", "vae")  # fmt: skip
    graph = plain_graph(n50=node(kind, **{name: ["50", 0] for name in names}))
    for socket in ("model", "positive", "latent_image", "seed"):
        graph["3"]["inputs"][socket] = ["50", 0]
    assert isinstance(read(graph), Generation)


def test_texts_that_double_at_every_node_end() -> None:
    joins = {f"n{i}": node("StringConcatenate", string_a=[f"n{i + 1}", 0], string_b=[f"n{i + 1}", 0], delimiter="")
             for i in range(80)}  # fmt: skip
    graph = plain_graph() | joins | {"n80": node("PrimitiveString", value="x" * 100)}
    graph["6"]["inputs"]["text"] = ["n0", 0]
    start = time.monotonic()
    assert read(graph).positive is None
    assert time.monotonic() - start < 5


def test_replacements_that_explode_end() -> None:
    graph = plain_graph(n50=node("StringReplace", string="a" * 100_000, find="a", replace="a" * 100_000))
    graph["6"]["inputs"]["text"] = ["50", 0]
    assert read(graph).positive is None


def test_switches_in_a_long_row_that_choose_each_other_end() -> None:
    rows = {f"s{i}": node("ImpactSwitch", select=[f"s{i + 1}", 0], input1=["60", 0]) for i in range(3000)}
    generation = of({"seed": ["s0", 0]}, n60=node("PrimitiveInt", value=1), **{f"n{k}": v for k, v in rows.items()})
    assert generation.seed is None or generation.seed == 1
    assert generation.sampler == "dpmpp_2m"


@pytest.mark.timeout(60)
def test_ten_thousand_nodes_of_every_kind() -> None:
    kinds = ["LoraLoader", "Power Lora Loader (rgthree)", "Context Merge (rgthree)", "ConditioningCombine", "SplitSigmas",
             "KSampler (Efficient)", "Efficient Loader", "ImpactSwitch", "StringConcatenate", "SamplerCustomAdvanced",
             "CR Apply LoRA Stack", "CR LoRA Stack", "Reroute", "SaveImage"]  # fmt: skip
    names = ("model", "clip", "positive", "negative", "latent_image", "images", "lora_stack", "sigmas", "guider", "script",
             "conditioning_1", "conditioning_2", "ctx_01", "ctx_02", "ctx_03", "string_a", "string_b")  # fmt: skip
    entry = {"on": True, "lora": "x", "strength": 1}
    many = {f"lora_{i}": entry for i in range(20)} | {f"lora_name_{i}": "x" for i in range(10)}
    graph = {
        str(i): node(kinds[i % len(kinds)], **many, **{f"switch_{n}": "On" for n in range(10)},
                     **{name: [str((i * 7 + j * 13 + 1) % 10_000), j % 4] for j, name in enumerate(names)})
        for i in range(10_000)
    }  # fmt: skip
    assert isinstance(recall_text({"prompt": json.dumps(graph)}), Generation)


def test_parts_of_nodes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.nodes.recall.graph.composites.table.MAX_ADDED_NODES", 1)
    assert any("not read to its end" in w for w in read(efficient()).warnings)


def test_parts_never_take_the_name_of_a_node() -> None:
    graph = efficient()
    graph["1/1"] = node("CheckpointLoaderSimple", ckpt_name="impostor.safetensors")
    assert read(graph).checkpoint == "dream.safetensors"


def test_nan_in_lists_of_loras() -> None:
    text = json.dumps(flux()).replace("0.8", "NaN")
    generation = recall_text({"prompt": text})
    assert generation.loras == (Lora("three.safetensors", 0.5, 0.0),)
    assert any("one.safetensors" in w for w in generation.warnings)


strange_values = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(), st.text(max_size=5), st.just({}), st.just([]),
    st.dictionaries(st.sampled_from(["on", "lora", "strength", "__value__", "content"]), st.integers() | st.text(max_size=3)),
    st.tuples(st.sampled_from(["1", "2", "3", "4", "5", "6", "13", "20", "50"]), st.integers(-1, 9)).map(list),
)  # fmt: skip
SAMPLES = {
    "flux": flux(),
    "efficient": efficient(),
    "sdxl": efficient_sdxl(20),
    "pipe": basic_pipe(),
    "easy": easy_use(),
}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_graphs_raise_nothing(data: st.DataObject) -> None:
    graph = copy.deepcopy(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(data.draw(st.integers(1, 6))):
        node_id = data.draw(st.sampled_from(sorted(graph)))
        inputs = graph[node_id]["inputs"]
        if inputs:
            inputs[data.draw(st.sampled_from(sorted(inputs)))] = data.draw(strange_values)
    assert isinstance(read(graph), Generation)


KINDS = sorted({*COMPOSITES, *PIPES, *SWITCHES, *VALUE_NODES, *ENCODERS, *PLAIN_SAMPLERS, *TILED_UPSCALERS, *WIDGETS,
                "Reroute", "VAEDecode", "SaveImage", "ControlNetApplyAdvanced", "ConditioningCombine"})  # fmt: skip
NAMES = sorted({
    *(name for rule in VALUE_NODES.values() for name in rule.names), *(name for names in WIDGETS.values() for name in names),
    *["model", "clip", "positive", "negative", "latent_image", "images", "samples", "vae", "conditioning", "conditioning_1", "sigmas", "noise", "guider"],
    *["sampler", "lora_stack", "script", "pipe", "basic_pipe", "sdxl_tuple", "ctx_01", "ctx_02", "base_ctx", "any_01", "input1", "select", "image"],
    *["loras", "lora_1", "upscale_model", "self", "class_type", "names"],
})  # fmt: skip
NONSENSE: list[Any] = [
    1, 0, -1, 2.5, "x", "On", True, None, {}, [], {"on": True, "lora": "a", "strength": 1}, 1e300, 2**65, float("nan"),
    {"__value__": [{"name": "q", "active": True, "strength": "1"}]}, "<lora:a:1>", "1024x512", "simple",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(150))
def test_nodes_that_are_linked_at_random_raise_nothing(seed: int) -> None:
    chance = random.Random(seed)
    count = 60

    def value() -> Any:
        linked = chance.random() < 0.6
        return [str(chance.randrange(count)), chance.randrange(8)] if linked else chance.choice(NONSENSE)

    graph = {
        str(i): {"class_type": chance.choice(KINDS), "inputs": {chance.choice(NAMES): value() for _ in range(25)}}
        for i in range(count)
    }
    assert isinstance(read(graph), Generation)
