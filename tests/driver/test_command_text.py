"""Parameters given by name, as the text of a command."""

from __future__ import annotations

import pytest

from distillery.driver.jobs.prepare import command_text
from distillery.nodes.command import CommandError


def test_parameters_by_name_make_the_same_command():
    assert command_text("--seed 4", {"power": 0.2, "neg": "night, fog"}) == "--seed 4 --power 0.2 --neg night, fog"
    assert command_text("", {"cfg": None}) == ""
    with pytest.raises(CommandError, match="Did you mean --power"):
        command_text("", {"powr": 0.2})
    with pytest.raises(CommandError, match="out of range"):
        command_text("", {"power": 2})


def test_a_text_given_by_name_cannot_smuggle_another_parameter():
    with pytest.raises(CommandError, match="cannot hold another parameter"):
        command_text("", {"neg": "fog --power 1"})
