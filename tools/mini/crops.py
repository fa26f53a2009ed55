"""Random crops of the prepared pictures, for training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = {"own": 0.6, "upscaled": 0.34, "drawn": 0.06}
"""Share of each kind of crop. ``drawn``: lines, shapes and letters, which photographs have too few of."""


class Crops:
    """Crops of ``size`` pixels; the same seed gives the same ones."""

    def __init__(self, work: Path, size: int, seed: int) -> None:
        self.size = size
        self.random = np.random.default_rng(seed)
        self._pixels = np.memmap(work / "pictures.u8", dtype=np.uint8, mode="r")
        self._pictures: dict[str, dict[str, list[np.ndarray]]] = {}
        for entry in json.loads((work / "pictures.json").read_text()):
            height, width, begin = entry["height"], entry["width"], entry["begin"]
            if min(height, width) >= size:
                pixels = self._pixels[begin : begin + height * width * 3].reshape(height, width, 3)
                self._pictures.setdefault(entry["kind"], {}).setdefault(entry["place"], []).append(pixels)
        kinds = [kind for kind in KINDS if kind == "drawn" or kind in self._pictures]
        shares = np.array([KINDS[kind] for kind in kinds])
        self._kinds, self._shares = kinds, shares / shares.sum()

    def one(self) -> np.ndarray:
        """A crop (size, size, 3), uint8: turned and mirrored at random, the colours exchanged in some."""
        kind = self.random.choice(self._kinds, p=self._shares)
        if kind == "drawn":
            return self._drawn()
        candidates = [self._cut(kind) for _ in range(2)]
        # Skies and walls fill most of a photograph and teach little: the livelier of two, mostly.
        crop = max(candidates, key=_liveliness) if self.random.random() < 0.7 else candidates[0]
        crop = np.rot90(crop, int(self.random.integers(4)))
        if self.random.random() < 0.5:
            crop = crop[:, ::-1]
        if self.random.random() < 0.15:
            crop = crop[:, :, self.random.permutation(3)]
        if self.random.random() < 0.05:
            crop = 255 - crop
        return np.ascontiguousarray(crop)

    def batch(self, n: int) -> np.ndarray:
        """(n, 3, size, size), float32, 0 … 1."""
        crops = np.stack([self.one() for _ in range(n)])
        return crops.transpose(0, 3, 1, 2).astype(np.float32) / 255

    def _cut(self, kind: str) -> np.ndarray:
        places = self._pictures[kind]
        scales = places[list(places)[self.random.integers(len(places))]]
        pixels = scales[self.random.integers(len(scales))]
        y, x = (self.random.integers(n - self.size + 1) for n in pixels.shape[:2])
        return np.asarray(pixels[y : y + self.size, x : x + self.size])

    def _drawn(self) -> np.ndarray:
        r, size = self.random, self.size
        picture = Image.new("RGB", (2 * size, 2 * size), tuple(r.integers(0, 256, 3).tolist()))
        draw = ImageDraw.Draw(picture)
        for _ in range(r.integers(3, 16)):
            colour = (
                tuple(r.integers(0, 256, 3).tolist())
                if r.random() < 0.7
                else ((255,) * 3 if r.random() < 0.5 else (0,) * 3)
            )
            points = [tuple(p) for p in r.integers(0, 2 * size, (4, 2)).tolist()]
            match r.integers(4):
                case 0:
                    draw.line(points[:2], fill=colour, width=int(r.integers(1, 12)))
                case 1:
                    draw.polygon(points, fill=colour)
                case 2:
                    x, y = points[0]
                    radius = int(r.integers(4, size))
                    draw.ellipse(
                        (x - radius, y - radius, x + radius, y + radius), outline=colour, width=int(r.integers(1, 16))
                    )
                case _:
                    letters = "".join(map(chr, r.integers(33, 127, 12)))
                    draw.text(points[0], letters, fill=colour, font_size=int(r.integers(16, 80)))
        return np.asarray(picture.resize((size, size), Image.Resampling.BOX))


def middle(path: Path, short: int, side: int) -> np.ndarray | None:
    """The middle (side, side, 3), uint8, of a picture file, made smaller first where its short side is over ``short``;
    None where the picture is smaller than that."""
    picture = Image.open(path).convert("RGB")
    factor = short / min(picture.size)
    if factor < 1:
        picture = picture.resize(tuple(round(n * factor) for n in picture.size), Image.Resampling.LANCZOS)  # type: ignore[arg-type]
    if min(picture.size) < side:
        return None
    x, y = ((n - side) // 2 for n in picture.size)
    return np.asarray(picture.crop((x, y, x + side, y + side)))


def _liveliness(crop: np.ndarray) -> float:
    grey: np.ndarray = crop[..., 1].astype(np.int16)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
