"""What a file is, by its first bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image, features

from distillery.nodes.image_formats import SVG, WEB_PAGE, XML, image_format, other_format


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_what_pillow_writes_is_told_by_its_first_bytes(name):
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, name)
    assert image_format(file.getvalue()[:32]) == name
    assert other_format(file.getvalue()[:32]) in (None, "a video")  # AVIF is in the container of videos


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", None),
        (b"plain text", None),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>", WEB_PAGE),
        (b"<?xml version='1.0'?>", XML),
        (b" <svg>", SVG),
        (b"\0\0\0\x18ftypheic", "a HEIC image"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"%PDF-1.7", "a PDF"),
        (b"____????WEBP", None),
    ],
)
def test_others_are_named_in_words(head, kind):
    assert image_format(head) is None
    assert other_format(head) == kind
