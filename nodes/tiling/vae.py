"""A VAE that encodes and decodes large canvases in one blended sweep of overlapping tiles.

ComfyUI's own tiled VAE sweeps the canvas three times with tiles of three shapes and averages: 4.05 times the work of
the canvas. One sweep with smooth weights (:mod:`nodes.tiling.tiles`) is 1.13 to 1.27 times.
"""

from __future__ import annotations

from typing import Any

import torch

from ..finite import NotFiniteError, is_finite
from .tiles import TilePlan, add_tile, crop, plan, weight

UNTILED_MAX_SIDE = 1536
"""Canvases of at most so many pixels squared run whole, as ComfyUI would run them: its estimate for decoding them is
10 GB in bfloat16, what a GPU of 12 GB has. Beyond, most GPUs would fall back to tiles of 512 pixels after failing."""
VAE_TILE = 768
"""Side of a tile in pixels. Group normalisation and attention inside a VAE look at all of a tile: large tiles agree
better in colour, and want more memory. ComfyUI's estimate for one is 2.6 GB in bfloat16 (for one of 1024: 4.6)."""
OVERLAP = 128
"""Least overlap of neighbouring tiles in pixels: more than a VAE's convolutions reach."""
MULTIPLE = 8
"""Sides of tiles are multiples of so many latent cells."""


UNTILED = 1 << 20
"""As ``whole``: no canvas is tiled."""

_BLACK = "values that are no numbers (NaN or infinity), which would be a black picture"
_START = "start ComfyUI with {} (the command line takes such a server with --server URL)"
SAMPLER_NOT_FINITE = (
    f"The HiRes pass gave {_BLACK}: the diffusion model, or one of its LoRAs, overflows in half precision, or its file "
    f"is damaged. Choose another checkpoint with --model NAME, or {_START.format('--fp32-unet or --force-fp32')}."
)
VAE_NOT_FINITE = (
    f"The VAE made {_BLACK}: it overflows in half precision, as that of SDXL does in fp16, or its file is damaged. "
    f"{_START.format('--fp32-vae or --force-fp32').capitalize()}, or use another VAE (for SDXL sdxl-vae-fp16-fix) or checkpoint."
)
EITHER_NOT_FINITE = (
    f"The sampler or the VAE made {_BLACK}. Put HiRes Tiles between the models and the other nodes: it tells which. "
    f"{_START.format('--fp32-vae or --force-fp32').capitalize()}, or use another VAE or checkpoint."
)


