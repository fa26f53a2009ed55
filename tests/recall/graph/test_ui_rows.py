"""Rows of widget values that a table names, or that the types of values and sockets tell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recall_graph_samples import plain_workflow

from distillery.nodes.recall import recall_text
from distillery.nodes.recall.graph.ui_values import widget_values

SAMPLED = [5, "fixed", 20, 7.5, "euler", "karras"]


def told(values: list[Any], inputs: list[str], outputs: list[str], kind: str = "No Such Node") -> dict[str, Any]:
    return widget_values(kind, values, [None] * len(inputs), (inputs, outputs))[0]


def test_text_for_an_encoder_that_is_not_clip() -> None:
    assert told(["a lake"], ["CHATGLM3MODEL"], ["CONDITIONING"])["text"] == "a lake"
    assert told(["mean"], ["CLIP_VISION"], ["CONDITIONING"]) == {}


@pytest.mark.parametrize(("after", "denoise"), [([0.4], 0.4), ([1], 1), ([0, 10000], None)])
def test_where_a_sampler_begins_is_no_denoise(after: list[float], denoise: float | None) -> None:
    assert told([*SAMPLED, *after], ["MODEL"], ["LATENT"]).get("denoise") == denoise


def test_file_of_an_enlarging_model_is_no_lora() -> None:
    assert told(["None", 1, "4x_big.pth", 2, "off"], ["MODEL"], ["MODEL", "IMAGE"]) == {}
    assert told(["a.safetensors", 0.5], ["MODEL"], ["MODEL"])["lora_name"] == "a.safetensors"


def test_control_word_is_no_sampler() -> None:
    assert "sampler_name" not in told([8, "fixed", "normal"], [], ["KSAMPLER"], "KSamplerAdvancedProvider")
    assert told([8, "euler", "normal"], [], ["KSAMPLER"], "KSamplerAdvancedProvider")["sampler_name"] == "euler"


def test_numbers_of_a_guider_whose_names_look_like_texts() -> None:
    values = told([5, 1.5], ["MODEL"], ["GUIDER"], "DualCFGGuider")
    assert (values["cfg_conds"], values["cfg_cond2_negative"]) == (5, 1.5)


@pytest.mark.parametrize("more", [[False, "net.pth", 1, "Canny", True], ["net.pth", 1, True]])
def test_rows_of_both_versions_of_a_script(more: list[Any]) -> None:
    row = ["latent", "(use same)", "nearest-exact", "4x.pth", 1.25, False, 914146367174090, None, 12, 0.56, 1, *more]
    values = told(row, [], ["SCRIPT"], "HighRes-Fix Script")
    assert (values["upscale_by"], values["hires_steps"], values["denoise"]) == (1.25, 12, 0.56)


@pytest.mark.parametrize("pack", ["SetNode GetNode", "easy setNode easy getNode"])
def test_set_and_get_nodes_of_packs(pack: str) -> None:
    setter, getter = pack.replace("easy ", "easy_").split()
    workflow = plain_workflow()
    named = {"mode": 0, "widgets_values": ["kept"]}
    taken = {"name": "x", "type": "CONDITIONING"}
    workflow.nodes += [
        {"id": 80, "type": setter.replace("_", " "), "inputs": [taken], "outputs": [], **named},
        {"id": 81, "type": getter.replace("_", " "), "inputs": [], "outputs": [taken], **named},
    ]
    workflow.link(6, 0, 80, "x")
    workflow.link(81, 0, 3, "positive")
    assert recall_text({"workflow": json.dumps(workflow.data())}).positive == "a lake"
