"""The pass that made the pixels, and the output that the file is of."""

from __future__ import annotations

from typing import Any

import pytest
from recall_read import read
from recall_samples import node, plain_graph, png

from distillery.nodes.generation import Generation, HiRes, Lora
from distillery.nodes.recall import recall


def two_passes(denoise: float, **second: Any) -> dict[str, Any]:
    graph = plain_graph(n4=node("CheckpointLoaderSimple", ckpt_name="one.safetensors"))
    for key in ("10", "11"):
        del graph[key]
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["4", 1]
    graph["3"]["inputs"]["model"] = ["4", 0]
    graph["20"] = node("LatentUpscaleBy", samples=["3", 0], scale_by=1.5)
    graph["21"] = node("KSampler", **{**graph["3"]["inputs"], "seed": 99, "steps": 12, "denoise": denoise,
                                      "latent_image": ["20", 0], **second})  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["21", 0]
    graph["30"] = node("CheckpointLoaderSimple", ckpt_name="two.safetensors")
    graph["31"] = node("CLIPTextEncode", clip=["4", 1], text="a wolf")
    graph["32"] = node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="l", strength_model=0.5, strength_clip=1)
    return graph


def named(generation: Generation, *texts: str) -> bool:
    return any(all(text in warning for text in texts) for warning in generation.warnings)


def test_passes_that_are_alike_need_no_warning() -> None:
    assert read(two_passes(0.6)).warnings == ()


def test_nothing_is_left_before_a_pass_with_denoise_1() -> None:
    generation = read(two_passes(1.0, positive=["31", 0]))
    assert (generation.positive, generation.seed, generation.steps) == ("a wolf", 99, 12)
    assert (generation.width, generation.height) == (768, 1152)
    assert generation.hires == HiRes()


@pytest.mark.parametrize(("denoise", "taken"), [(0.3, False), (0.49, False), (0.5, True), (0.8, True)])
def test_other_checkpoint_prompt_and_loras_of_a_later_pass(denoise: float, taken: bool) -> None:
    generation = read(two_passes(denoise, model=["30", 0]))
    assert generation.checkpoint == ("two" if taken else "one") + ".safetensors" and generation.positive == "a lake"
    assert named(generation, "one.safetensors", "two.safetensors")
    generation = read(two_passes(denoise, positive=["31", 0]))
    assert generation.positive == ("a wolf" if taken else "a lake") and named(generation, "a lake", "a wolf")
    assert generation.seed == 2**60 + 1 and generation.hires.steps == 12
    generation = read(two_passes(denoise, model=["32", 0]))
    assert generation.loras == ((Lora("l", 0.5, 0.0),) if taken else ()) and named(generation, "l 0.5", "none")


def test_repainting_a_part_does_not_make_the_picture() -> None:
    graph = two_passes(1.0, positive=["31", 0])
    graph["20"] = node("SetLatentNoiseMask", samples=["3", 0], mask=["40", 0])
    graph["40"] = node("LoadImageMask", image="m.png", channel="red")
    generation = read(graph)
    assert (generation.positive, generation.seed) == ("a lake", 2**60 + 1) and named(generation, "a wolf")


def test_tiled_upscale_with_another_checkpoint() -> None:
    graph = plain_graph(n30=node("CheckpointLoaderSimple", ckpt_name="two.safetensors"))
    graph["40"] = node("UltimateSDUpscale", image=["8", 0], model=["30", 0], positive=["6", 0], negative=["7", 0],
                       upscale_by=2, seed=1, steps=20, cfg=7, sampler_name="euler", scheduler="normal", denoise=0.2)  # fmt: skip
    graph["9"]["inputs"]["images"] = ["40", 0]
    generation = read(graph)
    assert generation.checkpoint == "sd\\dream.safetensors" and named(generation, "two.safetensors", "node 40")


def outputs(unknown: bool = False) -> dict[str, Any]:
    """The first and the second pass are saved both."""
    graph = two_passes(0.6)
    graph["50"] = node("VAEDecode", samples=["3", 0], vae=["4", 2])
    graph["51"] = node("SaveImage", images=["50", 0], filename_prefix="first")
    if unknown:
        graph["21"] = node("TwoSamplers", samples=["20", 0], base_sampler=["60", 0])
    return graph


def test_output_is_told_by_the_size_of_the_file() -> None:
    first = recall(png({"prompt": outputs()}, size=(512, 768)))
    assert first.hires == HiRes() and not named(first, "several pictures")
    second = recall(png({"prompt": outputs()}, size=(768, 1152)))
    assert second.hires.steps == 12 and not named(second, "several pictures")


def test_output_that_no_size_tells_is_named() -> None:
    generation = recall(png({"prompt": outputs()}, size=(64, 64)))
    assert generation.hires.steps == 12 and named(generation, "several pictures", "node 51", "node 9")


def test_output_behind_an_unknown_sampler_counts() -> None:
    assert named(read(outputs(unknown=True)), "several pictures")


def test_sizes_behind_scaling_to_a_side() -> None:
    graph = outputs()
    graph["20"] = node("LatentUpscale", samples=["3", 0], width=1024, height=0)
    assert recall(png({"prompt": graph}, size=(1024, 1536))).hires.steps == 12
    assert recall(png({"prompt": graph}, size=(512, 768))).hires == HiRes()


def test_sampler_that_comfyui_lacks_is_named() -> None:
    graph = plain_graph()
    graph["3"]["inputs"].update(sampler_name="res_2m", scheduler="beta57")
    generation = read(graph)
    assert (generation.sampler, generation.scheduler) == ("res_2m", "beta57")
    assert named(generation, "res_2m") and named(generation, "beta57")
