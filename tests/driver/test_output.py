"""Names of results, and that none is written over."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest
from PIL import Image

from distillery.driver.jobs.output import new_part, publish, safe_name, save_png


def test_nothing_is_written_over_and_no_name_leaves_the_folder(tmp_path):
    picture = Image.new("RGB", (8, 8))
    assert [save_png(picture, tmp_path, "a").name for _ in range(3)] == ["a.png", "a_2.png", "a_3.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a_2.png", "a_3.png"]
    assert "/" not in safe_name("../../x") and safe_name("...") == "image"
    part = tmp_path / "part"
    part.write_bytes(b"x")
    assert publish(part, tmp_path, "a").name == "a_4.png"


@pytest.fixture(params=[0o022, 0o027, 0o002, 0o077])
def umask(request) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_results_have_the_rights_that_the_users_new_files_have(tmp_path, umask):
    path = save_png(Image.new("RGB", (8, 8)), tmp_path, "a")
    with new_part(tmp_path) as file:
        file.write(b"x")
    published = publish(tmp_path / os.path.basename(file.name), tmp_path, "b")
    assert {stat.S_IMODE(p.stat().st_mode) for p in (path, published)} == {0o666 & ~umask}
