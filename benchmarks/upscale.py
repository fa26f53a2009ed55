#!/usr/bin/env python3
"""Upscale 2x against ComfyUI's own nodes, in one run on one server.

    ./distillery python benchmarks/upscale.py [--server URL] [--runs 3] [--size 256] [--image FILE]

Both graphs get the same picture and the same model (RealESRGAN_x4plus): this pack's Upscale 2x, and the stock
chain UpscaleModelLoader, ImageUpscaleWithModel, ImageScaleBy 0.5 lanczos. They run in turns after one warm-up
each on a small picture, and each run gets a picture of its own (one pixel differs), so that nothing comes from a
cache. Measured are the nodes' seconds, and, of a server on this machine, its processor seconds (which other work on the
machine disturbs less) and by how much its memory grew at the peak; ratios are taken run by run. The results are compared
by PSNR, and by what they and their difference show along the borders of Upscale 2x's tiles (1: no seam). Writes a
table (.md), all figures (.json) and a detail of the pictures (.jpg) to benchmarks/results.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from distillery.benchmarks import seams
from distillery.benchmarks.hires import machine, spread, to_bytes
from distillery.driver import paths
from distillery.driver.server import managed
from distillery.driver.server.client import ComfyClient
from distillery.driver.server.event_stream import Executing, JobEvent
from distillery.driver.setup.models import prepare_models
from distillery.nodes.imaging.upscale import NETWORK_TILE, OVERLAP
from distillery.nodes.model_files.upscalers import REALESRGAN
from distillery.nodes.tiling.tiles import plan

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


@dataclass
class Run:
    """Of the upscaling nodes in one run."""

    seconds: float
    cpu_seconds: float
    """Of the server's process; not a number for a server elsewhere."""
    peak_mb: float
    """Memory of the server's process at the peak less memory before, in MiB; not a number for a server elsewhere."""


class Watch:
    """Processor time and memory of a server on this machine; without a process all is not a number."""

    def __init__(self, pid: int | None) -> None:
        self.process = psutil.Process(pid) if pid is not None else None
        self.peak = self.rss()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def rss(self) -> float:
        return self.process.memory_info().rss / 2**20 if self.process else float("nan")

    def cpu(self) -> float:
        times = self.process.cpu_times() if self.process else None
        return times.user + times.system if times else float("nan")

    def _watch(self) -> None:
        while self.process and not self._done.wait(0.01):
            self.peak = max(self.peak, self.rss())

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def run(
    client: ComfyClient, side: str, picture: Image.Image, number: int, pid: int | None = None
) -> tuple[Run, np.ndarray]:
    """What the upscaling nodes took, and the result (H, W, 3), 0 ... 1."""
    own = picture.copy()
    own.putpixel((0, 0), (number % 256, 0, 0))
    buffer = io.BytesIO()
    own.save(buffer, "PNG")
    watch = Watch(pid)
    before = watch.rss()
    spent = Run(0.0, 0.0 if pid is not None else float("nan"), float("nan"))
    running: tuple[str | None, float, float] = (None, 0.0, 0.0)

    def on_event(event: JobEvent) -> None:
        nonlocal running
        if isinstance(event, Executing):
            now, cpu = time.perf_counter(), watch.cpu()
            if running[0] in ("3", "4"):
                spent.seconds += now - running[1]
                spent.cpu_seconds += cpu - running[2]
            running = (event.node, now, cpu)

    try:
        outcome = client.run(graph(side, client.upload_image(buffer.getvalue(), "png")), on_event=on_event)
    finally:
        watch.stop()
    spent.peak_mb = watch.peak - before
    data = b"".join(client.view(outcome.outputs["9"]["images"][0]))
    return spent, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) / 255


