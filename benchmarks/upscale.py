#!/usr/bin/env python3
"""Upscale 2x against ComfyUI's own nodes, in one run on one server.

    ./distillery python benchmarks/upscale.py [--server URL] [--runs 3] [--size 256] [--image FILE]

Both graphs get the same picture and the same model (RealESRGAN_x4plus): this pack's Upscale 2x, and the stock
chain UpscaleModelLoader, ImageUpscaleWithModel, ImageScaleBy 0.5 lanczos. They run in turns after one warm-up
each, and each run gets a picture of its own (one pixel differs), so that nothing comes from a cache. Printed are the
seconds of the nodes, their ratio run by run with its spread, and the PSNR between the two results.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distillery.driver import server as managed
from distillery.driver.client import ComfyClient, Event
from distillery.driver.driver import prepare_models
from distillery.nodes.upscalers import REALESRGAN

ROOT = Path(__file__).resolve().parent.parent
OURS, STOCK = "Upscale 2x", "stock nodes"


def graph(side: str, image: str) -> dict[str, Any]:
    """The API graph of one side; the upscaling itself is nodes 3 and 4."""
    nodes: dict[str, Any] = {"1": {"class_type": "LoadImage", "inputs": {"image": image}}}
    if side == OURS:
        loader = {"model_name": REALESRGAN, "stand_in": "none: stop with an error"}
        nodes["2"] = {"class_type": "DistilleryLoadUltraSharp", "inputs": loader}
        nodes["3"] = {"class_type": "DistilleryUpscale2x", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}}
        last = "3"
    else:
        nodes["2"] = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": REALESRGAN}}
        nodes["3"] = {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}}
        scale = {"image": ["3", 0], "upscale_method": "lanczos", "scale_by": 0.5}
        nodes["4"] = {"class_type": "ImageScaleBy", "inputs": scale}
        last = "4"
    save = {"images": [last, 0], "filename_prefix": f"bench/{uuid.uuid4().hex}"}
    nodes["9"] = {"class_type": "SaveImage", "inputs": save}
    return nodes


def run(client: ComfyClient, side: str, picture: Image.Image, number: int) -> tuple[float, np.ndarray]:
    """Seconds of the upscaling nodes, and the result (H, W, 3), 0 ... 255."""
    own = picture.copy()
    own.putpixel((0, 0), (number % 256, 0, 0))
    buffer = io.BytesIO()
    own.save(buffer, "PNG")
    spent = {"3": 0.0, "4": 0.0}
    running: tuple[str | None, float] = (None, 0.0)

    def on_event(event: Event) -> None:
        nonlocal running
        if event["type"] == "executing":
            now = time.perf_counter()
            if running[0] in spent:
                spent[running[0]] += now - running[1]
            running = (event["data"].get("node"), now)

    outcome = client.run(graph(side, client.upload_image(buffer.getvalue(), "png")), on_event=on_event)
    data = b"".join(client.view(outcome.outputs["9"]["images"][0]))
    return sum(spent.values()), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.float64)


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", help="a running ComfyUI with this pack (default: the managed one)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each side (default 3)")
    parser.add_argument("--size", type=int, default=256, metavar="PX", help="side of the picture (default 256)")
    parser.add_argument("--image", default=str(ROOT / "examples" / "cat.png"), metavar="FILE", help="the picture")
    options = parser.parse_args()

    url = options.server
    if url is None:
        prepare_models(lambda text: print(text, file=sys.stderr))
        url = managed.ensure(say=lambda text: print(text, file=sys.stderr)).url
    client = ComfyClient(url)
    with Image.open(options.image) as image:
        picture = image.convert("RGB").resize((options.size, options.size), Image.Resampling.LANCZOS)
    device = client.system_stats()["devices"][0]["name"]
    print(f"{options.size}x{options.size}, {REALESRGAN}, {device}, {platform.machine()}, {os.cpu_count()} cores")

    seconds: dict[str, list[float]] = {OURS: [], STOCK: []}
    results: dict[str, np.ndarray] = {}
    for number in range(options.runs + 1):
        for side in (OURS, STOCK):
            spent, pixels = run(client, side, picture, number)
            if number:  # the first one is the warm-up
                seconds[side].append(spent)
                results[side] = pixels
            print(f"  {'warm-up' if not number else f'run {number}'}: {side} {spent:.2f} s", flush=True)
    ratios = [stock / ours for ours, stock in zip(seconds[OURS], seconds[STOCK], strict=True)]
    error = ((results[OURS] - results[STOCK]) ** 2).mean()
    for side, values in seconds.items():
        print(f"{side}: median {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})")
    print(f"stock / Upscale 2x: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"PSNR between the results: {10 * np.log10(255**2 / error):.1f} dB")
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
