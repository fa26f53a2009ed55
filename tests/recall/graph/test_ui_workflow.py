"""Recalling from the editor's workflow, where a file has no API graph."""

from __future__ import annotations

import copy
import importlib.util
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recall_graph_samples import KSAMPLER, SEED, Workflow, plain_workflow
from recall_samples import plain_graph, png

from distillery.driver.server import probe
from distillery.driver.server.managed import RunningServer
from distillery.nodes.generation import Generation, Lora
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.recall.containers.image import read_contents
from distillery.nodes.recall.graph.ui_widgets import CORE_WIDGETS
from distillery.nodes.recall.graph.ui_workflow import is_workflow, to_api, widget_values

BARE = {"fields": {}, "carried": {}}


def read(workflow: Workflow | dict[str, Any]) -> Generation:
    data = workflow.data() if isinstance(workflow, Workflow) else workflow
    return recall_text({"workflow": json.dumps(data)})


def node_of(workflow: Workflow, node_id: int) -> dict[str, Any]:
    return next(n for n in workflow.nodes if n["id"] == node_id)


def relink(workflow: Workflow, target: int, name: str, source: int, slot: int, widget: bool = False) -> None:
    """Replace what comes in at an input."""
    workflow.link(source, slot, target, name, widget)


PLAIN = replace(recall_text({"prompt": json.dumps(plain_graph())}), **BARE)  # type: ignore[arg-type]


@pytest.mark.parametrize("names_widgets", [False, True])
@pytest.mark.parametrize("objects", [False, True])
def test_workflow_gives_the_same_as_the_graph(names_widgets: bool, objects: bool) -> None:
    generation = read(plain_workflow(names_widgets=names_widgets, objects=objects))
    assert replace(generation, **BARE) == PLAIN  # type: ignore[arg-type]
    assert generation.fields["seed"] == "workflow node 3 (KSampler).seed"


def test_workflow_of_an_image() -> None:
    assert recall(png({"workflow": plain_workflow().data()})).seed == SEED


def test_prompt_wins_over_the_workflow() -> None:
    other = plain_workflow()
    node_of(other, 6)["widgets_values"] = ["edited since"]
    texts = {"prompt": json.dumps(plain_graph()), "workflow": json.dumps(other.data())}
    assert recall_text(texts).positive == "a lake"


@pytest.mark.parametrize("prompt", ["{", "[]", "null", '{"3": 5}'])
def test_workflow_stands_in_for_a_prompt_that_cannot_be_read(prompt: str) -> None:
    generation = recall_text({"prompt": prompt, "workflow": json.dumps(plain_workflow().data())})
    assert generation.positive == "a lake" and generation.fields["positive"].startswith("workflow ")
    assert any("prompt chunk" in w for w in generation.warnings) == (prompt == "{")


def test_real_workflow_and_its_graph_are_the_same(shared: Path) -> None:
    """The editor wrote both into this image: what is made of the one must be the other."""
    texts = read_contents(shared / "images" / "master_graph_preview.png").texts
    graph = json.loads(texts["prompt"])
    made = to_api(json.loads(texts["workflow"])).graph
    assert set(made) == set(graph)
    different = {
        (entry["class_type"], name)
        for key, entry in graph.items() for name, value in entry["inputs"].items()
        if made[key]["inputs"].get(name, object()) != value
    }  # fmt: skip
    # A preprocessor whose widgets are not known here, and the upload button, which is no input.
    assert {kind for kind, name in different if name != "upload"} == {"CannyEdgePreprocessor"}
    of_graph, of_workflow = recall_text({"prompt": texts["prompt"]}), recall_text({"workflow": texts["workflow"]})
    blank = {**BARE, "warnings": ()}
    assert replace(of_graph, **blank) == replace(of_workflow, **blank)  # type: ignore[arg-type]
    assert (of_workflow.seed, of_workflow.steps, of_workflow.cfg) == (758245548, 30, 6)


# widgets


