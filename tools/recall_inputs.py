"""What the fuzz runs feed to the reader: samples of every format, hypothesis strategies, one byte string for each input.

An input is a mode and a payload. The mode says how the payload becomes an image file or an image's texts, so that
what is mutated is not always stopped by a checksum or an unknown keyword.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import math
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from distillery.nodes.generation import Generation, from_dict, to_dict
from distillery.nodes.recall import RecallError, recall, recall_text
from distillery.nodes.report import as_rows, carried_rows

ROOT = Path(__file__).resolve().parent.parent

KEYWORDS = (
    "parameters", "prompt", "workflow", "distillery", "Comment", "Description", "Software", "invokeai_metadata",
    "sd-metadata", "Dream", "sui_image_params", "fooocus_scheme", "generation_data", "UserComment",
    "XML:com.adobe.xmp", "Raw profile type exif", "negative_prompt", "num_inference_steps", "guidance_scale", "seed",
    "sampler_name", "use_stable_diffusion_model", "extraMetadata",
)  # fmt: skip
"""Keywords of texts, of the formats that there are."""


class Input(NamedTuple):
    mode: str
    payload: bytes

    def encode(self) -> bytes:
        """One byte string, as coverage-guided fuzzing wants it."""
        return bytes([list(MODES).index(self.mode)]) + self.payload


def decode(data: bytes) -> Input:
    """The input of a byte string; every byte string is one."""
    names = list(MODES)
    return Input(names[data[0] % len(names)], data[1:]) if data else Input(names[0], b"")


def check(item: Input) -> Generation | None:
    """Read an input as the driver and the nodes do; None where the reader refuses it with a RecallError.

    Raises whatever else the reader raises, and AssertionError for a result that cannot be shown or recorded.
    """
    try:
        generation = MODES[item.mode](item.payload)
    except RecallError as error:
        assert str(error)
        return None
    data = to_dict(generation)
    carried = json.dumps(data.pop("carried"), ensure_ascii=False)
    recorded = json.dumps(data, ensure_ascii=False, allow_nan=False)
    (carried + recorded).encode()  # no halves of surrogate pairs
    again = to_dict(from_dict(json.loads(recorded)), carried=False)
    assert again == data, f"recorded and read back: {[k for k in data if again[k] != data[k]]} differ"
    for row in [*as_rows(generation), *carried_rows(generation)]:
        assert all(isinstance(cell, str) for cell in row)
    return generation


# --- modes ---------------------------------------------------------------------------------------------------------


def _file(payload: bytes) -> Generation:
    return recall(payload)


def _repaired(payload: bytes) -> Generation:
    return recall(with_right_checksums(payload))


def _texts(payload: bytes) -> Generation:
    """Keywords and texts in turn, between zero bytes."""
    parts = payload.decode("utf-8", "replace").split("\0")
    return recall_text(dict(zip(parts[::2], parts[1::2], strict=False)))


def _text(keyword: str) -> Callable[[bytes], Generation]:
    return lambda payload: recall_text({keyword: payload.decode("utf-8", "replace")})


def _novelai(payload: bytes) -> Generation:
    return recall_text({"Software": "NovelAI", "Comment": payload.decode("utf-8", "replace")})


def _png(payload: bytes) -> Generation:
    return recall(_saved("PNG", pnginfo=_info("parameters", payload.decode("utf-8", "replace"))))


def _user_comment(container: str) -> Callable[[bytes], Generation]:
    def read(payload: bytes) -> Generation:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = payload[:60_000]
        return recall(_saved(container, exif=exif))

    return read


def _comfyui_exif(payload: bytes) -> Generation:
    """The tags that ComfyUI writes into WebP: Model and Make."""
    model, _, make = payload[:60_000].decode("latin-1").partition("\0")
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = model, make
    return recall(_saved("WEBP", exif=exif))


def _xmp(container: str) -> Callable[[bytes], Generation]:
    """XMP around an escaped text, or as it is."""

    def read(payload: bytes) -> Generation:
        xmp = payload.decode("utf-8", "replace")
        if not xmp.startswith("<"):
            escaped = xmp.replace("&", "&amp;").replace("<", "&lt;")
            xmp = f"<exif:UserComment><rdf:Alt><rdf:li>{escaped}</rdf:li></rdf:Alt></exif:UserComment>"
        if container == "PNG":
            return recall(_saved("PNG", pnginfo=_info("XML:com.adobe.xmp", xmp)))
        return recall(_saved(container, xmp=xmp.encode("utf-8", "replace")[:60_000]))

    return read


def _exif_bytes(payload: bytes) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = payload[:60_000]
    return exif.tobytes()


def _png_exif(payload: bytes) -> Generation:
    """EXIF of a PNG beside a text of no concern."""
    return recall(_saved("PNG", pnginfo=_info("date:create", "2024"), exif=_exif_bytes(payload)))


def _raw_profile(payload: bytes) -> Generation:
    """EXIF in hexadecimal digits: of a comment, or the payload itself."""
    data = payload if payload.startswith(b"Exif") else _exif_bytes(payload)
    return recall_file_of("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n")


def recall_file_of(key: str, text: str) -> Generation:
    """Recall from a PNG file with one text."""
    return recall(_saved("PNG", pnginfo=_info(key, text)))


def _stealth(channels: str, packed: bool) -> Callable[[bytes], Generation]:
    """A text in the lowest bits of the pixels; a payload that begins with a mark gives all of the bits itself."""

    def read(payload: bytes) -> Generation:
        message = payload
        if not payload.startswith(b"stealth_"):
            data = gzip.compress(payload[:20_000], 1) if packed else payload[:2000]
            mark = f"stealth_{'png' if channels == 'A' else 'rgb'}{'comp' if packed else 'info'}".encode()
            message = mark + (8 * len(data)).to_bytes(4, "big") + data
        bits = "".join(f"{byte:08b}" for byte in message[:30_000])
        count = 1 if channels == "A" else 3
        side = max(8, math.isqrt(len(bits) // count) + 1)
        values = bytes(254 | int(bit) for bit in bits.ljust(side * side * count, "0"))
        image = Image.frombytes("L" if channels == "A" else "RGB", (side, side), values).transpose(
            Image.Transpose.TRANSPOSE
        )
        if channels == "A":
            alpha, image = image, Image.new("RGB", image.size)
            image.putalpha(alpha)
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        return recall(file.getvalue())

    return read


def _sized(payload: bytes) -> Generation:
    """A graph in a file of one of the sizes that the samples have."""
    sides = payload[:1] or b"\0"
    size = ((512, 512), (1024, 1024), (768, 768), (64, 64))[sides[0] % 4]
    return recall_text({"prompt": payload[1:].decode("utf-8", "replace")}, size)


MODES: dict[str, Callable[[bytes], Generation]] = {
    "file": _file,
    "png with right checksums": _repaired,
    "texts": _texts,
    **{f"text {keyword}": _text(keyword) for keyword in KEYWORDS},
    "novelai": _novelai,
    "png text": _png,
    "jpeg comment": _user_comment("JPEG"),
    "webp comment": _user_comment("WEBP"),
    "webp of comfyui": _comfyui_exif,
    **{f"xmp of {container}": _xmp(container) for container in ("PNG", "JPEG", "WEBP")},
    "exif comment of png": _png_exif,
    "raw profile comment of png": _raw_profile,
    **{
        f"stealth {channels} {'packed' if packed else 'plain'}": _stealth(channels, packed)
        for channels in ("A", "RGB")
        for packed in (True, False)
    },
    "graph with a size": _sized,
    **({"avif comment": _user_comment("AVIF")} if features.check("avif") else {}),
}
"""Mode to what reads a payload in it."""


def _saved(container: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 60, 30)).save(file, format=container, **options)
    return file.getvalue()


def _info(key: str, text: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt(key, text)
    return info


def with_right_checksums(data: bytes) -> bytes:
    """A PNG with the checksum of every chunk set right, as far as its lengths lead."""
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        body = data[position + 4 : end]
        parts += [data[position : position + 4], body, struct.pack(">I", zlib.crc32(body))]
        position = end + 4
    return b"".join([*parts, data[position:]])


# --- samples and words ---------------------------------------------------------------------------------------------

A1111 = """a lake, (masterpiece:1.2), <lora:add detail:0.8>, <lora:x:-0.5:0.3>
Steps: into the unknown
Negative prompt: blurry, embedding:bad
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1234567890, Size: 512x768, Model hash: 6ce0161689, Model: dream, \
VAE hash: 735e4c3a44, VAE: v.pt, Denoising strength: 0.4, Clip skip: 2, ENSD: 31337, Hires upscale: 2, Hires steps: 15, \
Hires upscaler: 4x-UltraSharp, Lora hashes: "add detail: 7c6bad76eb54", TI hashes: "bad: 123456789012", \
Hashes: {"model": "6ce0161689", "lora:add detail": "7c6bad76eb54"}, Civitai resources: [{"type": "lora", "weight": 0.8}], \
Version: v1.5.1"""

SAMPLES: tuple[tuple[str, str], ...] = (
    ("parameters", A1111),
    ("parameters", 'a cat\nSteps: 1, Sampler: Euler, Schedule type: Simple, Distilled CFG Scale: 3.5, Version: f2.0.1v1.10.1, Hires prompt: "a, b"'),
    ("parameters", '{"sui_image_params": {"prompt": "a <lora:x:1>", "model": "m", "seed": 1, "steps": 2, "cfgscale": 7.0, "loras": ["x"], "loraweights": ["0.5"], "loratencweights": ["1"], "sampler": "euler", "width": 512, "height": 512}, "sui_models": [{"name": "m.safetensors", "param": "model", "hash": "0x%s"}]}' % ("ab" * 32)),
    ("parameters", '{"prompt": "a", "negative_prompt": "b", "seed": "1", "steps": 30, "guidance_scale": 4.0, "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "base_model": "m.safetensors", "base_model_hash": "0123456789", "loras": [["l.safetensors", 0.5, "0123456789"]], "resolution": "(1152, 896)", "metadata_scheme": "fooocus"}'),
    ("fooocus_scheme", "fooocus"),
    ("invokeai_metadata", '{"positive_prompt": "a", "negative_prompt": "b", "seed": 1, "steps": 30, "cfg_scale": 7.5, "scheduler": "dpmpp_2m_k", "width": 512, "height": 512, "model": {"name": "m", "hash": "blake3:00"}, "loras": [{"model": {"name": "l"}, "weight": 0.75}], "clip_skip": 1}'),
    ("Comment", '{"prompt": "a, {b}", "uc": "c", "steps": 28, "scale": 5.0, "seed": 1, "sampler": "k_euler_ancestral", "width": 832, "height": 1216, "noise_schedule": "karras"}'),
    ("distillery", '{"version": 1, "generation": {"origin": "distillery", "positive": "a", "seed": 1, "loras": [{"name": "x", "strength_model": 1.0, "strength_clip": 0.5, "hash": "0123456789ab"}], "hires": {"steps": 15}, "fields": {"seed": "x"}, "warnings": []}}'),
    ("prompt", '{"3": {"class_type": "KSampler", "inputs": {"seed": ["12:3", 0], "steps": 20, "cfg": 7.5, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}}, "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd\\\\a.ckpt"}}, "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}}, "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["13", 0], "clip": ["10", 1]}}, "7": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}, "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}}, "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}}, "10": {"class_type": "LoraLoader", "inputs": {"model": ["11", 0], "clip": ["4", 1], "lora_name": "x", "strength_model": 0.5, "strength_clip": 1}}, "11": {"class_type": "Power Lora Loader (rgthree)", "inputs": {"model": ["4", 0], "lora_1": {"on": true, "lora": "y", "strength": 1, "strengthTwo": null}}}, "12:3": {"class_type": "PrimitiveInt", "inputs": {"value": 5}}, "13": {"class_type": "StringConcatenate", "inputs": {"string_a": "a", "string_b": "b", "delimiter": ", "}}}'),
    ("workflow", '{"nodes": [{"id": 1, "type": "KSampler", "mode": 0, "inputs": [{"name": "model", "link": 1}], "outputs": [{"links": [2]}], "widgets_values": [5, "fixed", 20, 7, "euler", "normal", 1]}, {"id": 2, "type": "SaveImage", "mode": 4, "inputs": [{"name": "images", "link": 2}], "widgets_values": ["x"]}], "links": [[1, 2, 0, 1, 0, "MODEL"], [2, 1, 0, 2, 0, "IMAGE"]], "definitions": {"subgraphs": []}}'),
    ("parameters", "a, b\nNegative prompt: c\nVersion: aa62f6d, Pipeline: Original,\nSteps: 25 | Seed: 18 | Sampler: Euler a | CFG scale: 7 | Size: 768x512 | Hires scale: 2 | Hires strength: 0.3 | Embeddings: c"),
    ("parameters", 'a\nSteps: 20, Sampler: Euler_simple, Seed: 5, Lora_0 Model name: s.safetensors, Lora_0 Strength model: 0.8, Lora hashes: "x: abcdefabcd", loraweights: "0.3", Note: "a\nb", Module 1: ae, Tiling: True, Version: ComfyUI'),
    ("parameters", '{"prompt": "a", "negative_prompt": "b", "resolution": "1024 x 1024", "guidance_scale": 5.5, "num_inference_steps": 24, "seed": 4, "sampler": "DPM++ 2M Karras", "Model": "m", "use_upscaler": {"upscale_by": 1.5}}'),
    ("parameters", '{"Prompt": "a", "Negative": "b", "steps": 30, "cfg": 5, "seed": 7, "sampler_name": "euler", "base_model_name": "m", "loras": "Loras:<a.safetensors:1>", "software": "RuinedFooocus"}'),
    ("parameters", '{"c": "a", "uc": "b", "steps": 20, "scale": 7, "seed": 42, "sampler": "DPM++ 2M Karras", "size": "512x768", "model": "m", "strength": 1, "lora": [{"model": "l", "weight": 0.8}], "v2": {"clipSkip": 2}}'),
    ("parameters", '{"prompt": "a", "seed": 5, "num_inference_steps": 25, "guidance_scale": 7.5, "use_stable_diffusion_model": "m", "sampler_name": "euler_a", "use_lora_model": ["l"], "lora_alpha": [0.5]}'),
    ("Dream", '"a [b]" -s50 -b1 -W576 -H512 -C7.5 -Ak_lms -S136'),
    ("prompt", '{"1": {"class_type": "Any Loader", "inputs": {"ckpt_name": "m.safetensors", "vae_name": "Baked VAE", "loras": "<lora:d:0.8>", "positive": "a", "negative": "b", "empty_latent_width": 512, "empty_latent_height": 512}}, "2": {"class_type": "Any preSampling", "inputs": {"seed": 3, "steps": 20, "cfg": 7, "sampler_name": "res_2m", "scheduler": "beta57", "pipe": ["1", 0]}}, "3": {"class_type": "Any kSampler", "inputs": {"pipe": ["2", 0], "denoise": 1}}, "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 1]}}}'),
    ("prompt", '{"1": {"class_type": "Some Loader", "inputs": {"unet_name": "m"}}, "2": {"class_type": "Encode", "inputs": {"prompt": ["12", 0], "clip": ["1", 1], "image1": ["20", 0]}}, "3": {"class_type": "GLIGENTextBoxApply", "inputs": {"conditioning_to": ["2", 0], "text": "x", "clip": ["1", 1]}}, "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}}, "5": {"class_type": "XSampler", "inputs": {"noise_seed": ["13", 0], "steps": 20, "true_gs": 3, "model": ["14", 0], "conditioning": ["3", 0], "latent_image": ["4", 0]}}, "8": {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["5", 0], "scale_by": 1.5}}, "9": {"class_type": "KSampler", "inputs": {"seed": 9, "steps": 14, "cfg": 4, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.6, "model": ["15", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["8", 0]}}, "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}}, "7": {"class_type": "SaveImage", "inputs": {"images": ["9", 0]}}, "12": {"class_type": "Box", "inputs": {"Text": "a"}}, "13": {"class_type": "Seeds", "inputs": {"seed": 5}}, "14": {"class_type": "Any LoRA", "inputs": {"lora_name": "l", "lora_strength": 0.7, "model": ["1", 0]}}, "15": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "n"}}}'),
    ("prompt", '{"1": {"class_type": "LoadImage", "inputs": {"image": "x"}}, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}, "extraMetadata": "{\\"prompt\\": \\"a\\", \\"cfgScale\\": 5, \\"steps\\": 25, \\"seed\\": 1, \\"sampler\\": \\"Euler a\\"}"}'),
    ("workflow", '{"nodes": [{"id": 1, "type": "workflow>G", "mode": 0, "inputs": [{"name": "model", "type": "MODEL", "link": null}], "outputs": [{"name": "LATENT", "type": "LATENT", "links": [1]}], "widgets_values": ["a {b|c} // d", 5, true, 20, 7, "euler", "normal", 1]}, {"id": 2, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}]}, {"id": 3, "type": "Any Loader", "outputs": [{"name": "MODEL", "type": "MODEL"}, {"name": "CLIP", "type": "CLIP"}], "widgets_values": ["m.safetensors"]}, {"id": 4, "type": "Anything Everywhere", "inputs": [{"name": "anything", "type": "*", "link": 2}]}], "links": [[1, 1, 0, 2, 0, "LATENT"], [2, 3, 0, 4, 0, "MODEL"]], "extra": {"ue_links": [], "groupNodes": {"G": {"nodes": [{"index": 0, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "type": "CLIP", "link": null}], "outputs": [{"name": "CONDITIONING", "type": "CONDITIONING"}], "widgets_values": ["x"]}, {"index": 1, "type": "KSampler", "inputs": [{"name": "model", "type": "MODEL", "link": null}, {"name": "positive", "type": "CONDITIONING", "link": null}], "outputs": [{"name": "LATENT", "type": "LATENT"}], "widgets_values": [1, "fixed", 20, 7, "euler", "normal", 1]}], "links": [[0, 0, 1, 1, 0, "CONDITIONING"]], "external": [[1, 0, "LATENT"]]}}}}'),
)  # fmt: skip
"""(keyword, text) of one image each, of every format."""


@lru_cache(maxsize=1)
def text_samples() -> tuple[tuple[str, str], ...]:
    """The samples above, this project's own workflows, and the texts of its example images."""
    samples = list(SAMPLES)
    samples.append(("prompt", (ROOT / "workflows" / "api" / "upscale.json").read_text(encoding="utf-8")))
    samples.append(("workflow", (ROOT / "workflows" / "upscale.json").read_text(encoding="utf-8")))
    for path in (ROOT / "examples").glob("*.png"):
        with Image.open(path) as image:
            image.load()
            samples += [(key, text) for key, text in getattr(image, "text", {}).items()]
    return tuple(samples)


