"""SwarmUI's JSON."""

from __future__ import annotations

from typing import Any

from recall_read import (
    known,
    of_json,
)
from recall_text_samples import (
    SWARMUI,
)

from distillery.nodes.generation import Generation, HiRes, Lora


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
