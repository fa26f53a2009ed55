"""Names of model files as they go on into results: without the folders of somebody's computer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.nodes.generation import Generation, HiRes, Lora
from distillery.nodes.model_files.names import match_name
from distillery.nodes.recall import recall_text
from distillery.nodes.record import RECORD_KEY, UpscalerInfo, record_for, record_for_copy
from distillery.nodes.values import to_model_name

WINDOWS = r"C:\Users\Jane Doe\stable-diffusion-webui\models\Stable-diffusion\sd15\dream.safetensors"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (WINDOWS, r"sd15\dream.safetensors"),
        ("/home/jane/ComfyUI/models/checkpoints/sd15/dream.safetensors", "sd15/dream.safetensors"),
        ("C:/Users/jane/Fooocus/models/loras/x.safetensors", "x.safetensors"),
        (r"\\nas\jane\models\Lora\styles\ink\x.safetensors", r"styles\ink\x.safetensors"),
        ("/Users/jane/models/own/x.safetensors", "own/x.safetensors"),
        ("/Users/jane/Downloads/x.safetensors", "x.safetensors"),
        (r"D:\x.safetensors", "x.safetensors"),
        ("~/models/ESRGAN/4x.pth", "4x.pth"),
        ("file:///home/jane/models/vae/x.pt", "x.pt"),
        ("../../home/jane/x.ckpt", "x.ckpt"),
        ("/models/loras/../../home/jane/x.ckpt", "x.ckpt"),
        ("C:\\Users\\jane\\models\\Lora\\a/b.safetensors", r"a\b.safetensors"),
        ("/ x.safetensors", "x.safetensors"),
        ("C:\\ styles \\ x", "x"),
        ("/models/loras/C:/x", "x"),
        ("/models/loras/file:", None),
        # relative ones stay as they are
        ("sd15/dream.safetensors", "sd15/dream.safetensors"),
        (r"styles\x.safetensors", r"styles\x.safetensors"),
        ("models/own/x.safetensors", "models/own/x.safetensors"),
        ("dream v1.5: final", "dream v1.5: final"),
        ("~dream", "~dream"),
        ("R-ESRGAN 4x+", "R-ESRGAN 4x+"),
        ("x..y", "x..y"),
        ("/", None),
        ("", None),
    ],
)
def test_folders_outside_of_the_models_are_dropped(name, kept):
    assert to_model_name(name) == kept


@given(st.text(max_size=60) | st.text("/\\ .:~aCfile", max_size=30))
def test_a_shortened_name_is_the_same_when_it_is_read_again(name):
    short = to_model_name(name)
    assert short is None or to_model_name(short) == short


def test_a_path_in_an_image_is_recalled_matched_and_recorded_without_its_user():
    text = (
        "a lake <lora:/home/jane/models/Lora/styles/ink:0.5>\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, "
        f"Size: 512x512, Model: {WINDOWS}, VAE: /home/jane/models/VAE/mse.pt, Hires upscaler: C:\\Users\\Jane\\4x.pth"
    )
    recalled = recall_text({"parameters": text})
    assert recalled.checkpoint == r"sd15\dream.safetensors" and recalled.vae == "mse.pt"
    assert (
        match_name(recalled.checkpoint, ["sdxl/dream.safetensors", "sd15/dream.safetensors"])
        == "sd15/dream.safetensors"
    )
    assert [lora.name for lora in recalled.loras] == ["styles/ink"]
    for record in (record_for(recalled), record_for_copy(recalled)):
        assert "Users" not in record and "jane" not in record.lower()
        again = recall_text({RECORD_KEY: record})
        assert (again.checkpoint, again.vae, again.loras) == (recalled.checkpoint, recalled.vae, recalled.loras)


def test_a_record_of_names_from_elsewhere_holds_no_folders_either():
    made = Generation(
        origin="a1111", positive="x", checkpoint=WINDOWS, vae="/home/jane/x.pt", loras=(Lora("~/Lora/a/b.pt", 1, 1),),
        hires=HiRes(upscaler="/home/jane/u.pth"),
    )  # fmt: skip
    generation = json.loads(record_for(made, UpscalerInfo("/home/jane/ESRGAN/4x.pth")))["generation"]
    assert generation["checkpoint"] == r"sd15\dream.safetensors" and generation["vae"] == "x.pt"
    assert generation["loras"][0]["name"] == "a/b.pt" and generation["hires"]["upscaler"] == "4x.pth"
