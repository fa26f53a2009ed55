"""Choosing ``--power`` by what it does to the picture.

The HiRes pass is meant to make new detail and nothing else. So a result is compared with the picture that was only
upscaled, and only at sizes that are no detail: in cells of 1/32, 1/16 and 1/8 of the shorter side (8 pixels and
more, a latent cell), in luma and two colour differences. Two figures come out of it:

* ``structure``: how far the pattern of the cells has changed. At each size the cells' differences from their
  neighbourhood (what is brighter or darker than its surroundings, and where) of both pictures are correlated; one less
  the correlation is 0 where all is in its place and 1 where nothing is. Colour casts and sharpening do not count, as
  they change no pattern.
* ``novelty``: how strongly the cell that changed most has changed, beyond what is usual in this picture (the
  median), as a multiple of the contrast that was there before. A new object shows as a change in few cells that the
  upscaled picture does not account for, above all where it was smooth.

The best power is the highest that is tried whose figures stay within the limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

POWERS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""The powers tried, ascending. Above these hallucinations are the rule."""
FIRST = 0.3
"""The power tried first."""
STRUCTURE_LIMIT = 0.08
NOVELTY_LIMIT = 0.6
_FLOOR = 2 / 255
"""Differences between cells below this are noise."""
_CONTRAST_FLOOR = 0.1
"""Contrast that even a smooth place is taken to have."""


@dataclass(frozen=True)
class Drift:
    """Distance of a result from the picture that was only upscaled."""

    structure: float
    """0 (nothing has moved) … 1 and more (nothing is where it was)."""
    novelty: float
    """0 … about 5; from about 1 on there is something that was not there."""

    @property
    def within(self) -> bool:
        """True if the result only adds detail."""
        return self.structure <= STRUCTURE_LIMIT and self.novelty <= NOVELTY_LIMIT

    def __str__(self) -> str:
        return f"structure {self.structure:.3f}, novelty {self.novelty:.2f}"


@dataclass(frozen=True)
class Choice:
    """A power, and why."""

    power: float
    measured: Mapping[float, Drift]
    reason: str

    def as_json(self) -> dict[str, Any]:
        """For ``--json`` and the manifest."""
        measured = {
            f"{p:g}": {"structure": round(d.structure, 4), "novelty": round(d.novelty, 4)}
            for p, d in sorted(self.measured.items())
        }
        return {"chosen": self.power, "reason": self.reason, "measured": measured}


def drift(reference: np.ndarray, candidate: np.ndarray) -> Drift:
    """Measure a result (H, W, 3) against the picture that was only upscaled (H, W, 3); both 0 … 1.

    Raises ValueError where their shapes differ.
    """
    if reference.shape != candidate.shape or reference.ndim != 3 or reference.shape[2] != 3:
        raise ValueError(f"two pictures (H, W, 3) of one size are needed, not {reference.shape} and {candidate.shape}")
    before, after = _opponent(reference), _opponent(candidate)
    structure = novelty = 0.0
    for size in scales(*reference.shape[:2]):
        a, b = _cells(before, size), _cells(after, size)
        structure = max(structure, _decorrelation(a - _around(a), b - _around(b)))
        luma = before[..., :1]
        variance = _cells(luma**2, size) - a[..., :1] ** 2
        contrast = np.sqrt(np.maximum(_around(variance), 0))[..., 0]
        change = np.sqrt(((b - a - np.median(b - a, axis=(0, 1))) ** 2).sum(-1)) / (contrast + _CONTRAST_FLOOR)
        novelty = max(novelty, float(change.max() - np.median(change)))
    return Drift(structure, novelty)


