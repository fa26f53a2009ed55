"""Texts as A1111's, of programs that write them in ways of their own."""

from __future__ import annotations

import pytest
from recall_read import BASE, of_json, of_text, with_settings

from distillery.nodes.generation import HiRes, Lora
from distillery.nodes.recall import recall_text


def named(warnings: tuple[str, ...], text: str) -> bool:
    return any(text in warning for warning in warnings)


# SD.Next


def test_settings_parted_by_upright_strokes() -> None:
    generation = of_text(
        "a mill\nNegative prompt: fog\nVersion: aa62f6d, Pipeline: Original,\n"
        "Steps: 25 | Seed: 18 | Sampler: Euler a | CFG scale: 7 | Size: 768x512 | Parser: Full parser | Model: m | Clip skip: 2"
    )
    assert (generation.positive, generation.negative, generation.seed, generation.cfg) == ("a mill", "fog", 18, 7)
    assert (generation.checkpoint, generation.clip_skip, generation.width) == ("m", 2, 768)


def test_prompt_with_strokes_stays_a_prompt() -> None:
    assert (
        of_text(f"Steps: one | two: b | three: c | four: d\n{BASE}").positive
        == "Steps: one | two: b | three: c | four: d"
    )


def test_second_pass_of_sdnext() -> None:
    generation = with_settings(
        "Hires upscaler: 4x, Hires scale: 2, Hires steps: 15, Hires strength: 0.35, Denoising strength: 0.6"
    )
    assert generation.hires == HiRes(scale=2.0, denoise=0.35, steps=15, upscaler="4x") and generation.denoise is None


def test_schedule_of_sdnext_and_what_is_not_kept() -> None:
    text = BASE.replace(
        "RNG: CPU, Version: v1.10.1", "App: SD.Next, Version: 4867dafa, Sampler sigma: karras, CFG rescale: 0.7"
    )
    generation = of_text(f"a\n{text}")
    assert generation.scheduler == "karras" and named(generation.warnings, "CFG rescale: 0.7")


def test_embeddings_named_apart() -> None:
    generation = of_text(f'a mill\nNegative prompt: easyneg, bad\n{BASE}, Embeddings: "easyneg, other"')
    assert generation.negative == "embedding:easyneg, bad" and named(generation.warnings, "easyneg")


# quotes


def test_line_break_in_a_quoted_value() -> None:
    generation = with_settings('Wildcard prompt: "one\ntwo: three", Model: m, Clip skip: 2\nTemplate: x, y: z')
    assert (generation.checkpoint, generation.clip_skip) == ("m", 2)
    assert generation.carried["settings"]["text after the settings"] == "Template: x, y: z"


def test_settings_in_a_quoted_value_are_not_the_settings() -> None:
    template = 'Template: "a fox\nNegative prompt: x\nSteps: 3, foo: 1, bar: 2, baz: 3", Model: m'
    generation = with_settings(template)
    assert (generation.seed, generation.steps, generation.checkpoint, generation.positive) == (5, 20, "m", "a lake")


def test_quote_that_is_never_closed_ends_with_its_line() -> None:
    generation = with_settings('Note: "open, Model: m\nnext line')
    assert generation.checkpoint == "m"


# LoRAs apart from the prompt


@pytest.mark.parametrize(
    "more",
    [
        "Lora_0 Model name: style.safetensors, Lora_0 Model hash: abcdefabcd, Lora_0 Strength model: 0.8, Lora_0 Strength clip: 0.5",
        "Lora 1 name: style.safetensors, Lora 1 strength model: 0.8, Lora 1 strength clip: 0.5",
    ],
)
def test_loras_of_numbered_settings(more: str) -> None:
    (lora,) = with_settings(more).loras
    assert (lora.name, lora.strength_model, lora.strength_clip) == ("style.safetensors", 0.8, 0.5)


def test_loras_of_lists() -> None:
    generation = with_settings('Lora hashes: "style: abcdefabcd12, eyes: 123456abcdef", loraweights: "0.33,0.3"')
    assert [(lora.name, lora.strength_model, lora.hash) for lora in generation.loras] == [
        ("style", 0.33, "abcdefabcd12"), ("eyes", 0.3, "123456abcdef"),
    ]  # fmt: skip


def test_loras_without_weights_are_named_and_not_said_to_be_none() -> None:
    generation = with_settings('Lora hashes: "style: abcdefabcd12"')
    assert generation.loras == () and "loras" not in generation.fields and named(generation.warnings, '"style"')


def test_loras_of_additional_networks() -> None:
    generation = with_settings(
        "AddNet Enabled: True, AddNet Module 1: LoRA, AddNet Model 1: style(abcdef012345), AddNet Weight A 1: 0.8, AddNet Weight B 1: 0.7"
    )
    assert generation.loras == (Lora("style", 0.8, 0.7),) and generation.warnings == ()


@pytest.mark.parametrize("more", ['Loras: "style:0.8, eyes:0.5"', "Lora 1: style (0.8), Lora 2: eyes (0.5)"])
def test_loras_with_their_weights_behind_them(more: str) -> None:
    assert with_settings(more).loras == (Lora("style", 0.8, 0.8), Lora("eyes", 0.5, 0.5))


def test_list_of_names_alone_is_named() -> None:
    generation = with_settings('LoRAs: "style, eyes"')
    assert "loras" not in generation.fields and named(generation.warnings, '"style", "eyes"')


