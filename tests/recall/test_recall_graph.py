"""Recalling from ComfyUI's API graphs: every kind of node that the walk knows, and hostile graphs."""

from __future__ import annotations

import copy
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recall_graph_samples import Api, basic_pipe, custom, easy_use, efficient, efficient_sdxl, flux, patched
from recall_samples import node, plain_graph, png

from distillery.nodes.generation import Generation, HiRes, Lora
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.recall.containers.image import read_contents
from distillery.nodes.recall.graph.composites.table import COMPOSITES
from distillery.nodes.recall.graph.load import read_graph
from distillery.nodes.recall.graph.passthrough import PIPES, SWITCHES
from distillery.nodes.recall.graph.ui_widgets import WIDGETS
from distillery.nodes.recall.graph.value_nodes import VALUE_NODES
from distillery.nodes.recall.walk.prompts import ENCODERS
from distillery.nodes.recall.walk.samplers import PLAIN_SAMPLERS, TILED_UPSCALERS

PLAIN_LORAS = (Lora("b.safetensors", 0.5, 0.4), Lora("dir\\a.safetensors", 0.8, 1.0))


def read(graph: object) -> Generation:
    return recall_text({"prompt": json.dumps(graph)})


def of(inputs: dict[str, Any], **nodes: dict[str, Any] | None) -> Generation:
    """The plain graph with other inputs of its sampler."""
    return read(patched(inputs, **nodes))


def with_model(**nodes: dict[str, Any]) -> Generation:
    """The plain graph with its model and clip from node 50, whose clip is slot 1."""
    graph = patched({"model": ["50", 0]}, **nodes)
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["50", 1]
    return read(graph)


def encoded(**encoder: Any) -> Generation:
    """The plain graph with another positive encoder: class_type and inputs."""
    return of({"positive": ["50", 0]}, n50=node(encoder.pop("kind"), clip=["10", 1], **encoder))


# custom sampling


def test_flux() -> None:
    generation = read(flux())
    assert generation.positive == "a fox in the snow" and generation.negative == ""
    assert (generation.seed, generation.steps, generation.cfg, generation.guidance) == (77, 20, 1.0, 3.5)
    assert (generation.sampler, generation.scheduler, generation.denoise) == ("euler", "simple", 1.0)
    assert (generation.checkpoint, generation.vae, generation.family) == (
        "flux1-dev.safetensors",
        "ae.safetensors",
        "flux",
    )
    assert generation.loras == (Lora("dir\\one.safetensors", 0.8, 0.8), Lora("three.safetensors", 0.5, 0.0))
    assert (generation.width, generation.height) == (1024, 768)
    assert generation.carried["text_encoders"] == ["t5xxl_fp16.safetensors", "clip_l.safetensors"]
    (warning,) = generation.warnings
    assert "node 30 (ModelSamplingFlux)" in warning
    assert generation.fields["guidance"] == "prompt node 26 (FluxGuidance).guidance"
    assert "node 20 (Power Lora Loader (rgthree)).lora_3" in generation.fields["loras"]


def test_flux_of_gguf_files_without_loras() -> None:
    graph = flux()
    graph["12"] = node("UnetLoaderGGUF", unet_name="flux1-dev-Q5.gguf")
    graph["11"] = node("DualCLIPLoaderGGUF", clip_name1="t5.gguf", clip_name2="clip_l.safetensors", type="flux")
    graph["20"] = node("Power Lora Loader (rgthree)", model=["12", 0], clip=["11", 0])
    generation = read(graph)
    assert (generation.checkpoint, generation.family, generation.loras) == ("flux1-dev-Q5.gguf", "flux", ())
    assert "loras" in generation.fields


def test_flux_text_encoder_with_two_texts_and_guidance() -> None:
    graph = flux()
    graph["6"] = node("CLIPTextEncodeFlux", clip=["20", 1], clip_l="a fox", t5xxl="a fox", guidance=2.0)
    graph["22"]["inputs"]["conditioning"] = ["6", 0]
    assert (read(graph).positive, read(graph).guidance) == ("a fox", 2.0)
    graph["6"]["inputs"]["t5xxl"] = "a fox in a wide field"
    generation = read(graph)
    assert generation.positive == "a fox, a fox in a wide field" and any("2 texts" in w for w in generation.warnings)
    graph["22"]["inputs"]["conditioning"] = ["26", 0]
    assert read(graph).guidance == 3.5  # what comes later overrides it


