"""The bot's tables, in the database of the cluster."""

from __future__ import annotations

from ..cluster.schema import Schema

BOT = Schema(__package__ or "", "distillery_bot_schema", 1, {1: 1})
