"""Names of results, and that none is written over."""

from __future__ import annotations

from PIL import Image

from distillery.driver.jobs.output import publish, safe_name, save_png


def test_nothing_is_written_over_and_no_name_leaves_the_folder(tmp_path):
    picture = Image.new("RGB", (8, 8))
    assert [save_png(picture, tmp_path, "a").name for _ in range(3)] == ["a.png", "a_2.png", "a_3.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a_2.png", "a_3.png"]
    assert "/" not in safe_name("../../x") and safe_name("...") == "image"
    part = tmp_path / "part"
    part.write_bytes(b"x")
    assert publish(part, tmp_path, "a").name == "a_4.png"
