"""A cluster for each test, on a PostgreSQL of the session's own."""

from __future__ import annotations

import pytest

pytest.importorskip("procrastinate", reason="the extra [cluster] is not installed")

from cluster_fixtures import cluster, postgres

__all__ = ["cluster", "postgres"]
