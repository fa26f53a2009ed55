"""Load images from files, standard input, Discord attachments and links of allowed hosts."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import SplitResult

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ...nodes.image_formats import MAX_PIXELS
from ..errors import SourceError
from ..paths import user_path
from . import discord, label, web
from .clean_image import check_header
from .fetch import MAX_BYTES, FetchPolicy, host_name, public_url, split_url

STANDARD_INPUT = "-"

_URL = re.compile(r"\s*<?\s*[a-zA-Z][a-zA-Z0-9+.-]*://")


@dataclass(frozen=True)
class Rules:
    """What is taken, and from where. Raises SourceError for a limit that cannot be."""

    allow_hosts: tuple[str, ...] = ()
    """Exact names of hosts to fetch from, beside Discord's."""
    max_pixels: int = MAX_PIXELS
    """Width times height of a picture, at most."""
    proxy: str | None = None
    """``http://[user:password@]host:port`` to fetch links through; None: no proxy, whatever the environment says."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise SourceError(
                f"A limit of {self.max_pixels:,} pixels is given; 1 to {MAX_PIXELS:,} are possible (the node that loads the "
                "image has that limit too)."
            )

    @property
    def policy(self) -> FetchPolicy | None:
        """The rules of a request; None: the usual ones."""
        return None if self.proxy is None else FetchPolicy(proxy=self.proxy)


@dataclass(frozen=True)
class SourceImage:
    """An image file, unmodified; format and size are checked."""

    data: bytes
    name: str
    """File name, for messages; untrusted input."""
    stem: str
    """Stem of the result's file name; untrusted input."""
    width: int
    height: int
    """In pixels, as stored, before the EXIF orientation."""
    label: str
    """The source as it was given, without the query of a URL."""


Source = str | Path | bytes | bytearray | memoryview | BinaryIO | Image.Image
"""What an image is given as: a file, ``-``, a link, the bytes of a file, a file opened in binary mode, or a Pillow image."""


def load(
    source: Source,
    rules: Rules | None = None,
    policy: FetchPolicy | None = None,
    token: str | None = None,
) -> SourceImage:
    """Read a file or standard input (``-``), or fetch a link; take bytes and images as they are.

    token: of a bot, to renew expired links of Discord; None: the one from the environment. Raises SourceError with what to do.
    """
    rules = rules or Rules()
    max_pixels = rules.max_pixels
    if isinstance(source, str):
        if source.strip() == STANDARD_INPUT:
            return _check(_read_standard_input(), "the standard input", "stdin", source, max_pixels)
        if _URL.match(source):
            data, name = fetch(source, rules.allow_hosts, policy or rules.policy, token)
            return _check(data, name, PurePosixPath(name).stem, source, max_pixels)
    if isinstance(source, str | Path):
        return _load_file(source, max_pixels)
    name = label(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _check(_read(io.BytesIO(source), name), name, "image", source, max_pixels)
    if isinstance(source, Image.Image):
        return _check(_encode(source), name, Path(name).stem, source, max_pixels)
    if callable(getattr(source, "read", None)):
        data = _read(source, name)
        if not isinstance(data, bytes):
            raise SourceError(f'{name} is opened as text; open it in binary mode: open(…, "rb").')
        return _check(data, name, Path(name).stem, source, max_pixels)
    raise SourceError(
        f"An image of the type {type(source).__name__} is not taken: give a path, a link, bytes, a binary file or a Pillow image."
    )


def _encode(image: Image.Image) -> bytes:
    """Write a Pillow image as PNG, with the texts, the orientation and the profile that it was read with."""
    info, out = PngInfo(), io.BytesIO()
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str):
            info.add_itxt(key, value)
    try:
        exif = image.getexif().tobytes()
        image.save(out, "PNG", pnginfo=info, exif=exif, icc_profile=image.info.get("icc_profile"), compress_level=1)
    except (OSError, ValueError, SyntaxError) as error:
        raise SourceError(f"The Pillow image of mode {image.mode} cannot be written as PNG: {error}.") from error
    return out.getvalue()


def fetch(
    url: str, allow_hosts: Collection[str] = (), policy: FetchPolicy | None = None, token: str | None = None
) -> tuple[bytes, str]:
    """Download a link; returns the bytes and the file name.

    allow_hosts: exact names of hosts to fetch from, beside Discord's. Others as in :func:`load`.
    """
    allowed = {host_name(host) for host in allow_hosts}
    parts = split_url(url.strip().removeprefix("<").removesuffix(">"))
    if parts.hostname in discord.HOSTS:
        return discord.fetch(parts, token, policy)
    if parts.hostname in allowed:
        return web.fetch(parts, policy)
    raise SourceError(_not_fetched(parts, allowed))


def _not_fetched(parts: SplitResult, allowed: set[str]) -> str:
    link = public_url(parts.geturl())
    if parts.hostname in ("discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com"):
        return f"{link} is the link of a message or a channel. Use Copy Link on the image itself."
    others = f" and links to {', '.join(sorted(allowed))}" if allowed else ""
    return (
        f"{link} is not fetched: only attachments of Discord ({' and '.join(discord.HOSTS)}){others} are. Download the image and give the file, or allow the host "
        "with --allow-host if you trust it."
    )


def _load_file(source: str | Path, max_pixels: int) -> SourceImage:
    brief = str(source)[:300]
    try:
        path = user_path(source)
        if path.is_dir():
            raise SourceError(f"{brief} is a folder; give image files.")
        with path.open("rb") as file:
            data = _read(file, str(path))
    except FileNotFoundError:
        link = str(source).strip().startswith((*discord.HOSTS, "https:", "http:", "www."))
        hint = " If it is meant as a link: one begins with https://." if link else ""
        raise SourceError(f"There is no file {brief}.{hint}") from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name; ~nobody
        raise SourceError(f"{brief} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return _check(data, path.name, path.stem, source, max_pixels)


def _read_standard_input() -> bytes:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise SourceError('"-" reads an image from the standard input, but none is piped in: … upscale - < image.png')
    try:
        return _read(stream, "The standard input")
    except OSError as error:
        raise SourceError(f"The standard input cannot be read: {error.strerror or error}.") from error


def _read(stream: BinaryIO, name: str) -> bytes:
    # The size of the file is not asked for: devices and pipes have none.
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SourceError(f"{name} has more than {MAX_BYTES >> 20} MiB, which is the most that is taken.")
    return data


def _check(data: bytes, name: str, stem: str, source: Source, max_pixels: int) -> SourceImage:
    header = check_header(data, name, max_pixels)
    return SourceImage(data, name, stem or "image", header.width, header.height, label(source))
