"""This pack's own record."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from recall_read import (
    graph_texts,
)
from recall_samples import new_record, plain_graph, png

from distillery.nodes.generation import Generation
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.record import record_for


def record_texts(generation: Generation) -> dict[str, str]:
    return {"distillery": record_for(generation), "prompt": json.dumps(plain_graph())}


def test_own_record_wins_over_the_graph_and_survives_twice() -> None:
    first = replace(recall_text(graph_texts(new_record())), warnings=("of the first run",))
    second = recall(png(record_texts(first), (512, 512)))
    assert second.origin == "distillery-upscale"
    ignored = {"origin": "", "fields": {}, "carried": {}, "warnings": ()}
    assert replace(second, **ignored) == replace(first, **ignored)
    assert second.warnings == () and second.carried["warnings_of_that_upscale"] == ["of the first run"]
    third = recall_text(record_texts(second))
    assert third.fields["cfg"] == second.fields["cfg"] == "this pack's record: template_inputs.CFG"


def test_own_record_keeps_text_in_any_language() -> None:
    first = replace(recall_text(graph_texts(new_record())), positive="湖 — Überall 🌅")
    assert recall(png(record_texts(first))).positive == "湖 — Überall 🌅"


@pytest.mark.parametrize("record", ["{", "[]", '{"version": 1}', '{"generation": 5}'])
def test_broken_own_record_falls_back_to_the_graph_with_a_warning(record: str) -> None:
    generation = recall_text({"distillery": record, **graph_texts(plain_graph())})
    assert generation.origin == "comfyui"
    if record != "[]":
        assert any("distillery chunk" in w for w in generation.warnings)


def test_own_record_of_another_version_is_read_with_a_warning() -> None:
    record = json.loads(record_for(recall_text(graph_texts(new_record()))))
    generation = recall_text({"distillery": json.dumps({**record, "version": 2})})
    assert generation.seed == 124 and "version 2" in generation.warnings[0]