@lru_cache(maxsize=1)
def file_samples() -> tuple[bytes, ...]:
    """Small image files of every container that carry the text samples."""
    files = []
    for key, text in text_samples():
        files.append(_saved("PNG", pnginfo=_info(key, text)))
        comment = Image.Exif()
        comment.get_ifd(0x8769)[0x9286] = (b"UNICODE\0" + text.encode("utf-16-be"))[:60_000]
        tags = Image.Exif()
        tags[0x0110] = f"{key}:{text}"[:60_000]
        files += [_saved("JPEG", exif=comment), _saved("WEBP", exif=comment), _saved("WEBP", exif=tags)]
        if features.check("avif"):
            files.append(_saved("AVIF", exif=comment))
    return tuple(files)


def seeds() -> list[Input]:
    """Inputs to begin with: every sample in every mode that it fits."""
    inputs = [Input("file", data) for data in file_samples()]
    for key, text in text_samples():
        data = text.encode()
        mode = f"text {key}" if f"text {key}" in MODES else "texts"
        inputs.append(Input(mode, data if mode != "texts" else key.encode() + b"\0" + data))
        inputs += [Input("png text", data), Input("jpeg comment", b"UNICODE\0" + text.encode("utf-16-le"))]
        inputs.append(Input("webp of comfyui", f"{key}:{text}".encode("latin-1", "replace")))
        if key == "prompt":
            inputs.append(Input("graph with a size", b"\0" + data))
        inputs += [Input(mode, data) for mode in MODES if mode.startswith(("xmp", "stealth"))]
        inputs += [Input(mode, b"UNICODE\0" + text.encode("utf-16-be")) for mode in MODES if mode.endswith("of png")]
    inputs += [Input("novelai", text.encode()) for key, text in SAMPLES if key == "Comment"]
    return inputs


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """Every short text that the reader's own code compares with: node types, inputs, keys, names of samplers."""
    found = set(KEYWORDS)
    for path in (ROOT / "nodes" / "recall").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 40:
                found.add(node.value)
    return tuple(sorted(found))


