"""Points discord.py at a stand-in, in this process or in one that a test starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

HOSTS = ("https://cdn.discordapp.com", "https://media.discordapp.net")


@contextlib.contextmanager
def patched(port: int) -> Iterator[None]:
    """Have discord.py use the stand-in at a port for its API, its gateway, and the downloads of attachments."""
    import discord
    import yarl

    fetch = discord.http.HTTPClient.get_from_cdn

    async def from_here(client: Any, url: str) -> bytes:
        for host in HOSTS:
            url = url.replace(host, f"http://127.0.0.1:{port}", 1)
        return await fetch(client, url)

    gateway = yarl.URL(f"ws://127.0.0.1:{port}/gateway")
    with (
        mock.patch.object(discord.http.Route, "BASE", f"http://127.0.0.1:{port}/api/v10"),
        # Where a client goes first, and again after a session is declared invalid.
        mock.patch.object(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway),
        mock.patch.object(discord.http.HTTPClient, "get_from_cdn", from_here),
    ):
        yield
