"""Why a request is not taken, in words for its user, with the way out."""

from __future__ import annotations

import math

from ...nodes.command import CommandError
from ...nodes.errors import DistilleryError
from ...nodes.settings import NoPromptError
from ..cluster.database import OUTAGE
from ..cluster.errors import LimitReached, StoreError
from ..errors import JobOutOfMemory, SourceError
from ..log import without_secrets
from .database import Cooldown
from .texts import moment

POWER_ZERO, PROMPT, PICTURE, AGAIN, COMMAND = "zero", "prompt", "picture", "again", "command"
"""Ways out, each a button: without the HiRes pass; with a prompt; with another picture; once more; with another command."""


class Refusal(Exception):
    """An answer in place of a card, for the user's eyes alone. ways: buttons beneath it."""

    def __init__(self, text: str, ways: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.text, self.ways = text, ways


def no_image() -> Refusal:
    """Answer a request without an image."""
    return Refusal(
        "No image was given. Attach one, paste a link to one, or use **Apps → Upscale** on a message that has one.",
        (PICTURE,),
    )


def not_understood(error: CommandError) -> Refusal:
    """Answer a command with a fault in it."""
    return Refusal(sentence(str(error)), (COMMAND,))


def sentence(text: str) -> str:
    """Return a message as a sentence, without secrets."""
    text = without_secrets(text).strip()
    return text[:1].upper() + text[1:]


def refusal_of(error: BaseException) -> Refusal:
    """Return the answer to what went wrong with a request. Errors that nobody foresaw get one without details."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NoPromptError):
        return Refusal(
            "This image carries no generation data that can be read: Discord or another program may have removed it. Give "
            "a prompt (and a checkpoint), send the original file, or enlarge it without the HiRes pass.",
            (PROMPT, POWER_ZERO, PICTURE),
        )
    if isinstance(error, CommandError):
        return not_understood(error)
    if isinstance(error, Cooldown):
        return Refusal(f"A moment: your next request can be made {moment(math.ceil(error.seconds) + 1)}.", (AGAIN,))
    if isinstance(error, LimitReached):
        text = str(error).replace("The job was not accepted: ", "")
        return Refusal(_about_you(text) + " See /queue and /usage.")
    if isinstance(error, StoreError):
        return Refusal("Pictures cannot be stored at the moment. The bot's owners are told; try again later.", (AGAIN,))
    if isinstance(error, SourceError):
        return Refusal(_without_switches(sentence(str(error))), (PICTURE,))
    if isinstance(error, OUTAGE):
        return Refusal(
            "The queue does not answer at the moment. Nothing was accepted; try again in a minute.", (AGAIN,)
        )
    if isinstance(error, DistilleryError):
        return Refusal(sentence(str(error)))
    return Refusal("Something unexpected went wrong; the bot's owners find it in its log.", (AGAIN,))


def failure_text(error: DistilleryError) -> tuple[str, tuple[str, ...]]:
    """Return why a job ended without a result, and the ways out."""
    text = _without_switches(sentence(str(error)))
    if isinstance(error, JobOutOfMemory):
        return text, (POWER_ZERO, AGAIN)
    lower = text.lower()
    if "lora" in lower and "not" in lower:
        return text, (COMMAND, POWER_ZERO, AGAIN)
    return text, (AGAIN, POWER_ZERO)


def _about_you(text: str) -> str:
    """Speak to the user of whom the cluster speaks by an id."""
    words = text.split()
    if words[:1] == ["user"] and len(words) > 2:
        rest = " ".join(words[2:])
        return rest.replace("has ", "You have ", 1) if rest.startswith("has ") else f"You {rest}"
    return text


def _without_switches(text: str) -> str:
    """Leave out advice that only whoever runs the bot could follow."""
    for cut in (", or set DISTILLERY_DISCORD_TOKEN", ", or allow the host", " Download the image and give the file"):
        text = text.split(cut, 1)[0]
    text = text.replace(": distillery jobs replay.", ".").strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