def test_widget_turned_into_an_input() -> None:
    w = plain_workflow()
    w.add(20, "PrimitiveNode", [99, "fixed"], "", "INT:INT")
    w.add(21, "PrimitiveInt", [7, "randomize"], "", "INT:INT")
    relink(w, 3, "seed", 20, 0, widget=True)
    relink(w, 3, "steps", 21, 0, widget=True)
    generation = read(w)
    assert (generation.seed, generation.steps, generation.cfg) == (99, 7, 7.5)


def test_input_that_is_linked_to_nothing_keeps_its_widget() -> None:
    w = plain_workflow()
    relink(w, 3, "seed", 404, 0, widget=True)
    assert read(w).seed == SEED


def test_widgets_as_an_object() -> None:
    w = plain_workflow()
    node_of(w, 6)["widgets_values"] = {"text": "by name", "videopreview": {}}
    assert read(w).positive == "by name"


def test_node_that_names_its_widgets_needs_no_table() -> None:
    inputs: list[str | None] = [None, "seed", "text", "mode"]
    found = {"seed": 5, "text": "x", "mode": "y"}
    assert widget_values("Unheard Of", [5, "fixed", "x", "y"], inputs) == (found, True)
    assert widget_values("Unheard Of", [5, "x", "y"], inputs) == (found, True)
    assert widget_values("Unheard Of", [5, "x", "y", None, ""], inputs) == (found, True)
    assert widget_values("Unheard Of", [5, "x", "y", "z"], inputs) == ({}, False)
    assert widget_values("Unheard Of", [5, "x"], inputs) == ({}, False)


def test_widgets_of_older_and_newer_versions_of_a_node() -> None:
    assert widget_values("CLIPLoader", ["a", "sd3"], []) == ({"clip_name": "a", "type": "sd3"}, True)
    assert widget_values("CLIPTextEncode", ["a", "b"], []) == ({}, False)
    assert widget_values("Seed (rgthree)", [5, "", "", ""], []) == ({"seed": 5}, True)
    assert widget_values("LoadImage", ["x.png", "image"], []) == ({"image": "x.png"}, True)
    assert widget_values("SamplerCustomAdvanced", [], []) == ({}, True)


def test_seed_control_that_is_hidden() -> None:
    values = [5, None, 20, 7, "euler", "normal", 1, "auto", "true"]
    assert widget_values("KSampler (Efficient)", values, [])[0]["steps"] == 20
    assert widget_values("KSampler", [5, 20, 7, "euler", "normal", 1], [])[0]["steps"] == 20


def test_older_version_of_a_node_with_a_seed_in_front() -> None:
    """As many values as names, of which one has no name and the last name has no value."""
    values = [
        5,
        "randomize",
        20,
        8,
        "euler",
        "normal",
        0.2,
        "Linear",
        512,
        512,
        8,
        32,
        "None",
        1,
        64,
        8,
        16,
        True,
        False,
    ]
    found, known = widget_values("UltimateSDUpscaleNoUpscale", values, [])
    assert known and (found["steps"], found["tiled_decode"]) == (20, False) and "batch_size" not in found


def test_values_of_the_wrong_kind_are_not_taken() -> None:
    assert widget_values("KSampler", [5, 20, "euler", "normal", 1, 7], []) == ({}, False)
    assert widget_values("LoraLoader", [0.5, 0.5, "a.safetensors"], []) == ({}, False)


def test_list_value_does_not_pose_as_a_link() -> None:
    w = plain_workflow()
    node_of(w, 6)["widgets_values"] = [["7", 0]]
    assert to_api(w.data()).graph["6"]["inputs"]["text"] == {"__value__": ["7", 0]}
    assert read(w).positive is None


def test_unknown_node_is_named_and_not_guessed() -> None:
    w = plain_workflow()
    w.add(30, "Fancy Loader", ["x", 3], "", "MODEL:MODEL")
    relink(w, 3, "model", 30, 0)
    generation = read(w)
    assert generation.checkpoint is None
    assert any("node 30 (Fancy Loader)" in w for w in generation.warnings)
    w.add(31, "Fancy Note", ["x", "y"])
    assert not any("Fancy Note" in w for w in read(w).warnings)


