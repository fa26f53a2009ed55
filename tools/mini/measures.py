"""What the evaluation measures. Pictures are (H, W, 3) float arrays, 0 … 1, sRGB."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
LUMA = (0.299, 0.587, 0.114)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise in dB, over all pixels and channels."""
    return -10 * math.log10(max(float(np.mean((a - b) ** 2)), 1e-12))


def lab(picture: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of D65 (H, W, 3)."""
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def colour_shift(a: np.ndarray, b: np.ndarray, cell: int = 16) -> float:
    """Mean Delta E (CIE 1976) between the mean colours of cells of 16 pixels: drift, not detail."""
    return float(np.linalg.norm(lab(_cells(a, cell)) - lab(_cells(b, cell)), axis=-1).mean())


def _cells(picture: np.ndarray, cell: int) -> np.ndarray:
    h, w = (n // cell * cell for n in picture.shape[:2])
    return picture[:h, :w].reshape(h // cell, cell, w // cell, cell, 3).mean(axis=(1, 3))


def detail(picture: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """High frequencies of the brightness (H, W): what a Gaussian blur of sigma pixels takes away."""
    luma = np.clip(picture, 0, 1) @ np.array(LUMA)
    image = Image.fromarray(luma.astype(np.float32), mode="F")
    try:
        blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)))
    except ValueError:  # Pillow does not blur floats
        blurred = _smooth(luma, sigma)
    return luma - blurred


def detail_kept(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Energy of a's high frequencies as a share of b's, and the correlation of the two (1: the same detail)."""
    x, y = detail(a), detail(b)
    energy = float((x**2).mean() / max((y**2).mean(), 1e-12))
    correlation = float((x * y).mean() / max(math.sqrt((x**2).mean() * (y**2).mean()), 1e-12))
    return energy, correlation


def saturation(picture: np.ndarray) -> float:
    """Mean distance of colours from grey in CIE L*a*b* (chroma)."""
    return float(np.linalg.norm(lab(picture)[..., 1:], axis=-1).mean())


def old_edges_left(result: np.ndarray, regenerated: np.ndarray, enlarged: np.ndarray, copy: np.ndarray) -> float:
    """Ghosts: the share of the enlarged picture's edges that is left in the fifth of the picture that changed most.

    There the result's high frequencies are fitted by least squares with those of the regenerated and of the enlarged
    picture; the second coefficient is returned: 0 where only the new edges are there, 1 where all old ones show too.
    copy: the enlarged picture after the autoencoder.
    """
    change = _smooth(((regenerated - copy) ** 2).mean(axis=-1), 4)
    moved = change >= np.quantile(change, 0.8)
    new, old, found = (detail(picture, 2.0)[moved] for picture in (regenerated, enlarged, result))
    coefficients = np.linalg.lstsq(np.stack([new, old], axis=1), found, rcond=None)[0]
    return float(coefficients[1])


def _smooth(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W)."""
    radius = math.ceil(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(plane, radius, mode="reflect")
    rows = np.apply_along_axis(np.convolve, 1, padded, kernel, mode="valid")
    return np.apply_along_axis(np.convolve, 0, rows, kernel, mode="valid")
