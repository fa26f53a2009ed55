"""--upscaler: the model of the command is that of the graph, and what enlarges depends on nothing else of the command."""

import copy

import pytest

from distillery.nodes.command import Command, parse_command
from distillery.nodes.generation import Generation
from distillery.nodes.record import UpscalerInfo, record_for
from distillery.nodes.settings import settings_for
from distillery.nodes.upscaler_choice import choose_upscaler


def graph(*commands, model_name="4x-UltraSharp.pth"):
    nodes = {"3": {"class_type": "DistilleryLoadUltraSharp", "inputs": {"model_name": model_name, "stand_in": "none"}}}
    for number, command in enumerate(commands, 10):
        nodes[str(number)] = {"class_type": "DistilleryParameters", "inputs": {"command": command}}
    return {"prompt": nodes, "client_id": "x"}


def model_of(body):
    return body["prompt"]["3"]["inputs"]["model_name"]


@pytest.mark.parametrize(
    ("commands", "name"),
    [
        (["--upscaler 4x_foolhardy_Remacri --power 0"], "4x_foolhardy_Remacri"),
        (["--upscale_model a b.pth"], "a b.pth"),
        (["--power 0.2"], None),
        (["--upscaler a", "--upscaler b"], None),
        (["--upscaler a", ""], None),
        (["--upscaler"], None),
        ([["5", 0]], None),
        ([], None),
    ],
)
def test_the_command_chooses_the_model(commands, name):
    assert model_of(choose_upscaler(graph(*commands))) == (name or "4x-UltraSharp.pth")


def test_other_bodies_are_left_alone():
    linked = graph("--upscaler a", model_name=["7", 0])
    for body in (None, [], {}, {"prompt": None}, {"prompt": {"1": None}}, linked):
        before = copy.deepcopy(body)
        assert choose_upscaler(body) == before


def used(command: Command) -> Generation:
    return settings_for(Generation(positive="a", seed=1), command).generation


def test_the_record_says_which_it_was_and_warns_where_it_is_another():
    wanted = used(parse_command("--upscaler Remacri"))
    assert '"upscaler": "4x-UltraSharp.pth"' in (text := record_for(wanted, UpscalerInfo("4x-UltraSharp.pth")))
    assert "this graph enlarged with" in text
    assert "this graph enlarged with" not in record_for(wanted, UpscalerInfo("sub/remacri.pth"))
    assert "this graph enlarged with" not in record_for(used(Command()), UpscalerInfo("4x-UltraSharp.pth"))


def test_bytes_that_are_no_text_do_not_reach_an_encoder():
    command = parse_command("--prompt caf\udce9 --neg \ud83d")
    assert command.prompt == "caf?" and command.negative == "?"
