"""Image files of every mode to tensors and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from distillery.nodes.errors import DistilleryError
from distillery.nodes.imaging.padding import pad_to_multiple
from distillery.nodes.imaging.pixels import load_pixels, tensors_to_image
from distillery.nodes.imaging.resample import lanczos_downscale, resize

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (70, 90), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (70, 90, 3), dtype=np.uint8)


def _saved(tmp_path, image, name="x.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_rgb_round_trip_is_exact(tmp_path):
    colour, transparency, _ = load_pixels(_saved(tmp_path, Image.fromarray(COLOUR)))
    assert colour.shape == (1, 70, 90, 3) and transparency.shape == (1, 70, 90)
    assert np.array_equal(np.asarray(tensors_to_image(colour[0], transparency[0])), COLOUR)


def test_rgba_round_trip_keeps_alpha(tmp_path):
    rgba = np.dstack([COLOUR, GREY])
    colour, transparency, _ = load_pixels(_saved(tmp_path, Image.fromarray(rgba)))
    assert np.array_equal(np.asarray(tensors_to_image(colour[0], transparency[0])), rgba)


def test_opaque_alpha_is_left_out():
    image = tensors_to_image(torch.rand(8, 8, 3), torch.zeros(8, 8))
    assert image.mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK", "YCbCr", "LAB"])
def test_other_modes_come_as_rgb(tmp_path, mode):
    name = "x.tif" if mode in ("CMYK", "YCbCr", "LAB") else "x.png"
    image = Image.fromarray(COLOUR).convert("RGB")
    image = image.convert("L").convert(mode) if mode in ("LA",) else image.convert(mode)
    colour, *_ = load_pixels(_saved(tmp_path, image, name))
    assert colour.shape == (1, 70, 90, 3)
    expected = np.asarray(image.convert("RGB")).astype(np.float32) / 255
    assert np.allclose(colour[0].numpy(), expected, atol=1e-6)


def test_palette_transparency_is_read(tmp_path):
    image = Image.fromarray(GREY % 4).convert("P")
    _, transparency, _ = load_pixels(_saved(tmp_path, image, transparency=2))
    assert np.array_equal(transparency[0].numpy() == 1, np.asarray(image) == 2)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = RNG.integers(0, 65536, (70, 90)).astype(np.uint16)
    colour, *_ = load_pixels(_saved(tmp_path, Image.fromarray(values)))
    assert np.allclose(colour[0, ..., 0].numpy(), values / 65535, atol=1e-6)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    colour, *_ = load_pixels(_saved(tmp_path, Image.fromarray(COLOUR), "x.jpg", exif=exif))
    assert colour.shape == (1, 90, 70, 3)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(np.full((70, 90, 3), level, np.uint8)) for level in (10, 200)]
    path = _saved(tmp_path, frames[0], "x.png", save_all=True, append_images=frames[1:])
    colour, *_ = load_pixels(path)
    assert colour.shape == (1, 70, 90, 3) and colour.max() < 0.1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>not found</html>", ["not an image", "web page"]),
        (b"", ["is empty"]),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, ["not an image"]),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, words):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DistilleryError) as error:
        load_pixels(path)
    assert "bad.png" in str(error.value)
    assert any(word in str(error.value) for word in [*words, "cannot be read"])


def test_a_truncated_file_is_refused(tmp_path):
    path = _saved(tmp_path, Image.fromarray(COLOUR))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DistilleryError, match="complete"):
        load_pixels(path)


def test_an_image_that_is_too_small_is_refused(tmp_path):
    with pytest.raises(DistilleryError, match="63x64"):
        load_pixels(_saved(tmp_path, Image.new("RGB", (63, 64))))


def test_saving_rounds_to_the_nearest_level():
    levels = torch.tensor([0.4999, 100.6, 254.5001]) / 255
    assert np.asarray(tensors_to_image(levels.view(1, 3, 1))).ravel()[::3].tolist() == [0, 101, 255]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 71), (2, 3), (1, 1)])
def test_padding_keeps_every_pixel_and_reaches_the_multiple(height, width):
    image = torch.rand(1, height, width, 3)
    padded = pad_to_multiple(image)
    assert padded.shape[1] % 8 == 0 and padded.shape[2] % 8 == 0
    assert padded.shape[1] - height < 8 and padded.shape[2] - width < 8
    assert torch.equal(padded[:, :height, :width], image)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_lanczos_is_pillows(factor):
    # Contrast low enough that Pillow, which clips between its two passes, does not clip here.
    source = np.asarray(Image.fromarray(COLOUR // 2 + 64).resize((120, 96), Image.Resampling.BICUBIC))
    expected = np.asarray(Image.fromarray(source).resize((120 // factor, 96 // factor), Image.Resampling.LANCZOS))
    planes = torch.from_numpy(source / 255.0).movedim(-1, 0)[None].float()
    out = lanczos_downscale(planes, factor).clamp(0, 1)[0].movedim(0, -1).numpy() * 255
    # Pillow rounds to 8 bits after each of its two passes.
    assert np.abs(out - expected).max() < 1.6


def test_resize_to_any_size():
    assert resize(torch.rand(2, 3, 30, 40), 17, 90).shape == (2, 3, 17, 90)
