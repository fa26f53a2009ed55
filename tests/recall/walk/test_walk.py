"""Plain graphs of ComfyUI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from recall_read import graph_texts, of_graph, read
from recall_samples import node, plain_graph, png

from distillery.nodes.generation import HiRes, Lora
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.recall.containers.image import read_contents
from distillery.nodes.recall.walk.samplers import denoise_for

ULTRASHARP = "4x-UltraSharp.pth"


def test_plain_graph() -> None:
    generation = of_graph()
    assert generation.warnings == () and generation.origin == "comfyui"
    assert (generation.positive, generation.negative) == ("a lake", "blurry")
    assert (generation.seed, generation.steps, generation.cfg) == (2**60 + 1, 20, 7.5)
    assert (generation.sampler, generation.scheduler, generation.denoise) == ("dpmpp_2m", "karras", 1)
    assert (generation.checkpoint, generation.vae) == ("sd\\dream.safetensors", None)
    assert generation.loras == (Lora("b.safetensors", 0.5, 0.4), Lora("dir\\a.safetensors", 0.8, 1.0))
    assert (generation.width, generation.height, generation.clip_skip) == (512, 768, None)
    assert generation.fields["checkpoint"] == "prompt node 4 (CheckpointLoaderSimple).ckpt_name"


def test_ids_of_subgraphs() -> None:
    text = json.dumps(plain_graph())
    for old in ("3", "4", "6", "10"):
        text = text.replace(f'"{old}"', f'"12:{old}"')
    generation = recall_text({"prompt": text})
    assert replace(generation, fields={}) == replace(of_graph(), fields={})
    assert "node 12:3 (KSampler)" in generation.fields["seed"]


def test_linked_seed_text_and_numbers() -> None:
    graph = plain_graph()
    graph["3"]["inputs"].update(seed=["s", 0], steps=["m", 0], cfg=["m", 1], sampler_name=["c", 0], positive=["r", 0])
    graph["6"]["inputs"]["text"] = ["r2", 0]
    graph |= {
        "s": node("PrimitiveInt", value=42),
        "m": node("SimpleMath", value="a/b + 1", a=["n", 1], b=2),
        "n": node("SimpleMath", value="9"),
        "c": node("CR String To Combo", text=["t", 0]),
        "t": node("String", String="euler"),
        "r": node("Reroute", **{"": ["6", 0]}),
        "r2": node("Reroute", **{"": ["p", 0]}),
        "p": node("PrimitiveStringMultiline", value="a linked lake"),
    }
    generation = recall_text(graph_texts(graph))
    assert generation.warnings == ()
    assert (generation.seed, generation.steps, generation.cfg, generation.sampler) == (42, 6, 5.5, "euler")
    assert generation.positive == "a linked lake"


def test_value_of_an_unknown_node_is_not_guessed() -> None:
    graph = plain_graph(n50=node("SeedOracle", question="which seed?", luck=3))
    graph["3"]["inputs"]["seed"] = ["50", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.seed is None
    assert any("node 50 (SeedOracle)" in w and "seed" in w for w in generation.warnings)


def test_text_of_an_unknown_node_is_not_guessed() -> None:
    graph = plain_graph(n50=node("Wildcards", text="__season__"))
    graph["6"]["inputs"]["text"] = ["50", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.positive is None and generation.negative == "blurry"
    assert any("node 50 (Wildcards)" in w for w in generation.warnings)


def test_unknown_node_on_the_model_chain_is_named() -> None:
    graph = plain_graph(n50=node("FreeU_V2", model=["10", 0], b1=1.1))
    graph["3"]["inputs"]["model"] = ["50", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.checkpoint == "sd\\dream.safetensors" and len(generation.loras) == 2
    assert [w for w in generation.warnings if "node 50 (FreeU_V2)" in w]


def test_model_of_an_unknown_loader_is_not_guessed() -> None:
    graph = plain_graph(n4=node("MysteryLoader", choice="dream"))
    generation = recall_text(graph_texts(graph))
    assert generation.checkpoint is None and generation.seed is not None and len(generation.loras) == 2
    assert any("node 4 (MysteryLoader)" in w for w in generation.warnings)


def test_unknown_sampler_is_named() -> None:
    graph = plain_graph(n3=node("SamplerFromTheFuture", latent_image=["5", 0], brilliance=3))
    generation = recall_text(graph_texts(graph))
    assert generation.empty and any("node 3 (SamplerFromTheFuture)" in w for w in generation.warnings)


def test_model_only_lora_has_no_clip_strength() -> None:
    loader = node("LoraLoaderModelOnly", model=["11", 0], lora_name="m.safetensors", strength_model=0.9)
    generation = of_graph(
        n10=loader,
        n6=node("CLIPTextEncode", clip=["11", 1], text="x"),
        n7=node("CLIPTextEncode", clip=["11", 1], text=""),
    )
    assert generation.loras == (Lora("b.safetensors", 0.5, 0.4), Lora("m.safetensors", 0.9, 0.0))
    assert generation.negative == ""


def test_lora_that_bypasses_the_text_encoder_has_no_clip_strength() -> None:
    generation = of_graph(
        n6=node("CLIPTextEncode", clip=["4", 1], text="x"), n7=node("CLIPTextEncode", clip=["4", 1], text="y")
    )
    assert [lora.strength_clip for lora in generation.loras] == [0.0, 0.0]
    assert sum("does not reach the text encoder" in w for w in generation.warnings) == 2


def test_clip_skip_and_vae() -> None:
    graph = plain_graph(
        n20=node("CLIPSetLastLayer", clip=["10", 1], stop_at_clip_layer=-2),
        n21=node("VAELoader", vae_name="mse.safetensors"),
        n8=node("VAEDecode", samples=["3", 0], vae=["21", 0]),
    )
    for key in ("6", "7"):
        graph[key]["inputs"]["clip"] = ["20", 0]
    generation = recall_text(graph_texts(graph))
    assert (generation.clip_skip, generation.vae, generation.warnings) == (2, "mse.safetensors", ())


def test_second_sampler_is_the_hires_pass_and_the_first_gives_the_seed() -> None:
    graph = plain_graph(
        n30=node("LatentUpscaleBy", samples=["3", 0], upscale_method="bilinear", scale_by=1.5),
        n31=node(
            "KSampler", model=["10", 0], positive=["6", 0], negative=["7", 0], latent_image=["30", 0], seed=999,
            steps=12, cfg=5, sampler_name="euler", scheduler="normal", denoise=0.45,
        ),
        n8=node("VAEDecode", samples=["31", 0], vae=["4", 2]),
    )  # fmt: skip
    generation = recall_text(graph_texts(graph))
    assert (generation.seed, generation.steps, generation.denoise) == (2**60 + 1, 20, 1)
    assert generation.hires == HiRes(steps=12, denoise=0.45, scale=1.5) and generation.warnings == ()


def test_ultimate_upscale_after_a_sampler() -> None:
    graph = plain_graph(
        n30=node("UpscaleModelLoader", model_name=ULTRASHARP),
        n31=node(
            "UltimateSDUpscale", image=["8", 0], model=["4", 0], positive=["6", 0], negative=["7", 0], vae=["4", 2],
            upscale_model=["30", 0], upscale_by=2, seed=5, steps=15, cfg=6, sampler_name="euler", scheduler="normal",
            denoise=0.3, tile_width=768, tile_height=768,
        ),
        n9=node("SaveImage", images=["31", 0]),
    )  # fmt: skip
    generation = recall_text(graph_texts(graph))
    assert generation.seed == 2**60 + 1 and len(generation.loras) == 2
    assert generation.hires == HiRes(15, 0.3, 768, 2, ULTRASHARP)


def test_controlnet_keeps_the_prompts_apart() -> None:
    graph = plain_graph(
        n40=node(
            "ControlNetApplyAdvanced",
            positive=["6", 0],
            negative=["41", 0],
            control_net=["42", 0],
            image=["43", 0],
            strength=1,
        ),
        n41=node("ConditioningZeroOut", conditioning=["6", 0]),
        n42=node("ControlNetLoader", control_net_name="canny"),
        n43=node("LoadImage", image="x.png"),
    )
    graph["3"]["inputs"].update(positive=["40", 0], negative=["40", 1], seed=["44", 0])
    graph["44"] = node("Seed (rgthree)", seed=77)
    generation = recall_text(graph_texts(graph))
    assert (generation.positive, generation.negative, generation.seed) == ("a lake", "", 77)
    (warning,) = generation.warnings
    assert "ControlNet" in warning


def test_combined_prompts_are_joined_with_a_warning() -> None:
    graph = plain_graph(
        n40=node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["41", 0]),
        n41=node("CLIPTextEncode", clip=["10", 1], text="at dusk"),
    )
    graph["3"]["inputs"]["positive"] = ["40", 0]
    generation = recall_text(graph_texts(graph))
    assert generation.positive == "a lake, at dusk" and "2 texts" in generation.warnings[0]


def test_several_saved_pictures_are_a_warning() -> None:
    second = plain_graph()["3"] | {"inputs": plain_graph()["3"]["inputs"] | {"seed": 1}}
    generation = of_graph(
        n60=second, n61=node("VAEDecode", samples=["60", 0], vae=["4", 2]), n62=node("SaveImage", images=["61", 0])
    )
    assert generation.seed in (1, 2**60 + 1) and any("several pictures" in w for w in generation.warnings)


def test_refiner_is_noted_and_its_steps_count() -> None:
    graph = plain_graph()
    common = {k: graph["3"]["inputs"][k] for k in ("positive", "negative", "cfg", "sampler_name", "scheduler")}
    graph |= {
        "3": node("KSamplerAdvanced", **common, model=["10", 0], latent_image=["5", 0], add_noise="enable",
                  noise_seed=8, steps=30, start_at_step=0, end_at_step=24, return_with_leftover_noise="enable"),
        "70": node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
        "71": node("KSamplerAdvanced", **common, model=["70", 0], latent_image=["3", 0], add_noise="disable",
                   noise_seed=0, steps=30, start_at_step=24, end_at_step=1000, return_with_leftover_noise="disable"),
    }  # fmt: skip
    graph["8"]["inputs"]["samples"] = ["71", 0]
    generation = recall_text(graph_texts(graph))
    assert (generation.steps, generation.denoise, generation.seed) == (30, 1, 8)
    assert generation.checkpoint == "sd\\dream.safetensors" and generation.hires == HiRes()
    assert any("refiner" in w for w in generation.warnings)


@pytest.mark.parametrize(("denoise", "steps"), [(0.65, 30), (0.3, 15), (0.5, 20), (0.07, 9), (1.0, 30), (0.99, 30)])
def test_denoise_of_an_advanced_sampler_gives_the_same_schedule(denoise: float, steps: int) -> None:
    total = int(steps / denoise)
    assert int(steps / denoise_for(steps, total)) == total
    assert len(str(denoise_for(steps, total))) <= max(len(str(denoise)), 3)


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
