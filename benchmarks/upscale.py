#!/usr/bin/env python3
"""Upscale 2x against ComfyUI's own nodes, in one run on one server.

    ./distillery python benchmarks/upscale.py [--server URL] [--runs 3] [--size 256] [--image FILE]

Both graphs get the same picture and the same model (RealESRGAN_x4plus): this pack's Upscale 2x, and the
stock chain UpscaleModelLoader, ImageUpscaleWithModel, ImageScaleBy 0.5 lanczos. They run in turns; each run
gets a picture of its own (one pixel differs), so that nothing comes from a cache. Printed are the
medians of the node's seconds, their ratio with its spread, the PSNR between the two results, and the
server's memory.
"""

from __future__ import annotations

from pathlib import Path

MODEL = "RealESRGAN_x4plus.safetensors"
ROOT = Path(__file__).resolve().parent.parent


def graphs(image: str) -> dict[str, dict]:
    """API graphs of both sides; each saves a PNG of 2x."""
    load = {"1": {"class_type": "LoadImage", "inputs": {"image": image}}}

    def save(node: str) -> dict:
        return {"9": {"class_type": "PreviewImage", "inputs": {"images": [node, 0]}}}

    ours = (
        load
        | save("3")
        | {
            "2": {
                "class_type": "DistilleryLoadUltraSharp",
                "inputs": {"model_name": MODEL, "stand_in": "none: stop with an error"},
            },
            "3": {"class_type": "DistilleryUpscale2x", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
        }
    )
    stock = (
        load
        | save("4")
        | {
            "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": MODEL}},
            "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
            "4": {
                "class_type": "ImageScaleBy",
                "inputs": {"image": ["3", 0], "upscale_method": "lanczos", "scale_by": 0.5},
            },
        }
    )
    return {"Upscale 2x": ours, "stock nodes": stock}  # fmt: skip
