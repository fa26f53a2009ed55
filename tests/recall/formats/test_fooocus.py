"""Both schemes of Fooocus."""

from __future__ import annotations

import pytest
from recall_read import (
    known,
    of_json,
)
from recall_text_samples import (
    FOOOCUS,
    FOOOCUS_A1111,
)

from distillery.nodes.generation import Lora
from distillery.nodes.recall import recall_text


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
    (warning,) = generation.warnings  # Fooocus samples in a way of its own
    assert "Sharpness: 2, ADM Guidance" in warning and "Performance" not in warning
