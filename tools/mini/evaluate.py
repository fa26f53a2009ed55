"""Judge distillery-mini on pictures that training never saw, with ComfyUI's own loaders and samplers.

    ./distillery python -m distillery.tools.mini.evaluate WORK --comfyui COMFYUI --upscaler 4x.pth \\
        --checkpoint NAME=FILE [--checkpoint OTHER=FILE] [--shared ../shared/images]

Each picture's middle, 512 pixels, is one original; made 256 pixels and enlarged 2x by this project's upscaler it is
what the HiRes pass is given. Writes a table (results.md), all figures (results.json) and a contact sheet
to WORK/evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from distillery.nodes.imaging.detail import keep_detail

from . import measures
from .captions import words
from .crops import middle

SIDE = 512
STEPS, CFG, SAMPLER, SCHEDULER = 15, 6.0, "uni_pc", "karras"


def pictures(held_out: Path, shared: Path | None, count: int) -> list[tuple[str, np.ndarray]]:
    """Name and middle (512, 512, 3), uint8, of the held-out pictures and of Distillery's."""
    files = sorted(held_out.glob("*.png"))
    if shared and shared.is_dir():
        files += [f for f in sorted(shared.glob("*.png")) if "preview" not in f.name]
    found = []
    for file in files:
        pixels = middle(file, 768, SIDE)
        if pixels is not None:
            found.append((file.stem[-32:], pixels))
    if count and count < len(found):
        # Some of each origin.
        found = [found[round(i * (len(found) - 1) / (count - 1))] for i in range(count)]
    return found


