#!/usr/bin/env python3
"""Makes docs/before_after.jpg for the README: ./distillery python tools/make_readme_picture.py [SOURCE]

Three pictures side by side: bicubic 2x, the upscale model alone, the whole job. Run on the managed server.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from distillery.driver import Upscaler

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "before_after.jpg"
GAP, BAR = 8, 34
LABELS = ("bicubic 2x", "--power 0: upscale model and sharpening", "the whole job, with the tiny built-in checkpoint")


def main(source: Path) -> None:
    """Upscale twice and set the three pictures side by side."""
    with Image.open(source) as image:
        before = image.convert("RGB").resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)
    with tempfile.TemporaryDirectory() as out, Upscaler(out=out) as upscaler:
        paths = [upscaler.upscale(source, command, print).path for command in ("--power 0", "")]
        strips = [before, *(Image.open(path).convert("RGB") for path in paths)]
    width, height = before.size
    sheet = Image.new("RGB", (3 * width + 2 * GAP, height + BAR), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (strip, label) in enumerate(zip(strips, LABELS, strict=True)):
        sheet.paste(strip, (i * (width + GAP), BAR))
        draw.text((i * (width + GAP) + 6, 6), label, "black", ImageFont.load_default(20))
    TARGET.parent.mkdir(exist_ok=True)
    sheet.save(TARGET, quality=88)
    print(TARGET)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "cat.png")
