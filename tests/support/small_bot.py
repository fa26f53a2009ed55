"""A small discord.py client that does a bit of everything, to check the Discord stand-in with."""

from __future__ import annotations

import asyncio
import io
import re
from typing import Any

import discord
from discord import app_commands, ui


class Again(ui.DynamicItem[ui.Button[Any]], template=r"again:(?P<job>[0-9]+)"):
    """A button that says which job it is of, and so outlives the process."""

    def __init__(self, job: int) -> None:
        super().__init__(ui.Button(label="Again", custom_id=f"again:{job}"))
        self.job = job

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: Any, match: re.Match[str]) -> Again:
        return cls(int(match["job"]))

    async def callback(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_message(f"again {self.job}", ephemeral=True)


class Form(ui.Modal, title="A form"):
    prompt = ui.Label(text="Prompt", component=ui.TextInput(custom_id="prompt", max_length=50))
    image = ui.Label(text="Image", component=ui.FileUpload(custom_id="image"))
    model = ui.Label(
        text="Model",
        component=ui.Select(custom_id="model", options=[discord.SelectOption(label=each) for each in ("a", "b")]),
    )
    size = ui.Label(
        text="Size",
        component=ui.RadioGroup(
            custom_id="size", options=[discord.RadioGroupOption(label=each, value=each) for each in ("small", "large")]
        ),
    )
    sure = ui.Label(text="Sure?", component=ui.Checkbox(custom_id="sure"))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        data = await self.image.component.values[0].read()
        await interaction.response.send_message(
            f"{self.prompt.component.value} {len(data)} {self.model.component.values[0]} {self.size.component.value} "
            f"{self.sure.component.value}"
        )


class Card(ui.LayoutView):
    """A message of the second version: text, picture, buttons, a select."""

    def __init__(self, text: str, file: str = "") -> None:
        super().__init__(timeout=None)
        rows: list[Any] = [ui.TextDisplay(text)]
        if file:
            rows += [ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{file}", description="after"))]
            rows += [ui.File(f"attachment://{file}")]
        more, models = ui.Button(label="More", custom_id="more"), ui.Select(custom_id="models")
        models.options = [discord.SelectOption(label=each) for each in ("x", "y")]
        more.callback, models.callback = self.more, self.chosen
        self.models = models
        self.add_item(ui.Container(*rows, ui.ActionRow(more, Again(7)), ui.ActionRow(models)))

    async def more(self, interaction: discord.Interaction) -> None:
        await interaction.response.edit_message(view=Card("more"), attachments=[])

    async def chosen(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        await interaction.edit_original_response(view=Card(self.models.values[0]))


class SmallBot(discord.Client):
    def __init__(self, **more: Any) -> None:
        super().__init__(intents=discord.Intents.default(), guild_ready_timeout=0.05, max_messages=None, **more)
        self.tree = app_commands.CommandTree(self)
        self.heard: list[discord.Interaction] = []
        self.deleted: list[int] = []
        self.errors: list[Exception] = []
        commands = [self._read, self._slow, self._card, self._form, self._send, self._many]
        for command in commands:
            self.tree.add_command(app_commands.command(name=command.__name__[1:], description="A command")(command))
        self.tree.add_command(app_commands.ContextMenu(name="Upscale", callback=self._menu))
        read = self.tree.get_command("read")
        assert isinstance(read, app_commands.Command)
        read.autocomplete("model")(self._models)
        self.tree.error(self._failed)

    async def setup_hook(self) -> None:
        self.add_dynamic_items(Again)
        await self.tree.sync()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Not the five seconds that the library waits."""

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        self.heard.append(interaction)

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        self.deleted.append(event.message_id)

    async def _failed(self, interaction: discord.Interaction, error: Exception) -> None:
        self.errors.append(getattr(error, "original", error))

    async def _models(self, interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        names = ["dreamshaper", "dreamlike", "real"]
        return [app_commands.Choice(name=each, value=each) for each in names if each.startswith(typed)]

    async def _read(
        self,
        interaction: discord.Interaction,
        image: discord.Attachment,
        power: app_commands.Range[float, 0, 1] = 0.2,
        model: str = "real",
    ) -> None:
        await interaction.response.send_message(f"{len(await image.read())} {power} {model}", ephemeral=True)

    async def _slow(self, interaction: discord.Interaction, wait: float = 0.05, hidden: bool = False) -> None:
        await interaction.response.defer(thinking=True, ephemeral=hidden)
        await asyncio.sleep(wait)
        await interaction.edit_original_response(content="done")
        await interaction.followup.send("and more")

    async def _card(self, interaction: discord.Interaction) -> None:
        file = discord.File(io.BytesIO(b"a picture"), "after.png")
        await interaction.response.send_message(view=Card("# Title", "after.png"), file=file)

    async def _form(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_modal(Form())

    async def _send(self, interaction: discord.Interaction, size: int) -> None:
        await interaction.response.send_message("x", file=discord.File(io.BytesIO(bytes(size)), "x.bin"))

    async def _many(self, interaction: discord.Interaction, number: int) -> None:
        await interaction.response.send_message("0")
        for each in range(number):
            await interaction.followup.send(str(each + 1))

    async def _menu(self, interaction: discord.Interaction, message: discord.Message) -> None:
        sizes = [len(await each.read()) for each in message.attachments]
        await interaction.response.send_message(f"{message.content} by {message.author.name}: {sizes}")
