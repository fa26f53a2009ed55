"""Give the decoder of distillery-mini texture, and teach it what the sampler makes of its latents.

    ./distillery python -m distillery.tools.mini.train_decoder WORK --steps 2000

Wants WORK/vae.pt from train_vae, WORK/unet.pt from train_unet and the crops and latents that train_unet made. Half of
the windows are latents as the UNet leaves them after a HiRes pass of a random power up to 0.35, so that what a pass
gets wrong on average is mended. A discriminator of small patches teaches texture (hinge loss,
https://arxiv.org/abs/1705.02894), as it did TAESD and SD's own autoencoder. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .autoencoder import (
    TOP,
    Optimizer,
    edges,
    encoded,
    falling,
    held_out,
    judge,
    laplace,
    likeness_of_all,
    moving_average,
    pyramid,
)
from .model import Decoder, Encoder, UNet, channels_last, sigmas
from .train_unet import LATENT_SCALE, Text, predict
from .train_vae import LATENT_NOISE, Phase, windows

SAMPLER_STEPS, CFG = 6, 6.0
WEAKEST, STRONGEST = 0.1, 0.4
"""Noise that sampled windows begin with. A HiRes pass at power 0.3 begins with 0.32."""


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--comfyui", type=Path, required=True, help="ComfyUI's folder, for its tokenizer")
    parser.add_argument("--steps", type=int, default=2000, help="of the whole run (default 2000)")
    parser.add_argument("--rate", type=float, default=3e-4, help="highest learning rate (default 3e-4)")
    parser.add_argument("--adversarial", type=float, default=0.04, help="weight of the discriminator's judgement")
    parser.add_argument("--texture", type=float, default=0.3, help="weight of the strength of fine detail")
    parser.add_argument("--judge-rate", type=float, default=1e-3, help="learning rate of the discriminator")
    parser.add_argument("--sampled", type=int, default=600, help="crops that the UNet samples (default 600)")
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
    average = moving_average(decoder)
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

    # The crops of the exam of train_unet are left out here too; sampled ones stand for half of the windows.
    pixels = np.load(work / "crops.npy", mmap_mode="r")
    sources = [torch.from_numpy(np.load(work / "latents.npz")["latents"])]
    if arguments.sampled:
        sources.append(torch.from_numpy(np.load(work / "sampled.npz")["latents"]))
    exam = encoded(encoder, held_out(work))
    random = np.random.default_rng(1000 + begin)
    log = (work / "decoder.csv").open("a", newline="")
    writer = csv.writer(log)
    if begin == 0:
        writer.writerow(["step", "seconds", "loss", "adversarial", "psnr", "sharpness", "delta_e"])
    shown, since, losses, judged = time.time(), time.time(), [], []
    for step in range(begin, arguments.steps):
        parts = [windows(latents, pixels, whole, random) for latents in sources]
        given, original = (torch.cat(part) for part in zip(*parts, strict=True))
        pictures = pyramid(decoder, given + LATENT_NOISE * torch.randn_like(given))
        loss, top = likeness_of_all(pictures, original)
        losses.append(float(top))
        out = pictures[TOP]
        loss = loss + 0.5 * edges(out, original) + arguments.texture * texture(out, original)
        for parameter in critic.parameters():
            parameter.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            ours = critic.features(out)
            with torch.no_grad():
                theirs = critic.features(original)
        fooled = -ours[-1].float().mean()
        alike = sum((a.float() - b.float()).abs().mean() for a, b in zip(ours[:-1], theirs[:-1], strict=True))
        loss = loss + min(1.0, step / 300) * arguments.adversarial * (fooled + 2 * alike)
        decoder.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step(whole.rate * falling(step, whole.steps))
        average.update_parameters(decoder)
        for parameter in critic.parameters():
            parameter.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            both = critic(torch.cat([original, out.detach()])).float()
        real, fake = both.chunk(2)
        verdict = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        critic_optimizer.zero_grad(set_to_none=True)
        verdict.backward()
        critic_optimizer.step()
        judged.append(float(verdict.detach()))
        done = step + 1
        if done % 100 == 0 or done == arguments.steps:
            row = [float(np.mean(losses)), float(np.mean(judged)), *judge(average.module, exam)]
            writer.writerow([done, round(time.time() - since), *(f"{x:.4f}" for x in row)])
            log.flush()
            print(
                f"{done}/{arguments.steps} loss {row[0]:.4f} judge {row[1]:.3f} psnr {row[2]:.2f} sharp {row[3]:.3f} "
                f"delta E {row[4]:.2f} {(time.time() - shown) / len(losses):.2f} s/step",
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
