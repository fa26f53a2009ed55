"""ComfyUI graphs of the kinds that people make, small: API graphs and the editor's workflows."""

from __future__ import annotations

from typing import Any

from recall_samples import node, plain_graph

Api = dict[str, Any]
SEED = 2**60 + 1
"""Of the plain graph's sampler."""


def patched(inputs: dict[str, Any], **nodes: dict[str, Any] | None) -> Api:
    """The plain graph with other inputs of its sampler. nodes: as for plain_graph()."""
    graph = plain_graph(**nodes)
    graph["3"]["inputs"].update(inputs)
    return graph


def flux() -> Api:
    """Flux as ComfyUI's own example has it, with rgthree's Power Lora Loader."""
    return {
        "6": node("CLIPTextEncode", clip=["20", 1], text="a fox in the snow"),
        "8": node("VAEDecode", samples=["13", 0], vae=["10", 0]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="flux"),
        "10": node("VAELoader", vae_name="ae.safetensors"),
        "11": node("DualCLIPLoader", clip_name1="t5xxl_fp16.safetensors", clip_name2="clip_l.safetensors", type="flux"),
        "12": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "13": node("SamplerCustomAdvanced", noise=["25", 0], guider=["22", 0], sampler=["16", 0], sigmas=["17", 0],
                   latent_image=["27", 0]),
        "16": node("KSamplerSelect", sampler_name="euler"),
        "17": node("BasicScheduler", model=["30", 0], scheduler="simple", steps=20, denoise=1.0),
        "20": node(
            "Power Lora Loader (rgthree)", model=["12", 0], clip=["11", 0],
            PowerLoraLoaderHeaderWidget={"type": "PowerLoraLoaderHeaderWidget"},
            lora_1={"on": True, "lora": "dir\\one.safetensors", "strength": 0.8, "strengthTwo": None},
            lora_2={"on": False, "lora": "off.safetensors", "strength": 1},
            lora_3={"on": True, "lora": "three.safetensors", "strength": 0.5, "strengthTwo": 0},
            lora_4={"on": True, "lora": "nothing.safetensors", "strength": 0},
            **{"➕ Add Lora": ""},
        ),
        "22": node("BasicGuider", model=["30", 0], conditioning=["26", 0]),
        "25": node("RandomNoise", noise_seed=["31", 0]),
        "26": node("FluxGuidance", conditioning=["6", 0], guidance=3.5),
        "27": node("EmptySD3LatentImage", width=1024, height=768, batch_size=1),
        "30": node("ModelSamplingFlux", model=["20", 0], max_shift=1.15, base_shift=0.5, width=1024, height=768),
        "31": node("PrimitiveInt", value=77),
    }  # fmt: skip


def custom(sigmas: Any, **nodes: dict[str, Any]) -> Api:
    """SamplerCustomAdvanced with a CFGGuider on the plain graph's models. sigmas: a link."""
    graph = plain_graph(
        n3=node("SamplerCustomAdvanced", noise=["40", 0], guider=["41", 0], sampler=["42", 0], sigmas=sigmas,
                latent_image=["5", 0]),
        n40=node("RandomNoise", noise_seed=5),
        n41=node("CFGGuider", model=["10", 0], positive=["6", 0], negative=["7", 0], cfg=4.5),
        n42=node("KSamplerSelect", sampler_name="dpmpp_2m"),
        n43=node("BasicScheduler", model=["10", 0], scheduler="karras", steps=30, denoise=1.0),
    )  # fmt: skip
    return graph | nodes


