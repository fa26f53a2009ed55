"""Composite nodes: LoRA lists, loaders and samplers of everything, presets of sizes."""

from __future__ import annotations

from typing import Any

import pytest
from recall_graph_samples import Api, basic_pipe, easy_use, efficient, efficient_sdxl, patched
from recall_read import (
    PLAIN_LORAS,
    of,
    read,
    with_model,
)
from recall_samples import node

from distillery.nodes.generation import HiRes, Lora


def test_lora_stack_of_rgthree() -> None:
    loras = {"lora_01": "a", "strength_01": 0.5, "lora_02": "None", "strength_02": 1, "lora_03": "c", "strength_03": 0}
    generation = with_model(n50=node("Lora Loader Stack (rgthree)", model=["4", 0], clip=["4", 1], **loras))
    assert generation.loras == (Lora("a", 0.5, 0.5),) and generation.checkpoint == "sd\\dream.safetensors"


def test_power_lora_loader_without_text_encoder_has_no_clip_strength() -> None:
    entry = {"on": True, "lora": "p", "strength": 0.7, "strengthTwo": 0.2}
    generation = of({"model": ["50", 0]}, n50=node("Power Lora Loader (rgthree)", model=["10", 0], lora_1=entry))
    assert generation.loras == (*PLAIN_LORAS, Lora("p", 0.7, 0.0)) and generation.warnings == ()


def test_lora_manager() -> None:
    entries = [
        {"name": "m", "strength": "0.75", "clipStrength": 0.5, "active": True},
        {"name": "off", "strength": 1, "active": False}, {"name": "n", "strength": -1.5, "active": True},
    ]  # fmt: skip
    loader = node("Lora Loader (LoraManager)", model=["4", 0], clip=["4", 1], text="", loras={"__value__": entries})
    assert with_model(n50=loader).loras == (Lora("m", 0.75, 0.5), Lora("n", -1.5, -1.5))


def test_switched_lora() -> None:
    def loader(switch: str) -> Api:
        return node("CR Load LoRA", model=["4", 0], clip=["4", 1], switch=switch, lora_name="s", strength_model=1,
                    strength_clip=0.5)  # fmt: skip

    assert with_model(n50=loader("On")).loras == (Lora("s", 1.0, 0.5),)
    assert with_model(n50=loader("Off")).loras == ()


def test_applied_stacks_come_in_the_order_of_their_nodes() -> None:
    def stack(name: str, **more: Any) -> Api:
        return node("CR LoRA Stack", switch_1="On", lora_name_1=name, model_weight_1=1, clip_weight_1=1, **more)

    generation = with_model(
        n50=node("CR Apply LoRA Stack", model=["4", 0], clip=["4", 1], lora_stack=["52", 0]),
        n51=stack("first"), n52=stack("second", lora_stack=["51", 0]),
    )  # fmt: skip
    assert [lora.name for lora in generation.loras] == ["first", "second"]


def test_unknown_stack_is_named() -> None:
    generation = with_model(
        n50=node("CR Apply LoRA Stack", model=["4", 0], clip=["4", 1], lora_stack=["51", 0]),
        n51=node("MyStack", lora="x"),
    )
    assert generation.loras == () and any("node 51 (MyStack)" in w for w in generation.warnings)


def test_loras_named_in_a_text() -> None:
    text = "a <lora:dir\\x:0.8:0.3> hill <lora:y:-0.5>"
    graph = patched({"model": ["50", 0], "positive": ["50", 2]}, n50=node(
        "ImpactWildcardEncode", model=["4", 0], clip=["4", 1], wildcard_text="__x__", populated_text=text, mode=True, seed=1
    ))  # fmt: skip
    graph["7"]["inputs"]["clip"] = ["50", 1]
    generation = read(graph)
    assert generation.loras == (Lora("dir\\x", 0.8, 0.3), Lora("y", -0.5, -0.5))
    assert generation.positive == "a  hill " and generation.warnings == ()
    graph["50"] = node("LoraTagLoader", model=["4", 0], clip=["4", 1], text=text)
    graph["51"] = node("CLIPTextEncode", clip=["50", 1], text=["50", 2])
    graph["3"]["inputs"]["positive"] = ["51", 0]
    assert (read(graph).loras, read(graph).positive) == (generation.loras, generation.positive)


def test_power_prompt() -> None:
    prompt = node("Power Prompt (rgthree)", prompt="a hut <lora:z:0.4>", opt_model=["4", 0], opt_clip=["4", 1],
                  insert_lora="CHOOSE")  # fmt: skip
    generation = of({"model": ["50", 1], "positive": ["50", 0]}, n50=prompt)
    assert generation.positive == "a hut " and generation.loras == (Lora("z", 0.4, 0.4),)
    prompt["inputs"]["insert_lora"] = "DISABLE LORAS"
    assert of({"model": ["50", 1], "positive": ["50", 0]}, n50=prompt).loras == ()