def test_unknown_node_is_read_by_the_types_of_its_values_and_sockets() -> None:
    w = plain_workflow()
    w.add(30, "Fancy Loader", ["fp8", "x.safetensors", 3], "", "MODEL:MODEL CLIP:CLIP VAE:VAE")
    w.add(31, "Fancy LoRA", ["l.safetensors", 0.7, 0.5], "model:MODEL clip:CLIP", "MODEL:MODEL CLIP:CLIP")
    w.link(30, 0, 31, "model")
    w.link(30, 1, 31, "clip")
    relink(w, 3, "model", 31, 0)
    relink(w, 6, "clip", 31, 1)
    relink(w, 7, "clip", 31, 1)
    generation = read(w)
    assert (generation.checkpoint, generation.loras) == ("x.safetensors", (Lora("l.safetensors", 0.7, 0.5),))
    assert any("node 30 (Fancy Loader)" in w for w in generation.warnings)


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 77, "fixed", 21, 4.5, "euler", "karras", 0.9, True],
        [21, 4.5, "euler", "karras", 0.9, "GPU", 77, "randomize"],
        [21, 4.5, "euler", "karras", 0.9, 1234567],
    ],
)
def test_settings_of_an_unknown_sampler_stand_around_its_name(values: list[Any]) -> None:
    found, known = widget_values("Fancy Sampler", values, [], (["MODEL"], ["LATENT"]))
    assert not known and (found["steps"], found["cfg"], found["denoise"]) == (21, 4.5, 0.9)
    assert (found["sampler_name"], found["scheduler"]) == ("euler", "karras") and found["seed"] in (77, 1234567)


@pytest.mark.parametrize("control", [True, False, "fixed", None])
def test_what_stands_behind_a_seed(control: Any) -> None:
    found, known = widget_values("KSampler", [11, control, 20, 7, "euler", "normal", 1], [])
    assert known and (found["seed"], found["steps"], found["denoise"]) == (11, 20, 1)


@pytest.mark.parametrize("kind", ["UNETLoaderMultiGPU", "UNETLoaderDisTorch2MultiGPU"])
def test_nodes_for_several_gpus_have_the_values_of_the_plain_one(kind: str) -> None:
    found, known = widget_values(kind, ["u.safetensors", "default", "cuda:1", 14, "cpu"], [])
    assert known and found["unet_name"] == "u.safetensors"


def test_versions_of_a_node() -> None:
    assert widget_values("Text Concatenate", ["true"], []) == ({"linebreak_addition": "true"}, True)
    assert widget_values("Text Concatenate", [", ", "true"], []) == (
        {"delimiter": ", ", "clean_whitespace": "true"}, True,
    )  # fmt: skip


def test_older_version_of_a_loader_with_fewer_values() -> None:
    values = ["m.safetensors", "Baked VAE", -2, "None", 1, 1, "a mill", "fog", 512, 768, 1]
    found, known = widget_values("Efficient Loader", values, [])
    assert known and (found["positive"], found["negative"], found["empty_latent_height"]) == ("a mill", "fog", 768)


@pytest.mark.parametrize("value", [True, False, "true", "False", 3])
def test_switch_or_number_never_enters_a_prompt(value: Any) -> None:
    assert widget_values("CLIPTextEncode", [value], []) == ({}, False)


def test_text_is_read_as_it_was_queued() -> None:
    w = plain_workflow()
    node_of(w, 6)["widgets_values"] = ["a {red|blue} lake // note\n/* more */ at \\{dusk\\}"]
    generation = read(w)
    assert generation.positive is not None and generation.positive.split() == [
        "a",
        "{red|blue}",
        "lake",
        "at",
        "\\{dusk\\}",
    ]
    assert any("{red|blue}" in warning for warning in generation.warnings)


