"""Make the decoder of distillery-mini sharp, and teach it what the sampler makes of its latents.

    ./distillery python -m distillery.tools.mini.train_decoder WORK --comfyui COMFYUI

Wants WORK/vae.pt from train_vae, WORK/unet.pt from train_unet and the crops and latents that train_unet made. Trained
for likeness, the decoder answers with blur where a latent leaves detail open. It learns here to make the detail that it
does know as strong as the original's is in that place: its own picture, sharpened so far, is what is wanted. Half of the
windows are latents as the UNet leaves them after a HiRes pass, wanted is the same. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import copy
import csv
import itertools
import time
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
    drift,
    edges,
    encoded,
    falling,
    held_out,
    judge,
    moving_average,
    pyramid,
)
from .measures import LUMA
from .model import Decoder, Encoder, UNet, channels_last, sigmas
from .train_unet import LATENT_SCALE, Text, predict
from .train_vae import LATENT_NOISE, Phase, windows

SAMPLER_STEPS, CFG = 6, 6.0
WEAKEST, STRONGEST = 0.1, 0.4
"""Noise that sampled windows begin with. A HiRes pass at power 0.3 begins with 0.32."""
STRENGTH, GREATEST = 2.2, 9.0
"""Amplitude of the wanted detail as a share of the original's, and how much stronger it is made at most. More than 1, as
what is learned is the mean of what could be wanted."""


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
    np.savez(work / "sampled.tmp.npz", latents=np.concatenate(found))
    (work / "sampled.tmp.npz").replace(work / "sampled.npz")


def detail(x: Tensor) -> Tensor:
    """High frequencies of the brightness (B, 1, H, W) of pictures (B, 3, H, W), as the evaluation takes them: what a
    Gaussian blur of one pixel takes away."""
    reach = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-0.5 * reach**2)
    kernel = (kernel[:, None] * kernel / kernel.sum() ** 2)[None, None]
    luma = (x * torch.tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    return luma - F.conv2d(F.pad(luma, (3, 3, 3, 3), mode="reflect"), kernel)


def sharpened(picture: Tensor, original: Tensor) -> Tensor:
    """``picture`` (B, 3, H, W) with its own detail as strong as the original's, in squares of 32 pixels, blended."""
    ours = detail(picture)
    amplitudes = [
        (F.avg_pool2d(F.pad(d.square(), (16, 16, 16, 16), mode="reflect"), 32, 16) + 1e-6).sqrt()
        for d in (detail(original), ours)
    ]
    gain = (STRENGTH * amplitudes[0] / amplitudes[1]).clamp(1, GREATEST)
    gain = F.interpolate(gain, size=picture.shape[2:], mode="bilinear", align_corners=True)
    return (picture + (gain - 1) * ours).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--comfyui", type=Path, required=True, help="ComfyUI's folder, for its tokenizer")
    parser.add_argument("--steps", type=int, default=800, help="of the whole run (default 800)")
    parser.add_argument("--rate", type=float, default=3e-4, help="highest learning rate (default 3e-4)")
    parser.add_argument("--sampled", type=int, default=240, help="crops that the UNet samples (default 240)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    # Before there are threads: they inherit it. Gradients of early steps are full of them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    work: Path = arguments.work
    state_file = work / "decoder.state.pt"
    if arguments.sampled and not (work / "sampled.npz").is_file():
        make_sampled(work, arguments.comfyui, arguments.sampled)
    whole = Phase(arguments.steps, TOP, 4, 16, arguments.rate)

    start = torch.load(work / "vae.pt")
    encoder, decoder = Encoder(), Decoder()
    encoder.load_state_dict(start["encoder"])
    decoder.load_state_dict(start["decoder"])
    channels_last(encoder)
    channels_last(decoder)
    teacher = copy.deepcopy(decoder)
    average = moving_average(decoder, 0.98)
    # Full size alone: what lies below holds the colours, and any training moves them.
    highest = nn.Sequential(*list(decoder.children())[LEVELS[TOP]])
    for parameter in set(decoder.parameters()) - set(highest.parameters()):
        parameter.requires_grad_(False)
    optimizer = Optimizer(highest)
    begin = 0
    if state_file.is_file():
        state = torch.load(state_file)
        begin = state["step"]
        decoder.load_state_dict(state["decoder"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])

    pixels = np.load(work / "crops.npy", mmap_mode="r")
    clean = torch.from_numpy(np.load(work / "latents.npz")["latents"])
    # Side by side: what the decoder is given, and what its teacher sees of the same crop.
    sources = [torch.cat([clean, clean], dim=1)]
    if arguments.sampled:
        found = torch.from_numpy(np.load(work / "sampled.npz")["latents"])
        sources.append(torch.cat([found, clean[: len(found)]], dim=1))
    exam = encoded(encoder, held_out(work))
    random = np.random.default_rng(1000 + begin)
    log = (work / "decoder.csv").open("a", newline="")
    writer = csv.writer(log)
    if begin == 0:
        writer.writerow(["step", "seconds", "loss", "psnr", "sharpness", "delta_e"])
    shown, since, losses = time.time(), time.time(), []
    for step in range(begin, arguments.steps):
        parts = [windows(latents, pixels, whole, random) for latents in sources]
        both, original = (torch.cat(part) for part in zip(*parts, strict=True))
        given, seen = (as_channels_last(part) for part in both.chunk(2, dim=1))
        with torch.no_grad():
            wanted = sharpened(pyramid(teacher, seen)[TOP], original)
        out = pyramid(decoder, given + LATENT_NOISE * torch.randn_like(given))[TOP]
        loss = (out - wanted).square().mean(dim=(1, 2, 3)).add(1e-5).sqrt().mean() + 0.5 * edges(out, wanted)
        losses.append(float(loss.detach()))
        loss = loss + 0.5 * drift(out, original, 8) + 1.5 * drift(out, original, 16)
        decoder.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(highest.parameters(), 1.0)
        optimizer.step(whole.rate * falling(step, whole.steps))
        average.update_parameters(decoder)
        done = step + 1
        if done % 100 == 0 or done == arguments.steps:
            row = [float(np.mean(losses)), *judge(average.module, exam)]
            writer.writerow([done, round(time.time() - since), *(f"{x:.4f}" for x in row)])
            log.flush()
            print(
                f"{done}/{arguments.steps} loss {row[0]:.4f} psnr {row[1]:.2f} sharp {row[2]:.3f} "
                f"delta E {row[3]:.2f} {(time.time() - shown) / len(losses):.2f} s/step",
                flush=True,
            )
            shown, losses = time.time(), []
            state = {
                "step": done, "decoder": decoder.state_dict(), "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }  # fmt: skip
            torch.save(state, state_file.with_suffix(".tmp"))
            state_file.with_suffix(".tmp").replace(state_file)
            torch.save({"encoder": start["encoder"], "decoder": average.module.state_dict()}, work / "decoder.pt")


if __name__ == "__main__":
    main()