def efficient(**loader: Any) -> Api:
    """The Efficiency nodes with a HighRes-Fix script. loader: other inputs of the loader."""
    inputs = {
        "ckpt_name": "dream.safetensors", "vae_name": "mse.safetensors", "clip_skip": -2, "lora_name": "first.safetensors",
        "lora_model_strength": 0.9, "lora_clip_strength": 0.7, "positive": "a mill", "negative": "fog",
        "token_normalization": "none", "weight_interpretation": "comfy", "empty_latent_width": 512,
        "empty_latent_height": 640, "batch_size": 1, "lora_stack": ["2", 0], **loader,
    }  # fmt: skip
    return {
        "1": node("Efficient Loader", **inputs),
        "2": node("LoRA Stacker", input_mode="advanced", lora_count=2, lora_name_1="a.safetensors", lora_wt_1=9,
                  model_str_1=0.5, clip_str_1=0.25, lora_name_2="None", lora_wt_2=1, model_str_2=1, clip_str_2=1,
                  lora_name_3="beyond.safetensors", lora_wt_3=1, model_str_3=1, clip_str_3=1, lora_stack=["3", 0]),
        "3": node("CR LoRA Stack", switch_1="Off", lora_name_1="off.safetensors", model_weight_1=1, clip_weight_1=1,
                  switch_2="On", lora_name_2="on.safetensors", model_weight_2=-0.5, clip_weight_2=0,
                  switch_3="On", lora_name_3="None", model_weight_3=1, clip_weight_3=1),
        "4": node("KSampler (Efficient)", model=["1", 0], seed=11, steps=22, cfg=6.5, sampler_name="euler",
                  scheduler="karras", positive=["1", 1], negative=["1", 2], latent_image=["1", 3], denoise=1.0,
                  preview_method="auto", vae_decode="true", optional_vae=["1", 4], script=["5", 0]),
        "5": node("HighRes-Fix Script", upscale_type="pixel", hires_ckpt_name="(use same)",
                  latent_upscaler="nearest-exact", pixel_upscaler="4x-UltraSharp.pth", upscale_by=1.5,
                  use_same_seed=True, seed=1, hires_steps=12, denoise=0.4, iterations=1, use_controlnet=False,
                  control_net_name="x", strength=1, preprocessor="none", preprocessor_imgs=False),
        "6": node("SaveImage", images=["4", 5], filename_prefix="x"),
    }  # fmt: skip


def efficient_sdxl(refine_at: int) -> Api:
    """The Efficiency nodes for SDXL, with a refiner where ``refine_at`` is a step."""
    return {
        "1": node("Eff. Loader SDXL", base_ckpt_name="base.safetensors", base_clip_skip=-2,
                  refiner_ckpt_name="refiner.safetensors", refiner_clip_skip=-2, positive_ascore=6, negative_ascore=2,
                  vae_name="Baked VAE", positive="a pier", negative="rain", token_normalization="none",
                  weight_interpretation="comfy", empty_latent_width=1024, empty_latent_height=1024, batch_size=1),
        "2": node("KSampler SDXL (Eff.)", sdxl_tuple=["1", 0], latent_image=["1", 1], optional_vae=["1", 2],
                  noise_seed=21, steps=30, cfg=7, sampler_name="euler", scheduler="normal", start_at_step=0,
                  refine_at_step=refine_at, preview_method="auto", vae_decode="true"),
        "3": node("SaveImage", images=["2", 3], filename_prefix="x"),
    }  # fmt: skip


def basic_pipe() -> Api:
    """Impact's pipes: packed, edited, sampled from."""
    return plain_graph(
        n20=node("ToBasicPipe", model=["10", 0], clip=["10", 1], vae=["4", 2], positive=["7", 0], negative=["7", 0]),
        n21=node("EditBasicPipe", basic_pipe=["20", 0], positive=["6", 0]),
        n3=node("ImpactKSamplerBasicPipe", basic_pipe=["21", 0], seed=31, steps=20, cfg=7, sampler_name="euler",
                scheduler="karras", latent_image=["5", 0], denoise=1.0),
        n8=node("VAEDecode", samples=["3", 1], vae=["3", 2]),
    )  # fmt: skip


def easy_use() -> Api:
    """Easy Use: everything through one pipe."""
    return {
        "1": node("easy a1111Loader", ckpt_name="easy.safetensors", vae_name="Baked VAE", clip_skip=-2,
                  lora_name="None", lora_model_strength=1, lora_clip_strength=1, resolution="832 x 1216",
                  empty_latent_width=512, empty_latent_height=512, positive="a barn", negative="text", batch_size=1,
                  optional_lora_stack=["2", 0]),
        "2": node("easy loraStack", toggle=True, mode="simple", num_loras=1, lora_1_name="e.safetensors",
                  lora_1_strength=0.6, lora_1_model_strength=1, lora_1_clip_strength=1),
        "3": node("easy preSampling", pipe=["1", 0], steps=24, cfg=5, sampler_name="dpmpp_2m", scheduler="karras",
                  denoise=1.0, seed=["4", 0]),
        "4": node("easy seed", seed=41),
        "5": node("easy kSampler", pipe=["3", 0], image_output="Preview", link_id=0, save_prefix="x"),
        "6": node("SaveImage", images=["5", 1], filename_prefix="x"),
    }  # fmt: skip


