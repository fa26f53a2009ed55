#!/usr/bin/env python3
"""Writes workflows/upscale.json (for the editor) and workflows/upscale_api.json (for the API).

Both come from the one description below and from the node definitions of a running server, so that
they cannot disagree:

    ./distillery python tools/make_workflows.py            # write both files
    ./distillery python tools/make_workflows.py --check    # only compare; exit 1 where they differ
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
EXAMPLE_IMAGE = "example.png"
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

NOTE = """\
## Distillery Upscale

1. **Load Image + Recall**: upload the original file. What it says of how it was made is recalled: \
prompts, seed, CFG, sampler, checkpoint, VAE, LoRAs.
2. **Upscale Parameters**: leave the command empty to keep everything, or write what should differ:

    `--power 0.2` how much is regenerated (0 to 1; 0: nothing)
    `--sharpen 0.3` sharpening (0 to 1)
    `--neg TEXT` `--seed N` `--cfg X` `--prompt TEXT` `--model NAME`

3. **Run**. The result is in *Save Image + Record*; drag it back here to see this graph again, or \
upscale it once more.

An image without data needs `--prompt` and `--model`, or `--power 0`."""


@dataclass(frozen=True)
class Node:
    """One node: links by ``name=(node id, output slot)``, widgets by ``name=value``."""

    id: int
    type: str
    title: str
    pos: tuple[int, int]
    size: tuple[int, int]
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    title: str
    bounds: tuple[int, int, int, int]
    color: str


IMAGE, COMMAND, ULTRASHARP, UPSCALE, MODELS, TILES, POSITIVE, NEGATIVE = 1, 2, 3, 4, 5, 6, 7, 8
PAD, ENCODE, SAMPLER, DECODE, RESULT, SHARPEN, SAVE = 9, 10, 11, 12, 13, 14, 15
NOTE_ID = 16

NODES = (
    Node(IMAGE, "DistilleryLoadImage", "Load Image + Recall", (40, 380), (320, 400), {"image": EXAMPLE_IMAGE}),
    Node(
        COMMAND, "DistilleryParameters", "Upscale Parameters", (440, 380), (340, 400),
        {"generation": (IMAGE, 2), "command": ""},
    ),
    Node(ULTRASHARP, "DistilleryLoadUltraSharp", "Load UltraSharp", (860, 80), (340, 110), {
        "model_name": "4x-UltraSharp.pth", "stand_in": "RealESRGAN_x4plus",
    }),
    Node(
        UPSCALE, "DistilleryUpscale2x", "Upscale 2x", (1280, 80), (260, 90),
        {"upscale_model": (ULTRASHARP, 0), "image": (IMAGE, 0), "mask": (IMAGE, 1)},
    ),
    Node(MODELS, "DistilleryLoadModels", "Load Models (recalled)", (860, 380), (340, 150), {
        "settings": (COMMAND, 9), "fallback_checkpoint": "distillery-mini (built in)", "missing_lora": "error",
    }),
    Node(TILES, "DistilleryHiResTiles", "HiRes Tiles", (1280, 380), (260, 190), {
        "model": (MODELS, 0), "vae": (MODELS, 2), "tiling": "auto", "tile_size": 768, "overlap": 128,
    }),
    Node(
        POSITIVE, "CLIPTextEncode", "Positive prompt", (1280, 620), (260, 90),
        {"clip": (MODELS, 1), "text": (COMMAND, 0)},
    ),
    Node(
        NEGATIVE, "CLIPTextEncode", "Negative prompt", (1280, 760), (260, 90),
        {"clip": (MODELS, 1), "text": (COMMAND, 1)},
    ),
    Node(PAD, "DistilleryPadImage", "Pad for VAE", (1620, 80), (240, 60), {"image": (UPSCALE, 0)}),
    Node(ENCODE, "VAEEncode", "VAE Encode", (1620, 200), (240, 70), {"pixels": (PAD, 0), "vae": (TILES, 1)}),
    Node(SAMPLER, "KSampler", "HiRes pass (KSampler)", (1620, 380), (300, 270), {
        "model": (TILES, 0), "seed": (COMMAND, 2), "steps": (COMMAND, 3), "cfg": (COMMAND, 4),
        "sampler_name": (COMMAND, 5), "scheduler": (COMMAND, 6), "positive": (POSITIVE, 0),
        "negative": (NEGATIVE, 0), "latent_image": (ENCODE, 0), "denoise": (COMMAND, 7),
    }),
    Node(DECODE, "VAEDecode", "VAE Decode", (1620, 760), (240, 70), {"samples": (SAMPLER, 0), "vae": (TILES, 1)}),
    Node(RESULT, "DistilleryHiResResult", "HiRes Result", (2020, 380), (260, 130), {
        "upscaled": (UPSCALE, 0), "settings": (COMMAND, 9), "regenerated": (DECODE, 0), "loaded": (MODELS, 3),
    }),
    Node(
        SHARPEN, "DistillerySharpen", "Sharpen (Distillery)", (2020, 620), (260, 80),
        {"image": (RESULT, 0), "alpha": (COMMAND, 8)},
    ),
    Node(SAVE, "DistillerySave", "Save Image + Record", (2380, 380), (420, 460), {
        "images": (SHARPEN, 0), "generation": (RESULT, 1), "filename_prefix": "distillery/upscale",
        "mask": (UPSCALE, 1), "upscaler_info": (ULTRASHARP, 1),
    }),
)  # fmt: skip

GROUPS = (
    Group("1  Image and command", (20, 300, 780, 560), "#3f789e"),
    Group("2  Upscale 2x", (840, 0, 720, 240), "#8A8"),
    Group("3  Models of the image", (840, 300, 720, 560), "#b58b2a"),
    Group("4  HiRes pass", (1600, 0, 340, 860), "#a1309b"),
    Group("5  Result", (2000, 300, 820, 560), "#88A"),
)


def api_workflow() -> dict[str, Any]:
    """The graph in the API's format."""
    return {
        str(node.id): {
            "class_type": node.type,
            "inputs": {k: [str(v[0]), v[1]] if isinstance(v, tuple) else v for k, v in node.inputs.items()},
            "_meta": {"title": node.title},
        }
        for node in NODES
    }


