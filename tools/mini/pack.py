"""Put trained networks into the file that the project ships.

    ./distillery python -m distillery.tools.mini.pack WORK

Takes WORK/unet.pt, the encoder of WORK/vae.pt and WORK/decoder.pt; writes
models/distillery-mini/mini_unet_vae.safetensors and prints the three constants that nodes/model_files/mini.py wants. The UNet's
matrices are kept in 8 bits, one scale for each output: 29 MB instead of 59.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from ...nodes.model_files import mini
from ...nodes.model_files.safetensors_header import write_header
from .train_unet import LATENT_SCALE, SD_SCALE

SMALLEST = 20_000
"""Numbers in a tensor from which on 8 bits are worth it. The first and last layers stay in fp16."""


def quantised(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """8-bit whole numbers (same shape) and a scale for each output (first dimension), fp16."""
    rows: np.ndarray = weights.reshape(len(weights), -1).astype(np.float32)
    scale = np.maximum(np.abs(rows).max(axis=1) / 127, 1e-7).astype("<f2")
    scale = np.maximum(scale, np.float16(6e-8))  # of an output that is all zeros
    whole = np.clip(np.round(rows / scale.astype(np.float32)[:, None]), -127, 127).astype(np.int8)
    return whole.reshape(weights.shape), scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--decoder", default="decoder.pt", help="file in WORK (default decoder.pt)")
    parser.add_argument("--out", type=Path, default=mini.WEIGHTS)
    arguments = parser.parse_args()
    work: Path = arguments.work
    vae = {"encoder": torch.load(work / "vae.pt")["encoder"], "decoder": torch.load(work / arguments.decoder)}
    unet = torch.load(work / "unet.pt")

    stored: dict[str, np.ndarray] = {}
    for name, tensor in unet.items():
        values = tensor.float().contiguous().numpy()
        name = f"model.diffusion_model.{name}"
        if values.ndim > 1 and values.size >= SMALLEST:
            stored[name], stored[name + ".scale"] = quantised(values)
        else:
            stored[name] = values.astype("<f2")
    for part in ("encoder", "decoder"):
        for name, tensor in vae[part].items():
            stored[f"first_stage_model.taesd_{part}.{name}"] = tensor.float().contiguous().numpy().astype("<f2")
    stored["first_stage_model.vae_scale"] = np.array(SD_SCALE / LATENT_SCALE, dtype="<f2")
    stored["first_stage_model.vae_shift"] = np.array(0, dtype="<f2")

    header: dict[str, dict[str, object]] = {}
    end = 0
    for name in sorted(stored):
        begin, end = end, end + stored[name].nbytes
        dtype = "I8" if stored[name].dtype == np.int8 else "F16"
        header[name] = {"dtype": dtype, "shape": list(stored[name].shape), "data_offsets": [begin, end]}
    content = write_header(header, {"format": "pt"}) + b"".join(stored[name].tobytes() for name in sorted(stored))
    arguments.out.write_bytes(content)

    mini.WEIGHTS, mini.WEIGHTS_SHA256 = arguments.out, hashlib.sha256(content).hexdigest()
    whole = work / "checkpoint.safetensors"
    with whole.open("wb") as file:
        digest = mini.write_checkpoint(file)
    print(f"{arguments.out}: {len(content) / 1e6:.1f} MB; assembled: {whole}")
    print(f'SIZE = {whole.stat().st_size:_}\nSHA256 = "{digest}"\nWEIGHTS_SHA256 = "{mini.WEIGHTS_SHA256}"')


if __name__ == "__main__":
    main()