def test_power_lora_loader() -> None:
    w = plain_workflow()
    entries = [
        {"on": True, "lora": "dir\\p.safetensors", "strength": 0.6, "strengthTwo": None},
        {"on": False, "lora": "off.safetensors", "strength": 1, "strengthTwo": None},
    ]
    w.add(30, "Power Lora Loader (rgthree)", [{}, {"type": "PowerLoraLoaderHeaderWidget"}, *entries, {}, ""],
          "model:MODEL clip:CLIP", "MODEL:MODEL CLIP:CLIP")  # fmt: skip
    for source, slot, target, name in ((4, 0, 30, "model"), (4, 1, 30, "clip"), (30, 0, 3, "model"), (30, 1, 6, "clip"),
                                       (30, 1, 7, "clip")):  # fmt: skip
        relink(w, target, name, source, slot)
    generation = read(w)
    assert generation.loras == (Lora("dir\\p.safetensors", 0.6, 0.6),) and generation.warnings == ()


def test_stacker() -> None:
    values = ["simple", 2, "a", 0.5, 1, 1, "b", 0.25, 1, 1, "None", 1, 1, 1]
    found, known = widget_values("LoRA Stacker", values, [])
    assert known and (found["lora_name_2"], found["lora_wt_2"]) == ("b", 0.25)


# the editor's own nodes


@pytest.mark.parametrize("mode", [2, 4])
def test_muted_and_bypassed_loras(mode: int) -> None:
    w = plain_workflow()
    node_of(w, 10)["mode"] = mode
    generation = read(w)
    if mode == 4:  # passed through, by the types of its sockets
        assert generation.loras == (Lora("b.safetensors", 0.5, 0.4),)
        assert generation.checkpoint == "sd\\dream.safetensors" and generation.warnings == ()
    else:
        assert generation.checkpoint is None and generation.loras == ()


def test_bypassed_sampler_passes_its_latent_on() -> None:
    w = plain_workflow()
    w.add(30, "LatentUpscaleBy", ["bilinear", 1.5], "samples:LATENT", "LATENT:LATENT")
    w.add(31, "KSampler", [1, "fixed", 5, 3, "euler", "normal", 0.4], KSAMPLER, "LATENT:LATENT")
    for source, slot, target, name in ((3, 0, 30, "samples"), (10, 0, 31, "model"), (6, 0, 31, "positive"),
                                       (7, 0, 31, "negative"), (30, 0, 31, "latent_image"), (31, 0, 8, "samples")):  # fmt: skip
        relink(w, target, name, source, slot)
    assert read(w).hires.denoise == 0.4
    node_of(w, 31)["mode"] = 4
    generation = read(w)
    assert generation.seed == SEED and generation.hires.steps is None and generation.hires.denoise is None


def test_reroutes_set_and_get_nodes_and_notes() -> None:
    w = plain_workflow()
    w.add(30, "Reroute", None, ":*", ":MODEL")
    w.add(31, "SetNode", ["the model"], "MODEL:MODEL", "*:*")
    w.add(32, "GetNode", ["the model"], "", "MODEL:MODEL")
    w.add(33, "Note", ["read me"])
    w.add(34, "MarkdownNote", ["# me too"])
    for source, slot, target, name in ((10, 0, 30, ""), (30, 0, 31, "MODEL"), (32, 0, 3, "model")):
        relink(w, target, name, source, slot)
    assert replace(read(w), **BARE) == PLAIN  # type: ignore[arg-type]


def test_get_node_without_its_set_node() -> None:
    w = plain_workflow()
    w.add(32, "GetNode", ["missing"], "", "MODEL:MODEL")
    relink(w, 3, "model", 32, 0)
    assert read(w).checkpoint is None


def unlinked(w: Workflow, target: int, *names: str) -> None:
    for entry in node_of(w, target)["inputs"]:
        if entry["name"] in names:
            entry["link"] = None


def test_values_are_handed_on_everywhere() -> None:
    w = plain_workflow()
    w.add(40, "Anything Everywhere", [], "anything:MODEL")
    w.link(10, 0, 40, "anything")
    w.add(41, "Prompts Everywhere", [], "+ve:CONDITIONING -ve:CONDITIONING")
    w.link(6, 0, 41, "+ve")
    w.link(7, 0, 41, "-ve")
    unlinked(w, 3, "model", "positive", "negative")
    assert replace(read(w), **BARE) == PLAIN  # type: ignore[arg-type]


