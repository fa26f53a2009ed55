"""The figures of benchmarks/hires.py tell seams, steps and repeated noise from pictures without."""

from __future__ import annotations

import numpy as np
import pytest

from distillery.benchmarks import seams

XS, YS = [128, 256], [128]


def noise(seed: int = 0, height: int = 256, width: int = 384) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, (height, width, 3))


def test_noise_has_no_seam():
    ratio, p = seams.seam_ratio(noise(), XS, YS)
    assert 0.95 < ratio < 1.05
    assert p > 0.05


@pytest.mark.parametrize("border", XS)
def test_a_step_in_level_is_a_seam(border):
    change = noise()
    change[:, border:] += 0.02
    ratio, p = seams.seam_ratio(change, XS, YS)
    assert ratio > 1.03
    assert p < 0.05


def test_the_grid_of_a_vae_is_no_seam():
    change = noise()
    change[::8] += 0.03
    change[:, ::8] += 0.03
    ratio, p = seams.seam_ratio(change, XS, YS)
    assert 0.95 < ratio < 1.05
    assert p > 0.05


def test_steps_are_those_of_the_change_not_of_the_picture():
    before = np.full((256, 384, 3), 0.5)
    before[:, 128:] = 0.7
    same, between = seams.border_steps(before + noise() / 10, before, XS, YS)
    assert same < 0.1
    assert between < 0.1
    after = before.copy()
    after[:, 256:] += 0.01
    step, between = seams.border_steps(after, before, XS, YS)
    assert 0.2 < step < 1, "one of three borders has a step of about one Delta E"
    assert between < 1e-9


def test_one_noise_in_all_tiles_is_found_even_moved_a_little():
    tile = noise(1, 256, 256)
    origins = [(0, 0), (256, 0), (0, 256), (256, 256)]
    repeated = np.concatenate([np.concatenate([tile, np.roll(tile, 9, 1)], 1)] * 2)
    assert seams.repetition(repeated, origins, 256) > 0.5
    assert abs(seams.repetition(noise(2, 512, 512), origins, 256)) < 0.03


def test_similarity_is_one_for_the_same_picture_and_less_for_others():
    picture = np.clip(0.5 + 10 * noise(), 0, 1)
    assert seams.ssim(picture, picture) == pytest.approx(1)
    assert seams.ssim(picture, np.clip(picture + 4 * noise(3), 0, 1)) < 0.95
