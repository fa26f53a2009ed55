"""The text of A1111 and Forge."""

from __future__ import annotations

import pytest
from recall_read import (
    BASE,
    known,
    of_text,
    with_settings,
)
from recall_text_samples import (
    A1111,
    CIVITAI,
    FORGE_FLUX,
)

from distillery.nodes.generation import HiRes, Lora
from distillery.nodes.recall.formats.a1111 import version_of
from distillery.nodes.recall.formats.a1111_samplers import sampling
from distillery.nodes.recall.formats.a1111_text import parse_text
from distillery.nodes.report import carried_rows


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


@pytest.mark.parametrize("more", ["RP Active: False", "ENSD: 0", "Refiner: None", "Token merging ratio: 0"])
def test_what_is_turned_off_is_not_named(more: str) -> None:
    assert with_settings(more).warnings == ()


@pytest.mark.parametrize(("source", "named"), [("CPU", False), ("GPU", True), ("NV", True), (None, True)])
def test_noise_of_the_gpu_is_named(source: str | None, named: bool) -> None:
    text = f"a\n{BASE.replace('RNG: CPU', f'RNG: {source}' if source else 'Model: x')}"
    assert any("on the GPU" in w for w in of_text(text).warnings) is named