class Workflow:
    """An editor's workflow in the making, with links as lists or, in subgraphs, as objects."""

    def __init__(self, objects: bool = False, names_widgets: bool = False) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[Any] = []
        self.objects = objects
        self.names_widgets = names_widgets

    def add(
        self, node_id: int, kind: str, values: Any = None, inputs: str = "", outputs: str = "", mode: int = 0,
        widgets: str = "", **more: Any,
    ) -> None:  # fmt: skip
        """Add a node. inputs, outputs: ``name:TYPE`` each. widgets: their names, where the editor writes them."""
        sockets = [dict(zip(("name", "type"), item.split(":"), strict=True)) for item in inputs.split()]
        entries: list[dict[str, Any]] = [{**socket, "link": None} for socket in sockets]
        if self.names_widgets:
            entries += [{"name": w, "type": "*", "widget": {"name": w}, "link": None} for w in widgets.split()]
        outs = [dict(zip(("name", "type"), item.split(":"), strict=True)) for item in outputs.split()]
        self.nodes.append({
            "id": node_id, "type": kind, "mode": mode, "inputs": entries, "widgets_values": values,
            "outputs": [{**out, "links": []} for out in outs], "properties": {"Node name for S&R": kind}, **more,
        })  # fmt: skip

    def link(self, source: int, slot: int, target: int, name: str, widget: bool = False) -> int:
        """Link an output to an input, which becomes a socket of a widget where it is one. Returns the link's id."""
        link_id = len(self.links) + 1
        node_of = {n["id"]: n for n in self.nodes}.get(target)
        if node_of is not None:
            entry = next((e for e in node_of["inputs"] if e["name"] == name), None)
            if entry is None:
                assert widget, f"{name} is no input of node {target}"
                entry = {"name": name, "type": "*", "widget": {"name": name}}
                node_of["inputs"].append(entry)
            entry["link"] = link_id
        if self.objects:
            self.links.append({"id": link_id, "origin_id": source, "origin_slot": slot, "target_id": target,
                               "target_slot": 0, "type": "*"})  # fmt: skip
        else:
            self.links.append([link_id, source, slot, target, 0, "*"])
        return link_id

    def data(self, **more: Any) -> dict[str, Any]:
        return {"last_node_id": 99, "nodes": self.nodes, "links": self.links, "version": 0.4, **more}


KSAMPLER = "model:MODEL positive:CONDITIONING negative:CONDITIONING latent_image:LATENT"
KSAMPLER_WIDGETS = "seed steps cfg sampler_name scheduler denoise"


def plain_workflow(names_widgets: bool = False, **options: Any) -> Workflow:
    """The plain graph as a workflow of an old editor, or of one that names every widget."""
    w = Workflow(names_widgets=names_widgets, **options)
    w.add(
        4, "CheckpointLoaderSimple", ["sd\\dream.safetensors"], "", "MODEL:MODEL CLIP:CLIP VAE:VAE", widgets="ckpt_name"
    )
    for node_id, name, model, clip in ((11, "b.safetensors", 0.5, 0.4), (10, "dir\\a.safetensors", 0.8, 1)):
        w.add(node_id, "LoraLoader", [name, model, clip], "model:MODEL clip:CLIP", "MODEL:MODEL CLIP:CLIP",
              widgets="lora_name strength_model strength_clip")  # fmt: skip
    w.add(6, "CLIPTextEncode", ["a lake"], "clip:CLIP", "CONDITIONING:CONDITIONING", widgets="text")
    w.add(7, "CLIPTextEncode", ["blurry"], "clip:CLIP", "CONDITIONING:CONDITIONING", widgets="text")
    w.add(5, "EmptyLatentImage", [512, 768, 1], "", "LATENT:LATENT", widgets="width height batch_size")
    w.add(3, "KSampler", [SEED, "randomize", 20, 7.5, "dpmpp_2m", "karras", 1], KSAMPLER, "LATENT:LATENT",
          widgets=KSAMPLER_WIDGETS)  # fmt: skip
    w.add(8, "VAEDecode", [], "samples:LATENT vae:VAE", "IMAGE:IMAGE")
    w.add(9, "SaveImage", ["x"], "images:IMAGE", widgets="filename_prefix")
    for source, slot, target, name in (
        (4, 0, 11, "model"), (4, 1, 11, "clip"), (11, 0, 10, "model"), (11, 1, 10, "clip"), (10, 1, 6, "clip"),
        (10, 1, 7, "clip"), (10, 0, 3, "model"), (6, 0, 3, "positive"), (7, 0, 3, "negative"),
        (5, 0, 3, "latent_image"), (3, 0, 8, "samples"), (4, 2, 8, "vae"), (8, 0, 9, "images"),
    ):  # fmt: skip
        w.link(source, slot, target, name)
    return w
