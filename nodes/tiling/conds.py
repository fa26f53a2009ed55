"""Cropping conds, as ComfyUI resolved them for the canvas, to tiles of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .control_hints import Hints, check_control
from .limits import TilingError, tensors_in
from .tiles import Tile, crop

PLACED = {"area", "mask", "control", "gligen"}
"""Keys of a cond that differ from tile to tile in more than tensors: such conds run one tile at a time."""
MIN_AREA = 16
"""Latent cells. Where a tile cuts a sliver off an area, the model still gets so much to look at."""


def entries_of(conds: Sequence[list[dict[str, Any]] | None]) -> list[dict[str, Any]]:
    """All entries of several conds."""
    return [entry for cond in conds if cond is not None for entry in cond]


@dataclass
class Crops:
    """Conds of one denoising step, as ComfyUI resolved them for the canvas, cropped to tiles of it.

    Of an entry's keys, ComfyUI's ``get_area_and_mult`` reads area, mask, model_conds, control and gligen where
    position matters; areas in percent are cells by then, and masks have the size of the canvas. All other keys are
    raw inputs that went into model_conds already.
    """

    model: Any
    x_in: torch.Tensor
    timestep: torch.Tensor
    hints: Hints

    @property
    def canvas(self) -> Tile:
        return Tile(0, 0, self.x_in.shape[-1], self.x_in.shape[-2])

    def check(self, entry: dict[str, Any]) -> None:
        """Refuse conditioning that :meth:`of` would not crop rightly."""
        from comfy.conds import CONDConstant, CONDCrossAttn, CONDList, CONDNoiseShape, CONDRegular

        size = tuple(self.x_in.shape[-2:])
        for name, cond in entry["model_conds"].items():
            value: Any = getattr(cond, "cond", None)
            if isinstance(cond, CONDNoiseShape):
                if value.ndim != 4 or tuple(value.shape[-2:]) != size:
                    raise TilingError(f"the conditioning {name!r} of shape {tuple(value.shape)}")
            elif type(cond) in (CONDConstant, CONDList, CONDRegular, CONDCrossAttn):
                # Text and vectors have up to three dimensions; images, of the canvas or of references, have more.
                for tensor in tensors_in(value):
                    if name == "ref_latents" and tensor.ndim == 4:
                        continue
                    # Flux keeps a mask of text and picture tokens, each by each, for the whole canvas.
                    tokens = name == "attention_mask" and tensor.ndim == 3 and tensor.shape[-2] > 1
                    if tensor.ndim > 3 or (tensor.ndim == 3 and tuple(tensor.shape[-2:]) == size) or tokens:
                        called = "reference latents" if name == "ref_latents" else f"the conditioning {name!r}"
                        raise TilingError(f"{called} of shape {tuple(tensor.shape)}")
                if name == "latent_shapes":
                    raise TilingError("several latents in one")
            else:
                raise TilingError(f"the conditioning {name!r} of the unknown kind {type(cond).__name__}")
        if entry.get("control") is not None:
            check_control(entry["control"])

    def of_all(
        self, cond: Sequence[dict[str, Any]], tiles: Sequence[Tile], controls: dict[Any, Any]
    ) -> list[dict[str, Any]]:
        """``cond`` as seen by a batch of ``tiles``; entries that do not reach them are left out."""
        entries = (self.of(entry, tiles, controls) for entry in cond)
        return [entry for entry in entries if entry is not None]

    def of(self, entry: dict[str, Any], tiles: Sequence[Tile], controls: dict[Any, Any]) -> dict[str, Any] | None:
        """One entry as seen by ``tiles``, a single tile where it has one of ``PLACED``."""
        entry = entry.copy()
        if isinstance(entry["uuid"], uuid.UUID):
            entry["uuid"] = uuid.uuid5(entry["uuid"], repr(tiles))
        seen = frame = None
        if entry.get("area") is not None:
            frame, seen = self._cut_area(entry, tiles[0])
            if seen is None:
                return None
        elif entry.get("mask") is not None:
            entry["mask"] = crop(entry["mask"], tiles[0])
            if not entry["mask"].any():
                return None
        if entry.get("control") is not None:
            # Within an area ComfyUI stretches the hint over the area, not over the canvas.
            entry["control"] = self.hints.cropped(entry["control"], frame or self.canvas, seen or tiles[0], controls)
        if entry.get("gligen") is not None:
            # ComfyUI counts boxes from the corner of the area, where there is one.
            entry["gligen"] = _crop_gligen(entry["gligen"], frame or self.canvas, seen or tiles[0])
        entry["model_conds"] = {
            name: self._model_cond(entry, name, cond, tiles) for name, cond in entry["model_conds"].items()
        }
        return entry

    def _cut_area(self, entry: dict[str, Any], tile: Tile) -> tuple[Tile, Tile | None]:
        """Put the part of the area inside ``tile`` into ``entry``; return the area and the part that the model will
        see, None for nothing, both on the canvas."""
        import comfy.samplers

        # ComfyUI's own reading of the area, with its soft edges: those of the canvas, kept as a mask, for the edges
        # that the tile cuts are not the area's.
        region = comfy.samplers.get_area_and_mult(
            {"area": entry["area"], "model_conds": {}, "uuid": None}, self.x_in[:1, :1], self.timestep
        )
        height, width, y, x = region.area
        area = Tile(x, y, width, height)
        left, right = max(x, tile.x), min(x + width, tile.x + tile.width)
        top, bottom = max(y, tile.y), min(y + height, tile.y + tile.height)
        if left >= right or top >= bottom:
            return area, None
        inside = Tile(left, top, right - left, bottom - top)
        mask = torch.zeros(1, tile.height, tile.width).to(region.mult)
        here = Tile(left - tile.x, top - tile.y, inside.width, inside.height)
        if entry.get("mask") is None:
            crop(mask, here).copy_(crop(region.mult[0], Tile(left - x, top - y, inside.width, inside.height)))
            entry["mask_strength"] = 1.0
        else:
            mask = mask.repeat(entry["mask"].shape[0], 1, 1).to(entry["mask"])
            crop(mask, here).copy_(crop(entry["mask"], inside))
        if not mask.any():
            return area, None
        # A hint ends where its area does; without one, the model may look a little beyond.
        seen = inside if entry.get("control") is not None else _grown(inside, area, tile)
        entry["mask"] = mask
        entry["area"] = (seen.height, seen.width, seen.y - tile.y, seen.x - tile.x)
        return area, seen

    def _model_cond(self, entry: dict[str, Any], name: str, cond: Any, tiles: Sequence[Tile]) -> Any:
        """A cond of the model for the images of the first tile, then those of the second, and so on."""
        from comfy.conds import CONDConstant, CONDList, CONDNoiseShape
        from comfy.utils import repeat_to_batch_size

        def for_tiles(tensor: torch.Tensor, of_tile: Callable[[Tile], torch.Tensor] | None = None) -> torch.Tensor:
            if of_tile is None and tensor.shape[0] == 1:
                return tensor  # ComfyUI repeats it
            # ComfyUI would repeat conds over all images as one row: each tile needs its own.
            parts = [tensor if of_tile is None else of_tile(tile) for tile in tiles]
            return torch.cat([repeat_to_batch_size(part, self.x_in.shape[0]) for part in parts])

        value = cond.cond
        if isinstance(cond, CONDConstant):
            return cond
        if isinstance(cond, CONDList):
            return cond._copy_with([for_tiles(tensor, self._reference_crop(name, tensor)) for tensor in value])
        if isinstance(cond, CONDNoiseShape):
            return cond._copy_with(for_tiles(value, lambda tile: crop(value, tile)))
        if name == "y" and (sizes := self._size_embedding(entry)) is not None:
            return cond._copy_with(for_tiles(value, lambda tile: sizes(value, tile)))
        return cond._copy_with(for_tiles(value))

    def _reference_crop(self, name: str, tensor: torch.Tensor) -> Callable[[Tile], torch.Tensor] | None:
        """A function that crops a reference latent which is a picture of this canvas; None for all others."""
        if name != "ref_latents" or tensor.shape[-2:] != self.x_in.shape[-2:]:
            return None
        return lambda tile: crop(tensor, tile)

    def _size_embedding(self, entry: dict[str, Any]) -> Callable[[torch.Tensor, Tile], torch.Tensor] | None:
        """A function that puts a tile's place into SDXL's ``y``; None for other models and for named sizes.

        SDXL (Podell et al., 2023, arXiv:2307.01952, sections 2.2 and 2.3) learned with the size of the original
        image, the corner of the crop that it was shown and that crop's own size. The original is the canvas and
        stays; the tile is the crop. With a corner of 0, 0 everywhere each tile would be drawn as a picture of its
        own with its subject in the middle: DemoFusion (Du et al., 2024, arXiv:2311.16973) sets it likewise.
        """
        import comfy.model_base

        if {"width", "height", "crop_w", "crop_h", "target_width", "target_height"} & entry.keys():
            return None
        xl = isinstance(self.model, comfy.model_base.SDXL)
        if not xl and not isinstance(self.model, comfy.model_base.SDXLRefiner):
            return None

        def sized(y: torch.Tensor, tile: Tile) -> torch.Tensor:
            # y ends in height, width, crop_h, crop_w, then SDXL's target height and width, the refiner's score.
            pixels = [8 * n for n in ((tile.y, tile.x, tile.height, tile.width) if xl else (tile.y, tile.x))]
            embedded = torch.cat([self.model.embedder(torch.Tensor([n])) for n in pixels], dim=1).to(y)
            score = embedded.shape[1] // len(pixels) if not xl else 0
            end = y.shape[1] - score
            y = y.clone()
            y[:, end - embedded.shape[1] : end] = embedded
            return y

        return sized


def _grown(inside: Tile, area: Tile, tile: Tile) -> Tile:
    """``inside``, the common part of ``area`` and ``tile``, made ``MIN_AREA`` wide and high where the tile's edge cut
    it shorter, still within the tile."""

    def side(start: int, length: int, whole: int, tile_start: int, tile_length: int) -> tuple[int, int]:
        wanted = min(max(length, MIN_AREA), max(whole, length), tile_length)
        return min(start, tile_start + tile_length - wanted), wanted

    x, width = side(inside.x, inside.width, area.width, tile.x, tile.width)
    y, height = side(inside.y, inside.height, area.height, tile.y, tile.height)
    return Tile(x, y, width, height)


def _crop_gligen(gligen: Sequence[Any], frame: Tile, seen: Tile) -> tuple[Any, ...]:
    """Return GLIGEN's (kind, model, boxes), with the part of each box that the model sees, ``seen``, of the ``frame``
    that the boxes are counted from. A box is (embedding, height, width, y, x) in latent cells."""
    kind, model, boxes = gligen
    if kind != "position":
        return tuple(gligen)  # ComfyUI takes it for "no boxes"
    kept = []
    for embedding, height, width, y, x in boxes:
        left, right = max(frame.x + x, seen.x), min(frame.x + x + width, seen.x + seen.width)
        top, bottom = max(frame.y + y, seen.y), min(frame.y + y + height, seen.y + seen.height)
        if left < right and top < bottom:
            kept.append((embedding, bottom - top, right - left, top - seen.y, left - seen.x))
    return kind, model, kept