def test_recorded_links_of_use_everywhere_are_followed() -> None:
    w = plain_workflow()
    w.add(40, "Anything Everywhere", [], "anything:MODEL")
    inputs = [entry["name"] for entry in node_of(w, 3)["inputs"]]
    unlinked(w, 3, "model")
    link = {
        "downstream": 3,
        "downstream_slot": inputs.index("model"),
        "upstream": "10",
        "upstream_slot": 0,
        "type": "MODEL",
    }
    for own in (None, 999):  # the input names no link, or one that is in no list
        node_of(w, 3)["inputs"][inputs.index("model")]["link"] = own
        generation = read({**w.data(), "extra": {"ue_links": [link]}})
        assert replace(generation, **BARE) == PLAIN  # type: ignore[arg-type]


def test_value_that_two_hand_on_is_taken_from_none() -> None:
    w = plain_workflow()
    for node_id, source in ((40, 10), (41, 11)):
        w.add(node_id, "Anything Everywhere", [], "anything:MODEL")
        w.link(source, 0, node_id, "anything")
    unlinked(w, 3, "model")
    assert read(w).checkpoint is None


def test_values_handed_on_by_patterns_are_named() -> None:
    w = plain_workflow()
    w.add(40, "Anything Everywhere?", [".*", ".*"], "anything:MODEL")
    assert any("by patterns" in x for x in read(w).warnings)


def test_text_that_was_handed_on_is_not_the_stale_one_of_the_widget() -> None:
    w = plain_workflow()
    w.add(40, "PrimitiveStringMultiline", ["a mill"], "", "STRING:STRING")
    w.link(40, 0, 6, "text", widget=True)
    entry = next(entry for entry in node_of(w, 6)["inputs"] if entry["name"] == "text")
    entry.update(link=None, type="STRING")
    w.add(41, "Anything Everywhere", [], "anything:STRING")
    w.link(40, 0, 41, "anything")
    assert read(w).positive == "a mill"
    node_of(w, 41)["type"] = "Anything Everywhere?"
    generation = read(w)
    assert generation.positive is None and any("Anything Everywhere?" in x for x in generation.warnings)


def grouped(values: list[Any] | None = None, inner_text: str = "as it was defined") -> dict[str, Any]:
    """The plain workflow with both encoders in a group node."""
    w = plain_workflow()
    data = w.data()
    encoders = [{**node_of(w, i), "index": n} for n, i in enumerate((6, 7))]
    for node, text in zip(encoders, (inner_text, "other"), strict=True):
        node["widgets_values"] = [text]
        node["inputs"] = [{**entry, "link": None} for entry in node["inputs"] if "widget" not in entry]
    clip = next(entry["link"] for entry in node_of(w, 6)["inputs"] if entry["name"] == "clip")
    instance = {
        "id": 50, "type": "workflow>Prompts", "mode": 0, "widgets_values": values or ["a lake", "blurry"],
        "inputs": [{"name": "clip", "type": "CLIP", "link": clip}, {"name": "CLIPTextEncode clip", "type": "CLIP", "link": clip}],
        "outputs": [{"name": "a", "type": "CONDITIONING"}, {"name": "b", "type": "CONDITIONING"}],
    }  # fmt: skip
    data["nodes"] = [node for node in data["nodes"] if node["id"] not in (6, 7)] + [instance]
    data["links"] = [
        [link[0], 50, 0 if link[1] == 6 else 1, *link[3:]] if link[1] in (6, 7) else link for link in data["links"]
    ]
    group = {"nodes": encoders, "links": [], "external": [[0, 0, "CONDITIONING"], [1, 0, "CONDITIONING"]]}
    return {**data, "extra": {"groupNodes": {"Prompts": group}}}


def test_group_node() -> None:
    generation = read(grouped())
    assert (generation.positive, generation.negative, generation.checkpoint) == ("a lake", "blurry", PLAIN.checkpoint)
    assert generation.fields["positive"] == "workflow node 50:0 (CLIPTextEncode).text"


def test_values_of_a_group_node_that_cannot_be_told_apart_are_not_those_of_its_definition() -> None:
    generation = read(grouped(["a lake"]))
    assert generation.positive is None and any("node 50 (a group node)" in w for w in generation.warnings)


