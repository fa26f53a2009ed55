"""Samplers that are set up elsewhere, sample parts, turn a picture back into noise, or are stages of one."""

from __future__ import annotations

from typing import Any

import pytest
from recall_graph_samples import SEED
from recall_read import read
from recall_samples import node, plain_graph, png

from distillery.nodes.generation import Generation, HiRes, Lora
from distillery.nodes.recall import recall

BASE = {"seed": 5, "steps": 21, "cfg": 4.5, "sampler_name": "euler", "scheduler": "simple"}
PIPE = {"n60": node("ToBasicPipe", model=["10", 0], clip=["10", 1], vae=["4", 2], positive=["6", 0], negative=["7", 0])}


def named(generation: Generation, *texts: str) -> bool:
    return any(all(text in warning for text in texts) for warning in generation.warnings)


def settings(generation: Generation) -> tuple[Any, ...]:
    return generation.seed, generation.steps, generation.cfg, generation.sampler, generation.scheduler


# parts of a picture


def detailed(kind: str, **inputs: Any) -> Generation:
    """A loaded picture, of which a node samples parts."""
    inputs = {"image": ["61", 0], **BASE, "denoise": 0.4, **inputs}
    return read(
        plain_graph(**PIPE, n3=None, n5=None, n8=None, n61=node("LoadImage", image="x.png"), n62=node(kind, **inputs),
                    n9=node("SaveImage", images=["62", 0]))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("FaceDetailer", {"model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0]}),
        ("DetailerForEachPipe", {"basic_pipe": ["60", 0]}),
    ],
)
def test_what_a_loaded_picture_was_repainted_with_is_read(kind: str, inputs: dict[str, Any]) -> None:
    generation = detailed(kind, **inputs)
    assert settings(generation) == (5, 21, 4.5, "euler", "simple")
    assert (generation.positive, generation.negative) == ("a lake", "blurry")
    assert generation.checkpoint == "sd\\dream.safetensors" and len(generation.loras) == 2
    assert generation.denoise is None and generation.hires == HiRes()
    assert named(generation, "no first pass", f"node 62 ({kind})", "repainted parts")


def test_detailer_behind_a_node_that_pastes_its_parts() -> None:
    graph = plain_graph(
        **PIPE, n3=None, n5=None, n8=None, n61=node("LoadImage", image="x.png"),
        n62=node("SEGSDetailer", image=["61", 0], segs=["70", 0], basic_pipe=["60", 0], **BASE),
        n63=node("SEGSPaste", image=["61", 0], segs=["62", 0]), n9=node("SaveImage", images=["63", 0]),
    )  # fmt: skip
    assert settings(read(graph)) == (5, 21, 4.5, "euler", "simple")


def test_graph_with_neither_sampler_nor_detailer_gives_nothing() -> None:
    graph = plain_graph(n3=None, n5=None, n8=None, n61=node("LoadImage", image="x.png"))
    graph["9"] = node("SaveImage", images=["61", 0])
    assert read(graph).origin == "none"


# set up by another node


def test_sampler_for_a_mask_takes_its_settings_from_providers() -> None:
    graph = plain_graph(
        **PIPE, n70=node("KSamplerProvider", **BASE, denoise=1.0, basic_pipe=["60", 0]),
        n71=node("KSamplerProvider", **{**BASE, "seed": 6, "cfg": 50.0}, denoise=1.0, basic_pipe=["60", 0]),
        n3=node("TwoSamplersForMask", latent_image=["5", 0], base_sampler=["70", 0], mask_sampler=["71", 0],
                mask=["99", 1]),
    )  # fmt: skip
    generation = read(graph)
    assert settings(generation) == (5, 21, 4.5, "euler", "simple") and generation.positive == "a lake"
    assert (generation.width, generation.denoise) == (512, 1.0)
    assert named(generation, "node 70 (KSamplerProvider)") and named(generation, "node 3 (TwoSamplersForMask)")


def test_what_the_provider_lacks_is_at_the_sampler() -> None:
    graph = plain_graph(
        **PIPE,
        n70=node("KSamplerAdvancedProvider", cfg=4.5, sampler_name="euler", scheduler="simple", basic_pipe=["60", 0]),
        n3=node("RegionalSampler", samples=["5", 0], base_sampler=["70", 0], seed=5, steps=21, denoise=1.0),
    )
    assert settings(read(graph)) == (5, 21, 4.5, "euler", "simple")


def enlarged(**upscaler: Any) -> dict[str, Any]:
    """The plain graph, whose latent is enlarged in rounds behind it."""
    return plain_graph(
        **PIPE, n70=node("PixelKSampleUpscalerProviderPipe", **BASE, denoise=0.4, basic_pipe=["60", 0]),
        n71=node("IterativeLatentUpscale", samples=["3", 0], upscaler=["70", 0], steps=3, upscale_factor=2.0),
        n72=node("VAEDecode", samples=["71", 0], vae=["4", 2]), n73=node("PreviewImage", images=["72", 0]), **upscaler,
    )  # fmt: skip


def test_enlargement_in_rounds_is_the_hires_pass() -> None:
    graph = enlarged(n9=None)
    generation = read(graph)
    assert (generation.seed, generation.width) == (SEED, 512)
    assert generation.hires == HiRes(steps=21, denoise=0.4, scale=2.0)


@pytest.mark.parametrize(("size", "passes"), [((512, 768), 1), ((1024, 1536), 2), ((80, 80), 1)])
def test_preview_that_has_the_size_of_the_file_goes_before_what_is_saved(size: tuple[int, int], passes: int) -> None:
    generation = recall(png({"prompt": enlarged()}, size))
    assert (generation.hires.steps is not None) == (passes == 2)


def test_sampler_that_shows_its_picture_by_itself_beside_a_preview_of_a_mask() -> None:
    graph = plain_graph(n9=node("PreviewImage", images=["61", 0]), n61=node("LoadImage", image="x.png"))
    assert read(graph).seed == SEED


# noise and stages


def test_turning_a_picture_into_noise_is_no_pass() -> None:
    own = {"model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], **BASE, "denoise": 1.0}
    graph = plain_graph(
        n50=node("AnySampler_Beta", **{**own, "cfg": 1.0}, sampler_mode="unsample", latent_image=["51", 0]),
        n51=node("VAEEncode", pixels=["52", 0], vae=["4", 2]), n52=node("LoadImage", image="x.png"),
        n3=node("AnySampler_Beta", **own, sampler_mode="resample", latent_image=["50", 0]),
    )  # fmt: skip
    assert settings(read(graph)) == (5, 21, 4.5, "euler", "simple")
    # One that goes on with what the node before it had.
    graph["3"] = node("AnyChainsampler_Beta", sampler_name="heun", cfg=5.5, sampler_mode="resample",
                      latent_image=["50", 0])  # fmt: skip
    generation = read(graph)
    assert settings(generation) == (5, 21, 5.5, "heun", "simple") and generation.positive == "a lake"
    assert named(generation, "node 50 (AnySampler_Beta) samples in a way that is not read")


def test_stage_that_takes_what_another_sampled_as_its_conditioning() -> None:
    stage = {"negative": ["7", 0], "latent_image": ["5", 0]}
    graph = plain_graph(
        n50=node("StageB_Conditioning", conditioning=["6", 0], stage_c=["51", 0]),
        n51=node("KSampler", **BASE, denoise=1.0, model=["10", 0], positive=["6", 0], **stage),
        n52=node("CheckpointLoaderSimple", ckpt_name="stage_b.safetensors"),
    )
    graph["3"]["inputs"].update(positive=["50", 0], model=["52", 0], cfg=1.1)
    generation = read(graph)
    assert settings(generation) == (5, 21, 4.5, "euler", "simple") and generation.hires == HiRes()
    assert generation.checkpoint == "sd\\dream.safetensors" and len(generation.loras) == 2
    assert named(generation, "node 3 (KSampler) finishes what node 51 (KSampler) sampled", "stage_b.safetensors")


def test_stage_that_hands_its_latent_on_in_a_pipe() -> None:
    loader = {"stage_c": "c.safetensors", "stage_b": "b.safetensors", "positive": "a lake", "negative": "fog",
              "empty_latent_width": 512, "empty_latent_height": 512}  # fmt: skip
    settings_c = {**BASE, "denoise": 1.0}
    graph = {
        "1": node("easy cascadeLoader", **loader), "2": node("easy fullCascadeKSampler", **settings_c, pipe=["1", 0]),
        "3": node("easy preSampling", **{**settings_c, "seed": 9, "steps": 10, "cfg": 1.1}, pipe=["2", 0]),
        "4": node("easy kSampler", pipe=["3", 0], image_output="Preview"),
    }  # fmt: skip
    generation = read(graph)
    assert settings(generation) == (5, 21, 4.5, "euler", "simple") and generation.hires == HiRes()
    assert (generation.checkpoint, generation.positive) == ("c.safetensors", "a lake")


def test_steps_that_were_not_run_are_named() -> None:
    advanced = {k: v for k, v in plain_graph()["3"]["inputs"].items() if k not in ("seed", "denoise")}
    graph = plain_graph(
        n3=node("KSamplerAdvanced", **advanced, noise_seed=5, add_noise="enable", start_at_step=0, end_at_step=4,
                return_with_leftover_noise="disable")
    )  # fmt: skip
    assert read(graph).steps == 4 and named(read(graph), "node 3 (KSamplerAdvanced) stopped at step 4 of 20")


@pytest.mark.parametrize("words", [True, False])
def test_noise_that_is_handed_on_by_switches_or_by_words(words: bool) -> None:
    on, off = ("enable", "disable") if words else (True, False)
    common = {"steps": 20, "cfg": 3.5, "sampler_name": "euler", "scheduler": "normal", "basic_pipe": ["60", 0]}
    graph = plain_graph(
        **PIPE,
        n50=node("ImpactKSamplerAdvancedBasicPipe", **common, noise_seed=5, add_noise=on, start_at_step=0,
                 end_at_step=3, return_with_leftover_noise=on, latent_image=["5", 0]),
        n3=node("ImpactKSamplerAdvancedBasicPipe", **common, noise_seed=6, add_noise=off, start_at_step=3,
                end_at_step=10000, return_with_leftover_noise=off, latent_image=["50", 1]),
    )  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["3", 1]
    generation = read(graph)
    assert (generation.seed, generation.steps, generation.hires) == (5, 20, HiRes())


def test_picture_put_together_from_several_is_that_of_its_canvas_and_of_the_pass_behind() -> None:
    steps = {k: v for k, v in plain_graph()["3"]["inputs"].items() if k not in ("seed", "denoise")}
    begin = {
        **steps,
        "start_at_step": 0,
        "end_at_step": 4,
        "return_with_leftover_noise": "enable",
        "add_noise": "enable",
    }
    graph = plain_graph(
        n50=node("KSamplerAdvanced", **begin, noise_seed=5),
        n51=node("KSamplerAdvanced", **{**begin, "latent_image": ["52", 0]}, noise_seed=6),
        n52=node("EmptyLatentImage", width=256, height=256),
        n53=node("LatentComposite", samples_to=["50", 0], samples_from=["54", 0]), n54=node("LatentFlip", samples=["51", 0]),
        n55=node("CLIPTextEncode", clip=["10", 1], text="the whole"),
        n3=node("KSamplerAdvanced", **{**begin, "latent_image": ["53", 0], "positive": ["55", 0]}, noise_seed=0),
    )  # fmt: skip
    graph["3"]["inputs"].update(add_noise="disable", start_at_step=4, end_at_step=10000)
    generation = read(graph)
    assert (generation.seed, generation.width, generation.steps) == (5, 512, 20)
    assert generation.positive == "the whole" and named(generation, "several first passes", "node 50")


# samplers without a choice


def test_sampler_that_names_neither_sampler_nor_scheduler() -> None:
    inputs = {"noise_seed": 600, "steps": 25, "true_gs": 3.5, "model": ["10", 0], "conditioning": ["6", 0]}
    generation = read(plain_graph(n3=node("XlabsSampler", **inputs, latent_image=["5", 0])))
    assert (generation.sampler, generation.scheduler) == ("euler", "simple")
    assert named(generation, "euler and simple stand in")
    assert read(plain_graph(n3=node("OtherSampler", **inputs, latent_image=["5", 0]))).sampler is None


def test_what_a_tag_says_beside_its_strengths_is_named() -> None:
    text = "<lora:two:0.5:0.4:LBW=1,0,0;A=2>, a lake"
    encoder = node("ImpactWildcardEncode", model=["4", 0], clip=["4", 1], populated_text=text, wildcard_text="")
    graph = plain_graph(n50=encoder)
    graph["3"]["inputs"].update(model=["50", 0], positive=["50", 2])
    generation = read(graph)
    assert generation.loras == (Lora("two", 0.5, 0.4),) and named(generation, "node 50", "LBW=1,0,0;A=2")


@pytest.mark.parametrize("between", [{"noise_mask": ["99", 0], "samples": ["3", 0]}, {"latent": ["3", 0]}])
def test_pass_that_repaints_a_part_is_no_hires_pass(between: dict[str, Any]) -> None:
    kind = "PreviewBridgeLatent" if "latent" in between else "SetLatentNoiseMask"
    again = {**plain_graph()["3"]["inputs"], "latent_image": ["50", 0], "positive": ["52", 0], "seed": 6}
    graph = plain_graph(
        n50=node(kind, **between), n51=node("KSampler", **again), n52=node("CLIPTextEncode", clip=["10", 1], text="a hat"),
    )  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["51", 0]
    generation = read(graph)
    assert (generation.seed, generation.positive, generation.hires) == (SEED, "a lake", HiRes())
    assert named(generation, "node 51 (KSampler)", "no HiRes pass") and named(generation, "a hat")


def test_scripts_of_a_sampler_that_are_not_read_are_named() -> None:
    loader = {
        "ckpt_name": "x",
        "vae_name": "Baked VAE",
        "clip_skip": -1,
        "lora_name": "None",
        "positive": "a",
        "negative": "b",
    }
    sampler = {**BASE, "model": ["1", 0], "positive": ["1", 1], "negative": ["1", 2], "latent_image": ["1", 3]}
    graph = {
        "1": node("Efficient Loader", **loader),
        "2": node("KSampler (Efficient)", **sampler, denoise=1.0, script=["3", 0]),
        "3": node("Tiled Upscaler Script", upscale_by=1.5), "4": node("SaveImage", images=["2", 5]),
    }  # fmt: skip
    assert named(read(graph), "node 3 (Tiled Upscaler Script) changes what node 2 (KSampler (Efficient)) does")


@pytest.mark.parametrize(("skip", "told"), [(-2, 2), (-1, None), (0, None)])
def test_clip_skip_of_a_loader_of_an_unknown_class(skip: int, told: int | None) -> None:
    graph = plain_graph(n50=node("AnyLoader", ckpt_name="x.safetensors", clip_skip=skip))
    graph["3"]["inputs"]["model"] = ["50", 0]
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["50", 1]
    assert read(graph).clip_skip == told


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({"empty_latent_aspect": "768 x 640 [L] 6:5"}, (768, 640)), ({"aspect_ratio": "wide"}, (None, None)),
        ({"empty_latent_aspect": "width x height [custom]"}, (512, 512)),
        ({"target_aspect": "1x", "empty_latent_aspect": "768 x 640"}, (768, 640)),
        ({"resolution": "768x640", "swap_dimensions": "On"}, (None, None)), ({}, (512, 512)),
    ],
)  # fmt: skip
def test_size_of_a_preset_goes_before_the_numbers_beside_it(
    more: dict[str, str], size: tuple[int | None, int | None]
) -> None:
    generation = read(plain_graph(n5=node("Any Latent", width=512, height=512, **more)))
    assert (generation.width, generation.height) == size


@pytest.mark.parametrize(("lora", "found"), [("a.safetensors", (Lora("a.safetensors", 0.5, 0.0),)), ("None", ())])
def test_lora_of_a_sampler(lora: str, found: tuple[Lora, ...]) -> None:
    inputs = {**plain_graph()["3"]["inputs"], "model": ["4", 0], "lora_name": lora, "lora_strength": 0.5}
    graph = plain_graph(n3=node("any pipeKSampler", **inputs))
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["4", 1]
    assert read(graph).loras == found and read(graph).checkpoint == "sd\\dream.safetensors"


def test_files_that_are_chosen_when_the_graph_runs() -> None:
    graph = plain_graph(n4=node("Load Scheduled Models", ckpt_name="default.safetensors", schedule=["99", 0]))
    generation = read(graph)
    assert generation.checkpoint is None and named(generation, "node 4 (Load Scheduled Models)", "chosen when")
    graph = plain_graph(n11=node("Random LoRA", model=["4", 0], clip=["4", 1], lora_name="x", strength=1.0))
    generation = read(graph)
    assert [lora.name for lora in generation.loras] == ["dir\\a.safetensors"] and named(
        generation, "node 11 (Random LoRA)"
    )