def test_sd3_by_its_three_text_encoders() -> None:
    graph = plain_graph(
        n60=node("TripleCLIPLoader", clip_name1="l", clip_name2="g", clip_name3="t5"),
        n6=node("CLIPTextEncodeSD3", clip=["60", 0], clip_l="a lake", clip_g="a lake", t5xxl="", empty_padding="none"),
    )
    graph["7"]["inputs"]["clip"] = ["60", 0]
    generation = read(graph)
    assert (generation.positive, generation.family) == ("a lake", "sd3")
    assert any("node 60 (TripleCLIPLoader)" in w and "not kept" in w for w in generation.warnings)


def test_sampler_custom() -> None:
    generation = read(plain_graph(
        n3=node("SamplerCustom", model=["10", 0], add_noise=True, noise_seed=9, cfg=3, positive=["6", 0],
                negative=["7", 0], sampler=["20", 0], sigmas=["21", 0], latent_image=["5", 0]),
        n20=node("SamplerDPMPP_2M_SDE", solver_type="heun", eta=1.0, s_noise=1.0, noise_device="gpu"),
        n21=node("KarrasScheduler", steps=14, sigma_max=14.6, sigma_min=0.03, rho=7),
    ))  # fmt: skip
    assert (generation.seed, generation.cfg, generation.steps) == (9, 3, 14)
    assert (generation.sampler, generation.scheduler) == ("dpmpp_2m_sde_heun", "karras")
    assert generation.negative == "blurry" and generation.warnings == ()


@pytest.mark.parametrize(
    ("sampler", "name"),
    [
        (node("SamplerEulerAncestral", eta=1.0, s_noise=1.0), "euler_ancestral"),
        (node("SamplerDPMPP_SDE", eta=1.0, s_noise=1.0, r=0.5, noise_device="gpu"), "dpmpp_sde_gpu"),
        (node("SamplerDPMPP_3M_SDE", eta=1.0, s_noise=1.0, noise_device="cpu"), "dpmpp_3m_sde"),
        (node("SamplerLMS", order=4), "lms"),
        (node("SamplerMystery"), None),
    ],
)
def test_sampler_nodes(sampler: Api, name: str | None) -> None:
    generation = read(custom(["43", 0], **{"42": sampler}))
    assert generation.sampler == name
    assert bool(generation.warnings) == (name is None)


def test_sampler_settings_that_are_not_kept_are_named() -> None:
    generation = read(custom(["43", 0], **{"42": node("SamplerEulerAncestral", eta=0.4, s_noise=1.0)}))
    assert generation.sampler == "euler_ancestral" and "eta 0.4" in generation.warnings[0]


@pytest.mark.parametrize(
    ("schedule", "name", "says"),
    [
        (node("ExponentialScheduler", steps=9), "exponential", ""),
        (node("BetaSamplingScheduler", steps=9, alpha=0.6, beta=0.6), "beta", ""),
        (node("AlignYourStepsScheduler", model_type="SD1", steps=9, denoise=1.0), "karras", "stands in"),
        (node("PolyexponentialScheduler", steps=9), "exponential", "stands in"),
        (node("SDTurboScheduler", steps=9, denoise=1.0), None, "scheduler is not recalled"),
        (node("GITSScheduler", coeff=1.2, steps=9, denoise=1.0), None, "scheduler is not recalled"),
    ],
)
def test_scheduler_nodes(schedule: Api, name: str | None, says: str) -> None:
    generation = read(custom(["43", 0], **{"43": schedule}))
    assert (generation.scheduler, generation.steps, generation.denoise) == (name, 9, 1.0)
    assert [says in w for w in generation.warnings] == ([True] if says else [])


def test_sigmas_of_an_unknown_node_are_not_guessed() -> None:
    generation = read(custom(["43", 0], **{"43": node("ManualSigmas", sigmas="1, 0.5, 0")}))
    assert generation.steps is None and generation.scheduler is None and generation.sampler == "dpmpp_2m"
    assert any("node 43 (ManualSigmas)" in w for w in generation.warnings)


