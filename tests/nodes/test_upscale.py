"""Upscale 2x with stand-in networks whose result is known, and with any size."""

from __future__ import annotations

import pytest
import torch

from distillery.nodes.imaging.precision import fast_dtype
from distillery.nodes.imaging.resample import resize
from distillery.nodes.imaging.upscale import (
    MAX_BATCH,
    MIN_TILE,
    NETWORK_TILE,
    network_memory,
    tiles_for,
    upscale_2x,
    upscale_plane_2x,
)


def nearest(scale):
    """A network that repeats pixels: after the antialiased resize to 2x its result is known everywhere."""
    return lambda x: x.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def blurring(scale):
    """A network with a receptive field, so that what a tile sees around itself matters."""
    kernel = torch.ones(3, 1, 9, 9) / 81

    def run(x):
        padded = torch.nn.functional.pad(x.contiguous(), (4, 4, 4, 4), mode="replicate")
        return nearest(scale)(torch.nn.functional.conv2d(padded, kernel, groups=3))

    return run


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 71), (101, 64)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_comes_back_at_exactly_2x(scale, height, width, channels):
    out = upscale_2x(torch.rand(2, height, width, channels), nearest(scale), scale)
    assert out.shape == (2, 2 * height, 2 * width, channels)
    assert out.dtype == torch.float32
    assert 0 <= out.min() and out.max() <= 1


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("tile", [32, 48, 64])
def test_tiles_leave_no_trace_where_the_overlap_covers_the_receptive_field(scale, tile):
    image = torch.rand(1, 97, 130, 3)
    whole = upscale_2x(image, blurring(scale), scale, tile=1000)
    tiled = upscale_2x(image, blurring(scale), scale, tile=tile, overlap=24)
    # Half of the overlap is blended over; its outer part still sees the tile's own border.
    assert (whole - tiled).abs().mean() < 2e-3
    inside = upscale_2x(image, nearest(scale), scale, tile=tile, overlap=24)
    assert torch.allclose(inside, upscale_2x(image, nearest(scale), scale, tile=1000), atol=3e-2)


def test_a_2x_network_is_passed_on_exactly():
    image = torch.rand(1, 70, 90, 3)
    expected = nearest(2)(image.movedim(-1, 1)).movedim(1, -1)
    assert torch.allclose(upscale_2x(image, nearest(2), 2, tile=40, overlap=8), expected, atol=1e-6)


def test_the_batch_is_kept_in_order():
    images = torch.stack([torch.full((64, 64, 3), level) for level in (0.1, 0.5, 0.9)])
    out = upscale_2x(images, nearest(4), 4, tile=40, overlap=8)
    assert torch.allclose(out.mean(dim=(1, 2, 3)), torch.tensor([0.1, 0.5, 0.9]), atol=1e-5)


def test_what_the_network_overshoots_is_clamped_before_the_downscale():
    out = upscale_2x(torch.rand(1, 64, 64, 3), lambda x: nearest(4)(x) * 3 - 1, 4)
    assert 0 <= out.min() and out.max() <= 1


def test_alpha_is_enlarged_and_kept():
    image = torch.rand(1, 64, 80, 4)
    image[..., 3] = torch.linspace(0, 1, 80)
    out = upscale_2x(image, nearest(4), 4)
    assert torch.allclose(out[..., 3], upscale_plane_2x(image[..., 3]))
    assert torch.allclose(out[0, 0, ::2, 3], image[0, 0, :, 3], atol=0.02)


@pytest.mark.parametrize("batch", [2, 3, 100])
def test_tiles_run_together_give_the_same(batch):
    image = torch.rand(2, 97, 130, 3)
    calls = []

    def network(x):
        calls.append(len(x))
        return blurring(4)(x)

    together = upscale_2x(image, network, 4, tile=64, overlap=16, batch=batch)
    assert max(calls) == min(batch, sum(calls)) and sum(calls) > 2
    assert torch.allclose(together, upscale_2x(image, blurring(4), 4, tile=64, overlap=16), atol=1e-5)


def test_tiles_fit_the_free_memory():
    plenty = 1e12
    assert tiles_for(plenty, 4, cpu=True) == (NETWORK_TILE, 1)
    assert tiles_for(plenty, 4, cpu=True, rows=32) == (NETWORK_TILE, 1)
    assert tiles_for(plenty, 4, cpu=False) == (NETWORK_TILE, MAX_BATCH)
    assert tiles_for(network_memory(NETWORK_TILE, 4) * 1.5, 4, cpu=False) == (NETWORK_TILE, 1)
    assert tiles_for(network_memory(NETWORK_TILE, 4) * 1.2, 4, cpu=False)[0] < NETWORK_TILE
    assert network_memory(NETWORK_TILE, 4, 32) < network_memory(NETWORK_TILE, 4) / 4
    assert tiles_for(0, 4, cpu=False) == (MIN_TILE, 1)
    for free in range(10**7, 10**10, 10**8):
        tile, batch = tiles_for(free, 4, cpu=False)
        assert tile == MIN_TILE or batch * network_memory(tile, 4) <= 0.75 * free


def test_progress_counts_every_tile_and_can_stop_the_work():
    seen = []
    upscale_2x(torch.rand(1, 64, 100, 3), nearest(2), 2, tile=48, overlap=8, on_tile=lambda *a: seen.append(a))
    total = seen[-1][1]
    assert seen == [(i, total) for i in range(total + 1)] and total > 2

    class Stop(Exception):
        pass

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        upscale_2x(torch.rand(1, 64, 64, 3), nearest(2), 2, on_tile=stop)


def test_half_precision_stays_close_to_float32():
    half = fast_dtype(torch.device("cpu"))
    if half is None:
        pytest.skip("this CPU has no fast half precision")
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 3, 3, padding=1)

    def network(x):
        return nearest(4)(convolution(x))

    image = torch.rand(1, 64, 64, 3)
    full, fast = (upscale_2x(image, network, 4, half=h) for h in (None, half))
    assert fast.dtype == torch.float32
    assert not torch.equal(full, fast)
    assert (full - fast).abs().max() < 0.02


def test_planes_keep_their_range():
    assert torch.allclose(upscale_plane_2x(torch.ones(1, 7, 9)), torch.ones(1, 14, 18))
    assert not upscale_plane_2x(torch.zeros(1, 7, 9)).any()
    assert resize(torch.ones(1, 1, 7, 9), 14, 18).shape == (1, 1, 14, 18)
