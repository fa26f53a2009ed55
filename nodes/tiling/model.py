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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from ..errors import DistilleryError
from ..parameters import HIRES_TILE
from .conds import PLACED, Crops, entries_of
from .control_hints import Hints
from .limits import TilingError as TilingError
from .limits import check_patches
from .tiles import TilePlan, add_tile, crop, plan, weights

KEY = "distillery_hires_tiles"
NEWER_FAMILY_TILE = 1024
"""Side in pixels for families not in the table: all were trained at about one megapixel."""
MULTIPLE = 8
"""Sides of tiles are multiples of so many latent cells: what a UNet with three halvings takes without padding."""
MAX_BATCH = 4
"""Tiles in one call of the model. A GPU is busy with less; more only raises the peak of memory."""


def auto_tile(model: Any) -> int:
    """Side of a tile in pixels that suits the family of a ModelPatcher's model."""
    import comfy.model_base
    import comfy.supported_models

    if isinstance(model.model, (comfy.model_base.SDXL, comfy.model_base.SDXLRefiner)):
        return HIRES_TILE["sdxl"]
    if isinstance(model.model.model_config, (comfy.supported_models.SD15, comfy.supported_models.SD20)):
        return HIRES_TILE["sd15"]
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
    hints: Hints = field(default_factory=Hints)

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
        crops = Crops(model, x_in, timestep, self.hints)
        for entry in entries_of(conds):
            crops.check(entry)
        placed = any(PLACED & {k for k, v in e.items() if v is not None} for e in entries_of(conds))
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
        """Load the models, with memory set free for a batch of tiles in place of the canvas ``noise_shape``."""
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
        """Sample, and let go of the cropped hints whatever happens."""
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
        """The number of tiles that run at once."""
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


def _batches(count: int, size: int) -> list[range]:
    """0 to ``count`` in the fewest runs of at most ``size``, as equal as can be: 9 by 4 is 3, 3, 3."""
    runs = -(-count // size)
    edges = [i * count // runs for i in range(runs + 1)]
    return [range(start, end) for start, end in pairwise(edges)]
