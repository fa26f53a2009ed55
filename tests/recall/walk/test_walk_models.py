"""Models and the HiRes pass."""

from __future__ import annotations

import copy

from recall_graph_samples import custom
from recall_read import (
    PLAIN_LORAS,
    of,
    read,
)
from recall_samples import node, plain_graph

from distillery.nodes.generation import HiRes


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
