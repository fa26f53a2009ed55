"""ESRGANs in half precision against spandrel's own in float32."""

from __future__ import annotations

import importlib

import pytest
import torch

from distillery.nodes.imaging import esrgan
from distillery.nodes.imaging.esrgan import half_esrgan


def network(scale: int = 4, blocks: int = 1, **more) -> torch.nn.Module:
    module = importlib.import_module("spandrel.architectures.ESRGAN.__arch.RRDB")
    torch.manual_seed(0)
    made = module.RRDBNet(in_nc=3, out_nc=3, num_filters=64, num_blocks=blocks, scale=scale, **more)
    # As trained weights do, these keep the features' size from layer to layer.
    for parameter in made.parameters():
        std = 1.4 / (9 * parameter.shape[1]) ** 0.5 if parameter.ndim > 1 else 0.05
        torch.nn.init.normal_(parameter, std=std)
    return made.eval().requires_grad_(False)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(b.var() / ((a.float() - b) ** 2).mean()))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("scale", "upsampler"), [(1, "upconv"), (2, "upconv"), (4, "upconv"), (4, "pixel_shuffle")])
def test_it_computes_what_the_network_does(scale, upsampler, plain, monkeypatch):
    if plain:  # as on GPUs, and where torch lacks its private operators
        monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", None, raising=False)
    made = network(scale, upsampler=upsampler)
    image = torch.rand(2, 3, 12, 17, generator=torch.Generator().manual_seed(1))
    half = half_esrgan(made, torch.bfloat16)
    assert half is not None
    with torch.inference_mode():
        assert psnr(half(image), made(image)) > 35


@pytest.mark.parametrize(("scale", "upsampler"), [(1, "upconv"), (2, "upconv"), (4, "upconv"), (4, "pixel_shuffle")])
def test_strips_change_nothing(scale, upsampler, monkeypatch):
    made = network(scale, upsampler=upsampler)
    image = torch.rand(2, 3, 37, 11, generator=torch.Generator().manual_seed(1))
    step = half_esrgan(made, torch.float32)
    assert step is not None
    monkeypatch.setattr(esrgan, "ROWS", 8)
    with torch.inference_mode():
        torch.testing.assert_close(step(image), made(image), rtol=1e-4, atol=1e-4)


def test_it_can_be_ended_between_blocks():
    calls = []

    def between() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    step = half_esrgan(network(blocks=3), torch.bfloat16, between)
    assert step is not None
    with pytest.raises(InterruptedError), torch.inference_mode():
        step(torch.rand(1, 3, 16, 16))
    assert len(calls) == 2


@pytest.mark.slow
def test_many_blocks_lose_less_than_with_autocast():
    made = network(blocks=23)
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    half = half_esrgan(made, torch.bfloat16)
    assert half is not None
    with torch.inference_mode():
        exact = made(image)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = made(image)
        assert psnr(half(image), exact) > psnr(rounded, exact) + 2


def test_weights_are_read_when_it_is_called(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", None, raising=False)
    made = network(blocks=1)
    image = torch.rand(1, 3, 16, 16)
    half = half_esrgan(made, torch.bfloat16)
    assert half is not None
    with torch.inference_mode():
        before = half(image)
        made.model[-1].bias += 1
        assert psnr(half(image) - 1, before.float()) > 25


@pytest.mark.parametrize(
    "other",
    [
        lambda: torch.nn.Conv2d(3, 3, 3),
        lambda: network(2, plus=True),
        lambda: network(2, shuffle_factor=2),
        lambda: network(2, act="prelu"),
        lambda: torch.nn.Module(),
    ],
)
def test_other_networks_are_left_alone(other):
    assert half_esrgan(other(), torch.bfloat16) is None
