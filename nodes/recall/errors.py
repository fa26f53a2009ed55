"""The error of this package."""

from __future__ import annotations

from ..errors import DistilleryError


class RecallError(DistilleryError):
    """The file cannot be read as an image."""
