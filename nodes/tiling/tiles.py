"""Tiles of a canvas: where they lie, and how what was computed on each is blended again.

Pure geometry: the unit is whatever the caller counts in, latent cells for the diffusion model, latent cells or
pixels for the VAE. :meth:`TilePlan.scaled` turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch

from ..errors import DistilleryError

TOLERANCE = 8
"""A tile may be one part in so many larger than asked when that saves a row or a column of tiles: a 2048 canvas in
tiles of 1024 with an overlap of 128 becomes 2x2 tiles of 1088 (1.13 times the canvas), not 3x3 of 768 (1.27)."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of the canvas: its left upper corner and its size."""

    x: int
    y: int
    width: int
    height: int

    @property
    def columns(self) -> slice:
        return slice(self.x, self.x + self.width)

    @property
    def rows(self) -> slice:
        return slice(self.y, self.y + self.height)


@dataclass(frozen=True)
class TilePlan:
    """Tiles of one size that cover a canvas of ``width`` x ``height``: one at each of ``xs`` times ``ys``."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    xs: tuple[int, ...]
    """Left edges, ascending, the first 0."""
    ys: tuple[int, ...]
    """Upper edges, ascending, the first 0."""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Row by row, each from left to right."""
        return tuple(Tile(x, y, self.tile_width, self.tile_height) for y in self.ys for x in self.xs)

    @property
    def whole(self) -> bool:
        """One tile is the whole canvas."""
        return len(self.xs) == len(self.ys) == 1

    @property
    def work(self) -> float:
        """Area of all tiles over the area of the canvas; 1 is no overlap at all."""
        return len(self.xs) * len(self.ys) * self.tile_width * self.tile_height / (self.width * self.height)

    def scaled(self, factor: int) -> TilePlan:
        """The same plan in a unit ``factor`` times as small, as pixels for latent cells."""
        return TilePlan(
            self.width * factor,
            self.height * factor,
            self.tile_width * factor,
            self.tile_height * factor,
            tuple(x * factor for x in self.xs),
            tuple(y * factor for y in self.ys),
        )


def plan(width: int, height: int, tile: int, overlap: int, multiple: int = 1) -> TilePlan:
    """The fewest tiles of about ``tile`` x ``tile`` that cover a canvas with neighbours sharing ``overlap``.

    All lengths count the same unit. Along each side the canvas is cut into the least number of tiles that are no
    larger than ``tile`` (or an eighth more, see ``TOLERANCE``); these then shrink to the least size that still
    covers, rounded up to ``multiple`` but never beyond the canvas, and are spread evenly. That is the least area
    for the wanted overlap, and every tile of a plan has the same size, so that tiles can run as a batch.

    Args:
        width, height: the canvas, at least 1.
        tile: wanted side of a tile, at least ``multiple``; 0 for one tile as large as the canvas.
        overlap: least overlap of neighbours, 0 to half of ``tile``. Of no account when one tile covers the side.
        multiple: sides of tiles are multiples of it, unless the canvas itself is smaller or one tile covers it.

    Raises:
        DistilleryError: a length is out of its range.
    """
    for name, value in (("width", width), ("height", height), ("multiple", multiple)):
        if value < 1:
            raise DistilleryError(f"Cannot cut a canvas into tiles: its {name} is {value}. It must be 1 or more.")
    if tile == 0:
        return TilePlan(width, height, width, height, (0,), (0,))
    if tile < multiple:
        raise DistilleryError(f"A tile of {tile} is too small: give {multiple} or more, or 0 for no tiles.")
    if not 0 <= overlap <= tile // 2:
        raise DistilleryError(
            f"Tiles of {tile} cannot overlap by {overlap}: give 0 to {tile // 2}, half of the tile, or larger tiles."
        )
    tile_width, xs = _side(width, tile, overlap, multiple)
    tile_height, ys = _side(height, tile, overlap, multiple)
    return TilePlan(width, height, tile_width, tile_height, xs, ys)


def _side(canvas: int, tile: int, overlap: int, multiple: int) -> tuple[int, tuple[int, ...]]:
    """Size of the tiles along one side of the canvas, and where they start."""
    limit = tile + tile // TOLERANCE
    if canvas <= limit:
        return canvas, (0,)
    count, size = 1, canvas
    # Ends: the size tends to overlap + 1, and some multiple between that and the limit exists since overlap <= tile/2.
    while size > limit:
        count += 1
        size = -(-(canvas + (count - 1) * overlap) // count)
        size = -(-size // multiple) * multiple
    # size * count >= canvas + (count - 1) * overlap makes each step at most size - overlap.
    return size, tuple(i * (canvas - size) // (count - 1) for i in range(count))


def weights(plan: TilePlan) -> torch.Tensor:
    """Blend weights of each tile at each of its places: (tiles, tile height, tile width), float32, above 0, up to 1.

    A raised cosine across each overlap, 1 where a tile is alone, no taper at the borders of the canvas. The weights
    of all tiles at any place of the canvas add up to 1, so that :func:`add_tile` needs no normalisation afterwards.
    """
    return torch.stack([weight(plan, i) for i in range(len(plan.xs) * len(plan.ys))])


def weight(plan: TilePlan, index: int) -> torch.Tensor:
    """The weights of the tile ``plan.tiles[index]`` alone, (tile height, tile width): see :func:`weights`."""
    row, column = divmod(index, len(plan.xs))
    rows = _side_weights(plan.ys, plan.tile_height)[row]
    columns = _side_weights(plan.xs, plan.tile_width)[column]
    return torch.outer(rows, columns).float()


@lru_cache(maxsize=64)
def _side_weights(starts: tuple[int, ...], size: int) -> torch.Tensor:
    """Weights along one side, (tiles, size), float64. The plan is a grid, so that products of these suffice."""
    raw = torch.ones(len(starts), size, dtype=torch.float64)
    for i, (left, right) in enumerate(pairwise(starts)):
        shared = left + size - right
        # Taken at the middle of each cell, where it is never 0; a ramp and its mirror image add up to 1.
        ramp = (1 - torch.cos(torch.pi * (torch.arange(shared, dtype=torch.float64) + 0.5) / max(shared, 1))) / 2
        raw[i, size - shared :] *= ramp.flip(0)
        raw[i + 1, :shared] *= ramp
    # More than two tiles meet where an overlap is wider than half a tile: there the ramps alone do not add up to 1.
    total = torch.zeros(starts[-1] + size, dtype=torch.float64)
    for start, along in zip(starts, raw, strict=True):
        total[start : start + size] += along
    return torch.stack([along / total[start : start + size] for start, along in zip(starts, raw, strict=True)])


def crop(canvas: torch.Tensor, tile: Tile) -> torch.Tensor:
    """The part of ``canvas`` (..., height, width) in ``tile``: a view."""
    return canvas[..., tile.rows, tile.columns]


def add_tile(canvas: torch.Tensor, tile: Tile, values: torch.Tensor, weight: torch.Tensor) -> None:
    """Adds ``values`` (..., tile height, tile width) times ``weight`` to their place in ``canvas``, in place.

    ``canvas`` starts as zeros; once all tiles of a plan are added with their :func:`weight` it is their blend.
    """
    crop(canvas, tile).add_(values * weight)
