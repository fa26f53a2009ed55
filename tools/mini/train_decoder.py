"""Finish the decoder of distillery-mini: on latents as the sampler leaves them, and sharp.

    ./distillery python -m distillery.tools.mini.train_decoder WORK --comfyui COMFYUI [--start]

Wants WORK/vae.pt from train_vae, WORK/unet.pt from train_unet and the crops and latents that train_unet made; with
--start, what is missing of these is taken from what this checkout ships. Writes WORK/decoder.pt. Two runs, one
after the other, each of which goes on where it was stopped:

plain: likeness, as in train_vae, but three of eight windows are latents as the UNet leaves them after a HiRes pass.

sharp: a decoder that is trained for likeness answers with the mean of what could have been, and where the latent leaves
detail open that is blur. Any picture with stronger high frequencies is less like the original
(https://arxiv.org/abs/1711.06077); this run makes the one that loses least. Of all pictures y of a latent,
E|x - y|^2 - share E|D y|^2 is least for y = (1 - share D^2)^-1 E[x], where D takes away what a Gaussian blur leaves: a
fixed filter on the picture that the decoder makes. The layers in full size learn to make it filtered.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .autoencoder import (
    LEVELS,
    TOP,
    Optimizer,
    as_channels_last,
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
from .measures import LUMA
from .model import Decoder, UNet, channels_last, sigmas
from .run import Run, save, save_arrays
from .train_unet import LATENT_SCALE, Text, make_latents, predict, trained_encoder
from .train_vae import LATENT_NOISE, windows

SAMPLER_STEPS, CFG = 6, 6.0
WEAKEST, STRONGEST = 0.1, 0.4
"""Noise that sampled windows begin with. A HiRes pass at power 0.3 begins with 0.32."""
SHARE = 0.805
"""Of the filter: with it the high frequencies after a HiRes pass have 0.8 of the energy of the enlarged pictures'."""
REACH = 12
"""Pixels that the filter reaches to every side."""


@torch.inference_mode()
def sample(unet: UNet, clean: Tensor, first: float, context: Tensor, empty: Tensor) -> Tensor:
    """Latents (B, 4, H, W) noised to ``first`` and denoised again, as KSampler does it, in fewer steps.

    Euler's method on the schedule of Karras et al. (https://arxiv.org/abs/2206.00364).
    """
    schedule = sigmas()
    ramp = torch.linspace(first ** (1 / 7), 0.03 ** (1 / 7), SAMPLER_STEPS) ** 7
    levels = [*ramp.tolist(), 0.0]
    x = clean + levels[0] * torch.randn_like(clean)
    for now, after in itertools.pairwise(levels):
        t = torch.searchsorted(schedule, torch.tensor([now])).clamp(max=len(schedule) - 1).expand(2 * len(x))
        both = predict(unet, torch.cat([x, x]), t, torch.cat([context, empty]), torch.tensor(now))
        told, untold = both.chunk(2)
        x = x + (after - now) * (untold + CFG * (told - untold))
    return x


def take_shipped(work: Path, crops: int, threads: int) -> None:
    """Write what is missing of WORK/vae.pt, WORK/unet.pt and the latents of so many crops."""
    if not (work / "vae.pt").is_file():
        parts = {part: shipped(f"first_stage_model.taesd_{part}") for part in ("encoder", "decoder")}
        save(parts, work / "vae.pt")
    if not (work / "unet.pt").is_file():
        save(shipped("model.diffusion_model"), work / "unet.pt")
    if not (work / "latents.npz").is_file():
        make_latents(work, crops, threads)


def make_sampled(work: Path, comfyui: Path, count: int) -> None:
    """Write WORK/sampled.npz: ``latents`` (N, 4, 32, 32) of the first crops after a HiRes pass."""
    unet = UNet()
    unet.load_state_dict(torch.load(work / "unet.pt"))
    channels_last(unet.eval())
    stored = np.load(work / "latents.npz")
    clean, words = torch.from_numpy(stored["latents"][:count]).float() * LATENT_SCALE, stored["words"][:count]
    text, random = Text(comfyui), np.random.default_rng(11)
    empty = text.context([text.tokens([], np.random.default_rng(1))])
    found, begin = [], time.time()
    for i in range(0, count, 4):
        x = clean[i : i + 4]
        context = text.context([text.tokens(said.split(), random) for said in words[i : i + 4]])
        first = float(random.uniform(WEAKEST, STRONGEST))
        found.append((sample(unet, x, first, context, empty.expand(len(x), -1, -1)) / LATENT_SCALE).half().numpy())
        if i % 100 == 0:
            print(f"sampled {i}/{count} {time.time() - begin:.0f} s", flush=True)
    save_arrays(work / "sampled.npz", latents=np.concatenate(found))


