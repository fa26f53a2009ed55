"""Recalling how an image was made."""

from __future__ import annotations

import copy
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from recall_samples import FILLER, new_record, node, plain_graph, png

from distillery.nodes.errors import DistilleryError
from distillery.nodes.generation import Generation, HiRes, Lora
from distillery.nodes.recall import FORMATS, RecallError, recall, recall_text
from distillery.nodes.recall.containers.image import read_contents
from distillery.nodes.recall.graph.arithmetic import evaluate
from distillery.nodes.recall.sizes import output_size
from distillery.nodes.recall.walk.walk import denoise_for
from distillery.nodes.record import record_for
from distillery.nodes.report import as_rows, carried_rows

SUFFIX = ", best quality, high quality, good"
NEGATIVE = "nsfw, worst quality, deformed, low quality, bad"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
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


def graph_texts(graph: object) -> dict[str, str]:
    return {"prompt": json.dumps(graph)}


def of_graph(**changes: dict | None) -> Generation:
    return recall_text(graph_texts(plain_graph(**changes)))


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


# plain graphs


def test_plain_graph() -> None:
    generation = of_graph()
    assert generation.warnings == () and generation.origin == "comfyui"
    assert (generation.positive, generation.negative) == ("a lake", "blurry")
    assert (generation.seed, generation.steps, generation.cfg) == (2**60 + 1, 20, 7.5)
    assert (generation.sampler, generation.scheduler, generation.denoise) == ("dpmpp_2m", "karras", 1)
    assert (generation.checkpoint, generation.vae) == ("sd\\dream.safetensors", None)
    assert generation.loras == (Lora("b.safetensors", 0.5, 0.4), Lora("dir\\a.safetensors", 0.8, 1.0))
    assert (generation.width, generation.height, generation.clip_skip) == (512, 768, None)
    assert generation.fields["checkpoint"] == "prompt node 4 (CheckpointLoaderSimple).ckpt_name"


def test_ids_of_subgraphs() -> None:
    text = json.dumps(plain_graph())
    for old in ("3", "4", "6", "10"):
        text = text.replace(f'"{old}"', f'"12:{old}"')
    generation = recall_text({"prompt": text})
    assert replace(generation, fields={}) == replace(of_graph(), fields={})
    assert "node 12:3 (KSampler)" in generation.fields["seed"]


def test_linked_seed_text_and_numbers() -> None:
    graph = plain_graph()
    graph["3"]["inputs"].update(seed=["s", 0], steps=["m", 0], cfg=["m", 1], sampler_name=["c", 0], positive=["r", 0])
    graph["6"]["inputs"]["text"] = ["r2", 0]
    graph |= {
        "s": node("PrimitiveInt", value=42),
        "m": node("SimpleMath", value="a/b + 1", a=["n", 1], b=2),
        "n": node("SimpleMath", value="9"),
        "c": node("CR String To Combo", text=["t", 0]),
        "t": node("String", String="euler"),
        "r": node("Reroute", **{"": ["6", 0]}),
        "r2": node("Reroute", **{"": ["p", 0]}),
        "p": node("PrimitiveStringMultiline", value="a linked lake"),
    }
    generation = recall_text(graph_texts(graph))
    assert generation.warnings == ()
    assert (generation.seed, generation.steps, generation.cfg, generation.sampler) == (42, 6, 5.5, "euler")
    assert generation.positive == "a linked lake"


