"""Only formats of the allow-list are opened, wherever a file is opened."""

from __future__ import annotations

import ast
import io
import os
import subprocess
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from distillery.driver.errors import SourceError
from distillery.driver.jobs.contact_sheet import opened
from distillery.driver.sources.clean_image import check_header
from distillery.nodes.errors import DistilleryError
from distillery.nodes.image_formats import ACCEPTED, FORMATS, image_format, open_image
from distillery.nodes.imaging.pixels import load_pixels
from distillery.nodes.recall import recall

ROOT = Path(__file__).resolve().parents[2]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n%%EOF\n"


def calls_of_open(path: Path) -> list[int]:
    """Lines of a module that call Image.open without formats."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open":
            of_pillow = isinstance(node.func.value, ast.Name) and node.func.value.id in ("Image", "PIL")
            if of_pillow and not any(keyword.arg == "formats" for keyword in node.keywords):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("room", ["nodes", "driver"])
def test_no_image_is_opened_without_the_allow_list(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert len(files) > 40
    assert {str(f.relative_to(ROOT)): lines for f in files if (lines := calls_of_open(f))} == {}


@pytest.fixture
def ghostscript(tmp_path, monkeypatch) -> Path:
    """A Ghostscript that leaves a mark when it is run; the path of the mark."""
    if os.name == "nt":
        pytest.skip("a script stands in for the program")
    mark, program = tmp_path / "was-run", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntest \"$1\" = --version && echo 10 && exit\ntouch '{mark}'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return mark


def test_a_postscript_file_of_another_name_runs_nothing(ghostscript, tmp_path):
    disguised = tmp_path / "picture.png"
    disguised.write_bytes(EPS)
    with pytest.raises(DistilleryError, match="AVIF, GIF, BMP or TIFF"):
        load_pixels(disguised)
    with pytest.raises(DistilleryError, match="AVIF, GIF, BMP or TIFF"):
        recall(disguised)
    with pytest.raises(SourceError, match="AVIF, GIF, BMP or TIFF"):
        check_header(EPS, "picture.png")
    with pytest.raises(UnidentifiedImageError):
        opened(disguised)
    assert not ghostscript.exists()
    # That Pillow itself would have run it is why the list is there.
    with pytest.raises(subprocess.CalledProcessError), Image.open(disguised) as image:
        image.load()
    assert ghostscript.exists()


@pytest.mark.parametrize("form", [f for f in FORMATS if f != "MPO"])
def test_every_format_of_the_list_is_opened_and_known_by_its_first_bytes(form):
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow has no {form}")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, form)
    with open_image(io.BytesIO(buffer.getvalue())) as image:
        assert image.format == form and image.size == (64, 64)
    assert image_format(buffer.getvalue()) == form
    assert {"WEBP": "WebP"}.get(form, form) in ACCEPTED


@pytest.mark.parametrize("form", ["ICO", "TGA", "PPM", "PCX", "SGI", "PDF"])
def test_other_formats_are_not_opened(form):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, form)
    with pytest.raises(UnidentifiedImageError):
        open_image(io.BytesIO(buffer.getvalue()))
