"""The node Upscale 2x inside the real ComfyUI, on the CPU, with a network whose result is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distillery.nodes.imaging.upscale import MIN_TILE, upscale_2x


class Model:
    """What Load UltraSharp gives: a network that repeats pixels, and runs out of memory on large tiles."""

    scale = 4

    def __init__(self, comfy: Any, largest: int) -> None:
        cpu = torch.device("cpu")
        self.patcher = comfy.model_patcher.ModelPatcher(torch.nn.Conv2d(1, 1, 1), cpu, cpu)
        self.largest = largest
        self.sides: list[int] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        import comfy.model_management as management

        self.sides.append(x.shape[-1])
        if x.shape[-1] > self.largest:
            raise management.OOM_EXCEPTION("no memory left")
        return x.repeat_interleave(4, -1).repeat_interleave(4, -2)


def run(model: Model, image: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    from distillery.nodes.comfyui.upscale_2x import Upscale2x

    with torch.inference_mode():
        enlarged, mask = Upscale2x.execute(model, image, mask).result
    return enlarged, mask


def test_out_of_memory_is_tried_again_with_smaller_tiles(comfy):
    image = torch.rand(1, 300, 300, 3)
    model = Model(comfy, largest=140)
    enlarged, mask = run(model, image)
    assert model.sides[0] > 140 and max(model.sides[1:]) <= 140
    expected = upscale_2x(image, Model(comfy, 10_000), 4, tile=128)
    torch.testing.assert_close(enlarged, expected)
    assert mask.shape == (1, 600, 600) and not mask.any()


def test_it_gives_up_at_the_smallest_tile_with_comfyuis_own_error(comfy):
    import comfy.model_management as management

    model = Model(comfy, largest=0)
    with pytest.raises(management.OOM_EXCEPTION):
        run(model, torch.rand(1, 300, 300, 3))
    assert model.sides[-1] <= MIN_TILE * 9 / 8


def test_other_errors_are_not_tried_again(comfy):
    model = Model(comfy, largest=10_000)

    def broken(x: torch.Tensor) -> torch.Tensor:
        model.sides.append(0)
        raise ValueError("broken")

    model.__class__ = type("Broken", (Model,), {"__call__": lambda self, x: broken(x)})
    with pytest.raises(ValueError, match="broken"):
        run(model, torch.rand(1, 100, 100, 3))
    assert model.sides == [0]


def test_a_mask_is_enlarged_with_the_image(comfy):
    mask = torch.zeros(1, 70, 90)
    mask[:, 20:40, 30:60] = 1
    enlarged, large = run(Model(comfy, 10_000), torch.rand(1, 70, 90, 3), mask)
    assert enlarged.shape[1:3] == large.shape[1:] == (140, 180)
    assert large[0, 60, 90] > 0.99 and large[0, 10, 10] == 0


def test_a_model_without_a_patcher_gets_one_that_it_keeps(comfy):
    """As ComfyUI 0.27 loads them, and other packs may."""
    model = Model(comfy, 10_000)
    model.model, model.patcher = torch.nn.Conv2d(1, 1, 1), None
    run(model, torch.rand(1, 70, 90, 3))
    kept = model.patcher
    assert kept.model is model.model
    run(model, torch.rand(1, 70, 90, 3))
    assert model.patcher is kept


def test_a_model_that_overflows_in_half_precision_runs_in_float32(comfy, monkeypatch):
    from distillery.nodes.comfyui import upscale_2x as node

    class Overflows(Model):
        supports_bfloat16 = True

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            enlarged = super().__call__(x)
            return enlarged * float("inf") if torch.is_autocast_enabled("cpu") else enlarged

    monkeypatch.setattr(node, "fast_dtype", lambda device: torch.bfloat16)
    image = torch.rand(1, 70, 90, 3) + 0.1
    model = Overflows(comfy, 10_000)
    enlarged, _ = run(model, image)
    assert len(model.sides) == 2
    torch.testing.assert_close(enlarged, upscale_2x(image, Model(comfy, 10_000), 4))