def test_value_of_an_unknown_node_is_not_guessed() -> None:
    graph = plain_graph(n50=node("SeedOracle", seed=1))
    graph["3"]["inputs"]["seed"] = ["50", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.seed is None
    assert any("node 50 (SeedOracle)" in w and "seed" in w for w in generation.warnings)


def test_text_of_an_unknown_node_is_not_guessed() -> None:
    graph = plain_graph(n50=node("Wildcards", text="__season__"))
    graph["6"]["inputs"]["text"] = ["50", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.positive is None and generation.negative == "blurry"
    assert any("node 50 (Wildcards)" in w for w in generation.warnings)


def test_unknown_node_on_the_model_chain_is_named() -> None:
    graph = plain_graph(n50=node("FreeU_V2", model=["10", 0], b1=1.1))
    graph["3"]["inputs"]["model"] = ["50", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.checkpoint == "sd\\dream.safetensors" and len(generation.loras) == 2
    assert [w for w in generation.warnings if "node 50 (FreeU_V2)" in w]


def test_model_of_an_unknown_loader_is_not_guessed() -> None:
    graph = plain_graph()
    graph["4"]["class_type"] = "MysteryLoader"
    generation = recall_text(graph_texts(graph))
    assert generation.checkpoint is None and generation.seed is not None and len(generation.loras) == 2
    assert any("node 4 (MysteryLoader)" in w for w in generation.warnings)


def test_unknown_sampler_is_named() -> None:
    graph = plain_graph()
    graph["3"]["class_type"] = "SamplerFromTheFuture"
    generation = recall_text(graph_texts(graph))
    assert generation.empty and any("node 3 (SamplerFromTheFuture)" in w for w in generation.warnings)


def test_model_only_lora_has_no_clip_strength() -> None:
    loader = node("LoraLoaderModelOnly", model=["11", 0], lora_name="m.safetensors", strength_model=0.9)
    generation = of_graph(
        n10=loader,
        n6=node("CLIPTextEncode", clip=["11", 1], text="x"),
        n7=node("CLIPTextEncode", clip=["11", 1], text=""),
    )
    assert generation.loras == (Lora("b.safetensors", 0.5, 0.4), Lora("m.safetensors", 0.9, 0.0))
    assert generation.negative == ""


def test_lora_that_bypasses_the_text_encoder_has_no_clip_strength() -> None:
    generation = of_graph(
        n6=node("CLIPTextEncode", clip=["4", 1], text="x"), n7=node("CLIPTextEncode", clip=["4", 1], text="y")
    )
    assert [lora.strength_clip for lora in generation.loras] == [0.0, 0.0]
    assert sum("does not reach the text encoder" in w for w in generation.warnings) == 2


def test_clip_skip_and_vae() -> None:
    graph = plain_graph(
        n20=node("CLIPSetLastLayer", clip=["10", 1], stop_at_clip_layer=-2),
        n21=node("VAELoader", vae_name="mse.safetensors"),
        n8=node("VAEDecode", samples=["3", 0], vae=["21", 0]),
    )
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["20", 0]
    generation = recall_text(graph_texts(graph))
    assert (generation.clip_skip, generation.vae, generation.warnings) == (2, "mse.safetensors", ())


def test_second_sampler_is_the_hires_pass_and_the_first_gives_the_seed() -> None:
    graph = plain_graph(
        n30=node("LatentUpscaleBy", samples=["3", 0], upscale_method="bilinear", scale_by=1.5),
        n31=node(
            "KSampler", model=["10", 0], positive=["6", 0], negative=["7", 0], latent_image=["30", 0], seed=999,
            steps=12, cfg=5, sampler_name="euler", scheduler="normal", denoise=0.45,
        ),
        n8=node("VAEDecode", samples=["31", 0], vae=["4", 2]),
    )  # fmt: skip
    generation = recall_text(graph_texts(graph))
    assert (generation.seed, generation.steps, generation.denoise) == (2**60 + 1, 20, 1)
    assert generation.hires == HiRes(steps=12, denoise=0.45, scale=1.5) and generation.warnings == ()


def test_ultimate_upscale_after_a_sampler() -> None:
    graph = plain_graph(
        n30=node("UpscaleModelLoader", model_name=ULTRASHARP),
        n31=node(
            "UltimateSDUpscale", image=["8", 0], model=["4", 0], positive=["6", 0], negative=["7", 0], vae=["4", 2],
            upscale_model=["30", 0], upscale_by=2, seed=5, steps=15, cfg=6, sampler_name="euler", scheduler="normal",
            denoise=0.3, tile_width=768, tile_height=768,
        ),
        n9=node("SaveImage", images=["31", 0]),
    )  # fmt: skip
    generation = recall_text(graph_texts(graph))
    assert generation.seed == 2**60 + 1 and len(generation.loras) == 2
    assert generation.hires == HiRes(15, 0.3, 768, 2, ULTRASHARP)


def test_controlnet_keeps_the_prompts_apart() -> None:
    graph = plain_graph(
        n40=node(
            "ControlNetApplyAdvanced",
            positive=["6", 0],
            negative=["41", 0],
            control_net=["42", 0],
            image=["43", 0],
            strength=1,
        ),
        n41=node("ConditioningZeroOut", conditioning=["6", 0]),
        n42=node("ControlNetLoader", control_net_name="canny"),
        n43=node("LoadImage", image="x.png"),
    )
    graph["3"]["inputs"].update(positive=["40", 0], negative=["40", 1], seed=["44", 0])
    graph["44"] = node("Seed (rgthree)", seed=77)
    generation = recall_text(graph_texts(graph))
    assert (generation.positive, generation.negative, generation.seed) == ("a lake", "", 77)
    (warning,) = generation.warnings
    assert "ControlNet" in warning


def test_combined_prompts_are_joined_with_a_warning() -> None:
    graph = plain_graph(
        n40=node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["41", 0]),
        n41=node("CLIPTextEncode", clip=["10", 1], text="at dusk"),
    )
    graph["3"]["inputs"]["positive"] = ["40", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.positive == "a lake, at dusk" and "2 texts" in generation.warnings[0]


def test_several_saved_pictures_are_a_warning() -> None:
    second = plain_graph()["3"] | {"inputs": plain_graph()["3"]["inputs"] | {"seed": 1}}
    generation = of_graph(
        n60=second, n61=node("VAEDecode", samples=["60", 0], vae=["4", 2]), n62=node("SaveImage", images=["61", 0])
    )
    assert generation.seed in (1, 2**60 + 1) and any("several pictures" in w for w in generation.warnings)


def test_refiner_is_noted_and_its_steps_count() -> None:
    graph = plain_graph()
    common = {k: graph["3"]["inputs"][k] for k in ("positive", "negative", "cfg", "sampler_name", "scheduler")}
    graph |= {
        "3": node("KSamplerAdvanced", **common, model=["10", 0], latent_image=["5", 0], add_noise="enable",
                  noise_seed=8, steps=30, start_at_step=0, end_at_step=24, return_with_leftover_noise="enable"),
        "70": node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
        "71": node("KSamplerAdvanced", **common, model=["70", 0], latent_image=["3", 0], add_noise="disable",
                   noise_seed=0, steps=30, start_at_step=24, end_at_step=1000, return_with_leftover_noise="disable"),
    }  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["71", 0]
    generation = recall_text(graph_texts(graph))
    assert (generation.steps, generation.denoise, generation.seed) == (30, 1, 8)
    assert generation.checkpoint == "sd\\dream.safetensors" and generation.hires == HiRes()
    assert any("refiner" in w for w in generation.warnings)


@pytest.mark.parametrize(("denoise", "steps"), [(0.65, 30), (0.3, 15), (0.5, 20), (0.07, 9), (1.0, 30), (0.99, 30)])
def test_denoise_of_an_advanced_sampler_gives_the_same_schedule(denoise: float, steps: int) -> None:
    total = int(steps / denoise)
    assert int(steps / denoise_for(steps, total)) == total
    assert len(str(denoise_for(steps, total))) <= max(len(str(denoise)), 3)


# this pack's own record


def record_texts(generation: Generation) -> dict[str, str]:
    return {"distillery": record_for(generation), "prompt": json.dumps(plain_graph())}


def test_own_record_wins_over_the_graph_and_survives_twice() -> None:
    first = replace(recall_text(graph_texts(new_record())), warnings=("of the first run",))
    second = recall(png(record_texts(first), (512, 512)))
    assert second.origin == "distillery-upscale"
    ignored = {"origin": "", "fields": {}, "carried": {}, "warnings": ()}
    assert replace(second, **ignored) == replace(first, **ignored)
    assert second.warnings == () and second.carried["warnings_of_that_upscale"] == ["of the first run"]
    third = recall_text(record_texts(second))
    assert third.fields["cfg"] == second.fields["cfg"] == "this pack's record: template_inputs.CFG"


def test_own_record_keeps_text_in_any_language() -> None:
    first = replace(recall_text(graph_texts(new_record())), positive="湖 — Überall 🌅")
    assert recall(png(record_texts(first))).positive == "湖 — Überall 🌅"


@pytest.mark.parametrize("record", ["{", "[]", '{"version": 1}', '{"generation": 5}'])
def test_broken_own_record_falls_back_to_the_graph_with_a_warning(record: str) -> None:
    generation = recall_text({"distillery": record, **graph_texts(plain_graph())})
    assert generation.origin == "comfyui"
    if record != "[]":
        assert any("distillery chunk" in w for w in generation.warnings)


def test_own_record_of_another_version_is_read_with_a_warning() -> None:
    record = json.loads(record_for(recall_text(graph_texts(new_record()))))
    generation = recall_text({"distillery": json.dumps({**record, "version": 2})})
    assert generation.seed == 124 and "version 2" in generation.warnings[0]


# containers


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("after_idat", [False, True])
def test_text_chunks_before_and_after_the_pixels(kind: str, after_idat: bool) -> None:
    assert recall(png({"prompt": plain_graph()}, kind=kind, after_idat=after_idat)).seed == 2**60 + 1  # type: ignore[arg-type]


def test_path_bytes_and_file_give_the_same(tmp_path: Path) -> None:
    data = png({"prompt": plain_graph()})
    path = tmp_path / "ünï code.png"
    path.write_bytes(data)
    file = io.BytesIO(data)
    file.seek(17)
    assert recall(path) == recall(str(path)) == recall(data) == recall(file)
    with path.open("rb") as opened:
        assert recall(opened) == recall(data)


def test_image_without_texts_has_no_generation_data() -> None:
    generation = recall(png({}))
    assert generation == Generation()


def test_texts_of_no_known_format_are_named() -> None:
    generation = recall(png({"Software": "GIMP", "Comment": "x"}))
    assert generation.empty and '"Software", "Comment"' in generation.warnings[0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"  <!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"hello", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (b"\xff\xd8\xff\xe0 not a jpeg", "image"),
    ],
)
def test_file_that_is_no_image(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "result.png"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        with pytest.raises(RecallError, match=says) as error:
            recall(source)
        assert isinstance(error.value, DistilleryError) and str(tmp_path) not in str(error.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(RecallError, match=r"no file x\.png"):
        recall(tmp_path / "x.png")
    with pytest.raises(RecallError):
        recall(tmp_path)


def test_truncated_image_gives_what_comes_before_its_pixels() -> None:
    data = png({"prompt": plain_graph()}, (300, 300))
    generation = recall(data[: data.index(b"IDAT") + 30])
    assert generation.seed == 2**60 + 1 and any("cut short" in w for w in generation.warnings)


def test_decompression_bomb_in_a_text_is_refused() -> None:
    with pytest.raises(RecallError, match="cannot be read"):
        recall(png({"prompt": '"' + "a" * 3_000_000 + '"'}, kind="zTXt"))
    late = recall(png({"prompt": '"' + "a" * 3_000_000 + '"'}, kind="zTXt", after_idat=True))
    assert late.empty and "damaged" in late.warnings[0]


def test_pixel_bomb_is_refused() -> None:
    data = bytearray(png({}))
    at = data.index(b"IHDR")
    data[at + 4 : at + 12] = (60000).to_bytes(4, "big") * 2
    data[at + 17 : at + 21] = zlib.crc32(data[at : at + 17]).to_bytes(4, "big")
    with pytest.raises(RecallError, match="too many pixels"):
        recall(bytes(data))


# hostile JSON


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": 1} trailing',
        "a lake, best quality",
        '{"a": ' * 200_000,
        "[" * 100_000,
        "\x00",
        "{'a': 1}",
        '"\\x"',
    ],
    ids=lambda text: text[:8] or "empty",
)
def test_corrupt_json_is_a_warning(text: str) -> None:
    generation = recall_text({"prompt": text})
    assert generation.empty
    assert [w for w in generation.warnings if "this file has a prompt chunk which is not valid JSON" in w]


@pytest.mark.parametrize(
    "text", ["null", "[]", "5", "{}", '"text"', '{"3": 5}', '{"template_inputs": []}', '{"comfy_api": {}}']
)
def test_json_without_generation_data(text: str) -> None:
    generation = recall_text({"prompt": text})
    assert generation.empty and generation.warnings and not generation.fields


def test_too_deep_json_is_a_warning() -> None:
    generation = recall_text({"prompt": '{"a":' * 100 + "1" + "}" * 100})
    assert generation.empty and "nested deeper" in generation.warnings[0]


def test_nan_is_read_over() -> None:
    text = json.dumps(plain_graph()).replace("7.5", "NaN").replace('"batch_size": 1', '"batch_size": NaN')
    generation = recall_text({"prompt": text})
    assert generation.cfg is None and generation.seed == 2**60 + 1
    assert any("cfg" in w for w in generation.warnings)


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "9" * 5000, "-5", "1" + "0" * 40])
def test_huge_numbers(number: str) -> None:
    text = json.dumps(plain_graph()).replace(str(2**60 + 1), number)
    assert recall_text({"prompt": text}).seed is None


