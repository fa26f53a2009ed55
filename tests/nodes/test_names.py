"""Matching model names."""

from __future__ import annotations

import itertools

import pytest

from distillery.nodes.model_files.names import match_name, nearest, without_inpainting


@pytest.mark.parametrize(
    ("wanted", "available", "found"),
    [
        ("a.safetensors", ["b.safetensors", "a.safetensors"], "a.safetensors"),
        ("A.safetensors", ["a.safetensors"], "a.safetensors"),
        ("a.ckpt", ["a.safetensors"], "a.safetensors"),
        ("a", ["sd/a.safetensors"], "sd/a.safetensors"),
        ("dir\\a.safetensors", ["other/a.safetensors"], "other/a.safetensors"),
        ("dir/a.safetensors", ["dir\\a.safetensors"], "dir\\a.safetensors"),
        ("model_v1.5", ["model_v1.safetensors", "model_v1.5.safetensors"], "model_v1.5.safetensors"),
        ("model_v1", ["model_v1.5.safetensors"], None),
        ("a.safetensors", ["ab.safetensors", "aa.safetensors"], None),
        ("ÉTÉ.safetensors", ["été.safetensors"], "été.safetensors"),
        ("", ["a.safetensors"], None),
        ("/", ["a.safetensors"], None),
        ("..", ["a.safetensors"], None),
        ("a.safetensors", [], None),
    ],
)
def test_match(wanted: str, available: list[str], found: str | None) -> None:
    assert match_name(wanted, available) == found


@pytest.mark.parametrize(
    ("wanted", "available", "found"),
    [
        # the very name before anything else
        ("a.ckpt", ["sd/a.ckpt", "a.safetensors", "a.ckpt"], "a.ckpt"),
        # folders before the extension
        ("sd\\a.ckpt", ["xl/a.ckpt", "sd/a.safetensors"], "sd/a.safetensors"),
        ("models/sd/a.ckpt", ["sd/a.ckpt", "xl/a.ckpt", "other/sd/a.safetensors"], "sd/a.ckpt"),
        # the extension before the case
        ("a.ckpt", ["a.safetensors", "A.ckpt"], "A.ckpt"),
        ("a", ["x/A.safetensors", "x/a.safetensors"], "x/A.safetensors"),
        # sorted order last
        ("a.pt", ["z/a.safetensors", "b/a.safetensors"], "b/a.safetensors"),
    ],
)
def test_ambiguous_names_are_decided_whatever_the_order(wanted: str, available: list[str], found: str) -> None:
    assert {match_name(wanted, order) for order in itertools.permutations(available)} == {found}


def test_nearest_names_similar_ones_first() -> None:
    available = ["sd/dreamshaper_8.safetensors", "realism.safetensors", "DreamShaper_7.safetensors", "zzz.ckpt"]
    assert nearest("dreamshaper_8-pruned.ckpt", available)[0] == "sd/dreamshaper_8.safetensors"
    assert "zzz.ckpt" not in nearest("dreamshaper.ckpt", available)
    assert len(nearest("dreamshaper.ckpt", available, n=1)) == 1
    assert nearest("", available) == [] and nearest("qqqq", available) == [] and nearest("a", []) == []


def test_nearest_finds_a_name_with_much_behind_it() -> None:
    assert nearest("realism", ["realism_by_somebody_v3_final_pruned.safetensors"])


def test_nearest_is_quick_for_a_hostile_name() -> None:
    assert nearest("ab" * 100_000, ["ab" * 50 + ".safetensors"] * 50, n=2) is not None


@pytest.mark.timeout(20)
def test_without_inpainting_is_quick_for_a_hostile_name() -> None:
    assert without_inpainting("-" * 1_000_000 + "inpainting") is None


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("x-inpainting.safetensors", "x.safetensors"),
        ("x_inpaint.ckpt", "x.ckpt"),
        ("x.inpainting_v2.safetensors", "x_v2.safetensors"),
        ("sd/X-Inpainting.safetensors", "sd/X.safetensors"),
        ("sd\\dreamshaper_8Inpainting.safetensors", "sd\\dreamshaper_8.safetensors"),
        ("cosmopolitan-inpainting", "cosmopolitan"),
        ("x in-painting.safetensors", "x.safetensors"),
        ("inpainting_x.safetensors", "x.safetensors"),
        ("x.safetensors", None),
        ("inpainting/x.safetensors", None),
        ("painting.safetensors", None),
        ("inpainting.safetensors", None),
        ("", None),
    ],
)
def test_without_inpainting(name: str, base: str | None) -> None:
    assert without_inpainting(name) == base
