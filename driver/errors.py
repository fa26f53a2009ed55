"""What can go wrong between the driver and a server. All of it is meant to be shown as it is."""

from __future__ import annotations

from ..nodes.errors import DistilleryError


class SourceError(DistilleryError):
    """The image cannot be had: no such file, not an image, a URL that is not fetched."""


class ServerError(DistilleryError):
    """The server cannot be started or reached, or lacks this pack."""


class JobError(DistilleryError):
    """The job failed on the server.

    ``node``: title of the node that failed, where one did.
    """

    def __init__(self, message: str, node: str | None = None) -> None:
        super().__init__(message)
        self.node = node


class JobCancelled(JobError):
    """The job was cancelled, by this driver or by somebody else."""
