"""Nodes of unknown classes, read by the names of their inputs."""

from __future__ import annotations

from typing import Any

import pytest
from recall_read import encoded, of, read, with_model
from recall_samples import node, plain_graph

from distillery.nodes.generation import Generation, Lora

BASE = {"seed": 5, "steps": 21, "cfg": 4.5, "sampler_name": "euler", "scheduler": "simple"}


def named(generation: Generation, text: str) -> bool:
    return any(text in warning for warning in generation.warnings)


@pytest.mark.parametrize("kind", ["ClownsharKSampler_Beta", "KSampler Tiled", "Anything At All"])
def test_sampler(kind: str) -> None:
    graph = plain_graph(
        n3=node(kind, **BASE, model=["10", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0])
    )
    generation = read(graph)
    assert (generation.seed, generation.steps, generation.cfg) == (5, 21, 4.5)
    assert (generation.positive, generation.negative, generation.width) == ("a lake", "blurry", 512)
    assert generation.checkpoint == "sd\\dream.safetensors" and len(generation.loras) == 2
    assert named(generation, f"node 3 ({kind}) is not known here")


def test_sampler_with_other_names_and_without_a_negative_prompt() -> None:
    inputs = {"noise_seed": 600, "steps": 25, "denoise_strength": 1, "model": ["10", 0], "conditioning": ["6", 0]}
    generation = read(plain_graph(n3=node("XSampler", **inputs, latent_image=["5", 0])))
    assert (generation.seed, generation.steps, generation.denoise) == (600, 25, 1)
    assert (generation.positive, generation.negative) == ("a lake", "")


@pytest.mark.parametrize("kind", ["FaceDetailer", "DetailerForEach", "SEGSDetailer"])
def test_what_samples_a_part_alone_is_no_first_pass(kind: str) -> None:
    inputs = {**BASE, "seed": 9, "model": ["4", 0], "positive": ["7", 0], "negative": ["7", 0], "image": ["8", 0]}
    generation = read(plain_graph(n40=node(kind, **inputs), n9=node("SaveImage", images=["40", 0])))
    assert (generation.seed, generation.positive) == (2**60 + 1, "a lake")
    assert named(generation, f"node 40 ({kind}) samples in a way that is not read here")


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("Checkpoint Loader (LoraManager)", {"ckpt_name": "other.safetensors"}),
        ("CheckpointLoaderSimpleMultiGPU", {"ckpt_name": "other.safetensors", "device": "cuda:1"}),
        ("UnetLoaderGGUFMultiGPU", {"unet_name": "other.safetensors"}),
        ("NunchakuQwenImageDiTLoader", {"model_name": "other.safetensors", "cpu_offload": "auto"}),
    ],
)
def test_loader(kind: str, inputs: dict[str, Any]) -> None:
    generation = with_model(n50=node(kind, **inputs))
    assert generation.checkpoint == "other.safetensors" and named(generation, f"node 50 ({kind})")


def test_loader_gives_its_own_vae_without_a_warning_of_it() -> None:
    generation = read(plain_graph(n4=node("Some Loader", ckpt_name="x.safetensors")))
    assert generation.checkpoint == "x.safetensors" and generation.vae is None and "vae" in generation.fields
    assert not named(generation, "VAE")


@pytest.mark.parametrize(
    ("inputs", "model", "clip"),
    [
        ({"lora_name": "l", "strength_model": 0.7, "strength_clip": 0.5, "clip": ["4", 1]}, 0.7, 0.5),
        ({"lora_name": "l", "lora_strength": 0.7}, 0.7, 0.0),
        ({"lora": "l", "weight": 0.7, "clip": ["4", 1]}, 0.7, 0.7),
    ],
)
def test_lora(inputs: dict[str, Any], model: float, clip: float) -> None:
    generation = with_model(n50=node("Any LoRA", model=["4", 0], **inputs))
    assert generation.loras == (Lora("l", model, clip),) and named(generation, "node 50 (Any LoRA)")


