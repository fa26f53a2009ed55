"""Small image files and metadata for the tests, of the same shape as real ones."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from PIL import Image
from PIL.PngImagePlugin import PngInfo

FILLER = "34YuToz6voGaZ5Y8"
Kind = Literal["tEXt", "zTXt", "iTXt"]


def png(
    texts: Mapping[str, Any], size: tuple[int, int] = (64, 64), kind: Kind = "iTXt", after_idat: bool = False
) -> bytes:
    """A PNG with the texts, which are written as JSON unless they are strings."""
    info = PngInfo()
    chunks = b""
    for key, value in texts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if after_idat:
            chunks += _chunk(kind, key, text)
        elif kind == "iTXt":
            info.add_itxt(key, text, zip=len(text) % 2 == 0)
        else:
            info.add_text(key, text, zip=kind == "zTXt")
    file = io.BytesIO()
    Image.new("RGB", size, (90, 60, 30)).save(file, format="PNG", pnginfo=info)
    data = file.getvalue()
    end = data.rindex(b"IEND") - 4
    return data[:end] + chunks + data[end:]


def _chunk(kind: Kind, key: str, text: str) -> bytes:
    if kind == "tEXt":
        body = key.encode() + b"\0" + text.encode("latin-1")
    elif kind == "zTXt":
        body = key.encode() + b"\0\0" + zlib.compress(text.encode("latin-1"))
    else:
        body = key.encode() + b"\0\1\0\0\0" + zlib.compress(text.encode())
    tag = kind.encode()
    return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))


def new_record(switches: Mapping[str, bool] | None = None, **inputs: str | None) -> dict[str, Any]:
    """Distillery's newer format. inputs: overrides of template_inputs, ``None`` removes one."""
    template: dict[str, Any] = {
        "BASE_HEIGHT": "684", "BASE_WIDTH": "684", "CFG": "6",
        **{f"CUTOFF_{what}_{n:02}": FILLER for what in ("REGION", "TARGET") for n in range(1, 13)},
        **{f"CUTOFF_WEIGHT_{n:02}": "0" for n in range(1, 13)},
        "FILENAME_PREFIX": "distillery", "HIRESFIX_DENOISE_POWER": "0.3", "HIRESFIX_STEPS": "15",
        "HIRESFIX_TARGET_UPSCALE_FACTOR": "1.5", "HIRESFIX_TILE_HEIGHT": "768", "HIRESFIX_TILE_WIDTH": "768",
        "KSAMPLER_MAIN_IMAGE_DENOISE": "1", "MODEL_CHECKPOINT_FILENAME": "a.safetensors", "MODEL_TYPE": "sd15",
        "MODEL_UPSCALER_FILENAME": "4x-UltraSharp.pth", "NOISE_SEED": "124", "SAMPLER": "uni_pc", "SCHEDULER": "karras",
        "NEGATIVE_PROMPT": "nsfw, worst quality, deformed, low quality, bad",
        "POSITIVE_PROMPT": "a lake, best quality, high quality, good", "SHARPEN_ALPHA": "0.3", "TARGET_STEPS": "30",
        "VAE_MODEL_FILENAME": "b.safetensors",
    }  # fmt: skip
    template.update(inputs)
    return {
        "command_string": "a lake --seed 123",
        "images_per_batch": 2,
        "noise_seed_template_paths": [["299", "inputs", "String"]],
        "payload_keymaker": {"HIRESFIX_ADD": True, "CONTROLNET_ADD": False, "LORA_1_ADD": False, **(switches or {})},
        "payload_template_key": "1100_api",
        "preset_dict": {"HIRESFIX_STEPS": 15, "HIRESFIX_TILE_WIDTH": 512, "LORA_1_ADD": False, "CFG": 9},
        "raw_input": "a lake --seed 123",
        "request_id": "1-2",
        "request_type": "serve",
        "sd_version": "sd15",
        "template_inputs": {key: value for key, value in template.items() if value is not None},
    }


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of an API graph."""
    return {"class_type": class_type, "inputs": inputs}


def plain_graph(**changes: dict[str, Any] | None) -> dict[str, Any]:
    """The simplest text-to-image graph with two LoRAs. changes: nodes by ``n<id>``, ``None`` removes one."""
    graph = {
        "4": node("CheckpointLoaderSimple", ckpt_name="sd\\dream.safetensors"),
        "11": node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="b.safetensors", strength_model=0.5,
                   strength_clip=0.4),
        "10": node("LoraLoader", model=["11", 0], clip=["11", 1], lora_name="dir\\a.safetensors", strength_model=0.8,
                   strength_clip=1),
        "6": node("CLIPTextEncode", clip=["10", 1], text="a lake"),
        "7": node("CLIPTextEncode", clip=["10", 1], text="blurry"),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "3": node(
            "KSampler", model=["10", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0], seed=2**60 + 1,
            steps=20, cfg=7.5, sampler_name="dpmpp_2m", scheduler="karras", denoise=1.0,
        ),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    }  # fmt: skip
    for key, change in changes.items():
        if change is None:
            del graph[key[1:]]
        else:
            graph[key[1:]] = change
    return graph
