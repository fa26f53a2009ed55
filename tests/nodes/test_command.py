"""The syntax of the command: every parameter and every error."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distillery.nodes.command import Command, CommandError, format_command, parse_command
from distillery.nodes.errors import DistilleryError
from distillery.nodes.parameters import PARAMETERS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  \n ", {}),
        ("--power 0.2", {"power": 0.2}),
        ("--power=0.2", {"power": 0.2}),
        ("--power = .2", {"power": 0.2}),
        ("--POWER 0", {"power": 0.0}),
        ("—power 0.2", {"power": 0.2}),
        ("–power 0.2 ―seed 7", {"power": 0.2, "seed": 7}),
        ("--neg night", {"negative": "night"}),
        ("--negative_prompt night, fog", {"negative": "night, fog"}),
        ("--negative-prompt night", {"negative": "night"}),
        ("--neg a -- b", {"negative": "a -- b"}),
        ("--neg well--lit, a man — tall --cfg 7", {"negative": "well--lit, a man — tall", "cfg": 7.0}),
        ("--neg night\n--seed 18446744073709551615", {"negative": "night", "seed": 2**64 - 1}),
        ('--neg ""', {"negative": ""}),
        ("--sharpen 1 --power 1e-1", {"sharpen": 1.0, "power": 0.1}),
        ("--prompt a red cat --model dream\\v8.safetensors", {"prompt": "a red cat", "model": "dream\\v8.safetensors"}),
        ("--missing_lora SKIP", {"missing_lora": "skip"}),
        ("--keep Both", {"keep": "both"}),
        ("--keep colors --power .4", {"keep": "colours", "power": 0.4}),
        ("--keep none", {"keep": "nothing"}),
    ],
)
def test_accepted(text, expected):
    assert parse_command(text) == Command(**expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--power", ["--power", "needs a value", "0 to 1"]),
        ("--power --seed 3", ["--power", "needs a value"]),
        ("--power lots", ["--power", '"lots"', "a number from 0 to 1"]),
        ("--power 0,3", ["--power", "0,3", "0.3"]),
        ("--power nan", ["--power", '"nan"']),
        ("--power inf", ["--power", '"inf"']),
        ("--power 1.01", ["--power", "1.01", "out of range", "0 to 1"]),
        ("--power -0.1", ["--power", "-0.1", "out of range"]),
        ("--sharpen 2", ["--sharpen", "out of range", "0 to 1"]),
        ("--cfg 0.5", ["--cfg", "0.5", "1 to 30"]),
        ("--cfg 31", ["--cfg", "31", "1 to 30"]),
        ("--seed -1", ["--seed", "-1", "2^64-1"]),
        ("--seed 18446744073709551616", ["--seed", "2^64-1"]),
        ("--seed 1.5", ["--seed", "1.5", "whole number"]),
        ("--seed " + "9" * 5000, ["--seed", "out of range"]),
        ("--seed ١٢٣", ["--seed", "whole number"]),
        ("--powr 0.3", ["--powr", "Did you mean --power?"]),
        ("--sharpness 0.3", ["--sharpness", "Did you mean --sharpen?"]),
        ("--ar 3:4", ["--ar", "unknown", "--neg, --seed, --cfg, --power, --sharpen"]),
        ("--neg a --neg b", ["--neg", "twice"]),
        ("--neg a --negative_prompt b", ["--neg", "twice"]),
        ("make it big", ["make it big", "--name value"]),
        ("-power 0.3", ["-power", "two dashes"]),
        ("--missing_lora maybe", ["--missing_lora", "error or skip"]),
        ("--keep all", ["--keep", '"all"', "auto, detail, colours, both or nothing"]),
    ],
)
def test_refused_with_what_was_given_and_what_is_accepted(text, words):
    with pytest.raises(CommandError) as error:
        parse_command(text)
    for word in words:
        assert word in str(error.value)
    assert len(str(error.value)) < 400
    assert isinstance(error.value, DistilleryError)


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("--power 0.5", False),
        ("--power 0.51", True),
        ("--cfg 3", False),
        ("--cfg 12", False),
        ("--cfg 2.9", True),
        ("--cfg 13", True),
        ("--sharpen 1", False),
    ],
)
def test_outside_the_useful_range_is_warned_of(text, warned):
    assert bool(parse_command(text).warnings) is warned


def test_every_parameter_is_in_the_error_for_unknown_ones():
    with pytest.raises(CommandError) as error:
        parse_command("--zzzzzz 1")
    assert all(f"--{p.name}" in str(error.value) for p in PARAMETERS)


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused_clearly(text):
    try:
        parse_command(text)
    except CommandError as error:
        assert str(error)


_words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Pd", "Zs"]), min_size=1)


@given(
    st.builds(
        Command,
        negative=st.none() | _words,
        seed=st.none() | st.integers(0, 2**64 - 1),
        cfg=st.none() | st.floats(1, 30),
        power=st.none() | st.floats(0, 1),
        sharpen=st.none() | st.floats(0, 1),
        model=st.none() | _words,
    )
)
@example(Command(model="="))
@example(Command(negative="=a = b"))
def test_format_and_parse_are_inverse(command):
    parsed = parse_command(format_command(command))
    expected = {p.field: getattr(command, p.field) for p in PARAMETERS}
    for name, value in expected.items():
        assert getattr(parsed, name) == (value.strip() if isinstance(value, str) else value)