def test_half_surrogates_can_be_written_again() -> None:
    generation = recall_text({"prompt": json.dumps(plain_graph()).replace("a lake", "a \\ud83d lake")})
    assert generation.positive.encode() and "lake" in generation.positive


@pytest.mark.parametrize("socket", ["latent_image", "model", "positive", "seed", "steps"])
def test_circles(socket: str) -> None:
    graph = plain_graph()
    graph["3"]["inputs"][socket] = ["3", 0]
    assert recall_text(graph_texts(graph)).sampler in ("dpmpp_2m", None)


def test_circles_through_nodes_that_pass_on() -> None:
    graph = plain_graph(
        n1=node("Reroute", x=["2", 0]), n2=node("Reroute", x=["1", 0]),
        n50=node("SimpleMath", value="a+1", a=["50", 0]),
        n51=node("Context (rgthree)", base_ctx=["52", 0]), n52=node("Context Switch (rgthree)", ctx_01=["51", 0]),
        n53=node("LoraLoader", model=["53", 0], clip=["53", 1], lora_name="x", strength_model=1, strength_clip=1),
        n54=node("ConditioningCombine", conditioning_1=["54", 0], conditioning_2=["6", 0]),
    )  # fmt: skip
    graph["3"]["inputs"].update(
        negative=["1", 0], steps=["50", 0], cfg=["51", 8], model=["53", 0], positive=["54", 0], latent_image=["2", 0]
    )
    generation = recall_text(graph_texts(graph))
    assert generation.positive == "a lake"
    assert (generation.steps, generation.cfg, generation.checkpoint) == (None, None, None)


