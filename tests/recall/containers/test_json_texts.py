"""JSON of untrusted texts: bounded in values, and encodable whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distillery.nodes.recall import recall_text
from distillery.nodes.recall.containers import texts
from distillery.nodes.recall.containers.exif import decode_plain
from distillery.nodes.recall.containers.texts import MAX_JSON_DEPTH, MAX_JSON_VALUES, clean_text, load_json


@pytest.mark.parametrize("item", ["1,", "[],", "{},", '"",'])
def test_wide_json_is_refused_before_it_is_parsed(item: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    real = json.loads

    def counting(text: str, **options: Any) -> Any:
        parsed.append(len(text))
        return real(text, **options)

    monkeypatch.setattr(texts.json, "loads", counting)
    wide = '{"a": [' + item * (15_000_000 // len(item)) + "1]}"
    with pytest.raises(ValueError, match=f"at most {MAX_JSON_VALUES} are read"):
        load_json(wide)
    assert not parsed
    assert any("values" in w for w in recall_text({"prompt": wide}).warnings)


def test_large_texts_in_json_are_not_many_values() -> None:
    data = {"picture": "A" * 10_000_000, "seed": 5}
    assert load_json(json.dumps(data)) == data


@pytest.mark.parametrize("half", ["", '"\\ud83d", '])
def test_depth(half: str) -> None:
    def nested(depth: int) -> str:
        return "[" + half + "[" * (depth - 1) + "]" * depth

    assert load_json(nested(MAX_JSON_DEPTH))
    with pytest.raises(ValueError, match="nested deeper"):
        load_json(nested(MAX_JSON_DEPTH + 1))
    with pytest.raises(ValueError, match="nested deeper"):
        load_json(nested(100_000))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("a\ud83d\ude00b", "a\U0001f600b"),
        ("plain", "plain"),
    ],
)
def test_surrogates(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned
    assert load_json(json.dumps({text: [text]})) == {cleaned: [cleaned]}
    generation = recall_text({"parameters": f"{text}\nSteps: 20, Sampler: Euler, Seed: 5"})
    assert generation.positive == cleaned and generation.positive.encode("utf-8")


def test_surrogates_as_bytes() -> None:
    assert decode_plain("a \U0001f600".encode("utf-16-le").decode("utf-16-le").encode()) == "a \U0001f600"
    assert decode_plain("\ud83d\ude00".encode("utf-8", "surrogatepass")) == "\U0001f600"
    assert decode_plain("é".encode("latin-1")) == "é"
