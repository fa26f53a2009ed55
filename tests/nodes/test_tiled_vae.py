"""The tiled VAE around ComfyUI's own VAE class."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distillery.nodes.tiling.vae import OVERLAP, UNTILED_MAX_SIDE, VAE_TILE, TiledVAE


class PerCell(torch.nn.Module):
    """Averages eight by eight pixels to a latent cell, and paints a cell's values over its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, ...]] = []

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(x.shape))
        return torch.cat([torch.nn.functional.avg_pool2d(x, 8), x[:, :1, ::8, ::8]], dim=1)

    def decode(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(x.shape))
        return torch.nn.functional.interpolate(x[:, :3], scale_factor=8)


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    """As ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture
def vae(comfy) -> Any:
    """ComfyUI's VAE of a TAESD, in float32, with random weights."""
    generator = torch.Generator().manual_seed(0)
    network = comfy.taesd.taesd.TAESD(latent_channels=4)
    for weight in network.parameters():  # ComfyUI leaves them as they lie in memory
        if weight.ndim:  # all but scale and shift
            spread = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.0
            weight.data = spread * torch.randn(weight.shape, generator=generator)
    return comfy.sd.VAE(sd=network.state_dict(), dtype=torch.float32)


@pytest.fixture
def per_cell(vae) -> Any:
    """The same whose tiles must agree exactly."""
    vae.first_stage_model = PerCell()
    return vae


def image(batch: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(1))


def latent(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("height", "width"), [(320, 256), (333, 262)])
def test_tiled_encoding_equals_whole(per_cell, height, width, channels):
    pixels = image(2, height, width, channels)
    whole = per_cell.encode(pixels)
    per_cell.first_stage_model.calls.clear()
    tiled = TiledVAE(per_cell, whole=200, tile=128, overlap=32).encode(pixels)
    calls = per_cell.first_stage_model.calls
    assert len(calls) > 4
    assert all(max(shape[-2:]) <= 144 for shape in calls)
    assert tiled.dtype == whole.dtype
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 32), (31, 57)])
def test_tiled_decoding_equals_whole(per_cell, height, width):
    cells = latent(2, height, width)
    whole = per_cell.decode(cells)
    per_cell.first_stage_model.calls.clear()
    tiled = TiledVAE(per_cell, whole=200, tile=128, overlap=32).decode(cells)
    calls = per_cell.first_stage_model.calls
    assert len(calls) > 4
    assert all(max(shape[-2:]) <= 18 for shape in calls)
    assert tiled.shape == (2, 8 * height, 8 * width, 3)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_convolutional_vae_is_exact_where_a_tile_is_alone_and_close_in_overlaps(vae):
    tiled = TiledVAE(vae, whole=100, tile=320, overlap=128)
    # Tiles of 40 cells at 0, 16 and 32: cells 16 to 55 are shared. An overlap is wider than what TAESD looks at.
    cells, pixels = latent(1, 24, 72), image(1, 192, 576)
    for whole, blended, shared in (
        (vae.decode(cells).movedim(-1, 1), tiled.decode(cells).movedim(-1, 1), slice(128, 448)),
        (vae.encode(pixels), tiled.encode(pixels), slice(16, 56)),
    ):
        apart = (blended - whole).abs()
        assert 0 < apart.max() < 0.1 * whole.std()
        assert apart.mean() < 0.01 * whole.std()
        apart[..., shared] = 0
        assert apart.max() < 1e-5


def test_small_canvases_run_whole_and_bit_for_bit(vae):
    tiled = TiledVAE(vae)
    assert torch.equal(tiled.decode(latent(1, 12, 9)), vae.decode(latent(1, 12, 9)))
    assert torch.equal(tiled.encode(image(1, 70, 99)), vae.encode(image(1, 70, 99)))


@pytest.mark.slow
def test_the_work_of_a_usual_canvas(per_cell):
    """2048 x 2048: 3x3 tiles of 768, 1.27 times the canvas; ComfyUI's tiled VAE does four times."""
    TiledVAE(per_cell).encode(image(1, 2048, 2048))
    TiledVAE(per_cell).decode(latent(1, 256, 256))
    calls = per_cell.first_stage_model.calls
    assert calls == [(1, 3, 768, 768)] * 9 + [(1, 4, 96, 96)] * 9
    assert (UNTILED_MAX_SIDE, VAE_TILE, OVERLAP) == (1536, 768, 128)


