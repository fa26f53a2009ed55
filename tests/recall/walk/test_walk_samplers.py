"""Custom sampling: guiders, samplers, sigmas, noise."""

from __future__ import annotations

import pytest
from recall_graph_samples import Api, custom, flux
from recall_read import (
    read,
)
from recall_samples import node, plain_graph

from distillery.nodes.generation import HiRes, Lora


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
    assert [patch.node for patch in generation.patches] == ["ModelSamplingFlux"] and not generation.warnings
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
        (node("SDTurboScheduler", steps=9, denoise=1.0), "sgm_uniform", "stands in"),
        (node("Flux2Scheduler", steps=9, width=8, height=8), "simple", "stands in"),
        (node("LTXVScheduler", steps=9, max_shift=2.05), "simple", "stands in"),
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


def test_the_middle_conditioning_of_a_dual_guider_is_no_prompt() -> None:
    guider = node("DualCFGGuider", model=["10", 0], cond1=["6", 0], cond2=["50", 0], negative=["7", 0], cfg_conds=5,
                  cfg_cond2_negative=2, style="regular")  # fmt: skip
    extra = node("CLIPTextEncode", clip=["10", 1], text="a boat")
    generation = read(custom(["43", 0], **{"41": guider, "50": extra}))
    assert (generation.positive, generation.negative, generation.cfg) == ("a lake", "blurry", 5)
    assert any("DualCFGGuider" in w for w in generation.warnings)


def test_unknown_guider_is_named() -> None:
    guider = node("FancyGuider", model=["10", 0], positive=["6", 0], negative=["7", 0], cfg=6)
    generation = read(custom(["43", 0], **{"41": guider}))
    assert (generation.positive, generation.cfg) == ("a lake", 6)
    assert any("node 41 (FancyGuider)" in w for w in generation.warnings)


def test_noise_of_an_unknown_node_is_named() -> None:
    generation = read(custom(["43", 0], **{"40": node("FancyNoise", weight=1)}))
    assert generation.seed is None and any("node 40 (FancyNoise)" in w for w in generation.warnings)
