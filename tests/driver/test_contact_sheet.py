"""Pictures laid side by side."""

from __future__ import annotations

import io

from PIL import Image

from distillery.driver.jobs.contact_sheet import Cell, before_after, contact_sheet


def test_before_and_after_stand_side_by_side(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 0, 0)).save(buffer, "PNG")
    Image.new("RGBA", (128, 96), (0, 0, 200, 255)).save(tmp_path / "a_2x.png")
    path = before_after(buffer.getvalue(), tmp_path / "a_2x.png")
    assert path.name == "a_2x_compare.png"
    with Image.open(path) as sheet:
        assert sheet.width == 2 * 128 + 12 and sheet.height > 96
        assert sheet.getpixel((64, sheet.height - 5)) == (200, 0, 0)
        assert sheet.getpixel((sheet.width - 5, sheet.height - 5)) == (0, 0, 200)


def test_a_contact_sheet_shows_every_picture_and_frames_the_chosen_one(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0)]
    cells = []
    for i, colour in enumerate(colours):
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{i}.png")
        cells.append(Cell(tmp_path / f"{i}.png", (f"power {i}", "x"), chosen=i == 1))
    sheet = contact_sheet([cells[:2], cells[2:]], (500, 500), tile=150)
    found = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert set(colours) <= found and (64, 200, 96) in found
    assert sheet.getpixel((20, sheet.height // 2 - 20)) == colours[0]
    assert sheet.width == 2 * 162 + 12