# --- strategies ------------------------------------------------------------------------------------------------------

_ODD_TEXTS = (
    "", "-1", "1e400", "NaN", "0x1F", "12:3", "\ud800", "\0", "a" * 1000, "dir\\a.safetensors", "((((", "<lora:x:1>",
    "embedding:x", "Steps: 1", "[a:b:1]", "BREAK", "2**99999", "a if b else c", "9" * 500,
)  # fmt: skip
_WORDS = st.sampled_from(words())
_TEXTS = st.one_of(_WORDS, st.sampled_from(_ODD_TEXTS), st.text(max_size=20))
_SCALARS = st.one_of(
    _TEXTS, st.none(), st.booleans(), st.integers(-10, 100), st.integers(), st.floats(),
    st.sampled_from([2**64, -(2**64), 10**30, 1e308, 0.1]),
)  # fmt: skip
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=10,
)
_IDS = st.sampled_from(["1", "2", "3", "4", "5", "6", "12:3", "x"])
_LINKS = st.tuples(_IDS, st.sampled_from([0, 0, 0, 1, 2, -1, "0", None])).map(list)
_CLASSES = st.sampled_from([word for word in words() if word[0].isupper()] + ["KSampler", "SaveImage", "VAEDecode"])
_NAMES = st.sampled_from([word for word in words() if word.islower()])
_NODES = st.fixed_dictionaries(
    {
        "class_type": st.one_of(_CLASSES, _CLASSES, _TEXTS),
        "inputs": st.dictionaries(_NAMES, st.one_of(_LINKS, _LINKS, _SCALARS, _JSON), max_size=6),
    },
    optional={"_meta": _JSON},
)
_GRAPHS = st.dictionaries(_IDS, _NODES, max_size=8)
_SMALL = st.integers(0, 6)
_UI_NODES = st.fixed_dictionaries(
    {
        "id": _SMALL,
        "type": _CLASSES | _TEXTS,
        "inputs": st.lists(st.fixed_dictionaries({"name": _NAMES, "link": _SMALL | st.none()}), max_size=4) | _JSON,
        "widgets_values": st.lists(_SCALARS, max_size=8) | st.dictionaries(_WORDS, _SCALARS, max_size=4) | _JSON,
    },
    optional={"mode": st.sampled_from([0, 2, 4, "4"]), "outputs": _JSON, "properties": _JSON},
)
_WORKFLOWS = st.fixed_dictionaries(
    {
        "nodes": st.lists(_UI_NODES, max_size=6) | _JSON,
        "links": st.lists(st.tuples(_SMALL, _SMALL, _SMALL, _SMALL, _SMALL, _WORDS).map(list), max_size=8) | _JSON,
    },
    optional={"definitions": _JSON, "extra": _JSON},
)
_SETTINGS = st.lists(st.tuples(_WORDS, _SCALARS | _JSON), max_size=8).map(
    lambda pairs: ", ".join(f"{k}: {v if isinstance(v, str) else _dumped(v)}" for k, v in pairs)
)
_PIECES = st.one_of(
    _TEXTS, _SETTINGS, _SETTINGS.map(lambda text: f"Steps: 20, Sampler: Euler a, {text}"),
    st.sampled_from([*A1111.split("\n"), *A1111.split(", "), "\n", "Negative prompt: "]),
)  # fmt: skip
_INFOTEXTS = st.tuples(st.lists(_PIECES, max_size=8), st.sampled_from(["\n", ", ", ""])).map(lambda p: p[1].join(p[0]))


