"""A text beside a ComfyUI graph."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from recall_read import (
    BASE,
    known,
)
from recall_samples import new_record, plain_graph
from recall_text_samples import (
    SWARMUI,
    saved_with_text,
)

from distillery.nodes.generation import Generation, Lora
from distillery.nodes.recall import recall_text
from distillery.nodes.recall.merge import merge
from distillery.nodes.record import record_for


def test_text_beside_a_graph_fills_its_gaps() -> None:
    texts = saved_with_text()
    alone = recall_text({"prompt": texts["prompt"]})
    both = recall_text(texts)
    assert both.warnings == () and both.fields["checkpoint_hash"] == "parameters: Model hash"
    assert known(both) == {**known(alone), "checkpoint_hash": "abcdef0123"}
    assert both.carried["parameters"]["settings"]["Version"] == "ComfyUI"


def test_graph_is_kept_where_the_text_differs() -> None:
    texts = saved_with_text(seed=5)
    texts["parameters"] = texts["parameters"].replace("a lake", "a pond, <lora:a:0.1>").replace("7.5", "3")
    generation = recall_text(texts)
    assert (generation.seed, generation.cfg, generation.positive) == (2**60 + 1, 7.5, "a lake")
    assert f'parameters says seed "5", the graph says "{2**60 + 1}": the graph is kept' in generation.warnings
    assert [w.split()[2] for w in generation.warnings] == ["positive", "seed", "cfg", "the"]
    assert generation.loras[1] == Lora("dir\\a.safetensors", 0.8, 1.0, "1234567890")


def test_text_beside_a_graph_gives_what_the_graph_hides() -> None:
    graph = plain_graph()
    graph["3"]["inputs"]["seed"] = ["50", 0]
    graph["6"]["inputs"]["text"] = ["51", 0]
    graph |= {"50": {"class_type": "Oracle", "inputs": {}}, "51": {"class_type": "Wildcards", "inputs": {}}}
    text = f"a BREAK lake\nNegative prompt: blurry\n{BASE.replace('Seed: 5', 'Seed: 77')}"
    generation = recall_text({"prompt": json.dumps(graph), "parameters": text})
    assert (generation.seed, generation.positive, generation.origin) == (77, "a BREAK lake", "comfyui")
    assert generation.fields["seed"] == "parameters: Seed"
    assert any("BREAK" in w for w in generation.warnings) and any("Oracle" in w for w in generation.warnings)


def test_hash_of_another_checkpoint_is_not_taken() -> None:
    texts = saved_with_text()
    texts["parameters"] = texts["parameters"].replace("Model: dream", "Model: other")
    generation = recall_text(texts)
    assert generation.checkpoint_hash is None and '"other"' in generation.warnings[0]


def test_text_beside_a_graph_that_cannot_be_read() -> None:
    graph = {"1": {"class_type": "SamplerFromTheFuture", "inputs": {}}}
    generation = recall_text({"prompt": json.dumps(graph), "parameters": f"a\n{BASE}"})
    assert (generation.origin, generation.seed) == ("a1111", 5)
    assert any("no sampler that is read here" in w for w in generation.warnings)


def test_distillery_images_stand_alone() -> None:
    texts = {"prompt": json.dumps(new_record()), "parameters": f"a pond\n{BASE}"}
    assert recall_text(texts) == recall_text({"prompt": texts["prompt"]})
    own = record_for(recall_text({"prompt": texts["prompt"]}))
    assert recall_text({**saved_with_text(), "distillery": own}).origin == "distillery-upscale"


def test_swarmui_beside_a_graph() -> None:
    texts = {"prompt": json.dumps(plain_graph()), "parameters": json.dumps(SWARMUI)}
    generation = recall_text(texts)
    assert generation.origin == "comfyui" and any(w.startswith("parameters says seed") for w in generation.warnings)


def test_merge_is_pure_and_knows_what_is_known_to_be_none() -> None:
    graph = Generation(
        "comfyui", positive="a", vae=None, loras=(), fields={"vae": "the checkpoint's own", "loras": "none"}
    )
    other = Generation("a1111", vae="x.pt", loras=(Lora("y"),), seed=3, fields={"seed": "parameters: Seed"})
    merged = merge(graph, other)
    assert (merged.vae, merged.loras, merged.seed) == (None, (), 3)
    assert len(merged.warnings) == 2 and "the checkpoint's own" in merged.warnings[0]
    assert graph == replace(graph) and merge(graph, Generation()) == graph


@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde_gpu", "dpmpp_2m_sde"])
def test_variants_of_a_sampler_are_no_difference(sampler: str) -> None:
    graph = Generation("comfyui", sampler=sampler, checkpoint="dir\\m.safetensors", positive="a  b")
    assert merge(graph, Generation("a1111", sampler="dpmpp_2m_sde", checkpoint="m", positive="a b")).warnings == ()
