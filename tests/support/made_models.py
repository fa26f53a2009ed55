"""Model files that tests make: upscale models whose result is known, checkpoints that differ in a tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def flat_esrgan(level: float, channels: int = 3, outputs: int | None = None) -> dict[str, torch.Tensor]:
    """An ESRGAN of scale 4, as BasicSR names its tensors, that paints every pixel in one level."""
    outputs = channels if outputs is None else outputs
    features, growth = 8, 32  # the growth is the same in all of them
    shapes = {"conv_first": (features, channels), "conv_body": (features, features), "conv_last": (outputs, features)}
    shapes.update((f"conv_{name}", (features, features)) for name in ("up1", "up2", "hr"))
    for block in (1, 2, 3):
        for i in range(1, 6):
            made = features if i == 5 else growth
            shapes[f"body.0.rdb{block}.conv{i}"] = (made, features + (i - 1) * growth)
    tensors = {}
    for name, (made, taken) in shapes.items():
        tensors[f"{name}.weight"] = torch.zeros(made, taken, 3, 3)
        tensors[f"{name}.bias"] = torch.full((made,), level if name == "conv_last" else 0.0)
    return tensors


def write_flat_esrgan(path: Path, level: float, channels: int = 3, outputs: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(flat_esrgan(level, channels, outputs), path)
    return path


def upscale_graph(model: str, side: int = 64) -> dict:
    """A grey picture through this pack's upscaler alone."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": side, "height": side, "batch_size": 1, "color": 0x808080},
        },
        "2": {
            "class_type": "DistilleryLoadUltraSharp",
            "inputs": {"model_name": model, "stand_in": "RealESRGAN_x4plus"},
            "_meta": {"title": "Load UltraSharp"},
        },
        "3": {
            "class_type": "DistilleryUpscale2x",
            "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]},
            "_meta": {"title": "Upscale 2x"},
        },
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "upscaled"}},
    }


def changed_copy(
    source: Path, target: Path, tensor: str, change: Callable[[torch.Tensor], torch.Tensor] = torch.neg
) -> None:
    """A copy of a safetensors file, of the same size, whose one tensor has other values."""
    with safe_open(source, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors[tensor] = change(tensors[tensor])
    part = target.with_suffix(".part")
    save_file(tensors, part)
    part.replace(target)


def without_tensors(source: Path, target: Path, prefixes: tuple[str, ...]) -> Path:
    """A copy of a safetensors file without the tensors of those beginnings; of PyTorch's format by its ending."""
    with safe_open(source, "pt") as file:
        names = [name for name in file.keys() if not name.startswith(prefixes)]  # noqa: SIM118
        tensors = {name: file.get_tensor(name) for name in names}
    if target.suffix == ".safetensors":
        save_file(tensors, target)
    else:
        torch.save({"state_dict": tensors}, target)
    return target


def write_tensors(path: Path, *names: str) -> Path:
    """A safetensors file of small tensors of those names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.zeros(2) for name in names}, path)
    return path
