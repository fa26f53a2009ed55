"""Parts of the enlarged picture that are laid on the result of the HiRes pass: ``--keep``."""

from __future__ import annotations

from dataclasses import dataclass

from .parameters import KEEP, MINI_NAME

AUTO = KEEP[0]


@dataclass(frozen=True)
class Keep:
    """The parts of the enlarged picture that are kept."""

    detail: bool
    """The detail that the VAE loses: see :mod:`nodes.imaging.detail`."""
    colours: bool
    """The colours of areas: see :mod:`nodes.imaging.colour`."""

    @property
    def name(self) -> str:
        """As ``--keep`` names it."""
        return {(True, False): "detail", (False, True): "colours", (True, True): "both"}.get(
            (self.detail, self.colours), "nothing"
        )


def keep_for(choice: str, checkpoint: str | None) -> Keep:
    """Resolve a choice of :data:`.parameters.KEEP` for a loaded checkpoint.

    ``auto`` keeps the detail with the built-in checkpoint, whose small autoencoder loses most of it, and nothing with
    others, as Distillery does. Raises ValueError for what is no choice.
    """
    if choice not in KEEP:
        raise ValueError(f"keep takes {', '.join(KEEP)}, not {choice!r}")
    if choice == AUTO:
        file_name = (checkpoint or "").replace("\\", "/").rsplit("/", 1)[-1]
        return Keep(detail=file_name == MINI_NAME, colours=False)
    return Keep(detail=choice in ("detail", "both"), colours=choice in ("colours", "both"))