def test_split_sigmas_give_the_tail_of_a_schedule() -> None:
    graph = custom(["44", 1], **{"44": node("SplitSigmas", sigmas=["43", 0], step=12)})
    generation = read(graph)
    assert (generation.steps, generation.denoise) == (18, 0.6)
    graph["44"] = node("SplitSigmasDenoise", sigmas=["43", 0], denoise=0.6)
    assert (read(graph).steps, read(graph).denoise) == (18, 0.6)


def test_split_sigmas_with_a_second_sampler_for_the_rest() -> None:
    graph = custom(["44", 0], **{
        "44": node("SplitSigmas", sigmas=["43", 0], step=12),
        "45": node("SamplerCustomAdvanced", noise=["46", 0], guider=["47", 0], sampler=["42", 0], sigmas=["44", 1],
                   latent_image=["3", 0]),
        "46": node("DisableNoise"),
        "47": node("CFGGuider", model=["48", 0], positive=["6", 0], negative=["7", 0], cfg=2),
        "48": node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
    })  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["45", 0]
    generation = read(graph)
    assert (generation.steps, generation.denoise, generation.seed, generation.cfg) == (30, 1.0, 5, 4.5)
    assert generation.hires == HiRes() and generation.checkpoint == "sd\\dream.safetensors"
    assert any("node 45 (SamplerCustomAdvanced) ran the last steps" in w for w in generation.warnings)


def test_only_the_first_half_of_split_sigmas() -> None:
    graph = custom(["44", 0], **{"44": node("SplitSigmas", sigmas=["43", 0], step=12)})
    assert read(graph).steps == 12


def test_denoise_of_a_basic_scheduler() -> None:
    schedule = node("BasicScheduler", model=["10", 0], scheduler="simple", steps=["50", 0], denoise=0.55)
    graph = custom(["43", 0], **{"43": schedule, "50": node("INTConstant", value=17)})
    assert (read(graph).steps, read(graph).denoise, read(graph).scheduler) == (17, 0.55, "simple")


def test_dual_guider_joins_its_prompts() -> None:
    guider = node("DualCFGGuider", model=["10", 0], cond1=["6", 0], cond2=["50", 0], negative=["7", 0], cfg_conds=5,
                  cfg_cond2_negative=2, style="regular")  # fmt: skip
    extra = node("CLIPTextEncode", clip=["10", 1], text="a boat")
    generation = read(custom(["43", 0], **{"41": guider, "50": extra}))
    assert (generation.positive, generation.negative, generation.cfg) == ("a lake, a boat", "blurry", 5)
    assert any("DualCFGGuider" in w for w in generation.warnings)


def test_unknown_guider_is_named() -> None:
    guider = node("FancyGuider", model=["10", 0], positive=["6", 0], negative=["7", 0], cfg=6)
    generation = read(custom(["43", 0], **{"41": guider}))
    assert (generation.positive, generation.cfg) == ("a lake", 6)
    assert any("node 41 (FancyGuider)" in w for w in generation.warnings)


def test_noise_of_an_unknown_node_is_named() -> None:
    generation = read(custom(["43", 0], **{"40": node("FancyNoise", weight=1)}))
    assert generation.seed is None and any("node 40 (FancyNoise)" in w for w in generation.warnings)


# prompts


