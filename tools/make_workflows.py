#!/usr/bin/env python3
"""Writes the workflows: workflows/NAME.json for the editor and workflows/api/NAME.json for the API.

Both files of a workflow come from one description in :mod:`.workflows` and from the node definitions of a running
server, so that they cannot disagree:

    ./distillery python tools/make_workflows.py            # write the files
    ./distillery python tools/make_workflows.py --check    # only compare; exit 1 where one differs

That the editor submits for the one what the other says is tested in a real browser: tests/browser.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path
from typing import Any

from distillery.driver.server import managed, probe
from distillery.driver.server.endpoint import Endpoint, endpoint
from distillery.tools.workflows import WORKFLOWS, Link, Node, Workflow

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def api_workflow(workflow: Workflow, info: dict[str, Any]) -> dict[str, Any]:
    """The graph in the API's format, in the order of the ids."""

    def value(given: Any) -> Any:
        return [str(given.node), slot_of(workflow, given, info)] if isinstance(given, Link) else given

    return {
        str(node.id): {
            "inputs": {name: value(node.inputs[name]) for name in input_names(node, info) if name in node.inputs},
            "class_type": node.type,
            "_meta": {"title": node.title},
        }
        for node in sorted(workflow.nodes, key=lambda node: node.id)
    }


def ui_workflow(workflow: Workflow, info: dict[str, Any]) -> dict[str, Any]:
    """The graph in the editor's format, with slots and widgets in the order of the node definitions."""
    links: list[list[Any]] = []
    reroutes: list[dict[str, Any]] = []
    extensions: list[dict[str, int]] = []
    out_links: dict[tuple[int, int], list[int]] = {}
    ui_nodes: list[dict[str, Any]] = []
    for node in workflow.nodes:
        slots: list[dict[str, Any]] = []
        widgets: list[Any] = []
        for name in input_names(node, info):
            spec = input_spec(node, name, info)
            kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
            kind = "COMBO" if isinstance(kind, list) else kind
            value = node.inputs.get(name)
            is_widget = kind in WIDGET_TYPES and not options.get("forceInput")
            if isinstance(value, Link) or not is_widget:
                slot: dict[str, Any] = {"name": name, "type": kind, "link": None}
                if is_widget:
                    slot["widget"] = {"name": name}
                if isinstance(value, Link):
                    source = slot_of(workflow, value, info)
                    slot["link"] = link = len(links) + 1
                    source_type = info[workflow.node(value.node).type]["output"][source]
                    source_type = "COMBO" if isinstance(source_type, list) else source_type
                    links.append([link, value.node, source, node.id, len(slots), source_type])
                    out_links.setdefault((value.node, source), []).append(link)
                    parent = _route(reroutes, link, value.via)
                    if parent is not None:
                        extensions.append({"id": link, "parentId": parent})
                slots.append(slot)
            if is_widget:
                widgets.append(_widget_default(kind, options, spec) if isinstance(value, Link) else value)
                if options.get("control_after_generate"):
                    widgets.append("fixed")
                if options.get("image_upload"):
                    widgets.append("image")
        ui_nodes.append(
            {
                "id": node.id, "type": node.type, "pos": list(node.pos), "size": list(node.size), "flags": {},
                "order": len(ui_nodes), "mode": 0, "inputs": slots,
                "outputs": [
                    {"name": name, "type": "COMBO" if isinstance(kind, list) else kind, "links": None}
                    for name, kind in zip(info[node.type]["output_name"], info[node.type]["output"], strict=True)
                ],
                "title": node.title, "properties": {"Node name for S&R": node.type}, "widgets_values": widgets,
                **({"color": node.colors[0], "bgcolor": node.colors[1]} if node.colors else {}),
            }
        )  # fmt: skip
    for ui_node in ui_nodes:
        for slot_index, output in enumerate(ui_node["outputs"]):
            output["links"] = out_links.get((ui_node["id"], slot_index))
    for note in workflow.notes:
        ui_nodes.append(
            {
                "id": note.id, "type": "MarkdownNote", "pos": list(note.pos), "size": list(note.size), "flags": {},
                "order": len(ui_nodes), "mode": 0, "inputs": [], "outputs": [], "title": note.title,
                "properties": {}, "widgets_values": [note.text], "color": "#432", "bgcolor": "#653",
            }
        )  # fmt: skip
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"distillery-upscale/workflows/{workflow.name}")),
        "revision": 0,
        "last_node_id": max(n["id"] for n in ui_nodes),
        "last_link_id": len(links),
        "nodes": ui_nodes,
        "links": links,
        "groups": [
            {"id": i, "title": g.title, "bounding": list(g.bounds), "color": g.color, "font_size": 28, "flags": {}}
            for i, g in enumerate(workflow.groups, 1)
        ],
        "config": {},
        "extra": {
            "ds": {"scale": workflow.scale, "offset": list(workflow.offset)},
            "reroutes": reroutes,
            "linkExtensions": extensions,
        },
        "version": 0.4,
    }


