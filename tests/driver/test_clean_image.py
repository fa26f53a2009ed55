"""What is uploaded in the place of a stranger's file: the right pixels, the recalled generation, nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import uuid
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from png_files import chunk, with_chunks

from distillery.driver.errors import SourceError
from distillery.driver.jobs.output import Output
from distillery.driver.jobs.prepare import prepare
from distillery.driver.server import workflow
from distillery.driver.server.client import ComfyClient
from distillery.driver.sources.clean_image import check_header, clean_image
from distillery.nodes.command import parse_command
from distillery.nodes.generation import Generation, Lora
from distillery.nodes.imaging.pixels import load_pixels
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.record import RECORD_KEY, record_for, record_for_copy
from distillery.nodes.settings import settings_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (66, 70, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
DEEP = RNG.integers(0, 65536, (66, 70, 3)).astype(np.uint16)
NONE = Generation()


def saved(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunks(png: bytes) -> list[tuple[str, bytes]]:
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8].decode(), png[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def written_png(colour_type: int, samples: np.ndarray, *extra: tuple[bytes, bytes]) -> bytes:
    """A 16-bit PNG, which Pillow cannot write: samples (H, W, C) big endian."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    body = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)), *extra,
            (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in body
    )


def cleaned(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(clean_image(data, "a", NONE).png)) as image:
        return np.asarray(image)


# pixels


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "palette with transparency"])
def test_every_mode_comes_as_the_nodes_would_have_read_the_original(tmp_path, mode):
    options = {}
    if mode == "I;16":
        image = Image.fromarray(DEEP[..., 0])
    elif mode == "palette with transparency":
        image, options = Image.fromarray(GREY % 4).convert("P"), {"transparency": 2}
    else:
        image = Image.fromarray(COLOUR).convert("L" if mode == "LA" else "RGB").convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(GREY))
    data = saved(image, **options)
    for name, content in (("a.png", data), ("b.png", clean_image(data, "a", NONE).png)):
        (tmp_path / name).write_bytes(content)
    before, after = load_pixels(tmp_path / "a.png"), load_pixels(tmp_path / "b.png")
    for one, other in zip(before[:2], after[:2], strict=True):
        assert one.shape == other.shape and np.array_equal(one.numpy(), other.numpy())


def test_sixteen_bit_grey_keeps_its_depth():
    assert np.array_equal(cleaned(written_png(0, DEEP[..., :1])), DEEP[..., 0])


def test_sixteen_bit_colour_keeps_its_upper_bits():
    assert np.array_equal(cleaned(written_png(2, DEEP)), DEEP >> 8)


def test_the_transparent_colour_of_deep_images_is_found():
    grey = written_png(0, DEEP[..., :1], (b"tRNS", struct.pack(">H", DEEP[3, 4, 0])))
    assert np.array_equal(cleaned(grey)[..., 3] == 0, DEEP[..., 0] == DEEP[3, 4, 0])
    colour = written_png(2, DEEP, (b"tRNS", struct.pack(">HHH", *DEEP[3, 4])))
    assert cleaned(colour)[3, 4, 3] == 0 and (cleaned(colour)[..., 3] == 0).sum() <= 2


def test_float_and_32_bit_tiffs_are_scaled():
    ramp = np.linspace(0, 1, 70 * 66, dtype=np.float32).reshape(66, 70)
    assert np.abs(cleaned(saved(Image.fromarray(ramp), "TIFF")) / 65535 - ramp).max() < 1e-4
    assert np.array_equal(cleaned(saved(Image.fromarray(DEEP[..., 0].astype(np.int32)), "TIFF")), DEEP[..., 0])
    assert cleaned(saved(Image.fromarray(ramp * np.float32("nan")), "TIFF")).max() == 0


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "TIFF"])
def test_exif_turns_the_image_once(form):
    exif = Image.Exif()
    exif[0x0112] = 6
    flag = np.zeros((66, 80, 3), np.uint8)
    flag[:, :40] = 255
    result = clean_image(saved(Image.fromarray(flag), form, exif=exif), "a", NONE)
    assert (result.width, result.height) == (66, 80)
    with Image.open(io.BytesIO(result.png)) as image:
        assert not image.getexif()
        pixels = np.asarray(image)
    assert pixels[:36].min() > 200 and pixels[44:].max() < 60


