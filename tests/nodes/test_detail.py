"""Keeping detail: what the VAE loses is put back where the pass changed nothing, and only there."""

from __future__ import annotations

import pytest
import torch

from distillery.nodes.imaging import detail
from distillery.nodes.imaging.detail import gaussian, keep_detail
from distillery.nodes.keep import Keep, keep_for
from distillery.nodes.parameters import KEEP, MINI_NAME


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def blurred(picture: torch.Tensor, sigma: float = 3) -> torch.Tensor:
    """What an autoencoder does to fine detail."""
    planes = picture.movedim(-1, 1)
    return torch.cat([gaussian(planes[:, i : i + 1], sigma) for i in range(3)], dim=1).movedim(1, -1)


@pytest.fixture
def enlarged() -> torch.Tensor:
    return 0.3 + 0.4 * noise(1, 80, 72, 3)


def test_a_pass_that_changes_nothing_gives_the_enlarged_picture(enlarged):
    copy = blurred(enlarged)
    torch.testing.assert_close(keep_detail(copy, copy, enlarged), enlarged, atol=1e-6, rtol=0)


def test_a_small_change_is_laid_on_the_enlarged_picture(enlarged):
    copy = blurred(enlarged)
    change = 0.004 * (noise(1, 80, 72, 3, seed=1) - 0.5)
    torch.testing.assert_close(keep_detail(copy + change, copy, enlarged), enlarged + change, atol=8e-3, rtol=0)


def test_where_the_pass_drew_something_else_nothing_is_put_back(enlarged):
    """The left half stays, the right half is painted over."""
    copy = blurred(enlarged)
    regenerated = copy.clone()
    regenerated[:, :, 36:] = noise(1, 80, 36, 3, seed=2)
    kept = keep_detail(regenerated, copy, enlarged)
    torch.testing.assert_close(kept[:, :, :18], enlarged[:, :, :18], atol=0.01, rtol=0)
    put_back = (kept - regenerated)[:, :, 54:]
    lost = (enlarged - copy)[:, :, 54:]
    assert put_back.square().mean() < 0.05 * lost.square().mean()
    everything = keep_detail(regenerated, copy, enlarged, weighted=False) - regenerated
    assert everything[:, :, 54:].square().mean() > 0.5 * lost.square().mean()


def test_colours_that_the_pass_took_away_do_not_come_back():
    """A coloured texture becomes grey: its brightness comes back, its colour does not."""
    enlarged = 0.3 + 0.4 * noise(1, 64, 64, 3)
    copy = blurred(enlarged, 1.5)
    grey = (copy @ torch.tensor([0.299, 0.587, 0.114]))[..., None].expand_as(copy)

    def chroma(picture: torch.Tensor) -> float:
        return float(picture.std(dim=-1).mean())

    assert chroma(keep_detail(grey, copy, enlarged)) < 0.03 * chroma(enlarged)
    assert chroma(keep_detail(grey, copy, enlarged, weighted=False)) > 0.5 * chroma(enlarged)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (65, 64), (255, 9), (257, 9), (700, 13)])
def test_any_size_as_if_it_were_one_piece(height, width, monkeypatch):
    pictures = [noise(2, height, width, 4, seed=seed) for seed in range(3)]
    kept = keep_detail(*pictures)
    assert kept.shape == (2, height, width, 3)
    assert 0 <= kept.min() and kept.max() <= 1
    monkeypatch.setattr(detail, "STRIP", 10_000)
    torch.testing.assert_close(kept, keep_detail(*pictures), atol=1e-6, rtol=0)


def test_one_picture_serves_a_batch_and_half_precision_stays(enlarged):
    batch = noise(3, 80, 72, 3, seed=3)
    kept = keep_detail(batch, blurred(enlarged), enlarged)
    torch.testing.assert_close(kept[1:2], keep_detail(batch[1:2], blurred(enlarged), enlarged))
    assert keep_detail(batch.half(), blurred(enlarged), enlarged).dtype == torch.float16


@pytest.mark.parametrize(
    ("choice", "checkpoint", "expected"),
    [
        ("auto", MINI_NAME, Keep(True, False)),
        ("auto", f"sub\\{MINI_NAME}", Keep(True, False)),
        ("auto", "dreamshaper.safetensors", Keep(False, False)),
        ("auto", None, Keep(False, False)),
        ("detail", "dreamshaper.safetensors", Keep(True, False)),
        ("colours", MINI_NAME, Keep(False, True)),
        ("both", None, Keep(True, True)),
        ("nothing", MINI_NAME, Keep(False, False)),
    ],
)
def test_what_is_kept(choice, checkpoint, expected):
    assert keep_for(choice, checkpoint) == expected
    assert choice in ("auto", expected.name)


def test_every_choice_is_known_and_others_are_refused():
    assert {keep_for(choice, None).name for choice in KEEP} == set(KEEP) - {"auto"}
    with pytest.raises(ValueError, match="detail, colours"):
        keep_for("everything", None)
