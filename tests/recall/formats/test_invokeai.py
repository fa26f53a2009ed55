"""The three formats of InvokeAI."""

from __future__ import annotations

import json

import pytest
from recall_read import (
    known,
    of_json,
)
from recall_text_samples import (
    INVOKEAI,
    INVOKEAI_1,
    INVOKEAI_2,
)

from distillery.nodes.recall import recall_text


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