def sharpening(share: float) -> Tensor:
    """Kernel (1, 1, 2 REACH + 1, 2 REACH + 1) of (1 - share D^2)^-1. D is the high-pass that the evaluation measures detail
    with: 1 less a Gaussian blur of one pixel."""
    n = 64
    frequency = torch.fft.fftfreq(n)
    high = 1 - torch.exp(-2 * (torch.pi * frequency[:, None]) ** 2 - 2 * (torch.pi * frequency) ** 2)
    kernel = torch.fft.fftshift(torch.fft.ifft2(1 / (1 - share * high**2)).real)
    inner = slice(n // 2 - REACH, n // 2 + REACH + 1)
    kernel = kernel[inner, inner]
    return (kernel / kernel.sum())[None, None]


def sharpened(picture: Tensor, kernel: Tensor) -> Tensor:
    """``picture`` (B, 3, H, W) with its brightness filtered, its colours as they were."""
    luma = (picture * torch.tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    return picture + F.conv2d(F.pad(luma, (REACH,) * 4, mode="reflect"), kernel) - luma


Loss = Callable[[list[Tensor], Tensor, Tensor], Tensor]
"""Of the pyramid's pictures, the latents they were made from, and the original."""


def plain(pictures: list[Tensor], latents: Tensor, original: Tensor) -> Tensor:
    return likeness_of_all(pictures, original)[0] + 0.1 * edges(pictures[TOP], original)


def sharper(teacher: Decoder) -> Loss:
    """Likeness to the teacher's picture of the same latents, sharpened."""
    kernel = sharpening(SHARE)

    def loss(pictures: list[Tensor], latents: Tensor, original: Tensor) -> Tensor:
        with torch.no_grad():
            # In full precision: the filter makes rounding errors stronger too.
            wanted = sharpened(teacher(latents), kernel)
        return ((pictures[TOP] - wanted).square().mean(dim=(1, 2, 3)) + 1e-6).sqrt().mean()

    return loss


def train(
    work: Path, name: str, decoder: Decoder, learns: nn.Module, loss_of: Loss, steps: int, rate: float, keep: float
) -> dict[str, Tensor]:
    """The decoder's weights after the run of that name, in which only ``learns`` changes: their moving average."""
    average = moving_average(decoder, keep)
    decoder.requires_grad_(False)
    learns.requires_grad_(True)
    optimizer = Optimizer(learns)
    parts = {"decoder": decoder, "average": average, "optimizer": optimizer}
    run = Run(work, name, steps, ["psnr", "sharpness", "delta_e"], parts)

    exam = encoded(trained_encoder(work), held_out(work))
    pixels = np.load(work / "crops.npy", mmap_mode="r")
    sources = [
        (torch.from_numpy(np.load(work / f"{file}.npz")["latents"]), count)
        for file, count in (("latents", 5), ("sampled", 3))
    ]
    random = np.random.default_rng(1000 + run.begin)
    for step in range(run.begin, steps):
        found = [windows(latents, pixels, count, 16, random) for latents, count in sources]
        latents, original = (as_channels_last(torch.cat(part)) for part in zip(*found, strict=True))
        latents = latents + LATENT_NOISE * torch.randn_like(latents)
        loss = loss_of(pyramid(decoder, latents), latents, original)
        decoder.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learns.parameters(), 1.0)
        optimizer.step(rate * falling(step, steps))
        average.update_parameters(decoder)
        if run.due(step + 1, loss):
            run.write(step + 1, judge(average.module, exam))
            save(average.module.state_dict(), work / f"{name}.pt")
    weights: dict[str, Tensor] = average.module.state_dict()
    return weights


def moved(begin: dict[str, Tensor], steps: Sequence[tuple[float, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Weights that go from ``begin`` so far towards each of others (https://arxiv.org/abs/2203.05482, and beyond)."""
    return {name: first + sum(far * (end[name] - first) for far, end in steps) for name, first in begin.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--comfyui", type=Path, required=True, help="ComfyUI's folder, for its tokenizer")
    parser.add_argument("--start", action="store_true", help="begin with what this checkout ships")
    parser.add_argument("--crops", type=int, default=4000, help="crops of 256 pixels, with --start (default 4000)")
    parser.add_argument("--steps", type=int, default=3000, help="for likeness (default 3000)")
    parser.add_argument("--sharp-steps", type=int, default=1000, help="for sharpness (default 1000)")
    parser.add_argument(
        "--further", type=float, default=1.44,
        help="how far the weights go from those of the run plain to those of the run sharp, which have learnt two thirds "
        "of the filter; on the same way lies the rest (default 1.44)",
    )  # fmt: skip
    parser.add_argument(
        "--before", type=float, default=0.0,
        help="and how far to those of WORK/vae.pt, if that decoder was sharp already (default 0)",
    )  # fmt: skip
    parser.add_argument("--rate", type=float, default=4e-4, help="highest learning rate (default 4e-4)")
    parser.add_argument("--sampled", type=int, default=360, help="crops that the UNet samples (default 360)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    # Before there are threads: they inherit it. Gradients of early steps are full of them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    work: Path = arguments.work
    if arguments.start:
        take_shipped(work, arguments.crops, arguments.threads)
    if not (work / "sampled.npz").is_file():
        make_sampled(work, arguments.comfyui, arguments.sampled)

    decoder = Decoder()
    decoder.load_state_dict(torch.load(work / "vae.pt")["decoder"])
    channels_last(decoder)
    decoder.load_state_dict(train(work, "plain", decoder, decoder, plain, arguments.steps, arguments.rate, 0.998))
    teacher = copy.deepcopy(decoder).requires_grad_(False)
    # What lies below full size holds the colours.
    top = nn.Sequential(*list(decoder.children())[LEVELS[TOP]])
    weights = train(work, "sharp", decoder, top, sharper(teacher), arguments.sharp_steps, arguments.rate, 0.98)
    steps = ((arguments.further, weights), (arguments.before, torch.load(work / "vae.pt")["decoder"]))
    save(moved(teacher.state_dict(), steps), work / "decoder.pt")


if __name__ == "__main__":
    main()