def test_lora_setting_of_any_kind_is_named() -> None:
    generation = with_settings("Lora preset: soft")
    assert "loras" not in generation.fields and named(generation.warnings, "Lora preset: soft")


def test_tags_and_their_hashes_need_no_warning() -> None:
    generation = with_settings('Lora hashes: "style: abcdefabcd12"', "a <lora:style:0.5>")
    assert generation.loras == (Lora("style", 0.5, 0.5, "abcdefabcd12"),) and generation.warnings == ()


@pytest.mark.parametrize(("version", "strengths"), [("v1.10.1", (0.3, 0.8)), ("ComfyUI", (0.8, 0.3))])
def test_order_of_the_strengths_in_a_tag_by_program(version: str, strengths: tuple[float, float]) -> None:
    generation = of_text(f"a <lora:style:0.8:0.3>\n{BASE.replace('v1.10.1', version)}")
    assert generation.loras == (Lora("style", *strengths),)


# modules of Forge


@pytest.mark.parametrize("vae", ["ae", "sdxlVAE_sdxlVAE", "kl-f8-anime2", "flux_vae.safetensors", "vae-ft-mse-840000"])
def test_vae_among_the_modules(vae: str) -> None:
    generation = with_settings(f"Module 1: clip_l, Module 2: {vae}, Module 3: t5xxl_fp16")
    assert generation.vae == vae
    assert (
        named(generation.warnings, "clip_l")
        and named(generation.warnings, "t5xxl")
        and not named(generation.warnings, vae)
    )


# what is not kept


@pytest.mark.parametrize(
    "setting",
    ["Tiling: True", "Emphasis: No norm", "Schedule max sigma: 10", "Schedule rho: 3", "Noise Schedule: Zero Terminal SNR",
     "NGMS: 1", "Skip Early CFG: 0.1", "Shift: 9", "Anything At All: 3"],
)  # fmt: skip
def test_settings_that_are_not_known_to_be_harmless_are_named(setting: str) -> None:
    assert named(with_settings(setting).warnings, setting)


@pytest.mark.parametrize(
    "setting", ["Tiling: False", "Emphasis: None", "NGMS: 0", "Skip Early CFG: 0.0", "User: me", "Batch size: 4"]
)
def test_settings_that_are_off_or_harmless_are_not_named(setting: str) -> None:
    assert with_settings(setting).warnings == ()


def test_noise_of_what_comfyui_made_is_not_said_to_be_a1111s() -> None:
    text = "a\nSteps: 20, Sampler: {}, CFG scale: 5.0, Seed: {}, Size: 64x64, Model: m"
    assert named(of_text(text.format("Euler a", 5)).warnings, "noise on the GPU")
    assert not named(of_text(text.format("euler_ancestral_karras", 5)).warnings, "noise on the GPU")
    assert not named(of_text(text.format("Euler a", 2**40)).warnings, "noise on the GPU")


@pytest.mark.parametrize("word", ["unknown", "undefined", "None"])
def test_placeholders_are_no_prompts(word: str) -> None:
    generation = of_text(f"{word}\nNegative prompt: {word}\n{BASE}, Model: m")
    assert (generation.positive, generation.negative, generation.checkpoint) == (None, None, "m")
    assert named(generation.warnings, "placeholder")


# InvokeAI's first texts


@pytest.mark.parametrize(
    "options",
    [
        "-s50 -b1 -W576 -H512 -C7.5 -Ak_lms -S13",
        "-s 50 -W576 -H 512 -C7.5 -A k_lms -S 13",
        "--steps 50 -W576 -H512 -C7.5 -Ak_lms --seed 13",
    ],
)
def test_options_with_and_without_blanks(options: str) -> None:
    generation = recall_text({"Dream": f'"a mill [fog]" {options}'})
    assert (generation.steps, generation.width, generation.height, generation.cfg) == (50, 576, 512, 7.5)
    assert (generation.sampler, generation.seed, generation.negative) == ("lms", 13, "fog")


# SwarmUI


def swarm(**params: object) -> tuple:
    base = {"prompt": "a", "model": "m", "seed": 1, "steps": 20, "cfgscale": 7, "width": 512, "height": 512}
    generation = of_json({"sui_image_params": {**base, **params}})
    return generation, generation.warnings


def test_strengths_of_swarmuis_tag() -> None:
    assert swarm(prompt="a <lora:style:0.8:0.3>")[0].loras == (Lora("style", 0.8, 0.3),)


@pytest.mark.parametrize("model", ["(Use Base)", "m", "m.safetensors"])
def test_refiner_that_is_the_same_model_is_not_named(model: str) -> None:
    generation, warnings = swarm(
        refinermodel=model, refinermethod="PostApply", refinerupscale=1.5, refinercontrolpercentage=0.2
    )
    assert not named(warnings, "refiner") and generation.hires.scale == 1.5
    assert named(swarm(refinermodel="other")[1], "refiner")


def test_parameters_of_swarmui_that_are_not_kept_are_named() -> None:
    warnings = swarm(sigmashift=9, rescalecfgmultiplier=0.7, zeronegative=True, seamlesstileable="false")[1]
    assert named(warnings, "sigmashift: 9, rescalecfgmultiplier: 0.7, zeronegative: True")
