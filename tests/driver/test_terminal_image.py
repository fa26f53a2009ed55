"""Previews in a terminal: who can show them, and what it is sent."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from distillery.driver.cli.terminal_image import escape_sequence, protocol


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"LC_TERMINAL": "iTerm2", "TERM": "xterm-256color"}, "iterm2"),
        ({"TERM_PROGRAM": "iTerm.app", "TMUX": "/tmp/x"}, None),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
    ],
)
def test_pictures_only_where_the_terminal_takes_them(environment, expected):
    assert protocol(environment) == expected
    assert protocol(environment, terminal=False) is None


def test_what_a_terminal_is_sent_is_the_picture():
    buffer = io.BytesIO()
    Image.effect_noise((96, 64), 80).convert("RGB").save(buffer, "JPEG")
    iterm = escape_sequence(buffer.getvalue(), "iterm2")
    assert Image.open(io.BytesIO(base64.b64decode(iterm.partition(":")[2].partition("\x07")[0]))).size == (96, 64)
    kitty = escape_sequence(buffer.getvalue(), "kitty")
    parts = kitty.rstrip("\n").split("\x1b\\")[:-1]
    assert len(parts) > 1 and all(p.startswith("\x1b_G") and len(p.partition(";")[2]) <= 4096 for p in parts)
    assert ["m=1" in p.partition(";")[0] for p in parts] == [True] * (len(parts) - 1) + [False]
    image = Image.open(io.BytesIO(base64.b64decode("".join(p.partition(";")[2] for p in parts))))
    assert (image.format, image.size) == ("PNG", (96, 64))
    with pytest.raises(ValueError, match="not a picture"):
        escape_sequence(b"\x1b[2J", "kitty")
