"""Images in a terminal, by iTerm2's protocol or kitty's."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from typing import Literal

Protocol = Literal["iterm2", "kitty"]

ROWS = 16
"""Height of a preview in lines of text."""
_CHUNK = 4096
"""Maximum bytes in one of kitty's escape sequences."""


def protocol(environment: Mapping[str, str] = os.environ, terminal: bool = True) -> Protocol | None:
    """Return the protocol that this terminal understands, by its environment variables; None if it has none.

    terminal: False if the output is no terminal. tmux and screen pass no images on, so inside them it is None.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if not terminal or environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return None
    if environment.get("KITTY_WINDOW_ID") or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return None


def escape_sequence(image: bytes, how: Protocol, rows: int = ROWS) -> str:
    """Return the characters that show an image file ``rows`` lines high. Raises ValueError if it is no image."""
    from PIL import Image, UnidentifiedImageError

    from ...nodes.image_formats import open_image

    try:
        with open_image(io.BytesIO(image)) as picture:
            picture.load()
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "PNG", compress_level=1)  # kitty takes no JPEG
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("the preview is not a picture") from error
    data = base64.b64encode(buffer.getvalue()).decode()
    if how == "iterm2":
        options = f"inline=1;height={rows};preserveAspectRatio=1;size={len(buffer.getvalue())}"
        return f"\x1b]1337;File={options}:{data}\x07\n"
    chunks = [data[i : i + _CHUNK] for i in range(0, len(data), _CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        more = int(number < len(chunks) - 1)
        # q=2: no reply from the terminal, which would be read as typed input.
        control = f"a=T,f=100,q=2,r={rows},m={more}" if number == 0 else f"m={more}"
        parts.append(f"\x1b_G{control};{chunk}\x1b\\")
    return "".join(parts) + "\n"
