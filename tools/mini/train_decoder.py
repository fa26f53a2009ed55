"""Make the decoder of distillery-mini sharp, and teach it what the sampler makes of its latents.

    ./distillery python -m distillery.tools.mini.train_decoder WORK sharp --comfyui COMFYUI
    ./distillery python -m distillery.tools.mini.train_decoder WORK texture --comfyui COMFYUI

Wants WORK/vae.pt from train_vae, WORK/unet.pt from train_unet and the crops and latents that train_unet made. Trained
for likeness, the decoder answers with blur where a latent leaves detail open. There are two ways out, each a training
from the same weights, and pack takes a mean of both (https://arxiv.org/abs/2203.05482: what either does wrong alone is
smaller in the mean).

sharp: makes the detail that the decoder knows as strong as the original's is in that place. Its own picture, sharpened
so far, is what is wanted; only the layers in full size learn it.

texture: is free in how it makes windows as rich in detail as the original; a discriminator of small patches (hinge loss,
https://arxiv.org/abs/1705.02894) has a small say in it.

Half of the windows are latents as the UNet leaves them after a HiRes pass. A stopped run goes on where it was: state,
log and weights are in WORK, named after the way.
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
    laplace,
    likeness_of_all,
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


class Sharp:
    """See the module: likeness to the decoder's own picture, sharpened."""

    keep = 0.98

    def __init__(self, decoder: Decoder) -> None:
        self.teacher = copy.deepcopy(decoder)
        # Full size alone: what lies below holds the colours, and any training moves them.
        self.learns = nn.Sequential(*list(decoder.children())[LEVELS[TOP]])

    def loss(self, pictures: list[Tensor], latents: Tensor, original: Tensor, step: int) -> Tensor:
        out = pictures[TOP]
        with torch.no_grad():
            wanted = sharpened(pyramid(self.teacher, latents)[TOP], original)
        loss = (out - wanted).square().mean(dim=(1, 2, 3)).add(1e-5).sqrt().mean() + 0.5 * edges(out, wanted)
        return loss + 0.5 * drift(out, original, 8) + 1.5 * drift(out, original, 16)

    def stepped(self) -> None:
        pass


class Texture:
    """See the module: likeness to the original, and as much detail."""

    keep = 0.995

    def __init__(self, decoder: Decoder) -> None:
        self.learns: nn.Module = decoder
        self.critic = channels_last(Discriminator())
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), lr=1e-3, betas=(0.5, 0.9), fused=True)
        self.seen: tuple[Tensor, Tensor] | None = None

    def loss(self, pictures: list[Tensor], latents: Tensor, original: Tensor, step: int) -> Tensor:
        out = pictures[TOP]
        self.seen = original, out.detach()
        loss, _ = likeness_of_all(pictures, original)
        loss = loss + 0.1 * edges(out, original) + 0.03 * texture(out, original) + 0.05 * strength(out, original)
        self.critic.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            ours = self.critic.features(out)
            with torch.no_grad():
                theirs = self.critic.features(original)
        fooled = -ours[-1].float().mean()
        alike = sum((a.float() - b.float()).abs().mean() for a, b in zip(ours[:-1], theirs[:-1], strict=True))
        return loss + min(1.0, step / 300) * 0.003 * (fooled + 2 * alike)

    def stepped(self) -> None:
        """The discriminator's turn, on the windows of the loss."""
        assert self.seen is not None
        self.critic.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            real, fake = self.critic(torch.cat(self.seen)).float().chunk(2)
        verdict = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self.optimizer.zero_grad(set_to_none=True)
        verdict.backward()
        self.optimizer.step()


def texture(out: Tensor, wanted: Tensor) -> Tensor:
    """How strong fine detail is around each place, in two bands of brightness, wherever exactly it lies; in value, and
    a little in proportion, or faint detail would be left out."""
    difference = out.new_zeros(())
    a, b = out.mean(dim=1, keepdim=True), wanted.mean(dim=1, keepdim=True)
    for _ in range(2):
        ours, theirs = ((F.avg_pool2d(laplace(x).square(), 8, 4) + 1e-5).sqrt() for x in (a, b))
        difference = difference + (ours - theirs).abs().mean() + 0.01 * (ours / theirs).log().abs().mean()
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return difference