def test_negative_weights_and_weight_0() -> None:
    lora = node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="w", strength_model=0, strength_clip=-0.3)
    assert with_model(n50=lora).loras == (Lora("w", 0.0, -0.3),)
    lora["inputs"]["strength_clip"] = 0
    assert with_model(n50=lora).loras == ()


# loaders and samplers of everything


def test_efficiency_nodes() -> None:
    generation = read(efficient())
    assert (generation.positive, generation.negative, generation.checkpoint) == ("a mill", "fog", "dream.safetensors")
    assert (generation.vae, generation.clip_skip, generation.width, generation.height) == (
        "mse.safetensors",
        2,
        512,
        640,
    )
    assert (generation.seed, generation.steps, generation.cfg, generation.scheduler) == (11, 22, 6.5, "karras")
    assert generation.loras == (
        Lora("first.safetensors", 0.9, 0.7), Lora("a.safetensors", 0.5, 0.25), Lora("on.safetensors", -0.5, 0.0),
    )  # fmt: skip
    assert generation.hires == HiRes(steps=12, denoise=0.4, scale=1.5, upscaler="4x-UltraSharp.pth")
    assert generation.warnings == ()
    assert generation.fields["positive"] == "prompt node 1 (Efficient Loader).positive"
    assert generation.fields["hires.steps"] == "prompt node 5 (HighRes-Fix Script).hires_steps"
    assert generation.carried["nodes"] == 6


def test_efficiency_loader_without_extras() -> None:
    generation = read(efficient(vae_name="Baked VAE", clip_skip=-1, lora_name="None", lora_stack=None))
    assert (generation.vae, generation.clip_skip, generation.loras) == (None, None, ())
    assert "checkpoint's own" in generation.fields["vae"]


@pytest.mark.parametrize(("refine_at", "refined"), [(24, True), (-1, False)])
def test_efficiency_nodes_for_sdxl(refine_at: int, refined: bool) -> None:
    generation = read(efficient_sdxl(refine_at))
    assert (generation.positive, generation.negative, generation.seed) == ("a pier", "rain", 21)
    assert (generation.checkpoint, generation.steps, generation.denoise) == ("base.safetensors", 30, 1.0)
    assert (generation.width, generation.clip_skip, generation.hires) == (1024, 2, HiRes())
    assert any("refiner" in w for w in generation.warnings) == refined


def test_basic_pipe() -> None:
    generation = read(basic_pipe())
    assert (generation.positive, generation.negative, generation.seed) == ("a lake", "blurry", 31)
    assert generation.loras == PLAIN_LORAS and generation.warnings == ()


def test_easy_use() -> None:
    generation = read(easy_use())
    assert (generation.positive, generation.negative, generation.seed) == ("a barn", "text", 41)
    assert (generation.checkpoint, generation.clip_skip) == ("easy.safetensors", 2)
    assert (generation.width, generation.height) == (832, 1216)
    assert (generation.steps, generation.cfg, generation.sampler) == (24, 5, "dpmpp_2m")
    assert generation.loras == (Lora("e.safetensors", 0.6, 0.6),) and generation.warnings == ()


@pytest.mark.parametrize(
    ("latent", "size"),
    [
        (node("CR SDXL Aspect Ratio", width=1, height=1, aspect_ratio="3:4 portrait 896x1152", swap_dimensions="Off"),
         (896, 1152)),
        (node("CR SDXL Aspect Ratio", width=1, height=1, aspect_ratio="3:4 portrait 896x1152", swap_dimensions="On"),
         (1152, 896)),
        (node("CR SDXL Aspect Ratio", width=640, height=704, aspect_ratio="custom", swap_dimensions="Off"), (640, 704)),
        (node("SDXLEmptyLatentSizePicker+", resolution="1024x1024 (1.0)", width_override=0, height_override=768),
         (1024, 768)),
        (node("SDXL Empty Latent Image (rgthree)", dimensions=" 832 x 1216  (portrait)", clip_scale=2), (832, 1216)),
        (node("FancyLatent", width=512, height=512, aspect_ratio="16:9"), (None, None)),
    ],
)  # fmt: skip
def test_sizes_of_presets(latent: Api, size: tuple[int, int]) -> None:
    slot = 4 if latent["class_type"].startswith("CR") else 0
    generation = of({"latent_image": ["50", slot]}, n50=latent)
    assert (generation.width, generation.height) == size


def test_size_that_comes_from_a_preset_by_link() -> None:
    generation = of(
        {"latent_image": ["51", 0]},
        n50=node("CR SDXL Aspect Ratio", width=1, height=1, aspect_ratio="1:1 square 1024x1024", swap_dimensions="Off"),
        n51=node("EmptyLatentImage", width=["50", 0], height=["50", 1], batch_size=1),
    )
    assert (generation.width, generation.height) == (1024, 1024)
