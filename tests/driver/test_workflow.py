"""The static workflow: what the driver changes, and that both files are the same graph."""

from __future__ import annotations

import json
import re

import pytest

from distillery.driver import paths
from distillery.driver.server import workflow
from distillery.driver.server.workflow import WorkflowError
from distillery.tools import make_workflows

NAMES = sorted(p.stem for p in workflow.ui_file().parent.glob("*.json"))
NODE_FILES = sorted((paths.checkout() / "nodes" / "comfyui").glob("*.py"))


def both(name: str) -> tuple[dict, dict]:
    """A workflow in the editor's format and in the API's."""
    folder = workflow.ui_file().parent
    files = (folder / f"{name}.json", folder / "api" / f"{name}.json")
    ui, api = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return ui, api


def test_only_three_inputs_are_changed():
    before = json.loads(workflow.api_file().read_text(encoding="utf-8"))
    built = workflow.build("x.png [temp]", "--power 0.2", "p/q")
    changed = [
        (built[i]["class_type"], name)
        for i in built
        for name in built[i]["inputs"]
        if built[i]["inputs"][name] != before[i]["inputs"][name]
    ]
    assert sorted(changed) == [
        ("DistilleryLoadImage", "image"),
        ("DistilleryParameters", "command"),
        ("DistillerySave", "filename_prefix"),
    ]
    assert workflow.build("y", "", "z") != built, "a built graph must not be the cached one"


def test_smaller_tiles_are_asked_for_in_both_files():
    graph = workflow.build("x", "", "p", tile=512)
    inputs = graph[workflow.node_id(graph, workflow.TILES_NODE)]["inputs"]
    assert (inputs["tiling"], inputs["tile_size"], inputs["overlap"]) == ("custom", 512, 128)
    ui = workflow.editor_workflow("x", "", "p", 512)
    assert [n["widgets_values"] for n in ui["nodes"] if n["type"] == workflow.TILES_NODE] == [["custom", 512, 128]]


def test_stock_nodes_do_the_sampling_with_everything_by_link():
    graph = workflow.build("x", "", "p")
    sampler = next(n for n in graph.values() if n["class_type"] == "KSampler")
    assert all(isinstance(value, list) for value in sampler["inputs"].values())
    assert {"CLIPTextEncode", "VAEEncode", "VAEDecode"} <= {n["class_type"] for n in graph.values()}


def test_the_editors_file_carries_the_same_values():
    ui = workflow.editor_workflow("x.png [temp]", "--power 0.2", "p/q")
    values = {n["type"]: n.get("widgets_values", [None])[:1] for n in ui["nodes"]}
    assert values["DistilleryLoadImage"] == ["x.png [temp]"]
    assert values["DistilleryParameters"] == ["--power 0.2"]
    assert values["DistillerySave"] == ["p/q"]


@pytest.mark.parametrize("name", NAMES)
def test_the_editors_file_has_the_links_of_the_api_file(name):
    ui, api = both(name)
    nodes = {node["id"]: node for node in ui["nodes"]}
    links = set()
    for _, source, slot, target, index, _ in ui["links"]:
        assert nodes[target]["inputs"][index]["link"] is not None
        links.add((str(target), nodes[target]["inputs"][index]["name"], str(source), slot))
    assert links == {(i, k, *v) for i, n in api.items() for k, v in n["inputs"].items() if isinstance(v, list)}


@pytest.mark.parametrize("name", NAMES)
def test_nodes_and_groups_of_the_editors_file_do_not_overlap(name):
    ui, _ = both(name)
    boxes = [(n["title"], *n["pos"], *n["size"]) for n in ui["nodes"]]
    # A node's title stands 30 pixels above its position.
    boxes = [(title, x, y - 30, w, h + 30) for title, x, y, w, h in boxes]
    for i, (a, ax, ay, aw, ah) in enumerate(boxes):
        for b, bx, by, bw, bh in boxes[i + 1 :]:
            assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay, f"{a} overlaps {b}"
    for group in ui["groups"]:
        gx, gy, gw, gh = group["bounding"]
        inside = [t for t, x, y, w, h in boxes if gx <= x and x + w <= gx + gw and gy <= y and y + h <= gy + gh]
        touching = [t for t, x, y, w, h in boxes if x < gx + gw and gx < x + w and y < gy + gh and gy < y + h]
        assert inside == touching, f"{group['title']}: {set(touching) - set(inside)} stands across its border"


@pytest.mark.parametrize("name", NAMES)
def test_links_run_from_left_to_right(name):
    ui, _ = both(name)
    left = {n["id"]: n["pos"][0] for n in ui["nodes"]}
    assert all(left[source] <= left[target] for _, source, _, target, _, _ in ui["links"])


def test_compare_power_shares_what_comes_before_the_sampler():
    _, api = both("compare_power")
    samplers = {i: n["inputs"] for i, n in api.items() if n["class_type"] == "KSampler"}
    assert len(samplers) == 3
    for name in ("model", "positive", "negative", "latent_image", "seed"):
        assert len({tuple(inputs[name]) for inputs in samplers.values()}) == 1, name
    powers = [api[inputs["denoise"][0]]["inputs"]["power"] for inputs in samplers.values()]
    assert len(set(powers)) == 3
    for result in (n["inputs"] for n in api.values() if n["class_type"] == "DistilleryHiResResult"):
        sampler = api[api[result["regenerated"][0]]["inputs"]["samples"][0]]
        assert result["settings"][0] == sampler["inputs"]["denoise"][0], "each result is recorded with its own power"


def test_every_node_has_a_page_in_the_help_panel():
    ids = set(re.findall(r'node_id="(\w+)"', "".join(p.read_text(encoding="utf-8") for p in NODE_FILES)))
    assert len(ids) >= 12
    assert {p.stem for p in (paths.checkout() / "web" / "docs").glob("*.md")} == ids


def test_an_editors_file_where_the_apis_is_needed_is_named():
    with pytest.raises(WorkflowError, match="Export"):
        workflow.build("x", "", "p", workflow.ui_file())


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "w.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(WorkflowError, match=r"w\.json"):
        workflow.build("x", "", "p", path)


@pytest.mark.server
@pytest.mark.slow
def test_the_files_are_what_the_tool_writes_for_the_servers_nodes(server):
    for name, text in make_workflows.rendered(make_workflows.fetch_object_info(server.endpoint)).items():
        assert (workflow.ui_file().parent / name).read_text(encoding="utf-8") == text, (
            f"run tools/make_workflows.py: {name}"
        )
