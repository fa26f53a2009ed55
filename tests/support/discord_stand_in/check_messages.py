"""What Discord asks of a message: text, embeds, components, names of files."""

from __future__ import annotations

from typing import Any

from .check_components import check_message
from .refusals import EMPTY_MESSAGE, Form, Path, Refusal
from .world import V2

JSON = dict[str, Any]


def check(payload: JSON, v2: bool, names: set[str], at: Path = ()) -> None:
    """Check what was sent of a message. v2: as the message will be. names: of the files that it will have."""
    form = Form()
    if v2:
        for name in ("content", "embeds", "poll", "sticker_ids"):
            if payload.get(name):
                form.wrong(
                    (*at, name),
                    "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
                    f"The '{name}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2",
                )
    form.length((*at, "content"), payload.get("content"), 0, 2000, missing_ok=True)
    nonce = payload.get("nonce")
    if nonce is not None and len(str(nonce)) > 25:
        form.wrong((*at, "nonce"), "NONCE_TYPE_TOO_LONG", "Must be 25 or fewer in length.")
    form.length((*at, "attachments"), payload.get("attachments"), 0, 10, missing_ok=True)
    for index, attachment in enumerate(payload.get("attachments") or []):
        form.length((*at, "attachments", index, "description"), attachment.get("description"), 0, 1024, missing_ok=True)
    _embeds(form, payload.get("embeds") or [], (*at, "embeds"))
    if payload.get("components") is not None:
        check_message(form, payload["components"], v2, names, at)
    _mentions(form, payload.get("allowed_mentions") or {}, (*at, "allowed_mentions"))
    form.done()


def check_not_empty(content: str, embeds: Any, components: Any, attachments: Any) -> None:
    """Check what a message is after a change."""
    if not (content.strip() or embeds or components or attachments):
        raise Refusal(*EMPTY_MESSAGE)


def _embeds(form: Form, embeds: list[JSON], at: Path) -> None:
    form.length(at, embeds, 0, 10, missing_ok=True)
    total = 0
    for index, embed in enumerate(embeds):
        here = (*at, index)
        limits = [(("title",), 256), (("description",), 4096), (("footer", "text"), 2048), (("author", "name"), 256)]
        for names, most in limits:
            value: Any = embed
            for name in names:
                value = (value or {}).get(name)
            form.length((*here, *names), value, 0, most, missing_ok=True)
            total += len(value or "")
        form.length((*here, "fields"), embed.get("fields"), 0, 25, missing_ok=True)
        for number, field in enumerate(embed.get("fields") or []):
            form.length((*here, "fields", number, "name"), field.get("name"), 1, 256)
            form.length((*here, "fields", number, "value"), field.get("value"), 1, 1024)
            total += len(field.get("name") or "") + len(field.get("value") or "")
    if total > 6000:
        form.wrong(at, "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")


def _mentions(form: Form, mentions: JSON, at: Path) -> None:
    for index, kind in enumerate(mentions.get("parse") or []):
        form.choice((*at, "parse", index), kind, ("roles", "users", "everyone"))
    for name in ("users", "roles"):
        form.length((*at, name), mentions.get(name), 0, 100, missing_ok=True)
        if mentions.get(name) and name in (mentions.get("parse") or []):
            form.wrong(
                (*at, "parse"),
                "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                f'parse:["{name}"] and {name}: [ids...] are mutually exclusive.',
            )


def is_v2(flags: Any) -> bool:
    """True if the flags say that the components are of the second version."""
    return bool(int(flags or 0) & V2)
