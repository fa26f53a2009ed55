"""Forms: an image and a command, a prompt, a command that is to be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import discord
from discord import ui

from ...nodes.command import CommandError, parse_command
from .parameters import command_of
from .sources import source_of_attachment
from .values import Request, with_values

if TYPE_CHECKING:
    from .service import Service


def typed(text: str, kind: str = "one") -> tuple[str, str, CommandError | None]:
    """Return a typed command without ``--power auto``, the kind of its request, and what is wrong with it."""
    try:
        command, automatic = command_of({"params": text})
    except CommandError as error:
        return text, kind, error
    return command, "auto" if automatic else kind, None


class PictureForm(ui.Modal, title="Upscale an image"):
    """Asks for an image and a command. command: that stands there."""

    def __init__(self, service: Service, command: str = "") -> None:
        super().__init__(timeout=900)
        self._service = service
        self._file: ui.FileUpload[Any] = ui.FileUpload(custom_id="image", required=True, min_values=1, max_values=1)
        self._command: ui.TextInput[Any] = ui.TextInput(
            custom_id="params", required=False, max_length=4000, default=command[:4000] or None,
            placeholder="--power 0.2 --neg night",
        )  # fmt: skip
        self.add_item(ui.Label(text="Image", description="PNG, JPEG, WebP and others", component=self._file))
        self.add_item(
            ui.Label(
                text="Parameters", description="See /command-infos; empty: the image's own", component=self._command
            )
        )

    async def on_submit(self, interaction: discord.Interaction[Any]) -> None:
        command, kind, fault = typed(self._command.value)
        source = source_of_attachment(self._file.values[0]) if self._file.values else None
        await self._service.upscale(interaction, source, command, kind, fault=fault)


class PromptForm(ui.Modal, title="How does the image look?"):
    """Asks for a prompt and a checkpoint, for an image that names none. earlier: the request that it goes on with."""

    def __init__(self, service: Service, earlier: Request) -> None:
        super().__init__(timeout=900)
        self._service, self._earlier = service, earlier
        self._prompt: ui.TextInput[Any] = ui.TextInput(
            custom_id="prompt", style=discord.TextStyle.paragraph, max_length=1500, placeholder="a lake in the mountains, morning"
        )  # fmt: skip
        self._negative: ui.TextInput[Any] = ui.TextInput(custom_id="neg", required=False, max_length=1500)
        self._model: ui.TextInput[Any] = ui.TextInput(custom_id="model", required=False, max_length=200)
        self.add_item(ui.Label(text="Prompt", component=self._prompt))
        self.add_item(ui.Label(text="Negative prompt", component=self._negative))
        self.add_item(ui.Label(text="Checkpoint", description="Empty: one that is there", component=self._model))

    async def on_submit(self, interaction: discord.Interaction[Any]) -> None:
        values = {"prompt": self._prompt.value, "negative": self._negative.value, "model": self._model.value}
        fault = None
        try:
            command = with_values(self._earlier.command, **{k: v.strip() for k, v in values.items() if v.strip()})
            parse_command(command)
        except CommandError as error:
            command, fault = self._earlier.command, error
        await self._service.again(interaction, self._earlier, command, self._earlier.kind, fault)


class CommandForm(ui.Modal, title="Change the command"):
    """Asks for the command of an earlier request once more."""

    def __init__(self, service: Service, earlier: Request) -> None:
        super().__init__(timeout=900)
        self._service, self._earlier = service, earlier
        self._command: ui.TextInput[Any] = ui.TextInput(
            custom_id="params", style=discord.TextStyle.paragraph, required=False, max_length=4000,
            default=earlier.command[:4000] or None,
        )  # fmt: skip
        self.add_item(
            ui.Label(text="Parameters", description="--name value …; see /command-infos", component=self._command)
        )

    async def on_submit(self, interaction: discord.Interaction[Any]) -> None:
        command, kind, fault = typed(self._command.value, self._earlier.kind)
        await self._service.again(interaction, self._earlier, command, kind, fault)
