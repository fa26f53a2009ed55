"""Make the pictures of examples/: photographs in the public domain, scaled down, with Distillery metadata.

    pip install scikit-image Pillow
    python tools/make_examples.py

The photographs ship with scikit-image; the result is the same with every run (byte for byte with the same
Pillow and zlib). All metadata are made up: seeds, ids and prompts belong to no user of Distillery.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CHECKPOINT = "distillery-mini.safetensors"
SUFFIX = ", best quality, high quality, good"
NEGATIVE = "nsfw, worst quality, deformed, low quality, bad"
FILLER = "34YuToz6voGaZ5Y8"


@dataclass(frozen=True)
class Photograph:
    """A picture of scikit-image's data folder and the part of it that is used."""

    file: str
    sha256: str
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels."""
    size: tuple[int, int]
    """Width and height of the example in pixels."""


CAT = Photograph(
    "chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", (88, 0, 388, 300), (256, 256)
)
COFFEE = Photograph(
    "coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", (36, 0, 524, 400), (211, 173)
)


def picture(photograph: Photograph) -> Image.Image:
    """The part of the photograph, scaled down by Lanczos."""
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("The photographs ship with scikit-image: pip install scikit-image")
    path = Path(package.submodule_search_locations[0], "data", photograph.file)
    if hashlib.sha256(path.read_bytes()).hexdigest() != photograph.sha256:
        raise SystemExit(f"{path} is not the file that this script was written for")
    with Image.open(path) as image:
        return image.convert("RGB").resize(photograph.size, Image.Resampling.LANCZOS, box=photograph.box)


def new_record() -> dict[str, Any]:
    """Distillery's newer format: 171x171, cut to 168x168, times 1.5, filled up to 256x256."""
    text = "close-up photo of a tabby cat with green eyes, white whiskers, soft fur, blurred background"
    on = {
        "BASE_DIMENSIONS", "BASIC_DATA", "EMPTY_LATENT", "HIRESFIX", "KSAMPLER_MAIN", "MAIN_PROMPT", "METADATA",
        "MODEL_UPSCALER", "NEGATIVE_PROMPT", "SHARPEN",
    }  # fmt: skip
    off = {"CONTROLNET", "FREEU", "IMG2IMG", "INPAINTING", "IPADAPTER", "KSAMPLER_SEC", "LCM_ADAPTER", "LORA_1", "VAE"}
    cutoff = {f"CUTOFF_{what}_{n:02}": FILLER for what in ("REGION", "TARGET") for n in range(1, 13)}
    cutoff |= {f"CUTOFF_WEIGHT_{n:02}": "0" for n in range(1, 13)}
    inputs = {
        **cutoff,
        "BASE_HEIGHT": "171",
        "BASE_WIDTH": "171",
        "CFG": "6",
        "FILENAME_PREFIX": "distillery",
        "HIRESFIX_DENOISE_POWER": "0.3",
        "HIRESFIX_STEPS": "15",
        "HIRESFIX_TARGET_UPSCALE_FACTOR": "1.5",
        "HIRESFIX_TILE_HEIGHT": "768",
        "HIRESFIX_TILE_WIDTH": "768",
        "KSAMPLER_MAIN_ADDNOISE": "enable",
        "KSAMPLER_MAIN_IMAGE_DENOISE": "1",
        "KSAMPLER_MAIN_LEFTOVERNOISE": "disable",
        "MAIN_KSAMPLER_PERCENTAGE_OF_TOTAL_STEPS": "1",
        "MODEL_CHECKPOINT_FILENAME": CHECKPOINT,
        "MODEL_TYPE": "sd15",
        "MODEL_UPSCALER_FILENAME": "4x-UltraSharp.pth",
        "NEGATIVE_PROMPT": NEGATIVE,
        "NOISE_SEED": "20240229",
        "POSITIVE_PROMPT": text + SUFFIX,
        "SAMPLER": "uni_pc",
        "SCHEDULER": "karras",
        "SHARPEN_ALPHA": "0.3",
        "TARGET_STEPS": "30",
        "UPSCALER_MODEL_FACTOR": "4",
    }
    command = f"{text} --seed 20240229"
    return {
        "command_string": command,
        "images_per_batch": 1,
        "noise_seed_template_paths": [["299", "inputs", "String"]],
        "payload_keymaker": {f"{name}_ADD": name in on for name in sorted(on | off)},
        "payload_template_key": "example",
        "preset_dict": {"CFG": 6, "HIRESFIX_STEPS": 15, "HIRESFIX_TILE_HEIGHT": 768, "HIRESFIX_TILE_WIDTH": 768},
        "raw_input": command,
        "request_id": "example-cat",
        "request_type": "serve",
        "sd_version": "sd15",
        "template_inputs": dict(sorted(inputs.items())),
    }


