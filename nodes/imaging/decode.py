"""Decode an image file of any accepted format to one upright picture in sRGB.

The driver makes its clean PNG of it and the editor's node its tensors, so that the two cannot differ.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from ..errors import DistilleryError
from ..image_formats import ACCEPTED, HEAD, MAX_PIXELS, SVG, WEB_PAGE, XML, image_format, open_image, other_format
from ..texts import reason_of
from .colour_space import (
    apply_gamma,
    apply_profile,
    cicp_warning,
    differs,
    gamma_table,
    is_srgb,
    primaries_warning,
)
from .depth import DepthError, eight_bits, is_deep, sixteen_bits
from .png import Cicp, pixel_chunks

_AVIF_HEADER = 1 << 16
"""Bytes in which an AVIF file names its colours."""
_FLOAT = 3
"""TIFF's SampleFormat of floating point."""


class ImageError(DistilleryError):
    """A file that is no image, or one that is not taken."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of its picture before any pixel is decoded."""

    format: str
    """Pillow's name of it."""
    width: int
    height: int
    """In pixels, as stored, before the EXIF orientation."""


class DecodedImage(NamedTuple):
    """One upright picture in sRGB."""

    image: Image.Image
    """Of mode L, RGB, RGBA or I;16; RGBA only where something is transparent."""
    warnings: tuple[str, ...]
    """What was left out, or may be off."""


