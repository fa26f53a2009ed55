"""A model file that is replaced under its name while the server is warm."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from job_images import opened, picture, plain_graph, write_image
from made_models import changed_copy, upscale_graph, write_flat_esrgan
from PIL import Image
from safetensors.torch import save_file

from distillery.driver import Upscaler
from distillery.driver.server.client import ComfyClient
from distillery.nodes.model_files.mini import ensure_mini

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_an_upscale_model_that_was_replaced_is_loaded_anew(server, models):
    file = models / "upscale_models" / "replaced.safetensors"
    client = ComfyClient(server.endpoint)
    levels = []
    try:
        for level in (0.2, 0.8):
            write_flat_esrgan(file, level)
            outcome = client.run(upscale_graph(file.name))
            saved = outcome.outputs["4"]["images"][0]
            levels.append(np.asarray(Image.open(io.BytesIO(b"".join(client.view(saved))))).mean() / 255)
        assert {"2", "3"} <= set(client.run(upscale_graph(file.name)).cached)  # the same file is not loaded twice
    finally:
        client.close()
        file.unlink()
    assert levels == pytest.approx([0.2, 0.8], abs=0.01)


def lora(path: Path, scale: float) -> None:
    key = "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_v"
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(8, 320, generator=generator) * scale
    weights = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": torch.randn(320, 8, generator=generator)}
    save_file({**weights, f"{key}.alpha": torch.tensor(8.0)}, path)


def test_a_checkpoint_and_a_lora_that_were_replaced_count_for_the_same_command(server, models, tmp_path):
    checkpoint = models / "checkpoints" / "Replaced.safetensors"
    shutil.copy(ensure_mini(models / "checkpoints"), checkpoint)
    lora(models / "loras" / "replaced.safetensors", 0.1)
    graph = plain_graph()
    graph["4"]["inputs"]["ckpt_name"] = checkpoint.name
    graph["20"] = {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "replaced.safetensors", "strength_model": 1.0, "strength_clip": 1.0, "model": ["4", 0],
            "clip": ["4", 1],
        },
    }  # fmt: skip
    graph["3"]["inputs"]["model"] = ["20", 0]
    source = write_image(tmp_path / "a.png", picture(64, 64), graph)
    try:
        with Upscaler(server=server.url, out=tmp_path / "out") as driver:
            first = driver.upscale(source, "--power 0.2")
            same = driver.upscale(source, "--power 0.2")
            lora(models / "loras" / "replaced.safetensors", 0.2)
            other_lora = driver.upscale(source, "--power 0.2")
            changed_copy(checkpoint, checkpoint, "model.diffusion_model.out.2.weight")
            other_checkpoint = driver.upscale(source, "--power 0.2")
    finally:
        checkpoint.unlink()
        (models / "loras" / "replaced.safetensors").unlink()
    assert "Load Models (recalled)" in same.cached and np.array_equal(opened(same).pixels, opened(first).pixels)
    assert not np.array_equal(opened(other_lora).pixels, opened(first).pixels)
    assert not np.array_equal(opened(other_checkpoint).pixels, opened(other_lora).pixels)
