"""Webhooks: who asked for it is told of a job's end, signed as Standard Webhooks has it, until it says that it heard.

The secret is in the environment of the workers, never in the database: ``DISTILLERY_WEBHOOK_SECRET``, ``whsec_`` and
base64. See https://www.standardwebhooks.com.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests

from ..log import without_secrets
from .database import OUTAGE, Row
from .errors import ClusterError, StoreError
from .failures import read_error
from .manager import AsyncDatabase
from .store import Store

log = logging.getLogger(__name__)

KIND = "webhook"
SECRET_VARIABLE = "DISTILLERY_WEBHOOK_SECRET"
PREFIX = "whsec_"
TIMEOUT = 10.0
LEASE = 60.0
"""Seconds that a delivery may take before another worker tries it."""
SCHEDULE = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
"""Seconds from a failed attempt to the next, as Standard Webhooks recommends; after the last it is given up."""
LINK_SECONDS = 86400.0
"""Seconds for which the link to a result is good."""
IDLE = 2.0
"""Seconds between two looks for deliveries that are due."""


def signing_key(secret: str) -> bytes:
    """Return the key of a secret. Raises ClusterError."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ClusterError(
            f"{SECRET_VARIABLE} is not a secret of Standard Webhooks: {PREFIX} and the base64 of 24 to 64 random bytes, for "
            'example from: echo "whsec_$(openssl rand -base64 32)"'
        )
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message: ``v1,`` and the base64 of an HMAC with SHA-256."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def next_attempt(attempts: int) -> float | None:
    """Return the seconds until the next attempt after so many; None: it is given up."""
    return SCHEDULE[attempts - 1] if attempts <= len(SCHEDULE) else None


def check_target(url: str, hosts: Sequence[str]) -> None:
    """Raise ClusterError for a URL that webhooks do not go to."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    allowed = parts.hostname in hosts
    plain = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not allowed or parts.username or parts.password or not (parts.scheme == "https" or plain):
        raise ClusterError(
            f"Webhooks do not go to {without_secrets(url)}: its host is not one that this worker was given with "
            "--webhook-host, or it is no https."
        )


def payload(row: Mapping[str, Any], link: str | None) -> dict[str, Any]:
    """Return the body that tells of a job's end."""
    data: dict[str, Any] = {"job": row["job_id"], "state": row["state"], "user": row["user_id"]}
    if row["result"] is not None:
        data.update(width=row["result"]["width"], height=row["result"]["height"], object=row["object"], link=link)
    elif row["state"] != "done":
        data["error"] = str(read_error(row["state"], row["error"]))
    return {"type": f"job.{row['state']}", "timestamp": row["finished"].isoformat(), "data": data}


class Webhooks:
    """Makes the deliveries of this kind. hosts: exact names of hosts that they may go to."""

    def __init__(self, database: AsyncDatabase, store: Store, hosts: Sequence[str]) -> None:
        self._database, self._store, self._hosts = database, store, hosts
        secret = os.environ.get(SECRET_VARIABLE, "")
        self._key = signing_key(secret) if secret else None
        if hosts and self._key is None:
            raise ClusterError(f"Webhooks are signed: set {SECRET_VARIABLE} for --webhook-host.")

    async def run(self) -> None:
        """Deliver what is due, for as long as the worker runs."""
        while self._key is not None:
            try:
                if await self._deliver_next(self._key):
                    continue
            except OUTAGE:
                pass
            except Exception:
                log.exception("unexpected error")
            await asyncio.sleep(IDLE)

    async def _deliver_next(self, key: bytes) -> bool:
        rows = await self._database.rows("SELECT * FROM distillery_take_delivery_v1(%s, %s)", [KIND], LEASE)
        if not rows:
            return False
        delivery = rows[0]
        error = await self._deliver(delivery, key)
        pause = next_attempt(delivery["attempts"]) if error is not None else 0.0
        state = "delivered" if error is None else "pending" if pause is not None else "failed"
        if error is not None:
            log.warning("webhook", extra={"data": {"cluster_job": delivery["job_id"], "state": state, "error": error}})
        await self._database.insist(
            "UPDATE distillery_deliveries SET state = %s, error = %s, next_at = now() + make_interval(secs => %s), "
            "delivered = CASE WHEN %s THEN now() END WHERE id = %s AND state = 'pending' RETURNING id",
            state, error, pause or 0.0, error is None, delivery["id"],
        )  # fmt: skip
        return True

    async def _deliver(self, delivery: Row, key: bytes) -> str | None:
        """Make one attempt; returns why it failed, or None."""
        rows = await self._database.rows(
            "SELECT j.id AS job_id, j.state, j.user_id, j.error, j.finished, r.result, r.object FROM distillery_jobs j "
            "LEFT JOIN distillery_results r ON r.job_id = j.id WHERE j.id = %s",
            delivery["job_id"],
        )
        if not rows or rows[0]["finished"] is None:
            return "the job was put back into the queue meanwhile"
        try:
            check_target(delivery["target"], self._hosts)
            link = self._store.link(rows[0]["object"], LINK_SECONDS) if rows[0]["object"] else None
            body = json.dumps(payload(rows[0], link)).encode()
            return await asyncio.to_thread(post, delivery["target"], f"distillery_{delivery['id']}", body, key)
        except (ClusterError, StoreError) as error:
            return str(error)


def post(url: str, message_id: str, body: bytes, key: bytes) -> str | None:
    """Post a signed message; returns why it was not taken, or None."""
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(key, message_id, timestamp, body),
    }
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True)
            answer.close()
    except requests.RequestException as error:
        return f"no answer: {type(error).__name__}"
    return None if 200 <= answer.status_code < 300 else f"the answer was {answer.status_code}"