def read_header(source: bytes | Path, name: str, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Check format and size of an image file. Raises ImageError, OSError as ``open`` does. name: for its message."""
    with _opened(source, name, max_pixels) as opened:
        return opened.header


def decode_image(source: bytes | Path, name: str, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode the first frame of an image file, upright and in sRGB.

    8 bits a sample; grey of 16 bits stays as deep as it is, unless it is transparent or has a profile. max_pixels: width
    times height that are taken. Raises ImageError, OSError as ``open`` does. name: for its message.
    """
    with _opened(source, name, max_pixels) as opened:
        file, warnings = opened.image, list(opened.warnings)
        try:
            if opened.frames > 1:
                warnings.append("the file holds several pictures: only the first one is upscaled")
            tiles = getattr(file, "tile", None)
            deep = ";16" in str(tiles[0].args if tiles else "")
            file.load()
            _check_pixels(file.width, file.height, name, max_pixels)
            _turn_upright(file, warnings)
            return DecodedImage(_normalized(file, deep, opened, warnings), tuple(warnings))
        except DepthError as error:
            raise ImageError(f"{name} {error}") from None
        except ImageError:
            raise
        except Exception as error:  # Pillow's decoders raise any exception on a broken file
            raise ImageError(f"{name} cannot be decoded ({reason_of(error)}). Is the file complete?") from None


@dataclass(frozen=True)
class _Opened:
    """A file that Pillow has opened, and what Pillow does not tell of it."""

    image: Image.Image
    header: ImageHeader
    frames: int
    cicp: Cicp | None
    warnings: tuple[str, ...]


@contextlib.contextmanager
def _opened(source: bytes | Path, name: str, max_pixels: int) -> Iterator[_Opened]:
    with contextlib.ExitStack() as stack:
        file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else stack.enter_context(source.open("rb"))
        head = file.read(HEAD)
        form = _sniff_format(head, name)
        frames, cicp = 0, None
        warnings: tuple[str, ...] = ()
        if form == "PNG":
            data, frames, cicp, warnings = pixel_chunks(source if isinstance(source, bytes) else head + file.read())
            file = io.BytesIO(data)
        elif form == "AVIF":
            cicp = _avif_cicp(head + file.read(_AVIF_HEADER))
        file.seek(0)
        try:
            image = stack.enter_context(open_image(file, form))
            if not frames:  # the second picture of a JPEG is its preview or the like
                frames = 1 if form == "JPEG" else int(getattr(image, "is_animated", False)) + 1
        except Image.DecompressionBombError:
            raise ImageError(f"{name} has too many pixels; at most {max_pixels:,} are taken.") from None
        except Exception as error:  # as above
            raise ImageError(_why_not(file, form, name, error)) from None
        _check_pixels(image.width, image.height, name, max_pixels)
        yield _Opened(image, ImageHeader(form, image.width, image.height), frames, cicp, warnings)


def _sniff_format(head: bytes, name: str) -> str:
    if not head:
        raise ImageError(f"{name} is empty.")
    form = image_format(head)
    if form is not None:
        return form
    other = other_format(head)
    if other == WEB_PAGE:
        raise ImageError(f"{name} is a web page and not an image. Copy the address of the image itself.")
    if other is not None:
        kind = "a drawing or another text" if other in (XML, SVG) else other
        raise ImageError(f"{name} is {kind}, which is not taken. {ACCEPTED}")
    raise ImageError(f"{name} is not an image that can be read. {ACCEPTED}")


def _why_not(file: BinaryIO, form: str, name: str, error: Exception) -> str:
    if form == "TIFF" and _is_float_tiff(file):
        return (
            f"{name} is a TIFF of floating point samples, which are read in grey of 32 bits only. "
            "Save it with 8 or 16 bits a sample (in Photoshop: Image, Mode; in GIMP: Image, Precision)."
        )
    return f"{name} is not an image that can be read ({reason_of(error)}). Is the file complete?"


def _is_float_tiff(file: BinaryIO) -> bool:
    try:
        file.seek(0)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        found = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
        return _FLOAT in (found if isinstance(found, tuple) else (found,))
    except Exception:  # a broken file
        return False


def _check_pixels(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"{name} has {width}x{height} pixels; at most {max_pixels:,} are taken.")


def _avif_cicp(head: bytes) -> Cicp | None:
    at = head.find(b"colrnclx")
    if at < 0 or len(head) < at + 15:
        return None
    primaries, transfer = (int.from_bytes(head[at + i : at + i + 2], "big") for i in (8, 10))
    return Cicp(primaries, transfer, True)  # the decoder has scaled it


def _turn_upright(image: Image.Image, warnings: list[str]) -> None:
    """Apply the EXIF orientation."""
    try:
        ImageOps.exif_transpose(image, in_place=True)  # a copy would cost as much memory as the picture
    except Exception:  # EXIF is read lazily, and broken data raises any exception
        warnings.append("the EXIF data of this file cannot be read: the image is taken as it is stored")


@dataclass(frozen=True)
class _Colours:
    """The conversion to sRGB that a file asks for."""

    profile: bytes | None = None
    gamma: float | None = None

    @property
    def needed(self) -> bool:
        return self.profile is not None or self.gamma is not None

    def apply(self, image: Image.Image, warnings: list[str]) -> Image.Image:
        """L, RGB or CMYK as L or RGB in sRGB."""
        if self.profile is not None:
            return apply_profile(image, self.profile, warnings)
        return image if self.gamma is None else apply_gamma(image, self.gamma)


def _colours(image: Image.Image, opened: _Opened, warnings: list[str]) -> _Colours:
    profile = image.info.get("icc_profile") or None
    if opened.cicp is not None:
        if is_srgb(opened.cicp):
            return _Colours()
        warning = cicp_warning(opened.cicp, profile is not None)
        warnings.extend([warning] if warning else [])
        return _Colours(profile)
    if profile is not None or opened.header.format != "PNG" or "srgb" in image.info:
        return _Colours(profile)
    warning = primaries_warning(image.info.get("chromaticity"))
    warnings.extend([warning] if warning else [])
    gamma = image.info.get("gamma")
    return _Colours(gamma=gamma if differs(gamma) else None)


def _normalized(image: Image.Image, deep: bool, opened: _Opened, warnings: list[str]) -> Image.Image:
    """Convert any mode to L, RGB, RGBA or I;16, in sRGB.

    deep: True if the file has 16-bit samples, even if Pillow reduced them.
    """
    transparent = image.info.get("transparency")
    colours = _colours(image, opened, warnings)
    alpha: Image.Image | None = None
    if is_deep(image):
        levels = sixteen_bits(image, warnings)
        if colours.gamma is not None:
            levels = gamma_table(colours.gamma, 65536)[levels]
            colours = _Colours()
        if transparent is None and not colours.needed:
            return Image.fromarray(levels)
        if isinstance(transparent, int):
            alpha = Image.fromarray(np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8))
        colour = Image.fromarray(eight_bits(levels))
    else:
        if deep and isinstance(transparent, tuple):
            # Pillow keeps the upper eight bits of each sample, but all sixteen of the transparent colour.
            image.info["transparency"] = tuple(sample >> 8 for sample in transparent)
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or transparent is not None:
            with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
            alpha = with_alpha.getchannel("A")
            if image.mode == "RGBA" and not colours.needed and alpha.getextrema() != (255, 255):
                return image
            # Grey stays grey: a profile is for what the file holds.
            colour = with_alpha.convert("L" if image.mode in ("L", "LA", "La", "1") else "RGB")
            del with_alpha
        elif image.mode in ("L", "RGB", "CMYK"):
            colour = image
        else:
            colour = image.convert("L" if image.mode == "1" else "RGB")
    if colour.mode == "CMYK" and not colours.needed:
        warnings.append("the image is CMYK without a colour profile: its colours are approximate")
    colour = colours.apply(colour, warnings)
    if colour.mode not in ("L", "RGB"):
        colour = colour.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        if colour.mode != "RGB" or colour is image:
            colour = colour.convert("RGB")
        colour.putalpha(alpha)
    return colour
