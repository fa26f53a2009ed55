"""Prompt syntax of A1111 that ComfyUI has or lacks."""

from __future__ import annotations

import pytest
from recall_read import (
    with_settings,
)

from distillery.nodes.recall.formats.prompt_syntax import a1111_differences, lift_networks, name_embeddings


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("a [cat:dog:0.5]", "prompt editing"), ("a [cat|dog]", "prompt editing"), ("[fog]", "brackets"),
        ("a AND b", "AND"), ("a BREAK b", "BREAK"),
    ],
)  # fmt: skip
def test_syntax_that_comfyui_lacks_is_named(prompt: str, word: str) -> None:
    (warning,) = a1111_differences({"positive": prompt, "negative": "fog"})
    assert word in warning and "positive prompt" in warning
    assert with_settings("x y: 1", prompt).positive == prompt


@pytest.mark.parametrize(
    "prompt", ["a lake, (wide:1.2)", "BRAND, break, and", r"\[x\]", "a: b", "[" * 5000, "[a:" * 5000]
)
def test_syntax_that_comfyui_has_is_not_named(prompt: str) -> None:
    assert a1111_differences({"positive": prompt}) == ()


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("bad-hands-5", "embedding:bad-hands-5"),
        ("fog, bad-hands-5, rain", "fog, embedding:bad-hands-5, rain"),
        ("fog,Bad-Hands-5,rain", "fog, embedding:bad-hands-5 ,rain"),
        ("(bad-hands-5:1.2)", "(embedding:bad-hands-5:1.2)"),
        ("[bad-hands-5]", "[ embedding:bad-hands-5 ]"),
        ("embedding:bad-hands-5", "embedding:bad-hands-5"),
        ("bad-hands-50 xbad-hands-5 bad-hands-5-neg", "bad-hands-50 xbad-hands-5 bad-hands-5-neg"),
    ],
)
def test_embeddings_are_written_as_comfyui_reads_them(prompt: str, written: str) -> None:
    assert name_embeddings(prompt, ["bad-hands-5"])[0] == written


@pytest.mark.parametrize("name", ["", "two words", "a:b", "x" * 500, "(", "a,b"])
def test_names_that_comfyui_cannot_read_stay_words(name: str) -> None:
    assert name_embeddings(f"x {name} y", [name]) == (f"x {name} y", ())


@pytest.mark.parametrize("key", ['TI hashes: "calm: abcdef012345"', 'Hashes: {"embed:calm": "abcdef0123"}'])
def test_embeddings_that_the_file_names(key: str) -> None:
    generation = with_settings(key, "a calm, wide lake")
    assert generation.positive == "a embedding:calm, wide lake" and '"calm"' in generation.warnings[0]


@pytest.mark.parametrize(
    "prompt", ["<lora:x:1", "<lora::1>", "a < b > c", "<lora:" * 20_000, "<lora:x:" + "1:" * 50_000]
)
def test_what_is_no_tag_stays(prompt: str) -> None:
    assert lift_networks(prompt)[:2] == (prompt, ())
