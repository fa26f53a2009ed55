"""The parts of distillery-mini's training whose mistakes would show only after an hour."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distillery.tools.mini import measures, train_unet
from distillery.tools.mini.autoencoder import Optimizer, begin_well, drift, pyramid, shipped
from distillery.tools.mini.model import Decoder, Encoder, UNet, channels_last, sigmas
from distillery.tools.mini.run import Run
from distillery.tools.mini.train_decoder import CFG, SHARE, moved, sample, sharpened, sharpening, sharper
from distillery.tools.mini.train_vae import windows


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(3)
    decoder = Decoder()
    begin_well(decoder)
    return channels_last(decoder)


@torch.no_grad()
def test_pyramid_ends_in_what_the_decoder_makes(decoder):
    latents = torch.randn(2, 4, 6, 5)
    pictures = pyramid(decoder, latents)
    assert [tuple(picture.shape) for picture in pictures] == [(2, 3, 6 * n, 5 * n) for n in (1, 2, 4, 8)]
    assert torch.allclose(pictures[-1], decoder(latents), atol=0.02)  # bf16
    assert torch.equal(pyramid(decoder, latents, 1)[1], pictures[1])


@torch.no_grad()
def test_decoder_begins_grey_and_every_level_with_the_picture_of_the_one_below(decoder):
    pictures = pyramid(decoder, 0.5 * torch.randn(1, 4, 12, 12))
    assert abs(float(pictures[0].mean()) - 0.5) < 0.1
    for below, above in itertools.pairwise(pictures):
        inner = slice(4, -4)
        difference = (F.avg_pool2d(above, 2) - below)[..., inner, inner]
        assert float(difference.abs().mean()) < 0.1


def test_drift_is_the_colour_shift_of_the_evaluation():
    random = np.random.default_rng(5)
    a, b = random.random((2, 64, 48, 3))
    ours = drift(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b)), cell=16)
    assert 100 * float(ours) == pytest.approx(measures.colour_shift(a, b), rel=0.01)


def test_drift_has_a_gradient_at_black():
    out = torch.zeros(1, 3, 16, 16, requires_grad=True)
    drift(out, torch.full((1, 3, 16, 16), 0.1), 16).backward()
    assert torch.isfinite(out.grad).all()


@pytest.mark.slow  # PyTorch's Muon computes in bfloat16, which takes minutes on CPUs without it
def test_optimizer_moves_the_weights_of_the_network_itself(decoder):
    before = {name: weights.detach().clone() for name, weights in decoder.named_parameters()}
    latents, wanted = torch.randn(2, 4, 4, 4), torch.rand(2, 3, 32, 32)
    optimizer, errors = Optimizer(decoder), []
    for _ in range(30):
        error = (pyramid(decoder, latents)[-1] - wanted).square().mean()
        decoder.zero_grad()
        error.backward()
        optimizer.step(1e-3)
        errors.append(float(error.detach()))
    assert errors[-1] < 0.9 * errors[0]
    assert all(not torch.equal(before[name], weights) for name, weights in decoder.named_parameters())


def test_sharpening_is_the_least_of_what_it_says():
    """|x - y|^2 - share |D y|^2, with the evaluation's own D, and D D for D^2: y is (1 - share D^2)^-1 x."""
    random, share = np.random.default_rng(10), 0.5
    picture = np.repeat(random.random((64, 64, 1)), 3, axis=-1)
    result = sharpened(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), sharpening(share))
    result = result[0].permute(1, 2, 0).double().numpy() / 4 + 0.4  # detail() wants 0 to 1
    again = np.repeat(measures.detail(result)[..., None], 3, axis=-1) / 4 + 0.5
    back = result - share * 4 * np.repeat(measures.detail(again)[..., None], 3, axis=-1)
    inner = slice(20, -20)
    np.testing.assert_allclose(back[inner, inner], (picture / 4 + 0.4)[inner, inner], atol=1e-3)


def test_sharpening_leaves_colours_and_flat_places():
    torch.manual_seed(11)
    flat = torch.full((1, 3, 32, 32), 0.3)
    assert torch.allclose(sharpened(flat, sharpening(SHARE)), flat, atol=1e-5)
    picture = F.avg_pool2d(torch.rand(1, 3, 130, 130), 3, 1)
    stronger = sharpened(picture, sharpening(SHARE))
    difference = stronger - picture
    assert torch.allclose(difference[:, :1].expand_as(difference), difference, atol=1e-5)
    assert float(drift(stronger, picture, 16)) < 0.01 < float(difference.std())


@torch.no_grad()
def test_the_sharp_decoder_is_to_make_what_its_teacher_makes_sharpened(decoder):
    latents, loss = torch.randn(1, 4, 8, 8), sharper(decoder)
    picture = decoder(latents)
    wanted = sharpened(picture, sharpening(SHARE))
    assert float(loss([picture] * 3 + [wanted], latents, picture)) == pytest.approx(1e-3, rel=0.01)
    assert float(loss([picture] * 4, latents, picture)) > 2e-3


