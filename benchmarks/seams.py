"""What tells a picture made in tiles from one made whole. Pictures are (H, W, 3) float arrays, 0 … 1, sRGB.

``change`` is always the regenerated picture less the picture before diffusion: edges that were there before are no
seams. Borders are columns ``xs`` and rows ``ys``: the border lies between the pixel before and that pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from distillery.tools.mini.measures import lab

CELL = 8
"""A VAE works in cells of so many pixels and leaves a faint grid of them: borders, which lie on that grid, are
compared with other lines on it."""
NEAR = 16
"""Lines so near to a border, in pixels, may show it too and are no comparison."""
AROUND = 64
"""Each line is measured against those up to so many pixels away, for detail is not the same all over a picture."""
STRIP = 16
"""Width in pixels of the strips on either side of a border."""
BLOCK, REACH = 128, 40
"""Side of the blocks that are searched for in another tile, and how far they may have moved, in pixels."""


def _lines(change: np.ndarray, axis: int) -> np.ndarray:
    """Mean absolute difference across each line of the cells' grid, (lines,), line i lying at ``CELL * (i + 1)``."""
    moved = np.moveaxis(change, axis, 0)
    at = np.arange(CELL, moved.shape[0], CELL)
    return np.abs(moved[at] - moved[at - 1]).mean(axis=tuple(range(1, moved.ndim)))


def seam_ratio(
    change: np.ndarray, xs: Sequence[int], ys: Sequence[int], draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Mean gradient across borders over that across other lines, and how likely lines drawn by chance reach it.

    Each line's gradient is first taken over that of the lines around it. Returns (ratio, p): 1 is no seam, p is of a one-sided permutation test with as many columns and rows as there are
    borders. Borders off the cells' grid are moved to its nearest line.
    """
    generator = np.random.default_rng(seed)
    at_borders, elsewhere, drawn = [], [], np.zeros(draws)
    for axis, borders in ((1, xs), (0, ys)):
        values = _lines(change, axis)
        places: np.ndarray = CELL * (1 + np.arange(len(values)))
        distance = np.abs(places[:, None] - places[None])
        around = (distance > NEAR) & (distance <= AROUND)
        values = values / np.maximum((around * values).sum(axis=1) / around.sum(axis=1), 1e-12)
        chosen = sorted({int(np.abs(places - border).argmin()) for border in borders})
        if not chosen:
            continue
        apart = np.abs(places[:, None] - places[chosen][None]).min(axis=1)
        far = values[apart > NEAR]
        at_borders.append(values[chosen])
        elsewhere.append(far)
        pool = np.concatenate([values[chosen], far])
        picks = generator.random((draws, len(pool))).argpartition(len(chosen) - 1, axis=1)[:, : len(chosen)]
        drawn += pool[picks].sum(axis=1)
    if not at_borders:
        return float("nan"), float("nan")
    observed = np.concatenate(at_borders)
    ratio = observed.mean() / np.concatenate(elsewhere).mean()
    return float(ratio), float((1 + (drawn >= observed.sum() - 1e-12).sum()) / (1 + draws))


def border_steps(
    after: np.ndarray, before: np.ndarray, xs: Sequence[int], ys: Sequence[int], segment: int = 256
) -> tuple[float, float]:
    """How much the colour steps at borders, and at lines halfway between them for comparison, in Delta E (CIE 1976).

    Each line is taken in segments of ``segment`` pixels. In each, the mean colours of the strips on either side are
    compared before and after: the step is the difference of the two changes. Returns the mean over all segments.
    """
    return _steps(after, before, xs, ys, segment), _steps(after, before, _between(xs), _between(ys), segment)


def _between(borders: Sequence[int]) -> list[int]:
    between = [(a + b) // 2 for a, b in pairwise(borders) if b - a > 4 * STRIP]
    return between or [border + 4 * STRIP for border in borders]


def _steps(after: np.ndarray, before: np.ndarray, xs: Sequence[int], ys: Sequence[int], segment: int) -> float:
    steps = []
    for axis, borders in ((1, xs), (0, ys)):
        new, old = (np.moveaxis(picture, axis, 0) for picture in (after, before))
        for border in borders:
            if not STRIP <= border <= new.shape[0] - STRIP:
                continue
            sides = []
            for strip in (slice(border - STRIP, border), slice(border, border + STRIP)):
                means = []
                for picture in (new, old):
                    along = picture[strip]
                    along = along[:, : along.shape[1] // segment * segment]
                    means.append(along.reshape(STRIP, -1, segment, 3).mean(axis=(0, 2)))
                sides.append(lab(means[0][None]) - lab(means[1][None]))
            steps.append(np.linalg.norm(sides[1] - sides[0], axis=-1).mean())
    return float(np.mean(steps)) if steps else float("nan")


def repetition(change: np.ndarray, origins: Sequence[tuple[int, int]], side: int) -> float:
    """How much tiles repeat each other's changes: about 0 where each has noise of its own, up to 1.

    ``origins``: left upper corners (x, y) of tiles of ``side`` pixels. The same blocks of two tiles are searched for
    in each other within ``REACH`` pixels (a tile may have been resampled): their best correlation, less the best
    one with a mirrored block, which has the same spectrum and nothing in common. The mean over all pairs of tiles.
    """
    grey = change.mean(axis=-1)
    height, width = grey.shape
    found = []
    for i, first in enumerate(origins):
        for second in origins[i + 1 :]:
            for dy in range(side // 4, side - BLOCK, BLOCK):
                for dx in range(side // 4, side - BLOCK, BLOCK):
                    blocks = []
                    for x, y in (first, second):
                        if x + dx + BLOCK <= width and y + dy + BLOCK <= height:
                            blocks.append(grey[y + dy : y + dy + BLOCK, x + dx : x + dx + BLOCK])
                    if len(blocks) == 2:
                        found.append(_best(*blocks) - _best(blocks[0], blocks[1][:, ::-1]))
    return float(np.mean(found)) if found else float("nan")


def _best(a: np.ndarray, b: np.ndarray) -> float:
    """Greatest correlation of two blocks at any offset within ``REACH``."""
    spectra = []
    for block in (a, b):
        window = np.outer(*[np.hanning(n) for n in block.shape])
        spectrum = np.fft.rfft2((block - block.mean()) * window)
        # The eight slowest waves are shapes of the picture, not a pattern of noise.
        spectrum[:4, :4] = spectrum[-4:, :4] = 0
        spectra.append(spectrum)
    product = np.fft.irfft2(spectra[0] * np.conj(spectra[1]), a.shape)
    norm = np.sqrt(np.prod([np.fft.irfft2(np.abs(s) ** 2, a.shape)[0, 0] for s in spectra]))
    near = np.r_[0 : REACH + 1, -REACH:0]
    return float(product[np.ix_(near, near)].max() / max(norm, 1e-12))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of the brightness (Wang et al., 2004), over windows of 8 by 8 pixels, up to 1."""
    weights = np.array([0.299, 0.587, 0.114])
    x, y = (picture @ weights for picture in (a, b))

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        return (total[8:, 8:] - total[8:, :-8] - total[:-8, 8:] + total[:-8, :-8]) / 64

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
