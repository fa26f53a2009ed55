"""Both formats of Distillery, on real and edited images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from recall_read import (
    graph_texts,
)
from recall_samples import FILLER, new_record, png

from distillery.nodes.generation import HiRes, Lora
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.recall.containers.image import read_contents
from distillery.nodes.recall.sizes import output_size
from distillery.nodes.report import carried_rows

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SUFFIX = ", best quality, high quality, good"
NEGATIVE = "nsfw, worst quality, deformed, low quality, bad"
ULTRASHARP = "4x-UltraSharp.pth"
OLD_HIRES = HiRes(15, 0.3, 512, 2.0, "8x_NMKD-Faces_160000_G.pth")
OLD = {
    "origin": "distillery-old", "positive": "old bartender in the bar with a long beard" + SUFFIX, "negative": NEGATIVE,
    "seed": 123, "cfg": 6, "steps": 30, "sampler": "euler_ancestral", "scheduler": "karras", "denoise": 1,
    "checkpoint": "1_bloody_mary_v1.safetensors", "vae": None, "loras": (), "clip_skip": None, "width": 512,
    "height": 512, "hires": OLD_HIRES, "family": "sd15", "sharpen": None, "warnings": (),
}  # fmt: skip
NEW = {
    "origin": "distillery", "negative": NEGATIVE, "seed": 123, "cfg": 6, "steps": 30, "sampler": "uni_pc",
    "scheduler": "karras", "denoise": 1, "checkpoint": "Cosmopolitan_release_version.safetensors",
    "vae": "vae-ft-mse-840000-ema-pruned.safetensors", "loras": (), "clip_skip": None, "width": 684, "height": 684,
    "hires": HiRes(15, 0.3, 768, 1.5, ULTRASHARP), "family": "sd15", "sharpen": 0.3, "warnings": (),
}  # fmt: skip
SDXL = {
    **NEW, "positive": "super detailed portrait of a happy realistic cthulhu billionaire in a suite, uhd, professional "
    "cinematic photography" + SUFFIX, "sampler": "euler_ancestral", "checkpoint": "MOHAWK_v18VAEBaked.safetensors",
    "vae": None, "loras": (Lora("photography.safetensors", 1.0, 1.0),), "width": 896, "height": 1152,
    "hires": HiRes(steps=15, tile=1024), "family": "sdxl",
    "warnings": ('the image was made with a refiner ("sd_xl_refiner_1.0_0.9vae.safetensors"), '
                 "which the HiRes pass does not use",),
}  # fmt: skip
REAL = {
    "new_control_adapt.png": {
        **NEW, "positive": "a man with beard, painted in style of starry night by van gogh" + SUFFIX, "seed": 126,
        "width": 600, "height": 750,
        "warnings": ("the image was made with a ControlNet, which the HiRes pass does not use",
                     "the image was made with an IPAdapter, which the HiRes pass does not use"),
    },
    "new_cutoff.png": {
        **NEW, "positive": "a black dog with blue eyes and a green tie" + SUFFIX,
        "warnings": ("the image was made with Cutoff regions, which the HiRes pass does not apply",),
    },
    "new_lora_3x4.png": {
        **NEW, "seed": 1513035032, "width": 576, "height": 768, "loras": (Lora("realism.safetensors", 0.75, 0.75),),
    },
    "new_raw.png": {**NEW, "positive": "tennis ball", "seed": 124},
    "old_9x16.png": {**OLD, "width": 432, "height": 768, "hires": replace(OLD_HIRES, scale=1.75)},
    "old_img2img.png": {**OLD, "seed": 125, "denoise": 0.65, "hires": replace(OLD_HIRES, denoise=0.4)},
    "old_negative.png": {**OLD, "negative": "light bulb, " + NEGATIVE},
    "old_seed123.png": {**OLD, "hires": replace(OLD_HIRES, denoise=0.5)},
    "sdxl_sharpen_0.png": {**SDXL, "sharpen": 0.0},
    "sdxl_sharpen_0.3.png": SDXL,
    "master_graph_preview.png": {
        "origin": "comfyui", "positive": "complex weird scene", "negative": NEGATIVE, "seed": 758245548, "cfg": 6,
        "steps": 30, "sampler": "euler_ancestral", "scheduler": "karras", "denoise": 1, "vae": None, "loras": (),
        "checkpoint": "Cosmopolitan_release_version.safetensors", "width": 528, "height": 625, "sharpen": 0.3,
        # The graph's UltimateSDUpscale is not on the way to its output.
        "hires": HiRes(), "family": None,
        "warnings": ("the image was made with a ControlNet (node 361 (ControlNetApplyAdvanced)), "
                     "which the HiRes pass does not use",),
    },
}  # fmt: skip


@pytest.fixture
def old_prompt(shared: Path) -> dict:
    """The metadata of a real image of the old format, to edit."""
    return json.loads(read_contents(shared / "images" / "old_img2img.png").texts["prompt"])


# real images


@pytest.mark.parametrize("name", REAL)
def test_real_image(shared: Path, name: str) -> None:
    generation = recall(shared / "images" / name)
    assert {key: getattr(generation, key) for key in REAL[name]} == REAL[name]


def test_every_real_image_is_covered(shared: Path) -> None:
    assert {path.name for path in (shared / "images").glob("*.png")} == set(REAL)


@pytest.mark.parametrize("name", [name for name in REAL if name != "master_graph_preview.png"])
def test_size_formula_holds_for_real_images(shared: Path, name: str) -> None:
    path = shared / "images" / name
    generation = recall(path)
    with Image.open(path) as image:
        assert output_size(generation.width, generation.height, generation.hires.scale) == image.size


@pytest.mark.parametrize("name", REAL)
def test_every_recalled_field_of_real_images_has_a_place(shared: Path, name: str) -> None:
    generation = recall(shared / "images" / name)
    for field in ("positive", "seed", "cfg", "steps", "sampler", "scheduler", "checkpoint", "loras", "vae", "width"):
        assert generation.fields[field]
    known = {f"hires.{k}" for k, v in vars(generation.hires).items() if v is not None}
    assert known <= generation.fields.keys()


def test_places_name_key_or_node(shared: Path) -> None:
    new, old = (recall(shared / "images" / name).fields for name in ("new_raw.png", "old_9x16.png"))
    assert new["cfg"] == "template_inputs.CFG"
    assert old["seed"] == "comfy_api node 22 (KSamplerAdvanced).noise_seed"


def test_lora_positive_prompt_of_real_image_is_verbatim(shared: Path) -> None:
    positive = recall(shared / "images" / "new_lora_3x4.png").positive
    assert positive.startswith("vodka_portraits, a man") and positive.endswith("smoke visible" + SUFFIX)


def test_cutoff_is_carried_without_filler(shared: Path) -> None:
    carried = recall(shared / "images" / "new_cutoff.png").carried
    assert carried["cutoff"] == [{"region": "blue eyes", "target": "eyes", "weight": 1.5}]
    assert carried["template_inputs"]["CUTOFF_REGION_01"] == "blue eyes"
    assert FILLER not in json.dumps(carried) and "CUTOFF_WEIGHT_02" not in carried["template_inputs"]


def test_command_and_request_are_carried(shared: Path) -> None:
    generation = recall(shared / "images" / "new_raw.png")
    assert list(generation.carried)[:2] == ["request_type", "command_string"]
    assert ("command_string", "tennis ball --raw  --seed 123") in carried_rows(generation)
    assert "HIRESFIX" in generation.carried["modules"] and "CONTROLNET" not in generation.carried["modules"]


# edited real images of the old format


def test_old_format_without_template_inputs_gives_the_same(old_prompt: dict) -> None:
    whole = recall_text(graph_texts(old_prompt))
    del old_prompt["template_inputs"]
    bare = recall_text(graph_texts(old_prompt))
    blank = {"fields": {}, "carried": {}}
    assert replace(bare, **blank) == replace(whole, **blank)
    assert whole.hires.denoise == 0.4 and whole.seed == 125 and whole.steps == 30 and whole.denoise == 0.65


def test_old_slot_is_dropped_only_where_both_strengths_are_0(old_prompt: dict) -> None:
    old_prompt["comfy_api"]["262"]["inputs"].update(strength_model=0.0, strength_clip=0.5)
    assert recall_text(graph_texts(old_prompt)).loras == (Lora("realism.safetensors", 0.0, 0.5),)


def test_old_loras_come_in_the_order_of_the_chain(old_prompt: dict) -> None:
    # The chain is 239, 262, 263, 265, 264.
    old_prompt["comfy_api"]["264"]["inputs"].update(lora_name="last.safetensors", strength_model=0.7, strength_clip=0.6)
    old_prompt["comfy_api"]["265"]["inputs"].update(lora_name="first.safetensors", strength_model=-0.2)
    generation = recall_text(graph_texts(old_prompt))
    assert generation.loras == (Lora("first.safetensors", -0.2, 0.0), Lora("last.safetensors", 0.7, 0.6))
    assert generation.fields["loras"] == "comfy_api node 265 (LoraLoader), comfy_api node 264 (LoraLoader)"


def test_old_format_with_unreadable_graph_is_filled_from_template_inputs(old_prompt: dict) -> None:
    old_prompt["comfy_api"] = {"22": {"class_type": "Nonsense", "inputs": {}}}
    old_prompt["template_inputs"]["SD15_LORA_POWER_MODEL_2"] = 0.5
    generation = recall_text(graph_texts(old_prompt))
    assert (generation.seed, generation.checkpoint) == (125, "1_bloody_mary_v1.safetensors")
    assert generation.loras == (Lora("realism.safetensors", 0.5, 0.0),)
    assert generation.steps is None and any("LoRAs could not be read" in w for w in generation.warnings)


# Distillery's newer format


def test_new_format_takes_nothing_from_the_preset_but_tile_and_steps() -> None:
    record = new_record(CFG=None, HIRESFIX_STEPS=None, HIRESFIX_TILE_WIDTH=None, HIRESFIX_TARGET_UPSCALE_FACTOR=None)
    generation = recall_text(graph_texts(record))
    assert generation.cfg is None and generation.hires == HiRes(15, 0.3, 512, None, ULTRASHARP)
    assert generation.fields["hires.tile"] == "preset_dict.HIRESFIX_TILE_WIDTH"


def test_new_format_never_takes_the_seed_of_the_command() -> None:
    assert recall_text(graph_texts(new_record())).seed == 124
    assert recall_text(graph_texts(new_record(NOISE_SEED=None))).seed is None


def test_new_format_loras_follow_the_switches_and_their_numbers() -> None:
    loras = {
        f"LORA_{n}_{key}": value
        for n in (9, 2, 1)
        for key, value in (("FILENAME", f"l{n}.safetensors"), ("STRENGTH_MODEL", f"0.{n}"), ("STRENGTH_CLIP", "0"))
    }
    switches = {"LORA_1_ADD": False, "LORA_2_ADD": True, "LORA_3_ADD": True, "LORA_9_ADD": True}
    generation = recall_text(graph_texts(new_record(switches, **loras)))
    assert generation.loras == (Lora("l2.safetensors", 0.2, 0.0), Lora("l9.safetensors", 0.9, 0.0))
    assert any("LORA_1_ADD turns off" in w for w in generation.warnings)
    assert any("LORA_3_ADD is on" in w for w in generation.warnings)


def test_inpainting_checkpoint_keeps_its_name() -> None:
    record = new_record(MODEL_CHECKPOINT_FILENAME="Cosmopolitan-inpainting.safetensors")
    assert recall_text(graph_texts(record)).checkpoint == "Cosmopolitan-inpainting.safetensors"


@pytest.mark.parametrize("value", ["-1", str(2**64), "1.5", "abc", "", "1e400", "٣", True, [1], {"a": 1}])
def test_unusable_seed_is_left_out_with_a_warning(value: object) -> None:
    generation = recall_text(graph_texts(new_record(NOISE_SEED=value)))  # type: ignore[arg-type]
    assert generation.seed is None and "seed" not in generation.fields
    assert any("template_inputs.NOISE_SEED is not usable" in w for w in generation.warnings)


@pytest.mark.parametrize("value", ["0", str(2**64 - 1), 2**64 - 1, 124.0])
def test_every_seed_in_range_is_exact(value: object) -> None:
    assert recall_text(graph_texts(new_record(NOISE_SEED=value))).seed == int(value)  # type: ignore[arg-type, call-overload]


def test_resized_distillery_image_is_noticed() -> None:
    assert not recall(png({"prompt": new_record()}, (1024, 1024))).warnings
    (warning,) = recall(png({"prompt": new_record()}, (512, 512))).warnings
    assert "512x512" in warning and "1024x1024" in warning


# the examples of the repository


@pytest.mark.parametrize(("name", "origin"), [("cat.png", "distillery"), ("odd.png", "distillery-old")])
def test_examples_carry_their_generation(name: str, origin: str) -> None:
    generation = recall(EXAMPLES / name)
    assert generation.origin == origin and generation.warnings == ()
    assert generation.checkpoint == "distillery-mini.safetensors" and generation.vae is None and generation.loras == ()
    assert generation.positive.endswith(SUFFIX) and generation.negative.endswith(NEGATIVE)
    assert generation.seed is not None and generation.hires.steps == 15
    assert (EXAMPLES / name).stat().st_size < 200_000


def test_odd_example_is_odd() -> None:
    with Image.open(EXAMPLES / "odd.png") as image:
        assert image.width % 2 == 1 and image.height % 2 == 1
