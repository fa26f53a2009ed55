"""The sharpening, where scripts import it from: see :mod:`nodes.imaging.sharpen`."""

from .imaging.sharpen import sharpen

__all__ = ["sharpen"]
