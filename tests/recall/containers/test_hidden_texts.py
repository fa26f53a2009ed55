"""Generation data in other places than a program's own: the pixels, XMP, EXIF beside texts, texts of other names."""

from __future__ import annotations

import io
import json
import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from recall_samples import plain_graph, png
from recall_text_samples import A1111, NOVELAI
from stealth import stealth

from distillery.nodes.generation import Lora
from distillery.nodes.recall import recall
from distillery.nodes.recall.containers import stealth as module

SHORT = (
    "a mill\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 6, Seed: 5, Model: m"
)


# the lowest bits of the pixels


@pytest.mark.parametrize("channels", ["A", "RGB"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_text_of_the_extension(channels: str, packed: bool, form: str) -> None:
    generation = recall(stealth(SHORT, channels, packed, form=form))
    assert (generation.origin, generation.positive, generation.seed) == ("a1111", "a mill", 5)


def test_text_of_novelai() -> None:
    generation = recall(stealth(json.dumps(NOVELAI), size=(128, 128)))
    assert generation.origin == "novelai" and generation.seed == 3816166865


def test_graph_in_the_pixels() -> None:
    text = json.dumps({"prompt": plain_graph()})
    assert recall(stealth(text, size=(128, 128))).seed == 2**60 + 1


def test_pixels_are_not_decoded_where_a_text_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("distillery.nodes.recall.containers.image.stealth_texts", refuse)
    assert recall(png({"parameters": A1111})).seed == 965400086


def test_large_image_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 96 * 80 - 1)
    assert recall(stealth(SHORT)).empty


def test_bomb_in_the_pixels_is_cut() -> None:
    text = "Steps: 20, Sampler: Euler, Seed: 5\n" + "a" * 3_000_000
    texts = module.stealth_texts(Image.open(io.BytesIO(stealth(text, size=(200, 200)))))
    assert len(texts["parameters"]) == module.MAX_TEXT_BYTES


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**32 - 1])
def test_wrong_length_is_no_text(length: int) -> None:
    image = Image.open(io.BytesIO(stealth(SHORT)))
    pixels = image.load()
    for i, bit in enumerate(f"{length:032b}"):
        x, y = divmod(120 + i, image.height)
        pixels[x, y] = (*pixels[x, y][:3], 254 | int(bit))
    file = io.BytesIO()
    image.save(file, "PNG")
    assert recall(file.getvalue()).empty


def test_stealth_data_that_are_cut_off_are_no_text() -> None:
    image = Image.open(io.BytesIO(stealth(SHORT))).crop((0, 0, 4, 80))
    file = io.BytesIO()
    image.save(file, "PNG")
    assert recall(file.getvalue()).empty


# XMP

DRAWTHINGS = {"c": "a mill", "uc": "fog", "steps": 20, "scale": 7, "seed": 42, "sampler": "DPM++ 2M Karras",
              "size": "512x768", "model": "m.ckpt", "strength": 1, "lora": [{"model": "l.ckpt", "weight": 0.8}]}  # fmt: skip


def xmp_of(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description><exif:UserComment><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escaped}</rdf:li></rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>'
    )


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_draw_things(form: str) -> None:
    file = io.BytesIO()
    xmp = xmp_of(json.dumps(DRAWTHINGS))
    if form == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        Image.new("RGB", (64, 64)).save(file, form, pnginfo=info)
    else:
        Image.new("RGB", (64, 64)).save(file, form, xmp=xmp.encode())
    generation = recall(file.getvalue())
    assert (generation.origin, generation.positive, generation.negative) == ("drawthings", "a mill", "fog")
    assert (generation.sampler, generation.scheduler, generation.checkpoint) == ("dpmpp_2m", "karras", "m.ckpt")
    assert generation.loras == (Lora("l.ckpt", 0.8, 0.8),)


@pytest.mark.parametrize(
    "xmp", ["<exif:UserComment>" * 100_000, "<" * 1_000_000, xmp_of("x"), "</exif:UserComment><exif:UserComment"]
)
def test_any_xmp_ends(xmp: str) -> None:
    assert recall(png({"XML:com.adobe.xmp": xmp})).empty


# EXIF of a PNG file, and texts of other names


def exif_chunk(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))


def _exif_of(text: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    return exif.tobytes().removeprefix(b"Exif\0\0")


def test_exif_of_a_png_beside_a_text_of_no_concern() -> None:
    data = png({"date:create": "2024-01-01"})
    data = data[:33] + exif_chunk(_exif_of(SHORT)) + data[33:]
    assert recall(data).seed == 5


@pytest.mark.parametrize("key", ["Raw profile type exif", "Raw profile type APP1"])
def test_exif_in_hexadecimal_digits(key: str) -> None:
    digits = (b"Exif\0\0" + _exif_of(SHORT)).hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    assert recall(png({key: f"\nexif\n{len(digits) // 2:8}\n{lines}\n"})).seed == 5
    assert recall(png({key: f"\nexif\n{len(digits) // 2:8}\nnot hexadecimal"})).empty


@pytest.mark.parametrize("key", ["Comment", "Description", "UserComment"])
def test_text_under_another_name(key: str) -> None:
    assert recall(png({key: SHORT, "parameters": "None"})).seed == 5


def test_own_texts_go_before_all_others() -> None:
    data = png({"parameters": SHORT, "Comment": SHORT.replace("Seed: 5", "Seed: 6")})
    assert recall(data[:33] + exif_chunk(_exif_of(SHORT.replace("Seed: 5", "Seed: 7"))) + data[33:]).seed == 5
