"""The Discord bot: ``/upscale`` where the people are. See docs/bot.md."""
