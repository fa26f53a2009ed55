#!/usr/bin/env python3
"""What `--keep detail` does to the result of the HiRes pass, beside doing without it and putting all of it back.

    ./distillery python -m distillery.tools.mini.data WORK --held-out          # once: the pictures, from Debian and PyPI
    ./distillery python benchmarks/detail.py WORK [--shared ../shared/images] [--checkpoint FILE] [--count 12]

Each picture's middle, 512 pixels, at half its size and enlarged 2x as the pack does it, is encoded, regenerated at each
power with ComfyUI's own sampler, and decoded; its copy is encoded and decoded alone. From these three sides are made:
``off`` (the decoded picture), ``unweighted`` (all that the autoencoder lost is put back) and ``weighted`` (what
HiRes Result does). Writes a table (.md), all figures (.json) and a sheet of details (.jpg) to benchmarks/results; on
the sheet Distillery's own images are left out. Pictures that were made stay in WORK/detail, so that it can be stopped.

Likeness, energy and correlation of high frequencies are measured against the enlarged picture, which is what the pass is
given; *ghosts* is the share of its edges that is left where the pass changed most (tools/mini/measures.py). Saturation
is that with "monochrome" before the prompt, and in the negative prompt, over that without.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from distillery.benchmarks.hires import machine, peak_memory
from distillery.driver import paths
from distillery.driver.setup.comfyui import ensure_comfyui
from distillery.nodes.imaging.detail import keep_detail
from distillery.nodes.model_files.upscalers import REALESRGAN
from distillery.nodes.parameters import MINI_NAME
from distillery.tools.mini import evaluate, measures
from distillery.tools.mini.captions import words

RESULTS = Path(__file__).resolve().parent / "results"
POWERS = (0.3, 0.5, 0.8)
OFF, UNWEIGHTED, WEIGHTED = "off", "unweighted", "weighted"
FIGURES = {
    "psnr": "PSNR to the enlarged picture, dB",
    "energy": "high-frequency energy",
    "correlation": "their correlation",
    "ghosts": "ghosts",
    "delta_e": "colour shift, Delta E",
}
WORDS = 4
"""Pictures on which the effect of words is measured."""


def sides(regenerated: np.ndarray, copy: np.ndarray, enlarged: np.ndarray) -> dict[str, np.ndarray]:
    """The three results (H, W, 3), 0 to 1."""
    after, before, source = (torch.from_numpy(picture)[None] for picture in (regenerated, copy, enlarged))
    return {
        OFF: regenerated,
        UNWEIGHTED: keep_detail(after, before, source, weighted=False)[0].numpy(),
        WEIGHTED: keep_detail(after, before, source)[0].numpy(),
    }


def make(model: evaluate.Model, enlarged: np.ndarray, with_words: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All pictures of one enlarged picture (512, 512, 3), and what each stage took in seconds and MiB."""
    cost: dict[str, Any] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        with peak_memory() as grown:
            begin = time.perf_counter()
            result = work()
            seconds = time.perf_counter() - begin
        cost.setdefault(name, []).append([seconds, grown[0]])
        return result

    caption = ", ".join(words((enlarged * 255).astype(np.uint8)))
    latent = timed("encode", lambda: model.encode(enlarged))
    made = {"enlarged": enlarged, "copy": timed("decode of the copy", lambda: model.decode(latent))}
    for power in POWERS:
        sampled = timed("sampling", lambda power=power: model.hires(latent, caption, "", power))
        made[f"{power:g}"] = timed("decode", lambda sampled=sampled: model.decode(sampled))
    made["another seed"] = model.decode(model.hires(latent, caption, "", 0.5, seed=8))
    if with_words:
        made["monochrome"] = model.decode(model.hires(latent, f"monochrome, {caption}", "", POWERS[0]))
        made["--neg monochrome"] = model.decode(model.hires(latent, caption, "monochrome", POWERS[0]))
    given = [torch.from_numpy(made[name])[None] for name in (f"{POWERS[0]:g}", "copy", "enlarged")]
    timed("keeping detail", lambda: keep_detail(*given))
    return {name: picture.astype(np.float32) for name, picture in made.items()}, cost


def figures(made: dict[str, np.ndarray]) -> dict[str, Any]:
    """Figures of one picture by power and side, and those of words and seeds by side."""
    enlarged, copy = made["enlarged"], made["copy"]
    found: dict[str, Any] = {}
    for power in POWERS:
        results = sides(made[f"{power:g}"], copy, enlarged)
        found[f"{power:g}"] = {
            side: _figures(picture, results[OFF], enlarged, copy) for side, picture in results.items()
        }
    half, other = (sides(made[name], copy, enlarged) for name in ("0.5", "another seed"))
    found["another seed"] = {side: measures.psnr(half[side], other[side]) for side in half}
    plain = sides(made[f"{POWERS[0]:g}"], copy, enlarged)
    for text in ("monochrome", "--neg monochrome"):
        if text in made:
            asked = sides(made[text], copy, enlarged)
            found[text] = {s: measures.saturation(asked[s]) / measures.saturation(plain[s]) for s in plain}
    return found


