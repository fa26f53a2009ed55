"""Conditionings and models that come through several nodes, through pipes, or of a picture alone."""

from __future__ import annotations

from typing import Any

import pytest
from recall_read import of, read
from recall_samples import node, plain_graph

from distillery.nodes.generation import Generation
from distillery.nodes.model_parts import Parts


def named(generation: Generation, text: str) -> bool:
    return any(text in warning for warning in generation.warnings)


def text(words: str) -> dict[str, Any]:
    return node("CLIPTextEncode", clip=["10", 1], text=words)


def test_numbered_conditionings_are_all_read() -> None:
    several = node("ConditioningCombineMultiple+", conditioning_1=["51", 0], conditioning_2=["6", 0])
    generation = of({"positive": ["50", 0]}, n50=several, n51=text("a mill"))
    assert generation.positive == "a mill, a lake" and named(generation, "node 50")
    one = node("Unknown+", conditioning_1=["6", 0])
    assert of({"positive": ["50", 0]}, n50=one).positive == "a lake"


@pytest.mark.parametrize(("slots", "model"), [((1, 2), ["50", 0]), ((0, 1), ["10", 0])])
def test_sides_whatever_the_node_gives_before_them(slots: tuple[int, int], model: list[Any]) -> None:
    both = node("BrushNet", model=["10", 0], positive=["6", 0], negative=["7", 0])
    links = {"positive": ["50", slots[0]], "negative": ["50", slots[1]], "model": model}
    generation = of(links, n50=both)
    assert (generation.positive, generation.negative) == ("a lake", "blurry")


def test_conditioning_of_a_picture_alone_has_no_text() -> None:
    picture = {"clip_vision": ["61", 1], "init_image": ["62", 0], "vae": ["4", 2]}
    generation = of({"positive": ["50", 0], "negative": ["50", 1]}, n50=node("Video_Conditioning", **picture, width=8))
    assert (generation.positive, generation.negative) == ("", "")
    assert named(generation, "node 50 (Video_Conditioning) makes the positive prompt's conditioning of a picture alone")
    # What is not told might hold a text: then nothing is said.
    assert of({"positive": ["50", 0]}, n50=node("Video_Conditioning", **picture)).positive is None
    assert of({"positive": ["50", 0]}, n50=node("Video_Conditioning", **picture, width=8, mode="x")).positive is None


def test_prompts_of_a_component_whose_names_have_more_words() -> None:
    component = {"ckpt_name": "other.safetensors", "linguistic_positive": "a wolf", "negative": "fog"}
    base = {"seed": 5, "steps": 21, "cfg": 4.5, "sampler_name": "euler", "scheduler": "simple"}
    sampler = node("## ksample", **base, basic_pipe=["50", 0], latent_image=["5", 0])
    generation = read(plain_graph(n50=node("## make-pipe", **component), n3=sampler))
    assert (generation.positive, generation.negative) == ("a wolf", "fog")
    assert generation.checkpoint == "other.safetensors"


def test_model_out_of_a_pipe_of_an_unknown_node() -> None:
    pipe = node("ModelHelper", model=["10", 0], clip=["10", 1])
    generation = of({"model": ["50", 0]}, n50=node("ApplyRegions", any_pipe=["51", 0]), n51=pipe)
    assert generation.checkpoint == "sd\\dream.safetensors" and len(generation.loras) == 2
    assert named(generation, "node 50 (ApplyRegions) lies between")


def easy(**pre: Any) -> dict[str, Any]:
    loader = node(
        "easy a1111Loader", ckpt_name="x.safetensors", vae_name="Baked VAE", clip_skip=-1, lora_name="None",
        resolution="512 x 512", positive="a lake", negative="fog",
    )  # fmt: skip
    settings = {"steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "karras", "denoise": 0.6, "seed": 5}
    return {
        "1": loader, "2": node("easy preSampling", **settings, **{"pipe": ["1", 0], **pre}),
        "3": node("easy kSampler", pipe=["2", 0], image_output="Preview"), "4": node("LoadImage", image="x.png"),
        "5": node("easy applyBrushNet", pipe=["1", 0], image=["4", 0], mask=["4", 1]),
    }  # fmt: skip


def test_size_of_a_pipes_latent_is_not_that_of_a_picture_which_takes_its_place() -> None:
    assert (read(easy()).width, read(easy()).seed) == (512, 5)
    assert read(easy(image_to_latent=["4", 0])).width is None
    generation = read(easy(pipe=["5", 0]))
    assert generation.width is None and generation.positive == "a lake"


@pytest.mark.parametrize(("styles", "told"), [("", True), ("Fooocus Enhance", False)])
def test_styles_change_a_text_only_where_some_are_chosen(styles: str, told: bool) -> None:
    chosen = node("easy stylesSelector", styles="x", select_styles=styles, positive=["51", 0], negative="fog")
    nodes = {"n50": chosen, "n51": node("easy prompt", text="a wolf"), "n6": None}
    nodes["n52"] = node("CLIPTextEncode", clip=["10", 1], text=["50", 0])
    assert of({"positive": ["52", 0]}, **nodes).positive == ("a wolf" if told else None)


def test_files_of_text_encoders_without_those_that_stand_for_none() -> None:
    loader = node("AnyModelLoader", model_name="m.safetensors", clip_name1_opt="t5.safetensors", clip_name2_opt=".none",
                  vae_name=".use_ckpt_vae")  # fmt: skip
    graph = plain_graph(n50=loader)
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["50", 1]
    graph["3"]["inputs"]["model"] = ["50", 0]
    graph["8"]["inputs"]["vae"] = ["50", 2]
    generation = read(graph)
    assert generation.parts == Parts(("t5.safetensors",)) and generation.vae is None
    graph["60"] = node("AnyTextEncoderLoader", text_encoder1="clip_l.safetensors", text_encoder2="t5.safetensors")
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["60", 0]
    assert read(graph).parts == Parts(("clip_l.safetensors", "t5.safetensors"))


def test_settings_out_of_a_linked_configuration() -> None:
    nodes = {"n50": node("Read Pipe", pipe=["51", 0]), "n51": node("Make Pipe", metadata_config=["52", 0]),
             "n52": node("Metadata Config", seed=77, steps=9)}  # fmt: skip
    assert of({"seed": ["50", 9]}, **nodes).seed == 77


@pytest.mark.parametrize(("given", "told"), [("a wolf", "a wolf"), ("", "a lake")])
def test_prompt_that_a_node_puts_into_a_pipe(given: str, told: str) -> None:
    graph = easy(pipe=["6", 0]) | {"6": node("easy pipeEdit", pipe=["1", 0], optional_positive=given, a1111="comfy")}
    assert (read(graph).positive, read(graph).negative) == (told, "fog")


@pytest.mark.parametrize(
    ("words", "told"), [("a wolf", True), ("a __beast__", False), ("a {b|c}", False), ("<lora:x>", False)]
)
def test_text_for_wildcards_that_has_none(words: str, told: bool) -> None:
    nodes = {
        "n50": node("easy wildcards", text=words, seed=1),
        "n51": node("CLIPTextEncode", clip=["10", 1], text=["50", 0]),
    }
    assert of({"positive": ["51", 0]}, **nodes).positive == (words if told else None)
