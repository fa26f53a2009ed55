"""NovelAI's request."""

from __future__ import annotations

import json

import pytest
from recall_read import (
    known,
)
from recall_text_samples import (
    NOVELAI,
)

from distillery.nodes.recall import recall_text
from distillery.nodes.recall.formats.novelai import comfyui_weights


def test_novelai() -> None:
    generation = recall_text(NOVELAI)
    assert known(generation) == {
        "origin": "novelai", "positive": r"(a lake:1.2), (calm:1.05) \(wide\), a swan",
        "negative": "(fog:1.1), (rain:0.952)", "seed": 3816166865, "cfg": 5, "steps": 28, "sampler": "euler_ancestral",
        "scheduler": "karras", "width": 832, "height": 1216,
    }  # fmt: skip
    assert any("--model" in w and "V4.5" in w for w in generation.warnings)


def test_novelai_of_older_versions() -> None:
    comment = {"steps": 28, "sampler": "k_euler", "seed": 1, "strength": 0.4, "noise": 0.2, "scale": 11, "uc": "fog"}
    generation = recall_text({**NOVELAI, "Comment": json.dumps(comment), "Description": "a {calm} lake"})
    assert (generation.positive, generation.negative) == ("a (calm:1.05) lake", "fog")
    assert (generation.sampler, generation.scheduler, generation.denoise) == ("euler", None, 0.4)
    assert recall_text({**NOVELAI, "Software": "GIMP"}).empty


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("a lake", "a lake"), ("{{a}}", "(a:1.1)"), ("[a], b", "(a:0.952), b"), ("{a, {b}}", "(a:1.05), (b:1.1)"),
        ("1.5::a, b::, c", "(a, b:1.5), c"), ("-1::a::", "(a:-1)"), ("a (b)", r"a \(b\)"), ("{[a]}", "a"),
        ("{a", "(a:1.05)"), ("a}", "a"), ("{}", ""), ("v1.5::a", "v1.5a"),
    ],
)  # fmt: skip
def test_weights_of_novelai(prompt: str, written: str) -> None:
    assert comfyui_weights(prompt) == written
