"""Recalling the text formats of other programs, and a text beside a ComfyUI graph."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recall_samples import new_record, plain_graph, png
from recall_text_samples import (
    A1111,
    CIVITAI,
    FOOOCUS,
    FOOOCUS_A1111,
    FORGE_FLUX,
    INVOKEAI,
    INVOKEAI_1,
    INVOKEAI_2,
    NOVELAI,
    SWARMUI,
    saved_with_text,
)

from distillery.nodes.generation import Generation, HiRes, Lora, from_dict, to_dict
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.recall.formats.a1111 import parse_text, version_of
from distillery.nodes.recall.formats.a1111_samplers import sampling
from distillery.nodes.recall.formats.novelai import comfyui_weights
from distillery.nodes.recall.formats.prompt_syntax import a1111_differences, lift_networks, name_embeddings
from distillery.nodes.recall.merge import merge
from distillery.nodes.record import record_for
from distillery.nodes.report import as_rows, carried_rows

BASE = "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 512x768, RNG: CPU, Version: v1.10.1"


def of_text(text: str) -> Generation:
    return recall_text({"parameters": text})


def with_settings(more: str, prompt: str = "a lake") -> Generation:
    return of_text(f"{prompt}\n{BASE}, {more}")


def of_json(data: Any, key: str = "parameters", **more: str) -> Generation:
    return recall_text({key: json.dumps(data), **more})


def known(generation: Generation) -> dict[str, Any]:
    """What a generation says, without places and warnings."""
    data = to_dict(generation, carried=False)
    hidden = ("fields", "warnings")
    return {k: v for k, v in data.items() if v not in (None, [], {}) and k not in hidden}


# A1111


def test_a1111() -> None:
    generation = of_text(A1111)
    assert known(generation) == {
        "origin": "a1111",
        "positive": "a lake at dusk, easynegative-free\nSteps: into the unknown, one: two\n"
        "the words Negative prompt: stand in the middle of this line",
        "negative": "blurry, (bad:1.3), embedding:easynegative\nnor this",
        "seed": 965400086, "cfg": 6.5, "steps": 28, "sampler": "dpmpp_2m", "scheduler": "karras",
        "checkpoint": "dream v8", "checkpoint_hash": "e6e99610c4", "vae": "vae-ft-mse-840000.safetensors",
        "vae_hash": "735e4c3a44", "clip_skip": 2, "width": 512, "height": 768,
        "loras": [{"name": "soft light v2", "strength_model": 0.8, "strength_clip": 0.8, "hash": "abcdef0123"}],
        "hires": {"steps": 12, "denoise": 0.45, "scale": 2.0, "upscaler": "4x-UltraSharp"},
    }  # fmt: skip
    (warning,) = generation.warnings
    assert "embedding:easynegative" in warning


def test_every_field_of_a1111_has_its_place() -> None:
    generation = of_text(A1111)
    named = {name for name in known(generation) if name not in ("origin", "hires")}
    named |= {f"hires.{name}" for name in ("steps", "denoise", "scale", "upscaler")}
    assert generation.fields.keys() == named
    assert generation.fields["cfg"] == "parameters: CFG scale"
    assert generation.fields["loras"] == "parameters: <lora:soft light v2>"
    assert generation.fields["hires.denoise"] == "parameters: Denoising strength"


def test_all_settings_are_carried() -> None:
    rows = dict(carried_rows(of_text(A1111)))
    assert rows["settings.Version"] == "v1.10.1" and rows["settings.Hashes.model"] == "e6e99610c4"


def test_the_last_line_of_settings_is_taken() -> None:
    copied = f"a lake\n{BASE.replace('Seed: 5', 'Seed: 1')}\nNegative prompt: fog\n{BASE}\nTemplate: a __place__"
    generation = of_text(copied)
    assert generation.seed == 5 and generation.negative == "fog" and "Seed: 1" in generation.positive
    assert generation.carried["settings"]["text after the settings"] == "Template: a __place__"


@pytest.mark.parametrize("line", ["Steps: into the unknown", "Steps: 20, Sampler: Euler", "steps: 1, a b: 2, c d: 3"])
def test_line_with_too_few_settings_is_prompt(line: str) -> None:
    assert parse_text(f"a lake\n{line}") is None
    parts = parse_text(f"a lake\n{line}\n{BASE}")
    assert parts is not None and parts.positive == f"a lake\n{line}"


def test_prompts_may_be_empty() -> None:
    assert (of_text(BASE).positive, of_text(BASE).negative) == ("", "")
    only = of_text(f"Negative prompt: fog\n{BASE}")
    assert (only.positive, only.negative) == ("", "fog")


def test_prompts_without_settings() -> None:
    generation = of_text("a lake\nNegative prompt: fog")
    assert (generation.positive, generation.negative, generation.seed) == ("a lake", "fog", None)
    assert generation.warnings == ("the parameters of this image have prompts and no settings",)
    assert of_text("a lake").empty and "parameters" in of_text("a lake").warnings[0]


def test_line_ends_of_windows() -> None:
    assert known(of_text(A1111.replace("\n", "\r\n"))) == known(of_text(A1111))


def test_quoted_values_are_json() -> None:
    settings_of = with_settings(r'Note: "a, \"b\": c\nd", Next one: "open, Last one: 3').carried["settings"]
    assert settings_of["Note"] == 'a, "b": c\nd'
    assert settings_of["Next one"] == '"open' and settings_of["Last one"] == "3"


def test_json_values_are_taken_out_whole() -> None:
    resources = '[{"type":"lora","weight":0.5,"modelName":"a, Seed: 9"}]'
    generation = with_settings(
        f'Hashes: {{"model": "abcdef0123", "x": "Seed: 8, b: c"}}, Civitai resources: {resources}'
    )
    assert generation.seed == 5 and generation.checkpoint_hash == "abcdef0123"
    assert generation.loras == (Lora("a, Seed: 9", 0.5, 0.5),)


def test_civitai() -> None:
    generation = of_text(CIVITAI)
    assert (generation.checkpoint, generation.loras) == ("Pony, the [XL]", (Lora("Styles: all", 0.7, 0.7),))
    assert generation.clip_skip is None and "1, none" in generation.fields["clip_skip"]
    (warning,) = generation.warnings
    assert '"Pony, the [XL]", "Styles: all"' in warning and "Civitai" in warning


def test_civitai_resources_give_way_to_what_the_text_says() -> None:
    resources = '[{"type":"checkpoint","modelName":"page"},{"type":"lora","weight":1,"modelName":"other"}]'
    generation = with_settings(f"Model: file, Civitai resources: {resources}", "a <lora:mine:0.5>")
    assert (generation.checkpoint, generation.loras) == ("file", (Lora("mine", 0.5, 0.5),))
    assert with_settings(f"Model hash: abcdef0123, Civitai resources: {resources}").checkpoint is None


@pytest.mark.parametrize(
    ("tag", "model", "clip"),
    [
        ("<lora:x>", 1, 1),
        ("<lora:x:0.3>", 0.3, 0.3),
        ("<lora:x:-0.5:0.3>", 0.3, -0.5),
        ("<lora:x:1:0>", 0, 1),
        ("<lora:x:te=0.2:unet=0.9>", 0.9, 0.2),
        ("<lora:x:0.5:unet=0.9>", 0.9, 0.5),
        ("<lora:x:te=0.2>", 0.2, 0.2),
        ("<lora:x:.7>", 0.7, 0.7),
        ("<LORA:x:0.3>", 0.3, 0.3),
        ("<lyco:x:0.4>", 0.4, 0.4),
        ("<lora: x : 0.4 >", 0.4, 0.4),
    ],
)
def test_strengths_of_a_lora_tag(tag: str, model: float, clip: float) -> None:
    generation = of_text(f"a {tag} lake\n{BASE}")
    assert generation.loras == (Lora("x", model, clip),) and generation.positive == "a lake"


def test_lora_tags_keep_their_order_and_names() -> None:
    generation = of_text(f"<lora:dir/b v2.1 (x):1><lora:a:0.5>a<lora:zero:0>lake\n<lora:- c:-1>\n{BASE}")
    assert [lora.name for lora in generation.loras] == ["dir/b v2.1 (x)", "a", "- c"]
    assert generation.positive == "alake"


@pytest.mark.parametrize("weight", ["much", "", "nan", "1e9", "0.5@0,0.8@1"])
def test_lora_without_a_usable_strength_is_left_out_with_a_warning(weight: str) -> None:
    generation = of_text(f"a <lora:x:{weight}> lake\n{BASE}")
    assert generation.loras == () and any('"x"' in w and "left out" in w for w in generation.warnings)


def test_lora_options_and_hypernetworks_are_named() -> None:
    generation = of_text(f"a <lora:x:1:lbw=FACE> <hypernet:h:0.5> lake\n{BASE}")
    assert generation.loras == (Lora("x", 1, 1),) and generation.positive == "a lake"
    assert any("lbw" in w for w in generation.warnings) and any("hypernetwork" in w for w in generation.warnings)


def test_lora_hash_of_the_file_goes_before_that_of_its_weights() -> None:
    both = 'Lora hashes: "x: 1ba60a4cff60, y: aaaaaaaaaaaa", Hashes: {"lora:x": "abcdef0123"}'
    generation = with_settings(both, "<lora:x:1> <lora:y:1> <lora:z:1>")
    assert [lora.hash for lora in generation.loras] == ["abcdef0123", "aaaaaaaaaaaa", None]


def test_no_tags_say_that_there_were_no_loras() -> None:
    assert "loras" in of_text(f"a\n{BASE}").fields


@pytest.mark.parametrize(("value", "digest"), [("45dee52b", "45dee52b"), ("E6E99610C4", "e6e99610c4"), ("zz", None)])
def test_model_hash_alone(value: str, digest: str | None) -> None:
    generation = with_settings(f"Model hash: {value}")
    assert (generation.checkpoint, generation.checkpoint_hash) == (None, digest)


@pytest.mark.parametrize("value", ["-1", "1.5", "much", str(2**64), "٣"])
def test_unusable_seed_is_left_out_with_a_warning(value: str) -> None:
    generation = of_text(f"a\n{BASE.replace('Seed: 5', f'Seed: {value}')}")
    assert generation.seed is None and any("parameters: Seed is not usable" in w for w in generation.warnings)


def test_unusable_size_is_left_out_with_a_warning() -> None:
    generation = of_text(f"a\n{BASE.replace('512x768', 'large')}")
    assert generation.width is None and any("Size" in w for w in generation.warnings)


# samplers


@pytest.mark.parametrize(
    ("name", "sampler", "scheduler"),
    [
        ("Euler a", "euler_ancestral", "normal"), ("Euler", "euler", "normal"), ("LMS", "lms", "normal"),
        ("Heun", "heun", "normal"), ("DPM2", "dpm_2", "karras"), ("DPM2 a", "dpm_2_ancestral", "karras"),
        ("DPM++ 2S a", "dpmpp_2s_ancestral", "karras"), ("DPM++ 2M", "dpmpp_2m", "karras"),
        ("DPM++ SDE", "dpmpp_sde", "karras"), ("DPM++ 2M SDE", "dpmpp_2m_sde", "exponential"),
        ("DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", "exponential"), ("DPM++ 3M SDE", "dpmpp_3m_sde", "exponential"),
        ("DPM fast", "dpm_fast", "normal"), ("DPM adaptive", "dpm_adaptive", "normal"),
        ("DDIM", "ddim", "ddim_uniform"), ("UniPC", "uni_pc", "normal"), ("LCM", "lcm", "sgm_uniform"),
        ("DEIS", "deis", "normal"), ("IPNDM", "ipndm", "normal"), ("DDPM", "ddpm", "normal"),
        ("HeunPP2", "heunpp2", "normal"), ("euler A", "euler_ancestral", "normal"),
    ],
)  # fmt: skip
def test_samplers_with_their_automatic_schedules(name: str, sampler: str, scheduler: str) -> None:
    for version in ((1, 9), (1, 10), (2, 0)):
        assert sampling(name, "", version) == (sampler, scheduler, ())
    assert sampling(name, "Automatic", (1, 9)) == (sampler, scheduler, ())
    assert sampling(name, "Beta", None) == (sampler, "beta", ())


@pytest.mark.parametrize(
    ("version", "name", "scheduler"),
    [
        ("v1.5.1", "DPM++ 2M Karras", "karras"), ("v1.10.1", "DPM++ 2M", "karras"), ("v1.8.0", "DPM++ 2M", "normal"),
        ("v1.6.0-2-g4afaaf8a", "DPM++ 2M SDE Exponential", "exponential"), ("1.9.4", "DPM++ 2M SDE", "exponential"),
        ("f2.0.1v1.10.1-previous-313-g8a042934", "DPM++ 2M", "karras"), ("f0.0.17v1.8.0rc", "DPM++ 2M", "normal"),
        ("neo-2.1", "DPM++ 2M", "karras"), ("v1.10.1", "DPM++ 2M Karras", "karras"),
    ],
)  # fmt: skip
def test_schedule_depends_on_the_version(version: str, name: str, scheduler: str) -> None:
    generation = of_text(f"a\nSteps: 20, Sampler: {name}, Seed: 5, Version: {version}, RNG: CPU")
    assert generation.scheduler == scheduler and generation.sampler.startswith("dpmpp_2m") and not generation.warnings


@pytest.mark.parametrize(
    ("schedule", "scheduler"),
    [
        ("Karras", "karras"), ("Exponential", "exponential"), ("Simple", "simple"), ("Normal", "normal"),
        ("Beta", "beta"), ("Uniform", "normal"), ("SGM Uniform", "sgm_uniform"), ("DDIM Uniform", "ddim_uniform"),
        ("KL Optimal", "kl_optimal"), ("sgm_uniform", "sgm_uniform"),
    ],
)  # fmt: skip
def test_schedule_types(schedule: str, scheduler: str) -> None:
    generation = with_settings(f"Schedule type: {schedule}")
    assert generation.scheduler == scheduler and not generation.warnings


@pytest.mark.parametrize(
    ("schedule", "scheduler"),
    [
        ("Polyexponential", "exponential"),
        ("Align Your Steps", "karras"),
        ("Align Your Steps GITS", "karras"),
        ("New", "normal"),
    ],
)
def test_schedules_that_comfyui_lacks_are_named(schedule: str, scheduler: str) -> None:
    generation = with_settings(f"Schedule type: {schedule}")
    assert generation.scheduler == scheduler and any(f'"{schedule}"' in w for w in generation.warnings)


@pytest.mark.parametrize(
    ("name", "sampler", "scheduler"),
    [
        ("PLMS", "euler", "normal"), ("Restart", "dpmpp_2m", "karras"), ("DPM++ 9X", "dpmpp_2m", "karras"),
        ("[Forge] Flux Realistic", "euler", "normal"), ("Restart Karras", "dpmpp_2m", "karras"),
    ],
)  # fmt: skip
def test_samplers_that_comfyui_lacks_are_named(name: str, sampler: str, scheduler: str) -> None:
    found = sampling(name, "", (1, 10))
    assert found[:2] == (sampler, scheduler) and "stands in" in found.warnings[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dpmpp_2m_karras", ("dpmpp_2m", "karras")), ("euler_ancestral", ("euler_ancestral", "normal")),
        ("dpmpp_2m_sde_gpu_sgm_uniform", ("dpmpp_2m_sde_gpu", "sgm_uniform")), ("res_multistep", ("res_multistep", "normal")),
        ("Undefined", (None, None)), ("", (None, None)),
    ],
)  # fmt: skip
def test_names_of_comfyui_in_a1111_text(name: str, expected: tuple[str | None, str | None]) -> None:
    assert sampling(name, "", None) == (*expected, ())


def test_sampler_without_schedule_and_version_is_named() -> None:
    generation = of_text("a\nSteps: 20, Sampler: DPM++ 2M, Seed: 5, RNG: CPU")
    assert generation.scheduler == "normal" and any("before 1.9" in w for w in generation.warnings)
    assert not of_text("a\nSteps: 20, Sampler: Euler a, Seed: 5, RNG: CPU").warnings


@pytest.mark.parametrize(
    ("text", "version"),
    [("v1.10.1", (1, 10)), ("1.5.1", (1, 5)), ("f2.0.1v1.10.1-x", (1, 10)), ("ComfyUI", None), ("Fooocus v2.5.0", None),
     ("f3abf02", None), ("", None)],
)  # fmt: skip
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    assert version_of(text) == version


# the HiRes pass


def test_denoise_without_a_hires_pass_is_that_of_image_to_image() -> None:
    generation = with_settings("Denoising strength: 0.6")
    assert generation.denoise == 0.6 and generation.hires == HiRes()


@pytest.mark.parametrize(
    ("more", "hires"),
    [
        ("Hires upscale: 1.5, Denoising strength: 0.5", HiRes(denoise=0.5, scale=1.5)),
        ("Hires resize: 1024x1536, Hires upscaler: Latent", HiRes(scale=2)),
        ("Hires upscale: 2, Hires steps: 0, Hires upscaler: R-ESRGAN 4x+", HiRes(scale=2, upscaler="R-ESRGAN 4x+")),
        ("First pass size: 256x384, Denoising strength: 0.7", HiRes(denoise=0.7, scale=2)),
        ("Ultimate SD upscale upscaler: 4x-UltraSharp, Ultimate SD upscale tile_width: 768, Denoising strength: 0.2",
         HiRes(denoise=0.2, tile=768, upscaler="4x-UltraSharp")),
    ],
)  # fmt: skip
def test_hires_passes(more: str, hires: HiRes) -> None:
    generation = with_settings(more)
    assert generation.hires == hires and generation.denoise is None


def test_size_is_that_of_the_first_pass() -> None:
    now, old = with_settings("Hires upscale: 2"), with_settings("First pass size: 256x384")
    assert (now.width, now.height) == (512, 768) and (old.width, old.height) == (256, 384)
    unknown = with_settings("First pass size: 0x0, Denoising strength: 0.7")
    assert (unknown.width, unknown.height) == (512, 768) and unknown.hires == HiRes(denoise=0.7)


def test_own_settings_of_the_hires_pass_are_named() -> None:
    (warning,) = with_settings("Hires upscale: 2, Hires sampler: DDIM, Hires checkpoint: other").warnings
    assert "Hires sampler" in warning and "Hires checkpoint" in warning


# Forge and what is not used


def test_forge_flux() -> None:
    generation = of_text(FORGE_FLUX)
    assert (generation.guidance, generation.cfg, generation.scheduler) == (3.5, 1, "simple")
    assert (generation.vae, generation.checkpoint) == ("ae", "flux1-dev-Q8_0")
    (warning,) = generation.warnings
    assert '"clip_l", "t5xxl_fp16"' in warning and '"ae"' not in warning


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("ENSD: 31337", "ENSD 31337"),
        ("Refiner: xl_refiner, Refiner switch at: 0.8", "a refiner (Refiner: xl_refiner)"),
        ("ADetailer model: face.pt, ADetailer confidence: 0.3", "ADetailer"),
        ('ControlNet 0: "Module: canny, Model: x"', "a ControlNet"),
        ("RP Active: True", "Regional Prompter"),
        ("Variation seed: 5, Variation seed strength: 0.1", "a variation seed"),
        ("Face restoration: CodeFormer", "face restoration"),
        ("Mask blur: 4, Inpaint area: Only masked", "inpainting"),
        ("Styles: \"['x']\"", "styles"),
        ("Tiled Diffusion: True", "Tiled Diffusion"),
        ("Eta: 0.67", "Eta 0.67"),
    ],
)
def test_what_the_hires_pass_does_not_use_is_named(more: str, word: str) -> None:
    (warning,) = with_settings(more).warnings
    assert word in warning


@pytest.mark.parametrize("more", ["RP Active: False", "ENSD: 0", "Refiner: None", "Token merging ratio: 0.5"])
def test_what_is_turned_off_is_not_named(more: str) -> None:
    assert with_settings(more).warnings == ()


@pytest.mark.parametrize(("source", "named"), [("CPU", False), ("GPU", True), ("NV", True), (None, True)])
def test_noise_of_the_gpu_is_named(source: str | None, named: bool) -> None:
    text = f"a\n{BASE.replace('RNG: CPU', f'RNG: {source}' if source else 'Model: x')}"
    assert any("on the GPU" in w for w in of_text(text).warnings) is named


# prompts


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("a [cat:dog:0.5]", "prompt editing"), ("a [cat|dog]", "prompt editing"), ("[fog]", "brackets"),
        ("a AND b", "AND"), ("a BREAK b", "BREAK"),
    ],
)  # fmt: skip
def test_syntax_that_comfyui_lacks_is_named(prompt: str, word: str) -> None:
    (warning,) = a1111_differences({"positive": prompt, "negative": "fog"})
    assert word in warning and "positive prompt" in warning
    assert with_settings("x y: 1", prompt).positive == prompt


@pytest.mark.parametrize(
    "prompt", ["a lake, (wide:1.2)", "BRAND, break, and", r"\[x\]", "a: b", "[" * 5000, "[a:" * 5000]
)
def test_syntax_that_comfyui_has_is_not_named(prompt: str) -> None:
    assert a1111_differences({"positive": prompt}) == ()


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("bad-hands-5", "embedding:bad-hands-5"),
        ("fog, bad-hands-5, rain", "fog, embedding:bad-hands-5, rain"),
        ("fog,Bad-Hands-5,rain", "fog, embedding:bad-hands-5 ,rain"),
        ("(bad-hands-5:1.2)", "(embedding:bad-hands-5:1.2)"),
        ("[bad-hands-5]", "[ embedding:bad-hands-5 ]"),
        ("embedding:bad-hands-5", "embedding:bad-hands-5"),
        ("bad-hands-50 xbad-hands-5 bad-hands-5-neg", "bad-hands-50 xbad-hands-5 bad-hands-5-neg"),
    ],
)
def test_embeddings_are_written_as_comfyui_reads_them(prompt: str, written: str) -> None:
    assert name_embeddings(prompt, ["bad-hands-5"])[0] == written


@pytest.mark.parametrize("name", ["", "two words", "a:b", "x" * 500, "(", "a,b"])
def test_names_that_comfyui_cannot_read_stay_words(name: str) -> None:
    assert name_embeddings(f"x {name} y", [name]) == (f"x {name} y", ())


@pytest.mark.parametrize("key", ['TI hashes: "calm: abcdef012345"', 'Hashes: {"embed:calm": "abcdef0123"}'])
def test_embeddings_that_the_file_names(key: str) -> None:
    generation = with_settings(key, "a calm, wide lake")
    assert generation.positive == "a embedding:calm, wide lake" and '"calm"' in generation.warnings[0]


@pytest.mark.parametrize(
    "prompt", ["<lora:x:1", "<lora::1>", "a < b > c", "<lora:" * 20_000, "<lora:x:" + "1:" * 50_000]
)
def test_what_is_no_tag_stays(prompt: str) -> None:
    assert lift_networks(prompt)[:2] == (prompt, ())


# SwarmUI


def test_swarmui() -> None:
    generation = of_json(SWARMUI)
    assert known(generation) == {
        "origin": "swarmui", "positive": "a lake embedding:calm at dusk", "negative": "fog", "seed": 882695506, "cfg": 6,
        "steps": 28, "sampler": "euler_ancestral", "scheduler": "sgm_uniform", "checkpoint": "SDXL/base_1.0",
        "checkpoint_hash": "ab" * 32, "vae": "SDXL/fixed", "clip_skip": 2, "width": 1216, "height": 832,
        "loras": [
            {"name": "dir/one", "strength_model": 0.4, "strength_clip": 0.4, "hash": "cd" * 32},
            {"name": "two", "strength_model": -0.7, "strength_clip": 0.1, "hash": None},
            {"name": "gone", "strength_model": 0.3, "strength_clip": 0.3, "hash": None},
        ],
        "hires": {"steps": 12, "denoise": 0.3, "scale": 1.5, "upscaler": "4x-UltraSharp.pth"},
    }  # fmt: skip
    assert generation.fields["seed"] == "sui_image_params.seed"
    (warning,) = generation.warnings
    assert "<segment>" in warning


def swarm(**params: Any) -> Generation:
    return of_json({"sui_image_params": {"prompt": "a lake", "model": "m", **params}})


def test_swarmui_from_an_image_and_with_a_refiner() -> None:
    generation = swarm(
        initimage="x", initimagecreativity=0.6, refinermodel="r", refinermethod="StepSwap", refinerupscale=1
    )
    assert generation.denoise == 0.6 and generation.hires == HiRes()
    assert any('refiner ("r")' in w for w in generation.warnings)
    assert swarm(initimagecreativity=0.6).denoise is None


def test_swarmui_lists_as_text_and_of_unequal_length() -> None:
    generation = swarm(loras="a, b", loraweights="0.5", loratencweights=["", "x"])
    assert generation.loras == (Lora("a", 0.5, 0.5),)
    assert any('"b"' in w for w in generation.warnings)


def test_swarmui_without_vae_uses_the_checkpoints_own() -> None:
    for vae in ({}, {"vae": "None"}, {"vae": "Automatic"}):
        assert swarm(**vae).vae is None and "checkpoint's own" in swarm(**vae).fields["vae"]


# Fooocus


def test_fooocus() -> None:
    expected = {
        "origin": "fooocus", "positive": "cinematic still a lake, a lake, intricate", "negative": "fog, ugly, deformed",
        "seed": 5124052352, "cfg": 4, "steps": 30, "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras",
        "checkpoint": "juggernautXL_v8Rundiffusion", "checkpoint_hash": "aeb7e9e689", "width": 1152, "height": 896,
        "loras": [{"name": "sd_xl_offset", "strength_model": 0.1, "strength_clip": 0.1, "hash": "4852686128"}],
        "family": "sdxl",
    }  # fmt: skip
    assert known(of_json(FOOOCUS, fooocus_scheme="fooocus")) == known(of_json(FOOOCUS)) == expected


def test_fooocus_without_full_prompts_and_loras() -> None:
    data = {k: v for k, v in FOOOCUS.items() if k not in ("full_prompt", "full_negative_prompt", "loras")}
    data |= {"lora_combined_1": "a : 0.5", "lora_combined_2": "False : b : 1", "lora_combined_3": "True : c d : -0.5",
             "lora_combined_4": "None : 1"}  # fmt: skip
    generation = of_json(data)
    assert (generation.positive, generation.negative) == ("a lake", "fog")
    assert generation.loras == (Lora("a", 0.5, 0.5), Lora("c d", -0.5, -0.5))
    assert any("styles" in w for w in generation.warnings)


def test_fooocus_of_older_versions() -> None:
    generation = of_json(
        {"Prompt": "a lake", "Negative Prompt": "fog", "Resolution": "(1152, 896)", "Guidance Scale": 4.0, "Seed": 5,
         "Base Model": "m.safetensors", "Sampler": "euler", "Scheduler": "karras", "LoRA 1": "x.safetensors : 0.5"}
    )  # fmt: skip
    assert (generation.positive, generation.cfg, generation.width) == ("a lake", 4, 1152)
    assert generation.loras == (Lora("x.safetensors", 0.5, 0.5),)


@pytest.mark.parametrize("more", [{"fooocus_scheme": "a1111"}, {}])
def test_fooocus_in_a1111_text(more: dict[str, str]) -> None:
    generation = recall_text({"parameters": FOOOCUS_A1111, **more})
    assert (generation.origin, generation.family, generation.seed) == ("fooocus", "sdxl", 512)
    assert (generation.sampler, generation.scheduler, generation.vae) == ("dpmpp_2m_sde", "karras", None)
    assert generation.loras == (Lora("offset", 0.1, 0.1, "4852686128"), Lora("more", 0.5, 0.5, "3cb01d8d9d"))
    assert generation.warnings == ()


# InvokeAI


def test_invokeai() -> None:
    generation = of_json(INVOKEAI, "invokeai_metadata")
    assert known(generation) == {
        "origin": "invokeai", "positive": "a lake, holidays", "negative": "grainy+, noisy++", "seed": 3293022630,
        "cfg": 8, "steps": 35, "sampler": "dpmpp_2m_sde", "scheduler": "karras", "checkpoint": "juggernautXL",
        "vae": "VAEFix", "clip_skip": 2, "width": 1024, "height": 768, "family": "sdxl",
        "loras": [
            {"name": "new", "strength_model": 0.75, "strength_clip": 0.75, "hash": None},
            {"name": "old", "strength_model": -1, "strength_clip": -1, "hash": None},
        ],
    }  # fmt: skip
    assert len(generation.warnings) == 2 and "ipAdapters" in generation.warnings[0]


def test_invokeai_flux() -> None:
    data = {"positive_prompt": "a", "guidance": 3.5, "scheduler": "euler", "model": {"name": "f", "base": "flux"}}
    generation = of_json(data, "invokeai_metadata")
    assert (generation.guidance, generation.family, generation.vae) == (3.5, "flux", None)


def test_invokeai_2() -> None:
    generation = recall_text({"sd-metadata": json.dumps(INVOKEAI_2), "Dream": INVOKEAI_1})
    assert (generation.negative, generation.sampler, generation.cfg) == ("fog, rain", "lms", 5)
    assert (generation.checkpoint, generation.checkpoint_hash) == ("deliberate_v08", "56d1" * 16)


def test_invokeai_1() -> None:
    generation = recall_text({"Dream": INVOKEAI_1})
    assert known(generation) == {
        "origin": "invokeai", "positive": 'a "quoted" lake', "negative": "fog", "seed": 2980747362, "cfg": 7.5,
        "steps": 50, "sampler": "euler_ancestral", "scheduler": "normal", "width": 512, "height": 768,
    }  # fmt: skip
    assert recall_text({"Dream": "I have a dream"}).empty


@pytest.mark.parametrize(("name", "sampler"), [("pndm", "euler"), ("dpm_new", "dpmpp_2m"), ("x", "euler")])
def test_invokeai_sampler_that_comfyui_lacks_is_named(name: str, sampler: str) -> None:
    generation = of_json({"positive_prompt": "a", "scheduler": name}, "invokeai_metadata")
    assert generation.sampler == sampler and f'"{name}"' in generation.warnings[0]


# NovelAI


def test_novelai() -> None:
    generation = recall_text(NOVELAI)
    assert known(generation) == {
        "origin": "novelai", "positive": r"(a lake:1.2), (calm:1.05) \(wide\), a swan",
        "negative": "(fog:1.1), (rain:0.952)", "seed": 3816166865, "cfg": 5, "steps": 28, "sampler": "euler_ancestral",
        "scheduler": "karras", "width": 832, "height": 1216,
    }  # fmt: skip
    assert any("--model" in w and "V4.5" in w for w in generation.warnings)


def test_novelai_of_older_versions() -> None:
    comment = {"steps": 28, "sampler": "k_euler", "seed": 1, "strength": 0.4, "noise": 0.2, "scale": 11, "uc": "fog"}
    generation = recall_text({**NOVELAI, "Comment": json.dumps(comment), "Description": "a {calm} lake"})
    assert (generation.positive, generation.negative) == ("a (calm:1.05) lake", "fog")
    assert (generation.sampler, generation.scheduler, generation.denoise) == ("euler", None, 0.4)
    assert recall_text({**NOVELAI, "Software": "GIMP"}).empty


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("a lake", "a lake"), ("{{a}}", "(a:1.1)"), ("[a], b", "(a:0.952), b"), ("{a, {b}}", "(a:1.05), (b:1.1)"),
        ("1.5::a, b::, c", "(a, b:1.5), c"), ("-1::a::", "(a:-1)"), ("a (b)", r"a \(b\)"), ("{[a]}", "a"),
        ("{a", "(a:1.05)"), ("a}", "a"), ("{}", ""), ("v1.5::a", "v1.5a"),
    ],
)  # fmt: skip
def test_weights_of_novelai(prompt: str, written: str) -> None:
    assert comfyui_weights(prompt) == written


# a text beside a graph


def test_text_beside_a_graph_fills_its_gaps() -> None:
    texts = saved_with_text()
    alone = recall_text({"prompt": texts["prompt"]})
    both = recall_text(texts)
    assert both.warnings == () and both.fields["checkpoint_hash"] == "parameters: Model hash"
    assert known(both) == {**known(alone), "checkpoint_hash": "abcdef0123"}
    assert both.carried["parameters"]["settings"]["Version"] == "ComfyUI"


def test_graph_is_kept_where_the_text_differs() -> None:
    texts = saved_with_text(seed=5)
    texts["parameters"] = texts["parameters"].replace("a lake", "a pond, <lora:a:0.1>").replace("7.5", "3")
    generation = recall_text(texts)
    assert (generation.seed, generation.cfg, generation.positive) == (2**60 + 1, 7.5, "a lake")
    assert f'parameters says seed "5", the graph says "{2**60 + 1}": the graph is kept' in generation.warnings
    assert [w.split()[2] for w in generation.warnings] == ["positive", "seed", "cfg", "the"]
    assert generation.loras[1] == Lora("dir\\a.safetensors", 0.8, 1.0, "1234567890")


def test_text_beside_a_graph_gives_what_the_graph_hides() -> None:
    graph = plain_graph()
    graph["3"]["inputs"]["seed"] = ["50", 0]
    graph["6"]["inputs"]["text"] = ["51", 0]
    graph |= {"50": {"class_type": "Oracle", "inputs": {}}, "51": {"class_type": "Wildcards", "inputs": {}}}
    text = f"a BREAK lake\nNegative prompt: blurry\n{BASE.replace('Seed: 5', 'Seed: 77')}"
    generation = recall_text({"prompt": json.dumps(graph), "parameters": text})
    assert (generation.seed, generation.positive, generation.origin) == (77, "a BREAK lake", "comfyui")
    assert generation.fields["seed"] == "parameters: Seed"
    assert any("BREAK" in w for w in generation.warnings) and any("Oracle" in w for w in generation.warnings)


def test_hash_of_another_checkpoint_is_not_taken() -> None:
    texts = saved_with_text()
    texts["parameters"] = texts["parameters"].replace("Model: dream", "Model: other")
    generation = recall_text(texts)
    assert generation.checkpoint_hash is None and '"other"' in generation.warnings[0]


def test_text_beside_a_graph_that_cannot_be_read() -> None:
    graph = {"1": {"class_type": "SamplerFromTheFuture", "inputs": {}}}
    generation = recall_text({"prompt": json.dumps(graph), "parameters": f"a\n{BASE}"})
    assert (generation.origin, generation.seed) == ("a1111", 5)
    assert any("no sampler that is read here" in w for w in generation.warnings)


def test_distillery_images_stand_alone() -> None:
    texts = {"prompt": json.dumps(new_record()), "parameters": f"a pond\n{BASE}"}
    assert recall_text(texts) == recall_text({"prompt": texts["prompt"]})
    own = record_for(recall_text({"prompt": texts["prompt"]}))
    assert recall_text({**saved_with_text(), "distillery": own}).origin == "distillery-upscale"


def test_swarmui_beside_a_graph() -> None:
    texts = {"prompt": json.dumps(plain_graph()), "parameters": json.dumps(SWARMUI)}
    generation = recall_text(texts)
    assert generation.origin == "comfyui" and any(w.startswith("parameters says seed") for w in generation.warnings)


def test_merge_is_pure_and_knows_what_is_known_to_be_none() -> None:
    graph = Generation(
        "comfyui", positive="a", vae=None, loras=(), fields={"vae": "the checkpoint's own", "loras": "none"}
    )
    other = Generation("a1111", vae="x.pt", loras=(Lora("y"),), seed=3, fields={"seed": "parameters: Seed"})
    merged = merge(graph, other)
    assert (merged.vae, merged.loras, merged.seed) == (None, (), 3)
    assert len(merged.warnings) == 2 and "the checkpoint's own" in merged.warnings[0]
    assert graph == replace(graph) and merge(graph, Generation()) == graph


@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde_gpu", "dpmpp_2m_sde"])
def test_variants_of_a_sampler_are_no_difference(sampler: str) -> None:
    graph = Generation("comfyui", sampler=sampler, checkpoint="dir\\m.safetensors", positive="a  b")
    assert merge(graph, Generation("a1111", sampler="dpmpp_2m_sde", checkpoint="m", positive="a b")).warnings == ()


# whatever the text


@pytest.mark.parametrize(
    ("text", "empty"),
    [
        ("", True), ("\0", True), ("{", True), ("Steps:", True), ("Steps: , , ,", True), ("Negative prompt:", False),
        ("Steps: 1, A b: [[[[", True), ("\ud800\nSteps: 1, a b: 2, c d: 3", False),
        ('Steps: 1, Hashes: {"a": NaN}, Model hash: {}, Seed: [1]', False), ("{cat|dog} on a mat\n" + BASE, False),
    ],
)  # fmt: skip
def test_odd_texts(text: str, empty: bool) -> None:
    generation = of_text(text)
    assert generation.empty is empty
    record_for(generation).encode()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "Steps: " + "a" * 900_000,
        "Steps: " + "a b" * 300_000 + ": 1, c d: 2, e f: 3",
        "Steps: 1, " + "ab:[" * 200_000,
        "Steps: 1, " + 'ab:["x,' * 100_000,
        "Steps: 1, " + 'ab:"' * 200_000,
        "Steps: 1, " + 'ab: "\\' * 150_000,
        "Steps: 1, ab: " + '{"a":' * 150_000,
        "Steps: 1, a b: 2, c d: 3\n" * 30_000,
        "Steps: " + " " * 900_000 + ":",
        "[" * 900_000 + "\n" + BASE,
        "<lora:x:" * 100_000 + "\n" + BASE,
        "(" * 400_000 + ")" * 400_000 + "\n" + BASE,
        "x\n" * 400_000 + BASE,
        "Negative prompt:\n" * 50_000 + BASE,
        f'{"calm " * 150_000}\n{BASE}, TI hashes: "calm: a, {", ".join(f"calm{i}: abcdef0123" for i in range(2000))}"',
        ("[" + ":" * 2000) * 400 + "\n" + BASE,
    ],
    ids=range(16),
)
def test_long_texts_are_read_in_reasonable_time(text: str) -> None:
    start = time.process_time()
    of_text(text)
    assert time.process_time() - start < 15


@pytest.mark.timeout(60)
@pytest.mark.parametrize("character", list('a(){}[]:.,+-1" \n'))
@pytest.mark.slow
def test_long_prompts_of_the_json_formats_are_read_in_reasonable_time(character: str) -> None:
    prompt = (character * 3 + "a") * 100_000
    start = time.process_time()
    of_json({"sui_image_params": {"prompt": prompt}})
    of_json({"positive_prompt": prompt}, "invokeai_metadata")
    recall_text({"Dream": '"' + prompt})
    recall_text({**NOVELAI, "Comment": json.dumps({"prompt": prompt, "uc": "<" + prompt})})
    assert time.process_time() - start < 30


def test_text_that_is_too_long_is_named() -> None:
    generation = of_text("a" * 1_000_001 + "\n" + BASE)
    assert generation.empty and "at most" in generation.warnings[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
RECORDS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "swarmui": ("parameters", SWARMUI, {}),
    "fooocus": ("parameters", FOOOCUS, {"fooocus_scheme": "fooocus"}),
    "invokeai": ("invokeai_metadata", INVOKEAI, {}),
    "invokeai 2": ("sd-metadata", INVOKEAI_2, {}),
    "novelai": ("Comment", json.loads(NOVELAI["Comment"]), {"Software": "NovelAI", "Description": "x"}),
}


def _places(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *_places(item, (*path, key))]]


@settings(max_examples=300, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_damaged_records_raise_nothing(data: st.DataObject) -> None:
    key, record, more = RECORDS[data.draw(st.sampled_from(sorted(RECORDS)))]
    record = copy.deepcopy(record)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(_places(record)))
        holder = record
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = data.draw(json_values)
    check(recall_text({key: json.dumps(record), **more}))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_texts_raise_nothing(data: st.DataObject) -> None:
    text = list(data.draw(st.sampled_from([A1111, CIVITAI, FOOOCUS_A1111, FORGE_FLUX, INVOKEAI_1])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 5))] = data.draw(st.text('":,{}[]<>\\ \n019-x', max_size=5))
    check(of_text("".join(text)))
    check(recall_text({"Dream": "".join(text), "prompt": json.dumps(plain_graph())}))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300) | st.text('(){}[]<>:.,|"\\ \nlora01-embedding', max_size=300))
def test_any_prompt_raises_nothing(prompt: str) -> None:
    check(of_text(f'{prompt}\nNegative prompt: {prompt}\n{BASE}, TI hashes: "lora: abcdef0123"'))
    check(of_json({"sui_image_params": {"prompt": prompt, "negativeprompt": prompt}}))
    check(recall_text({**NOVELAI, "Comment": json.dumps({"prompt": prompt, "uc": prompt})}))
    check(of_json({"positive_prompt": prompt}, "invokeai_metadata"))


def check(generation: Generation) -> None:
    assert isinstance(generation, Generation)
    as_rows(generation), carried_rows(generation)
    assert all(len(warning) < 500 for warning in generation.warnings)
    if not generation.empty:
        assert replace(from_dict(json.loads(record_for(generation))["generation"]), carried={}) == replace(
            generation, carried={}
        )


def test_recall_of_a_file_gives_the_same_as_of_its_texts() -> None:
    assert recall(png({"parameters": A1111}, (512, 768))) == of_text(A1111)