def test_long_chains_end() -> None:
    count = 3000
    reroutes = {f"r{i}": node("Reroute", x=[f"r{i + 1}", 0]) for i in range(count)}
    maths = {f"m{i}": node("SimpleMath", value="a+b", a=[f"m{i + 1}", 1], b=[f"m{i + 1}", 1]) for i in range(count)}
    graph = (
        plain_graph()
        | reroutes
        | maths
        | {f"r{count}": node("String", String="far"), f"m{count}": node("SimpleMath", value="1")}
    )
    graph["6"]["inputs"]["text"] = ["r0", 0]
    graph["3"]["inputs"]["cfg"] = ["m0", 1]
    generation = recall_text(graph_texts(graph))
    assert generation.positive == "far" and generation.cfg is None


def test_graph_with_too_many_nodes_is_refused() -> None:
    generation = recall_text(graph_texts({str(i): node("KSampler") for i in range(10_001)}))
    assert generation.empty and "10001 nodes" in generation.warnings[0]


def test_links_followed_in_one_graph_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not of_graph().warnings
    monkeypatch.setattr("distillery.nodes.recall.graph.graph.MAX_HOPS", 10)
    assert any("not read to its end" in w for w in of_graph().warnings)


def test_large_tangled_graph_is_read_in_reasonable_time() -> None:
    def wide(i: int) -> dict:
        sockets = ("images", "image", "samples", "latent_image", "latent", "pixels")
        inputs = {name: [str((i * 7 + j) % 8000), i + j] for j, name in enumerate(sockets)}
        return node(
            ("KSampler", "Reroute", "VAEDecode", "Context (rgthree)", "SaveImage")[i % 5],
            **inputs,
            base_ctx=[str(i + 1), 1],
        )

    assert recall_text(graph_texts({str(i): wide(i) for i in range(8000)})) is not None


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("a/b", 46.153846),
        ("a - b*2", 28.7),
        ("round(a/b)", 46),
        ("-a + 2**3", -22),
        ("max(a, 40)", 40),
        ("(1.5)", 1.5),
        ("7 // 2", 3),
    ],
)
def test_arithmetic(expression: str, value: float) -> None:
    assert evaluate(expression, {"a": 30.0, "b": 0.65}) == pytest.approx(value)


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "a.real", "().__class__", "9**9**9", "2**99999", "1/0", "a%0", "(-1)**0.5", "c", "",
     "1if 1else 2", "(" * 150, "lambda: 1", "[1]", "'a'*9", "1e999", "10**50*10**50", "int('5')", "max()",
     "round(a, b, 3)", "a" * 5000, "1_0", "0x10"],
)  # fmt: skip
def test_arithmetic_refuses(expression: str) -> None:
    assert evaluate(expression, {"a": 30.0, "b": 0.65}) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "expression", ["a" * 199 + "!", "1" * 199 + "x", "enable_" * 20 + ".safetensors", " " * 199 + "?"]
)
def test_arithmetic_refuses_long_words_at_once(expression: str) -> None:
    assert evaluate(expression, {}) is None


