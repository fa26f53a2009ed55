"""Enlarging an image to exactly 2x with a super-resolution network of any scale.

One pass per tile: network, clamp, antialiased resize to 2x, blend. The canvas that a 4x network
would make never exists, so that memory grows with the result and not with four times its area.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from ..finite import NotFiniteError, is_finite
from ..tiling.tiles import add_tile, crop, plan, weight
from .resample import resize

FACTOR = 2
NETWORK_TILE = 256
"""Side of a tile in pixels of the input: half of what ComfyUI's own node takes, for a quarter of its memory. Tiles of 512
were tried on a CPU, with the last layers in strips: half again slower (85 s against 56 for 1024x1024)."""
OVERLAP = 32
"""Pixels of the input that neighbouring tiles share: what ESRGAN's effective receptive field needs for seams to
vanish in the blend, and what ComfyUI's own upscale node uses."""

MAX_BATCH = 2
"""Tiles in one call of the network on a GPU: more keep it no busier, and would take more than a quarter of the memory
of ComfyUI's own node (tiles of 512 pixels in float32)."""
MIN_TILE = 64

NOT_FINITE = (
    "The upscale model gives values that are no numbers (NaN or infinity), which would be a black picture. Its file is "
    "damaged or was converted badly: download it again, or choose another upscale model in the Load UltraSharp node."
)

UpscaleNetwork = Callable[[torch.Tensor], torch.Tensor]
"""(B, 3, H, W), 0 … 1, to (B, 3, scale H, scale W)."""


def network_memory(tile: int, scale: int, rows: int | None = None) -> int:
    """Bytes that one tile takes in a 64-channel ESRGAN, about: for ComfyUI's memory management.

    rows: so many of the tile's rows of pixels are enlarged at once, where not all are.
    """
    features = 64 * 4  # channels, bytes of a float32
    return tile * features * (6 * tile + 3 * scale * scale * min(tile, rows or tile))


def tiles_for(free: float, scale: int, cpu: bool, rows: int | None = None) -> tuple[int, int]:
    """Side of a tile, and how many to run at once, where so many bytes are free on the device.

    rows: see :func:`network_memory`. A quarter of the memory is left alone: other programs use the device too. The
    least is one tile of ``MIN_TILE``.
    """
    tile = NETWORK_TILE
    while tile > MIN_TILE and network_memory(tile, scale, rows) > 0.75 * free:
        tile //= 2
    batch = 1 if cpu else int(0.75 * free // network_memory(tile, scale, rows))
    return tile, max(1, min(batch, MAX_BATCH))


def upscale_2x(
    image: torch.Tensor,
    network: UpscaleNetwork,
    scale: int,
    *,
    tile: int = NETWORK_TILE,
    overlap: int = OVERLAP,
    batch: int = 1,
    device: torch.device | None = None,
    half: torch.dtype | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Enlarge images to exactly twice their width and height.

    image: (B, H, W, C), 0 … 1, with C of 1 (grey), 3, or 4 (the fourth is alpha: enlarged without the
    network and kept). network and its scale: see UpscaleNetwork; the network runs on ``device`` (default: the
    image's), in ``half`` precision where one is given, on ``batch`` tiles at once. ``on_tile(done, total)`` is
    called before each call of it and at the end; what it raises ends the work.
    Returns (B, 2H, 2W, C), float32, 0 … 1, on the image's device. Raises NotFiniteError where the network gives NaN or
    infinity.
    """
    device = device or image.device
    images, height, width, channels = image.shape
    colour = image[..., :3].expand(-1, -1, -1, 3).movedim(-1, 1).float()

    layout = plan(width, height, tile, min(overlap, tile // 2))
    blend = layout.scaled(FACTOR)
    out = torch.zeros(images, 3, blend.height, blend.width)
    work = [(i, index) for index in range(len(layout.tiles)) for i in range(images)]
    total = len(work)
    with torch.inference_mode(), _precision(device, half):
        for start in range(0, total, batch):
            if on_tile:
                on_tile(start, total)
            now = work[start : start + batch]
            source = torch.cat([crop(colour[i : i + 1], layout.tiles[index]) for i, index in now])
            enlarged = network(source.to(device, memory_format=torch.channels_last)).float()
            if not is_finite(enlarged):
                raise NotFiniteError(NOT_FINITE)
            enlarged = enlarged.clamp_(0, 1)
            # In float32: rounding to half precision would be seen in skies.
            with torch.autocast(device.type, enabled=False):
                enlarged = resize(enlarged, blend.tile_height, blend.tile_width)
            for (i, index), values in zip(now, enlarged.cpu(), strict=True):
                add_tile(out[i], blend.tiles[index], values, weight(blend, index))
    if on_tile:
        on_tile(total, total)
    result = out.clamp_(0, 1).movedim(1, -1).to(image.device)
    if channels == 1:
        return result.mean(dim=-1, keepdim=True)
    if channels == 4:
        return torch.cat([result, upscale_plane_2x(image[..., 3])[..., None]], dim=-1)
    return result


def upscale_plane_2x(plane: torch.Tensor) -> torch.Tensor:
    """Enlarge (B, H, W), 0 … 1, such as an alpha channel or a mask, to twice its size without a network."""
    height, width = plane.shape[-2:]
    return resize(plane[:, None].float(), height * FACTOR, width * FACTOR)[:, 0].clamp(0, 1)


def _precision(device: torch.device, half: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    # Autocast and not .to(half): the weights stay what other nodes, which share the model, expect.
    return torch.autocast(device.type, dtype=half) if half is not None else contextlib.nullcontext()