class Model:
    """A checkpoint in ComfyUI, in this process."""

    def __init__(self, file: Path) -> None:
        import comfy.sd

        self.unet, self.clip, self.vae, _ = comfy.sd.load_checkpoint_guess_config(
            str(file), output_vae=True, output_clip=True
        )

    def conditioning(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def encode(self, picture: np.ndarray) -> torch.Tensor:
        return self.vae.encode(torch.from_numpy(picture[None]).float())

    def decode(self, latent: torch.Tensor) -> np.ndarray:
        return self.vae.decode(latent)[0].clamp(0, 1).numpy().astype(np.float64)

    def hires(self, latent: torch.Tensor, positive: str, negative: str, denoise: float, seed: int = 7) -> torch.Tensor:
        import comfy.sample

        noise = comfy.sample.prepare_noise(latent, seed)
        return comfy.sample.sample(
            self.unet, noise, STEPS, CFG, SAMPLER, SCHEDULER, self.conditioning(positive), self.conditioning(negative),
            latent, denoise=denoise, seed=seed, disable_pbar=True,
        )  # fmt: skip


def compare(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    energy, correlation = measures.detail_kept(a, b)
    return {
        "psnr": measures.psnr(a, b),
        "delta_e": measures.colour_shift(a, b),
        "detail": energy,
        "same_detail": correlation,
    }


def start_comfyui(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    if not torch.cuda.is_available():
        args.cpu = args.use_pytorch_cross_attention = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--upscaler", type=Path, required=True)
    parser.add_argument("--checkpoint", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--shared", type=Path, help="folder of Distillery's own images")
    parser.add_argument("--count", type=int, default=0, help="pictures at most (default: all)")
    parser.add_argument("--powers", default="0.3,0.5")
    parser.add_argument(
        "--words", type=int, default=4, help="pictures on which the effect of words is tried (default 4)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vae-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out = arguments.work / "evaluation"
    out.mkdir(exist_ok=True)
    start_comfyui(arguments.comfyui)
    chosen = pictures(arguments.work / "held_out", arguments.shared, arguments.count)
    ups = [enlarged(name, picture, arguments.work, arguments.upscaler) for name, picture in chosen]
    powers = [float(power) for power in arguments.powers.split(",")]
    results: dict[str, Any] = {}
    sheet: list[list[tuple[str, np.ndarray]]] = [[(name[:24], up)] for (name, _), up in zip(chosen, ups, strict=True)]
    with torch.inference_mode():
        for entry in arguments.checkpoint:
            label, _, file = entry.partition("=")
            model = Model(Path(file))
            rows = []
            for i, ((name, original), up) in enumerate(zip(chosen, ups, strict=True)):
                first = original / 255.0
                row: dict[str, Any] = {"picture": name, "original": compare(model.decode(model.encode(first)), first)}
                latent = model.encode(up)
                decoded = model.decode(latent)
                row["enlarged"] = compare(decoded, up)
                sheet[i].append((f"{label}: autoencoder", decoded))
                caption = ", ".join(words((up * 255).astype(np.uint8)))
                row["caption"] = caption
                for power in [] if arguments.vae_only else powers:
                    begin = time.time()
                    result = model.decode(model.hires(latent, caption, "", power))
                    row[f"{power:g}"] = {**compare(result, up), "seconds": time.time() - begin}
                    after, copy, source = (torch.from_numpy(p)[None] for p in (result, decoded, up))
                    kept = keep_detail(after, copy, source)[0].numpy()
                    row[f"{power:g}, keep detail"] = compare(kept, up)
                    sheet[i] += [(f"{label}: {power:g}", result), (f"{label}: {power:g}, keep detail", kept)]
                if i < arguments.words and not arguments.vae_only:
                    base = measures.saturation(
                        result if len(powers) == 1 else model.decode(model.hires(latent, caption, "", powers[0]))
                    )
                    wanted = measures.saturation(
                        model.decode(model.hires(latent, f"monochrome, {caption}", "", powers[0]))
                    )
                    unwanted = measures.saturation(model.decode(model.hires(latent, caption, "monochrome", powers[0])))
                    row["saturation"] = {"without": base, "monochrome": wanted, "neg_monochrome": unwanted}
                rows.append(row)
                print(label, json.dumps(row), flush=True)
            results[label] = rows
    (out / "results.json").write_text(json.dumps(results, indent=1))
    table = _table(results, powers)
    (out / "results.md").write_text(table)
    print(table)
    _contact_sheet(sheet).save(out / "contact_sheet.jpg", quality=88)


def enlarged(name: str, picture: np.ndarray, work: Path, upscaler: Path) -> np.ndarray:
    """The picture at half its size and enlarged again, (512, 512, 3), 0 … 1; kept on disk."""
    from .data import enlarge

    kept = work / "evaluation" / f"{name}.enlarged.png"
    if not kept.is_file():
        small = Image.fromarray(picture).resize((SIDE // 2, SIDE // 2), Image.Resampling.LANCZOS)
        enlarge(small, upscaler).save(kept)
    return np.asarray(Image.open(kept)) / 255.0


def _mean(rows: list[dict[str, Any]], key: str, figure: str) -> str:
    values = [row[key][figure] for row in rows if key in row]
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "not measured"


def _table(results: dict[str, Any], powers: list[float]) -> str:
    labels = list(results)
    lines = ["| mean (least to greatest) | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]

    def line(what: str, key: str, figure: str) -> None:
        lines.append(f"| {what} | " + " | ".join(_mean(results[label], key, figure) for label in labels) + " |")

    line("autoencoder on originals, PSNR in dB", "original", "psnr")
    line("autoencoder on originals, high-frequency energy", "original", "detail")
    line("autoencoder on enlarged pictures, PSNR in dB", "enlarged", "psnr")
    line("autoencoder on enlarged pictures, high-frequency energy", "enlarged", "detail")
    for key in (f"{power:g}{kept}" for power in powers for kept in ("", ", keep detail")):
        line(f"power {key}, PSNR to the enlarged picture in dB", key, "psnr")
        line(f"power {key}, colour shift in Delta E", key, "delta_e")
        line(f"power {key}, high-frequency energy of the enlarged picture's", key, "detail")
        line(f"power {key}, correlation of the high frequencies", key, "same_detail")
    for what, key in (
        ("as it is", "without"),
        ("`monochrome` in the prompt", "monochrome"),
        ("`--neg monochrome`", "neg_monochrome"),
    ):
        line(f"power {powers[0]:g}, saturation (Lab chroma) {what}", "saturation", key)
    return "\n".join(lines) + f"\n\n{len(results[labels[0]])} pictures of {SIDE} pixels.\n"


def _contact_sheet(rows: list[list[tuple[str, np.ndarray]]], side: int = 256) -> Image.Image:
    """One row a picture; the middle of each at its own size, for detail is what it is about."""
    sheet = Image.new("RGB", (max(map(len, rows)) * (side + 4), len(rows) * (side + 20)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, (label, picture) in enumerate(row):
            begin = (SIDE - side) // 2
            middle = picture[begin : begin + side, begin : begin + side]
            place = (x * (side + 4), y * (side + 20))
            draw.text((place[0] + 2, place[1] + 2), label, fill="black", font_size=13)
            sheet.paste(
                Image.fromarray((np.clip(middle, 0, 1) * 255).round().astype(np.uint8)), (place[0], place[1] + 18)
            )
    return sheet


if __name__ == "__main__":
    main()
