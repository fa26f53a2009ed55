"""Values that are no numbers: found, and told by the stage that made them."""

from __future__ import annotations

import pytest
import torch

from distillery.nodes.finite import NotFiniteError, is_finite
from distillery.nodes.imaging.upscale import upscale_2x
from distillery.nodes.tiling.vae import TiledVAE

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
def test_one_bad_value_is_enough(dtype, value):
    values = torch.rand(3, 4, 5).to(dtype)
    assert is_finite(values)
    values[1, 2, 3] = value
    assert not is_finite(values)


def test_what_holds_no_floats_or_nothing_is_finite():
    assert is_finite(torch.zeros(0)) and is_finite(torch.zeros(3, dtype=torch.uint8))


@pytest.mark.parametrize("value", [NAN, INFINITE])
def test_an_upscale_model_that_overflows_in_one_tile_is_told(value):
    def network(x: torch.Tensor) -> torch.Tensor:
        bright = x.amax() > 0.9
        return (x * value if bright else x).repeat_interleave(2, -1).repeat_interleave(2, -2)

    image = torch.rand(1, 100, 150, 3) * 0.8
    upscale_2x(image, network, 2, tile=64)
    image[0, 90, 140] = 1
    with pytest.raises(NotFiniteError, match="upscale model"):
        upscale_2x(image, network, 2, tile=64)


class VAE:
    """As much of ComfyUI's class as is asked here."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 4, 8, 8), self.value)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 64, 64, 3), self.value)


def test_a_latent_is_told_from_a_decoded_picture():
    latent = torch.rand(1, 4, 8, 8)
    assert TiledVAE(VAE()).decode(latent).shape == (1, 64, 64, 3)
    with pytest.raises(NotFiniteError, match=r"The VAE .*--fp32-vae"):
        TiledVAE(VAE(NAN)).decode(latent)
    with pytest.raises(NotFiniteError, match=r"The VAE .*--fp32-vae"):
        TiledVAE(VAE(NAN)).encode(torch.rand(1, 64, 64, 3))
    latent[0, 1, 2, 3] = INFINITE
    with pytest.raises(NotFiniteError, match=r"The HiRes pass .*--model NAME.*--fp32-unet"):
        TiledVAE(VAE()).decode(latent)


def test_without_tiles_the_vae_is_looked_at_too(comfy):
    from distillery.nodes.comfyui.hires_tiles import HiResTiles

    model = object()
    same, vae = HiResTiles.execute(model, VAE(NAN), "off", 768, 128).result
    assert same is model
    with pytest.raises(NotFiniteError):
        vae.decode(torch.rand(1, 4, 8, 8))


def test_a_black_picture_is_not_saved(comfy):
    from distillery.nodes.comfyui.save import SaveImageRecord
    from distillery.nodes.generation import Generation

    with pytest.raises(NotFiniteError, match="saved as black"):
        SaveImageRecord.execute(torch.full((1, 64, 64, 3), NAN), Generation(), "x")