def test_a_name_longer_than_any_file_name_is_left_out() -> None:
    generation = recall_text(graph_texts(new_record(MODEL_CHECKPOINT_FILENAME="x" * 5000)))
    assert generation.checkpoint is None and any("CHECKPOINT_FILENAME is not usable" in w for w in generation.warnings)
    assert all(len(w) < 300 for w in generation.warnings)


# examples, report, registry


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


def test_report_has_every_field_and_the_loras_in_order() -> None:
    rows = as_rows(of_graph())
    assert ("seed", str(2**60 + 1), "prompt node 3 (KSampler).seed") in rows
    assert [row[1] for row in rows if row[0].startswith("lora ")] == [
        "b.safetensors (model 0.5, clip 0.4)", "dir\\a.safetensors (model 0.8, clip 1)",
    ]  # fmt: skip
    assert ("vae", "the checkpoint's own", "prompt node 8 (VAEDecode).vae: the checkpoint's own") in rows
    assert ("clip_skip", "", "") in rows and ("hires.steps", "", "") in rows
    assert ("loras", "", "") in as_rows(Generation())


def test_origins_of_the_formats_are_distinct() -> None:
    assert [form.ORIGIN for form in FORMATS] == [
        "distillery-upscale", "distillery", "distillery-old", "comfyui", "swarmui", "fooocus", "invokeai", "novelai",
        "a1111",
    ]  # fmt: skip


