"""Prompts behind conditionings."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import pytest
from recall_graph_samples import patched
from recall_read import (
    encoded,
    of,
    read,
)
from recall_samples import node

from distillery.nodes.generation import HiRes
from distillery.nodes.recall.walk.prompts import _SYSTEM_PROMPTS


def test_sdxl_texts_that_are_the_same_are_one() -> None:
    generation = encoded(kind="CLIPTextEncodeSDXL", text_g="a pier", text_l="a pier", width=1024, height=1024)
    assert generation.positive == "a pier" and generation.warnings == ()
    generation = encoded(kind="CLIPTextEncodeSDXL", text_g="a pier", text_l="photo", width=1024, height=1024)
    assert generation.positive == "a pier, photo" and "2 texts" in generation.warnings[0]
    generation = encoded(kind="CLIPTextEncodeSDXL", text_g="a pier", text_l="", width=1024, height=1024)
    assert generation.positive == "a pier" and generation.warnings == ()


@pytest.mark.parametrize("kind", ["ConditioningConcat", "ConditioningAverage"])
def test_added_prompts_come_after_what_they_are_added_to(kind: str) -> None:
    generation = of(
        {"positive": ["50", 0]},
        n50=node(kind, conditioning_from=["51", 0], conditioning_to=["6", 0], conditioning_to_strength=0.5),
        n51=node("CLIPTextEncode", clip=["10", 1], text="at dusk"),
    )
    assert generation.positive == "a lake, at dusk" and "2 texts" in generation.warnings[0]


def test_many_combined_prompts_come_in_their_order() -> None:
    names = {f"conditioning_{i}": [f"6{i}", 0] for i in (10, 9, 1)}
    texts = {f"n6{i}": node("CLIPTextEncode", clip=["10", 1], text=f"t{i}") for i in (10, 9, 1)}
    generation = of({"positive": ["50", 0]}, n50=node("ConditioningMultiCombine", inputcount=10, **names), **texts)
    assert generation.positive == "t1, t9, t10"


@pytest.mark.parametrize("kind", ["ConditioningSetArea", "ConditioningSetMask", "ConditioningSetTimestepRange"])
def test_conditioning_that_is_changed_keeps_its_text_with_a_warning(kind: str) -> None:
    generation = of({"positive": ["50", 0]}, n50=node(kind, conditioning=["6", 0], strength=1.0))
    assert generation.positive == "a lake"
    assert any(f"node 50 ({kind})" in w for w in generation.warnings)


def test_controlnets_in_a_row_keep_the_prompts_apart() -> None:
    apply = {"control_net": ["60", 0], "image": ["61", 0], "strength": 1}
    generation = of(
        {"positive": ["51", 0], "negative": ["51", 1]},
        n50=node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], **apply),
        n51=node("ControlNetApplySD3", positive=["50", 0], negative=["50", 1], **apply),
        n60=node("ControlNetLoader", control_net_name="c"), n61=node("LoadImage", image="x.png"),
    )  # fmt: skip
    assert (generation.positive, generation.negative) == ("a lake", "blurry")
    assert len(generation.warnings) == 2 and all("ControlNet" in w for w in generation.warnings)


def test_controlnet_linked_seed_hires_and_zeroed_negative() -> None:
    controlled = {"positive": ["50", 0], "negative": ["50", 1], "seed": ["60", 0]}
    graph = patched(
        controlled,
        n50=node("ControlNetApplyAdvanced", positive=["6", 0], negative=["51", 0], control_net=["52", 0],
                 image=["53", 0], strength=1, start_percent=0, end_percent=1),
        n51=node("ConditioningZeroOut", conditioning=["6", 0]),
        n52=node("ControlNetLoader", control_net_name="canny"), n53=node("LoadImage", image="x.png"),
        n60=node("Seed (rgthree)", seed=77), n61=node("Seed (rgthree)", seed=78),
        n70=node("LatentUpscale", samples=["3", 0], upscale_method="bilinear", width=768, height=1152, crop="disabled"),
        n8=node("VAEDecode", samples=["71", 0], vae=["4", 2]),
    )  # fmt: skip
    graph["71"] = copy.deepcopy(graph["3"])
    graph["71"]["inputs"].update(latent_image=["70", 0], seed=["61", 0], steps=12, denoise=0.5)
    generation = read(graph)
    assert (generation.positive, generation.negative, generation.seed) == ("a lake", "", 77)
    assert generation.hires == HiRes(steps=12, denoise=0.5, scale=1.5)
    assert len(generation.warnings) == 1 and "ControlNet" in generation.warnings[0]


def test_inpainting_conditioning_passes_each_prompt_in_its_slot() -> None:
    generation = of(
        {"positive": ["50", 0], "negative": ["50", 1], "latent_image": ["50", 2]},
        n50=node("InpaintModelConditioning", positive=["6", 0], negative=["7", 0], vae=["4", 2], pixels=["61", 0],
                 mask=["61", 1], noise_mask=True),
        n61=node("LoadImage", image="x.png"),
    )  # fmt: skip
    assert (generation.positive, generation.negative) == ("a lake", "blurry")
    assert not any("samples in a way" in w for w in generation.warnings)
    assert any("node 50 (InpaintModelConditioning)" in w for w in generation.warnings)


def test_zeroed_positive_is_empty() -> None:
    assert of({"positive": ["50", 0]}, n50=node("ConditioningZeroOut", conditioning=["6", 0])).positive == ""


def test_encoder_that_weighs_words_otherwise_is_named() -> None:
    generation = encoded(kind="BNK_CLIPTextEncodeAdvanced", text="a (lake:1.2)", weight_interpretation="A1111")
    assert generation.positive == "a (lake:1.2)" and "weighs words" in generation.warnings[0]


def test_system_prompts_of_lumina_are_comfyuis_own(comfyui_dir: Path) -> None:
    source = (comfyui_dir / "comfy_extras" / "nodes_lumina2.py").read_text(encoding="utf-8")
    dicts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict)]
    assert _SYSTEM_PROMPTS in [ast.literal_eval(node) for node in dicts if _is_of_texts(node)]


def _is_of_texts(node: ast.Dict) -> bool:
    return all(isinstance(part, ast.Constant) for part in (*node.keys, *node.values))


@pytest.mark.parametrize("kind", ["superior", "alignment"])
def test_what_lumina_puts_before_the_prompt_is_kept(kind: str) -> None:
    generation = encoded(kind="CLIPTextEncodeLumina2", system_prompt=kind, user_prompt="a mill")
    assert generation.positive == f"{_SYSTEM_PROMPTS[kind]} <Prompt Start> a mill" and generation.warnings == ()
