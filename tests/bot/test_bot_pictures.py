"""Pictures on their way to Discord."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("discord", reason="the extra [bot] is not installed")

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.driver.bot.pictures import RESERVE, before, drift_of, fit, pixel_hash, pixels_or_nothing, sheet
from distillery.nodes.generation import Generation
from distillery.nodes.imaging.decode import ImageError
from distillery.nodes.recall import recall
from distillery.nodes.record import RECORD_KEY, record_for_copy


def noise(side: int = 256, seed: int = 0, alpha: bool = False) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 4 if alpha else 3), np.uint8)
    return Image.fromarray(levels)


def smooth(side: int = 512) -> Image.Image:
    return Image.radial_gradient("L").resize((side, side)).convert("RGB").rotate(17)


def png(image: Image.Image) -> bytes:
    info = PngInfo()
    info.add_itxt(RECORD_KEY, record_for_copy(Generation(origin="a1111", positive="a hill", seed=5)))
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def nowhere() -> None:
    return None


def test_a_file_that_fits_is_sent_as_it_is() -> None:
    data = png(smooth())
    fitted = fit(data, "hill_2x", len(data) + RESERVE, nowhere, 1)
    assert (fitted.data, fitted.name, fitted.note) == (data, "hill_2x.png", "")


def test_lossless_webp_then_quality_95_then_a_link() -> None:
    image = smooth()
    data = png(image)
    lossless = fit(data, "x", len(data) - 1 + RESERVE, nowhere, 1)
    assert lossless.name == "x.webp" and "lossless" in lossless.note and len(lossless.data) < len(data)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(lossless.data)).convert("RGB")), np.asarray(image))
    lossy = fit(data, "x", len(lossless.data) - 1 + RESERVE, nowhere, 1)
    assert "quality 95" in lossy.note and recall(lossy.data).positive == "a hill"
    data = png(noise(400))
    linked = fit(data, "x", 60_000 + RESERVE, lambda: "https://store.example/x?sig=1", 72)
    assert len(linked.data) <= 60_000 and "https://store.example/x?sig=1" in linked.note and "<t:" in linked.note
    alone = fit(data, "x", 60_000 + RESERVE, nowhere, 72)
    assert len(alone.data) <= 60_000 and "http" not in alone.note and alone.note.startswith("The PNG has")


def test_a_picture_too_large_for_webp_is_sent_smaller() -> None:
    data = png(Image.new("RGB", (16_400, 70), "red"))
    fitted = fit(data, "x", 300 + RESERVE, lambda: "https://store.example/x", 72)
    assert fitted.name == "x_small.webp" and "store.example" in fitted.note


@pytest.mark.parametrize("alpha", [False, True])
def test_pixels_have_one_hash_whatever_became_of_the_file(alpha) -> None:
    image = noise(64, alpha=alpha)
    bare = io.BytesIO()
    image.save(bare, "PNG", compress_level=1)
    webp = io.BytesIO()
    image.save(webp, "WEBP", lossless=True, exact=True)
    assert len({pixel_hash(png(image)), pixel_hash(bare.getvalue()), pixel_hash(webp.getvalue())}) == 1
    assert pixel_hash(png(noise(64, 1, alpha))) != pixel_hash(png(image))
    assert pixels_or_nothing(b"hello") == ""
    with pytest.raises(ImageError):
        pixel_hash(b"hello")


def test_before_and_sheets_are_small() -> None:
    assert max(Image.open(io.BytesIO(before(png(smooth(2000))))).size) == 1536
    pictures = [(f"power {n}", png(noise(300, n))) for n in range(5)]
    made = sheet(pictures, 700_000)
    assert len(made) <= 700_000 and Image.open(io.BytesIO(made)).width > 5 * 250
    assert drift_of(pictures[0][1], pictures[0][1]).within and not drift_of(pictures[0][1], pictures[1][1]).within
