"""Errors between the driver and a server. Their texts are meant to be shown as they are."""

from __future__ import annotations

from ..nodes.errors import DistilleryError


class SourceError(DistilleryError):
    """The image cannot be had: no such file, not an image, a URL that is not fetched."""


class ServerError(DistilleryError):
    """The server cannot be started or reached, or lacks this pack."""

    prompt_id: str | None = None
    """Id of a job that the server may still have, where it went silent after taking one."""

    def __init__(self, message: str, not_connected: bool = False) -> None:
        super().__init__(message)
        self.not_connected = not_connected
        """True where no connection came about, so that nothing reached the server."""


class JobError(DistilleryError):
    """The job failed on the server.

    ``node``: title of the node that failed, where one did. ``advice``: a sentence on what the user can do, which the
    message ends with; ``reason`` is the message without it.
    """

    def __init__(self, reason: str, node: str | None = None, advice: str = "") -> None:
        super().__init__(f"{reason} {advice}".rstrip())
        self.reason = reason
        self.node = node
        self.advice = advice


class JobLost(JobError):
    """The server no longer knows the job; it was probably restarted. It can be run again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, advice="Run it again.")


class JobStuck(JobError):
    """The job made no progress for long and was cancelled. It can be run again, elsewhere."""


class JobOutOfMemory(JobError):
    """The server ran out of memory. It may have enough for smaller tiles.

    ``main``: of main memory, not of a GPU's. Its process may then go on failing until it is started anew: oneDNN
    compiles no more kernels on a thread on which one of them failed.
    """

    def __init__(self, reason: str, node: str | None = None, main: bool = False, advice: str = "") -> None:
        super().__init__(reason, node, advice)
        self.main = main


class JobRefused(JobError):
    """The server did not accept the job."""


class JobCancelled(JobError):
    """The job was cancelled, by this driver or by somebody else."""


class NotStarted(JobError):
    """The job was not begun, because one before it failed."""
