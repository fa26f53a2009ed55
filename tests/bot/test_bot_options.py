"""The options of /upscale: made from the table, understood by discord.py, put together as one command."""

from __future__ import annotations

import pytest

pytest.importorskip("discord", reason="the extra [bot] is not installed")

import discord
from discord import app_commands
from hypothesis import given
from hypothesis import strategies as st

from distillery.driver.bot import parameters
from distillery.driver.bot.modals import typed
from distillery.nodes.command import CommandError, parse_command
from distillery.nodes.parameters import PARAMETERS


def command():
    async def callback(interaction, **options):
        """Nothing."""

    callback.__signature__ = parameters.signature()
    app_commands.describe(**parameters.descriptions())(callback)
    made = app_commands.Command(name="upscale", description="x", callback=callback)
    return made.to_dict(app_commands.CommandTree(discord.Client(intents=discord.Intents.none())))


def test_each_parameter_of_the_table_is_an_option_with_its_range_and_its_choices() -> None:
    options = {option["name"]: option for option in command()["options"]}
    assert list(options) == ["image", "url", *(p.name for p in PARAMETERS), "params"]
    assert not any(option["required"] for option in options.values())
    for parameter in PARAMETERS:
        option = options[parameter.name]
        assert 0 < len(option["description"]) <= 100 and parameter.meaning[:20] in option["description"]
        if parameter.kind == "choice":
            assert [choice["value"] for choice in option["choices"]] == list(parameter.choices)
        elif parameter.kind == "float" and parameter.name != "power":
            assert (option["type"], option["min_value"], option["max_value"]) == (
                10,
                parameter.minimum,
                parameter.maximum,
            )
        else:
            assert option["type"] == 3  # seeds do not fit into Discord's numbers, and power takes "auto"


@pytest.mark.parametrize(
    ("options", "command", "automatic"),
    [
        ({}, "", False),
        ({"power": "0.2", "neg": "night"}, "--neg night --power 0.2", False),
        ({"power": "auto"}, "", True),
        ({"params": "--power AUTO --seed 5"}, "--seed 5", True),
        ({"params": "—power=auto"}, "", True),
        ({"seed": str(2**64 - 1)}, f"--seed {2**64 - 1}", False),
        ({"params": "--neg a dark place", "cfg": 4.0}, "--neg a dark place --cfg 4.0", False),
        ({"keep": "both", "params": "--model dream"}, "--model dream --keep both", False),
    ],
)  # fmt: skip
def test_what_is_chosen_and_typed_is_one_command(options, command, automatic) -> None:
    assert parameters.command_of(options) == (command, automatic)
    parse_command(command)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"power": "2"}, "power"), ({"power": "much"}, "power"), ({"seed": "-1"}, "seed"), ({"params": "--pwoer 1"}, "--power"),
        ({"params": "--power auto", "power": "0.2"}, "twice"), ({"params": "--power 0.2", "power": "auto"}, "twice"),
        ({"params": "--neg a", "neg": "b"}, "twice"), ({"neg": "a --power 0.9"}, "neg"), ({"params": "hello"}, "hello"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named(options, named) -> None:
    with pytest.raises(CommandError, match=named):
        parameters.command_of(options)


@given(st.text("-—power auto=0.5 \t", max_size=40))
def test_any_typed_text_is_a_command_or_an_error(text) -> None:
    command, kind, fault = typed(text)
    if fault is None:
        assert parse_command(command).power is None or kind == "one"


def test_suggestions_begin_as_typed_and_are_few() -> None:
    names = [f"model {n}" for n in range(40)]
    assert [c.value for c in parameters.suggestions("model 3", names)][:2] == ["model 3", "model 30"]
    assert len(parameters.suggestions("", names)) == 25
