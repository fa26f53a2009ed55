"""Small files as the programs of others write them. ``python tests/support/recall_text_samples.py FOLDER`` writes them all."""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from recall_samples import plain_graph, png

SIZE = (48, 40)
USER_COMMENT, MAKER_NOTE, EXIF_IFD = 0x9286, 0x927C, 0x8769

A1111 = """a lake at dusk, <lora:soft light v2:0.8> easynegative-free
Steps: into the unknown, one: two
the words Negative prompt: stand in the middle of this line
Negative prompt: blurry, (bad:1.3), easynegative
nor this
Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 965400086, Size: 512x768, \
Model hash: e6e99610c4, Model: dream v8, VAE hash: 735e4c3a44, VAE: vae-ft-mse-840000.safetensors, \
Denoising strength: 0.45, Clip skip: 2, RNG: CPU, Hires upscale: 2, Hires steps: 12, Hires upscaler: 4x-UltraSharp, \
Lora hashes: "soft light v2: 1ba60a4cff60", TI hashes: "easynegative: c74b4e810b03", Version: v1.10.1, \
Hashes: {"model": "e6e99610c4", "lora:soft light v2": "ABCDEF0123", "embed:easynegative": "c74b4e810b"}"""

FORGE_FLUX = """portrait of a woman in a yellow raincoat
Steps: 25, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 42, Size: 896x1152, \
Model hash: d5d1e2a8b0, Model: flux1-dev-Q8_0, Version: f2.0.1v1.10.1-previous-313-g8a042934, RNG: CPU, Module 1: ae, \
Module 2: clip_l, Module 3: t5xxl_fp16"""

CIVITAI = """a fisherman mending nets
Negative prompt: lowres
Steps: 30, Sampler: Euler a, CFG scale: 5, Seed: 7, Size: 832x1216, Clip skip: 1, Created Date: 2024-09-01T00:00Z, \
Civitai resources: [{"type":"checkpoint","modelVersionId":1,"modelName":"Pony, the [XL]","modelVersionName":"V6"},\
{"type":"lora","weight":0.7,"modelVersionId":2,"modelName":"Styles: all"},{"type":"embed","modelName":"x"}], \
Civitai metadata: {"remixOfId":12}"""

SWARMUI: dict[str, Any] = {
    "sui_image_params": {
        "prompt": "a lake <embed:calm> <lora:gone:0.3> <base> at dusk <segment:face,0.6> a smile", "negativeprompt": "fog",
        "model": "SDXL/base_1.0", "seed": 882695506, "steps": 28, "cfgscale": 6.0, "width": 1216, "height": 832,
        "sampler": "euler_ancestral", "scheduler": "sgm_uniform", "clipstopatlayer": -2, "automaticvae": True,
        "vae": "SDXL/fixed", "loras": ["dir/one", "two"], "loraweights": ["0.4", "-0.7"],
        "loratencweights": ["", "0.1"], "refinercontrolpercentage": 0.3, "refinermethod": "PostApply",
        "refinerupscale": 1.5, "refinersteps": 12, "refinerupscalemethod": "model-4x-UltraSharp.pth",
        "swarm_version": "0.9.5.0",
    },
    "sui_extra_data": {"date": "2025-02-20"},
    "sui_models": [
        {"name": "SDXL/base_1.0.safetensors", "param": "model", "hash": "0x" + "AB" * 32},
        {"name": "dir/one.safetensors", "param": "loras", "hash": "0x" + "cd" * 32},
    ],
}  # fmt: skip

FOOOCUS: dict[str, Any] = {
    "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernautXL_v8Rundiffusion", "base_model_hash": "aeb7e9e689",
    "full_negative_prompt": ["fog", "ugly, deformed"], "full_prompt": ["cinematic still a lake", "a lake, intricate"],
    "guidance_scale": 4, "lora_combined_1": "sd_xl_offset : 0.1", "loras": [["sd_xl_offset", 0.1, "4852686128"]],
    "metadata_scheme": "fooocus", "negative_prompt": "fog", "performance": "Speed", "prompt": "a lake",
    "refiner_model": "None", "refiner_switch": 0.5, "resolution": "(1152, 896)", "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras", "seed": "5124052352", "sharpness": 2, "steps": 30, "styles": "['Fooocus V2']",
    "vae": "Default (model)", "version": "Fooocus v2.5.0",
}  # fmt: skip

