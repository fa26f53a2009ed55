"""Sharpening against the original's own files and against ComfyUI's node."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from distillery.nodes.imaging.sharpen import kernel, sharpen


def test_it_reproduces_distillerys_own_file(shared):
    source, target = (
        np.asarray(Image.open(shared / "images" / f"sdxl_sharpen_{alpha}.png").convert("RGB")).astype(np.float32)
        for alpha in ("0", "0.3")
    )
    result = sharpen(torch.from_numpy(source / 255)[None], 0.3)[0].numpy() * 255
    assert np.abs(result - target).mean() < 0.55
    # It must be the sharpening that fits, not any: other strengths are clearly further away.
    for wrong in (0.2, 0.4):
        assert np.abs(sharpen(torch.from_numpy(source / 255)[None], wrong)[0].numpy() * 255 - target).mean() > 0.7


def test_alpha_zero_is_the_image_itself():
    image = torch.rand(1, 9, 7, 3)
    assert sharpen(image, 0) is image


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shape_and_range_are_kept(channels):
    image = torch.rand(2, 65, 33, channels)
    out = sharpen(image, 1.0)
    assert out.shape == image.shape
    assert 0 <= out.min() and out.max() <= 1


def test_the_alpha_channel_is_kept():
    image = torch.rand(1, 16, 16, 4)
    out = sharpen(image, 0.5)
    assert torch.equal(out[..., 3], image[..., 3])
    assert not torch.equal(out[..., :3], image[..., :3])


def test_flat_areas_stay_as_they_are():
    flat = torch.full((1, 12, 12, 3), 0.4)
    assert torch.allclose(sharpen(flat, 1.0), flat, atol=1e-5)


def test_the_kernel_sums_to_one():
    assert kernel(0.3).sum().item() == pytest.approx(1, abs=1e-6)


def test_a_single_pixel_is_no_error():
    assert sharpen(torch.rand(1, 1, 1, 3), 0.3).shape == (1, 1, 1, 3)