def strength(out: Tensor, wanted: Tensor) -> Tensor:
    """How far the amplitude of each window's high frequencies is from the original's, as a logarithm."""
    ours, theirs = (detail(x)[..., 3:-3, 3:-3].square().mean(dim=(1, 2, 3)).add(1e-6).sqrt() for x in (out, wanted))
    return (ours / theirs).log().abs().mean()


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
    parser.add_argument("way", choices=["sharp", "texture"])
    parser.add_argument("--comfyui", type=Path, required=True, help="ComfyUI's folder, for its tokenizer")
    parser.add_argument("--steps", type=int, default=1300, help="of the whole run (default 1300)")
    parser.add_argument("--rate", type=float, default=3e-4, help="highest learning rate (default 3e-4)")
    parser.add_argument("--sampled", type=int, default=240, help="crops that the UNet samples (default 240)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    # Before there are threads: they inherit it. Gradients of early steps are full of them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    work: Path = arguments.work
    state_file = work / f"{arguments.way}.state.pt"
    if arguments.sampled and not (work / "sampled.npz").is_file():
        make_sampled(work, arguments.comfyui, arguments.sampled)
    whole = Phase(arguments.steps, TOP, 4, 16, arguments.rate)

    start = torch.load(work / "vae.pt")
    encoder, decoder = Encoder(), Decoder()
    encoder.load_state_dict(start["encoder"])
    decoder.load_state_dict(start["decoder"])
    channels_last(encoder)
    channels_last(decoder)
    way: Sharp | Texture = Sharp(decoder) if arguments.way == "sharp" else Texture(decoder)
    average = moving_average(decoder, way.keep)
    decoder.requires_grad_(False)
    way.learns.requires_grad_(True)
    optimizer = Optimizer(way.learns)
    begin = 0
    if state_file.is_file():
        state = torch.load(state_file)
        begin = state["step"]
        decoder.load_state_dict(state["decoder"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        if isinstance(way, Texture):
            way.critic.load_state_dict(state["critic"])
            way.optimizer.load_state_dict(state["critic_optimizer"])

    pixels = np.load(work / "crops.npy", mmap_mode="r")
    clean = torch.from_numpy(np.load(work / "latents.npz")["latents"])
    # Side by side: what the decoder is given, and the clean latents of the same crop.
    sources = [torch.cat([clean, clean], dim=1)]
    if arguments.sampled:
        found = torch.from_numpy(np.load(work / "sampled.npz")["latents"])
        sources.append(torch.cat([found, clean[: len(found)]], dim=1))
    exam = encoded(encoder, held_out(work))
    random = np.random.default_rng(1000 + begin)
    log = (work / f"{arguments.way}.csv").open("a", newline="")
    writer = csv.writer(log)
    if begin == 0:
        writer.writerow(["step", "seconds", "loss", "psnr", "sharpness", "delta_e"])
    shown, since, losses = time.time(), time.time(), []
    for step in range(begin, arguments.steps):
        parts = [windows(latents, pixels, whole, random) for latents in sources]
        pair, original = (torch.cat(part) for part in zip(*parts, strict=True))
        given, seen = (as_channels_last(part) for part in pair.chunk(2, dim=1))
        pictures = pyramid(decoder, given + LATENT_NOISE * torch.randn_like(given))
        loss = way.loss(pictures, seen, original, step)
        losses.append(float(loss.detach()))
        decoder.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(way.learns.parameters(), 1.0)
        optimizer.step(whole.rate * falling(step, whole.steps))
        average.update_parameters(decoder)
        way.stepped()
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
            if isinstance(way, Texture):
                state |= {"critic": way.critic.state_dict(), "critic_optimizer": way.optimizer.state_dict()}
            torch.save(state, state_file.with_suffix(".tmp"))
            state_file.with_suffix(".tmp").replace(state_file)
            torch.save(average.module.state_dict(), work / f"{arguments.way}.pt")


if __name__ == "__main__":
    main()