def old_record() -> dict[str, Any]:
    """Distillery's older format: 108x88, cut to 104x88, times 2; cropped by a few pixels since, as users do."""
    positive = "photo of a red espresso cup on a saucer, silver spoon, wooden table, warm light" + SUFFIX
    seed = 7041776
    sampling = {"cfg": 6.0, "sampler_name": "euler_ancestral", "scheduler": "karras"}
    prompts = {"positive": ["240", 0], "negative": ["243", 0]}
    graph = {
        "10": _node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "22": _node(
            "KSamplerAdvanced", **sampling, **prompts, add_noise="enable", end_at_step=1000, latent_image=["341", 0],
            model=["239", 0], noise_seed=seed, return_with_leftover_noise="disable", start_at_step=["335", 0],
            steps=["332", 0],
        ),
        "201": _node("SaveImage", filename_prefix="example", images=["329", 0]),
        # A slot that is not used: both strengths are 0.
        "239": _node(
            "LoraLoader", clip=["10", 1], lora_name="unused.safetensors", model=["10", 0], strength_clip=0.0,
            strength_model=0.0,
        ),
        "240": _node("CLIPTextEncode", clip=["239", 1], text=positive),
        "243": _node("CLIPTextEncode", clip=["239", 1], text="people, " + NEGATIVE),
        "247": _node("VAEDecode", samples=["22", 0], vae=["10", 2]),
        "251": _node("UpscaleModelLoader", model_name="4x-UltraSharp.pth"),
        "253": _node(
            "UltimateSDUpscale", **sampling, **prompts, denoise=["336", 1], force_uniform_tiles="enable",
            image=["247", 0], mask_blur=8, mode_type="Linear", model=["10", 0], seam_fix_denoise=["336", 1],
            seam_fix_mask_blur=8, seam_fix_mode="Half Tile", seam_fix_padding=16, seam_fix_width=64, seed=seed,
            steps=15, tile_height=512, tile_padding=32, tile_width=512, upscale_by=2.0, upscale_model=["251", 0],
            vae=["10", 2],
        ),
        "301": _node("EmptyLatentImage", batch_size=1, height=["316", 0], width=["317", 0]),
        "316": _node("SimpleMath", value="88"),
        "317": _node("SimpleMath", value="108"),
        "329": _node("AddMetaData", image=["253", 0], label="model_type", text_value="sd15"),
        "332": _node("SimpleMath", a=["333", 1], b=["334", 1], value="a/b"),
        "333": _node("SimpleMath", value="30"),
        "334": _node("SimpleMath", value="1"),
        "335": _node("SimpleMath", a=["332", 1], b=["333", 1], value="a-b"),
        "336": _node("SimpleMath", a=["334", 1], value="0.3"),
        "341": _node("CR Latent Batch Size", batch_size=1, latent=["301", 0]),
    }  # fmt: skip
    inputs = {
        "CFG": 6,
        "DENOISE_POWER": 0.3,
        "INPUT_HEIGHT": "88",
        "INPUT_HIRESFIX_SCALE": 2,
        "INPUT_WIDTH": "108",
        "NEGATIVE_PROMPT": "people, " + NEGATIVE,
        "NOISE_SEED": seed,
        "POSITIVE_PROMPT": positive,
        "SD15_CHECKPOINT": CHECKPOINT,
        "SD15_LORA_1": "unused.safetensors",
        "SD15_LORA_POWER_CLIP_1": 0,
        "SD15_LORA_POWER_MODEL_1": 0,
        "SD_VERSION": "sd15",
    }
    return {"comfy_api": graph, "template_inputs": inputs}


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": dict(sorted(inputs.items()))}


def main() -> None:
    """Write the examples."""
    EXAMPLES.mkdir(exist_ok=True)
    for name, photograph, record in (("cat", CAT, new_record()), ("odd", COFFEE, old_record())):
        info = PngInfo()
        info.add_text("prompt", json.dumps(record))
        path = EXAMPLES / f"{name}.png"
        picture(photograph).save(path, format="PNG", pnginfo=info, optimize=True)
        print(f"{path.name}: {photograph.size[0]}x{photograph.size[1]}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
