"""Choosing the power: what counts as new detail, and what as a changed picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from distillery.driver.jobs.drift import POWERS, Drift, best_power, drift, most_changed, next_power, scales

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float32) / 255


@pytest.fixture(scope="module", params=["cat.png", "odd.png"])
def upscaled(request) -> Image.Image:
    with Image.open(EXAMPLES / request.param) as image:
        image = image.convert("RGB")
        return image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)


def noisy(image: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(1).normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def with_object(image: Image.Image, part: float) -> Image.Image:
    """A patch of the other example where there was none, of a part of the shorter side."""
    side = int(min(image.size) * part)
    with Image.open(EXAMPLES / "cat.png") as cat:
        patch = cat.convert("RGB").crop((60, 40, 160, 140)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    changed = image.copy()
    changed.paste(patch.resize((side, side)), (int(image.width * 0.08), int(image.height * 0.06)))
    return changed


def test_the_same_picture_has_not_drifted(upscaled):
    assert drift(levels(upscaled), levels(upscaled)) == Drift(pytest.approx(0, abs=1e-5), 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: noisy(image, 12),
        lambda image: image.filter(ImageFilter.UnsharpMask(2, 120, 0)),
        lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.08),
        lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 1, 0, 1, 1)),
    ],
    ids=["grain", "sharper", "softer", "brighter", "a pixel aside"],
)
def test_detail_grain_and_casts_are_no_drift(upscaled, change):
    found = drift(levels(upscaled), levels(change(upscaled)))
    assert found.within, found


@pytest.mark.parametrize("part", [0.12, 0.2, 0.35])
def test_a_new_object_is_found_by_its_novelty(upscaled, part):
    found = drift(levels(upscaled), levels(with_object(upscaled, part)))
    assert found.novelty > 0.6 and not found.within, found


def test_what_moves_is_found_by_its_structure(upscaled):
    mirrored = drift(levels(upscaled), levels(upscaled.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    step = upscaled.width // 16
    shifted = drift(levels(upscaled), np.roll(levels(upscaled), step, axis=1))
    assert mirrored.structure > 0.5 and shifted.structure > 0.08


def test_more_change_measures_more(upscaled):
    other = levels(upscaled.transpose(Image.Transpose.ROTATE_180))
    found = [drift(levels(upscaled), (1 - part) * levels(upscaled) + part * other) for part in (0.1, 0.3, 0.6)]
    assert [f.structure for f in found] == sorted(f.structure for f in found)
    assert [f.novelty for f in found] == sorted(f.novelty for f in found)


def test_one_generation_sharpened_twice_is_one_picture_and_another_generation_is_not(shared):
    def image(name: str) -> np.ndarray:
        with Image.open(shared / "images" / f"{name}.png") as picture:
            return levels(picture)

    assert drift(image("sdxl_sharpen_0"), image("sdxl_sharpen_0.3")).within
    a, b = image("old_seed123"), image("old_negative")
    height, width = (min(s) for s in zip(a.shape[:2], b.shape[:2], strict=True))
    assert not drift(a[:height, :width], b[:height, :width]).within


def test_flat_and_tiny_pictures_are_measured_too():
    flat = np.full((16, 40, 3), 0.5, np.float32)
    assert drift(flat, flat).within
    rng = np.random.default_rng(0)
    assert np.isfinite(drift(flat, rng.random((16, 40, 3), np.float32)).novelty)
    assert scales(1024, 2048) == [32, 64, 128] and scales(16, 40) == [4]
    with pytest.raises(ValueError, match="one size"):
        drift(flat, flat[:8])


GOOD, BAD = Drift(0.01, 0.1), Drift(0.3, 0.1)


def search(limit: float) -> tuple[list[float], float]:
    """What is tried, and what is chosen, where every power up to a limit is good."""
    measured: dict[float, Drift] = {}
    tried = []
    while (power := next_power(measured)) is not None:
        tried.append(power)
        measured[power] = GOOD if power <= limit else BAD
    return tried, best_power(measured).power


@pytest.mark.parametrize(
    ("limit", "tried", "chosen"),
    [
        (1.0, [0.3, 0.4, 0.5], 0.5),
        (0.4, [0.3, 0.4, 0.5], 0.4),
        (0.3, [0.3, 0.4], 0.3),
        (0.2, [0.3, 0.2], 0.2),
        (0.1, [0.3, 0.2, 0.1], 0.1),
        (0.0, [0.3, 0.2, 0.1], 0.1),
    ],
)
def test_few_powers_are_tried_and_the_highest_good_one_is_chosen(limit, tried, chosen):
    assert search(limit) == (tried, chosen)
    assert set(tried) <= set(POWERS)


def test_the_choice_says_why():
    assert "0.4 changes more" in best_power({0.3: GOOD, 0.4: BAD}).reason
    assert "something new" in best_power({0.3: GOOD, 0.4: Drift(0.01, 2)}).reason
    assert "highest tried" in best_power({0.3: GOOD}).reason
    assert "even it changes more" in best_power({0.1: BAD}).reason
    assert best_power({0.1: GOOD, 0.2: BAD, 0.3: GOOD}).power == 0.1, "nothing is jumped over"
    with pytest.raises(ValueError, match="nothing"):
        best_power({})


def test_the_window_that_changed_most_is_found():
    reference = np.zeros((60, 80, 3), np.float32)
    candidate = reference.copy()
    candidate[40:50, 20:30] = 1
    y, x = most_changed(reference, candidate, 10, 10)
    assert (y, x) == (40, 20)
    assert most_changed(reference, candidate, 500, 500) == (0, 0)
