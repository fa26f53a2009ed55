"""Train the autoencoder of distillery-mini.

    ./distillery python -m distillery.tools.mini.train_vae WORK --steps 8000
    ./distillery python -m distillery.tools.mini.train_vae WORK --decoder --steps 4000

The first run trains encoder and decoder for likeness. The second keeps the encoder, so that latents stay
what they are, and teaches the decoder texture: against a discriminator of small patches (hinge loss,
https://arxiv.org/abs/1705.02894), as TAESD and SD's own autoencoder were trained. Stopped runs go on
where they were: state, log and weights are in WORK.
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


def texture(out: Tensor, wanted: Tensor) -> Tensor:
    """How strong fine detail is around each place, in two bands of brightness, wherever exactly it lies.

    What the latent does not hold cannot be drawn where it was; a likeness in pixels alone answers with blur.
    """
    difference = out.new_zeros(())
    a, b = out.mean(dim=1, keepdim=True), wanted.mean(dim=1, keepdim=True)
    for _ in range(2):
        strength = [(F.avg_pool2d(_laplace(x).square(), 8, 4) + 1e-5).sqrt() for x in (a, b)]
        difference = difference + (strength[0] - strength[1]).abs().mean()
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
        sharpness.append(float(_laplace(out).square().mean() / _laplace(wanted).square().mean()))
    return float(np.mean(psnr)), float(np.mean(sharpness))


def _laplace(x: Tensor) -> Tensor:
    return x - F.avg_pool2d(x, 3, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--decoder", action="store_true", help="the second run")
    parser.add_argument("--steps", type=int, default=8000, help="of the whole run (default 8000)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=96, help="side of a crop in pixels (default 96)")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate (default 1e-3)")
    parser.add_argument("--adversarial", type=float, default=0.06, help="weight of the discriminator's judgement")
    parser.add_argument("--texture", type=float, default=0.4, help="weight of the strength of fine detail")
    parser.add_argument("--judge-rate", type=float, default=1e-3, help="learning rate of the discriminator")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_flush_denormal(
        True
    )  # before there are threads: they inherit it; gradients of early steps are full of them
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    work: Path = arguments.work
    name = "decoder" if arguments.decoder else "vae"
    state_file = work / f"{name}.state.pt"

    encoder, decoder = Encoder(), Decoder()
    begin_well(encoder, decoder)
    if arguments.decoder:
        start = torch.load(work / "vae.pt")
        encoder.load_state_dict(start["encoder"])
        decoder.load_state_dict(start["decoder"])
    trained = nn.ModuleDict({"decoder": decoder} if arguments.decoder else {"encoder": encoder, "decoder": decoder})
    networks = channels_last(nn.ModuleDict({"encoder": encoder, "decoder": decoder}))
    average = torch.optim.swa_utils.AveragedModel(
        networks, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=arguments.rate, betas=(0.9, 0.98), weight_decay=1e-4, fused=True
    )
    judge_network = channels_last(Discriminator())
    judge_optimizer = torch.optim.AdamW(
        judge_network.parameters(), lr=arguments.judge_rate, betas=(0.5, 0.9), fused=True
    )
    begin = 0
    if state_file.is_file():
        state = torch.load(state_file)
        begin = state["step"]
        networks.load_state_dict(state["networks"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        judge_network.load_state_dict(state["judge"])
        judge_optimizer.load_state_dict(state["judge_optimizer"])

    for group in judge_optimizer.param_groups:
        group["lr"] = arguments.judge_rate

    def rate(step: int) -> float:
        done = step / arguments.steps
        return (
            arguments.rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
        )

    crops = Crops(work, arguments.size, seed=1000 + begin)
    exam = held_out(work)
    log = (work / f"{name}.csv").open("a", newline="")
    writer = csv.writer(log)
    if begin == 0:
        writer.writerow(["step", "seconds", "loss", "adversarial", "psnr", "sharpness"])
    shown, since, losses, judged = time.time(), time.time(), [], []
    for step in range(begin, arguments.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        wanted = torch.from_numpy(crops.batch(arguments.batch)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(not arguments.decoder):
                latents = encoder(wanted)
            out = decoder(latents + LATENT_NOISE * torch.randn_like(latents))
        out, latents = out.float(), latents.float()
        loss = likeness(out, wanted)
        losses.append(float(loss.detach()))
        if not arguments.decoder:
            spread, centre = latents.std(dim=(0, 2, 3)), latents.mean(dim=(0, 2, 3))
            loss = loss + 0.01 * ((spread - 1).square().mean() + centre.square().mean())
        elif arguments.adversarial:
            loss = loss + arguments.texture * texture(out, wanted)
            for parameter in judge_network.parameters():
                parameter.requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16):
                ours = judge_network.features(out)
                with torch.no_grad():
                    theirs = judge_network.features(wanted)
            fooled = -ours[-1].float().mean()
            alike = sum((a.float() - b.float()).abs().mean() for a, b in zip(ours[:-1], theirs[:-1], strict=True))
            loss = loss + min(1.0, step / 300) * arguments.adversarial * (fooled + 2 * alike)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(networks)
        if arguments.decoder and arguments.adversarial:
            for parameter in judge_network.parameters():
                parameter.requires_grad_(True)
            with torch.autocast("cpu", torch.bfloat16):
                both = judge_network(torch.cat([wanted, out.detach()])).float()
            real, fake = both.chunk(2)
            verdict = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
            judge_optimizer.zero_grad(set_to_none=True)
            verdict.backward()
            judge_optimizer.step()
            judged.append(float(verdict.detach()))
        done = step + 1
        if done % 250 == 0 or done == arguments.steps:
            best = dict(average.module.named_children())
            psnr, sharpness = judge(best["encoder"], best["decoder"], exam)
            row = [done, round(time.time() - since), np.mean(losses), np.mean(judged) if judged else 0, psnr, sharpness]
            writer.writerow([row[0], row[1], *(f"{x:.4f}" for x in row[2:])])
            log.flush()
            speed = (time.time() - shown) / 250
            print(
                f"{done}/{arguments.steps} loss {row[2]:.4f} judge {row[3]:.3f} "
                f"psnr {psnr:.2f} sharp {sharpness:.3f} {speed:.2f} s/step",
                flush=True,
            )
            shown, losses, judged = time.time(), [], []
            state = {
                "step": done, "networks": networks.state_dict(), "average": average.state_dict(),
                "optimizer": optimizer.state_dict(), "judge": judge_network.state_dict(),
                "judge_optimizer": judge_optimizer.state_dict(),
            }  # fmt: skip
            torch.save(state, state_file.with_suffix(".tmp"))
            state_file.with_suffix(".tmp").replace(state_file)
            torch.save({part: best[part].state_dict() for part in ("encoder", "decoder")}, work / f"{name}.pt")


if __name__ == "__main__":
    main()
