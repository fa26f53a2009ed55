"""Short questions to a server on loopback."""

from __future__ import annotations

import requests

PACK_NODE = "DistilleryParameters"
"""A node of this pack, by which a server is known to have it."""


def get(url: str, timeout: float) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # a proxy has no business with loopback
        response = session.get(url, timeout=timeout)
        response.raise_for_status()
        return response


def answers(url: str) -> bool:
    try:
        return "system" in get(f"{url}/system_stats", timeout=5).json()
    except (requests.RequestException, ValueError):
        return False


def is_busy(url: str) -> bool:
    try:
        return bool(get(f"{url}/prompt", timeout=5).json()["exec_info"]["queue_remaining"] > 0)
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return False


def pack_present(url: str) -> bool:
    """Return True if a server has this pack's nodes."""
    return PACK_NODE in get(f"{url}/object_info/{PACK_NODE}", timeout=30).json()
