"""Recalling from whole files and texts: examples, hostile JSON, and nothing but RecallError."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recall_read import (
    graph_texts,
    of_graph,
)
from recall_samples import new_record, plain_graph, png

from distillery.nodes.generation import Generation
from distillery.nodes.recall import FORMATS, RecallError, recall, recall_text
from distillery.nodes.record import record_for
from distillery.nodes.report import as_rows, carried_rows

# hostile JSON


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": 1} trailing',
        "a lake, best quality",
        '{"a": ' * 200_000,
        "[" * 100_000,
        "\x00",
        "{'a': 1}",
        '"\\x"',
    ],
    ids=lambda text: text[:8] or "empty",
)
def test_corrupt_json_is_a_warning(text: str) -> None:
    generation = recall_text({"prompt": text})
    assert generation.empty
    assert [w for w in generation.warnings if "this file has a prompt chunk which is not valid JSON" in w]


@pytest.mark.parametrize(
    "text", ["null", "[]", "5", "{}", '"text"', '{"3": 5}', '{"template_inputs": []}', '{"comfy_api": {}}']
)
def test_json_without_generation_data(text: str) -> None:
    generation = recall_text({"prompt": text})
    assert generation.empty and generation.warnings and not generation.fields


def test_too_deep_json_is_a_warning() -> None:
    generation = recall_text({"prompt": '{"a":' * 100 + "1" + "}" * 100})
    assert generation.empty and "nested deeper" in generation.warnings[0]


def test_nan_is_read_over() -> None:
    text = json.dumps(plain_graph()).replace("7.5", "NaN").replace('"batch_size": 1', '"batch_size": NaN')
    generation = recall_text({"prompt": text})
    assert generation.cfg is None and generation.seed == 2**60 + 1
    assert any("cfg" in w for w in generation.warnings)


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "9" * 5000, "-5", "1" + "0" * 40])
def test_huge_numbers(number: str) -> None:
    text = json.dumps(plain_graph()).replace(str(2**60 + 1), number)
    assert recall_text({"prompt": text}).seed is None


def test_half_surrogates_can_be_written_again() -> None:
    generation = recall_text({"prompt": json.dumps(plain_graph()).replace("a lake", "a \\ud83d lake")})
    assert generation.positive.encode() and "lake" in generation.positive


def test_a_name_longer_than_any_file_name_is_left_out() -> None:
    generation = recall_text(graph_texts(new_record(MODEL_CHECKPOINT_FILENAME="x" * 5000)))
    assert generation.checkpoint is None and any("CHECKPOINT_FILENAME is not usable" in w for w in generation.warnings)
    assert all(len(w) < 300 for w in generation.warnings)


# report, registry


def test_report_has_every_field_and_the_loras_in_order() -> None:
    rows = as_rows(of_graph())
    assert ("seed", str(2**60 + 1), "prompt node 3 (KSampler).seed") in rows
    assert [row[1] for row in rows if row[0].startswith("lora ")] == [
        "b.safetensors (model 0.5, clip 0.4)", "dir\\a.safetensors (model 0.8, clip 1)",
    ]  # fmt: skip
    assert ("vae", "the checkpoint's own", "prompt node 8 (VAEDecode).vae: the checkpoint's own") in rows
    assert ("clip_skip", "", "") in rows and ("hires.steps", "", "") in rows
    assert ("loras", "", "") in as_rows(Generation())


def test_origins_of_the_formats_are_distinct() -> None:
    assert [form.ORIGIN for form in FORMATS] == [
        "distillery-upscale", "distillery", "distillery-old", "comfyui", "swarmui", "fooocus", "invokeai", "novelai",
        "json", "a1111",
    ]  # fmt: skip


# nothing but RecallError, whatever the file

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def _places(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *_places(item, (*path, key))]]


OWN = json.loads(record_for(recall_text(graph_texts(plain_graph()))))
SEEDS = {
    "prompt new": new_record(),
    "prompt graph": plain_graph(),
    "prompt old": {"comfy_api": plain_graph()},
    "distillery": OWN,
}
links = st.tuples(st.sampled_from(["3", "4", "6", "10", "12:3"]), st.integers(-1, 30)).map(list)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_records_raise_nothing(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SEEDS)))
    record = copy.deepcopy(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(_places(record)))
        holder = record
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = data.draw(json_values | links)
    generation = recall_text({name.split()[0]: json.dumps(record)})
    assert isinstance(generation, Generation)
    record_for(generation).encode()
    as_rows(generation), carried_rows(generation)


@settings(max_examples=60, deadline=None)
@given(json_values, st.sampled_from(["prompt", "distillery", "workflow"]))
def test_any_json_raises_nothing(value: object, key: str) -> None:
    assert isinstance(recall_text({key: json.dumps(value)}), Generation)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_files_raise_nothing_but_recall_error(data: st.DataObject) -> None:
    file = bytearray(png({"prompt": plain_graph()}, after_idat=data.draw(st.booleans())))
    for at in data.draw(st.lists(st.integers(0, len(file) - 1), max_size=4)):
        file[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    try:
        assert isinstance(recall(bytes(file[:cut] if data.draw(st.booleans()) else file)), Generation)
    except RecallError:
        pass