def test_group_node_without_its_definition_is_named() -> None:
    w = plain_workflow()
    w.add(41, "workflow>my group", [1, 2], "x:MODEL", "y:MODEL")
    assert any("node 41 (workflow>my group) is a group node" in x for x in read(w).warnings)


def test_group_node_of_itself_ends() -> None:
    data = grouped()
    data["extra"]["groupNodes"]["Prompts"]["nodes"][0]["type"] = "workflow>Prompts"
    assert read(data).seed is not None


# subgraphs


def subgraph(name: str, inner: Workflow, inputs: str, outputs: str) -> dict[str, Any]:
    """A definition. inputs, outputs: ``name:TYPE=links`` each, the links of ids with commas."""

    def ports(text: str) -> list[dict[str, Any]]:
        found = []
        for item in text.split():
            (socket, _, links) = item.partition("=")
            port, kind = socket.split(":")
            found.append({"id": port, "name": port, "type": kind, "linkIds": [int(x) for x in links.split(",") if x]})
        return found

    return {"id": name, "version": 1, "name": name, "inputNode": {"id": -10}, "outputNode": {"id": -20},
            "inputs": ports(inputs), "outputs": ports(outputs), "nodes": inner.nodes, "links": inner.links}  # fmt: skip


def sampling_subgraph() -> tuple[Workflow, dict[str, Any]]:
    """The plain workflow with its sampler and its positive prompt in a subgraph, at node 12."""
    inner = Workflow(objects=True)
    inner.add(3, "KSampler", [1, "fixed", 20, 7.5, "dpmpp_2m", "karras", 1], KSAMPLER, "LATENT:LATENT")
    inner.add(6, "CLIPTextEncode", ["inside"], "clip:CLIP", "CONDITIONING:CONDITIONING")
    ids = [inner.link(-10, 0, 3, "model"), inner.link(-10, 1, 6, "clip"), inner.link(-10, 2, 3, "negative"),
           inner.link(-10, 3, 3, "latent_image"), inner.link(-10, 4, 6, "text", widget=True),
           inner.link(-10, 5, 3, "seed", widget=True), inner.link(6, 0, 3, "positive"), inner.link(3, 0, -20, "LATENT")]  # fmt: skip
    definition = subgraph(
        "5b3c", inner,
        f"model:MODEL={ids[0]} clip:CLIP={ids[1]} negative:CONDITIONING={ids[2]} latent:LATENT={ids[3]} "
        f"text:STRING={ids[4]} seed:INT={ids[5]}",
        f"LATENT:LATENT={ids[7]}",
    )  # fmt: skip
    w = plain_workflow()
    w.nodes = [n for n in w.nodes if n["id"] not in (3, 6)]
    w.add(12, "5b3c", ["a promoted lake", SEED], "model:MODEL clip:CLIP negative:CONDITIONING latent:LATENT",
          "LATENT:LATENT")  # fmt: skip
    for source, slot, target, name in ((10, 0, 12, "model"), (10, 1, 12, "clip"), (7, 0, 12, "negative"),
                                       (5, 0, 12, "latent"), (12, 0, 8, "samples")):  # fmt: skip
        relink(w, target, name, source, slot)
    return w, definition


def test_subgraph() -> None:
    w, definition = sampling_subgraph()
    generation = read(w.data(definitions={"subgraphs": [definition]}))
    assert (generation.positive, generation.negative, generation.seed) == ("a promoted lake", "blurry", SEED)
    assert generation.loras == PLAIN.loras and generation.checkpoint == PLAIN.checkpoint
    assert generation.fields["seed"] == "workflow node 12:3 (KSampler).seed"
    assert generation.warnings == ()


def test_subgraph_keeps_its_inner_values_where_none_are_promoted() -> None:
    w, definition = sampling_subgraph()
    node_of(w, 12)["widgets_values"] = []
    generation = read(w.data(definitions={"subgraphs": [definition]}))
    assert (generation.positive, generation.seed) == ("inside", 1)