def ui_workflow(object_info: dict[str, Any]) -> dict[str, Any]:
    """The graph in the editor's format, with slots and widgets in the order of the node definitions."""
    links: list[list[Any]] = []
    out_links: dict[tuple[int, int], list[int]] = {}
    ui_nodes: list[dict[str, Any]] = []
    types = {node.id: object_info[node.type]["output"] for node in NODES}
    for node in NODES:
        info = object_info[node.type]
        slots: list[dict[str, Any]] = []
        widgets: list[Any] = []
        for name in [n for part in ("required", "optional") for n in info["input_order"].get(part, [])]:
            spec = (info["input"].get("required", {}) | info["input"].get("optional", {}))[name]
            kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
            kind = "COMBO" if isinstance(kind, list) else kind
            value = node.inputs.get(name)
            is_widget = kind in WIDGET_TYPES and not options.get("forceInput")
            if isinstance(value, tuple) or not is_widget:
                slot: dict[str, Any] = {"name": name, "type": kind, "link": None}
                if is_widget:
                    slot["widget"] = {"name": name}
                if isinstance(value, tuple):
                    link = len(links) + 1
                    source_type = types[value[0]][value[1]]
                    source_type = "COMBO" if isinstance(source_type, list) else source_type
                    links.append([link, value[0], value[1], node.id, len(slots), source_type])
                    out_links.setdefault(value, []).append(link)
                    slot["link"] = link
                slots.append(slot)
            if is_widget:
                widgets.append(_widget_default(kind, options, spec) if isinstance(value, tuple) else value)
                if options.get("control_after_generate"):
                    widgets.append("fixed")
                if options.get("image_upload"):
                    widgets.append("image")
        unknown = set(node.inputs) - {n for part in info["input_order"].values() for n in part}
        if unknown:
            raise SystemExit(f"{node.type} has no input {sorted(unknown)}")
        ui_nodes.append(
            {
                "id": node.id, "type": node.type, "pos": list(node.pos), "size": list(node.size), "flags": {},
                "order": len(ui_nodes), "mode": 0, "inputs": slots,
                "outputs": [
                    {"name": name, "type": "COMBO" if isinstance(kind, list) else kind, "links": None}
                    for name, kind in zip(info["output_name"], info["output"], strict=True)
                ],
                "title": node.title, "properties": {"Node name for S&R": node.type}, "widgets_values": widgets,
            }
        )  # fmt: skip
    for ui_node in ui_nodes:
        for slot_index, output in enumerate(ui_node["outputs"]):
            output["links"] = out_links.get((ui_node["id"], slot_index))
    ui_nodes.append(
        {
            "id": NOTE_ID, "type": "MarkdownNote", "pos": [40, -20], "size": [740, 290], "flags": {},
            "order": len(ui_nodes), "mode": 0, "inputs": [], "outputs": [], "title": "How to use this",
            "properties": {}, "widgets_values": [NOTE], "color": "#223", "bgcolor": "#335",
        }
    )  # fmt: skip
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, "distillery-upscale/workflows/upscale")),
        "revision": 0,
        "last_node_id": max(n["id"] for n in ui_nodes),
        "last_link_id": len(links),
        "nodes": ui_nodes,
        "links": links,
        "groups": [
            {"id": i, "title": g.title, "bounding": list(g.bounds), "color": g.color, "font_size": 24, "flags": {}}
            for i, g in enumerate(GROUPS, 1)
        ],
        "config": {},
        "extra": {"ds": {"scale": 0.6, "offset": [40, 120]}},
        "version": 0.4,
    }


def _widget_default(kind: str, options: dict[str, Any], spec: list[Any]) -> Any:
    """What a widget shows while a link feeds it: the node's own default."""
    if "default" in options:
        return options["default"]
    if kind == "COMBO":
        choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
        return choices[0] if choices else ""
    return {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}[kind]


def fetch_object_info(url: str) -> dict[str, Any]:
    """Node definitions of the classes that the workflow uses."""
    session = requests.Session()
    session.trust_env = False
    info: dict[str, Any] = {}
    for kind in dict.fromkeys(node.type for node in NODES):
        found = session.get(f"{url}/object_info/{kind}", timeout=60).json()
        if kind not in found:
            raise SystemExit(f"the server at {url} has no node {kind}")
        info |= found
    return info


def rendered(object_info: dict[str, Any]) -> dict[str, str]:
    """File name to file content."""
    return {
        "upscale.json": json.dumps(ui_workflow(object_info), indent=2, ensure_ascii=False) + "\n",
        "upscale_api.json": json.dumps(api_workflow(), indent=2, ensure_ascii=False) + "\n",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", metavar="URL", help="a running ComfyUI with this pack (default: the managed one)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    args = parser.parse_args()
    url = args.server
    if url is None:
        from distillery.driver import server

        url = server.ensure(say=lambda text: print(text, file=sys.stderr)).url
    differing = []
    for name, text in rendered(fetch_object_info(url)).items():
        path = WORKFLOWS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            differing.append(name)
            if not args.check:
                path.write_text(text, encoding="utf-8")
    print("up to date" if not differing else f"{'differs' if args.check else 'written'}: {', '.join(differing)}")
    return 1 if args.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