@pytest.mark.parametrize(
    "inputs",
    [
        {"lora_1": "a", "strength_1": 0.5, "lora_2": "None", "strength_2": 1, "lora_3": "b", "strength_3": 0.2},
        {"lora1_name": "a", "lora1_model_strength": 0.5, "lora1_clip_strength": 0.5, "lora2_name": "b",
         "lora2_model_strength": 0.2, "lora2_clip_strength": 0.2},
        {"lora_name_01": "a", "lora_wt_01": 0.5, "switch_01": "On", "lora_name_02": "x", "switch_02": "Off",
         "lora_name_03": "b", "lora_wt_03": 0.2},
    ],
)  # fmt: skip
def test_loras_in_numbered_inputs(inputs: dict[str, Any]) -> None:
    generation = with_model(n50=node("Any LoRA Stack", model=["4", 0], clip=["4", 1], **inputs))
    assert generation.loras == (Lora("a", 0.5, 0.5), Lora("b", 0.2, 0.2))


def test_guidance_of_a_sampler_is_no_cfg() -> None:
    inputs = {"seed": "12", "steps": "20", "sampler": "euler", "scheduler": "simple", "guidance": 3.5, "denoise": "1.0"}
    sampler = node("FluxSamplerParams+", **inputs, model=["10", 0], conditioning=["6", 0], latent_image=["5", 0])
    generation = read(plain_graph(n3=sampler))
    assert (generation.seed, generation.steps, generation.cfg, generation.guidance) == (12, 20, None, 3.5)


def test_texts_in_the_loader_are_encoded_by_its_own_text_encoder() -> None:
    loader = node("any pipeLoader", ckpt_name="p", lora1_name="a", lora1_model_strength=0.8, lora1_clip_strength=0.7,
                  positive="a mill", negative="fog")  # fmt: skip
    generation = read({"1": loader, "2": node("any pipeKSampler", **BASE, pipe=["1", 0])})
    assert generation.loras == (Lora("a", 0.8, 0.7),) and not named(generation, "leads to no checkpoint")


def test_what_a_pass_samples_from_another_is_named() -> None:
    graph = plain_graph(n50=node("Unknown_Conditioning", conditioning=["6", 0], other=["51", 0]))
    graph["51"] = node("KSampler", **BASE, model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0])
    graph["3"]["inputs"]["positive"] = ["50", 0]
    assert named(read(graph), "takes what node 51 (KSampler) sampled")


def test_placeholder_of_a_prompt_is_empty() -> None:
    generation = of({"negative": ["50", 0]}, n50=node("ImpactNegativeConditioningPlaceholder"))
    assert generation.negative == ""


def test_several_conditionings_are_put_together() -> None:
    nodes = {"n50": node("Regions", conditioning_A=["6", 0], conditioning_B=["51", 0], mask=["60", 0])}
    generation = of({"positive": ["50", 0]}, **nodes, n51=node("CLIPTextEncode", clip=["10", 1], text="a mill"))
    assert generation.positive == "a lake, a mill" and named(generation, "node 50 (Regions)")


def test_values_out_of_a_pipe() -> None:
    nodes = {"n50": node("Read Pipe", image_saver_pipe=["51", 0]), "n51": node("Make Pipe", seed_value=77, steps=9)}
    assert of({"seed": ["50", 3]}, **nodes).seed == 77


def test_loras_of_a_list_that_is_not_known_are_named() -> None:
    generation = with_model(n50=node("Lora Rack", model=["4", 0], clip=["4", 1], lora_slot="x.safetensors", power=1))
    assert named(generation, "x.safetensors")


@pytest.mark.parametrize("name", ["text", "prompt", "positive"])
def test_text_encoder(name: str) -> None:
    generation = encoded(kind="AnyEncode", **{name: "a mill"})
    assert generation.positive == "a mill" and named(generation, "node 50 (AnyEncode)")


def test_text_encoder_that_sees_a_picture() -> None:
    generation = encoded(kind="TextEncodeQwenImageEdit", prompt="make it red", image1=["60", 0])
    assert generation.positive == "make it red" and named(generation, "picture (image1)")