def seam(size: int, difference: np.ndarray) -> tuple[float, float]:
    """Seam ratio and its p of the ``difference`` of two results along the borders of Upscale 2x's tiles."""
    layout = plan(size, size, NETWORK_TILE, OVERLAP).scaled(2)
    ends = [x + layout.tile_width for x in layout.xs[:-1]]
    lines = sorted({*layout.xs[1:], *ends, *((a + b) // 2 for a, b in zip(layout.xs[1:], ends, strict=True))})
    return seams.seam_ratio(difference, lines, lines)


def detail(results: dict[str, np.ndarray], side: int = 256) -> Image.Image:
    """The middle of both results at its own size, and their difference tenfold around grey."""
    ours, stock = results[OURS], results[STOCK]
    y, x = ((n - side) // 2 for n in ours.shape[:2])
    shown = [ours, stock, 0.5 + 10 * (ours - stock)]
    return Image.fromarray(np.concatenate([to_bytes(p[y : y + side, x : x + side]) for p in shown], axis=1))


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", help="a running ComfyUI with this pack (default: a new one)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each side (default 3)")
    parser.add_argument("--size", type=int, default=256, metavar="PX", help="side of the picture (default 256)")
    parser.add_argument("--image", default=str(ROOT / "examples" / "cat.png"), metavar="FILE", help="the picture")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", metavar="FOLDER")
    parser.add_argument("--name", default="upscale", help="of the files that are written (default: upscale)")
    options = parser.parse_args()

    if options.server:
        measure(options, options.server, None)
        return 0
    # A server of its own: whatever runs on the usual one would be measured too.
    instance = f"benchmark-{os.getpid()}"
    prepare_models(lambda text: print(text, file=sys.stderr))
    server = managed.ensure(instance, say=lambda text: print(text, file=sys.stderr))
    try:
        measure(options, server.url, server.pid)
    finally:
        managed.stop(instance)
        shutil.rmtree(paths.servers_dir() / instance, ignore_errors=True)
        (paths.servers_dir() / f"{instance}.lock").unlink(missing_ok=True)
    return 0


def square(picture: Image.Image, side: int) -> Image.Image:
    """The picture at this size; where it is smaller, with its mirror images around it: enlarged it would be soft, and a
    network invents on soft pictures what it sees no reason for."""
    if side <= min(picture.size):
        return picture.resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture)[:side, :side]
    height, width = pixels.shape[:2]
    return Image.fromarray(np.pad(pixels, ((0, side - height), (0, side - width), (0, 0)), mode="symmetric"))


def measure(options: argparse.Namespace, url: str, pid: int | None) -> None:
    """Run both sides on the server at ``url``, print and write the figures."""
    client = ComfyClient(url)
    with Image.open(options.image) as image:
        whole = image.convert("RGB")
    picture = square(whole, options.size)
    device = client.system_stats()["devices"][0]["name"]
    here = machine() if pid is not None else "a server elsewhere"
    head = f"{options.size}x{options.size}, {REALESRGAN}, on {device}. Machine: {here}."
    print(head, flush=True)

    runs: dict[str, list[Run]] = {OURS: [], STOCK: []}
    results: dict[str, np.ndarray] = {}
    for side in runs:
        run(client, side, whole.resize((64, 64)), 0)
    for number in range(1, options.runs + 1):
        for side, of_side in runs.items():
            one, results[side] = run(client, side, picture, number, pid)
            of_side.append(one)
            print(
                f"  run {number}: {side} {one.seconds:.2f} s, CPU {one.cpu_seconds:.2f} s, {one.peak_mb:.0f} MiB",
                flush=True,
            )
    difference = results[OURS] - results[STOCK]
    psnr = -10 * np.log10(max((difference**2).mean(), 1e-12))
    seam_ratio, p = seam(options.size, difference)
    bicubic = np.asarray(picture.resize((2 * options.size,) * 2, Image.Resampling.BICUBIC)) / 255
    seen = {side: seam(options.size, result - bicubic) for side, result in results.items()}
    lines = ["| | seconds | CPU seconds | peak memory, MiB |", "|---|---|---|---|"]
    for side, of_side in runs.items():
        cells = [
            spread([getattr(one, key) for one in of_side], n)
            for key, n in (("seconds", 2), ("cpu_seconds", 2), ("peak_mb", 0))
        ]
        lines.append(f"| {side} | {' | '.join(cells)} |")
    ratios = [
        spread([getattr(b, key) / getattr(a, key) for a, b in zip(runs[OURS], runs[STOCK], strict=True)])
        for key in ("seconds", "cpu_seconds", "peak_mb")
    ]
    lines.append(f"| stock nodes / Upscale 2x | {' | '.join(ratios)} |")
    lines += ["", f"PSNR between the results: {psnr:.1f} dB."]
    if np.isnan(seam_ratio):
        lines.append("One tile, no borders.")
    else:
        sides = "; ".join(f"{side} {ratio:.3f} (p {chance:.3f})" for side, (ratio, chance) in seen.items())
        lines.append(f"Seam ratio at the borders of Upscale 2x's tiles, of results less a bicubic one: {sides}.")
        lines.append(f"The same of the difference of the two results: {seam_ratio:.3f} (p {p:.3f}).")
    text = (
        f"## Upscale 2x\n\n{head}\nMedians of {options.runs}, least and greatest in brackets.\n\n"
        + "\n".join(lines)
        + "\n"
    )
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / options.name
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    figures = {side: [asdict(one) for one in of_side] for side, of_side in runs.items()}
    report = {
        "head": head,
        "runs": figures,
        "psnr": psnr,
        "seams": None if np.isnan(seam_ratio) else {**seen, "difference": (seam_ratio, p)},
    }
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    detail(results).save(stem.with_suffix(".jpg"), quality=90)
    client.close()


if __name__ == "__main__":
    sys.exit(main())
