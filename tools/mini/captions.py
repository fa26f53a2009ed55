"""Words for a crop, measured from the crop itself.

They are what distillery-mini understands. Every word is one token of CLIP's vocabulary or two, and the
text encoder (see nodes/model_files/mini.py) gives a token the same features wherever it stands: a caption is a set.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SYNONYMS: dict[str, tuple[str, ...]] = {
    "dark": ("dark", "night", "black"),
    "bright": ("bright", "light", "white"),
    "monochrome": ("monochrome", "grayscale", "greyscale"),
    "muted": ("muted", "pale"),
    "colourful": ("colorful", "colourful", "vivid", "vibrant"),
    "warm": ("warm",),
    "cold": ("cold", "cool"),
    "blurry": ("blurry", "blurred", "bokeh"),
    "sharp": ("sharp", "crisp", "detailed"),
    "smooth": ("smooth", "plain"),
    "textured": ("textured", "rough", "intricate"),
    "contrast": ("contrast", "dramatic"),
    "flat": ("flat", "fog", "haze"),
    "noisy": ("noisy", "grainy", "noise"),
    "red": ("red",), "orange": ("orange",), "yellow": ("yellow",), "green": ("green",), "cyan": ("cyan", "turquoise"),
    "blue": ("blue",), "purple": ("purple", "violet"), "pink": ("pink", "magenta"),
}  # fmt: skip
"""Each word and what else says the same."""

_HUES = (("red", 20), ("orange", 45), ("yellow", 70), ("green", 165), ("cyan", 195), ("blue", 255), ("purple", 290), ("pink", 335), ("red", 360))  # fmt: skip
"""Upper ends of the hues in degrees of HSV."""


def words(crop: np.ndarray) -> list[str]:
    """What is to be said of a crop (H, W, 3), uint8, 0 … 255: words of SYNONYMS."""
    found = []
    rgb = crop.astype(np.float32) / 255
    luma = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    level, spread = float(luma.mean()), float(luma.std())
    if level < 0.3:
        found.append("dark")
    elif level > 0.65:
        found.append("bright")
    if spread > 0.25:
        found.append("contrast")
    elif spread < 0.08:
        found.append("flat")

    chroma = (rgb.max(axis=-1) - rgb.min(axis=-1)).mean()
    if chroma < 0.03:
        found.append("monochrome")
    elif chroma < 0.12:
        found.append("muted")
    elif chroma > 0.38:
        found.append("colourful")
    red_blue = float((rgb[..., 0] - rgb[..., 2]).mean())
    if red_blue > 0.1:
        found.append("warm")
    elif red_blue < -0.06:
        found.append("cold")
    if chroma > 0.12 and (hue := _hue(crop)):
        found.append(hue)

    # Fine detail against coarser detail tells sharp from blurry, whatever the contrast.
    fine, coarse = _band(luma, 1), _band(_halve(luma), 1)
    if coarse > 0.004:
        ratio = fine / coarse
        if ratio < 0.28:
            found.append("blurry")
        elif ratio > 0.62:
            found.append("sharp")
    if fine > 0.035:
        found.append("textured")
    elif fine < 0.006:
        found.append("smooth")
    return found


def _hue(crop: np.ndarray) -> str | None:
    """The hue of most of the coloured pixels, if there is one."""
    hsv = np.asarray(Image.fromarray(crop).convert("HSV")).astype(np.float32)
    degrees, weights = hsv[..., 0] * (360 / 255), hsv[..., 1] * hsv[..., 2]
    edges = [0, *(end for _, end in _HUES)]
    masses, _ = np.histogram(degrees, bins=edges, weights=weights)
    totals: dict[str, float] = {}
    for (name, _), mass in zip(_HUES, masses, strict=True):
        totals[name] = totals.get(name, 0.0) + float(mass)
    name = max(totals, key=totals.__getitem__)
    return name if totals[name] > 0.55 * max(sum(totals.values()), 1e-6) else None


def _halve(plane: np.ndarray) -> np.ndarray:
    h, w = (n // 2 * 2 for n in plane.shape)
    return plane[:h, :w].reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))


def _band(plane: np.ndarray, radius: int) -> float:
    """Standard deviation of what the mean of the four neighbours does not tell."""
    middle = plane[1:-1, 1:-1]
    around = (plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]) / 4
    return float((middle - around).std())


def alter(crop: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """A crop as it is or greyer, more colourful, darker, brighter, blurrier or noisier; and what to say of it.

    Photographs alone would make "monochrome" a word for fog: so that each word stands for what it means,
    all kinds of crop are altered alike.
    """
    picture = crop.astype(np.float32) / 255
    extra = []
    if random.random() < 0.35:
        grey = (picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
        factor = random.choice([0.0, random.uniform(0, 0.6), random.uniform(1.2, 2.0)], p=[0.4, 0.25, 0.35])
        picture = grey + factor * (picture - grey)
    if random.random() < 0.2:
        picture = np.clip(picture, 0, 1) ** random.uniform(0.5, 2.0)
    if random.random() < 0.15:
        picture = picture + random.uniform(-0.12, 0.12) * np.array([1, 0, -1], dtype=np.float32)
    if random.random() < 0.12:
        size = crop.shape[0]
        small = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
        side = int(size / random.uniform(1.8, 4))
        small = small.resize((side, side), Image.Resampling.BOX).resize((size, size), Image.Resampling.BICUBIC)
        picture = np.asarray(small).astype(np.float32) / 255
        extra.append("blurry")
    elif random.random() < 0.05:
        picture = picture + random.normal(0, random.uniform(0.05, 0.12), picture.shape).astype(np.float32)
        extra.append("noisy")
    out = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    found = words(out)
    if "blurry" in extra:
        found = [word for word in found if word != "sharp"]
    if "noisy" in extra:
        found = [word for word in found if word not in ("sharp", "textured")]
    return out, list(dict.fromkeys([*extra, *found]))


def phrase(found: list[str], random: np.random.Generator, sure: str = "") -> list[str]:
    """A caption: some of the words, ``sure`` always, any of their synonyms, in any order."""
    kept = [word for word in found if word == sure or random.random() < 0.8]
    random.shuffle(kept)
    return [SYNONYMS[word][random.integers(len(SYNONYMS[word]))] for word in kept]