def test_broken_exif_is_a_warning_at_most():
    image = Image.fromarray(COLOUR)
    for exif in (b"", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"nonsense"):
        assert np.array_equal(cleaned(saved(image, exif=exif)), COLOUR)


def test_cmyk_and_ycck_come_as_rgb_with_a_warning():
    flat = Image.new("CMYK", (70, 66), (0, 255, 255, 0))
    result = clean_image(saved(flat, "JPEG"), "a", NONE)
    with Image.open(io.BytesIO(result.png)) as image:
        assert image.mode == "RGB" and image.getpixel((9, 9))[0] > 230 and max(image.getpixel((9, 9))[1:]) < 30
    assert any("CMYK" in warning for warning in result.generation.warnings)


def test_colours_in_srgb_are_left_exactly_as_they_are():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for image in (Image.fromarray(COLOUR), Image.fromarray(np.dstack([COLOUR, GREY]))):
        assert np.array_equal(cleaned(saved(image, icc_profile=profile)), np.asarray(image))


def swapping_profile() -> bytes:
    """sRGB with red and blue exchanged: what a profile does is then plain to see."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(struct.unpack(">I", profile[128:132])[0]):
        at = 132 + 12 * i
        names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
        profile[at : at + 4] = names.get(bytes(profile[at : at + 4]), bytes(profile[at : at + 4]))
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_other_colour_spaces_are_converted_to_srgb(mode):
    image = Image.new("RGB", (70, 66), (250, 60, 10)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(GREY))
    result = clean_image(saved(image, icc_profile=swapping_profile()), "a", NONE)
    with Image.open(io.BytesIO(result.png)) as clean:
        assert (
            np.abs(np.array(clean.convert("RGB").getpixel((5, 5))) - image.convert("RGB").getpixel((5, 5))[::-1]).max()
            <= 3
        )
        assert "icc_profile" not in clean.info
        if mode == "RGBA":
            assert np.array_equal(np.asarray(clean)[..., 3], GREY)
    assert not result.generation.warnings


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200, swapping_profile()[:300]])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_profile_that_cannot_be_used_is_a_warning(profile, mode):
    image = Image.fromarray(COLOUR).convert(mode)
    result = clean_image(saved(image, "JPEG" if mode == "CMYK" else "PNG", icc_profile=profile), "a", NONE)
    assert any("profile" in warning for warning in result.generation.warnings)


def test_a_profile_of_another_kind_than_the_image_is_a_warning():
    image = Image.fromarray(COLOUR).convert("CMYK")
    result = clean_image(saved(image, "JPEG", icc_profile=swapping_profile()), "a", NONE)
    assert any("profile" in warning for warning in result.generation.warnings)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_image_with_a_screens_profile_is_taken_as_one(mode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = clean_image(saved(Image.fromarray(GREY).convert(mode), icc_profile=profile), "a", NONE)
    with Image.open(io.BytesIO(result.png)) as clean:
        assert np.array_equal(np.asarray(clean.convert("L")), GREY)
    assert not result.generation.warnings


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_with_a_warning(form):
    frames = [Image.new("RGB", (70, 66), (level, level, level)) for level in (10, 200)]
    result = clean_image(saved(frames[0], form, save_all=True, append_images=frames[1:]), "a", NONE)
    with Image.open(io.BytesIO(result.png)) as image:
        assert getattr(image, "n_frames", 1) == 1 and np.asarray(image).max() < 30
    assert any("only the first" in warning for warning in result.generation.warnings)
    assert recall(result.png).warnings == result.generation.warnings


# nothing else


def test_nothing_else_of_the_file_is_kept():
    info = PngInfo()
    info.add_text("prompt", "{}")
    info.add_text("workflow", "secret")
    info.add(b"prVt", b"secret")
    exif = Image.Exif()
    exif[0x010E] = "secret"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    dirty = saved(
        Image.fromarray(COLOUR), pnginfo=info, exif=exif, icc_profile=profile, dpi=(72, 72), transparency=(1, 2, 3)
    )
    assert {"eXIf", "iCCP", "pHYs", "prVt", "tEXt"} <= {kind for kind, _ in chunks(dirty)}
    clean = clean_image(dirty + b"secret behind the end", "a", Generation(origin="comfyui", seed=5)).png
    assert {kind for kind, _ in chunks(clean)} == {"IHDR", "iTXt", "IDAT", "IEND"}
    assert b"secret" not in clean
    with Image.open(io.BytesIO(clean)) as image:
        image.load()
        assert set(image.text) == {RECORD_KEY}


def test_an_image_without_anything_to_tell_gets_no_record():
    assert [k for k, _ in chunks(clean_image(saved(Image.fromarray(COLOUR)), "a", NONE).png)] == [
        "IHDR",
        "IDAT",
        "IEND",
    ]


def test_the_same_picture_in_another_wrapping_is_the_same_file():
    pixels = Image.fromarray(COLOUR)
    one = clean_image(saved(pixels, dpi=(72, 72)), "a", NONE).png
    assert (
        one
        == clean_image(saved(pixels, compress_level=9), "b", NONE).png
        == clean_image(saved(pixels, "WEBP", lossless=True), "c", NONE).png
    )


# the generation


@pytest.mark.parametrize("name", ["cat.png", "odd.png"])
def test_the_recall_of_the_copy_is_the_recall_of_the_original(name):
    data = (EXAMPLES / name).read_bytes()
    before = recall(data)
    after = recall(clean_image(data, name, before).png)
    assert replace(after, carried={}) == replace(before, carried={})
    assert after.origin == before.origin != "distillery-upscale"
    assert not any("this pack" in place for place in after.fields.values())


def test_real_images_survive_the_copy(shared):
    for path in sorted((shared / "images").glob("*.png")):
        before = recall(path)
        after = recall_text({RECORD_KEY: record_for_copy(before)})
        assert replace(after, carried={}) == replace(before, carried={}), path.name


def test_a_copy_of_a_result_of_this_pack_is_still_known_as_sharpened():
    made = Generation(origin="distillery", positive="a hill", sharpen=0.3, fields={"positive": "template_inputs.X"})
    result = recall_text({RECORD_KEY: record_for(made)})
    copy = recall_text({RECORD_KEY: record_for_copy(result)})
    assert (copy.origin, copy.fields) == ("distillery-upscale", {"positive": "this pack's record: template_inputs.X"})
    command = parse_command("")
    warnings = settings_for(copy, command).generation.warnings
    assert warnings == settings_for(result, command).generation.warnings
    assert any("already sharpened" in warning for warning in warnings)
    elsewhere = recall_text({RECORD_KEY: record_for_copy(made)})
    assert not any("already sharpened" in w for w in settings_for(elsewhere, command).generation.warnings)


def test_what_an_image_without_data_has_to_tell_survives():
    before = recall(saved(Image.fromarray(COLOUR), pnginfo=_text("Comment", "hello")))
    assert before.empty and before.warnings
    after = recall(clean_image(saved(Image.fromarray(COLOUR)), "a", before).png)
    assert (after.origin, after.warnings) == ("none", before.warnings)


def _text(key: str, value: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt(key, value)
    return info


def test_warnings_of_the_recall_reach_the_server():
    before = Generation(origin="comfyui", positive="x", warnings=("the cfg of node 3 is not usable",))
    assert recall_text({RECORD_KEY: record_for_copy(before)}).warnings == before.warnings


def test_text_in_any_language_survives_and_half_surrogates_do_no_harm():
    before = Generation(
        origin="comfyui", positive="湖 — Überall 🌅\0\n", negative="\ud800", loras=(Lora("ü.safetensors", -1, 0.5),)
    )
    after = recall(clean_image(saved(Image.fromarray(COLOUR)), "a", before).png)
    assert (after.positive, after.negative, after.loras) == (before.positive, "?", before.loras)


def test_a_forged_copy_can_neither_talk_at_length_nor_name_formats_of_its_own():
    forged = json.loads(record_for_copy(Generation(origin="comfyui", positive="x", seed=1)))
    forged["generation"].update(
        origin="\x1b[31mdanger", warnings=["w" * 10**6] + [str(i) for i in range(10**4)], seed=-5
    )
    read = recall_text({RECORD_KEY: json.dumps(forged)})
    assert read.origin == "distillery-upscale" and read.seed is None
    assert sum(map(len, read.warnings)) < 10_000


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_in_a_copy_raises_nothing(value):
    for record in ({"version": 1, "copy_of_another_file": True, "generation": value},
                   {"version": 1, "copy_of_another_file": True, "generation": {"origin": value, "warnings": value, "fields": value}}):  # fmt: skip
        recall_text({RECORD_KEY: json.dumps(record)})


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("of_this_pack", [False, True])
def test_a_clean_upload_gives_the_same_record_as_the_original_file(server, of_this_pack):
    """On a real ComfyUI: what the result says of its making, places and warnings included, and the pixels."""
    with Image.open(EXAMPLES / "cat.png") as image:
        image.load()
        texts = dict(image.text)
        small = image.convert("RGB").resize((64, 72))
    if of_this_pack:
        texts[RECORD_KEY] = record_for(replace(recall_text(texts), sharpen=0.3))
    info = PngInfo()
    for key, value in texts.items():
        info.add_itxt(key, value)
    original = saved(small, pnginfo=info)
    clean = clean_image(original, "cat", recall(original))
    records, pixels = [], []
    with contextlib.closing(ComfyClient(server.url)) as client:
        for data in (original, clean.png):
            name = client.upload_image(data, "png")
            assert name.endswith(".png [temp]")
            graph = workflow.build(name, "--power 0", f"test/{uuid.uuid4().hex}")
            output = client.run(graph).outputs[workflow.node_id(graph, workflow.SAVE_NODE)]
            records.append(json.loads(output[RECORD_KEY][0]))
            with Image.open(io.BytesIO(b"".join(client.view(output["images"][0])))) as result:
                pixels.append(np.asarray(result))
                assert json.loads(result.text[RECORD_KEY]) == records[-1]
    assert records[0] == records[1] and np.array_equal(*pixels)
    generation = records[1]["generation"]
    assert generation["positive"] and "copy_of_another_file" not in records[1]
    assert generation["fields"]["positive"].startswith("this pack's record") == of_this_pack
    assert any("already sharpened" in warning for warning in generation["warnings"]) == of_this_pack


# bad input


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"  <HTML><body>", "web page"),
        (b"<svg xmlns=", "drawing"),
        (b"hello", "not an image that can be read"),
        (b"\x89PNG\r\n\x1a\n", "not an image that can be read"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not an image that can be read"),
        (b"\0\0\0\x18ftypheic" + bytes(30), "HEIC"),
        (b"\0\0\0\x20ftypisom" + bytes(30), "video"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "archive"),
        (b"BMW and other words", "not an image that can be read"),
    ],
)
def test_what_is_no_image_is_refused_by_name(content, words):
    with pytest.raises(SourceError, match=words) as error:
        check_header(content, "a.png")
    assert str(error.value).startswith("a.png is ")


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"words " * 400_000)),
        chunk(b"iCCP", b"large\0\0" + zlib.compress(bytes(2 * 2**20))),
        chunk(b"tEXt", b"Comment\0words", wrong_crc=True),
    ],
    ids=["text", "profile", "checksum"],
)
def test_what_browsers_pass_over_keeps_no_picture_from_being_upscaled(tmp_path, extra):
    path = tmp_path / "a.png"
    path.write_bytes(with_chunks(saved(Image.fromarray(COLOUR)), extra))
    task = prepare(path, "--power 0", Output(tmp_path))
    with Image.open(io.BytesIO(task.image.png)) as image:
        assert np.array_equal(np.asarray(image), COLOUR)
    left_out = any("left out" in warning for warning in task.image.generation.warnings)
    assert left_out == (extra[4:8] != b"tEXt")


def test_too_many_pixels_are_refused_before_they_are_decoded():
    for side in (60_000, 8_500):
        bomb = written_png(2, DEEP).replace(struct.pack(">II", 70, 66), struct.pack(">II", side, side))
        header = bomb[12:29]
        bomb = bomb[:29] + struct.pack(">I", zlib.crc32(header)) + bomb[33:]
        with pytest.raises(SourceError, match="pixels"):
            check_header(bomb, "a.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_told(form):
    data = saved(Image.fromarray(COLOUR), form)
    for keep in (12, len(data) // 3, len(data) - 400):
        with pytest.raises(SourceError, match="complete"):
            clean_image(data[:keep], "a", NONE)


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_damaged_files_raise_nothing_but_a_clear_error(form, data):
    content = bytearray(saved(Image.fromarray(COLOUR[:20, :20]), form))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = clean_image(bytes(content), "a", NONE)
    except SourceError:
        return
    assert result.png.startswith(b"\x89PNG")
