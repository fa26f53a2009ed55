"""Sanitize an untrusted image: re-encode it as a PNG that carries only pixels and the recalled generation.

Servers get nothing else: one frame, upright, in sRGB, of a bounded size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from ...nodes.generation import Generation
from ...nodes.image_formats import ACCEPTED, SVG, WEB_PAGE, XML, image_format, open_image, other_format
from ...nodes.imaging.depth import eight_bits, is_deep, sixteen_bits
from ...nodes.record import RECORD_KEY, record_for_copy
from ...nodes.texts import reason_of
from ..errors import SourceError

MAX_PIXELS = 64_000_000
"""Limit for the source; the result has four times as many."""
COMPRESS_LEVEL = 4


@dataclass(frozen=True)
class CleanImage:
    """The sanitized image to upload."""

    png: bytes
    width: int
    height: int
    """In pixels, upright."""
    generation: Generation
    """The one recalled from the original, plus warnings of the sanitizing."""


def check_header(data: bytes, name: str) -> tuple[str, int, int]:
    """Check format and size of an image without decoding its pixels.

    Returns Pillow's name of the format, width and height as stored. Raises SourceError. name: for its message.
    """
    form = _sniff_format(data, name)
    try:
        with open_image(io.BytesIO(data), form) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise SourceError(f"{name} has too many pixels; at most {MAX_PIXELS:,} are taken.") from None
    except Exception as error:  # Pillow's decoders raise any exception on a broken file
        raise SourceError(
            f"{name} is not an image that can be read ({reason_of(error)}). Is the file complete?"
        ) from None
    _check_pixels(width, height, name)
    return form, width, height


def clean_image(data: bytes, name: str, recalled: Generation) -> CleanImage:
    """Re-encode the first frame of an image file as a PNG with its generation and nothing else.

    Upright and in sRGB; 8 bits (grey, RGB or RGBA), 16-bit grey without transparency stays as deep as it is.
    recalled: the generation read from the file; written to the PNG as the record of a copy, see
    :func:`distillery.nodes.record.record_for_copy`. Raises SourceError. name: for its message.
    """
    form, *_ = check_header(data, name)
    warnings: list[str] = []
    try:
        with open_image(io.BytesIO(data), form) as file:
            if form != "JPEG" and getattr(file, "is_animated", False):
                warnings.append("the file holds several pictures: only the first one is upscaled")
            deep = ";16" in str(file.tile[0].args if file.tile else "")
            file.load()
            _check_pixels(file.width, file.height, name)
            upright = _apply_orientation(file, warnings)
            pixels = _normalize_mode(upright, deep, warnings)
    except SourceError:
        raise
    except Exception as error:  # Pillow's decoders raise any exception on a broken file
        raise SourceError(f"{name} cannot be decoded ({reason_of(error)}). Is the file complete?") from None
    generation = recalled.warn(*warnings)
    info = PngInfo()
    if not generation.empty or generation.warnings:
        # iTXt: prompts are in any language, and tEXt holds Latin-1 only.
        info.add_itxt(RECORD_KEY, record_for_copy(generation))
    buffer = io.BytesIO()
    pixels.info = {}  # Pillow would write a profile or a transparent colour that is left in here
    pixels.save(buffer, "PNG", pnginfo=info, compress_level=COMPRESS_LEVEL)
    return CleanImage(buffer.getvalue(), *pixels.size, generation)


def _sniff_format(data: bytes, name: str) -> str:
    if not data:
        raise SourceError(f"{name} is empty.")
    form = image_format(data)
    if form is not None:
        return form
    other = other_format(data)
    if other == WEB_PAGE:
        raise SourceError(f"{name} is a web page and not an image. Copy the address of the image itself.")
    if other is not None:
        kind = "a drawing or another text" if other in (XML, SVG) else other
        raise SourceError(f"{name} is {kind}, which is not taken. {ACCEPTED}")
    raise SourceError(f"{name} is not an image that can be read. {ACCEPTED}")


def _check_pixels(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise SourceError(f"{name} has {width}x{height} pixels; at most {MAX_PIXELS:,} are taken.")


def _apply_orientation(image: Image.Image, warnings: list[str]) -> Image.Image:
    """Apply the EXIF orientation."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is read lazily, and broken data raises any exception
        warnings.append("the EXIF data of this file cannot be read: the image is taken as it is stored")
        return image


def _normalize_mode(image: Image.Image, deep: bool, warnings: list[str]) -> Image.Image:
    """Convert any mode to L, RGB, RGBA or I;16, in sRGB.

    deep: True if the file has 16-bit samples, even if Pillow reduced them.
    """
    profile = image.info.get("icc_profile")
    transparent = image.info.get("transparency")
    alpha: Image.Image | None = None
    if is_deep(image):
        levels = sixteen_bits(image)
        if transparent is None and not profile:
            return Image.fromarray(levels)
        if isinstance(transparent, int):
            alpha = Image.fromarray(np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8))
        colour = Image.fromarray(eight_bits(levels))
    else:
        if deep and isinstance(transparent, tuple):
            # Pillow keeps the upper eight bits of each sample, but all sixteen of the transparent colour.
            image.info["transparency"] = tuple(sample >> 8 for sample in transparent)
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or transparent is not None:
            with_alpha = image.convert("RGBA")
            alpha = with_alpha.getchannel("A")
            # Grey stays grey: a profile is for what the file holds.
            colour = with_alpha.convert("L" if image.mode in ("L", "LA", "La", "1") else "RGB")
        elif image.mode in ("L", "RGB", "CMYK"):
            colour = image
        else:
            colour = image.convert("L" if image.mode == "1" else "RGB")
    if profile:
        colour = _to_srgb(colour, profile, warnings)
    elif colour.mode == "CMYK":
        warnings.append("the image is CMYK without a colour profile: its colours are approximate")
    if colour.mode not in ("L", "RGB"):
        colour = colour.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        colour = colour.convert("RGB")
        colour.putalpha(alpha)
    return colour.copy()


def _to_srgb(image: Image.Image, profile: bytes, warnings: list[str]) -> Image.Image:
    """Convert L, RGB or CMYK to L or RGB in sRGB. An image in sRGB already keeps every pixel."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "L" and source.profile.xcolor_space.strip() == "RGB":
            image = image.convert("RGB")  # many programs give a grey image the profile of their screen
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), image.mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
        probe = _gamut_probe(image.mode)
        if probe is not None:
            changed = np.asarray(ImageCms.applyTransform(probe, transform), np.int16)
            if np.abs(changed - np.asarray(probe.convert("RGB"), np.int16)).max() <= 1:
                return image
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
        warnings.append("the colour profile of this image cannot be used and was left out: its colours may be off")
        return image
    if converted is None:
        return image
    return converted.convert("L") if image.mode == "L" else converted


def _gamut_probe(mode: str) -> Image.Image | None:
    """Return a small image with colours from all over the mode's gamut; None for CMYK."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if mode == "RGB":
        return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3))
    return None
