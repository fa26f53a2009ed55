"""A diffusion model whose every denoising step runs over tiles of the canvas.

The sampler keeps one latent, one noise and one schedule for the whole canvas. Each time it asks for predictions, the
model predicts overlapping tiles, and these are blended into one prediction before guidance and the sampler see it:
MultiDiffusion (Bar-Tal et al., 2023, arXiv:2302.08113) with the smooth weights of Mixture of Diffusers (Jiménez,
2023, arXiv:2302.02412). There are no seams to repair, and no tile repeats another's noise.

It hooks into ComfyUI with wrappers, as its own EasyCache does, not by replacing functions:

- ``CALC_COND_BATCH``, around everything that looks at positions (areas, masks, ControlNet, memory checks), so that
  all of these see tiles. Guidance that asks for further predictions (PAG, PerpNeg) is tiled too.
- ``PREPARE_SAMPLING``: ComfyUI frees memory for a tile, not for the canvas.
- ``OUTER_SAMPLE``: cropped control hints are dropped when sampling ends.

Order with other patches: wrappers of the inner calls (``APPLY_MODEL``, ``DIFFUSION_MODEL``, a UNet function wrapper)
and attention patches see tiles; ``PREDICT_NOISE`` wrappers (LazyCache), CFG functions and denoise masks see the canvas.
Other ``CALC_COND_BATCH`` wrappers see the canvas where their node comes before this one, else tiles. Every tile has its
own cond uuids, so that what EasyCache keeps for one tile is not applied to another; put it before this node, or it
reuses less.

Reference latents (Flux Kontext and others) of the canvas's own size are that picture and are cropped with it; those of
other sizes are pictures of their own, and each tile sees them whole. What knows of places on the canvas in a way that
this module cannot cut is refused (:mod:`nodes.tiling.limits`).
"""

from __future__ import annotations

import copy
import types
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from ..errors import DistilleryError
from ..parameters import TILE
from .limits import TilingError as TilingError
from .limits import check_patches
from .tiles import Tile, TilePlan, add_tile, crop, plan, weights

KEY = "distillery_hires_tiles"
NEWER_FAMILY_TILE = 1024
"""Side in pixels for families not in the table: all were trained at about one megapixel."""
MULTIPLE = 8
"""Sides of tiles are multiples of so many latent cells: what a UNet with three halvings takes without padding."""
MAX_BATCH = 4
"""Tiles in one call of the model. A GPU is busy with less; more only raises the peak of memory."""
PLACED = {"area", "mask", "control", "gligen"}
"""Keys of a cond that differ from tile to tile in more than tensors: such conds run one tile at a time."""
LEAST_AREA = 16
"""Latent cells. Where a tile cuts a sliver off an area, the model still gets so much to look at."""


def auto_tile(model: Any) -> int:
    """Side of a tile in pixels that suits the family of a ModelPatcher's model."""
    import comfy.model_base
    import comfy.supported_models

    if isinstance(model.model, (comfy.model_base.SDXL, comfy.model_base.SDXLRefiner)):
        return TILE["sdxl"]
    if isinstance(model.model.model_config, (comfy.supported_models.SD15, comfy.supported_models.SD20)):
        return TILE["sd15"]
    return NEWER_FAMILY_TILE


def tile_model(model: Any, tile_px: int, overlap_px: int, batch: int = 0) -> Any:
    """A clone of a ModelPatcher that denoises in tiles; tiling it again replaces its tiles.

    A canvas that one tile covers is left alone: the result is then bit for bit that of the untiled model.

    Args:
        model: ComfyUI's ModelPatcher.
        tile_px: side of a tile in pixels, 64 or more; an eighth more where it saves tiles. 0 for no tiling.
        overlap_px: what neighbours share at least, 0 to half of ``tile_px``.
        batch: tiles in one call of the model; 0 takes one on a CPU, where more gain nothing, and on a GPU as many
            up to ``MAX_BATCH`` as fit its free memory. Prompts with areas, masks, GLIGEN boxes or ControlNet run one
            by one.

    Raises:
        DistilleryError: a size is out of its range. While sampling, :class:`TilingError`: the workflow has
            something that cannot be cut into tiles, or that this module does not know.
    """
    from comfy.patcher_extension import WrappersMP

    plan(1, 1, tile_px, overlap_px, 8 * MULTIPLE)  # refuses sizes in pixels, before any sampling
    if batch < 0:
        raise DistilleryError(f"{batch} tiles cannot run at once: give 1 or more, or 0 to choose by free memory.")
    tiled = _TiledSampling(tile_px, overlap_px, batch)
    model = model.clone()
    for kind, wrapper in (
        (WrappersMP.CALC_COND_BATCH, tiled.calc_cond_batch),
        (WrappersMP.PREPARE_SAMPLING, tiled.prepare_sampling),
        (WrappersMP.OUTER_SAMPLE, tiled.outer_sample),
    ):
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    return model


