"""The bot's side of an interaction: its response, and what it does by the token afterwards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import payloads
from .calls import AUTOCOMPLETE, CHOICES, COMMAND, COMPONENT, DEFER, DEFER_UPDATE, MESSAGE, MODAL, SUBMIT, UPDATE, Call
from .check_commands import check_choices
from .check_components import check_modal
from .messages import Uploads
from .refusals import ACKNOWLEDGED, DEAD_TOKEN, MANY_FOLLOWUPS, Form, Refusal, unknown
from .world import EPHEMERAL, LOADING, V2, Message

if TYPE_CHECKING:
    from .core import Core

JSON = dict[str, Any]

MAX_FOLLOWUPS = 5
"""Follow-ups of an app that only its user has installed."""
_KEPT = EPHEMERAL | V2 | 1 << 2 | 1 << 12
"""Flags that the bot may set."""


class Interactions:
    def __init__(self, core: Core) -> None:
        self._core = core

    def respond(self, id: int, token: str, body: JSON, uploads: Uploads) -> JSON:
        """Take the first response; returns what ``with_response`` answers."""
        call = self._core.calls.get(token)
        late = call and call.response is None and time.monotonic() - call.began > self._core.ack_limit
        if call is None or call.id != id or late or call.dead:
            raise unknown("interaction")
        if call.response is not None:
            raise Refusal(*ACKNOWLEDGED)
        kind: Any = body.get("type")
        data: JSON = body.get("data") or {}
        self._check_kind(call, kind)
        if kind == CHOICES:
            form = Form()
            option = next(each for each in _leaves(call.data["options"]) if each.get("focused"))
            check_choices(form, data.get("choices"), option["type"], ("data", "choices"))
            form.done()
        elif kind == MODAL:
            form = Form()
            check_modal(form, data)
            form.done()
        elif kind == MESSAGE:
            call.original = self._create(call, data, uploads, at=("data",), first=True)
        elif kind == DEFER:
            flags = self._flags(call, data) & EPHEMERAL
            call.original = self._core.messages_.loading(
                call.channel, self._core.world.bot, flags, call, call.user if flags else None, self._message_type(call)
            )
        else:
            call.original = call.source
            if kind == UPDATE:
                assert call.source
                self._present(call.source)
                self._core.messages_.edit(call.source, data, uploads, call.size_limit, ("data",))
        call.response, call.latency = (kind, data), time.monotonic() - call.began
        self._core.notify()
        return self._callback(call, kind)

    def message(self, token: str, which: str) -> Message:
        """The message that a token reaches: ``@original`` or one of its follow-ups."""
        call = self.live(token)
        if which == "@original":
            found = call.original
        else:
            mine = [
                *call.followups,
                *([call.original] if call.original else []),
                *([call.source] if call.source else []),
            ]
            found = next((each for each in mine if str(each.id) == which), None)
        if found is None:
            raise unknown("Message")
        self._present(found)
        return found

    def live(self, token: str) -> Call:
        """The call of a token that can be used. Raises Refusal."""
        call = self._core.calls.get(token)
        if call is None or (call.response is None and not call.dead):
            raise unknown("Webhook")
        if call.dead:
            raise Refusal(*DEAD_TOKEN)
        return call

    def follow_up(self, token: str, body: JSON, uploads: Uploads) -> Message:
        call = self.live(token)
        # The first one after a deferral takes the place of the message that says that the bot thinks.
        if call.original is not None and call.original.loading and not call.original.deleted:
            self._core.messages_.edit(call.original, body, uploads, call.size_limit)
            return call.original
        if "0" not in call.owners and len(call.followups) >= MAX_FOLLOWUPS:
            raise Refusal(*MANY_FOLLOWUPS)
        message = self._create(call, body, uploads, at=(), first=False)
        call.followups.append(message)
        self._core.notify()
        return message

    def edit(self, token: str, which: str, body: JSON, uploads: Uploads) -> Message:
        message = self.message(token, which)
        self._core.messages_.edit(message, body, uploads, self.live(token).size_limit)
        return message

    def delete(self, token: str, which: str) -> None:
        self._core.messages_.delete(self.message(token, which))

    @staticmethod
    def _present(message: Message) -> None:
        if message.channel.deleted:
            raise unknown("Channel")
        if message.deleted:
            raise unknown("Message")

    @staticmethod
    def _check_kind(call: Call, kind: Any) -> None:
        allowed: tuple[int, ...] = (MESSAGE, DEFER)
        if call.kind == AUTOCOMPLETE:
            allowed = (CHOICES,)
        else:
            allowed += (DEFER_UPDATE, UPDATE) if call.source else ()
            allowed += (MODAL,) if call.kind in (COMMAND, COMPONENT) else ()
        form = Form()
        form.choice(("type",), kind, allowed)
        form.done()

    @staticmethod
    def _flags(call: Call, data: JSON) -> int:
        return (int(data.get("flags") or 0) & _KEPT) | (EPHEMERAL if call.must_be_ephemeral else 0)

    @staticmethod
    def _message_type(call: Call) -> int:
        if call.kind == COMMAND:
            return 20 if call.data["type"] == 1 else 23
        return 19 if call.kind in (COMPONENT, SUBMIT) and call.source else 0

    def _create(self, call: Call, data: JSON, uploads: Uploads, at: tuple[str, ...], first: bool) -> Message:
        if call.channel.deleted:
            raise unknown("Channel")
        flags = self._flags(call, data)
        answered = call.source if first else call.original
        message = self._core.messages_.create(
            call.channel, self._core.world.bot, data, uploads, call.size_limit, flags=flags, call=call, at=at,
            kind=self._message_type(call) if first else 19, seen_by=call.user if flags & EPHEMERAL else None,
        )  # fmt: skip
        if answered and message.type == 19:
            message.reference = answered.id
        return message

    def _callback(self, call: Call, kind: int) -> JSON:
        answer: JSON = {"interaction": {"id": str(call.id), "type": call.kind}}
        if kind in (MESSAGE, DEFER, UPDATE, DEFER_UPDATE) and call.original:
            loading = bool(call.original.flags & LOADING)
            answer["interaction"] |= {
                "response_message_id": str(call.original.id), "response_message_loading": loading,
                "response_message_ephemeral": call.original.ephemeral,
            }  # fmt: skip
        answer["resource"] = {"type": kind}
        if kind in (MESSAGE, UPDATE) and call.original:
            answer["resource"]["message"] = payloads.message(call.original, self._core.files)
        return answer


def _leaves(options: list[JSON]) -> list[JSON]:
    return [leaf for each in options for leaf in (_leaves(each["options"]) if "options" in each else [each])]