def _route(reroutes: list[dict[str, Any]], link: int, via: tuple[tuple[int, int], ...]) -> int | None:
    """Lead a link through points; the id of the last. Links of one output share those that they have in common."""
    parent: int | None = None
    for x, y in via:
        shared = next((r for r in reroutes if r["pos"] == [x, y] and r.get("parentId") == parent), None)
        if shared is None:
            shared = {"id": len(reroutes) + 1, **({"parentId": parent} if parent else {}), "pos": [x, y], "linkIds": []}
            reroutes.append(shared)
        shared["linkIds"].append(link)
        parent = shared["id"]
    return parent


def input_names(node: Node, info: dict[str, Any]) -> list[str]:
    """A node's inputs in the order of its definition."""
    names = [name for part in ("required", "optional") for name in info[node.type]["input_order"].get(part, [])]
    unknown = set(node.inputs) - set(names)
    if unknown:
        raise SystemExit(f"{node.type} has no input {sorted(unknown)}; it has {names}")
    return names


def input_spec(node: Node, name: str, info: dict[str, Any]) -> list[Any]:
    """Type and options of an input."""
    inputs = info[node.type]["input"]
    return list((inputs.get("required", {}) | inputs.get("optional", {}))[name])


def slot_of(workflow: Workflow, link: Link, info: dict[str, Any]) -> int:
    """Number of the output that a link comes from."""
    names = info[workflow.node(link.node).type]["output_name"]
    if link.output not in names:
        raise SystemExit(f"{workflow.node(link.node).type} has no output {link.output!r}; it has {names}")
    return int(names.index(link.output))


def _widget_default(kind: str, options: dict[str, Any], spec: list[Any]) -> Any:
    """What a widget shows while a link feeds it: the node's own default."""
    if "default" in options:
        return options["default"]
    if kind == "COMBO":
        choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
        return choices[0] if choices else ""
    return {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}[kind]


def fetch_object_info(server: Endpoint) -> dict[str, Any]:
    """Node definitions of the classes that the workflows use."""
    info: dict[str, Any] = {}
    for kind in sorted({node.type for workflow in WORKFLOWS for node in workflow.nodes}):
        found = probe.get(server, f"/object_info/{kind}", 60).json()
        if kind not in found:
            raise SystemExit(f"the server at {server.url} has no node {kind}")
        info |= found
    return info


def rendered(info: dict[str, Any]) -> dict[str, str]:
    """File name below workflows/ to file content."""
    files = {}
    for workflow in WORKFLOWS:
        files[f"{workflow.name}.json"] = ui_workflow(workflow, info)
        files[f"api/{workflow.name}.json"] = api_workflow(workflow, info)
    return {name: json.dumps(data, indent=2, ensure_ascii=False) + "\n" for name, data in files.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", metavar="URL", help="a running ComfyUI with this pack (default: the managed one)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    args = parser.parse_args()
    if args.server is not None:
        there = managed.with_token(endpoint(args.server))
    else:
        there = managed.ensure(say=lambda text: print(text, file=sys.stderr)).endpoint
    differing = []
    for name, text in rendered(fetch_object_info(there)).items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            differing.append(name)
            if not args.check:
                path.write_text(text, encoding="utf-8")
    print("up to date" if not differing else f"{'differs' if args.check else 'written'}: {', '.join(differing)}")
    return 1 if args.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
