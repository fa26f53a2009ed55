"""Decide what a failure of a job leads to: the one place that says what is tried again, and why."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import JobLost, JobOutOfMemory, JobStuck, ServerError

ATTEMPTS = 3
"""Times that a job is run where servers lose it, at least; one more than there are servers where they are many."""
SMALL_TILE = 512
"""Side of the HiRes tiles, in pixels, after the server ran out of memory."""
RESTART_HINT = "Restart that ComfyUI if it goes on failing: one that ran out of main memory may not recover."

Retryable = JobOutOfMemory | ServerError | JobLost | JobStuck
"""Failures that may be the server's and not the job's."""


@dataclass(frozen=True)
class Attempt:
    """The circumstances of a failure."""

    number: int
    """1, 2, …"""
    servers: int
    """Servers that jobs can be given to."""
    reached: bool
    """True where a server answered before it failed."""
    can_restart: bool
    """True where the server is this driver's to restart."""
    tile: int | None
    """Side of the HiRes tiles where it was already made smaller."""

    @property
    def last(self) -> bool:
        """True where no further one is made."""
        return self.number >= max(ATTEMPTS, self.servers + 1)


@dataclass(frozen=True)
class Reaction:
    """The reaction to a failure."""

    again: bool
    """True to run the job again; False to raise the error."""
    cool_down: bool = False
    """True to give the server no jobs for a while."""
    restart: str | None = None
    """Why the server is to be restarted, as in "ComfyUI is stuck"; None: it is not."""
    small_tiles: bool = False
    """True to run it with tiles of SMALL_TILE."""


def react(error: Retryable, attempt: Attempt) -> Reaction:
    """Decide what a failure leads to."""
    if isinstance(error, JobOutOfMemory):
        # A process that ran out of main memory is of no use any more, whether this job is tried again or not.
        restart = "ran out of main memory" if error.main else None
        again = attempt.reached and attempt.tile is None and not attempt.last
        return Reaction(again, restart=restart, small_tiles=again)
    # A managed server that was started is this driver's to mend; of others only a lost job is run again.
    unmendable = attempt.servers == 1 and isinstance(error, ServerError)
    if attempt.last or (unmendable and not (attempt.can_restart and attempt.reached)):
        return Reaction(False, cool_down=True)
    stuck = isinstance(error, JobStuck) or (isinstance(error, ServerError) and error.prompt_id is not None)
    return Reaction(True, cool_down=True, restart="is stuck" if stuck else None)