class TiledVAE:
    """Stands in for a ComfyUI VAE: ``encode`` and ``decode`` tile large canvases, all else is the VAE's own.

    What is decoded and what the VAE makes is looked at: both raise NotFiniteError where it holds NaN or infinity.

    The tiles go through the VAE's public ``encode`` and ``decode``, so that its memory management, its precision and
    its fallback when memory runs out stay in force for each. VAEs of video or sound are left alone.
    """

    def __init__(self, vae: Any, whole: int = UNTILED_MAX_SIDE, tile: int = VAE_TILE, overlap: int = OVERLAP) -> None:
        """``whole``: side in pixels of the largest square that is not tiled; ``tile``, ``overlap``: in pixels."""
        self._vae: Any = vae._vae if isinstance(vae, TiledVAE) else vae
        self._whole, self._tile, self._overlap = whole, tile, overlap

    def __getattr__(self, name: str) -> Any:
        # Reached only for what the instance lacks. While it is copied or unpickled it lacks everything.
        if name.startswith("__") or name in ("_vae", "_whole", "_tile", "_overlap"):
            raise AttributeError(name)
        return getattr(self._vae, name)

    def _encoded(self, pixels: torch.Tensor) -> torch.Tensor:
        return _checked(self._vae.encode(pixels), VAE_NOT_FINITE)

    def _decoded(self, latents: torch.Tensor, **options: Any) -> torch.Tensor:
        return _checked(self._vae.decode(latents, **options), VAE_NOT_FINITE)

    def encode(self, pixel_samples: torch.Tensor) -> torch.Tensor:
        """Pixels (B,H,W,C), 0..1, three channels or more, to latents (B,channels,h,w)."""
        if not self._flat() or pixel_samples.ndim != 4:
            return self._encoded(pixel_samples)
        # To whole latent cells and the VAE's channels, as ComfyUI does it: a tile then loses nothing more.
        pixels = self._vae.vae_encode_crop_pixels(pixel_samples)
        ratio = self._vae.spacial_compression_encode()
        height, width = pixels.shape[1:3]
        layout = self._layout(width, height, ratio)
        if layout is None:
            return self._encoded(pixel_samples)
        in_pixels = layout.scaled(ratio)

        def encoded(index: int) -> torch.Tensor:
            return self._encoded(crop(pixels.movedim(-1, 1), in_pixels.tiles[index]).movedim(1, -1))

        return _blended(encoded, layout)

    def decode(self, samples_in: torch.Tensor, vae_options: dict[str, Any] | None = None) -> torch.Tensor:
        """Latents (B,channels,h,w) to pixels (B,H,W,C), 0..1."""
        options = {} if vae_options is None else {"vae_options": vae_options}
        _checked(samples_in, SAMPLER_NOT_FINITE)
        if not self._flat() or samples_in.is_nested:
            return self._decoded(samples_in, **options)
        if samples_in.ndim == 5:
            samples_in = samples_in[:, :, 0]  # as ComfyUI does for image VAEs
        ratio = self._vae.spacial_compression_decode()
        height, width = samples_in.shape[-2:]
        layout = self._layout(width * ratio, height * ratio, ratio) if samples_in.ndim == 4 else None
        if layout is None:
            return self._decoded(samples_in, **options)

        def decoded(index: int) -> torch.Tensor:
            return self._decoded(crop(samples_in, layout.tiles[index]), **options).movedim(-1, 1)

        return _blended(decoded, layout.scaled(ratio)).movedim(1, -1)

    def _flat(self) -> bool:
        """The VAE is one of images, with one ratio between pixels and latent cells for both sides."""
        vae = self._vae
        return (
            getattr(vae, "latent_dim", None) == 2
            and getattr(vae, "extra_1d_channel", None) is None
            and isinstance(vae.spacial_compression_encode(), int)
            and isinstance(vae.spacial_compression_decode(), int)
        )

    def _layout(self, width: int, height: int, ratio: int) -> TilePlan | None:
        """The tiles, in latent cells, of a canvas in pixels; None for running it whole.

        Counting in cells keeps every tile on the grid of the latent.
        """
        if width * height <= self._whole**2 or width % ratio or height % ratio:
            return None
        layout = plan(width // ratio, height // ratio, self._tile // ratio, self._overlap // ratio, MULTIPLE)
        return None if layout.whole else layout


def _checked(values: torch.Tensor, words: str) -> torch.Tensor:
    if not is_finite(values):
        raise NotFiniteError(words)
    return values


def _blended(run: Any, layout: TilePlan) -> torch.Tensor:
    """The blend of ``run(i)``, (B,C,tile height,tile width), over the tiles of ``layout``: (B,C,H,W)."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    progress = ProgressBar(len(layout.tiles))
    canvas: torch.Tensor | None = None
    for i, tile in enumerate(layout.tiles):
        throw_exception_if_processing_interrupted()
        values = run(i)
        if canvas is None:
            # Sums in float32: in half precision eight bits of a picture would not survive the blend.
            shape = (*values.shape[:2], layout.height, layout.width)
            canvas = torch.zeros(shape, dtype=torch.float32, device=values.device)
            dtype = values.dtype
        add_tile(canvas, tile, values.float(), weight(layout, i).to(values.device))
        progress.update(1)
    assert canvas is not None
    return canvas.to(dtype)