def test_sdxl_texts_that_are_the_same_are_one() -> None:
    generation = encoded(kind="CLIPTextEncodeSDXL", text_g="a pier", text_l="a pier", width=1024, height=1024)
    assert generation.positive == "a pier" and generation.warnings == ()
    generation = encoded(kind="CLIPTextEncodeSDXL", text_g="a pier", text_l="photo", width=1024, height=1024)
    assert generation.positive == "a pier, photo" and "2 texts" in generation.warnings[0]
    generation = encoded(kind="CLIPTextEncodeSDXL", text_g="a pier", text_l="", width=1024, height=1024)
    assert generation.positive == "a pier" and generation.warnings == ()


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (node("StringConcatenate", string_a="a", string_b="b", delimiter=" / "), "a / b"),
        (node("StringReplace", string="a red hat", find="red", replace="blue"), "a blue hat"),
        (node("CaseConverter", string="A Hat", mode="lowercase"), "a hat"),
        (node("StringTrim", string="  a hat ", mode="Both"), "a hat"),
        (node("StringFunction|pysssss", action="append", tidy_tags="yes", text_a="a", text_b="", text_c="c"), "a, c"),
        (node("StringFunction|pysssss", action="append", tidy_tags="no", text_a="a ,,b", text_b="c"), "a ,,bc"),
        (node("StringFunction|pysssss", action="append", tidy_tags="yes", text_a="a ,,b"), "a,b"),
        (node("StringFunction|pysssss", action="replace", tidy_tags="no", text_a="x hat", text_b="x", text_c="y"), "y hat"),
        (node("JoinStrings", string1="a", string2="b", delimiter=", "), "a, b"),
        (node("JoinStringMulti", inputcount=3, string_1="a", string_2="", string_3="c", delimiter="-"), "a-c"),
        (node("Text Concatenate", text_a=" a ", text_b="b", delimiter=", ", clean_whitespace="true"), "a, b"),
        (node("Text Concatenate", text_a="a", text_d="d", delimiter="\\n", clean_whitespace="false"), "a\nd"),
        (node("CR Text Concatenate", text1="a", text2="b", separator=" "), "a b"),
        (node("CR Combine Prompt", part1="a", part2="b", part3="", part4="", separator=","), "a,b,,"),
        (node("CR Text Replace", text="cat", find1="c", replace1="b", find2="", replace2=""), "bat"),
        (node("easy promptConcat", prompt1="a", prompt2="b", separator="+"), "a+b"),
        (node("ImpactWildcardProcessor", wildcard_text="{a|b}", populated_text="b", mode=True, seed=1), "b"),
        (node("ShowText|pysssss", text=["51", 0], text_0="of an earlier run"), "linked"),
        (node("PreviewAny", source=["51", 0]), "linked"),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_texts_that_are_put_together(texts: Api, joined: str) -> None:
    graph = plain_graph(n50=texts, n51=node("PrimitiveString", value="linked"))
    graph["6"]["inputs"]["text"] = ["50", 0]
    generation = read(graph)
    assert generation.positive == joined and generation.warnings == ()


def test_one_unknown_part_leaves_a_joined_text_untold() -> None:
    graph = plain_graph(
        n50=node("StringConcatenate", string_a=["51", 0], string_b="b", delimiter=", "), n51=node("Oracle", topic="x")
    )
    graph["6"]["inputs"]["text"] = ["50", 0]
    generation = read(graph)
    assert generation.positive is None and any("node 51 (Oracle)" in w for w in generation.warnings)


def test_a_regular_expression_of_a_stranger_is_not_run() -> None:
    replacing = node("StringFunction|pysssss", action="replace", tidy_tags="no", text_a="a" * 60 + "!",
                     text_b="/(a+)+$/", text_c="b")  # fmt: skip
    graph = plain_graph(n50=replacing)
    graph["6"]["inputs"]["text"] = ["50", 0]
    assert read(graph).positive is None


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


# LoRAs


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


# passing on


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        (node("Any Switch (rgthree)", any_01=["gone", 0], any_02=["60", 0], any_03=["61", 0]), 60),
        (node("ImpactSwitch", select=2, input1=["60", 0], input2=["61", 0], sel_mode=False), 61),
        (node("ImpactSwitch", select=["62", 0], input1=["60", 0], input2=["61", 0]), 61),
        (node("LatentSwitch", select=1, latent1=["60", 0], latent2=["61", 0]), 60),
        (node("LatentSwitch", select=2, input1=["60", 0], input2=["61", 0]), 61),
        (node("CR Text Input Switch", Input=1, text1=["60", 0], text2=["61", 0]), 60),
        (node("ComfySwitchNode", switch=True, on_false=["60", 0], on_true=["61", 0]), 61),
        (node("ComfySwitchNode", switch=False, on_false=5, on_true=["61", 0]), 5),
        (node("Latent Input Switch", boolean=False, latent_a=["60", 0], latent_b=["61", 0]), 61),
        (node("easy anythingIndexSwitch", index=0, value0=["60", 0], value1=["61", 0]), 60),
        (node("ReroutePrimitive|pysssss", value=["61", 0]), 61),
        (node("Reroute (rgthree)", **{"": ["60", 0]}), 60),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_switches_pass_on_what_is_chosen(switch: Api, value: int) -> None:
    generation = of(
        {"seed": ["50", 0]}, n50=switch, n60=node("PrimitiveInt", value=60), n61=node("PrimitiveInt", value=61),
        n62=node("INTConstant", value=2),
    )  # fmt: skip
    assert generation.seed == value and generation.warnings == ()


