"""Train the decoder of distillery-mini, on the latents of its encoder as it is.

    ./distillery python -m distillery.tools.mini.train_decoder WORK --steps 7000

Wants WORK/vae.pt from train_vae and the crops and latents that train_unet makes first. The shape is TAESD's, the way
there is a pyramid's: three of the 64 channels of each level hold the picture in that level's size, and are trained to.
Colours are then settled where a pixel costs a 64th, in minutes, and every level above adds detail alone. (Trained as a
whole, the decoder was off by 1 % in the mean colour of 16 pixels, ten times what a linear transform of as many numbers
loses.) In full size a discriminator of small patches teaches texture (hinge loss, https://arxiv.org/abs/1705.02894),
as it did TAESD and SD's own autoencoder. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .measures import TO_XYZ, WHITE
from .model import Block, Decoder, Encoder, channels_last
from .train_vae import held_out, laplace

LATENT_NOISE = 0.02
"""Standard deviation of noise on the latents: the decoder must forgive what the sampler gets wrong."""
LEVELS = (slice(0, 6), slice(6, 11), slice(11, 16), slice(16, 20))
"""Layers of the decoder that make the picture in 8, 4, 2 and 1 pixels of the original a pixel."""


class Phase(NamedTuple):
    """So many steps with the pyramid up to one level: windows a step, their side in latents, highest learning rate."""

    steps: int
    level: int
    windows: int
    side: int
    rate: float


COARSE = (Phase(1600, 0, 16, 32, 1e-3), Phase(1200, 1, 8, 32, 8e-4), Phase(600, 2, 8, 16, 6e-4))
TOP = len(LEVELS) - 1


def pyramid(decoder: nn.Module, latents: Tensor, top: int = TOP) -> list[Tensor]:
    """Latents (B, 4, H, W) to the pictures (B, 3, H, W), (B, 3, 2H, 2W) and so on up to level ``top``."""
    every, pictures, x = list(decoder.children()), [], latents
    for level, layers in enumerate(LEVELS[: top + 1]):
        # The lowest level holds colours, of which bf16 would keep 7 bits.
        with torch.autocast("cpu", torch.bfloat16, enabled=level > 0):
            for layer in every[layers]:
                x = layer(x)
        pictures.append(x[:, :3].float())
    return pictures


def begin_well(decoder: Decoder) -> None:
    """First weights: the picture of each level is that of the level below, interpolated; every block is nearly the
    identity; the lowest picture is grey."""
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    module.bias.zero_()
        for module in decoder.modules():
            if isinstance(module, Block):
                module.conv[4].get_parameter("weight").mul_(0.2)
                module.conv[4].get_parameter("weight")[:3].mul_(0.2)
        start, *ups = (decoder[i] for i in (1, 7, 12, 17))
        start.get_parameter("weight")[:3].mul_(0.1)
        start.get_parameter("bias")[:3].fill_(0.5)
        tent = torch.tensor([0.25, 0.5, 0.25])
        for up in ups:
            weight = up.get_parameter("weight")
            weight[:3].mul_(0.02)
            for i in range(3):
                weight[i, i] = tent[:, None] * tent
        last = decoder[19].get_parameter("weight")
        last.mul_(0.05)
        for i in range(3):
            last[i, i, 1, 1] = 1


def likeness(out: Tensor, wanted: Tensor, scale: int) -> Tensor:
    """What the evaluation measures: pixels, and the mean colours of cells of 8 and 16 pixels of the original, of which
    a pixel here is ``scale``.

    Root mean square by window, not over the batch: PSNR is a logarithm, and one window of gravel is not to
    outweigh seven of skin.
    """
    pixels = ((out - wanted).square().mean(dim=(1, 2, 3)) + 1e-4).sqrt().mean()
    return pixels + 0.5 * drift(out, wanted, 8 // scale) + 1.5 * drift(out, wanted, 16 // scale)


def drift(out: Tensor, wanted: Tensor, cell: int) -> Tensor:
    """Mean Delta E (CIE 1976), as a share of 100, between the mean colours of square cells of so many pixels."""
    difference = _lab(F.avg_pool2d(out, cell)) - _lab(F.avg_pool2d(wanted, cell))
    return (difference.square().sum(dim=1) + 1e-2).sqrt().mean() / 100


def _lab(x: Tensor) -> Tensor:
    """(B, 3, H, W), sRGB 0 … 1, to CIE L*a*b* of D65, with a gradient wherever x is over 0."""
    x = x.clamp(min=0)
    linear = torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("oc,bchw->bohw", torch.from_numpy(TO_XYZ / WHITE[:, None]).to(linear), linear)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=(6 / 29) ** 3) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], dim=1)


def texture(out: Tensor, wanted: Tensor) -> Tensor:
    """How strong fine detail is around each place, in two bands of brightness, wherever exactly it lies; in value, and
    a little in proportion, or faint detail would be left out.

    What the latent does not hold cannot be drawn where it was; a likeness in pixels alone answers with blur.
    """
    difference = out.new_zeros(())
    a, b = out.mean(dim=1, keepdim=True), wanted.mean(dim=1, keepdim=True)
    for _ in range(2):
        ours, theirs = ((F.avg_pool2d(laplace(x).square(), 8, 4) + 1e-5).sqrt() for x in (a, b))
        difference = difference + (ours - theirs).abs().mean() + 0.01 * (ours / theirs).log().abs().mean()
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return difference


class Discriminator(nn.Sequential):
    """(B, 3, H, W) to a map of judgements on patches of about 38 pixels."""

    def __init__(self, width: int = 48) -> None:
        def layer(n_in: int, n_out: int, stride: int) -> list[nn.Module]:
            conv = nn.Conv2d(n_in, n_out, 4 if stride == 2 else 3, stride, 1)
            return [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(0.2)]

        super().__init__(
            *layer(3, width, 2), *layer(width, 2 * width, 1), *layer(2 * width, 2 * width, 2),
            *layer(2 * width, 2 * width, 1), *layer(2 * width, 2 * width, 2), nn.Conv2d(2 * width, 1, 3, padding=1),
        )  # fmt: skip

    def features(self, x: Tensor) -> list[Tensor]:
        found = []
        for layer in self:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return [*found, x]


class Optimizer:
    """Muon for the convolutions between hidden layers, AdamW for the rest (https://kellerjordan.github.io/posts/muon).

    torch's Muon takes matrices; a convolution's weights are one, outputs by everything else, in the same memory.
    """

    def __init__(self, network: nn.Module) -> None:
        hidden = {p for p in network.parameters() if p.ndim == 4 and min(p.shape[:2]) > 4}
        self.hidden = [p for p in network.parameters() if p in hidden]
        self.matrices = [nn.Parameter(p.data.permute(0, 2, 3, 1).reshape(len(p), -1)) for p in self.hidden]
        if any(m.data_ptr() != p.data_ptr() for m, p in zip(self.matrices, self.hidden, strict=True)):
            raise ValueError("the network's weights are not in the order channels_last")
        rest = [p for p in network.parameters() if p not in hidden]
        self.muon = torch.optim.Muon(self.matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        self.adam = torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def step(self, rate: float) -> None:
        for matrix, parameter in zip(self.matrices, self.hidden, strict=True):
            gradient = parameter.grad
            matrix.grad = None if gradient is None else gradient.permute(0, 2, 3, 1).reshape(matrix.shape)
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def windows(latents: Tensor, pixels: np.ndarray, phase: Phase, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows of crops, chosen at random: their latents (B, 4, side, side) and pixels (B, 3, 8 side, 8 side)."""
    given, original = [], []
    for i in random.integers(0, len(latents), phase.windows):
        y, x = random.integers(0, latents.shape[-1] - phase.side + 1, 2)
        given.append(latents[i, :, y : y + phase.side, x : x + phase.side])
        original.append(pixels[i, 8 * y : 8 * (y + phase.side), 8 * x : 8 * (x + phase.side)])
    picture = torch.from_numpy(np.stack(original)).permute(0, 3, 1, 2).float() / 255
    return (
        torch.stack(given).float().contiguous(memory_format=torch.channels_last),
        picture.contiguous(memory_format=torch.channels_last),
    )


@torch.no_grad()
def judge(decoder: nn.Module, exam: list[tuple[Tensor, Tensor]], level: int) -> tuple[float, float, float]:
    """Of the level's pictures: mean PSNR in dB, ratio of edge strength to the original's, colour shift in Delta E."""
    psnr, sharpness, shift = [], [], []
    for latents, original in exam:
        out = pyramid(decoder, latents, level)[-1].clamp(0, 1)
        wanted = F.avg_pool2d(original, 8 >> level)
        psnr.append(-10 * math.log10(float((out - wanted).square().mean())))
        sharpness.append(float(laplace(out).square().mean() / laplace(wanted).square().mean()))
        shift.append(100 * float(drift(out, wanted, 2 << level)))
    return float(np.mean(psnr)), float(np.mean(sharpness)), float(np.mean(shift))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument(
        "--steps", type=int, default=7000, help="in full size, after 3,400 in the others (default 7000)"
    )
    parser.add_argument("--adversarial", type=float, default=0.06, help="weight of the discriminator's judgement")
    parser.add_argument("--texture", type=float, default=0.4, help="weight of the strength of fine detail")
    parser.add_argument("--judge-rate", type=float, default=1e-3, help="learning rate of the discriminator")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    # Before there are threads: they inherit it. Gradients of early steps are full of them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    work: Path = arguments.work
    state_file = work / "decoder.state.pt"
    phases = [*COARSE, Phase(arguments.steps, TOP, 5, 16, 5e-4)]

    start = torch.load(work / "vae.pt")
    encoder, decoder = Encoder(), Decoder()
    encoder.load_state_dict(start["encoder"])
    begin_well(decoder)
    channels_last(encoder)
    channels_last(decoder)
    average = torch.optim.swa_utils.AveragedModel(
        decoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    optimizer = Optimizer(decoder)
    critic = channels_last(Discriminator())
    critic_optimizer = torch.optim.AdamW(critic.parameters(), lr=arguments.judge_rate, betas=(0.5, 0.9), fused=True)
    begin = 0
    if state_file.is_file():
        state = torch.load(state_file)
        begin = state["step"]
        decoder.load_state_dict(state["decoder"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        critic.load_state_dict(state["critic"])
        critic_optimizer.load_state_dict(state["critic_optimizer"])

    latents = torch.from_numpy(np.load(work / "latents.npz")["latents"])
    pixels = np.load(work / "crops.npy", mmap_mode="r")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        exam = [(encoder(picture).float(), picture) for picture in held_out(work)]
    random = np.random.default_rng(1000 + begin)
    log = (work / "decoder.csv").open("a", newline="")
    writer = csv.writer(log)
    if begin == 0:
        writer.writerow(["step", "seconds", "level", "loss", "adversarial", "psnr", "sharpness", "delta_e"])
    shown, since, losses, judged = time.time(), time.time(), [], []
    plan = [(phase, at) for phase in phases for at in range(phase.steps)]
    for step, (phase, at) in enumerate(plan[begin:], begin):
        floor = 0.02 if phase.level == TOP else 0.1
        falling = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * at / phase.steps))
        given, original = windows(latents, pixels, phase, random)
        given = given + LATENT_NOISE * torch.randn_like(given)
        pictures = pyramid(decoder, given, phase.level)
        terms = [
            likeness(picture, F.avg_pool2d(original, 8 >> level), 8 >> level) for level, picture in enumerate(pictures)
        ]
        losses.append(float(terms[-1].detach()))
        loss = terms[-1] + 0.5 * sum(terms[:-1])
        full_size = phase.level == TOP
        out, wanted = pictures[-1], original
        if full_size:
            edges = sum((d(out) - d(wanted)).abs().mean() for d in (lambda x: x.diff(dim=2), lambda x: x.diff(dim=3)))
            loss = loss + 0.5 * edges + arguments.texture * texture(out, wanted)
            for parameter in critic.parameters():
                parameter.requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16):
                ours = critic.features(out)
                with torch.no_grad():
                    theirs = critic.features(wanted)
            fooled = -ours[-1].float().mean()
            alike = sum((a.float() - b.float()).abs().mean() for a, b in zip(ours[:-1], theirs[:-1], strict=True))
            loss = loss + min(1.0, at / 300) * arguments.adversarial * (fooled + 2 * alike)
        decoder.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step(phase.rate * min(1.0, (at + 1) / 50) * falling)
        average.update_parameters(decoder)
        if full_size:
            for parameter in critic.parameters():
                parameter.requires_grad_(True)
            with torch.autocast("cpu", torch.bfloat16):
                both = critic(torch.cat([wanted, out.detach()])).float()
            real, fake = both.chunk(2)
            verdict = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
            critic_optimizer.zero_grad(set_to_none=True)
            verdict.backward()
            critic_optimizer.step()
            judged.append(float(verdict.detach()))
        done = step + 1
        if done % 100 == 0 or done == len(plan):
            psnr, sharpness, shift = judge(average.module, exam, phase.level)
            verdict_mean = float(np.mean(judged)) if judged else 0.0
            row = [float(np.mean(losses)), verdict_mean, psnr, sharpness, shift]
            writer.writerow([done, round(time.time() - since), phase.level, *(f"{x:.4f}" for x in row)])
            log.flush()
            print(
                f"{done}/{len(plan)} level {phase.level} loss {row[0]:.4f} judge {verdict_mean:.3f} psnr {psnr:.2f} "
                f"sharp {sharpness:.3f} delta E {shift:.2f} {(time.time() - shown) / len(losses):.2f} s/step",
                flush=True,
            )
            shown, losses, judged = time.time(), [], []
            state = {
                "step": done, "decoder": decoder.state_dict(), "average": average.state_dict(),
                "optimizer": optimizer.state_dict(), "critic": critic.state_dict(),
                "critic_optimizer": critic_optimizer.state_dict(),
            }  # fmt: skip
            torch.save(state, state_file.with_suffix(".tmp"))
            state_file.with_suffix(".tmp").replace(state_file)
            torch.save({"encoder": start["encoder"], "decoder": average.module.state_dict()}, work / "decoder.pt")


if __name__ == "__main__":
    main()