def _figures(picture: np.ndarray, regenerated: np.ndarray, enlarged: np.ndarray, copy: np.ndarray) -> dict[str, float]:
    energy, correlation = measures.detail_kept(picture, enlarged)
    return {
        "psnr": measures.psnr(picture, enlarged),
        "energy": energy,
        "correlation": correlation,
        "ghosts": measures.old_edges_left(picture, regenerated, enlarged, copy),
        "delta_e": measures.colour_shift(picture, enlarged),
    }


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(rows: list[dict[str, Any]], checkpoint: str) -> str:
    """The figures as Markdown: mean (least to greatest) over the pictures."""
    names = (OFF, UNWEIGHTED, WEIGHTED)
    lines = [
        "# What `--keep detail` does to the result",
        "",
        f"{len(rows)} pictures of {evaluate.SIDE} pixels, checkpoint {checkpoint}, {machine()}. "
        "Mean (least to greatest). Made by `benchmarks/detail.py`.",
        "",
        "| power | | " + " | ".join(names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for power in POWERS:
        for key, label in FIGURES.items():
            cells = [spread([row["figures"][f"{power:g}"][side][key] for row in rows]) for side in names]
            lines.append(f"| {power:g} | {label} | " + " | ".join(cells) + " |")
    extra = [
        ("0.5", "PSNR between two seeds, dB", "another seed"),
        ("0.3", "saturation with `monochrome`, of that without", "monochrome"),
        ("0.3", "saturation with `--neg monochrome`, of that without", "--neg monochrome"),
    ]
    for power, label, key in extra:
        some = [row["figures"][key] for row in rows if key in row["figures"]]
        if some:
            lines.append(
                f"| {power} | {label} | " + " | ".join(spread([s[side] for s in some]) for side in names) + " |"
            )
    lines += ["", "| stage | seconds, median (least to greatest) | memory at its peak, MiB |", "|---|---|---|"]
    for stage in rows[0]["cost"]:
        runs = [run for row in rows for run in row["cost"][stage]]
        seconds = [r[0] for r in runs]
        cell = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        lines.append(f"| {stage} | {cell} | {max(r[1] for r in runs):.0f} |")
    return "\n".join(lines) + "\n"


def sheet(rows: list[tuple[str, dict[str, np.ndarray]]], side: int = 224) -> Image.Image:
    """One row a picture and power: enlarged, off, unweighted, weighted; the middle of each at its own size."""
    columns = ("enlarged", OFF, UNWEIGHTED, WEIGHTED)
    cells = [(name, power, made) for name, made in rows for power in POWERS]
    image = Image.new("RGB", (len(columns) * (side + 4), len(cells) * (side + 20)), "white")
    draw = ImageDraw.Draw(image)
    for y, (name, power, made) in enumerate(cells):
        results = {"enlarged": made["enlarged"], **sides(made[f"{power:g}"], made["copy"], made["enlarged"])}
        for x, column in enumerate(columns):
            begin = (evaluate.SIDE - side) // 2
            middle = results[column][begin : begin + side, begin : begin + side]
            label = f"{name[:18]}: {column}" if column == "enlarged" else f"power {power:g}: {column}"
            draw.text((x * (side + 4) + 2, y * (side + 20) + 2), label, fill="black", font_size=12)
            pixels = (np.clip(middle, 0, 1) * 255).round().astype(np.uint8)
            image.paste(Image.fromarray(pixels), (x * (side + 4), y * (side + 20) + 18))
    return image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder that tools/mini/data.py made")
    parser.add_argument("--shared", type=Path, help="folder of Distillery's own images")
    parser.add_argument("--checkpoint", type=Path, help="default: the built-in distillery-mini")
    parser.add_argument("--count", type=int, default=12, help="pictures at most (default 12)")
    parser.add_argument("--report", action="store_true", help="make no more pictures: report those that are made")
    parser.add_argument("--name", default="detail", help="of the files in benchmarks/results")
    options = parser.parse_args()
    evaluate.start_comfyui(ensure_comfyui())
    checkpoint = options.checkpoint or paths.models_dir() / "checkpoints" / MINI_NAME
    upscaler = paths.models_dir() / "upscale_models" / REALESRGAN
    chosen = evaluate.pictures(options.work / "held_out", options.shared, options.count)
    own = {path.stem for path in options.shared.glob("*.png")} if options.shared else set()
    (options.work / "evaluation").mkdir(exist_ok=True)
    kept = options.work / "detail" / hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:12]
    kept.mkdir(parents=True, exist_ok=True)
    model: evaluate.Model | None = None
    rows, shown = [], []
    with torch.inference_mode():
        for i, (name, original) in enumerate(chosen):
            file, costs = kept / f"{name}.npz", kept / f"{name}.json"
            if not costs.is_file():
                if options.report:
                    continue
                model = model or evaluate.Model(checkpoint)
                enlarged = evaluate.enlarged(name, original, options.work, upscaler)
                made, cost = make(model, enlarged, i < WORDS)
                np.savez(file, **made)
                costs.write_text(json.dumps(cost))
            made = dict(np.load(file))
            rows.append({"picture": name, "figures": figures(made), "cost": json.loads(costs.read_text())})
            print(json.dumps(rows[-1]), flush=True)
            if name not in own:
                shown.append((name, made))
    text = table(rows, checkpoint.name)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.name}.md").write_text(text)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    sheet(shown[:: max(1, len(shown) // 5)][:5]).save(RESULTS / f"{options.name}.jpg", quality=85)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