FOOOCUS_A1111 = """cinematic still a lake, a lake, intricate
Negative prompt: fog, ugly
Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 512, Size: 1152x896, CFG scale: 4, Sharpness: 2, \
ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8, Model hash: aeb7e9e689, Performance: Speed, \
Scheduler: karras, VAE: Default (model), Raw prompt: a lake, Raw negative prompt: fog, \
Lora hashes: "offset: 4852686128, more: 3cb01d8d9d", Lora weights: "offset: 0.1, more: 0.5", Version: Fooocus v2.5.0"""

INVOKEAI: dict[str, Any] = {
    "app_version": "5.6.0", "generation_mode": "sdxl_txt2img", "positive_prompt": "a lake, holidays",
    "negative_prompt": "grainy+, noisy++", "width": 1024, "height": 768, "seed": 3293022630, "cfg_scale": 8.0,
    "steps": 35, "scheduler": "dpmpp_2m_sde_k", "clip_skip": 1,
    "model": {"key": "k", "hash": "blake3:abc", "name": "juggernautXL", "base": "sdxl", "type": "main"},
    "vae": {"model_name": "VAEFix", "base_model": "sdxl"},
    "loras": [
        {"model": {"name": "new"}, "weight": 0.75}, {"lora": {"model_name": "old", "base_model": "sdxl"}, "weight": -1},
    ],
    "ipAdapters": [{"weight": 0.45}], "positive_style_prompt": "",
}  # fmt: skip
INVOKEAI_2: dict[str, Any] = {
    "model": "stable diffusion", "model_weights": "deliberate_v08", "model_hash": "56d1" * 16,
    "app_id": "invoke-ai/InvokeAI", "app_version": "2.3.0",
    "image": {"prompt": [{"prompt": "a lake [fog, rain] at dusk", "weight": 1}], "steps": 50, "cfg_scale": 5,
              "height": 768, "width": 512, "seed": 2980747362, "type": "txt2img", "sampler": "k_lms"},
}  # fmt: skip
INVOKEAI_1 = '"a "quoted" lake [fog]" -s 50 -S 2980747362 -W 512 -H 768 -C 7.5 -A k_euler_a'

NOVELAI: dict[str, str] = {
    "Title": "AI generated image", "Description": "a lake", "Software": "NovelAI", "Source": "NovelAI Diffusion V4.5",
    "Comment": json.dumps({
        "prompt": "old", "uc": "{{fog}}, [rain]", "steps": 28, "scale": 5.0, "seed": 3816166865, "width": 832,
        "height": 1216, "sampler": "k_euler_ancestral", "noise_schedule": "karras", "n_samples": 1,
        "v4_prompt": {"caption": {"base_caption": "1.2::a lake::, {calm} (wide)", "char_captions": [
            {"char_caption": "a swan", "centers": [{"x": 0.5, "y": 0.5}]}]}, "use_order": True},
        "request_type": "PromptGenerateRequest",
    }),
}  # fmt: skip


def jpeg(user_comment: bytes | None = None, comment: bytes | None = None, **tags: Any) -> bytes:
    """A JPEG. user_comment: the raw bytes of the tag; tags: others of the main IFD, as ``tag_010f``."""
    return _save("JPEG", user_comment, tags, **({} if comment is None else {"comment": comment}))


def webp(user_comment: bytes | None = None, **tags: Any) -> bytes:
    return _save("WEBP", user_comment, tags)


def avif(user_comment: bytes | None = None, **tags: Any) -> bytes:
    return _save("AVIF", user_comment, tags)


def _save(form: str, user_comment: bytes | None, tags: Mapping[str, Any], **options: Any) -> bytes:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[int(name.removeprefix("tag_"), 16)] = value
    if user_comment is not None:
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = user_comment
    file = io.BytesIO()
    Image.new("RGB", SIZE, (90, 60, 30)).save(file, format=form, exif=exif.tobytes(), **options)
    return file.getvalue()


def unicode_comment(text: str, order: str = "be") -> bytes:
    """A UserComment as A1111 writes it (piexif: always big-endian), or as others do."""
    return b"UNICODE\0" + text.encode(f"utf-16-{order}")


def comfyui_tags(graph: Mapping[str, Any], **extra: Any) -> dict[str, str]:
    """What ComfyUI writes into the EXIF data of WebP files: the prompt into 0x0110, the rest into the tags below."""
    tags = {"tag_0110": f"prompt:{json.dumps(graph)}"}
    for i, (key, value) in enumerate(extra.items()):
        tags[f"tag_{0x010F - i:04x}"] = f"{key}:{json.dumps(value)}"
    return tags


