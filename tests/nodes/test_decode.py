"""Image files as the driver and the editor's node read them: with one result."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from png_files import SIGNATURE, chunk, international, with_chunks, written_tiff

from distillery.driver.sources.clean_image import clean_image
from distillery.nodes.errors import DistilleryError
from distillery.nodes.generation import Generation
from distillery.nodes.imaging.decode import ImageError, decode_image, read_header
from distillery.nodes.imaging.pixels import load_pixels
from distillery.nodes.imaging.png import pixel_chunks

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (66, 70, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
RAMP = np.linspace(0, 1, 66 * 70, dtype=np.float32).reshape(66, 70)
LONG = b"words and words " * 100_000
"""1.6 MB, which compress to little: Pillow refuses the file for them."""


def saved(image: Image.Image | np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


PNG = saved(COLOUR)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data, "a").image)


def only_warning(data: bytes) -> str:
    (warning,) = decode_image(data, "a").warnings
    return warning


# what is beside the pixels


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"prompt\0\0" + zlib.compress(LONG)),
        chunk(b"iTXt", international("workflow", LONG)),
        chunk(b"iTXt", international("XML:com.adobe.xmp", LONG)),
        chunk(b"tEXt", b"prompt\0words", wrong_crc=True),
        chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1), wrong_crc=True),
        chunk(b"pHYs", b"\0"),
        chunk(b"tIME", b"", wrong_crc=True),
        chunk(b"prVt", bytes(1000)),
        chunk(b"zTXt", b"prompt\0\7unknown compression"),
    ],
    ids=lambda extra: extra[4:8].decode() + str(len(extra)),
)
def test_what_stands_beside_the_pixels_does_not_keep_them_from_being_read(extra, after):
    data = with_chunks(PNG, after=extra) if after else with_chunks(PNG, extra)
    assert np.array_equal(pixels(data), COLOUR) and not decode_image(data, "a").warnings
    assert read_header(data, "a").width == 70


def test_a_file_that_is_cut_off_behind_its_pixels_is_whole():
    info = PngInfo()
    info.add_text("Comment", "x" * 1000)
    text = chunk(b"tEXt", b"Comment\0" + b"x" * 1000)
    data = with_chunks(PNG, after=text)
    assert np.array_equal(pixels(data[: data.index(text) + 500]), COLOUR)
    assert np.array_equal(pixels(data + b"and more behind the end"), COLOUR)


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT"])
def test_critical_chunks_are_not_let_off(kind):
    data = bytearray(saved(Image.fromarray(GREY % 4).convert("P")))
    at = data.index(kind)
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 4 + length // 2] ^= 0xFF
    with pytest.raises(ImageError, match="complete"):
        decode_image(bytes(data), "a")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (chunk(b"iCCP", b"large\0\0" + zlib.compress(bytes(2 * 2**20))), r"profile .*1 MiB.*left out"),
        (chunk(b"iCCP", b"broken\0\0not compressed"), r"profile .*left out"),
        (chunk(b"iCCP", b"x\0\0" + zlib.compress(b"x"), wrong_crc=True), r"profile .*damaged"),
        (chunk(b"gAMA", struct.pack(">I", 100000), wrong_crc=True), r"gAMA data .*damaged"),
        (chunk(b"gAMA", b"x"), r"gAMA data .*damaged"),
        (chunk(b"sRGB", b""), r"sRGB data .*damaged"),
        (chunk(b"tRNS", b"xx"), r"tRNS data .*damaged"),
        (chunk(b"iCCP", b"x\0\1" + zlib.compress(b"x")), r"profile .*damaged"),
        (chunk(b"iCCP", b"no end"), r"profile .*damaged"),
        (chunk(b"tRNS", struct.pack(">HHH", *map(int, COLOUR[0, 0])), wrong_crc=True), r"tRNS data .*damaged"),
    ],
)
def test_damaged_colours_are_left_out_with_a_warning(extra, words):
    data = with_chunks(PNG, extra)
    assert np.array_equal(pixels(data), COLOUR)
    assert re.search(words, only_warning(data))


def test_of_an_animation_nothing_but_its_first_frame_is_read():
    frames = [Image.fromarray(np.full((66, 70, 3), level, np.uint8)) for level in (10, 200)]
    data = saved(frames[0], save_all=True, append_images=frames[1:])
    found = pixel_chunks(data)
    assert found.frames == 2 and b"fdAT" not in found.data and b"acTL" not in found.data
    assert "first" in only_warning(data) and pixels(data).max() == 10


@pytest.mark.parametrize("keyword", ["exif", "Raw profile type exif"])
def test_the_orientation_is_found_in_the_texts_where_pillow_looks(keyword):
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    text = raw if keyword == "exif" else f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    assert pixels(with_chunks(PNG, chunk(b"tEXt", keyword.encode() + b"\0" + text))).shape == (70, 66, 3)
    assert pixels(with_chunks(PNG, chunk(b"zTXt", keyword.encode() + b"\0\0" + zlib.compress(text)))).shape[0] == (
        66 if keyword == "exif" else 70
    )


def test_colours_that_stand_behind_the_pixels_do_not_count():
    data = with_chunks(PNG, after=gamma(1.0) + chunk(b"tRNS", struct.pack(">HHH", *map(int, COLOUR[0, 0]))))
    assert np.array_equal(pixels(data), COLOUR) and not decode_image(data, "a").warnings


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"gAMA", b"tRNS", b"iCCP", b"iTXt", b"zTXt", b"acTL", b"cICP", b"IDAT", b"IEND", b"eXIf"]),
            st.binary(max_size=40),
            st.booleans(),
        )
    ),
    st.binary(max_size=8),
)
def test_any_chunks_raise_nothing(parts, rest):
    data = PNG[:33] + b"".join(chunk(*part) for part in parts) + rest
    kept = pixel_chunks(data).data
    assert kept.startswith(SIGNATURE) and len(kept) <= len(data) and pixel_chunks(kept).data is kept


def test_a_plain_file_is_not_copied():
    assert pixel_chunks(PNG).data is PNG
    assert pixel_chunks(SIGNATURE).data is SIGNATURE


# colours


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100000)))


def srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("value", [1.0, 0.55556, 0.3])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16"])
def test_the_gamma_of_a_png_is_converted(value, mode):
    if mode == "I;16":
        image, top = Image.fromarray(GREY.astype(np.uint16) * 257), 65535
    else:
        image, top = Image.fromarray(COLOUR).convert(mode), 255
    if mode == "RGBA":
        image.putalpha(Image.fromarray(GREY))
    found = pixels(with_chunks(saved(image), gamma(value)))
    source = np.asarray(image.convert("RGB") if mode == "P" else image).astype(float)
    if mode == "RGBA":
        assert np.array_equal(found[..., 3], GREY)
        found, source = found[..., :3], source[..., :3]
    assert np.abs(found - srgb((source / top) ** (1 / value)) * top).max() <= 0.5
    assert not decode_image(with_chunks(saved(image), gamma(value)), "a").warnings


@pytest.mark.parametrize(
    "extras",
    [
        (gamma(1 / 2.2),),
        (gamma(0.46),),
        (chunk(b"sRGB", b"\0"), gamma(1.0)),
        (gamma(0),),
        (gamma(1.0), chunk(b"cICP", bytes([1, 13, 0, 1]))),
        (chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),),
    ],
)
def test_what_amounts_to_srgb_keeps_every_pixel(extras):
    data = with_chunks(PNG, *extras)
    assert np.array_equal(pixels(data), COLOUR) and not decode_image(data, "a").warnings


def test_a_profile_goes_before_the_gamma():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = with_chunks(saved(COLOUR, icc_profile=profile), gamma(1.0))
    assert np.array_equal(pixels(data), COLOUR)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (chunk(b"cICP", bytes([9, 16, 0, 1])), "HDR (PQ)"),
        (chunk(b"cICP", bytes([9, 18, 0, 1])), "HDR (HLG)"),
        (chunk(b"cICP", bytes([12, 13, 0, 1])), "Display P3"),
        (chunk(b"cICP", bytes([1, 8, 0, 1])), "cICP"),
        (chunk(b"cICP", bytes([1, 13, 0, 0])), "cICP"),
        (chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)), "cHRM"),
    ],
)
def test_colours_that_cannot_be_converted_are_warned_of(extra, words):
    data = with_chunks(PNG, extra)
    assert words in only_warning(data) and np.array_equal(pixels(data), COLOUR)


def test_of_a_picture_with_a_profile_only_hdr_is_warned_of():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = saved(COLOUR, icc_profile=profile)
    assert not decode_image(with_chunks(plain, chunk(b"cICP", bytes([12, 13, 0, 1]))), "a").warnings
    assert "HDR" in only_warning(with_chunks(plain, chunk(b"cICP", bytes([9, 16, 0, 1]))))


def test_an_avif_in_hdr_is_warned_of():
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    data = saved(COLOUR, "AVIF", quality=100)
    at = data.index(b"colrnclx")
    assert not decode_image(data, "a").warnings
    assert "HDR (PQ)" in only_warning(data[: at + 8] + struct.pack(">HH", 9, 16) + data[at + 12 :])


# depth


def test_floats_from_0_to_1_are_scaled_and_said_to_be_taken_as_srgb():
    decoded = decode_image(saved(RAMP, "TIFF"), "a")
    assert np.abs(np.asarray(decoded.image) / 65535 - RAMP).max() < 1e-5
    assert len(decoded.warnings) == 1 and "floating point" in decoded.warnings[0]


def test_a_few_highlights_above_white_do_not_darken_the_picture():
    values = RAMP.copy()
    values[0, :30] = 7.5
    decoded = decode_image(saved(values, "TIFF"), "a")
    levels = np.asarray(decoded.image) / 65535
    assert levels[0, :30].min() == 1 and np.abs(levels[1:] - RAMP[1:]).max() < 1e-5
    assert any("brighter than white" in warning for warning in decoded.warnings)


def test_floats_that_are_no_numbers_are_black_with_a_warning():
    values = RAMP.copy()
    values[5, :3] = np.nan, np.inf, -np.inf
    decoded = decode_image(saved(values, "TIFF"), "a")
    assert np.asarray(decoded.image)[5, :3].max() == 0 and any("3 samples" in w for w in decoded.warnings)


@pytest.mark.parametrize("scale", [255, 65535])
def test_floats_of_another_range_are_refused_with_what_to_do(scale):
    with pytest.raises(ImageError, match=rf"^a\.tif has floating point samples from 0 to {scale}.*8 or 16 bits"):
        decode_image(saved(RAMP * scale, "TIFF"), "a.tif")


@pytest.mark.parametrize(
    "samples", [np.dstack([RAMP] * 3), RAMP.astype(np.float16), RAMP.astype(np.float64)], ids=["RGB", "half", "double"]
)
def test_floats_that_pillow_cannot_read_are_named_as_such(samples):
    with pytest.raises(ImageError, match=r"^a\.tif is a TIFF of floating point.*8 or 16 bits"):
        decode_image(written_tiff(samples, 3), "a.tif")


@pytest.mark.parametrize("samples", [(RAMP * 2**32 * 0.99).astype(np.uint32), (RAMP * 100_000).astype(np.int32)])
def test_whole_numbers_beyond_16_bits_are_refused_and_not_cut_off(samples):
    with pytest.raises(ImageError, match=r"^a\.tif has samples from .*65535 are taken"):
        decode_image(written_tiff(samples, 1 if samples.dtype == np.uint32 else 2), "a.tif")


def test_32_bits_that_hold_16_are_taken():
    levels = (RAMP * 65535).astype(np.uint32)
    assert np.array_equal(pixels(written_tiff(levels, 1)), levels)


# both readers


def swapped_profile() -> bytes:
    """sRGB with red and blue exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(struct.unpack(">I", profile[128:132])[0]):
        at = 132 + 12 * i
        names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
        profile[at : at + 4] = names.get(bytes(profile[at : at + 4]), bytes(profile[at : at + 4]))
    return bytes(profile)