def test_subgraph_input_that_is_linked_from_outside() -> None:
    w, definition = sampling_subgraph()
    w.add(20, "PrimitiveStringMultiline", ["from outside"], "", "STRING:STRING")
    relink(w, 12, "text", 20, 0, widget=True)
    assert read(w.data(definitions={"subgraphs": [definition]})).positive == "from outside"


@pytest.mark.parametrize(("mode", "found"), [(2, False), (4, False)])
def test_muted_and_bypassed_subgraph(mode: int, found: bool) -> None:
    w, definition = sampling_subgraph()
    node_of(w, 12)["mode"] = mode
    generation = read(w.data(definitions={"subgraphs": [definition]}))
    assert generation.empty is not found and any("no sampler" in x for x in generation.warnings)


def test_subgraph_in_a_subgraph() -> None:
    w, inner = sampling_subgraph()
    middle = Workflow(objects=True)
    sockets = "model:MODEL clip:CLIP negative:CONDITIONING latent:LATENT"
    middle.add(7, "5b3c", ["nested", 5], sockets, "LATENT:LATENT")
    names = ("model", "clip", "negative", "latent")
    ids = [middle.link(-10, i, 7, name) for i, name in enumerate(names)]
    out = middle.link(7, 0, -20, "LATENT")
    kinds = ("MODEL", "CLIP", "CONDITIONING", "LATENT")
    outer = subgraph("9f00", middle, " ".join(f"{n}:{k}={i}" for n, k, i in zip(names, kinds, ids, strict=True)),
                     f"LATENT:LATENT={out}")  # fmt: skip
    node_of(w, 12).update(type="9f00", widgets_values=[])
    generation = read(w.data(definitions={"subgraphs": [inner, outer]}))
    assert (generation.positive, generation.seed, generation.negative) == ("nested", 5, "blurry")
    assert generation.fields["seed"] == "workflow node 12:7:3 (KSampler).seed"


# against ComfyUI itself


def templates() -> Iterator[dict[str, Any]]:
    """The editor's own template workflows, which ComfyUI's requirements bring along."""
    spec = importlib.util.find_spec("comfyui_workflow_templates_json")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.json")):
            data = json.loads(path.read_text(encoding="utf-8"))
            if is_workflow(data):
                yield data


@pytest.fixture(scope="module")
def definitions(server: RunningServer) -> dict[str, Any]:
    """ComfyUI's node definitions, from a real server."""
    return probe.get(server.endpoint, "/object_info", 120).json()


@pytest.mark.server
@pytest.mark.slow
def test_table_of_widgets_is_as_comfyui_has_them(definitions: dict[str, Any]) -> None:
    plain = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
    for kind, names in CORE_WIDGETS.items():
        entry = definitions[kind]
        found = []
        for part in ("required", "optional"):
            for name in entry.get("input_order", {}).get(part, []):
                spec = entry["input"][part][name]
                options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
                if not options.get("forceInput") and (isinstance(spec[0], list) or spec[0] in plain):
                    found.append(name)
        assert tuple(found) == names, kind