def apng(texts: Mapping[str, Any]) -> bytes:
    """An animated PNG as ComfyUI writes it: ``comf`` chunks behind the frames."""
    info = PngInfo()
    for key, value in texts.items():
        info.add(b"comf", key.encode() + b"\0" + json.dumps(value).encode(), after_idat=True)
    frames = [Image.new("RGB", SIZE, (shade, 60, 30)) for shade in (0, 90, 180)]
    file = io.BytesIO()
    frames[0].save(file, format="PNG", pnginfo=info, save_all=True, append_images=frames[1:])
    return file.getvalue()


def fooocus_jpeg(text: str, scheme: str) -> bytes:
    """Fooocus puts everything into the main IFD, as text."""
    return jpeg(tag_9286=text, tag_927c=scheme, tag_0131="Fooocus v2.5.0")


def raw_exif(form: str, tiff: bytes) -> bytes:
    """A file with EXIF data as they are given."""
    file = io.BytesIO()
    Image.new("RGB", SIZE).save(file, format=form, exif=b"Exif\0\0" + tiff)
    return file.getvalue()


def endless_ifd() -> bytes:
    """EXIF data whose Exif IFD is the main one, and which claim two gigabytes of text."""
    entries = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x010E, 2, 2**31 - 1, 8)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2) + entries + struct.pack("<I", 8)


def saved_with_text(seed: int = 2**60 + 1, text: str | None = None) -> dict[str, str]:
    """A ComfyUI graph, and the A1111 text that an image saver puts beside it."""
    text = text or (
        "a lake\nNegative prompt: blurry\nSteps: 20, Sampler: dpmpp_2m_karras, CFG scale: 7.5, "
        f"Seed: {seed}, Size: 512x768, Model hash: abcdef0123, Model: dream, "
        'Hashes: {"model": "abcdef0123", "LORA:a": "1234567890"}, Version: ComfyUI'
    )
    return {"prompt": json.dumps(plain_graph()), "parameters": text}


SAMPLES: dict[str, bytes] = {
    "a1111.png": png({"parameters": A1111}),
    "a1111.jpg": jpeg(unicode_comment(A1111)),
    "a1111.webp": webp(unicode_comment(A1111, "le")),
    "a1111.avif": avif(b"ASCII\0\0\0" + A1111.encode()),
    "forge_flux.png": png({"parameters": FORGE_FLUX}),
    "civitai.jpg": jpeg(unicode_comment(CIVITAI)),
    "swarmui.png": png({"parameters": SWARMUI}),
    "swarmui.jpg": jpeg(unicode_comment(json.dumps(SWARMUI))),
    "fooocus.png": png({"parameters": FOOOCUS, "fooocus_scheme": "fooocus"}),
    "fooocus.jpg": fooocus_jpeg(json.dumps(FOOOCUS), "fooocus"),
    "fooocus_a1111.png": png({"parameters": FOOOCUS_A1111, "fooocus_scheme": "a1111"}),
    "fooocus_a1111.jpg": fooocus_jpeg(FOOOCUS_A1111, "a1111"),
    "invokeai.png": png({"invokeai_metadata": INVOKEAI}),
    "invokeai_2.png": png({"sd-metadata": INVOKEAI_2, "Dream": INVOKEAI_1}),
    "invokeai_1.png": png({"Dream": INVOKEAI_1}),
    "novelai.png": png(NOVELAI),
    "novelai.webp": webp(unicode_comment(json.dumps({**NOVELAI, "Comment": json.loads(NOVELAI["Comment"])}))),
    "comfyui.webp": webp(**comfyui_tags(plain_graph(), workflow={"nodes": [], "links": []})),
    "comfyui.avif": avif(**comfyui_tags(plain_graph(), workflow={"nodes": [], "links": []})),
    "comfyui.apng": apng({"prompt": plain_graph(), "workflow": {"nodes": []}}),
    "comfyui_and_text.png": png(saved_with_text()),
    "stripped.jpg": jpeg(),
    "camera.jpg": jpeg(b"ASCII\0\0\0hello", tag_010f="Canon", tag_0110="EOS", tag_0131="1.0"),
}
"""By file name."""

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in SAMPLES.items():
        (folder / name).write_bytes(data)