def scales(height: int, width: int) -> list[int]:
    """Sides of the cells in pixels, even, for a picture of that size."""
    side = min(height, width)
    first = max(8, side // 32 // 2 * 2)
    return [size for size in (first, 2 * first, 4 * first) if side >= 4 * size] or [max(2, side // 4 // 2 * 2)]


def next_power(measured: Mapping[float, Drift], powers: Sequence[float] = POWERS, first: float = FIRST) -> float | None:
    """Return the power to try next, or None where the best is known: upwards from ``first`` while it is good, else downwards."""
    powers = sorted(powers)
    start = min(range(len(powers)), key=lambda i: abs(powers[i] - first))
    if powers[start] not in measured:
        return powers[start]
    step = 1 if measured[powers[start]].within else -1
    index = start
    while 0 <= index < len(powers) and powers[index] in measured:
        if index != start and measured[powers[index]].within != (step == 1):
            return None
        index += step
    return powers[index] if 0 <= index < len(powers) else None


def best_power(measured: Mapping[float, Drift]) -> Choice:
    """The highest power up to which every measured one is within the limits; the lowest where none is."""
    if not measured:
        raise ValueError("nothing was measured")
    powers = sorted(measured)
    good: list[float] = []
    for power in powers:
        if not measured[power].within:
            break
        good.append(power)
    if not good:
        found = measured[powers[0]]
        reason = (
            f"--power {powers[0]:g} is the lowest tried, and even it changes more than detail ({found}{_why(found)})"
        )
        return Choice(powers[0], measured, reason)
    power = good[-1]
    if power == powers[-1]:
        return Choice(
            power, measured, f"--power {power:g} is the highest tried and only adds detail ({measured[power]})"
        )
    above = powers[len(good)]
    found = measured[above]
    reason = f"--power {power:g} only adds detail ({measured[power]}); {above:g} changes more ({found}{_why(found)})"
    return Choice(power, measured, reason)


def _why(found: Drift) -> str:
    reasons = []
    if found.structure > STRUCTURE_LIMIT:
        reasons.append(f"structure above {STRUCTURE_LIMIT:g}")
    if found.novelty > NOVELTY_LIMIT:
        reasons.append(f"something new, novelty above {NOVELTY_LIMIT:g}")
    return f": {' and '.join(reasons)}" if reasons else ""


def most_changed(reference: np.ndarray, candidate: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """Top left corner (y, x) of the window in which two pictures (H, W, 3) differ most."""
    difference = np.abs(candidate.astype(np.float32) - reference.astype(np.float32)).sum(-1)
    total = np.pad(difference.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    height, width = min(height, difference.shape[0]), min(width, difference.shape[1])
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(y), int(x)


def _opponent(picture: np.ndarray) -> np.ndarray:
    """Luma and two colour differences at half weight, (H, W, 3)."""
    picture = picture.astype(np.float32)
    luma: np.ndarray = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    channels: np.ndarray = np.stack([luma, 0.5 * (picture[..., 2] - luma), 0.5 * (picture[..., 0] - luma)], axis=-1)
    return channels


def _cells(picture: np.ndarray, size: int) -> np.ndarray:
    """Means of square cells that overlap by half, so that no object falls between all of them: (rows, columns, C)."""
    half = size // 2
    rows, columns = picture.shape[0] // half, picture.shape[1] // half
    small: np.ndarray = picture[: rows * half, : columns * half].reshape(rows, half, columns, half, -1).mean((1, 3))
    cells: np.ndarray = (small[:-1, :-1] + small[1:, :-1] + small[:-1, 1:] + small[1:, 1:]) / 4
    return cells


def _around(cells: np.ndarray) -> np.ndarray:
    """Mean of each cell's neighbourhood, five half-overlapping cells wide."""
    padded = np.pad(cells, ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    means: np.ndarray = windows.mean((-2, -1))
    return means


def _decorrelation(a: np.ndarray, b: np.ndarray) -> float:
    floor = a.size * _FLOOR**2
    energy = np.sqrt(((a**2).sum() + floor) * ((b**2).sum() + floor))
    return float(1 - ((a * b).sum() + floor) / energy)
