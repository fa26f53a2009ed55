"""Errors between the driver and a cluster. Their texts are meant to be shown as they are."""

from __future__ import annotations

from ..errors import ServerError


class ClusterError(ServerError):
    """The cluster cannot be used: its database, its schema, its store."""


class StoreError(ClusterError):
    """The object store cannot be read or written."""


class MissingObject(StoreError):
    """The store has no object of that name: it expired, or was never there."""


class LimitReached(ClusterError):
    """The job was not accepted: its user has as many as the tier allows."""