def test_prompt_that_is_passed_on() -> None:
    box = node("GLIGENTextBoxApply", conditioning_to=["6", 0], clip=["10", 1], text="a cat", width=64, height=64)
    generation = of({"positive": ["50", 0]}, n50=box)
    assert generation.positive == "a lake" and named(generation, "node 50 (GLIGENTextBoxApply)")


def test_class_names_with_blanks_behind() -> None:
    average = node(
        "ConditioningAverage ", conditioning_to=["6", 0], conditioning_from=["51", 0], conditioning_to_strength=0.3
    )
    generation = of({"positive": ["50", 0]}, n50=average, n51=node("CLIPTextEncode ", clip=["10", 1], text="a mill"))
    assert generation.positive == "a lake, a mill" and named(generation, "put together")


@pytest.mark.parametrize("inputs", [{"seed": 55}, {"value": 55}, {"noise_seed": 55, "width": 3}])
def test_seed_of_a_node_of_values(inputs: dict[str, Any]) -> None:
    generation = of({"seed": ["50", 0]}, n50=node("Seed Everywhere", **inputs))
    assert generation.seed == 55 and named(generation, "node 50 (Seed Everywhere)")


@pytest.mark.parametrize("inputs", [{"Text": "a mill"}, {"value": "a mill"}, {"text": "a mill", "note": "b"}])
def test_text_of_a_node_of_values(inputs: dict[str, Any]) -> None:
    generation = read(
        plain_graph(n6=node("CLIPTextEncode", clip=["10", 1], text=["50", 0]), n50=node("A Box", **inputs))
    )
    assert generation.positive == "a mill" and named(generation, "node 50 (A Box)")


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("LoadImage", {"image": "x.png"}),
        ("Captioner", {"image": ["60", 0]}),
        ("Random Line", {"text": "one\ntwo", "seed": 3}),
        ("PromptStyler", {"text": "one", "style": "photo"}),
        ("LLM", {"prompt": "write a prompt"}),
    ],
)
def test_text_that_a_node_makes_is_not_taken_from_its_inputs(kind: str, inputs: dict[str, Any]) -> None:
    nodes = {"n50": node(kind, **inputs), "n60": node("LoadImage", image="x.png")}
    generation = read(plain_graph(n6=node("CLIPTextEncode", clip=["10", 1], text=["50", 0]), **nodes))
    assert generation.positive is None and named(generation, f"node 50 ({kind})")


def test_pipe_from_loader_to_sampler() -> None:
    loader = node(
        "any pipeLoader", ckpt_name="p.safetensors", vae_name="Baked VAE", loras="<lora:det:0.8>", positive="a mill",
        negative="fog", empty_latent_width=640, empty_latent_height=768, seed=1,
    )  # fmt: skip
    sampler = node("any pipeKSampler", **BASE, denoise=1.0, pipe=["1", 0])
    generation = read({"1": loader, "2": sampler})
    assert (generation.positive, generation.negative, generation.seed) == ("a mill", "fog", 5)
    assert (generation.checkpoint, generation.loras) == ("p.safetensors", (Lora("det", 0.8, 0.8),))
    assert (generation.width, generation.height, generation.vae) == (640, 768, None)


def test_settings_between_loader_and_sampler() -> None:
    loader = node("any loader", ckpt_name="p.safetensors", positive="a mill", negative="fog")
    between = node("any preSampling", **BASE, pipe=["1", 0])
    generation = read({"1": loader, "2": between, "3": node("any kSampler", pipe=["2", 0])})
    assert (generation.seed, generation.steps, generation.cfg, generation.sampler) == (5, 21, 4.5, "euler")
    assert (generation.positive, generation.checkpoint) == ("a mill", "p.safetensors")


def test_circles_of_pipes_end() -> None:
    graph = {"1": node("a pipe", pipe=["2", 0]), "2": node("b pipe", pipe=["1", 0])}
    graph["3"] = node("c sampler", **BASE, pipe=["1", 0], latent_image=["5", 0])
    graph["5"] = node("EmptyLatentImage", width=64, height=64)
    assert read(graph).seed == 5