@pytest.mark.server
@pytest.mark.slow
def test_template_workflows_become_graphs_that_fit_the_definitions(definitions: dict[str, Any]) -> None:
    """Every known node of real workflows gets values of the kind that the node takes."""
    kinds = {"INT": (int, float), "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
    checked = 0
    for data in templates():
        graph = to_api(data).graph
        for key, entry in graph.items():
            for name, spec in definitions.get(entry["class_type"], {}).get("input", {}).get("required", {}).items():
                value = entry["inputs"].get(name)
                if isinstance(value, list):
                    assert value[0] in graph, (key, name)
                elif entry["class_type"] in CORE_WIDGETS and value is not None and str(spec[0]) in kinds:
                    assert isinstance(value, kinds[spec[0]]), (entry["class_type"], name, value)
                    checked += 1
    assert checked > 1000 or not list(templates())


def test_template_workflows_are_read() -> None:
    found = [read(data) for data in templates()]
    if not found:
        pytest.skip("the template workflows are not installed")
    whole = [g for g in found if g.seed is not None and g.steps and g.sampler and g.checkpoint]
    assert len(whole) > 50


# hostile workflows


def test_circles() -> None:
    w = plain_workflow()
    w.add(30, "Reroute", None, ":*", ":*")
    w.add(31, "SetNode", ["x"], "MODEL:MODEL", "*:*")
    w.add(32, "GetNode", ["x"], "", "MODEL:MODEL")
    w.add(33, "LoraLoader", ["a", 1, 1], "model:MODEL clip:CLIP", "MODEL:MODEL CLIP:CLIP", mode=4)
    for source, slot, target, name in ((30, 0, 30, ""), (32, 0, 31, "MODEL"), (33, 0, 33, "model"), (30, 0, 3, "model"),
                                       (32, 0, 6, "clip"), (33, 0, 3, "positive")):  # fmt: skip
        relink(w, target, name, source, slot)
    assert read(w).checkpoint is None


def test_subgraph_of_itself_ends() -> None:
    inner = Workflow(objects=True)
    for i in range(3):
        inner.add(i, "loop", [], "x:MODEL", "x:MODEL")
    definition = subgraph("loop", inner, "x:MODEL=1", "x:MODEL=1")
    w = plain_workflow()
    w.add(50, "loop", [], "x:MODEL", "x:MODEL")
    relink(w, 3, "model", 50, 0)
    start = time.monotonic()
    generation = read(w.data(definitions={"subgraphs": [definition]}))
    assert any("more than 10000 nodes" in x for x in generation.warnings)
    assert time.monotonic() - start < 10


@pytest.mark.slow
def test_ten_thousand_nodes() -> None:
    def big(count: int) -> dict[str, Any]:
        w = plain_workflow()
        for i in range(count):
            w.nodes.append({"id": 100 + i, "type": "Reroute", "inputs": [{"name": "", "link": 1000 + i}],
                            "outputs": [{"name": "", "type": "*"}]})  # fmt: skip
            w.links.append([1000 + i, 101 + i, 0, 100 + i, 0, "*"])
        w.links.append([999, 100, 0, 3, 0, "MODEL"])
        node_of(w, 3)["inputs"][0]["link"] = 999
        w.links.append([1000 + count - 1, 10, 0, 100 + count - 1, 0, "MODEL"])
        return w.data()

    assert read(big(9000)).loras == PLAIN.loras
    assert any("more than 10000 nodes" in x for x in read(big(10_000)).warnings)


def _places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *_places(item, (*path, key))]]


strange = st.one_of(
    st.none(), st.booleans(), st.integers(-30, 40), st.floats(), st.sampled_from(["", "Reroute", "GetNode", "5b3c", "12"]),
    st.just([]), st.just({}), st.lists(st.integers(-20, 20) | st.none(), max_size=6),
    st.dictionaries(st.sampled_from(["name", "id", "type", "link"]), st.integers() | st.none(), max_size=3),
)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_damaged_workflows_raise_nothing(data: st.DataObject) -> None:
    w, definition = sampling_subgraph()
    w.add(40, "SetNode", ["n"], "x:MODEL", "x:MODEL")
    record = copy.deepcopy(w.data(definitions={"subgraphs": [definition]}))
    for _ in range(data.draw(st.integers(1, 8))):
        path = data.draw(st.sampled_from(_places(record)))
        holder: Any = record
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = data.draw(strange)
    assert isinstance(read(record), Generation)


@pytest.mark.parametrize(
    "workflow",
    [
        {"nodes": []}, {"nodes": [5, None, {}, {"id": [], "type": "KSampler"}], "links": 7},
        {"nodes": [{"id": 1, "type": "KSampler", "inputs": [{"link": {}}], "widgets_values": 5}], "links": [[], [1, 2], {}]},
        {"nodes": [{"id": True, "type": "SaveImage"}], "definitions": [], "links": [[1, None, 0, 1, 0]]},
        {"nodes": [], "definitions": {"subgraphs": [None, {"id": 5}, {"id": "x", "nodes": 3}]}},
    ],
)  # fmt: skip
def test_workflows_of_wrong_types(workflow: dict[str, Any]) -> None:
    generation = read(workflow)
    assert generation.empty and generation.warnings
