"""Choose the number format in which a device computes convolutions fastest."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device) -> torch.dtype | None:
    """The half precision in which the device is fast, or None where float32 is the best it has.

    A CPU has it with AVX512-BF16 or AMX: on one with both, Upscale 2x ran 3.9 times as fast as ComfyUI's own nodes in
    float32, with 50 dB PSNR between the results (benchmarks/upscale.py). CUDA devices have it from compute
    capability 8 (bf16) or 7 (fp16).
    """
    if device.type == "cpu":
        # Private in torch, hence looked up with care: without them float32 is right, only slower.
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            check = getattr(torch.cpu, name, None)
            if check is not None and check():
                return torch.bfloat16
        return None
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16 if major >= 7 else None
    return None
