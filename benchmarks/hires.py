#!/usr/bin/env python3
"""HiRes Tiles against untiled sampling, UltimateSDUpscale and TiledDiffusion, in turns in one run of one process.

    ./distillery python benchmarks/hires.py [--peers FOLDER] [--size 1024] [--steps 15] [--tile 768 --tile 1024]

ComfyUI runs in this process, and every side does the same job with its nodes: the picture already enlarged 2x is
encoded, regenerated with the same checkpoint, prompt, seed, sampler and tile size, and decoded. The peers come from
FOLDER, each as its own project publishes it:

    ComfyUI_UltimateSDUpscale   github.com/ssitu/ComfyUI_UltimateSDUpscale at 34a3c2c0, with
                                github.com/Coyote-A/ultimate-upscale-for-automatic1111 at 2322caa4 in its
                                repositories/ultimate_sd_upscale
    ComfyUI-TiledDiffusion      github.com/shiimizu/ComfyUI-TiledDiffusion at a155b1ba

A side that is not there is left out. Two pictures are regenerated: one of detail, and a gradient like a clear sky.
Time is wall clock and, as that says little on a machine with other work, processor seconds of the process. The UNet's
work is counted by a hook on the network, VAE passes by one on the VAE. Writes a table (.md), all figures (.json) and
details of the pictures (.jpg) to benchmarks/results.

``--shape sd15`` and ``--shape sdxl`` take networks of those shapes with random weights, for time on a GPU does not
depend on their values; their pictures mean nothing, and no figures of pictures are made. ``--shape count`` takes networks
that compute nothing, for the counts of work, at full size on any machine.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image, ImageDraw

from distillery.benchmarks import seams
from distillery.driver import paths
from distillery.driver.setup.comfyui import ensure_comfyui
from distillery.nodes.imaging.colour import keep_colours
from distillery.nodes.model_files.upscalers import REALESRGAN
from distillery.nodes.parameters import OVERLAP, SAMPLING
from distillery.nodes.tiling.tiles import plan
from distillery.tools.mini import measures
from distillery.tools.mini.evaluate import start_comfyui

ROOT = Path(__file__).resolve().parent.parent
UNTILED, OURS = "untiled", "HiRes Tiles"
USDU, HALF_TILE, TILED_DIFFUSION = "UltimateSDUpscale", "UltimateSDUpscale, Half Tile", "TiledDiffusion"
COLOURS_KEPT = f"{OURS}, keep_colours"
SIDES = (OURS, UNTILED, USDU, HALF_TILE, TILED_DIFFUSION)
PROMPT, NEGATIVE = "a photo of a cat, detailed fur", "blurry, low quality"
SEED, CFG, DENOISE = 7, 6.0, 0.3
DETAIL, SKY = "detail", "sky"
USDU_PADDING, TILED_DIFFUSION_OVERLAP = 32, 64
"""The peers' own defaults, in pixels."""
COUNT = "count"


@dataclass
class Counts:
    """Work of one run."""

    unet_megapixels: float = 0.0
    """Pixels of the canvas per image and step that went through the UNet, in millions."""
    unet_calls: int = 0
    vae_passes: int = 0
    """Calls of encode and of decode."""
    vae_megapixels: float = 0.0


@dataclass
class Run:
    """One run of one side."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    """Memory at the peak less memory before, of the GPU where there is one, in MiB."""
    counts: Counts


@dataclass
class Job:
    """What all sides are given, and what counts their work."""

    model: Any
    vae: Any
    positive: Any
    negative: Any
    steps: int
    sampler: str
    scheduler: str
    tile: int
    overlap: int
    """Of HiRes Tiles, in pixels."""
    reduce: int
    """The peers' overlaps are their defaults divided by so much."""
    nodes: Any
    """ComfyUI's own module of nodes."""
    peers: dict[str, Any]
    counts: Counts = field(default_factory=Counts)