def _dumped(value: Any) -> str:
    return json.dumps(value)


@st.composite
def _changed_json(draw: st.DrawFn) -> tuple[str, str]:
    """A sample of JSON with some of its values replaced, removed or moved."""
    key, text = draw(st.sampled_from([s for s in text_samples() if s[1].startswith("{")]))
    data = json.loads(text)
    for _ in range(draw(st.integers(1, 4))):
        holder: Any = data
        while True:
            if not holder:
                break
            name = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
            if isinstance(holder[name], dict | list) and draw(st.integers(0, 4)):
                holder = holder[name]
                continue
            change = draw(st.sampled_from(["replace", "replace", "link", "remove", "rename"]))
            if change in ("replace", "link"):
                holder[name] = draw(_SCALARS | _JSON if change == "replace" else _LINKS)
            elif change == "remove" or not isinstance(holder, dict):
                del holder[name]
            else:
                holder[draw(_TEXTS)] = holder.pop(name)
            break
    return key, _dumped(data)


@st.composite
def _changed_bytes(draw: st.DrawFn, samples: st.SearchStrategy[bytes]) -> bytes:
    """A sample with some stretches of bytes replaced, cut out, doubled or set to a word."""
    data = bytearray(draw(samples))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 4, 8, 100])))
        how = draw(st.sampled_from(["bytes", "word", "cut", "double"]))
        if how == "bytes":
            data[start:end] = draw(st.binary(max_size=8))
        elif how == "word":
            data[start:end] = draw(_TEXTS).encode("utf-8", "surrogatepass")
        elif how == "cut":
            del data[start:end]
        else:
            data[start:start] = data[start:end] * draw(st.sampled_from([1, 2, 50]))
    return bytes(data)


