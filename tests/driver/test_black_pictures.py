"""Jobs whose models make NaN, on the real server: an error that names the stage, and no black picture."""

from __future__ import annotations

import math

import pytest
import torch
from job_images import picture, plain_graph, write_image
from made_models import changed_copy, upscale_graph, write_flat_esrgan

from distillery.driver import Upscaler
from distillery.driver.errors import JobError
from distillery.driver.server.client import ComfyClient
from distillery.nodes.model_files.mini import ensure_mini

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_an_upscale_model_of_nan_is_named(server, models):
    file = write_flat_esrgan(models / "upscale_models" / "nan.safetensors", math.nan)
    client = ComfyClient(server.endpoint)
    try:
        with pytest.raises(JobError, match=r"^Upscale 2x: The upscale model gives .*NaN.*Load UltraSharp"):
            client.run(upscale_graph(file.name))
    finally:
        client.close()
        file.unlink()


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ("model.diffusion_model.out.2.bias", r"^VAE Decode: The HiRes pass .*NaN.*--fp32-unet"),
        ("first_stage_model.taesd_decoder.1.weight", r"^VAE Decode: The VAE .*NaN.*--fp32-vae"),
        ("first_stage_model.taesd_encoder.0.weight", r"^VAE Encode: The VAE .*NaN.*--fp32-vae"),
    ],
)
def test_the_diffusion_model_is_told_from_the_vae(server, models, tmp_path, tensor, words):
    checkpoint = models / "checkpoints" / f"Broken_{tensor.split('.')[-2]}_{tensor[12:30]}.safetensors"
    changed_copy(
        ensure_mini(models / "checkpoints"), checkpoint, tensor, lambda values: torch.full_like(values, math.nan)
    )
    graph = plain_graph()
    graph["4"]["inputs"]["ckpt_name"] = checkpoint.name
    source = write_image(tmp_path / "a.png", picture(64, 64), graph)
    try:
        with Upscaler(server=server.url, out=tmp_path / "out") as driver, pytest.raises(JobError, match=words):
            driver.upscale(source, "--power 0.1")
    finally:
        checkpoint.unlink()
    assert not list((tmp_path / "out").glob("*.png"))