# nothing but RecallError, whatever the file

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def _places(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *_places(item, (*path, key))]]


OWN = json.loads(record_for(recall_text(graph_texts(plain_graph()))))
SEEDS = {
    "prompt new": new_record(),
    "prompt graph": plain_graph(),
    "prompt old": {"comfy_api": plain_graph()},
    "distillery": OWN,
}
links = st.tuples(st.sampled_from(["3", "4", "6", "10", "12:3"]), st.integers(-1, 30)).map(list)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_records_raise_nothing(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SEEDS)))
    record = copy.deepcopy(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(_places(record)))
        holder = record
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = data.draw(json_values | links)
    generation = recall_text({name.split()[0]: json.dumps(record)})
    assert isinstance(generation, Generation)
    record_for(generation).encode()
    as_rows(generation), carried_rows(generation)


@settings(max_examples=60, deadline=None)
@given(json_values, st.sampled_from(["prompt", "distillery", "workflow"]))
def test_any_json_raises_nothing(value: object, key: str) -> None:
    assert isinstance(recall_text({key: json.dumps(value)}), Generation)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_files_raise_nothing_but_recall_error(data: st.DataObject) -> None:
    file = bytearray(png({"prompt": plain_graph()}, after_idat=data.draw(st.booleans())))
    for at in data.draw(st.lists(st.integers(0, len(file) - 1), max_size=4)):
        file[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    try:
        assert isinstance(recall(bytes(file[:cut] if data.draw(st.booleans()) else file)), Generation)
    except RecallError:
        pass
