"""Texts out of PNG, APNG, JPEG, WebP and AVIF files."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features
from recall_samples import plain_graph, png
from recall_text_samples import (
    A1111,
    FOOOCUS,
    SAMPLES,
    apng,
    avif,
    comfyui_tags,
    endless_ifd,
    fooocus_jpeg,
    jpeg,
    raw_exif,
    unicode_comment,
    webp,
)

from distillery.nodes.generation import Generation
from distillery.nodes.recall import RecallError, recall
from distillery.nodes.recall.containers import image as containers_module
from distillery.nodes.recall.containers.exif import decode_comment, keyed
from distillery.nodes.recall.containers.image import ACCEPTED, READERS, read_contents
from distillery.nodes.recall.containers.png import read_png_texts

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
FOREIGN = 'озеро, 湖, "ünï" 🌅\nNegative prompt: туман\nSteps: 20, Sampler: Euler a, Seed: 5, RNG: CPU'


def texts_of(data: bytes) -> dict[str, str]:
    return read_contents(data).texts


# the same generation from every container


@pytest.mark.parametrize("write", [jpeg, webp, pytest.param(avif, marks=needs_avif)])
@pytest.mark.parametrize("order", ["be", "le"])
def test_comment_in_both_byte_orders(write, order: str) -> None:
    assert texts_of(write(unicode_comment(FOREIGN, order))) == {"parameters": FOREIGN}


@pytest.mark.parametrize(
    "comment",
    [
        b"ASCII\0\0\0" + FOREIGN.encode(),
        b"UNICODE\0" + FOREIGN.encode(),
        b"UNICODE\0" + FOREIGN.encode("utf-16"),  # with a byte order mark
        b"UNICODE\0" + FOREIGN.encode("utf-16-be") + b"\0",
        b"\0" * 8 + FOREIGN.encode(),
        FOREIGN.encode(),
        b"JIS\0\0\0\0\0" + FOREIGN.encode(),
        b"ASCII\0\0\0" + FOREIGN.encode("utf-16-le"),
    ],
    ids=["ascii", "unicode-utf8", "mark", "odd", "undefined", "bare", "jis", "wrong"],
)
def test_comment_whose_eight_bytes_do_not_tell_the_truth(comment: bytes) -> None:
    assert texts_of(jpeg(comment)) == {"parameters": FOREIGN}


def test_comment_in_japanese_code() -> None:
    text = "湖のほとり\nSteps: 20, Sampler: Euler, Seed: 1"
    assert decode_comment(b"JIS\0\0\0\0\0" + text.encode("iso2022_jp")) == text
    assert decode_comment(b"JIS\0\0\0\0\0" + text.encode("shift_jis")) == text


def test_comment_in_latin_1() -> None:
    text = "café\nSteps: 20, Sampler: Euler, Seed: 1"
    assert decode_comment(b"ASCII\0\0\0" + text.encode("latin-1")) == text


def test_png_and_jpeg_of_one_text_give_the_same_generation() -> None:
    assert recall(png({"parameters": FOREIGN})) == recall(jpeg(unicode_comment(FOREIGN)))
    assert recall(jpeg(unicode_comment(FOREIGN))).negative == "туман"


@pytest.mark.parametrize("write", [webp, jpeg, pytest.param(avif, marks=needs_avif)])
def test_comfyui_tags_give_the_same_as_its_png(write) -> None:
    graph = plain_graph()
    expected = recall(png({"prompt": graph, "workflow": {"nodes": []}}))
    assert expected.seed == 2**60 + 1
    assert recall(write(**comfyui_tags(graph, workflow={"nodes": []}))) == expected


def test_comfyui_tags_hold_what_else_was_saved() -> None:
    record = json.dumps({"version": 1, "generation": {"positive": "湖"}})
    texts = texts_of(webp(**comfyui_tags(plain_graph(), workflow={"nodes": []}, distillery=record)))
    assert set(texts) == {"prompt", "workflow", "distillery"} and texts["distillery"] == record


@pytest.mark.parametrize("tags", [{"tag_010f": "Prompt:{}", "tag_010e": "Workflow:{}"}, {"tag_010e": "workflow: {}"}])
def test_tags_of_other_image_savers(tags: dict[str, str]) -> None:
    assert set(texts_of(jpeg(**tags))) == {name.partition(":")[0].lower() for name in tags.values()}


def test_image_description_and_jpeg_comments() -> None:
    assert texts_of(jpeg(tag_010e=A1111.encode())) == {"parameters": A1111}
    assert texts_of(jpeg(comment=FOREIGN.encode())) == {"parameters": FOREIGN}
    assert recall(jpeg(comment=json.dumps(plain_graph()).encode())).seed == 2**60 + 1


def test_user_comment_goes_before_other_texts() -> None:
    other = FOREIGN.replace("Seed: 5", "Seed: 6")
    assert recall(jpeg(unicode_comment(FOREIGN), comment=other.encode(), tag_010e=other)).seed == 5


def test_all_texts_of_a_png_in_one_object() -> None:
    both = json.dumps({"prompt": plain_graph(), "workflow": {"nodes": []}})
    assert recall(jpeg(unicode_comment(both))).seed == 2**60 + 1


def test_fooocus_has_its_scheme_in_the_makers_note() -> None:
    texts = texts_of(fooocus_jpeg(json.dumps(FOOOCUS), "fooocus"))
    assert texts["fooocus_scheme"] == "fooocus" and texts["Software"] == "Fooocus v2.5.0"
    assert json.loads(texts["parameters"]) == FOOOCUS


def test_animated_png_of_comfyui() -> None:
    data = apng({"prompt": plain_graph(), "workflow": {"nodes": []}})
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    assert set(texts_of(data)) == {"prompt", "workflow"} and recall(data).seed == 2**60 + 1


def test_texts_behind_the_frames_of_an_animated_png() -> None:
    data = apng({})
    chunk = b"tEXtparameters\0" + A1111.encode()
    end = data.rindex(b"IEND") - 4
    data = data[:end] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[end:]
    assert texts_of(data) == {"parameters": A1111}


def test_utf_8_in_a_chunk_that_should_be_latin_1() -> None:
    chunk = b"tEXtparameters\0" + FOREIGN.encode()
    data = png({})
    end = data.rindex(b"IEND") - 4
    data = data[:end] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[end:]
    assert texts_of(data)["parameters"] == FOREIGN


def test_latin_1_in_a_chunk() -> None:
    assert texts_of(png({"Comment": "café"}, kind="tEXt"))["Comment"] == "café"


def test_png_with_nothing_but_exif() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = unicode_comment(FOREIGN)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format="PNG", exif=exif.tobytes())
    assert recall(file).seed == 5


def test_no_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Image.Image) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail, raising=False)
    for name in ("a1111.png", "a1111.jpg", "comfyui.apng", "a1111.webp"):
        assert recall(SAMPLES[name]).seed is not None


# files without


@pytest.mark.parametrize("form", ["JPEG", "WEBP", pytest.param("AVIF", marks=needs_avif)])
def test_stripped_file_says_what_strips_it(form: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, format=form)
    generation = recall(file)
    (warning,) = generation.warnings
    assert generation.empty and form in warning and "media.discordapp.net" in warning and "social sites" in warning


def test_photo_of_a_camera_has_no_generation_data() -> None:
    assert recall(SAMPLES["camera.jpg"]).warnings == recall(SAMPLES["stripped.jpg"]).warnings


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF"])
def test_other_containers_say_that_they_are_not_read(form: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, format=form)
    generation = recall(file)
    assert generation.empty and generation.warnings[0].startswith(f"{form} files carry no generation data")


def test_accepted_names_every_container_that_is_read() -> None:
    assert {form for form in READERS if form != "MPO"} | {"PNG"} == {"PNG", "JPEG", "WEBP", "AVIF"}
    assert all(name in ACCEPTED for name in ("PNG", "JPEG", "WebP", "AVIF"))


def test_avif_that_this_pillow_cannot_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise containers_module.UnidentifiedImageError

    monkeypatch.setattr(containers_module.Image, "open", unknown)
    with pytest.raises(RecallError, match=r"AVIF file.*Pillow 11\.3"):
        recall(b"\0\0\0\x20ftypavif" + b"\0" * 40)


@pytest.mark.parametrize("text", ["", "\0\0", "hello", "style:[a:b:0.5]", "[1, 2]"])
def test_texts_that_are_no_generation_data_have_no_keyword(text: str) -> None:
    assert keyed(text) == {}


@pytest.mark.parametrize("text", ['{"a": ', '{"x": ' * 100_000, '{"a": 1}'])
def test_odd_json_in_a_comment_is_a_warning(text: str) -> None:
    generation = recall(jpeg(b"ASCII\0\0\0" + text[:60_000].encode()))
    assert generation.empty and len(generation.warnings) == 1


# bounds


def test_bomb_behind_the_pixels_leaves_the_other_texts() -> None:
    data = png({"prompt": plain_graph()})
    bomb = png({"workflow": '"' + "a" * 3_000_000 + '"'}, kind="zTXt", after_idat=True)
    chunk = bomb[bomb.index(b"zTXt") - 4 : bomb.rindex(b"IEND") - 4]
    end = data.rindex(b"IEND") - 4
    generation = recall(data[:end] + chunk + data[end:])
    assert generation.seed == 2**60 + 1 and any("larger than 1 MiB" in w for w in generation.warnings)


def test_compressed_text_of_1_mib_is_read() -> None:
    text = "a" * 2**20
    assert texts_of(png({"Comment": text}, kind="zTXt", after_idat=True))["Comment"] == text


def test_many_chunks_are_bounded() -> None:
    chunk = b"tEXtk\0v"
    one = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = png({"prompt": plain_graph()})
    end = data.rindex(b"IEND") - 4
    contents = read_contents(data[:end] + one * 3000 + data[end:])
    assert "prompt" in contents.texts and any("more text than is read" in w for w in contents.warnings)


@pytest.mark.parametrize("length", [2**31 - 1, 2**32 - 1])
def test_chunk_that_claims_to_be_huge(length: int) -> None:
    data = png({"prompt": plain_graph()})
    end = data.rindex(b"IEND") - 4
    data = data[:end] + struct.pack(">I", length) + b"tEXtk\0v"
    found = read_png_texts(io.BytesIO(data))
    assert "prompt" in found.texts and len(found.warnings) == 2


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "tiff", [endless_ifd(), b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"nonsense" * 20]
)
def test_broken_exif_is_no_generation_data(form: str, tiff: bytes) -> None:
    try:
        generation = recall(raw_exif(form, tiff))
    except RecallError:
        pytest.fail("a broken tag is no broken image")
    assert generation.empty and generation.warnings


def test_pixel_bombs_of_other_containers_are_refused() -> None:
    data = bytearray(jpeg(unicode_comment(A1111)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = (65000).to_bytes(2, "big") * 2
    with pytest.raises(RecallError, match="too many pixels"):
        recall(bytes(data))


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_path_and_bytes_give_the_same(name: str, tmp_path: Path) -> None:
    if name.endswith("avif") and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / name
    path.write_bytes(SAMPLES[name])
    with path.open("rb") as file:
        assert recall(path) == recall(SAMPLES[name]) == recall(file)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_raise_nothing_but_recall_error(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(name for name in SAMPLES if not name.endswith("avif"))))
    file = bytearray(SAMPLES[name])
    for at in data.draw(st.lists(st.integers(0, min(len(file), 4000) - 1), max_size=6)):
        file[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    try:
        assert isinstance(recall(bytes(file[:cut] if data.draw(st.booleans()) else file)), Generation)
    except RecallError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8, b""]), st.binary(max_size=200))
def test_any_comment_is_a_text_that_can_be_written(prefix: bytes, data: bytes) -> None:
    decode_comment(prefix + data).encode()
