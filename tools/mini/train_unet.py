"""Train the UNet of distillery-mini on the latents of its autoencoder.

    ./distillery python -m distillery.tools.mini.train_unet WORK --comfyui COMFYUI

Wants WORK/vae.pt from train_vae. First it makes WORK/latents.npz: crops, altered (see captions.py), their
words, their latents. Then eps-prediction on SD's schedule, with most of the noise levels where a HiRes pass
of denoise 0.2 to 0.5 works, and with captions dropped for classifier-free guidance. A stopped run goes on
where it was.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F

from ...nodes.model_files.mini import text_encoder_weights
from .autoencoder import Optimizer, as_channels_last, falling, moving_average, shipped
from .captions import SYNONYMS, alter, phrase
from .captions import words as measured
from .crops import Crops
from .model import CONTEXT, Encoder, TransformerBlock, UNet, channels_last, sigmas
from .run import Run, save, save_arrays

CROP = 256
SD_SCALE = 0.18215
"""What ComfyUI multiplies the latents of an SD 1.5 checkpoint by."""
LATENT_SCALE = 10.0
"""What the encoder's latents are multiplied by for the UNet, which makes their standard deviation 7.7. SD's is about 1; here
the fine detail of a channel is small beside its range, and the noise of a HiRes pass is to leave it standing. vae_scale
in the checkpoint is SD_SCALE by it."""
NO_CAPTION = 0.12
LISTENING = 6
"""Learning rate of the text attention, as a multiple of the rest's."""
EDITED = 0.35
"""Share of the windows in which a word changes the picture, see :func:`make_pairs`."""
EDITS = {"monochrome": (0, 1, 0.07), "blurry": (0, 2, 0.06), "sharp": (2, 0, 0.06)}
"""Word: version of the picture that is there, version that the word asks for, and how far towards it one prediction
goes. Guidance multiplies that: at cfg 6 and denoise 0.3 the whole pass makes about half of the way."""
LEAST = 0.16
"""Noise below which a word changes less: what is left of a pass there is for detail."""
BEGIN, END, TOKENS, VOCABULARY = 49406, 49407, 77, 49408


class Text:
    """The text encoder of distillery-mini: a token's features are its embedding, normalised. No order."""

    def __init__(self, comfyui: Path) -> None:
        from transformers import CLIPTokenizer

        name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
        pieces = list(text_encoder_weights(name, (VOCABULARY, CONTEXT)))
        table = torch.from_numpy(np.concatenate(pieces).astype(np.float32)).view(VOCABULARY, CONTEXT)
        self.table = F.layer_norm(table, (CONTEXT,), eps=1e-5)
        tokenizer = CLIPTokenizer.from_pretrained(comfyui / "comfy" / "sd1_tokenizer")
        every = {word for group in SYNONYMS.values() for word in group}
        self.ids = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for word in every}

    def tokens(self, words: list[str], random: np.random.Generator) -> list[int]:
        """Token ids of a caption among words that mean nothing here, as in any real prompt."""
        groups = [self.ids[word] for word in words]
        if random.random() < 0.7:
            groups += [[int(i)] for i in random.integers(256, BEGIN, random.integers(1, 40))]
        random.shuffle(groups)
        ids = [i for group in groups for i in group][: TOKENS - 2]
        return [BEGIN, *ids] + [END] * (TOKENS - 1 - len(ids))

    def context(self, tokens: list[list[int]]) -> Tensor:
        return self.table[torch.tensor(tokens)]


def trained_encoder(work: Path) -> Encoder:
    """That of WORK/vae.pt."""
    encoder = Encoder()
    encoder.load_state_dict(torch.load(work / "vae.pt")["encoder"])
    return channels_last(encoder.eval())


def make_latents(work: Path, count: int, threads: int) -> None:
    """Write WORK/latents.npz: ``latents`` (N, 4, 32, 32), unit variance by channel at the whole; ``words``. And
    WORK/crops.npy, the pixels (N, 256, 256, 3), which the decoder's training wants."""
    encoder = trained_encoder(work)
    crops = Crops(work, CROP, seed=7)
    random = np.random.default_rng(7)
    latents, words = [], []
    count -= count % 4
    pixels = np.lib.format.open_memmap(work / "crops.npy", "w+", np.uint8, (count, CROP, CROP, 3))
    begin = time.time()
    for i in range(0, count, 4):
        batch = []
        for _ in range(4):
            picture, found = alter(crops.one(), random)
            batch.append(picture)
            words.append(" ".join(found))
        pixels[i : i + 4] = batch
        x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float().div(255)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            latents.append(encoder(as_channels_last(x)).float().half().numpy())
        if i % 400 == 0:
            print(f"latents {i}/{count} {time.time() - begin:.0f} s", flush=True)
    save_arrays(work / "latents.npz", latents=np.concatenate(latents), words=np.array(words))


