"""Pictures of any colour space, as sRGB.

What a file says of its colours counts in the order of the PNG specification (third edition, 4.3): cICP, the profile,
sRGB, and the gamma.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from .png import Cicp

SRGB_GAMMA = 1 / 2.2
"""The value of gAMA that stands for sRGB."""
_SAME_GAMMA = 0.05
"""Gammas that differ by so much, relatively, look the same."""
_GAMMAS = (0.1, 10.0)
"""Values of gAMA that can be meant."""
_SRGB_PRIMARIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""White, red, green and blue of cHRM, x and y each."""
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions of H.273 that are high dynamic range."""
_WIDE = {9: "Rec. 2020", 11: "DCI-P3", 12: "Display P3"}
"""Primaries of H.273 that are wider than those of sRGB."""
_LIKE_SRGB = (1, 2, 6, 13, 14, 15)
"""Transfer functions of H.273 that pictures for screens have, or are shown like."""


def is_srgb(cicp: Cicp) -> bool:
    """True for sRGB by its code points."""
    return cicp.primaries == 1 and cicp.transfer in (1, 13) and cicp.full_range


def cicp_warning(cicp: Cicp, profile: bool) -> str | None:
    """What is off where a picture of these code points is taken as it is, or by its profile; None where nothing is."""
    if cicp.transfer in _HDR:
        return (
            f"this picture is HDR ({_HDR[cicp.transfer]}), which is not taken as such: it will look pale and its colours "
            "are off. Save it as an SDR picture in sRGB."
        )
    if profile:
        return None
    odd = cicp.transfer not in _LIKE_SRGB or not cicp.full_range
    if odd or cicp.primaries not in (1, 2, 5, 6, 7):
        name = _WIDE.get(cicp.primaries)
        what = f"the colours of {name}" if name and not odd else "colours that are not sRGB (cICP)"
        return f"this picture has {what} and no profile: they are taken as sRGB and may be off. Save it in sRGB."
    return None


def primaries_warning(chromaticity: tuple[float, ...] | None) -> str | None:
    """What is off where a PNG's cHRM is left aside; None where it is that of sRGB or there is none."""
    if not chromaticity or len(chromaticity) != len(_SRGB_PRIMARIES):
        return None
    if all(abs(one - other) < 0.005 for one, other in zip(chromaticity, _SRGB_PRIMARIES, strict=True)):
        return None
    return "this PNG names primary colours (cHRM) other than sRGB's and has no profile: its colours may be off"


def differs(gamma: float | None) -> bool:
    """True where a PNG's gAMA asks for a conversion."""
    return gamma is not None and _GAMMAS[0] <= gamma <= _GAMMAS[1] and abs(gamma / SRGB_GAMMA - 1) > _SAME_GAMMA


def gamma_table(gamma: float, levels: int) -> np.ndarray:
    """The levels of sRGB, 0 … levels - 1, of samples that were encoded with a power of ``gamma`` (gAMA)."""
    light = np.linspace(0, 1, levels) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: np.ndarray = np.rint(encoded * (levels - 1)).astype(np.uint16)
    return table


def apply_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """L or RGB of a PNG with gAMA, in sRGB."""
    return image.point(gamma_table(gamma, 256).tolist() * len(image.getbands()))


def apply_profile(image: Image.Image, profile: bytes, warnings: list[str]) -> Image.Image:
    """Convert L, RGB or CMYK to L or RGB in sRGB, RGB in place. An image in sRGB already keeps every pixel."""
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
        if image.mode == "RGB":
            ImageCms.applyTransform(image, transform, inPlace=True)
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
