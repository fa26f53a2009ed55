"""Discord's refusals: status, JSON code and the tree of errors in a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]


class Refusal(Exception):
    """An answer other than 2xx."""

    def __init__(
        self, status: int, code: int, message: str, errors: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"{status} {code}: {message} {errors or ''}")
        self.status, self.code = status, code
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {"message": message, "code": code, **({"errors": errors} if errors else {})}


def unknown(what: str) -> Refusal:
    """The 404 for an object that is not, or is no longer, there."""
    codes = {
        "Channel": 10003, "Guild": 10004, "Member": 10007, "Message": 10008, "User": 10013, "Webhook": 10015,
        "interaction": 10062, "application command": 10063,
    }  # fmt: skip
    return Refusal(404, codes[what], f"Unknown {what}")


MISSING_ACCESS = (403, 50001, "Missing Access")
CANNOT_MESSAGE_USER = (403, 50007, "Cannot send messages to this user")
EMPTY_MESSAGE = (400, 50006, "Cannot send an empty message")
MISSING_PERMISSIONS = (403, 50013, "Missing Permissions")
DEAD_TOKEN = (401, 50027, "Invalid Webhook Token")
ACKNOWLEDGED = (400, 40060, "Interaction has already been acknowledged.")
TOO_LARGE = (413, 40005, "Request entity too large")
OTHERS_MESSAGE = (403, 50005, "Cannot edit a message authored by another user")
ARCHIVED = (400, 50083, "Thread is archived")
MANY_FOLLOWUPS = (400, 40094, "Maximum number of follow up messages reached")


class Form:
    """Collects what is wrong with a form, to be answered as one tree."""

    def __init__(self) -> None:
        self.errors: dict[str, Any] = {}

    def wrong(self, path: Path, code: str, message: str) -> None:
        """Add an error at a place such as ``("components", 0, "label")``."""
        node = self.errors
        for step in path:
            node = node.setdefault(str(step), {})
        node.setdefault("_errors", []).append({"code": code, "message": message})

    def length(self, path: Path, value: Any, least: int, most: int, missing_ok: bool = False) -> None:
        """Check a text, or the number of a list's members."""
        if value is None or value == "":
            if not missing_ok and least:
                self.wrong(path, "BASE_TYPE_REQUIRED", "This field is required")
        elif not isinstance(value, (str, list)):
            self.wrong(path, "BASE_TYPE_BAD_TYPE", "Could not be read as a text or a list")
        elif not least <= len(value) <= most:
            self.wrong(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")

    def number(self, path: Path, value: Any, least: float, most: float) -> None:
        """Check a number, where there is one."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            self.wrong(path, "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number.')
        elif value is not None and not least <= value <= most:
            self.wrong(path, "NUMBER_TYPE_MAX", f"Value should be between {least} and {most}.")

    def choice(self, path: Path, value: Any, allowed: tuple[Any, ...]) -> None:
        """Check that a value is one of those."""
        if value not in allowed:
            self.wrong(path, "BASE_TYPE_CHOICES", f"Value must be one of {set(allowed)}.")

    def done(self) -> None:
        """Raise Refusal if anything was wrong."""
        if self.errors:
            raise Refusal(400, 50035, "Invalid Form Body", self.errors)
