"""The error that this project shows to its users."""

from __future__ import annotations


class DistilleryError(Exception):
    """Something a user can act on. The message says what was given, what is accepted and what to do.

    It is shown as it is, in the graph editor on the node that raised it and by the driver: no
    traceback belongs in front of a user.
    """
