"""Computed numbers and texts."""

from __future__ import annotations

import pytest
from recall_graph_samples import Api
from recall_read import (
    of,
    read,
)
from recall_samples import node, plain_graph

from distillery.nodes.recall.graph.load import read_graph
from distillery.nodes.recall.graph.value_nodes import VALUE_NODES


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (node("StringConcatenate", string_a="a", string_b="b", delimiter=" / "), "a / b"),
        (node("StringReplace", string="a red hat", find="red", replace="blue"), "a blue hat"),
        (node("CaseConverter", string="A Hat", mode="lowercase"), "a hat"),
        (node("StringTrim", string="  a hat ", mode="Both"), "a hat"),
        (node("StringFunction|pysssss", action="append", tidy_tags="yes", text_a="a", text_b="", text_c="c"), "a, c"),
        (node("StringFunction|pysssss", action="append", tidy_tags="no", text_a="a ,,b", text_b="c"), "a ,,bc"),
        (node("StringFunction|pysssss", action="append", tidy_tags="yes", text_a="a ,,b"), "a,b"),
        (node("StringFunction|pysssss", action="replace", tidy_tags="no", text_a="x hat", text_b="x", text_c="y"), "y hat"),
        (node("JoinStrings", string1="a", string2="b", delimiter=", "), "a, b"),
        (node("JoinStringMulti", inputcount=3, string_1="a", string_2="", string_3="c", delimiter="-"), "a-c"),
        (node("Text Concatenate", text_a=" a ", text_b="b", delimiter=", ", clean_whitespace="true"), "a, b"),
        (node("Text Concatenate", text_a="a", text_d="d", delimiter="\\n", clean_whitespace="false"), "a\nd"),
        (node("CR Text Concatenate", text1="a", text2="b", separator=" "), "a b"),
        (node("CR Combine Prompt", part1="a", part2="b", part3="", part4="", separator=","), "a,b,,"),
        (node("CR Text Replace", text="cat", find1="c", replace1="b", find2="", replace2=""), "bat"),
        (node("easy promptConcat", prompt1="a", prompt2="b", separator="+"), "a+b"),
        (node("ImpactWildcardProcessor", wildcard_text="{a|b}", populated_text="b", mode=True, seed=1), "b"),
        (node("ShowText|pysssss", text=["51", 0], text_0="of an earlier run"), "linked"),
        (node("PreviewAny", source=["51", 0]), "linked"),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_texts_that_are_put_together(texts: Api, joined: str) -> None:
    graph = plain_graph(n50=texts, n51=node("PrimitiveString", value="linked"))
    graph["6"]["inputs"]["text"] = ["50", 0]
    generation = read(graph)
    assert generation.positive == joined and generation.warnings == ()


def test_one_unknown_part_leaves_a_joined_text_untold() -> None:
    graph = plain_graph(
        n50=node("StringConcatenate", string_a=["51", 0], string_b="b", delimiter=", "), n51=node("Oracle", topic="x")
    )
    graph["6"]["inputs"]["text"] = ["50", 0]
    generation = read(graph)
    assert generation.positive is None and any("node 51 (Oracle)" in w for w in generation.warnings)


def test_a_regular_expression_of_a_stranger_is_not_run() -> None:
    replacing = node("StringFunction|pysssss", action="replace", tidy_tags="no", text_a="a" * 60 + "!",
                     text_b="/(a+)+$/", text_c="b")  # fmt: skip
    graph = plain_graph(n50=replacing)
    graph["6"]["inputs"]["text"] = ["50", 0]
    assert read(graph).positive is None


# numbers


@pytest.mark.parametrize(
    ("computing", "slot", "value"),
    [
        (node("MathExpression|pysssss", expression="a * 2 + 1", a=["60", 0]), 0, 21),
        (node("MathExpression|pysssss", expression="a / 3", a=["60", 0]), 1, 10 / 3),
        (node("ComfyMathExpression", expression="a + b", **{"values.a": ["60", 0], "values.b": 2}), 1, 12),
        (node("SimpleMath+", value="max(a, b) - c", a=["60", 0], b=3, c=1), 0, 9),
        (node("CR Integer Multiple", integer=["60", 0], multiple=1.5), 0, 15),
        (node("CR Clamp Value", a=["60", 0], range_min=1, range_max=8), 0, 8),
        (node("Number Operation", number_a=["60", 0], number_b=["60", 0], operation="multiplication"), 2, 100),
        (node("easy mathInt", a=["60", 0], b=3, operation="divide"), 0, 3),
        (node("CR Value", value=10.7), 1, 10),
        (node("ComfyNumberConvert", value="12.6"), 1, 12),
        (node("Evaluate Integers", python_expression="a*b", a=["60", 0], b=2), 0, 20),
        (node("CM_FloatToInt", a=9.9), 0, 9),
        (node("CR String To Number", text="13.5"), 0, 13),
        (node("CR String To Number", text="13.2", round_integer="round up"), 0, 14),
        (node("CR String To Number", text="13.9", round_integer="round down"), 0, 13),
        (node("CR String To Number", text="13.9", round_integer="round"), 0, 14),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_computed_numbers(computing: Api, slot: int, value: float) -> None:
    nodes = {"n50": computing, "n60": node("PrimitiveInt", value=10)}
    assert of({"cfg": ["50", slot]}, **nodes).cfg == pytest.approx(value)


def test_every_value_node_takes_whatever_comes() -> None:
    strange = [None, True, -1, 1e308, float("nan"), "", "x", "9" * 50, [], {}, ["50", 0], {"content": 3}]
    for kind, rule in VALUE_NODES.items():
        for value in strange:
            inputs = dict.fromkeys(
                (name.rstrip("*") + ("1" if name.endswith("*") else "") for name in rule.names), value
            )
            graph = read_graph(
                {"50": node(kind, **inputs), "1": node("X", **{str(s): ["50", s] for s in range(-1, 6)})}
            )
            assert graph is not None
            for slot in range(-1, 6):
                assert isinstance(graph.value(graph.nodes["1"], str(slot)), str | int | float | None)