def test_all_else_is_the_vaes_own(vae):
    tiled = TiledVAE(vae)
    assert tiled.first_stage_model is vae.first_stage_model
    assert tiled.patcher is vae.patcher
    assert tiled.downscale_ratio == 8
    assert tiled.spacial_compression_encode() == 8
    assert torch.equal(tiled.decode_tiled(latent(1, 9, 9), tile_x=8, tile_y=8, overlap=2),
                       vae.decode_tiled(latent(1, 9, 9), tile_x=8, tile_y=8, overlap=2))  # fmt: skip
    assert torch.equal(tiled.encode_tiled(image(1, 72, 72), 64, 64, 16), vae.encode_tiled(image(1, 72, 72), 64, 64, 16))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = tiled.nothing_of_the_kind


def test_tiling_again_does_not_nest_and_copies_work(vae):
    tiled = TiledVAE(TiledVAE(vae), whole=100)
    assert tiled._vae is vae
    assert copy.copy(tiled).first_stage_model is vae.first_stage_model


def test_stock_nodes_take_it(comfy, per_cell):
    # Not by its name: "nodes" is also this project's folder, which pytest may have on its path.
    file = Path(comfy.sd.__file__).parent.parent / "nodes.py"
    spec = importlib.util.spec_from_file_location("comfyui_nodes", file)
    assert spec is not None
    assert spec.loader is not None
    comfy_nodes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(comfy_nodes)

    tiled = TiledVAE(per_cell, whole=100, tile=128, overlap=32)
    pixels = image(1, 320, 256)
    (encoded,) = comfy_nodes.VAEEncode().encode(tiled, pixels)
    assert len(per_cell.first_stage_model.calls) > 4
    torch.testing.assert_close(encoded["samples"], per_cell.encode(pixels), rtol=0, atol=1e-6)
    (decoded,) = comfy_nodes.VAEDecode().decode(tiled, encoded)
    torch.testing.assert_close(decoded, per_cell.decode(encoded["samples"]), rtol=0, atol=1e-6)
    mask = torch.zeros(1, 320, 256)
    mask[:, 50:99, 60:90] = 1
    (inpaint,) = comfy_nodes.VAEEncodeForInpaint().encode(tiled, pixels, mask)
    assert inpaint["samples"].shape == (1, 4, 40, 32)


def test_vaes_of_video_are_left_alone(per_cell):
    per_cell.latent_dim = 3
    per_cell.not_video = True
    seen: list[torch.Tensor] = []
    per_cell.encode = lambda pixels: seen.append(pixels) or pixels
    per_cell.decode = lambda samples: seen.append(samples) or samples
    tiled = TiledVAE(per_cell, whole=100, tile=128, overlap=32)
    pixels, cells = image(1, 320, 256), torch.zeros(1, 4, 1, 40, 32)
    assert tiled.encode(pixels) is pixels
    assert tiled.decode(cells) is cells
    assert seen[0] is pixels
    assert seen[1] is cells


def test_a_latent_with_one_frame_decodes_as_its_frame(per_cell):
    tiled = TiledVAE(per_cell, whole=100, tile=128, overlap=32)
    cells = latent(1, 40, 32)
    decoded = tiled.decode(cells[:, :, None])
    assert len(per_cell.first_stage_model.calls) > 4
    torch.testing.assert_close(decoded, per_cell.decode(cells), rtol=0, atol=1e-6)


def test_running_out_of_memory_in_a_tile_falls_back_for_that_tile(comfy, per_cell):
    network = per_cell.first_stage_model
    plain, failed = network.decode, []

    def decode(x: torch.Tensor) -> torch.Tensor:
        if not failed:
            failed.append(x)
            raise torch.OutOfMemoryError("no memory")
        return plain(x)

    network.decode = decode
    cells = latent(1, 40, 32)
    tiled = TiledVAE(per_cell, whole=100, tile=128, overlap=32).decode(cells)
    assert failed
    torch.testing.assert_close(tiled, per_cell.decode(cells), rtol=0, atol=1e-6)


def test_interrupting_stops_between_tiles(comfy, per_cell):
    import comfy.model_management as management

    network = per_cell.first_stage_model
    plain = network.decode
    network.decode = lambda x: (management.interrupt_current_processing(True), plain(x))[1]
    with pytest.raises(management.InterruptProcessingException):
        TiledVAE(per_cell, whole=100, tile=128, overlap=32).decode(latent(1, 40, 32))
    management.interrupt_current_processing(False)
    assert len(network.calls) == 1