def make_pairs(work: Path, count: int) -> None:
    """Write WORK/pairs.npz: ``latents`` (N, 3, 4, 16, 16) of crops as they are, without colour, and blurred.

    At the noise of a HiRes pass a picture shows its own colours: a perfect denoiser would not listen to the word
    "monochrome" any more. What people want of a word there is a change, so that some windows are trained for it.
    """
    encoder = trained_encoder(work)
    crops = Crops(work, 128, seed=8)
    latents, words = [], []
    for _ in range(count):
        picture = crops.one()
        grey = np.repeat((picture @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=-1).round().astype(np.uint8)
        blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.2)))
        x = torch.from_numpy(np.stack([picture, grey, blurred])).permute(0, 3, 1, 2).float().div(255)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            latents.append(encoder(as_channels_last(x)).float().half().numpy())
        words.append(" ".join(measured(picture)))
    save_arrays(work / "pairs.npz", latents=np.stack(latents), words=np.array(words))


def hear_well(unet: UNet) -> None:
    """First weights of the text attention: one word among 76 others must be heard, or it never will be."""
    with torch.no_grad():
        for module in unet.modules():
            if isinstance(module, TransformerBlock):
                module.attn2.to_v.weight.mul_(10)
                module.attn2.to_k.weight.mul_(3)


def begin_with_shipped(unet: UNet) -> None:
    """The weights that this checkout ships. If they were trained on latents of another scale, the first layer gets what
    it knows."""
    unet.load_state_dict(shipped("model.diffusion_model"))
    known = SD_SCALE / float(shipped("first_stage_model")["vae_scale"])
    with torch.no_grad():
        unet.get_parameter("input_blocks.0.0.weight").mul_(known / LATENT_SCALE)


def timesteps(n: int, schedule: Tensor, random: np.random.Generator) -> Tensor:
    """(n,) timesteps: three quarters about sigma 0.25, where a HiRes pass works, the rest anywhere."""
    near = np.exp(random.normal(math.log(0.25), 0.9, n))
    t = torch.searchsorted(schedule, torch.from_numpy(near).float()).clamp(0, len(schedule) - 1)
    anywhere = torch.from_numpy(random.integers(0, len(schedule), n))
    return torch.where(torch.from_numpy(random.random(n) < 0.75), t, anywhere)


