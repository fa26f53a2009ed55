"""Arithmetic without eval()."""

from __future__ import annotations

import pytest

from distillery.nodes.recall.graph.arithmetic import evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("a/b", 46.153846),
        ("a - b*2", 28.7),
        ("round(a/b)", 46),
        ("-a + 2**3", -22),
        ("max(a, 40)", 40),
        ("(1.5)", 1.5),
        ("7 // 2", 3),
    ],
)
def test_arithmetic(expression: str, value: float) -> None:
    assert evaluate(expression, {"a": 30.0, "b": 0.65}) == pytest.approx(value)


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "a.real", "().__class__", "9**9**9", "2**99999", "1/0", "a%0", "(-1)**0.5", "c", "",
     "1if 1else 2", "(" * 150, "lambda: 1", "[1]", "'a'*9", "1e999", "10**50*10**50", "int('5')", "max()",
     "round(a, b, 3)", "a" * 5000, "1_0", "0x10"],
)  # fmt: skip
def test_arithmetic_refuses(expression: str) -> None:
    assert evaluate(expression, {"a": 30.0, "b": 0.65}) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "expression", ["a" * 199 + "!", "1" * 199 + "x", "enable_" * 20 + ".safetensors", " " * 199 + "?"]
)
def test_arithmetic_refuses_long_words_at_once(expression: str) -> None:
    assert evaluate(expression, {}) is None
