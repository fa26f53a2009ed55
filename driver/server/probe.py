"""Short questions to a server on loopback."""

from __future__ import annotations

import requests

from .endpoint import Endpoint

PACK_NODE = "DistilleryParameters"
"""A node of this pack, by which a server is known to have it."""


def get(server: Endpoint, path: str, timeout: float) -> requests.Response:
    with server.session() as session:
        response = session.get(f"{server.url}{path}", timeout=timeout, allow_redirects=False)
        response.raise_for_status()
        return response


def answers(server: Endpoint) -> bool:
    try:
        return "system" in get(server, "/system_stats", timeout=5).json()
    except (requests.RequestException, ValueError):
        return False


def is_busy(server: Endpoint) -> bool:
    try:
        return bool(get(server, "/prompt", timeout=5).json()["exec_info"]["queue_remaining"] > 0)
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return False


def pack_present(server: Endpoint) -> bool:
    """Return True if a server has this pack's nodes."""
    return PACK_NODE in get(server, f"/object_info/{PACK_NODE}", timeout=30).json()