@pytest.mark.parametrize(
    "data",
    [
        saved(COLOUR, icc_profile=swapped_profile()),
        saved(COLOUR, "JPEG", icc_profile=swapped_profile()),
        saved(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"),
        saved(np.dstack([COLOUR, GREY]), icc_profile=swapped_profile()),
        with_chunks(PNG, gamma(0.55556)),
        with_chunks(PNG, chunk(b"cICP", bytes([9, 16, 0, 1]))),
        with_chunks(PNG, chunk(b"iTXt", international("workflow", LONG))),
        saved(RAMP, "TIFF"),
        saved((RAMP * 65535).astype(np.uint16)),
        saved(Image.fromarray(GREY % 4).convert("P"), transparency=2),
    ],
    ids=["profile", "JPEG", "CMYK", "RGBA", "gamma", "HDR", "text", "float", "16 bits", "palette"],
)
def test_the_editors_node_reads_what_the_driver_uploads(tmp_path, data):
    clean = clean_image(data, "a", Generation())
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(clean.png)
    direct, uploaded = load_pixels(tmp_path / "a"), load_pixels(tmp_path / "b")
    for one, other in zip(direct[:2], uploaded[:2], strict=True):
        assert one.shape == other.shape and np.array_equal(one.numpy(), other.numpy())
    assert direct.warnings == clean.generation.warnings and not uploaded.warnings


@pytest.mark.parametrize("read", [decode_image, read_header])
def test_more_pixels_than_the_limit_are_refused_in_both(tmp_path, read):
    with pytest.raises(ImageError, match=r"a has 70x66 pixels; at most 4,619 are taken"):
        read(PNG, "a", 4619)
    assert read(PNG, "a", 4620)
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(DistilleryError, match="at most 100 are taken"):
        load_pixels(tmp_path / "a.png", max_pixels=100)


def test_a_bomb_is_refused_by_the_node_before_it_is_decoded(tmp_path):
    bomb = bytearray(PNG)
    bomb[16:24] = struct.pack(">II", 9000, 9000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    (tmp_path / "a.png").write_bytes(bomb)
    with pytest.raises(DistilleryError, match=r"9000x9000 pixels; at most 64,000,000"):
        load_pixels(tmp_path / "a.png")
    with pytest.raises(DistilleryError, match="cannot be read"):
        load_pixels(tmp_path / "gone.png")