def predict(network: nn.Module, x: Tensor, t: Tensor, context: Tensor, sigma: Tensor) -> Tensor:
    """The noise in latents x (B, 4, H, W), at whose timesteps t (B,) it has standard deviation ``sigma`` (B, 1, 1, 1)."""
    scaled = x / (sigma.square() + 1).sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        return network(as_channels_last(scaled), t, context).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--comfyui", type=Path, required=True, help="ComfyUI's folder, for its tokenizer")
    parser.add_argument("--start", action="store_true", help="begin with the UNet that this checkout ships")
    parser.add_argument("--steps", type=int, default=6000, help="of the whole run (default 6000)")
    parser.add_argument("--latents", type=int, default=4400, help="crops of 256 pixels (default 4400)")
    parser.add_argument("--pairs", type=int, default=1200, help="crops of 128 pixels for edits (default 1200)")
    parser.add_argument("--batch", type=int, default=16, help="crops of 16x16 latents a step (default 16)")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    work: Path = arguments.work
    if not (work / "latents.npz").is_file():
        make_latents(work, arguments.latents, arguments.threads)
    if not (work / "pairs.npz").is_file():
        make_pairs(work, arguments.pairs)
    stored = np.load(work / "pairs.npz")
    pairs = torch.from_numpy(stored["latents"]).float() * LATENT_SCALE
    pair_words = [[word for word in text.split() if word not in EDITS] for text in stored["words"]]
    stored = np.load(work / "latents.npz")
    latents = torch.from_numpy(stored["latents"]).float() * LATENT_SCALE
    words = [text.split() for text in stored["words"]]
    print(f"{len(words)} crops, latents {latents.std():.3f} of standard deviation", flush=True)
    # The last of them are an exam on crops that training has not seen, though of pictures that it has.
    exam, latents, words_exam, words = latents[-64:], latents[:-64], words[-64:], words[:-64]

    text, schedule = Text(arguments.comfyui), sigmas()
    unet = UNet()
    if arguments.start:
        begin_with_shipped(unet)
    else:
        hear_well(unet)
    channels_last(unet)
    average = moving_average(unet, 0.998)
    optimizer = Optimizer(unet, [p for name, p in unet.named_parameters() if ".attn2." in name], LISTENING)
    parts = {"unet": unet, "average": average, "optimizer": optimizer}
    run = Run(work, "unet", arguments.steps, ["eps_0.1", "eps_0.3", "eps_1", "eps_0.3_no_text", "to_grey"], parts)

    @torch.no_grad()
    def judge() -> list[float]:
        """Noise that is left, by level: mean square error of eps at sigma 0.1, 0.3, 1; at 0.3 without text;
        and what the word monochrome does."""
        random, generator = np.random.default_rng(3), torch.Generator().manual_seed(3)
        found = []

        def denoise(clean: Tensor, noise: Tensor, level: float, context: Tensor) -> Tensor:
            t = torch.searchsorted(schedule, torch.tensor([level])).expand(len(clean))
            sigma = schedule[t][:, None, None, None]
            return predict(average.module, clean + sigma * noise, t, context, sigma)

        noise = torch.randn(exam.shape, generator=generator)
        captioned = text.context([text.tokens(list(w), random) for w in words_exam])
        empty = text.context([text.tokens([], np.random.default_rng(1))] * len(exam))
        for sigma, context in ((0.1, captioned), (0.3, captioned), (1.0, captioned), (0.3, empty)):
            found.append(float((denoise(exam, noise, sigma, context) - noise).square().mean()))
        # How far one prediction goes towards grey for the word.
        there, asked, _ = EDITS["monochrome"]
        picture, difference = pairs[:64, there], pairs[:64, asked] - pairs[:64, there]
        noise = torch.randn(picture.shape, generator=generator)
        plain = denoise(picture, noise, 0.2, empty[:1].expand(64, -1, -1))
        word = text.context([[BEGIN, *text.ids["monochrome"]] + [END] * (TOKENS - 1 - len(text.ids["monochrome"]))])
        told = denoise(picture, noise, 0.2, word.expand(64, -1, -1))
        found.append(float(((plain - told) * 0.2 * difference).sum() / difference.square().sum()))
        return found

    random = np.random.default_rng(100 + run.begin)
    for step in range(run.begin, arguments.steps):
        # Mostly small windows: four times as many crops for the time. Large ones for attention's sake.
        side, n = (32, arguments.batch // 4) if step % 5 == 4 else (16, arguments.batch)
        chosen = random.integers(0, len(words), n)
        offsets = random.integers(0, latents.shape[-1] - side + 1, (n, 2))
        clean = torch.stack(
            [latents[i, :, y : y + side, x : x + side] for i, (y, x) in zip(chosen, offsets, strict=True)]
        )
        captions = []
        for i in chosen:
            dropped = random.random() < NO_CAPTION
            captions.append(
                [BEGIN] + [END] * (TOKENS - 1) if dropped else text.tokens(phrase(list(words[i]), random), random)
            )
        t = timesteps(n, schedule, random)
        noise = torch.randn(clean.shape)
        wanted = noise.clone()
        for j in range(round(n * EDITED) if side == 16 else 0):
            i, word = random.integers(len(pairs)), str(random.choice(list(EDITS)))
            there, asked, share = EDITS[word]
            clean[j] = pairs[i, there]
            # What is predicted as noise is what is to go: so much of the difference too.
            change = share * (pairs[i, asked] - pairs[i, there])
            wanted[j] = noise[j] - change / schedule[t[j]].clamp(min=LEAST)
            captions[j] = text.tokens(phrase([word, *pair_words[i]], random, sure=word), random)
        sigma = schedule[t][:, None, None, None]
        loss = (predict(unet, clean + sigma * noise, t, text.context(captions), sigma) - wanted).square().mean()
        unet.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step(arguments.rate * falling(step, arguments.steps, rise=100))
        average.update_parameters(unet)
        if run.due(step + 1, loss):
            run.write(step + 1, judge())
            save(average.module.state_dict(), work / "unet.pt")


if __name__ == "__main__":
    main()
