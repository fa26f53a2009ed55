"""A guild, a channel, a user, the bot and workers whose jobs wait: what most tests of the bot begin with."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from typing import Any

from bot_bench import BotThread
from cluster_database import Cluster
from cluster_workers import WaitingBackend, until
from discord_stand_in import DiscordStandIn, User
from discord_stand_in.check_components import walk
from discord_stand_in.world import APPLICATION, USUAL
from job_images import picture, plain_graph
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.driver.bot.config import BotConfig
from distillery.nodes.parameters import MINI_NAME


def png(seed: int | None = 300, side: int = 96, graph: Any = None, shade: int = 0) -> bytes:
    """A picture that says how it was made. seed: milliseconds that its job waits; None: it says nothing. shade: tells pictures apart."""
    info = PngInfo()
    if seed is not None:
        info.add_text("prompt", json.dumps(graph or plain_graph(seed=seed)))
    out = io.BytesIO()
    image = picture(side, side)
    image.putpixel((0, 0), (shade % 256, shade // 256 % 256, 0))
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


class Scene:
    """Who and what is there. Its bot and its worker are ended by :func:`scene`."""

    def __init__(self, discord_: DiscordStandIn, cluster: Cluster, config: BotConfig | None) -> None:
        self.discord, self.cluster, self.config = discord_, cluster, config
        self.guild = discord_.guild("Painters")
        self.channel = discord_.channel(self.guild, "pictures")
        self.user = discord_.user("jane")
        self.other = discord_.user("joe")
        for user in (self.user, self.other):
            discord_.join(user, self.guild)
        self.bot: BotThread | None = None
        self.workers: list[Any] = []

    def start(self, shards: Any = None) -> BotThread:
        self.bot = BotThread(self.discord, self.cluster, self.config, shards)
        return self.bot

    def worker(self, backend: WaitingBackend | None = None, models=(MINI_NAME,), slots: int = 1, **more: Any) -> Any:
        self.workers.append(self.cluster.worker(backend or WaitingBackend(by_image=True), slots, models, **more))
        return self.workers[-1]

    def upload(
        self, data: bytes | None = None, name: str = "hill.png", channel: Any = None, user: Any = None, **more: Any
    ) -> Any:
        return self.discord.upload(
            user or self.user, channel or self.channel, data if data is not None else png(), name, **more
        )

    def upscale(self, data: bytes | None = None, user: Any = None, channel: Any = None, **options: Any) -> Any:
        """Use /upscale on a picture, and wait for the answer."""
        where = channel or self.channel
        options.setdefault("image", self.upload(data, channel=where, user=user))
        given = {name: value for name, value in options.items() if value is not None}
        return self.discord.slash(user or self.user, where, "upscale", given).answered(10)

    def card(self, call: Any, timeout: float = 10) -> Any:
        """The card that answered a call."""
        return self.discord.wait(lambda: call.message, timeout, "a card")

    def result(self, call: Any, timeout: float = 30) -> Any:
        """The card of a call once it shows its result, and the bot has noted that."""
        card = self.card(call)
        shown = lambda: "Delete" in self.buttons(card) and "Cancel" not in self.buttons(card)  # noqa: E731
        self.discord.wait(shown, timeout, "a result")
        noted = "SELECT 1 FROM distillery_bot_requests WHERE id = %s AND state = 'delivered'"
        self.until(lambda: self.rows(noted, self.number(card)), timeout)
        return card

    def number(self, card: Any) -> str:
        """The id of the request whose card a message is."""
        return next(iter(self.buttons(card).values())).split(":")[2]

    def buttons(self, message: Any) -> dict[str, str]:
        return self.discord.buttons(message)

    def text(self, message: Any) -> str:
        return self.discord.texts(message)

    def offered(self, option: str, typed: str) -> list[str]:
        """What is offered while the user types into an option of /upscale."""
        return [c["value"] for c in self.discord.autocomplete(self.user, self.channel, "upscale", option, typed)]

    def manager(self, permissions: int = 1 << 5) -> Any:
        """A member with more permissions; 1 << 5: to manage the guild."""
        user = self.discord.user("boss")
        self.discord.join(user, self.guild, permissions=permissions | USUAL)
        return user

    def owner(self) -> Any:
        """The owner of the application, as a member."""
        user = User(APPLICATION - 1, "owner")
        self.discord.world.users[user.id] = user
        self.discord.join(user, self.guild, permissions=1 << 3)
        return user

    def gallery(self, message: Any) -> list[dict]:
        """The items of a message's galleries."""
        return [item for c in walk(message.components) for item in c.get("items", ())]

    def press(self, label: str, message: Any, user: Any = None) -> Any:
        return self.discord.press(user or self.user, message, self.buttons(message)[label]).answered(10)

    def custom_ids(self, message: Any) -> list[str]:
        """What can be pressed."""
        return [c["custom_id"] for c in walk(message.components) if "custom_id" in c]

    def rows(self, query: str, *arguments: Any) -> list[dict]:
        return self.cluster.database.rows(query, *arguments)

    def states(self) -> dict[str, int]:
        rows = self.rows("SELECT state, count(*) AS n FROM distillery_bot_requests GROUP BY state")
        return {row["state"]: row["n"] for row in rows}

    def command(self, message: Any) -> str:
        """The command of the request whose card a message is."""
        (row,) = self.rows(
            "SELECT COALESCE(data->>'final', command) AS c FROM distillery_bot_requests WHERE id = %s",
            self.number(message),
        )
        return row["c"]

    def until(self, condition: Any, seconds: float = 30) -> None:
        until(condition, seconds)


@contextmanager
def scene(
    discord_: DiscordStandIn, cluster: Cluster, config: BotConfig | None = None, work: bool = True, start: bool = True
) -> Any:
    """A scene with a running bot and, with ``work``, a worker."""
    made = Scene(discord_, cluster, config)
    try:
        if work:
            made.worker()
        if start:
            made.start()
        yield made
    finally:
        if made.bot is not None:
            made.bot.stop()
        for worker in made.workers:
            worker.stop()
