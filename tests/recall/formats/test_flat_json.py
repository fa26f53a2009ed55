"""Flat JSON with settings by name, of several programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recall_read import of_json
from recall_samples import node

from distillery.nodes.generation import Generation, HiRes, Lora
from distillery.nodes.recall import recall_text

EASY = {
    "prompt": "a mill", "seed": 5, "negative_prompt": "fog", "num_inference_steps": 25, "guidance_scale": 7.5,
    "use_stable_diffusion_model": "m", "sampler_name": "euler_a", "width": 512, "height": 640,
}  # fmt: skip
RUINED = {
    "Prompt": "a mill", "Negative": "fog", "steps": 30, "cfg": 5, "width": 1344, "height": 768, "seed": 7,
    "sampler_name": "dpmpp_2m_sde_gpu", "scheduler": "karras", "base_model_name": "m.safetensors",
    "base_model_hash": "7d723a7b", "loras": "Loras:<a.safetensors:1> <b:0.5>", "software": "RuinedFooocus",
}  # fmt: skip
SPACE = {
    "prompt": "a mill", "negative_prompt": "fog", "resolution": "1024 x 768", "guidance_scale": 5.5,
    "num_inference_steps": 24, "seed": 443800072, "sampler": "DPM++ 2M Karras", "Model": "WAI XL", "Model hash": "AB" * 32,
    "use_upscaler": {"upscaler_strength": 0.7, "upscale_by": 1.5, "new_resolution": "1536 x 1152"},
}  # fmt: skip


def core(generation: Generation) -> tuple[Any, ...]:
    g = generation
    return (
        g.origin,
        g.positive,
        g.negative,
        g.seed,
        g.steps,
        g.cfg,
        g.sampler,
        g.scheduler,
        g.checkpoint,
        g.width,
        g.height,
    )


def test_easy_diffusion() -> None:
    expected = ("easydiffusion", "a mill", "fog", 5, 25, 7.5, "euler_ancestral", None, "m", 512, 640)
    assert core(of_json(EASY)) == expected
    assert core(recall_text({key: str(value) for key, value in EASY.items()})) == expected


def test_loras_of_easy_diffusion() -> None:
    one = of_json({**EASY, "use_lora_model": "l", "lora_alpha": 0.5})
    several = of_json({**EASY, "use_lora_model": ["l", "k"], "lora_alpha": [0.5, 0.2]})
    assert one.loras == (Lora("l", 0.5, 0.5),) and several.loras == (Lora("l", 0.5, 0.5), Lora("k", 0.2, 0.2))


def test_ruined_fooocus() -> None:
    generation = of_json(RUINED)
    assert core(generation) == (
        "ruinedfooocus", "a mill", "fog", 7, 30, 5.0, "dpmpp_2m_sde_gpu", "karras", "m.safetensors", 1344, 768,
    )  # fmt: skip
    assert generation.loras == (Lora("a.safetensors", 1.0, 1.0), Lora("b", 0.5, 0.5))


def test_demonstration_page() -> None:
    generation = of_json(SPACE)
    assert core(generation) == ("json", "a mill", "fog", 443800072, 24, 5.5, "dpmpp_2m", "karras", "WAI XL", 1024, 768)
    assert generation.hires == HiRes(denoise=0.7, scale=1.5) and generation.checkpoint_hash == "ab" * 32


def test_upscale_of_civitai() -> None:
    made = {
        "prompt": "a mill", "negativePrompt": "fog", "cfgScale": 5, "sampler": "Euler a", "clipSkip": 2, "steps": 25,
        "width": 1024, "height": 768, "seed": 13, "resources": [{"modelVersionId": 2514310, "strength": 1}],
    }  # fmt: skip
    graph: dict[str, Any] = {
        "1": node("LoadImage", image="x"), "2": node("ImageUpscaleWithModel", image=["1", 0], upscale_model=["3", 0]),
        "3": node("UpscaleModelLoader", model_name="u"), "4": node("SaveImage", images=["2", 0]),
        "extraMetadata": json.dumps(made),
    }  # fmt: skip
    generation = recall_text({"prompt": json.dumps(graph)})
    assert core(generation) == ("civitai", "a mill", "fog", 13, 25, 5.0, "euler_ancestral", None, None, 1024, 768)
    assert generation.clip_skip == 2 and any("2514310" in w for w in generation.warnings)
    broken = recall_text({"prompt": json.dumps({**graph, "extraMetadata": "{broken"})})
    assert broken.empty and not any("2514310" in w for w in broken.warnings)


@pytest.mark.parametrize(
    "data",
    [
        {"prompt": "a mill"},
        {"prompt": "a mill", "seed": 1, "steps": 2},
        {"prompt": ["a mill"], "seed": 1, "steps": 2, "cfg": 3},
        {"title": "a", "seed": 1, "steps": 2, "cfg": 3},
        {
            "prompt": "a",
            "uc": "b",
            "seed": 1,
            "steps": 2,
            "scale": 3,
            "sampler": "k_euler",
        },  # NovelAI's, without its mark
    ],
)
def test_other_json_is_not_taken_for_settings(data: dict[str, Any]) -> None:
    assert of_json(data).empty


def test_plain_text_called_prompt_is_no_broken_graph() -> None:
    assert not any("JSON" in warning for warning in recall_text({"prompt": "a mill", "seed": "5"}).warnings)


def test_settings_that_are_not_known_are_named() -> None:
    generation = of_json({**SPACE, "pag_scale": 3, "hidden": 0, "software": "x"})
    (warning,) = [w for w in generation.warnings if "not kept" in w]
    assert "pag_scale: 3" in warning and "hidden" not in warning and "software" not in warning


def test_values_of_any_type_raise_nothing() -> None:
    for value in (None, True, -1, 2.5, "x", "", [], {}, [1], {"a": 1}, [["a", 1]], [{"model": None}]):
        for key in RUINED | SPACE | EASY:
            of_json({**EASY, **RUINED, key: value})
            of_json({**SPACE, key: value})
