"""Train the autoencoder of distillery-mini.

    ./distillery python -m distillery.tools.mini.train_vae WORK [--start]

First the decoder alone, in an eighth, a quarter and half of the size, on the latents of the encoder as it is; then
both, in full size, for likeness. train_decoder finishes the decoder afterwards. A stopped run goes on where it was: state,
log and weights are in WORK.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .autoencoder import (
    TOP,
    Optimizer,
    as_channels_last,
    begin_well,
    edges,
    encoded,
    falling,
    held_out,
    judge,
    likeness_of_all,
    moving_average,
    pyramid,
    shipped,
)
from .crops import Crops
from .model import Decoder, Encoder, channels_last
from .run import Run, save

LATENT_NOISE = 0.03
"""Standard deviation of noise on the latents: the decoder must forgive what the sampler gets wrong."""


class Phase(NamedTuple):
    """So many steps with the pyramid up to one level: windows a step, their side in latents, highest learning rate."""

    steps: int
    level: int
    windows: int
    side: int
    rate: float


COARSE = (Phase(700, 0, 16, 32, 1e-3), Phase(500, 1, 8, 32, 8e-4), Phase(300, 2, 8, 16, 6e-4))


def windows(
    latents: Tensor, pixels: np.ndarray, count: int, side: int, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Windows of crops, chosen at random: their latents (count, 4, side, side), pixels (count, 3, 8 side, 8 side)."""
    given, original = [], []
    for i in random.integers(0, len(latents), count):
        y, x = random.integers(0, latents.shape[-1] - side + 1, 2)
        given.append(latents[i, :, y : y + side, x : x + side])
        original.append(pixels[i, 8 * y : 8 * (y + side), 8 * x : 8 * (x + side)])
    picture = torch.from_numpy(np.stack(original)).permute(0, 3, 1, 2).float() / 255
    return as_channels_last(torch.stack(given).float()), as_channels_last(picture)


def train_coarse(encoder: Encoder, decoder: Decoder, work: Path, count: int) -> None:
    """The decoder's lower levels, on ``count`` crops of 256 pixels and the encoder's latents of them."""
    crops, latents = Crops(work, 256, seed=7), []
    pixels: np.ndarray = np.empty((count, 256, 256, 3), np.uint8)
    for i in range(count):
        pixels[i] = crops.one()
        picture = torch.from_numpy(pixels[i : i + 1]).permute(0, 3, 1, 2).float() / 255
        latents.append(encoded(encoder, [as_channels_last(picture)])[0][0].half())
    exam, random = encoded(encoder, held_out(work)), np.random.default_rng(9)
    every = torch.cat(latents)
    optimizer = Optimizer(decoder)
    for phase in COARSE:
        begin = time.time()
        for at in range(phase.steps):
            given, original = windows(every, pixels, phase.windows, phase.side, random)
            pictures = pyramid(decoder, given + LATENT_NOISE * torch.randn_like(given), phase.level)
            loss, _ = likeness_of_all(pictures, original)
            decoder.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimizer.step(phase.rate * falling(at, phase.steps, floor=0.1))
        psnr, sharpness, shift = judge(decoder, exam, phase.level)
        print(
            f"level {phase.level}: psnr {psnr:.2f} sharp {sharpness:.3f} delta E {shift:.2f} {time.time() - begin:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--start", action="store_true", help="begin with the encoder that this checkout ships")
    parser.add_argument("--steps", type=int, default=5000, help="in full size (default 5000)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=96, help="side of a crop in pixels, a multiple of 16 (default 96)")
    parser.add_argument("--rate", type=float, default=6e-4, help="highest learning rate (default 6e-4)")
    parser.add_argument("--coarse", type=int, default=1200, help="crops for the lower levels (default 1200)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    # Before there are threads: they inherit it. Gradients of early steps are full of them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    work: Path = arguments.work

    encoder, decoder = Encoder(), Decoder()
    begin_well(encoder)
    begin_well(decoder)
    networks = channels_last(nn.ModuleDict({"encoder": encoder, "decoder": decoder}))
    if not Run.state_file(work, "vae").is_file():
        if arguments.start:
            encoder.load_state_dict(shipped("first_stage_model.taesd_encoder"))
        train_coarse(encoder, decoder, work, arguments.coarse)
    average, optimizer = moving_average(networks), Optimizer(networks)
    parts = {"networks": networks, "average": average, "optimizer": optimizer}
    run = Run(work, "vae", arguments.steps, ["psnr", "sharpness", "delta_e"], parts, every=200)

    crops = Crops(work, arguments.size, seed=1000 + run.begin)
    exam = held_out(work)
    for step in range(run.begin, arguments.steps):
        wanted = as_channels_last(torch.from_numpy(crops.batch(arguments.batch)))
        with torch.autocast("cpu", torch.bfloat16):
            latents = encoder(wanted).float()
        pictures = pyramid(decoder, latents + LATENT_NOISE * torch.randn_like(latents))
        loss, top = likeness_of_all(pictures, wanted)
        spread, centre = latents.std(dim=(0, 2, 3)), latents.mean(dim=(0, 2, 3))
        loss = loss + 0.25 * edges(pictures[TOP], wanted)
        loss = loss + 0.01 * ((spread - 1).square().mean() + centre.square().mean())
        networks.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step(arguments.rate * falling(step, arguments.steps, rise=100))
        average.update_parameters(networks)
        if run.due(step + 1, top):
            best = dict(average.module.named_children())
            run.write(step + 1, judge(best["decoder"], encoded(best["encoder"], exam)))
            save({part: network.state_dict() for part, network in best.items()}, work / "vae.pt")


if __name__ == "__main__":
    main()