def inputs() -> st.SearchStrategy[Input]:
    """Inputs of every mode: whole files, JSON, graphs, A1111 texts, and samples that were changed."""
    as_text = [mode for mode in MODES if mode not in ("file", "png with right checksums", "texts")]
    any_text = st.one_of(_INFOTEXTS, _JSON.map(_dumped), _changed_json().map(lambda s: s[1]))
    encodings = st.sampled_from(["utf-8", "utf-16-be", "utf-16-le"])
    prefixes = st.sampled_from([b"", b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8])
    comments = st.builds(lambda p, t, e: p + t.encode(e, "surrogatepass"), prefixes, any_text, encodings)
    return st.one_of(
        st.builds(lambda g: Input("text prompt", _dumped(g).encode()), _GRAPHS),
        st.builds(lambda w: Input("text workflow", _dumped(w).encode()), _WORKFLOWS),
        st.builds(lambda t: Input("text parameters", t.encode("utf-8", "surrogatepass")), _INFOTEXTS),
        _changed_json().map(
            lambda s: Input("texts", f"{s[0]}\0{s[1]}".encode())
        ),
        st.builds(
            lambda g, t: Input("texts", f"prompt\0{_dumped(g)}\0parameters\0{t}".encode("utf-8", "surrogatepass")),
            _GRAPHS, _INFOTEXTS,
        ),
        st.builds(lambda m, t: Input(m, t.encode("utf-8", "surrogatepass")), st.sampled_from(as_text), any_text),
        st.builds(Input, st.sampled_from([m for m in as_text if "comment" in m]), comments),
        st.builds(
            Input, st.sampled_from(["file", "png with right checksums"]),
            _changed_bytes(st.sampled_from(file_samples())),
        ),
        st.builds(
            Input, st.sampled_from(as_text), _changed_bytes(st.sampled_from([t.encode() for _, t in text_samples()]))
        ),
        st.builds(Input, st.sampled_from(list(MODES)), st.binary(max_size=200)),
    )  # fmt: skip
