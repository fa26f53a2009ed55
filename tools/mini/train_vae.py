"""Train the autoencoder of distillery-mini.

    ./distillery python -m distillery.tools.mini.train_vae WORK --steps 8000

Trains encoder and decoder together, for likeness. What it is for is the encoder; train_decoder makes the decoder
that ships. A stopped run goes on where it was: state, log and weights are in WORK.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from .crops import Crops
from .model import Block, Decoder, Encoder, channels_last

LATENT_NOISE = 0.08
"""Standard deviation of noise on the latents: the decoder must forgive what the sampler gets wrong."""


def likeness(out: Tensor, wanted: Tensor) -> Tensor:
    """Pixels, edges, and the mean colour of 8x8 pixels, in which drifting colours show first."""
    pixels = (out - wanted).abs().mean() + 4 * (out - wanted).square().mean()
    edges = sum((d(out) - d(wanted)).abs().mean() for d in (lambda x: x.diff(dim=2), lambda x: x.diff(dim=3)))
    colour = (F.avg_pool2d(out, 8) - F.avg_pool2d(wanted, 8)).abs().mean()
    return pixels + 0.5 * edges + 0.5 * colour


def begin_well(encoder: Encoder, decoder: Decoder) -> None:
    """First weights for deep networks without norms: no layer makes the signal smaller, every block is nearly
    the identity, the decoder says grey. (torch's own let it fade to nothing over eight layers.)"""
    with torch.no_grad():
        for module in [*encoder.modules(), *decoder.modules()]:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    module.bias.zero_()
        for module in [*encoder.modules(), *decoder.modules()]:
            if isinstance(module, Block):
                module.conv[4].get_parameter("weight").mul_(0.2)
        decoder[-1].get_parameter("weight").mul_(0.1)
        decoder[-1].get_parameter("bias").fill_(0.5)


def held_out(work: Path, side: int = 512) -> list[Tensor]:
    """The middle of each held-out picture, (1, 3, side, side), 0 … 1."""
    pictures = []
    for path in sorted((work / "held_out").glob("*.png"))[:8]:
        picture = Image.open(path).convert("RGB")
        factor = 640 / min(picture.size)
        if factor < 1:
            picture = picture.resize(tuple(round(n * factor) for n in picture.size), Image.Resampling.LANCZOS)  # type: ignore[arg-type]
        if min(picture.size) >= side:
            x, y = ((n - side) // 2 for n in picture.size)
            pixels = np.asarray(picture.crop((x, y, x + side, y + side)))
            pictures.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)
    return pictures


@torch.no_grad()
def judge(encoder: nn.Module, decoder: nn.Module, pictures: list[Tensor]) -> tuple[float, float]:
    """Mean PSNR in dB, and mean ratio of edge strength to the original's."""
    psnr, sharpness = [], []
    for wanted in pictures:
        with torch.autocast("cpu", torch.bfloat16):
            out = decoder(encoder(wanted))
        out = out.float().clamp(0, 1)
        psnr.append(-10 * math.log10(float((out - wanted).square().mean())))
        sharpness.append(float(laplace(out).square().mean() / laplace(wanted).square().mean()))
    return float(np.mean(psnr)), float(np.mean(sharpness))


def laplace(x: Tensor) -> Tensor:
    return x - F.avg_pool2d(x, 3, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=8000, help="of the whole run (default 8000)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=96, help="side of a crop in pixels (default 96)")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate (default 1e-3)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    # Before there are threads: they inherit it. Gradients of early steps are full of them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    work: Path = arguments.work
    state_file = work / "vae.state.pt"

    encoder, decoder = Encoder(), Decoder()
    begin_well(encoder, decoder)
    networks = channels_last(nn.ModuleDict({"encoder": encoder, "decoder": decoder}))
    average = torch.optim.swa_utils.AveragedModel(
        networks, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    optimizer = torch.optim.AdamW(
        networks.parameters(), lr=arguments.rate, betas=(0.9, 0.98), weight_decay=1e-4, fused=True
    )
    begin = 0
    if state_file.is_file():
        state = torch.load(state_file)
        begin = state["step"]
        networks.load_state_dict(state["networks"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])

    def rate(step: int) -> float:
        done = step / arguments.steps
        return (
            arguments.rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
        )

    crops = Crops(work, arguments.size, seed=1000 + begin)
    exam = held_out(work)
    log = (work / "vae.csv").open("a", newline="")
    writer = csv.writer(log)
    if begin == 0:
        writer.writerow(["step", "seconds", "loss", "psnr", "sharpness"])
    shown, since, losses = time.time(), time.time(), []
    for step in range(begin, arguments.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        wanted = torch.from_numpy(crops.batch(arguments.batch)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = encoder(wanted)
            out = decoder(latents + LATENT_NOISE * torch.randn_like(latents))
        out, latents = out.float(), latents.float()
        loss = likeness(out, wanted)
        losses.append(float(loss.detach()))
        spread, centre = latents.std(dim=(0, 2, 3)), latents.mean(dim=(0, 2, 3))
        loss = loss + 0.01 * ((spread - 1).square().mean() + centre.square().mean())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(networks)
        done = step + 1
        if done % 250 == 0 or done == arguments.steps:
            best = dict(average.module.named_children())
            psnr, sharpness = judge(best["encoder"], best["decoder"], exam)
            loss_mean = float(np.mean(losses))
            writer.writerow([done, round(time.time() - since), f"{loss_mean:.4f}", f"{psnr:.4f}", f"{sharpness:.4f}"])
            log.flush()
            speed = (time.time() - shown) / len(losses)
            print(
                f"{done}/{arguments.steps} loss {loss_mean:.4f} psnr {psnr:.2f} sharp {sharpness:.3f} {speed:.2f} s/step",
                flush=True,
            )
            shown, losses = time.time(), []
            state = {
                "step": done, "networks": networks.state_dict(), "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }  # fmt: skip
            torch.save(state, state_file.with_suffix(".tmp"))
            state_file.with_suffix(".tmp").replace(state_file)
            torch.save({part: best[part].state_dict() for part in ("encoder", "decoder")}, work / "vae.pt")


if __name__ == "__main__":
    main()