def sample(job: Job, model: Any, vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Stock VAE Encode, KSampler and VAE Decode with this model and VAE."""
    (latent,) = job.nodes.VAEEncode().encode(vae, pixels)
    (latent,) = job.nodes.KSampler().sample(
        model, SEED, job.steps, CFG, job.sampler, job.scheduler, job.positive, job.negative, latent, DENOISE
    )
    (decoded,) = job.nodes.VAEDecode().decode(vae, latent)
    return decoded


def untiled(job: Job, pixels: torch.Tensor) -> torch.Tensor:
    return sample(job, job.model, job.vae, pixels)


def hires_tiles(job: Job, pixels: torch.Tensor) -> torch.Tensor:
    from distillery.nodes.tiling.model import tile_model
    from distillery.nodes.tiling.vae import TiledVAE

    return sample(job, tile_model(job.model, job.tile, job.overlap), TiledVAE(job.vae), pixels)


def ultimate_sd_upscale(job: Job, pixels: torch.Tensor, seam_fix: str = "None") -> torch.Tensor:
    node = job.peers[USDU].NODE_CLASS_MAPPINGS["UltimateSDUpscaleNoUpscale"]()
    (image,) = node.upscale(
        upscaled_image=pixels, model=job.model, positive=job.positive, negative=job.negative, vae=job.vae,
        seed=SEED, steps=job.steps, cfg=CFG, sampler_name=job.sampler, scheduler=job.scheduler, denoise=DENOISE,
        mode_type="Linear", tile_width=job.tile, tile_height=job.tile, mask_blur=8 // job.reduce, tile_padding=USDU_PADDING // job.reduce,
        seam_fix_mode=seam_fix, seam_fix_denoise=1.0, seam_fix_mask_blur=8 // job.reduce,
        seam_fix_width=64 // job.reduce, seam_fix_padding=16 // job.reduce,
        force_uniform_tiles=True, tiled_decode=False,
    )  # fmt: skip
    return image


def tiled_diffusion(job: Job, pixels: torch.Tensor) -> torch.Tensor:
    node = job.peers[TILED_DIFFUSION].NODE_CLASS_MAPPINGS["TiledDiffusion"]()
    (model,) = node.apply(
        job.model, "Mixture of Diffusers", job.tile, job.tile, TILED_DIFFUSION_OVERLAP // job.reduce, 4
    )
    return sample(job, model, job.vae, pixels)


RUNNERS: dict[str, Callable[[Job, torch.Tensor], torch.Tensor]] = {
    UNTILED: untiled,
    OURS: hires_tiles,
    USDU: ultimate_sd_upscale,
    HALF_TILE: lambda job, pixels: ultimate_sd_upscale(job, pixels, "Half Tile"),
    TILED_DIFFUSION: tiled_diffusion,
}


def borders(side: str, canvas: int, tile: int, overlap: int, reduce: int) -> tuple[list[int], list[int], int]:
    """Where a side's tiles end (the same for columns and rows), where they begin, and their size, in pixels."""
    if side in (USDU, HALF_TILE):
        step = tile // 2 if side == HALF_TILE else tile
        begins = [max(0, x - USDU_PADDING // reduce) for x in range(0, canvas, tile)]
        return list(range(step, canvas, step)), [x for x in begins if x + tile <= canvas + tile // 2], tile
    if side == TILED_DIFFUSION:
        shared = TILED_DIFFUSION_OVERLAP // reduce
        count = -(-(canvas - shared) // (tile - shared))
        begins = [i * (canvas - tile) // (count - 1) // 8 * 8 for i in range(count)]
        size = tile
    else:
        layout = plan(canvas // 8, canvas // 8, tile // 8, min(overlap, tile // 2) // 8, 8).scaled(8)
        begins, size = list(layout.xs), layout.tile_width
    ends = [x + size for x in begins[:-1]]
    middles = [(a + b) // 2 for a, b in zip(begins[1:], ends, strict=True)]
    return sorted({*begins[1:], *ends, *middles}), begins, size


def load_peers(folder: Path | None) -> dict[str, Any]:
    """The peers' modules that lie in ``folder``, by side."""
    found: dict[str, Any] = {}
    # UltimateSDUpscale forgets every module that it is first to import: these must be there before.
    import comfy_extras.nodes_custom_sampler
    import comfy_extras.nodes_gits
    import comfy_extras.nodes_sag
    import comfy_extras.nodes_upscale_model  # noqa: F401

    # TiledDiffusion replaces functions of ComfyUI when it is imported: it comes last.
    for side, name in ((USDU, "ComfyUI_UltimateSDUpscale"), (TILED_DIFFUSION, "ComfyUI-TiledDiffusion")):
        start = folder / name / "__init__.py" if folder else None
        if start is None or not start.is_file():
            continue
        module_name = f"peer_{len(found)}"
        spec = importlib.util.spec_from_file_location(
            module_name, start, submodule_search_locations=[str(start.parent)]
        )
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        found[side] = module
    if USDU in found:
        found[HALF_TILE] = found[USDU]
    return found


UNETS: dict[str, dict[str, Any]] = {
    "sd15": {
        "image_size": 32, "out_channels": 4, "in_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "channel_mult": [1, 2, 4, 4], "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "use_linear_in_transformer": False,
        "context_dim": 768, "num_heads": 8, "use_spatial_transformer": True, "legacy": False,
    },
    "sdxl": {
        "image_size": 32, "out_channels": 4, "in_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2],
        "transformer_depth": [0, 0, 2, 2, 10, 10], "channel_mult": [1, 2, 4], "transformer_depth_middle": 10,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "use_linear_in_transformer": True,
        "context_dim": 2048, "num_head_channels": 64, "num_classes": "sequential", "adm_in_channels": 2816,
        "use_spatial_transformer": True, "legacy": False,
    },
}  # fmt: skip
"""The networks of Stable Diffusion 1.5 and SDXL."""


def random_state(module: torch.nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Small random values for all parameters of a module on the meta device."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: (torch.randn(value.shape, generator=generator) * 0.02).to(dtype)
        for name, value in module.state_dict().items()
    }


def random_checkpoint(shape: str) -> tuple[Any, Any, Any, Any]:
    """Model, VAE, positive and negative of random weights in the shape of SD 1.5 or SDXL."""
    import comfy.ldm.models.autoencoder
    import comfy.ldm.modules.diffusionmodules.openaimodel as unets
    import comfy.ops
    import comfy.sd

    with torch.device("meta"):
        network = unets.UNetModel(**UNETS[shape], operations=comfy.ops.disable_weight_init)
        autoencoder = comfy.ldm.models.autoencoder.AutoencoderKL(
            embed_dim=4,
            ddconfig={
                "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
                "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
            },
        )  # fmt: skip
    model = comfy.sd.load_diffusion_model_state_dict(random_state(network, torch.float16))
    vae = comfy.sd.VAE(sd=random_state(autoencoder, torch.float32))
    generator = torch.Generator().manual_seed(1)
    prompts = []
    for _ in range(2):
        text = torch.randn(1, 77, UNETS[shape]["context_dim"], generator=generator)
        prompts.append([[text, {"pooled_output": torch.randn(1, 1280, generator=generator)}]])
    return model, vae, *prompts


class Nothing(torch.nn.Module):
    """A UNet that computes nothing."""

    dtype = torch.float32

    def forward(self, x: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        return x


class Pixels:
    """A VAE that averages cells of eight by eight pixels, with what nodes ask of ComfyUI's."""

    latent_dim, extra_1d_channel = 2, None

    def spacial_compression_encode(self) -> int:
        return 8

    spacial_compression_decode = spacial_compression_encode

    def vae_encode_crop_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[..., :3]

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = pixels[..., :3].movedim(-1, 1).mean(dim=1, keepdim=True)
        return torch.nn.functional.avg_pool2d(grey, 8).expand(-1, 4, -1, -1).contiguous()

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        large = torch.nn.functional.interpolate(samples[:, :3], scale_factor=8)
        return large.movedim(1, -1).clamp(0, 1)


def no_checkpoint() -> tuple[Any, Any, Any, Any]:
    """Model, VAE, positive and negative of which only the calls matter."""
    import comfy.model_base
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.supported_models

    family = comfy.supported_models.SD15
    model = comfy.model_base.BaseModel(family({**family.unet_config, "disable_unet_model_creation": True}))
    model.diffusion_model = Nothing()
    device = management.get_torch_device()
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)
    return patcher, Pixels(), *([[torch.zeros(1, 77, 768), {}]] for _ in range(2))


def load_checkpoint(file: Path) -> tuple[Any, Any, Any, Any]:
    """Model, VAE, positive and negative."""
    import comfy.sd

    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(file), output_vae=True, output_clip=True)
    return model, vae, *(clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (PROMPT, NEGATIVE))


def count_work(job: Job) -> None:
    """Counts in ``job.counts`` whatever goes through the UNet and the VAE from now on."""

    def on_unet(_module: Any, inputs: tuple[Any, ...]) -> None:
        images, _, height, width = inputs[0].shape
        job.counts.unet_calls += 1
        job.counts.unet_megapixels += images * height * width * 64 / 1e6

    job.model.model.diffusion_model.register_forward_pre_hook(on_unet)
    encode, decode = job.vae.encode, job.vae.decode

    def counted_encode(pixels: torch.Tensor) -> torch.Tensor:
        job.counts.vae_passes += 1
        job.counts.vae_megapixels += pixels[..., 0].numel() / 1e6
        return encode(pixels)

    def counted_decode(samples: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        job.counts.vae_passes += 1
        job.counts.vae_megapixels += samples[:, 0].numel() * 64 / 1e6
        return decode(samples, *args, **kwargs)

    job.vae.encode, job.vae.decode = counted_encode, counted_decode


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Appends by how many MiB memory rose at its peak, of the GPU where there is one."""
    gc.collect()
    grown: list[float] = []
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        yield grown
        torch.cuda.synchronize()
        grown.append(torch.cuda.max_memory_allocated() / 2**20)
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what earlier runs freed is no memory of this one
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield grown
    finally:
        done.set()
        watcher.join()
        grown.append((peak - before) / 2**20)


def measured(job: Job, side: str, pixels: torch.Tensor) -> tuple[Run, np.ndarray]:
    """One run of a side, and its picture (H, W, 3), 0 … 1."""
    job.counts = Counts()
    with peak_memory() as grown:
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            image = RUNNERS[side](job, pixels)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    picture: np.ndarray = image[0, ..., :3].float().clamp(0, 1).cpu().numpy().astype(np.float64)
    return Run(wall, cpu, grown[0], job.counts), picture


def figures(side: str, after: np.ndarray, before: np.ndarray, source: np.ndarray, job: Job) -> dict[str, float]:
    """What the picture tells."""
    lines, begins, size = borders(side, after.shape[1], job.tile, job.overlap, job.reduce)
    change = after - before
    ratio, p = seams.seam_ratio(change, lines, lines)
    step, elsewhere = seams.border_steps(after, before, lines, lines, min(job.tile, after.shape[0]))
    down = after.reshape(after.shape[0] // 2, 2, after.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    return {
        "seam_ratio": ratio,
        "seam_p": p,
        "step": step,
        "step_elsewhere": elsewhere,
        "repetition": seams.repetition(change, [(x, y) for y in begins for x in begins], size),
        "psnr": measures.psnr(down, source),
        "ssim": seams.ssim(down, source),
        "delta_e": measures.colour_shift(down, source),
    }


def pictures(
    size: int, image: Path, upscaler: Path | None, names: Sequence[str], kept: Path | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: the source (size, size, 3) and what an upscaler made of it, twice as large, 0 … 1.

    What is in the folder ``kept`` from an earlier run of the same size is taken from there.
    """
    files = {n: [kept / f"{n}_{size}_{part}.png" for part in ("source", "enlarged")] for n in names} if kept else {}
    if files and all(file.is_file() for pair in files.values() for file in pair):
        return {
            n: (np.asarray(Image.open(source)) / 255, np.asarray(Image.open(large)) / 255)
            for n, (source, large) in files.items()
        }
    with Image.open(image) as opened:
        detail = opened.convert("RGB")
    # What is too small is enlarged by the same network, for a blurred picture would have no detail to lose.
    while upscaler and min(detail.size) < size:
        detail = Image.fromarray(to_bytes(enlarged(np.asarray(detail) / 255, upscaler)))
    detail = detail.resize((size, size), Image.Resampling.LANCZOS)
    y, x = np.mgrid[0:size, 0:size] / size
    low, high = np.array([0.78, 0.86, 0.95]), np.array([0.25, 0.45, 0.80])
    sky = low + (high - low) * (0.8 * (1 - y) + 0.2 * x)[..., None] ** 1.3
    sky += np.random.default_rng(0).normal(0, 0.004, sky.shape)  # as a photograph has it
    sources = {DETAIL: np.asarray(detail) / 255, SKY: to_bytes(sky) / 255}
    made = {name: (sources[name], to_bytes(enlarged(sources[name], upscaler)) / 255) for name in names}
    for name, pair in files.items():
        pair[0].parent.mkdir(parents=True, exist_ok=True)
        for file, picture in zip(pair, made[name], strict=True):
            Image.fromarray(to_bytes(picture)).save(file)
    return made


def enlarged(picture: np.ndarray, upscaler: Path | None) -> np.ndarray:
    """Twice as large, (2H, 2W, 3), 0 … 1: by Upscale 2x with the network, or by Lanczos without one."""
    from spandrel import ModelLoader

    from distillery.nodes.imaging.precision import fast_dtype
    from distillery.nodes.imaging.upscale import upscale_2x

    if upscaler is None:
        height, width = picture.shape[:2]
        resized = Image.fromarray(to_bytes(picture)).resize((2 * width, 2 * height), Image.Resampling.LANCZOS)
        return np.asarray(resized) / 255
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = ModelLoader(device).load_from_file(upscaler)
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).float()[None]
    large = upscale_2x(pixels, network, network.scale, device=device, half=fast_dtype(device))
    return large[0].numpy().astype(np.float64)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def machine() -> str:
    """The processor or GPU, cores, memory and torch, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = named[0] if named else name
    memory = psutil.virtual_memory().total / 2**30
    device = f"{torch.cuda.get_device_name(0)}, with " if torch.cuda.is_available() else ""
    threads = f"torch {torch.__version__} with {torch.get_num_threads()} threads"
    return f"{device}{name}, {psutil.cpu_count()} cores, {memory:.0f} GiB; {threads}"


def spread(values: list[float], digits: int = 2) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(
    tile: int, runs: dict[str, list[Run]], quality: dict[str, dict[str, dict[str, float]]], per_step: float
) -> str:
    """Costs, and one table of figures for each picture. ``per_step``: UNet megapixels of the whole canvas, all steps."""
    lines = [
        f"### Tile {tile}",
        "",
        "| | seconds | CPU seconds | CPU seconds over HiRes Tiles' | wall over HiRes Tiles' | UNet megapixels | "
        "of the canvas | UNet calls | VAE passes | VAE megapixels | peak memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for side, of_side in runs.items():
        if not of_side:
            continue
        cpu_ratios, ratios = (
            [getattr(a, key) / getattr(b, key) for a, b in zip(of_side, runs.get(OURS, []), strict=False)]
            or [float("nan")]
            for key in ("cpu_seconds", "seconds")
        )
        counts = of_side[0].counts
        cells = [
            side, spread([run.seconds for run in of_side], 1), spread([run.cpu_seconds for run in of_side], 1),
            spread(cpu_ratios), spread(ratios), f"{counts.unet_megapixels:.0f}",
            f"{counts.unet_megapixels / per_step:.2f}", f"{counts.unet_calls}", f"{counts.vae_passes}",
            f"{counts.vae_megapixels:.1f}", spread([run.peak_mb for run in of_side], 0),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    for name, of_picture in quality.items():
        lines += [
            "",
            f"Picture: {name}",
            "",
            "| | seam ratio | p | step at borders, Delta E | the same elsewhere | repetition between tiles | "
            "brought down to the source: PSNR, dB | SSIM | colour, Delta E |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for side, f in of_picture.items():
            lines.append(
                f"| {side} | {f['seam_ratio']:.3f} | {f['seam_p']:.3f} | {f['step']:.3f} | {f['step_elsewhere']:.3f} | "
                f"{f['repetition']:.3f} | {f['psnr']:.2f} | {f['ssim']:.4f} | {f['delta_e']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def details(shown: dict[str, dict[str, np.ndarray]], tile: int, side: int = 224) -> Image.Image:
    """One row a picture: where tiles meet, at its own size, for every side."""
    rows = list(shown.items())
    columns = max(len(row) for _, row in rows)
    sheet = Image.new("RGB", (columns * (side + 4), len(rows) * (side + 20)), "white")
    draw = ImageDraw.Draw(sheet)
    for j, (name, row) in enumerate(rows):
        for i, (label, picture) in enumerate(row.items()):
            at = min(tile, picture.shape[0] - side // 2) - side // 2
            crop = to_bytes(picture[at : at + side, at : at + side])
            draw.text((i * (side + 4) + 2, j * (side + 20) + 2), f"{name}: {label}", fill="black", font_size=12)
            sheet.paste(Image.fromarray(crop), (i * (side + 4), j * (side + 20) + 18))
    return sheet


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="folder with the peers' checkouts")
    parser.add_argument("--size", type=int, default=1024, metavar="PX", help="side of the source (default 1024)")
    parser.add_argument("--steps", type=int, default=15, metavar="N", help="steps, all of them run (default 15)")
    parser.add_argument("--tile", type=int, action="append", metavar="PX", help="side of a tile; may be repeated")
    parser.add_argument(
        "--overlap", type=int, default=OVERLAP, metavar="PX", help=f"of HiRes Tiles (default {OVERLAP})"
    )
    parser.add_argument(
        "--reduce", type=int, choices=(1, 2, 4), default=1,
        help="divides the peers' overlaps: for a model of a larger canvas, with --size, --tile and --overlap divided too",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each side (default 3)")
    parser.add_argument("--side", action="append", choices=SIDES, help="only this side; may be repeated")
    parser.add_argument("--picture", action="append", choices=(DETAIL, SKY), help="only this one; may be repeated")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: distillery-mini")
    parser.add_argument(
        "--shape", choices=[*sorted(UNETS), COUNT],
        help="random weights of this shape in place of a checkpoint; count: no networks, only their work is counted",
    )  # fmt: skip
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "cat.png", metavar="FILE")
    parser.add_argument("--upscaler", type=Path, metavar="FILE", help=f"default: {REALESRGAN} where it is installed")
    parser.add_argument("--sampler", metavar="NAME", help="default: that of the checkpoint's family")
    parser.add_argument("--scheduler", metavar="NAME", help="default: that of the checkpoint's family")
    parser.add_argument("--comfyui", type=Path, metavar="FOLDER", help="ComfyUI's source (default: the pinned one)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", metavar="FOLDER")
    parser.add_argument("--name", default="hires", help="of the files that are written (default: hires)")
    parser.add_argument("--kept", type=Path, metavar="FOLDER", help="where enlarged pictures are kept for other runs")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of the CPU (default: torch's own choice)")
    parser.add_argument("--note", default="", help="a sentence for the head of the table")
    options = parser.parse_args()
    family = "sdxl" if options.shape == "sdxl" else "sd15"
    options.tile = options.tile or [1024 if family == "sdxl" else 768]
    options.sampler, options.scheduler = (
        given or default for given, default in zip((options.sampler, options.scheduler), SAMPLING[family], strict=True)
    )
    models = paths.models_dir()
    options.checkpoint = options.checkpoint or models / "checkpoints" / "distillery-mini.safetensors"
    installed = models / "upscale_models" / REALESRGAN
    options.upscaler = options.upscaler or (installed if installed.is_file() else None)
    if options.size % 64 or options.size < 128:
        parser.error("--size must be a multiple of 64, 128 or more")
    return options


def networks(options: argparse.Namespace) -> str:
    """Which networks run, in words."""
    if options.shape == COUNT:
        return "networks that compute nothing (times are those of all else)"
    return f"the shape of {options.shape} with random weights" if options.shape else options.checkpoint.stem


def main() -> int:
    """Run the benchmark, print its table and write its files."""
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    start_comfyui(options.comfyui or ensure_comfyui())
    import comfy.utils

    import nodes

    comfy.utils.set_progress_bar_enabled(False)
    peers = load_peers(options.peers)
    sides = [s for s in SIDES if s in (options.side or SIDES) and (s in (OURS, UNTILED) or s in peers)]
    left_out = [s for s in (options.side or SIDES) if s not in sides]
    with torch.inference_mode():
        if options.shape == COUNT:
            loaded = no_checkpoint()
        else:
            loaded = random_checkpoint(options.shape) if options.shape else load_checkpoint(options.checkpoint)
    model, vae, positive, negative = loaded
    job = Job(
        model, vae, positive, negative, options.steps, options.sampler, options.scheduler, options.tile[0], options.overlap, options.reduce,
        nodes, peers,
    )  # fmt: skip
    count_work(job)
    chosen = [DETAIL] if options.shape else options.picture or [DETAIL, SKY]
    made = pictures(options.size, options.image, None if options.shape else options.upscaler, chosen, options.kept)
    canvas = 2 * options.size
    head = (
        f"{options.size}x{options.size} to {canvas}x{canvas}, {options.steps} steps of {options.sampler} {options.scheduler}, "
        f"cfg {CFG:g}, denoise {DENOISE:g}, overlap {options.overlap} (HiRes Tiles), {networks(options)}; "
        f"{options.repeats} run(s) of each side in turns, medians, least and greatest in brackets.\n"
        f"Machine: {machine()}.\n"
    )
    if options.note:
        head += options.note + "\n"
    if options.reduce > 1:
        head += f"The peers' overlaps are their defaults divided by {options.reduce}.\n"
    if left_out:
        head += f"Not there and left out: {', '.join(left_out)}.\n"
    print(head, flush=True)

    report: dict[str, Any] = {"head": head, "tiles": {}}
    texts: dict[int, str] = {}
    text = ""
    options.out.mkdir(parents=True, exist_ok=True)
    for tile in options.tile:
        job.tile = tile
        runs: dict[str, list[Run]] = {side: [] for side in sides}
        quality: dict[str, dict[str, dict[str, float]]] = {name: {} for name in chosen if not options.shape}
        shown: dict[str, dict[str, np.ndarray]] = {name: {"before": made[name][1]} for name in quality}
        small = torch.from_numpy(made[chosen[0]][1][None, :512, :512]).float()
        job.steps = 1
        measured(job, UNTILED, small)  # loads the models
        job.steps = options.steps
        for number in range(options.repeats):
            for i in range(len(sides)):
                side = sides[(i + number) % len(sides)]  # no side is always the first
                for name in chosen if number == 0 else chosen[:1]:
                    source, before = made[name]
                    run, after = measured(job, side, torch.from_numpy(before[None]).float())
                    if name == chosen[0]:
                        runs[side].append(run)
                    print(
                        f"  tile {tile}, run {number + 1}, {name}: {side} {run.seconds:.1f} s, CPU {run.cpu_seconds:.1f} s, "
                        f"{run.counts.unet_megapixels:.0f} UNet megapixels, {run.counts.vae_passes} VAE passes, "
                        f"{run.peak_mb:.0f} MiB",
                        flush=True,
                    )
                    if number == 0 and name in quality:
                        quality[name][side] = figures(side, after, before, source, job)
                        shown[name][side] = after
                        if side == OURS:
                            pair = torch.from_numpy(after[None]), torch.from_numpy(before[None])
                            fixed = keep_colours(*pair)[0].numpy()
                            quality[name][COLOURS_KEPT] = figures(OURS, fixed, before, source, job)
                    # After each run, so that one that is stopped is not lost.
                    report["tiles"][tile] = {
                        "runs": {side: [asdict(run) for run in of_side] for side, of_side in runs.items()},
                        "pictures": quality,
                    }
                    texts[tile] = table(tile, runs, quality, 2 * options.steps * canvas * canvas / 1e6)
                    text = "\n".join([f"## HiRes pass\n\n{head}", *texts.values()])
                    stem = options.out / options.name
                    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                    stem.with_suffix(".md").write_text(text, encoding="utf-8")
        if shown:
            details(shown, tile).save(options.out / f"{options.name}_{tile}.jpg", quality=90)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