@pytest.mark.parametrize("select", [3, -1, "x", None, ["50", 0], ["gone", 0]])
def test_a_switch_that_chooses_nothing_is_a_warning(select: object) -> None:
    switch = node("ImpactSwitch", select=select, input1=["60", 0], input2=["60", 0])
    generation = of({"seed": ["50", 0]}, n50=switch, n60=node("PrimitiveInt", value=60))
    assert generation.seed is None and any("seed" in w for w in generation.warnings)


def context(kind: str, **inputs: Any) -> Api:
    return node(f"Context{kind} (rgthree)", **inputs)


def test_contexts() -> None:
    generation = of(
        {"model": ["53", 1], "positive": ["53", 4], "negative": ["53", 5], "seed": ["53", 8], "steps": ["54", 9]},
        n50=context("", model=["10", 0], positive=["6", 0], seed=["60", 0]),
        n51=context(" Big", base_ctx=["50", 0], negative=["7", 0], steps=["61", 0]),
        n52=context(" Switch", ctx_01=["gone", 0], ctx_02=["51", 0]),
        n53=context("", base_ctx=["51", 0]), n54=context(" Switch Big", ctx_05=["51", 0]),
        n60=node("PrimitiveInt", value=60), n61=node("PrimitiveInt", value=17),
    )  # fmt: skip
    assert (generation.positive, generation.negative) == ("a lake", "blurry")
    assert (generation.seed, generation.steps) == (60, 17) and generation.loras == PLAIN_LORAS


def test_merged_contexts_override_the_earlier_ones() -> None:
    generation = of(
        {"seed": ["53", 8], "positive": ["53", 4]},
        n50=context("", seed=["60", 0], positive=["6", 0]), n51=context("", seed=["61", 0]),
        n53=context(" Merge", ctx_01=["50", 0], ctx_02=["51", 0]),
        n60=node("PrimitiveInt", value=60), n61=node("PrimitiveInt", value=61),
    )  # fmt: skip
    assert (generation.seed, generation.positive) == (61, "a lake")


def test_latent_through_a_context_keeps_the_size() -> None:
    assert of({"latent_image": ["50", 6]}, n50=context("", latent=["5", 0])).width == 512


# numbers


