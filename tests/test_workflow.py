"""The static workflow: what the driver changes, and that both files are the same graph."""

from __future__ import annotations

import json
import sys

import pytest

from distillery.driver import workflow
from distillery.driver.workflow import WorkflowError


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


def test_the_editors_file_has_the_links_of_the_api_file():
    ui = json.loads(workflow.ui_file().read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in ui["nodes"]}
    links = set()
    for _, source, slot, target, index, _ in ui["links"]:
        assert nodes[target]["inputs"][index]["link"] is not None
        links.add((str(target), nodes[target]["inputs"][index]["name"], str(source), slot))
    api = workflow.build("x", "", "p")
    expected = {(i, k, *v) for i, n in api.items() for k, v in n["inputs"].items() if isinstance(v, list)}
    assert links == expected


def test_nodes_and_groups_of_the_editors_file_do_not_overlap():
    ui = json.loads(workflow.ui_file().read_text(encoding="utf-8"))
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


def test_links_run_from_left_to_right():
    ui = json.loads(workflow.ui_file().read_text(encoding="utf-8"))
    left = {n["id"]: n["pos"][0] for n in ui["nodes"]}
    assert all(left[source] <= left[target] for _, source, _, target, _, _ in ui["links"])


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
def test_both_files_are_what_the_tool_writes_for_the_servers_nodes(server):
    sys.path.insert(0, str(workflow.ui_file().parent.parent / "tools"))
    import make_workflows

    for name, text in make_workflows.rendered(make_workflows.fetch_object_info(server.url)).items():
        assert (workflow.ui_file().parent / name).read_text(encoding="utf-8") == text, (
            f"run tools/make_workflows.py: {name}"
        )
