"""Keeping colours: low frequencies of one picture, detail of the other."""

from __future__ import annotations

import pytest
import torch

from distillery.nodes.imaging.colour import keep_colours, low_band


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_shift_of_all_colours_is_undone_and_detail_stays():
    source = 0.3 + 0.4 * noise(1, 96, 80, 3)
    shifted = source + torch.tensor([0.05, -0.03, 0.02])
    torch.testing.assert_close(keep_colours(shifted, source), source, atol=1e-5, rtol=0)
    detail = (noise(1, 96, 80, 3, seed=1) - 0.5) * 0.1
    detail -= low_band(detail.movedim(-1, 1), 5).movedim(1, -1)
    kept = keep_colours(shifted + detail, source) - source
    assert (kept - detail).abs().mean() < 0.1 * detail.abs().mean()


def test_a_slow_drift_of_colour_is_undone():
    source = torch.full((1, 256, 256, 3), 0.5)
    drift = 0.1 * torch.sin(torch.arange(256) / 256 * 2 * torch.pi)[None, None, :, None]
    assert (keep_colours(source + drift, source) - source).abs().mean() < 0.1 * drift.abs().mean()


def test_the_same_picture_stays_as_it_is():
    picture = noise(2, 33, 47, 3)
    torch.testing.assert_close(keep_colours(picture, picture), picture)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (64, 65)])
def test_any_size_alpha_and_one_source_for_a_batch(height, width):
    out = keep_colours(noise(2, height, width, 3), noise(1, height, width, 4, seed=2))
    assert out.shape == (2, height, width, 3)
    assert 0 <= out.min() and out.max() <= 1


def test_half_precision_stays():
    picture = noise(1, 40, 40, 3).to(torch.bfloat16)
    assert keep_colours(picture, picture).dtype == torch.bfloat16
