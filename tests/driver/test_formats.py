"""Results as WebP, JPEG and AVIF keep what a PNG says of how it was made; outputs are where the user wants them."""

import argparse
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from distillery.driver.cli import upscale
from distillery.driver.errors import SourceError
from distillery.driver.jobs.existing import without_results
from distillery.driver.jobs.formats import SUFFIXES, FormatError, check_format, convert
from distillery.driver.jobs.output import MAX_STEM, Output, make_folder, output_for, safe_name, write_result
from distillery.driver.sources.load import load
from distillery.nodes.image_formats import MAX_PIXELS
from distillery.nodes.recall import recall
from distillery.nodes.recall.containers.image import read_contents

GENERATION = {"positive": "a \u6f22\u5b57 cat \U0001f600", "negative": "fog", "seed": 7, "steps": 15, "cfg": 6.5}
GRAPH = {
    "1": {"class_type": "DistilleryLoadImage", "inputs": {"image": "distillery_ab.png"}},
    "2": {"class_type": "DistilleryParameters", "inputs": {"command": "--power 0"}},
}


def made(path: Path, mode="RGB", workflow_bytes=1000, side=96) -> Path:
    """A result as the Save node writes it."""
    info = PngInfo()
    info.add_text("prompt", json.dumps(GRAPH))
    info.add_text("workflow", json.dumps({"nodes": [], "links": [], "pad": "x" * workflow_bytes}))
    info.add_itxt("distillery", json.dumps({"version": 1, "generation": GENERATION}))
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(path, pnginfo=info)
    return path


FORMATS = ["webp", "jpeg", pytest.param("avif", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF"))]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_keeps_the_record_and_the_workflow(tmp_path, name):
    png = made(tmp_path / "a.png")
    data, warnings = convert(png, name)
    assert not warnings
    generation = recall(data)
    assert (generation.positive, generation.seed, generation.cfg) == (GENERATION["positive"], 7, 6.5)
    assert generation == recall(png) or generation.warnings == recall(png).warnings
    texts = read_contents(data).texts
    assert json.loads(texts["prompt"]) == GRAPH and json.loads(texts["workflow"])["nodes"] == []


def test_webp_at_100_loses_nothing(tmp_path):
    png = made(tmp_path / "a.png", "RGBA")
    data, _ = convert(png, "webp", 100)
    with Image.open(io.BytesIO(data)) as webp, Image.open(png) as original:
        assert np.array_equal(np.asarray(webp), np.asarray(original))


def test_jpeg_says_what_it_cannot_hold(tmp_path):
    data, warnings = convert(made(tmp_path / "a.png", "RGBA", workflow_bytes=80_000), "jpeg")
    assert "white" in warnings[0] and "workflow" in warnings[1]
    assert recall(data).positive == GENERATION["positive"]


def test_what_a_format_cannot_do_is_said_first():
    for name, quality, words in (("gif", None, "no format"), ("png", 90, "no quality"), ("webp", 0, "1 to 100")):
        with pytest.raises(FormatError, match=words):
            check_format(name, quality)
    check_format("webp", 100)


def test_a_picture_too_large_for_webp_is_refused(tmp_path):
    Image.new("L", (16_400, 64)).save(tmp_path / "wide.png")
    with pytest.raises(FormatError, match="16383"):
        convert(tmp_path / "wide.png", "webp")


@pytest.mark.parametrize(
    ("out", "format", "file", "kind"),
    [
        ("new", None, None, "png"), ("new", "webp", None, "webp"), ("a.WEBP", None, "a.WEBP", "webp"),
        ("sub/b.jpeg", None, "sub/b.jpeg", "jpeg"), ("folder.png/", None, None, "png"), ("out.2026", None, None, "png"),
        ("there.png", None, None, "png"),
    ],
)  # fmt: skip
def test_a_path_is_a_file_or_a_folder(tmp_path, out, format, file, kind):
    (tmp_path / "there.png").mkdir()
    found = output_for(f"{tmp_path}/{out}", format)
    assert found.format == kind and found.file == (None if file is None else tmp_path / file)


def test_paths_that_contradict_are_refused(tmp_path):
    with pytest.raises(SourceError, match="ends like"):
        output_for(tmp_path / "a.png", "webp")
    with pytest.raises(SourceError, match=r"not written as \.tiff"):
        output_for(tmp_path / "a.tiff")


def test_home_is_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert output_for("~/x").folder == tmp_path / "x"
    assert output_for("~nobody-here.png").file == Path("~nobody-here.png")


def test_a_file_that_is_named_is_replaced(tmp_path):
    target = tmp_path / "a.webp"
    target.write_bytes(b"old")
    written = write_result(made(tmp_path / "p.png"), Output(tmp_path, target, "webp"), "stem")
    assert written.path == target and (written.width, written.height) == (96, 96)
    assert recall(target).seed == 7 and [p.name for p in tmp_path.iterdir()] == ["a.webp"]


@pytest.mark.parametrize("stem", ["\u6f22" * 83, "a" * 300, "\U0001f600" * 100, "\udcff\udcfe", "...", "a/b\\c:d"])
def test_any_stem_makes_a_name_that_fits(tmp_path, stem):
    name = safe_name(stem)
    assert len(name.encode()) <= MAX_STEM
    (tmp_path / f"{name}_2x_9999_compare.png").write_bytes(b"")


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_folder_that_cannot_be_written_is_said_before_the_job(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)  # root may write everywhere
    try:
        with pytest.raises(SourceError, match="cannot be written"):
            make_folder(tmp_path / "closed")
    finally:
        os.seteuid(before)


def test_a_file_in_the_place_of_a_folder_is_said_before_the_job(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="cannot be written"):
        make_folder(tmp_path / "file" / "sub")


def test_a_pattern_does_not_take_results_for_pictures(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "cat.png")
    made(tmp_path / "cat_2x.png")
    made(tmp_path / "cat_2x_2.png")
    made(tmp_path / "dog_2x.png")  # its picture is not there
    Image.new("RGB", (64, 64)).save(tmp_path / "tree.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "tree_2x.png")  # not of this driver
    sources = sorted(str(p) for p in tmp_path.glob("*.png"))
    kept, results = without_results(sources)
    assert [Path(p).name for p in results] == ["cat_2x.png", "cat_2x_2.png"]
    assert [Path(p).name for p in kept] == ["cat.png", "dog_2x.png", "tree.png", "tree_2x.png"]


def test_sources_of_the_library(tmp_path):
    png = made(tmp_path / "a.png")
    data = png.read_bytes()
    with png.open("rb") as file, Image.open(png) as image:
        found = [load(data), load(bytearray(data)), load(io.BytesIO(data)), load(file), load(image)]
    assert [f.stem for f in found] == ["image", "image", "image", "a", "a"]
    assert all((f.width, f.height) == (96, 96) and recall(f.data).positive == GENERATION["positive"] for f in found)
    assert load(Image.new("RGBA", (64, 64))).width == 64
    for bad, words in (
        (42, "type int"),
        (io.StringIO("text"), "binary mode"),
        (Image.new("LAB", (64, 64)), "mode LAB"),
    ):
        with pytest.raises(SourceError, match=words):
            load(bad)


def test_the_help_says_what_the_code_does():
    assert set(upscale.FORMATS) == set(SUFFIXES)
    assert f"{MAX_PIXELS:,}" in upscale_help()


def upscale_help() -> str:
    parser = argparse.ArgumentParser()
    upscale.add_upscale_parser(parser.add_subparsers(), "")
    return " ".join(parser._subparsers._group_actions[0].choices["upscale"].format_help().split())