@pytest.mark.parametrize(
    ("computing", "slot", "value"),
    [
        (node("MathExpression|pysssss", expression="a * 2 + 1", a=["60", 0]), 0, 21),
        (node("MathExpression|pysssss", expression="a / 3", a=["60", 0]), 1, 10 / 3),
        (node("ComfyMathExpression", expression="a + b", **{"values.a": ["60", 0], "values.b": 2}), 1, 12),
        (node("SimpleMath+", value="max(a, b) - c", a=["60", 0], b=3, c=1), 0, 9),
        (node("CR Integer Multiple", integer=["60", 0], multiple=1.5), 0, 15),
        (node("CR Clamp Value", a=["60", 0], range_min=1, range_max=8), 0, 8),
        (node("Number Operation", number_a=["60", 0], number_b=["60", 0], operation="multiplication"), 2, 100),
        (node("easy mathInt", a=["60", 0], b=3, operation="divide"), 0, 3),
        (node("CR Value", value=10.7), 1, 10),
        (node("ComfyNumberConvert", value="12.6"), 1, 12),
        (node("Evaluate Integers", python_expression="a*b", a=["60", 0], b=2), 0, 20),
        (node("CM_FloatToInt", a=9.9), 0, 9),
        (node("CR String To Number", text="13.5"), 0, 13),
        (node("CR String To Number", text="13.2", round_integer="round up"), 0, 14),
        (node("CR String To Number", text="13.9", round_integer="round down"), 0, 13),
        (node("CR String To Number", text="13.9", round_integer="round"), 0, 14),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_computed_numbers(computing: Api, slot: int, value: float) -> None:
    nodes = {"n50": computing, "n60": node("PrimitiveInt", value=10)}
    assert of({"cfg": ["50", slot]}, **nodes).cfg == pytest.approx(value)


def test_every_value_node_takes_whatever_comes() -> None:
    strange = [None, True, -1, 1e308, float("nan"), "", "x", "9" * 50, [], {}, ["50", 0], {"content": 3}]
    for kind, rule in VALUE_NODES.items():
        for value in strange:
            inputs = dict.fromkeys(
                (name.rstrip("*") + ("1" if name.endswith("*") else "") for name in rule.names), value
            )
            graph = read_graph(
                {"50": node(kind, **inputs), "1": node("X", **{str(s): ["50", s] for s in range(-1, 6)})}
            )
            assert graph is not None
            for slot in range(-1, 6):
                assert isinstance(graph.value(graph.nodes["1"], str(slot)), str | int | float | None)


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


# models


def test_merged_models_keep_the_first_with_a_warning() -> None:
    generation = of(
        {"model": ["50", 0]}, n50=node("ModelMergeSimple", model1=["10", 0], model2=["51", 0], ratio=0.5),
        n51=node("CheckpointLoaderSimple", ckpt_name="other.safetensors"),
    )  # fmt: skip
    assert generation.checkpoint == "sd\\dream.safetensors" and any(
        "ModelMergeSimple" in w for w in generation.warnings
    )


def test_ip_adapter_is_named() -> None:
    adapter = node("IPAdapterAdvanced", model=["10", 0], ipadapter=["51", 0], image=["52", 0], weight=1.0)
    generation = of({"model": ["50", 0]}, n50=adapter)
    assert generation.loras == PLAIN_LORAS and any("node 50 (IPAdapterAdvanced)" in w for w in generation.warnings)


def test_ultimate_upscale_of_a_custom_sampler() -> None:
    graph = custom(["43", 0], **{
        "60": node("UltimateSDUpscaleCustomSample", image=["8", 0], model=["4", 0], positive=["6", 0], negative=["7", 0],
                   vae=["4", 2], upscale_by=1.5, seed=1, steps=10, cfg=6, sampler_name="euler", scheduler="normal",
                   denoise=0.2, tile_width=512, tile_height=640),
    })  # fmt: skip
    graph["9"]["inputs"]["images"] = ["60", 0]
    generation = read(graph)
    assert (
        generation.hires == HiRes(10, 0.2, 640, 1.5, None) and generation.seed == 5 and generation.loras == PLAIN_LORAS
    )


def test_hires_pass_by_a_custom_sampler() -> None:
    graph = custom(["43", 0], **{
        "60": node("LatentUpscaleBy", samples=["3", 0], upscale_method="bilinear", scale_by=1.5),
        "61": node("SamplerCustomAdvanced", noise=["40", 0], guider=["41", 0], sampler=["42", 0], sigmas=["62", 0],
                   latent_image=["60", 0]),
        "62": node("BasicScheduler", model=["10", 0], scheduler="karras", steps=12, denoise=0.45),
    })  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["61", 0]
    generation = read(graph)
    assert generation.hires == HiRes(steps=12, denoise=0.45, scale=1.5)
    assert (generation.steps, generation.denoise) == (30, 1.0)


def test_scale_after_an_upscale_model_is_not_the_whole_enlargement() -> None:
    graph = plain_graph(
        n60=node("UpscaleModelLoader", model_name="4x.pth"),
        n61=node("ImageUpscaleWithModel", upscale_model=["60", 0], image=["8", 0]),
        n62=node("ImageScaleBy", image=["61", 0], upscale_method="area", scale_by=0.5),
        n63=node("VAEEncode", pixels=["62", 0], vae=["4", 2]),
    )
    graph["64"] = copy.deepcopy(graph["3"])
    graph["64"]["inputs"].update(latent_image=["63", 0], denoise=0.4, steps=10)
    graph |= {"65": node("VAEDecode", samples=["64", 0], vae=["4", 2]), "9": node("SaveImage", images=["65", 0])}
    assert read(graph).hires == HiRes(steps=10, denoise=0.4, upscaler="4x.pth")


# the same in other places


def test_png_and_workflow_beside_the_prompt() -> None:
    generation = recall(png({"prompt": plain_graph(), "workflow": {"nodes": [], "links": []}}))
    assert generation == replace(read(plain_graph()), carried=generation.carried)


def test_old_distillery_graphs_read_the_same_without_their_inputs(shared: Path) -> None:
    texts = read_contents(shared / "images" / "old_img2img.png").texts
    data = json.loads(texts["prompt"])
    plain = read(data["comfy_api"])
    assert (plain.seed, plain.steps, plain.denoise, plain.hires.denoise) == (125, 30, 0.65, 0.4)
    assert plain.origin == "comfyui" and plain.loras == ()


# hostile graphs


@pytest.mark.parametrize(
    "kind", ["Any Switch (rgthree)", "ImpactSwitch", "Context Merge (rgthree)", "ToBasicPipe", "Power Lora Loader (rgthree)",
             "Efficient Loader", "KSampler (Efficient)", "KSampler SDXL (Eff.)", "easy kSampler", "CR Apply LoRA Stack",
             "LoRA Stacker", "SplitSigmas", "SamplerCustomAdvanced", "ConditioningCombine", "LoraTagLoader"]
)  # fmt: skip
def test_nodes_that_feed_themselves(kind: str) -> None:
    names = ("model", "clip", "positive", "negative", "latent_image", "script", "sdxl_tuple", "lora_stack", "select",
             "input1", "any_01", "ctx_01", "basic_pipe", "sigmas", "guider", "noise", "sampler", "conditioning_1", "text",
             "pipe", "cnet_stack", "ckpt_name", "vae_name", "lora_name", "steps", "seed", "vae")  # fmt: skip
    graph = plain_graph(n50=node(kind, **{name: ["50", 0] for name in names}))
    for socket in ("model", "positive", "latent_image", "seed"):
        graph["3"]["inputs"][socket] = ["50", 0]
    assert isinstance(read(graph), Generation)


def test_texts_that_double_at_every_node_end() -> None:
    joins = {f"n{i}": node("StringConcatenate", string_a=[f"n{i + 1}", 0], string_b=[f"n{i + 1}", 0], delimiter="")
             for i in range(80)}  # fmt: skip
    graph = plain_graph() | joins | {"n80": node("PrimitiveString", value="x" * 100)}
    graph["6"]["inputs"]["text"] = ["n0", 0]
    start = time.monotonic()
    assert read(graph).positive is None
    assert time.monotonic() - start < 5


def test_replacements_that_explode_end() -> None:
    graph = plain_graph(n50=node("StringReplace", string="a" * 100_000, find="a", replace="a" * 100_000))
    graph["6"]["inputs"]["text"] = ["50", 0]
    assert read(graph).positive is None


def test_switches_in_a_long_row_that_choose_each_other_end() -> None:
    rows = {f"s{i}": node("ImpactSwitch", select=[f"s{i + 1}", 0], input1=["60", 0]) for i in range(3000)}
    generation = of({"seed": ["s0", 0]}, n60=node("PrimitiveInt", value=1), **{f"n{k}": v for k, v in rows.items()})
    assert generation.seed is None or generation.seed == 1
    assert generation.sampler == "dpmpp_2m"


@pytest.mark.timeout(60)
def test_ten_thousand_nodes_of_every_kind() -> None:
    kinds = ["LoraLoader", "Power Lora Loader (rgthree)", "Context Merge (rgthree)", "ConditioningCombine", "SplitSigmas",
             "KSampler (Efficient)", "Efficient Loader", "ImpactSwitch", "StringConcatenate", "SamplerCustomAdvanced",
             "CR Apply LoRA Stack", "CR LoRA Stack", "Reroute", "SaveImage"]  # fmt: skip
    names = ("model", "clip", "positive", "negative", "latent_image", "images", "lora_stack", "sigmas", "guider", "script",
             "conditioning_1", "conditioning_2", "ctx_01", "ctx_02", "ctx_03", "string_a", "string_b")  # fmt: skip
    entry = {"on": True, "lora": "x", "strength": 1}
    many = {f"lora_{i}": entry for i in range(20)} | {f"lora_name_{i}": "x" for i in range(10)}
    graph = {
        str(i): node(kinds[i % len(kinds)], **many, **{f"switch_{n}": "On" for n in range(10)},
                     **{name: [str((i * 7 + j * 13 + 1) % 10_000), j % 4] for j, name in enumerate(names)})
        for i in range(10_000)
    }  # fmt: skip
    assert isinstance(recall_text({"prompt": json.dumps(graph)}), Generation)


def test_parts_of_nodes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.nodes.recall.graph.composites.table.MAX_ADDED_NODES", 1)
    assert any("not read to its end" in w for w in read(efficient()).warnings)


def test_parts_never_take_the_name_of_a_node() -> None:
    graph = efficient()
    graph["1/1"] = node("CheckpointLoaderSimple", ckpt_name="impostor.safetensors")
    assert read(graph).checkpoint == "dream.safetensors"


def test_nan_in_lists_of_loras() -> None:
    text = json.dumps(flux()).replace("0.8", "NaN")
    generation = recall_text({"prompt": text})
    assert generation.loras == (Lora("three.safetensors", 0.5, 0.0),)
    assert any("one.safetensors" in w for w in generation.warnings)


strange_values = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(), st.text(max_size=5), st.just({}), st.just([]),
    st.dictionaries(st.sampled_from(["on", "lora", "strength", "__value__", "content"]), st.integers() | st.text(max_size=3)),
    st.tuples(st.sampled_from(["1", "2", "3", "4", "5", "6", "13", "20", "50"]), st.integers(-1, 9)).map(list),
)  # fmt: skip
SAMPLES = {
    "flux": flux(),
    "efficient": efficient(),
    "sdxl": efficient_sdxl(20),
    "pipe": basic_pipe(),
    "easy": easy_use(),
}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_graphs_raise_nothing(data: st.DataObject) -> None:
    graph = copy.deepcopy(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(data.draw(st.integers(1, 6))):
        node_id = data.draw(st.sampled_from(sorted(graph)))
        inputs = graph[node_id]["inputs"]
        if inputs:
            inputs[data.draw(st.sampled_from(sorted(inputs)))] = data.draw(strange_values)
    assert isinstance(read(graph), Generation)


KINDS = sorted({*COMPOSITES, *PIPES, *SWITCHES, *VALUE_NODES, *ENCODERS, *PLAIN_SAMPLERS, *TILED_UPSCALERS, *WIDGETS,
                "Reroute", "VAEDecode", "SaveImage", "ControlNetApplyAdvanced", "ConditioningCombine"})  # fmt: skip
NAMES = sorted({
    *(name for rule in VALUE_NODES.values() for name in rule.names), *(name for names in WIDGETS.values() for name in names),
    *["model", "clip", "positive", "negative", "latent_image", "images", "samples", "vae", "conditioning", "conditioning_1", "sigmas", "noise", "guider"],
    *["sampler", "lora_stack", "script", "pipe", "basic_pipe", "sdxl_tuple", "ctx_01", "ctx_02", "base_ctx", "any_01", "input1", "select", "image"],
    *["loras", "lora_1", "upscale_model", "self", "class_type", "names"],
})  # fmt: skip
NONSENSE: list[Any] = [
    1, 0, -1, 2.5, "x", "On", True, None, {}, [], {"on": True, "lora": "a", "strength": 1}, 1e300, 2**65, float("nan"),
    {"__value__": [{"name": "q", "active": True, "strength": "1"}]}, "<lora:a:1>", "1024x512", "simple",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(150))
def test_nodes_that_are_linked_at_random_raise_nothing(seed: int) -> None:
    chance = random.Random(seed)
    count = 60

    def value() -> Any:
        linked = chance.random() < 0.6
        return [str(chance.randrange(count)), chance.randrange(8)] if linked else chance.choice(NONSENSE)

    graph = {
        str(i): {"class_type": chance.choice(KINDS), "inputs": {chance.choice(NAMES): value() for _ in range(25)}}
        for i in range(count)
    }
    assert isinstance(read(graph), Generation)
