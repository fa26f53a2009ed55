"""Tell pictures and latents from those that hold NaN or infinity, which would be saved as black."""

from __future__ import annotations

import torch

from .errors import DistilleryError


class NotFiniteError(DistilleryError):
    """A network gave NaN or infinity."""


def is_finite(values: torch.Tensor) -> bool:
    """True where no value is NaN or infinite; one pass over them, and no copy."""
    if values.is_nested or not values.is_floating_point() or not values.numel():
        return True
    # NaN is the least and the greatest of whatever holds one.
    least, greatest = torch.aminmax(values)
    return bool(torch.isfinite(least) & torch.isfinite(greatest))
