"""Objects as Discord's JSON, in the fields that discord.py reads and some more."""

from __future__ import annotations

from typing import Any

from .files import Files
from .world import APPLICATION, DM, THREAD, Channel, Guild, Member, Message, User

JSON = dict[str, Any]


def user(one: User) -> JSON:
    return {
        "id": str(one.id), "username": one.name, "global_name": None if one.bot else one.name.title(),
        "discriminator": "0", "avatar": None, "bot": one.bot, "system": False, "public_flags": 0, "flags": 0,
        "banner": None, "accent_color": None, "avatar_decoration_data": None, "collectibles": None, "clan": None,
        "primary_guild": None,
    }  # fmt: skip


def myself(one: User) -> JSON:
    return {**user(one), "verified": True, "mfa_enabled": True, "locale": "en-US", "email": None}


def member(one: Member, with_user: bool = True) -> JSON:
    return {
        **({"user": user(one.user)} if with_user else {}),
        "roles": [str(role) for role in one.roles], "nick": None, "avatar": None, "banner": None, "deaf": False,
        "mute": False, "flags": 0, "joined_at": one.joined, "pending": False, "premium_since": None,
        "communication_disabled_until": None, "permissions": str(one.permissions), "unusual_dm_activity_until": None,
    }  # fmt: skip


def role(id: int, name: str, permissions: int, position: int) -> JSON:
    return {
        "id": str(id), "name": name, "permissions": str(permissions), "position": position, "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None}, "hoist": False,
        "managed": False, "mentionable": False, "icon": None, "unicode_emoji": None, "flags": 0, "description": None,
    }  # fmt: skip


def channel(one: Channel) -> JSON:
    """A channel as events and the API give it."""
    data: JSON = {"id": str(one.id), "type": one.kind, "flags": 0, "last_message_id": None}
    if one.kind == DM:
        return {**data, "recipients": [user(each) for each in one.recipients]}
    assert one.guild
    data |= {"guild_id": str(one.guild.id), "name": one.name, "rate_limit_per_user": 0, "nsfw": False, "topic": None}
    if one.kind == THREAD:
        assert one.parent
        return data | {
            "parent_id": str(one.parent.id), "owner_id": str(one.guild.owner), "message_count": len(one.messages),
            "member_count": 2, "total_message_sent": len(one.messages),
            "thread_metadata": {
                "archived": one.archived, "auto_archive_duration": 1440, "locked": False, "invitable": True,
                "archive_timestamp": "2026-01-01T00:00:00+00:00", "create_timestamp": "2026-01-01T00:00:00+00:00",
            },
            "member": {
                "id": str(one.id), "user_id": str(APPLICATION), "flags": 0,
                "join_timestamp": "2026-01-01T00:00:00+00:00",
            },
        }  # fmt: skip
    # The bot's own permissions are an overwrite for it, so that permissions_for gives what the tests asked for.
    overwrite = {"id": str(APPLICATION), "type": 1, "allow": str(one.allow), "deny": str(((1 << 53) - 1) & ~one.allow)}
    return data | {"position": 0, "parent_id": None, "permission_overwrites": [overwrite]}


def channel_in_interaction(one: Channel, permissions: int) -> JSON:
    data = channel(one)
    if one.kind != DM:
        data["permissions"] = str(permissions)
    return data


def guild(one: Guild, channels: list[Channel]) -> JSON:
    """A guild as GUILD_CREATE gives it."""
    here = [each for each in channels if each.guild is one and not each.deleted]
    everyone = role(one.id, "@everyone", 0x4_0000_8000_0000 | 1 << 10 | 1 << 11 | 1 << 15 | 1 << 16, 0)
    return {
        "id": str(one.id), "name": one.name, "icon": None, "icon_hash": None, "splash": None, "discovery_splash": None,
        "owner_id": str(one.owner), "region": "deprecated", "afk_channel_id": None, "afk_timeout": 300,
        "verification_level": 1, "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0,
        "roles": [everyone, *(role(id, name, 0, n) for n, (name, id) in enumerate(one.roles.items(), 1))],
        "emojis": [], "stickers": [], "features": [], "application_id": None, "system_channel_id": None,
        "system_channel_flags": 0, "rules_channel_id": None, "public_updates_channel_id": None, "max_members": 500000,
        "max_presences": None, "vanity_url_code": None, "description": None, "banner": None, "premium_tier": one.tier,
        "premium_subscription_count": one.boosts, "preferred_locale": one.locale, "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50, "nsfw_level": 0, "nsfw": False, "premium_progress_bar_enabled": False,
        "safety_alerts_channel_id": None, "incidents_data": None, "joined_at": "2026-01-01T00:00:00+00:00",
        "large": False, "unavailable": False, "member_count": len(one.members), "voice_states": [], "presences": [],
        "members": [member(each) for each in one.members.values() if each.user.bot],
        "channels": [channel(each) for each in here if each.kind != THREAD],
        "threads": [channel(each) for each in here if each.kind == THREAD and not each.archived],
        "stage_instances": [], "guild_scheduled_events": [], "soundboard_sounds": [], "lazy": True, "version": 1,
    }  # fmt: skip


def message(one: Message, files: Files) -> JSON:
    """A message with links that are valid now."""
    flags = one.flags
    data: JSON = {
        "id": str(one.id), "channel_id": str(one.channel.id), "author": user(one.author), "content": one.content,
        "timestamp": one.created, "edited_timestamp": one.edited, "tts": False, "mention_everyone": False,
        "mentions": [], "mention_roles": [], "attachments": [files.payload(each) for each in one.attachments],
        "embeds": one.embeds, "components": files.with_links(one.components, one.attachments), "pinned": False,
        "type": one.type, "flags": flags,
    }  # fmt: skip
    if one.nonce is not None:
        data["nonce"] = one.nonce
    if one.author.bot:
        data["application_id"] = str(APPLICATION)
    if one.reference:
        data["message_reference"] = {"type": 0, "message_id": str(one.reference), "channel_id": str(one.channel.id)}
        if one.channel.guild:
            data["message_reference"]["guild_id"] = str(one.channel.guild.id)
    if one.call is not None:
        data["webhook_id"] = str(APPLICATION)
        data["interaction_metadata"] = one.call.metadata()
        if name := one.call.command_name:
            data["interaction"] = {"id": str(one.call.id), "type": 2, "name": name, "user": user(one.call.user)}
    return data


def application(bot: User) -> JSON:
    return {
        "id": str(APPLICATION), "name": bot.name, "icon": None, "description": "", "summary": "", "type": None,
        "bot_public": True, "bot_require_code_grant": False, "verify_key": "00" * 32, "flags": 1 << 23, "hook": True,
        "owner": user(User(APPLICATION - 1, "owner")), "team": None, "tags": [], "rpc_origins": [],
        "interactions_endpoint_url": None, "role_connections_verification_url": None, "redirect_uris": [],
        "approximate_guild_count": 1, "approximate_user_install_count": 0, "bot": user(bot),
        "integration_types_config": {"0": {}, "1": {}},
    }  # fmt: skip
