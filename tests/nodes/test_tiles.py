from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.nodes.errors import DistilleryError
from distillery.nodes.tiling.tiles import Tile, TilePlan, add_tile, crop, plan, weight, weights


@st.composite
def plans(draw: st.DrawFn) -> tuple[TilePlan, int, int, int]:
    """A plan with the tile, overlap and multiple that were asked for."""
    multiple = draw(st.sampled_from([1, 2, 3, 8]))
    tile = draw(st.integers(multiple, 60))
    overlap = draw(st.integers(0, tile // 2))
    width, height = draw(st.integers(1, 5 * tile)), draw(st.integers(1, 5 * tile))
    return plan(width, height, tile, overlap, multiple), tile, overlap, multiple


@settings(deadline=None)
@given(plans())
def test_tiles_lie_inside_the_canvas_cover_it_and_have_one_size(case):
    layout, *_ = case
    covered = torch.zeros(layout.height, layout.width, dtype=torch.bool)
    for tile in layout.tiles:
        assert (tile.width, tile.height) == (layout.tile_width, layout.tile_height)
        assert 0 <= tile.x <= layout.width - tile.width
        assert 0 <= tile.y <= layout.height - tile.height
        crop(covered, tile).fill_(True)
    assert covered.all()
    assert len(set(layout.tiles)) == len(layout.tiles)


@settings(deadline=None)
@given(plans())
def test_neighbours_overlap_by_at_least_what_was_asked(case):
    layout, _, overlap, _ = case
    for starts, size in ((layout.xs, layout.tile_width), (layout.ys, layout.tile_height)):
        assert all(left + size - right >= overlap for left, right in pairwise(starts))


@settings(deadline=None)
@given(plans())
def test_tiles_are_multiples_and_at_most_an_eighth_larger_than_asked(case):
    layout, tile, _, multiple = case
    for starts, size in ((layout.xs, layout.tile_width), (layout.ys, layout.tile_height)):
        assert size <= tile * 9 / 8
        assert size % multiple == 0 or len(starts) == 1


@settings(deadline=None)
@given(plans())
def test_one_tile_less_would_not_do(case):
    layout, tile, overlap, multiple = case
    sides = ((layout.width, layout.xs, layout.tile_width), (layout.height, layout.ys, layout.tile_height))
    for canvas, starts, size in sides:
        fewer = len(starts) - 1
        if fewer == 0:
            assert size == canvas
            continue
        largest = tile + tile // 8
        if fewer > 1:
            largest = largest // multiple * multiple
        assert fewer * largest < canvas + (fewer - 1) * overlap


@settings(deadline=None)
@given(plans())
def test_weights_add_up_to_one_everywhere_and_are_never_zero(case):
    layout, *_ = case
    total = torch.zeros(layout.height, layout.width)
    for tile, w in zip(layout.tiles, weights(layout), strict=True):
        assert w.min() > 0
        add_tile(total, tile, torch.ones_like(w), w)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


@settings(deadline=None)
@given(plans())
def test_blending_the_crops_of_an_image_gives_the_image(case):
    layout, *_ = case
    image = torch.rand(2, 3, layout.height, layout.width, generator=torch.Generator().manual_seed(0))
    blend = torch.zeros_like(image)
    for i, tile in enumerate(layout.tiles):
        add_tile(blend, tile, crop(image, tile), weight(layout, i))
    torch.testing.assert_close(blend, image, rtol=0, atol=1e-6)


# The table of what a HiRes pass costs, in pixels and in latent cells of 8 pixels.
@pytest.mark.parametrize(
    ("canvas", "tile", "overlap", "multiple", "side", "size", "work"),
    [
        (2048, 1024, 128, 64, 2, 1088, 1.14),
        (256, 128, 16, 8, 2, 136, 1.14),
        (2048, 768, 128, 64, 3, 768, 1.28),
        (256, 96, 16, 8, 3, 96, 1.28),
        (2048, 512, 128, 64, 5, 512, 1.57),
        (1024, 768, 128, 64, 2, 576, 1.27),
        (1152, 1024, 128, 64, 1, 1152, 1.0),
    ],
)
def test_the_work_of_usual_canvases(canvas, tile, overlap, multiple, side, size, work):
    layout = plan(canvas, canvas, tile, overlap, multiple)
    assert (len(layout.xs), len(layout.ys), layout.tile_width, layout.tile_height) == (side, side, size, size)
    assert layout.work <= work


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 5), (96, 96), (108, 12)])
def test_a_canvas_that_one_tile_covers_is_one_tile(width, height):
    layout = plan(width, height, 96, 16, 8)
    assert layout.whole
    assert layout.tiles == (Tile(0, 0, width, height),)
    assert torch.equal(weights(layout), torch.ones(1, height, width))


def test_tile_zero_means_no_tiles():
    assert plan(5000, 31, 0, 999).tiles == (Tile(0, 0, 5000, 31),)


def test_weights_are_one_inside_and_at_the_borders_of_the_canvas():
    layout = plan(256, 256, 128, 16, 8)
    first = weights(layout)[0]
    assert torch.equal(first[:120, :120], torch.ones(120, 120))
    assert first[0, 120:].diff().lt(0).all()
    assert first[-1, -1] < 1e-3


def test_only_one_side_is_cut_where_the_other_fits():
    layout = plan(2048, 1024, 1024, 128, 64)
    assert (len(layout.xs), len(layout.ys)) == (2, 1)
    assert (layout.tile_width, layout.tile_height) == (1088, 1024)


def test_a_plan_in_cells_scales_to_pixels():
    layout = plan(300, 200, 96, 16, 8)
    pixels = layout.scaled(8)
    assert [(t.x * 8, t.y * 8, t.width * 8, t.height * 8) for t in layout.tiles] == [
        (t.x, t.y, t.width, t.height) for t in pixels.tiles
    ]
    assert (pixels.width, pixels.height, pixels.work) == (2400, 1600, layout.work)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0, 10, 8, 0), "width is 0"),
        ((10, -1, 8, 0), "height is -1"),
        ((10, 10, 8, 0, 0), "multiple is 0"),
        ((10, 10, 4, 0, 8), "give 8 or more"),
        ((10, 10, -1, 0), "give 1 or more"),
        ((10, 10, 8, 5), "give 0 to 4"),
        ((10, 10, 8, -1), "give 0 to 4"),
    ],
)
def test_lengths_out_of_range_are_refused_with_what_is_accepted(arguments, told):
    with pytest.raises(DistilleryError, match=told):
        plan(*arguments)
