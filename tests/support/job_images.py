"""Sources for whole jobs, and their results opened."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.nodes.parameters import MINI_NAME


def write_image(path: Path, image: Image.Image, prompt: object = None, size: tuple[int, int] | None = None) -> Path:
    info = PngInfo()
    if prompt is not None:
        info.add_text("prompt", prompt if isinstance(prompt, str) else json.dumps(prompt))
    if size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(path, pnginfo=info)
    return path


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture with gradients, edges and texture."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    rng = np.random.default_rng(1)
    base = np.stack([x / width, y / height, 0.5 + 0.5 * np.sin(x / 9) * np.cos(y / 7)], axis=-1)
    base[height // 3 : height // 2, width // 4 : width // 2] *= 0.3
    levels = np.clip(base * 255 + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(levels).convert(mode)


def plain_graph(**sampler: object) -> dict:
    return {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 7, "steps": 20, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0], **sampler,
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": MINI_NAME}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a painted hill", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
    }  # fmt: skip


@dataclass
class Output:
    image: Image.Image
    pixels: np.ndarray
    text: dict[str, str]


def opened(result) -> Output:
    image = Image.open(io.BytesIO(Path(result.path).read_bytes()))
    image.load()
    return Output(image, np.asarray(image).astype(np.int16), dict(image.text))
