"""Models in parts: distillery-mini's UNet, text encoder and VAE in files of their own make the picture of the checkpoint."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file

from distillery.driver import Upscaler
from distillery.driver.errors import JobError
from distillery.nodes.model_parts import Parts, Patch
from distillery.nodes.recall import recall

pytestmark = [pytest.mark.server, pytest.mark.slow]

MINI = "distillery-mini.safetensors"
CAT = Path(__file__).resolve().parents[2] / "examples" / "cat.png"
FOLDERS = {
    "diffusion_models": ("parts-unet.safetensors", "model.diffusion_model."),
    "text_encoders": ("parts-clip.safetensors", "cond_stage_model.transformer."),
    "vae": ("parts-vae.safetensors", "first_stage_model."),
}


@pytest.fixture(scope="module")
def in_parts(models: Path, server) -> None:
    """distillery-mini in three files, as ComfyUI's loaders of parts take them."""
    tensors = load_file(models / "checkpoints" / MINI)
    for folder, (name, prefix) in FOLDERS.items():
        (models / folder).mkdir(exist_ok=True)
        part = {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}
        save_file(part, models / folder / name)


def picture(loaders: dict, model, clip, vae, seed: int = 5, **more) -> bytes:
    """A small picture whose graph has these loaders."""

    def node(class_type: str, **inputs):
        return {"class_type": class_type, "inputs": inputs}

    graph = {
        **loaders,
        "6": node("CLIPTextEncode", clip=clip, text="a photo of a cat, fur"),
        "7": node("CLIPTextEncode", clip=clip, text="fog"),
        "5": node("EmptyLatentImage", width=96, height=80, batch_size=1),
        "3": node(
            "KSampler", model=model, positive=["6", 0], negative=["7", 0], latent_image=["5", 0], seed=seed, steps=12, cfg=5.0,
            sampler_name="euler", scheduler="normal", denoise=1.0,
        ),
        "8": node("VAEDecode", samples=["3", 0], vae=vae),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
        **more,
    }  # fmt: skip
    info, out = PngInfo(), io.BytesIO()
    info.add_text("prompt", json.dumps(graph))
    with Image.open(CAT) as image:
        image.convert("RGB").crop((200, 200, 296, 280)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


CHECKPOINT = {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": MINI}}}
PARTS = {
    "4": {"class_type": "UNETLoader", "inputs": {"unet_name": "parts-unet.safetensors", "weight_dtype": "default"}},
    "10": {"class_type": "CLIPLoader", "inputs": {"clip_name": "parts-clip.safetensors", "type": "stable_diffusion"}},
    "11": {"class_type": "VAELoader", "inputs": {"vae_name": "parts-vae.safetensors"}},
}
RESCALE = {"12": {"class_type": "RescaleCFG", "inputs": {"model": ["4", 0], "multiplier": 0.7}}}


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_three_files_make_the_picture_of_the_checkpoint_to_the_bit(server, in_parts):
    whole = picture(CHECKPOINT, ["4", 0], ["4", 1], ["4", 2])
    parts = picture(PARTS, ["4", 0], ["10", 0], ["11", 0])
    recalled = recall(parts)
    assert recalled.checkpoint == "parts-unet.safetensors" and recalled.vae == "parts-vae.safetensors"
    assert recalled.parts == Parts(("parts-clip.safetensors",), "stable_diffusion")
    assert not recalled.warnings
    with Upscaler(server=server.url) as upscaler:
        first, _ = upscaler.upscale_bytes(whole, power=0.4, keep="nothing")
        second, result = upscaler.upscale_bytes(parts, power=0.4, keep="nothing")
        assert np.array_equal(pixels(first), pixels(second))
        assert result.generation.checkpoint == "parts-unet.safetensors"
        assert all("stands in for it" in warning for warning in result.warnings)  # of 4x-UltraSharp
        # The result is upscaled again by its own record.
        again = recall(second)
        assert again.parts == recalled.parts and again.checkpoint == recalled.checkpoint
        third, _ = upscaler.upscale_bytes(second, power=0.3, sharpen=0)
    assert recall(third).parts == recalled.parts


def test_a_patch_of_the_image_is_applied_as_its_own_node_does(server, in_parts):
    """RescaleCFG by the record, against the same node in a graph by hand: the picture differs from the one without it."""
    plain = picture(PARTS, ["4", 0], ["10", 0], ["11", 0])
    patched = picture({**PARTS, **RESCALE}, ["12", 0], ["10", 0], ["11", 0])
    whole = picture({**CHECKPOINT, **RESCALE}, ["12", 0], ["4", 1], ["4", 2])
    assert recall(patched).patches == (Patch("RescaleCFG", {"multiplier": 0.7}),)
    with Upscaler(server=server.url) as upscaler:
        made = [upscaler.upscale_bytes(p, power=0.5, keep="nothing", cfg=12)[0] for p in (plain, patched, whole)]
    assert not np.array_equal(pixels(made[0]), pixels(made[1]))
    assert np.array_equal(pixels(made[1]), pixels(made[2]))
    assert recall(made[1]).patches == recall(patched).patches


def test_a_missing_part_is_named_with_its_folder(server, in_parts):
    for number, name, words in (
        ("10", "clip_name", "text encoder \"gone.safetensors\" .* models/text_encoders"),
        ("11", "vae_name", "VAE \"gone.safetensors\" .* models/vae"),
        ("4", "unet_name", "diffusion model \"gone.safetensors\" .* models/diffusion_models"),
    ):  # fmt: skip
        loaders = json.loads(json.dumps(PARTS))
        loaders[number]["inputs"][name] = "gone.safetensors"
        data = picture(loaders, ["4", 0], ["10", 0], ["11", 0], seed=6)
        with Upscaler(server=server.url) as upscaler:
            if number == "4":
                # The built-in model stands in where nothing else is installed, and says where the real one belongs.
                _, result = upscaler.upscale_bytes(data, power=0.3)
                text = " ".join(result.warnings)
            else:
                with pytest.raises(JobError) as caught:
                    upscaler.upscale_bytes(data, power=0.3)
                text = str(caught.value)
        assert __import__("re").search(words, text), text
