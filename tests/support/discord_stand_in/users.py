"""What users do: Discord's own client, with the checks that it makes before the bot hears of anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import check_components as kinds
from . import payloads
from .calls import AUTOCOMPLETE, COMMAND, COMPONENT, SUBMIT, Call, Resolved
from .check_commands import CHAT, MESSAGE
from .core import Core
from .files import without_metadata
from .forms import fill_modal, find_options, read_values
from .world import ADMINISTRATOR, DM, Attachment, Channel, Message, User

JSON = dict[str, Any]


class Users(Core):
    """The half of the stand-in that stands for people."""

    def upload(
        self, user: User, channel: Channel, data: bytes, filename: str, strip: bool = False, description: str | None = None
    ) -> Attachment:  # fmt: skip
        """Upload a file, to be given as an option, in a modal or with a message. strip: Discord takes its metadata."""
        with self.lock:
            assert len(data) <= self.world.limit_in(channel), f"{user.name} cannot upload {len(data)} bytes here"
            return self.files.store(without_metadata(data) if strip else data, filename, channel, True, description)

    def post(
        self, user: User, channel: Channel, text: str = "", attachments: Sequence[Attachment] = (),
        embeds: Sequence[JSON] = (), reply_to: Message | None = None,
    ) -> Message:  # fmt: skip
        """Post a message. The files become the channel's."""
        with self.lock:
            moved = [
                self.files.store(each.data, each.filename, channel, description=each.description)
                for each in attachments
            ]
            message = Message(
                self.world.ids.make(), channel, user, text, [{"type": "rich", **each} for each in embeds], [], moved
            )
            if reply_to:
                message.reference, message.type = reply_to.id, 19
            self.messages_.add(message)
        return message

    def slash(
        self, user: User, channel: Channel, name: str, options: Mapping[str, Any] | None = None,
        subcommand: str | None = None, installed: str = "guild",
    ) -> Call:  # fmt: skip
        """Use a command. Raises AssertionError for what Discord would not let the user send."""
        return self._begin_command(COMMAND, user, channel, name, options or {}, subcommand, installed, None)

    def autocomplete(
        self, user: User, channel: Channel, name: str, option: str, typed: str, options: Mapping[str, Any] | None = None,
        subcommand: str | None = None, installed: str = "guild", timeout: float = 3,
    ) -> list[JSON]:  # fmt: skip
        """Type into an option; returns the choices that the bot offers: name and value of each."""
        given = {**(options or {}), option: typed}
        call = self._begin_command(AUTOCOMPLETE, user, channel, name, given, subcommand, installed, option).answered(
            timeout
        )
        assert call.response
        choices: list[JSON] = call.response[1].get("choices") or []
        return choices

    def menu(self, user: User, channel: Channel, name: str, target: Message | User, installed: str = "guild") -> Call:
        """Use an entry of the menu of a message or a user."""
        kind = MESSAGE if isinstance(target, Message) else 2
        with self.lock:
            command = self._command(user, channel, name, kind, installed)
            resolved = Resolved(self, channel.guild)
            data = {"id": command["id"], "name": name, "type": kind, "target_id": resolved.add(target)}
            return self._begin(COMMAND, user, channel, data | {"resolved": resolved.data}, installed, name=name)

    def press(
        self, user: User, message: Message, custom_id: str, values: Sequence[Any] | None = None, installed: str | None = None
    ) -> Call:  # fmt: skip
        """Press a button, or choose values in a select."""
        with self.lock:
            assert not message.deleted and not message.channel.deleted, (
                f"there is no message {message.id} to press anything on"
            )
            assert message.seen_by in (None, user), f"{user.name} does not see that message"
            found = [each for each in kinds.walk(message.components) if each.get("custom_id") == custom_id]
            assert found, f"the message has nothing with the custom id {custom_id!r}, but {self.buttons(message)}"
            component = found[0]
            assert not component.get("disabled"), f"{custom_id} is disabled"
            data: JSON = {"custom_id": custom_id, "component_type": component["type"], "id": component.get("id", 0)}
            if component["type"] != kinds.BUTTON:
                resolved = Resolved(self, message.channel.guild)
                data["values"] = read_values(component, list(values or []), resolved)
                data |= {"resolved": resolved.data} if resolved.data else {}
            way = installed or (message.call.installed if message.call else "guild")
            return self._begin(COMPONENT, user, message.channel, data, way, source=message)

    def submit(self, user: User, before: Call, values: Mapping[str, Any]) -> Call:
        """Answer the modal that a call opened: values by custom id; what is not named stays as the bot preset it."""
        with self.lock:
            modal = before.modal
            assert modal is not None, f"{before} opened no modal"
            resolved = Resolved(self, before.channel.guild)
            data = {"custom_id": modal["custom_id"], "components": fill_modal(modal, values, resolved)}
            data |= {"resolved": resolved.data} if resolved.data else {}
            return self._begin(
                SUBMIT, user, before.channel, data, before.installed, source=before.source, before=before
            )

    def repeat(self, call: Call) -> None:
        """Send an interaction's event once more, as the gateway now and then does."""
        with self.lock:
            self.event("INTERACTION_CREATE", call.payload(), call.channel.guild)

    # What users see

    def messages(self, channel: Channel, viewer: User | None = None) -> list[Message]:
        """The messages of a channel, oldest first; with the ephemeral ones that the viewer sees."""
        with self.lock:
            return [each for _, each in sorted(channel.messages.items()) if each.seen_by in (None, viewer)]

    def message(self, channel: Channel, id: int) -> Message | None:
        """A message, as it is now."""
        with self.lock:
            return channel.messages.get(id)

    def payload(self, message: Message) -> JSON:
        """A message's JSON."""
        with self.lock:
            return payloads.message(message, self.files)

    def texts(self, message: Message) -> str:
        """All that can be read in a message, a line for each piece."""
        found: list[str | None] = [message.content]
        for embed in message.embeds:
            found += [embed.get("title"), embed.get("description")]
            found += [text for field in embed.get("fields", []) for text in (field["name"], field["value"])]
            found += [(embed.get("author") or {}).get("name"), (embed.get("footer") or {}).get("text")]
        for each in kinds.walk(message.components):
            found += [each.get("content"), each.get("placeholder"), each.get("name")]
            found += [item.get("description") for item in (each, *each.get("items", []), *each.get("options", []))]
            found += [option["label"] for option in each.get("options", [])]
            found += [each.get("label")] if each["type"] != kinds.BUTTON else []
        return "\n".join(text for text in found if text)

    def buttons(self, message: Message, disabled: bool = False) -> dict[str, str]:
        """The buttons that can be pressed: label (or emoji) to custom id, or to the link. disabled: the others instead."""
        return {
            each.get("label") or (each.get("emoji") or {}).get("name", ""): each.get("custom_id") or each.get("url", "")
            for each in kinds.walk(message.components)
            if each["type"] == kinds.BUTTON and bool(each.get("disabled")) is disabled
        }

    def selects(self, message: Message) -> dict[str, list[str]]:
        """The selects: custom id to the values that can be chosen."""
        return {
            each["custom_id"]: [option["value"] for option in each.get("options", [])]
            for each in kinds.walk(message.components)
            if each["type"] in kinds.SELECTS
        }

    def download(self, attachment: Attachment) -> bytes:
        """The bytes of a file."""
        assert not attachment.deleted, f"{attachment.filename} is gone"
        return attachment.data

    # How a call begins

    def _begin_command(
        self, kind: int, user: User, channel: Channel, name: str, given: Mapping[str, Any], subcommand: str | None,
        installed: str, focused: str | None,
    ) -> Call:  # fmt: skip
        with self.lock:
            command = self._command(user, channel, name, CHAT, installed)
            resolved = Resolved(self, channel.guild)
            data: JSON = {"id": command["id"], "name": name, "type": CHAT}
            data["options"] = find_options(command, given, subcommand, resolved, focused)
            data |= {"resolved": resolved.data} if resolved.data else {}
            data |= {"guild_id": command["guild_id"]} if "guild_id" in command else {}
            full = f"{name} {subcommand}" if subcommand else name
            return self._begin(kind, user, channel, data, installed, name=full)

    def _command(self, user: User, channel: Channel, name: str, kind: int, installed: str) -> JSON:
        """The command as registered. Raises AssertionError if the user cannot see it here."""
        guild = channel.guild
        here = self.registered.get(guild.id, []) if guild else []
        found = [
            each for each in [*here, *self.registered.get(None, [])] if (each["name"], each["type"]) == (name, kind)
        ]
        known = sorted({each["name"] for all_ in self.registered.values() for each in all_})
        assert found, f"the bot has registered no such {name!r}, but {known}"
        command = found[0]
        way = 1 if installed == "user" else 0
        assert way in (command.get("integration_types") or [0]), f"/{name} is not for apps installed by a {installed}"
        context = 0 if guild else 2 if channel.private else 1
        contexts = command.get("contexts")
        assert contexts is None or context in contexts, f"/{name} is not to be used here (context {context})"
        assert guild or command.get("dm_permission", True) is not False, f"/{name} is not to be used in DMs"
        if guild and command["default_member_permissions"] is not None:
            needed, member = int(command["default_member_permissions"]), guild.members[user.id]
            # "0" is for administrators alone.
            allowed = member.permissions & ADMINISTRATOR or (needed and member.permissions & needed == needed)
            assert allowed, f"/{name} is hidden from {user.name}, who lacks the permissions"
        return command

    def _begin(
        self, kind: int, user: User, channel: Channel, data: JSON, installed: str, *, source: Message | None = None,
        name: str | None = None, before: Call | None = None,
    ) -> Call:  # fmt: skip
        assert not channel.deleted, f"there is no channel {channel.name} any more"
        guild = channel.guild
        assert guild is None or user.id in guild.members, f"{user.name} is not in {guild.name}"
        assert channel.kind != DM or user in channel.recipients, f"{user.name} is not in that DM"
        assert installed == "user" or not guild or guild.joined, f"the bot is not in {guild.name}: installed='user'"
        call = Call(
            self, self.world.ids.make(self.interaction_age), kind, user, channel, data, installed, source, name, before
        )
        self.calls[call.token] = call
        self.event("INTERACTION_CREATE", call.payload(), guild)
        return call