@dataclass
class _TiledSampling:
    tile_px: int
    overlap_px: int
    batch: int
    hints: _Hints = field(default_factory=lambda: _Hints())

    def calc_cond_batch(
        self,
        executor: Callable[..., list[torch.Tensor]],
        model: Any,
        conds: Sequence[list[dict[str, Any]] | None],
        x_in: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict[str, Any],
    ) -> list[torch.Tensor]:
        """Denoised predictions of the canvas ``x_in`` (B,C,H,W), one for each of ``conds``."""
        import comfy.model_management

        layout = self._layout(model, x_in.shape)
        if layout.whole:
            return executor(model, conds, x_in, timestep, model_options)

        check_patches(model_options)
        crops = _Crops(model, x_in, timestep, self.hints)
        for entry in _entries(conds):
            crops.check(entry)
        placed = any(PLACED & {k for k, v in e.items() if v is not None} for e in _entries(conds))
        size = 1 if placed else self._batch_size(model, conds, x_in, layout)

        blends = [torch.zeros_like(x_in) for _ in conds]
        weight = weights(layout).to(x_in)
        for indices in _batches(len(layout.tiles), size):
            comfy.model_management.throw_exception_if_processing_interrupted()
            tiles = [layout.tiles[i] for i in indices]
            controls: dict[Any, Any] = {}
            predictions = executor(
                model,
                [None if cond is None else crops.of_all(cond, tiles, controls) for cond in conds],
                torch.cat([crop(x_in, tile) for tile in tiles]),
                timestep.expand(x_in.shape[0]).repeat(len(tiles)),
                model_options,
            )
            for blend, prediction in zip(blends, predictions, strict=True):
                for i, tile, part in zip(indices, tiles, prediction.chunk(len(tiles)), strict=True):
                    add_tile(blend, tile, part, weight[i])
        return blends

    def prepare_sampling(
        self,
        executor: Callable[..., Any],
        model: Any,
        noise_shape: Sequence[int],
        conds: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Loads the models, with memory set free for a batch of tiles in place of the canvas ``noise_shape``."""
        layout = self._layout(model.model, noise_shape)
        if not layout.whole:
            check_patches(model.model_options)  # sooner than the first step, which checks what hooks add too
            # For one tile unless the user fixed how many: later steps take more only where memory is left.
            tiles = min(max(self.batch, 1), len(layout.tiles))
            of_tile = {
                kind: [_referring_to_a_tile(entry, layout) for entry in of_kind] for kind, of_kind in conds.items()
            }
            noise_shape = torch.Size((noise_shape[0] * tiles, noise_shape[1], layout.tile_height, layout.tile_width))
            real_model, _, *rest = executor(model, noise_shape, of_tile, *args, **kwargs)
            return real_model, conds, *rest
        return executor(model, noise_shape, conds, *args, **kwargs)

    def outer_sample(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Samples, and lets go of the cropped hints whatever happens."""
        try:
            return executor(*args, **kwargs)
        finally:
            self.hints.clear()

    def _layout(self, model: Any, shape: Sequence[int]) -> TilePlan:
        """The tiles of a latent (..., H, W) in latent cells."""
        if len(shape) < 4:
            raise TilingError(f"latents of {len(shape)} dimensions (audio, or several latents in one)")
        ratio = getattr(model.latent_format, "spacial_downscale_ratio", 8)
        tile = max(self.tile_px // ratio, MULTIPLE) if self.tile_px else 0
        layout = plan(shape[-1], shape[-2], tile, min(-(-self.overlap_px // ratio), tile // 2), MULTIPLE)
        if not layout.whole and len(shape) > 4:
            raise TilingError(f"latents of {len(shape)} dimensions (video models)")
        return layout

    def _batch_size(
        self, model: Any, conds: Sequence[list[dict[str, Any]] | None], x_in: torch.Tensor, layout: TilePlan
    ) -> int:
        """How many tiles run at once."""
        if self.batch:
            return self.batch
        if x_in.device.type == "cpu":
            return 1
        # ComfyUI runs the positive and the negative prompt as one batch where memory allows, with this same margin.
        free = model.current_patcher.get_free_memory(x_in.device)
        images = x_in.shape[0] * sum(cond is not None for cond in conds)
        for size in range(min(MAX_BATCH, len(layout.tiles)), 1, -1):
            shape = [size * images, x_in.shape[1], layout.tile_height, layout.tile_width]
            if model.memory_required(shape) * 1.5 < free:
                return size
        return 1


def _referring_to_a_tile(entry: dict[str, Any], layout: TilePlan) -> dict[str, Any]:
    """``entry``, not resolved yet, with as much of reference latents as one tile sees: they count as memory."""
    latents = entry.get("reference_latents")
    if not latents:
        return entry
    first, canvas = layout.tiles[0], (layout.height, layout.width)
    return {**entry, "reference_latents": [crop(x, first) if tuple(x.shape[-2:]) == canvas else x for x in latents]}


def _entries(conds: Sequence[list[dict[str, Any]] | None]) -> list[dict[str, Any]]:
    return [entry for cond in conds if cond is not None for entry in cond]


def _batches(count: int, size: int) -> list[range]:
    """0 to ``count`` in the fewest runs of at most ``size``, as equal as can be: 9 by 4 is 3, 3, 3."""
    runs = -(-count // size)
    edges = [i * count // runs for i in range(runs + 1)]
    return [range(start, end) for start, end in pairwise(edges)]


@dataclass
class _Crops:
    """Conds of one denoising step, as ComfyUI resolved them for the canvas, cropped to tiles of it.

    Of an entry's keys, ComfyUI's ``get_area_and_mult`` reads area, mask, model_conds, control and gligen where
    position matters; areas in percent are cells by then, and masks have the size of the canvas. All other keys are
    raw inputs that went into model_conds already.
    """

    model: Any
    x_in: torch.Tensor
    timestep: torch.Tensor
    hints: _Hints

    @property
    def canvas(self) -> Tile:
        return Tile(0, 0, self.x_in.shape[-1], self.x_in.shape[-2])

    def check(self, entry: dict[str, Any]) -> None:
        """Refuses what :meth:`of` would not crop rightly."""
        from comfy.conds import CONDConstant, CONDCrossAttn, CONDList, CONDNoiseShape, CONDRegular

        size = tuple(self.x_in.shape[-2:])
        for name, cond in entry["model_conds"].items():
            value: Any = getattr(cond, "cond", None)
            if isinstance(cond, CONDNoiseShape):
                if value.ndim != 4 or tuple(value.shape[-2:]) != size:
                    raise TilingError(f"the conditioning {name!r} of shape {tuple(value.shape)}")
            elif type(cond) in (CONDConstant, CONDList, CONDRegular, CONDCrossAttn):
                # Text and vectors have up to three dimensions; images, of the canvas or of references, have more.
                for tensor in _tensors(value):
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
            _check_control(entry["control"])

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
        """Puts the part of the area inside ``tile`` into ``entry``; returns the area and what the model will see of
        it, None for nothing, both on the canvas."""
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
        """What crops a reference latent that is a picture of this canvas; None for all others."""
        if name != "ref_latents" or tensor.shape[-2:] != self.x_in.shape[-2:]:
            return None
        return lambda tile: crop(tensor, tile)

    def _size_embedding(self, entry: dict[str, Any]) -> Callable[[torch.Tensor, Tile], torch.Tensor] | None:
        """What puts a tile's place into SDXL's ``y``; None for other models, and for sizes that the prompt names.

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
    """``inside``, the common part of ``area`` and ``tile``, made ``LEAST_AREA`` wide and high where the tile's edge cut
    it shorter, still within the tile."""

    def side(start: int, length: int, whole: int, tile_start: int, tile_length: int) -> tuple[int, int]:
        wanted = min(max(length, LEAST_AREA), max(whole, length), tile_length)
        return min(start, tile_start + tile_length - wanted), wanted

    x, width = side(inside.x, inside.width, area.width, tile.x, tile.width)
    y, height = side(inside.y, inside.height, area.height, tile.y, tile.height)
    return Tile(x, y, width, height)


def _crop_gligen(gligen: Sequence[Any], frame: Tile, seen: Tile) -> tuple[Any, ...]:
    """GLIGEN's (kind, model, boxes), with the part of each box that the model sees, ``seen``, of the ``frame`` that
    the boxes are counted from. A box is (embedding, height, width, y, x) in latent cells."""
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


def _tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


HINTS = ("cond_hint_original", "cond_hint", "control_input", "extra_concat")
"""A control's tensors that lie on the canvas, or derive from those."""


def _check_control(control: Any) -> None:
    """Refuses controls, anywhere in the chain, with more that lies on the canvas than hints."""
    from comfy.controlnet import ControlBase

    if control is None:
        return
    name = type(control).__name__
    if not isinstance(control, ControlBase):
        raise TilingError(f"the control of the unknown kind {name}")
    for attribute, value in vars(control).items():
        if isinstance(value, torch.Tensor) and value.ndim > 2 and attribute not in HINTS:
            raise TilingError(f"the {attribute} of the control {name}")
    if control.cond_hint_original is not None and control.cond_hint_original.ndim != 4:
        raise TilingError(f"the video hint of the control {name}")
    _check_control(control.previous_controlnet)


class _Hints:
    """Copies of controls (ControlNet, T2I-Adapter and chains of them) whose hints are cropped.

    A copy shares the network with its control. It is made anew at each step, for a control may change from step to
    step, but what it computed from its hint (resized, VAE-encoded, run through the adapter) passes on to the next.
    """

    def __init__(self) -> None:
        self._parts: dict[Any, tuple[Any, Any, Any]] = {}

    def clear(self) -> None:
        self._parts.clear()

    def cropped(self, control: Any, frame: Tile, seen: Tile, made: dict[Any, Any]) -> Any:
        """``control`` for what the model sees, ``seen``, of the ``frame`` that its hint is stretched over.

        ``made`` holds the copies of the present call: ComfyUI batches only conds that share one control object.
        """
        if control is None:
            return None
        key = (id(control), frame, seen)
        if key in made:
            return made[key]
        part = made[key] = copy.copy(control)
        for name, value in vars(control).items():
            # Some packs shadow methods on the object: they would go on working on the original and its hint.
            if isinstance(value, types.MethodType) and value.__self__ is control:
                setattr(part, name, types.MethodType(value.__func__, part))
        origin, hint, before = self._parts.get(key, (None, None, None))
        if origin is control and hint is control.cond_hint_original:
            for name in (*HINTS, "extra_concat_orig"):
                if hasattr(before, name):
                    setattr(part, name, getattr(before, name))
        else:
            _crop_hint(part, frame, seen)
        self._parts[key] = (control, control.cond_hint_original, part)
        part.previous_controlnet = self.cropped(control.previous_controlnet, frame, seen, made)
        part.multigpu_clones = {
            device: self.cropped(clone, frame, seen, made) for device, clone in control.multigpu_clones.items()
        }
        return part


def _crop_hint(control: Any, frame: Tile, seen: Tile) -> None:
    """Crops the hint, and what is joined to it (inpainting masks), to ``seen``, both boxes in latent cells."""
    from comfy.utils import common_upscale

    def cut(image: torch.Tensor, cell: int) -> torch.Tensor:
        # As ControlNet.get_control does it for the canvas; there it finds the crop at the size it wants.
        whole = common_upscale(image, frame.width * cell, frame.height * cell, control.upscale_algorithm, "center")
        left, top = (seen.x - frame.x) * cell, (seen.y - frame.y) * cell
        return crop(whole, Tile(left, top, seen.width * cell, seen.height * cell))

    for name in HINTS:
        if name != "cond_hint_original" and hasattr(control, name):
            setattr(control, name, None)
    # Averaged over the picture (shuffle), a hint says nothing about places: each tile gets all of it.
    if control.global_average_pooling or control.cond_hint_original is None:
        return
    cell = control.compression_ratio
    control.extra_concat_orig = [cut(image, cell) for image in control.extra_concat_orig]
    if control.vae is not None:
        cell *= control.vae.spacial_compression_encode()
    control.cond_hint_original = cut(control.cond_hint_original, cell)