def test_weights_move_towards_several_others_and_beyond():
    begin, one, other = ({"a": torch.full((2,), value)} for value in (1.0, 11.0, 101.0))
    assert torch.allclose(moved(begin, [(1.5, one), (0.25, other)])["a"], torch.tensor(1.0 + 15 + 25))


def test_optimizer_moves_what_stands_apart_faster():
    torch.manual_seed(8)
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    apart = list(network[1].parameters())
    optimizer, before = Optimizer(network, apart, factor=0), network[1].weight.detach().clone()
    for _ in range(2):
        network.zero_grad()
        network(torch.randn(4, 8)).square().mean().backward()
        optimizer.step(1e-3)
    assert len(optimizer.matrices) == 1 and torch.equal(network[1].weight, before)


class Oracle(nn.Module):
    """Knows the clean latents, and is off by ``bias`` where there is text."""

    def __init__(self, clean: torch.Tensor, bias: float) -> None:
        super().__init__()
        self.clean, self.bias = clean, bias

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        sigma = sigmas()[t][:, None, None, None]
        noise = (x.float() * (sigma.square() + 1).sqrt() - self.clean.repeat(2, 1, 1, 1)) / sigma
        return noise + self.bias * context.mean(dim=(1, 2))[:, None, None, None]


def test_sampling_ends_at_the_clean_latents_and_multiplies_what_the_text_does():
    torch.manual_seed(9)
    clean, told, untold = 4 * torch.randn(3, 4, 8, 8), torch.ones(3, 77, 768), torch.zeros(3, 77, 768)
    plain = sample(Oracle(clean, 0.0), clean, 0.32, told, untold)
    assert float((plain - clean).abs().mean()) < 0.03  # timesteps are whole numbers
    # An error that only the text makes is multiplied by the guidance, one that is made with and without it is not.

    def shift(without_text: torch.Tensor) -> float:
        torch.manual_seed(9)
        torch.randn(3, 4, 8, 8)
        return float((plain - sample(Oracle(clean, 0.1), clean, 0.32, told, without_text)).mean())

    assert shift(untold) == pytest.approx(CFG * shift(told), rel=0.02) != 0


def test_what_ships_fits_the_networks():
    UNet().load_state_dict(shipped("model.diffusion_model"))
    Encoder().load_state_dict(shipped("first_stage_model.taesd_encoder"))
    Decoder().load_state_dict(shipped("first_stage_model.taesd_decoder"))


@torch.no_grad()
def test_latents_of_another_scale_go_on_with_what_the_first_layer_knows(monkeypatch):
    before, after = UNet(), UNet()
    train_unet.begin_with_shipped(before)
    monkeypatch.setattr(train_unet, "LATENT_SCALE", 3 * train_unet.LATENT_SCALE)
    train_unet.begin_with_shipped(after)
    latents = torch.randn(1, 4, 8, 8)
    first = [unet.get_submodule("input_blocks.0.0") for unet in (before, after)]
    assert torch.allclose(first[0](latents), first[1](3 * latents), atol=1e-5)
    names = [
        name for name, weights in before.state_dict().items() if not torch.equal(weights, after.state_dict()[name])
    ]
    assert names == ["input_blocks.0.0.weight"]


def test_windows_of_latents_and_pixels_are_of_the_same_place():
    pixels = np.random.default_rng(6).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    crops = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    latents = F.avg_pool2d(crops, 8)[:, [0, 1, 2, 0]]
    given, original = windows(latents, pixels, 5, 16, np.random.default_rng(7))
    assert given.shape == (5, 4, 16, 16)
    assert torch.allclose(F.avg_pool2d(original, 8), given[:, :3], atol=1e-6)


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    wanted = torch.arange(4.0)

    def train(steps: int, stop: int) -> torch.Tensor:
        """Up to ``stop`` of ``steps`` steps; the weights then."""
        torch.manual_seed(12)
        network = nn.Linear(1, 4)
        adam = torch.optim.Adam(network.parameters(), lr=0.1)
        run = Run(tmp_path, "try", steps, ["error"], {"network": network, "adam": adam}, every=5)
        for step in range(run.begin, stop):
            loss = (network(torch.ones(1, 1)) - wanted).square().mean()
            network.zero_grad()
            loss.backward()
            adam.step()
            if run.due(step + 1, loss):
                run.write(step + 1, [float(loss.detach())])
        return network(torch.ones(1, 1)).detach()

    whole = train(12, 12)
    (tmp_path / "try.state.pt").unlink()
    (tmp_path / "try.csv").unlink()
    train(12, 8)  # the state is that of step 5
    assert torch.equal(train(12, 12), whole)
    lines = (tmp_path / "try.csv").read_text().splitlines()
    assert lines[0] == "step,seconds,loss,error"
    assert [line.split(",")[0] for line in lines[1:]] == ["5", "10", "12"]
    assert torch.equal(train(12, 12), whole), "nothing is left to do"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["try.csv", "try.state.pt"]
