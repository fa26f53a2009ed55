"""Graphs of ComfyUI's own nodes: quick, slow, and silent for long."""

from __future__ import annotations

import uuid


def graph(**changes) -> dict:
    """A tiny stock workflow; each has a prefix of its own, so that it is never wholly cached."""
    nodes = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": f"c/{uuid.uuid4().hex}"},
            "_meta": {"title": "The end"},
        },
    }
    for path, value in changes.items():
        node, name = path.lstrip("n").split("_", 1)
        nodes[node]["inputs"][name] = value
    return nodes


def slow_graph(steps: int = 2000) -> dict:
    """Samples for minutes if it is let."""
    mini = "distillery-mini.safetensors"
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": mini}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": uuid.uuid4().hex}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 256, "height": 256, "batch_size": 1}},
        "4": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0], "seed": 1,
                "steps": steps, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            },
        },
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }  # fmt: skip


def blurred(side: int, times: int, color: int = 1) -> dict:
    """Stock nodes that work for seconds without a word of progress inside a node."""
    nodes = graph(n1_width=side, n1_height=side, n1_color=color)
    last = "1"
    for i in range(times):
        last, before = f"b{i}", last
        nodes[last] = {
            "class_type": "ImageBlur", "inputs": {"image": [before, 0], "blur_radius": 31, "sigma": 9.0}
        }  # fmt: skip
    nodes["2"]["inputs"]["images"] = [last, 0]
    return nodes
