"""Odd, damaged and very long texts of every format."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recall_read import (
    BASE,
    of_json,
    of_text,
)
from recall_samples import plain_graph, png
from recall_text_samples import (
    A1111,
    CIVITAI,
    FOOOCUS,
    FOOOCUS_A1111,
    FORGE_FLUX,
    INVOKEAI,
    INVOKEAI_1,
    INVOKEAI_2,
    NOVELAI,
    SWARMUI,
)

from distillery.nodes.generation import Generation, from_dict
from distillery.nodes.recall import recall, recall_text
from distillery.nodes.record import record_for
from distillery.nodes.report import as_rows, carried_rows


@pytest.mark.parametrize(
    ("text", "empty"),
    [
        ("", True), ("\0", True), ("{", True), ("Steps:", True), ("Steps: , , ,", True), ("Negative prompt:", False),
        ("Steps: 1, A b: [[[[", True), ("\ud800\nSteps: 1, a b: 2, c d: 3", False),
        ('Steps: 1, Hashes: {"a": NaN}, Model hash: {}, Seed: [1]', False), ("{cat|dog} on a mat\n" + BASE, False),
    ],
)  # fmt: skip
def test_odd_texts(text: str, empty: bool) -> None:
    generation = of_text(text)
    assert generation.empty is empty
    record_for(generation).encode()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "Steps: " + "a" * 900_000,
        "Steps: " + "a b" * 300_000 + ": 1, c d: 2, e f: 3",
        "Steps: 1, " + "ab:[" * 200_000,
        "Steps: 1, " + 'ab:["x,' * 100_000,
        "Steps: 1, " + 'ab:"' * 200_000,
        "Steps: 1, " + 'ab: "\\' * 150_000,
        "Steps: 1, ab: " + '{"a":' * 150_000,
        "Steps: 1, a b: 2, c d: 3\n" * 30_000,
        "Steps: " + " " * 900_000 + ":",
        "[" * 900_000 + "\n" + BASE,
        "<lora:x:" * 100_000 + "\n" + BASE,
        "(" * 400_000 + ")" * 400_000 + "\n" + BASE,
        "x\n" * 400_000 + BASE,
        "Negative prompt:\n" * 50_000 + BASE,
        f'{"calm " * 150_000}\n{BASE}, TI hashes: "calm: a, {", ".join(f"calm{i}: abcdef0123" for i in range(2000))}"',
        ("[" + ":" * 2000) * 400 + "\n" + BASE,
    ],
    ids=range(16),
)
def test_long_texts_are_read_in_reasonable_time(text: str) -> None:
    start = time.process_time()
    of_text(text)
    assert time.process_time() - start < 15


@pytest.mark.timeout(60)
@pytest.mark.parametrize("character", list('a(){}[]:.,+-1" \n'))
@pytest.mark.slow
def test_long_prompts_of_the_json_formats_are_read_in_reasonable_time(character: str) -> None:
    prompt = (character * 3 + "a") * 100_000
    start = time.process_time()
    of_json({"sui_image_params": {"prompt": prompt}})
    of_json({"positive_prompt": prompt}, "invokeai_metadata")
    recall_text({"Dream": '"' + prompt})
    recall_text({**NOVELAI, "Comment": json.dumps({"prompt": prompt, "uc": "<" + prompt})})
    assert time.process_time() - start < 30


def test_text_that_is_too_long_is_named() -> None:
    generation = of_text("a" * 1_000_001 + "\n" + BASE)
    assert generation.empty and "at most" in generation.warnings[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
RECORDS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "swarmui": ("parameters", SWARMUI, {}),
    "fooocus": ("parameters", FOOOCUS, {"fooocus_scheme": "fooocus"}),
    "invokeai": ("invokeai_metadata", INVOKEAI, {}),
    "invokeai 2": ("sd-metadata", INVOKEAI_2, {}),
    "novelai": ("Comment", json.loads(NOVELAI["Comment"]), {"Software": "NovelAI", "Description": "x"}),
}


def _places(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *_places(item, (*path, key))]]


@settings(max_examples=300, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_damaged_records_raise_nothing(data: st.DataObject) -> None:
    key, record, more = RECORDS[data.draw(st.sampled_from(sorted(RECORDS)))]
    record = copy.deepcopy(record)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(_places(record)))
        holder = record
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = data.draw(json_values)
    check(recall_text({key: json.dumps(record), **more}))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_texts_raise_nothing(data: st.DataObject) -> None:
    text = list(data.draw(st.sampled_from([A1111, CIVITAI, FOOOCUS_A1111, FORGE_FLUX, INVOKEAI_1])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 5))] = data.draw(st.text('":,{}[]<>\\ \n019-x', max_size=5))
    check(of_text("".join(text)))
    check(recall_text({"Dream": "".join(text), "prompt": json.dumps(plain_graph())}))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300) | st.text('(){}[]<>:.,|"\\ \nlora01-embedding', max_size=300))
def test_any_prompt_raises_nothing(prompt: str) -> None:
    check(of_text(f'{prompt}\nNegative prompt: {prompt}\n{BASE}, TI hashes: "lora: abcdef0123"'))
    check(of_json({"sui_image_params": {"prompt": prompt, "negativeprompt": prompt}}))
    check(recall_text({**NOVELAI, "Comment": json.dumps({"prompt": prompt, "uc": prompt})}))
    check(of_json({"positive_prompt": prompt}, "invokeai_metadata"))


def check(generation: Generation) -> None:
    assert isinstance(generation, Generation)
    as_rows(generation), carried_rows(generation)
    assert all(len(warning) < 500 for warning in generation.warnings)
    if not generation.empty:
        assert replace(from_dict(json.loads(record_for(generation))["generation"]), carried={}) == replace(
            generation, carried={}
        )


def test_recall_of_a_file_gives_the_same_as_of_its_texts() -> None:
    assert recall(png({"parameters": A1111}, (512, 768))) == of_text(A1111)
