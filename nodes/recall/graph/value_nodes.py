"""Value nodes: they only carry or compute a number or a text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...values import to_integer, to_number
from .arithmetic import evaluate
from .nodes import Node

MAX_TEXT = 200_000
"""Length limit of a computed text: a chain of joins that each double it must end."""

Arguments = Mapping[str, Any]
Compute = Callable[[Arguments], Any]


@dataclass(frozen=True)
class ValueNode:
    """The outputs of a node as functions of its inputs."""

    names: tuple[str, ...]
    """The inputs that count. One that ends with ``*`` matches a prefix, in the order of the file."""
    outputs: tuple[Compute | None, ...]
    """Functions by slot, from arguments by name (``None``: absent or unknown) to a value; ``None`` if unknown."""
    needs_all: bool = True
    """True if an unknown linked input makes the output unknown: an unknown text must not pose as empty."""

    def names_of(self, node: Node) -> list[str]:
        names: list[str] = []
        for name in self.names:
            if name.endswith("*"):
                names += [key for key in node.inputs if isinstance(key, str) and key.startswith(name[:-1])]
            else:
                names.append(name)
        return list(dict.fromkeys(names))[:MAX_INPUTS]

    def value(self, arguments: Arguments, slot: int, unknown: bool) -> Any:
        """Compute an output. unknown: True if a linked input is unknown."""
        compute = self.outputs[slot] if 0 <= slot < len(self.outputs) else None
        if compute is None or (unknown and self.needs_all):
            return None
        value = compute(arguments)
        return None if isinstance(value, str) and len(value) > MAX_TEXT else value


MAX_INPUTS = 1000


def _input(name: str) -> Compute:
    return lambda arguments: arguments[name]


def _first_of(*names: str) -> Compute:
    """Return the first input that is there: the name of one changed between versions of a node."""
    return lambda arguments: next((arguments[name] for name in names if arguments[name] is not None), None)


def _each(result: Compute, kinds: tuple[Callable[[Any], Any], ...]) -> tuple[Compute, ...]:
    """Return one result at every slot, each converted to its type."""

    def output(kind: Callable[[Any], Any]) -> Compute:
        return lambda arguments: kind(result(arguments))

    return tuple(map(output, kinds))


def _as_it_stands(*names: str) -> ValueNode:
    """Output the values of these inputs, by slot."""
    return ValueNode(names, tuple(map(_input, names)), needs_all=False)


def _in_every_slot(name: str, *kinds: Callable[[Any], Any]) -> ValueNode:
    """Output one input's value at every slot."""
    return ValueNode((name,), _each(_input(name), kinds))


# numbers


def _integer(value: Any) -> int | None:
    """Convert like Python's int(): truncate."""
    whole = to_integer(value)
    number = to_number(value)
    return whole if whole is not None else None if number is None else int(number)


def _rounded(value: Any) -> int | None:
    number = to_number(value)
    return None if number is None else round(number)


_ROUNDINGS: dict[Any, Callable[[float], int]] = {"round": round, "round up": math.ceil, "round down": math.floor}


def _rounded_as_told(arguments: Arguments) -> int | None:
    whole, number, how = to_integer(arguments["text"]), to_number(arguments["text"]), arguments["round_integer"]
    if whole is not None or number is None:
        return whole
    return _ROUNDINGS.get(how, int)(number)  # older versions did not ask


def _expression(name: str, *outputs: Callable[[Any], Any], variables: str = "abcd", prefix: str = "") -> ValueNode:
    """Evaluate an expression at an input, with variables at others."""

    def result(arguments: Arguments) -> Any:
        text = arguments[name]
        if isinstance(text, int | float) and not isinstance(text, bool):
            text = repr(text)
        if not isinstance(text, str):
            return None
        # An input that cannot be told stays unknown: it must not pose as 0.
        known = {k: n for k in variables if (n := _number(arguments[prefix + k])) is not None}
        return evaluate(text, known)

    return ValueNode(
        (name, *(prefix + variable for variable in variables)),
        _each(result, outputs),
        needs_all=False,
    )


def _number(value: Any) -> int | float | None:
    whole = value if isinstance(value, int) and not isinstance(value, bool) else None
    return whole if whole is not None else float(value) if isinstance(value, bool) else to_number(value)


_OPERATIONS = {
    "add": "a + b", "subtract": "a - b", "multiply": "a * b", "divide": "a / b", "modulo": "a % b", "power": "a ** b",
    "addition": "a + b", "subtraction": "a - b", "multiplication": "a * b", "division": "a / b",
    "floor division": "a // b", "modulus": "a % b", "exponentiation": "a ** b",
}  # fmt: skip


def _operation(a: str, b: str, *outputs: Callable[[Any], Any], whole_division: bool = False) -> ValueNode:
    """Apply an operation, named at an input, to two numbers."""

    def result(arguments: Arguments) -> Any:
        expression = _OPERATIONS.get(str(arguments["operation"]), "")
        if whole_division:
            expression = expression.replace(" / ", " // ")
        known = {k: n for k, name in (("a", a), ("b", b)) if (n := _number(arguments[name])) is not None}
        return evaluate(expression, known)

    return ValueNode((a, b, "operation"), _each(result, outputs))


def _computed(expression: str, names: Mapping[str, str], *outputs: Callable[[Any], Any]) -> ValueNode:
    """Evaluate a fixed expression. names: inputs by variable."""

    def result(arguments: Arguments) -> Any:
        known = {k: n for k, name in names.items() if (n := _number(arguments[name])) is not None}
        return evaluate(expression, known)

    return ValueNode(tuple(names.values()), _each(result, outputs))


_SIZE = re.compile(r"(?<!\d)(\d{2,5})\s*[xX×]\s*(\d{2,5})(?!\d)", re.ASCII)


def preset_size(preset: Any) -> tuple[int, int] | None:
    """Parse width and height from the name of a preset, such as "3:4 portrait 896x1152"."""
    match = _SIZE.search(preset) if isinstance(preset, str) and len(preset) < 200 else None
    return (int(match.group(1)), int(match.group(2))) if match else None


# texts


def _as_text(value: Any) -> str:
    """Convert a value to a text for joining; nothing is empty."""
    return "" if value is None else value if isinstance(value, str) else str(value)


def _joined(
    *names: str, delimiter: str = "", between: str = "", skip_empty: bool = False, strip: str = "", breaks: str = ""
) -> ValueNode:
    """Join texts by the delimiter at an input, or by ``between``, or by a line break if the input ``breaks`` is true."""

    def join(arguments: Arguments) -> str | None:
        middle = _as_text(arguments[delimiter]) if delimiter else between
        if breaks:
            middle = "\n" if arguments[breaks] in ("true", True) else ""
        middle = "\n" if middle == "\\n" else middle
        texts = [_as_text(arguments[key]) for key in arguments if key in names or (key not in extras and not breaks)]
        if strip and arguments[strip] in ("true", True):
            texts = [text.strip() for text in texts]
        if skip_empty:
            texts = [text for text in texts if text]
        length = sum(map(len, texts)) + len(middle) * len(texts)
        return middle.join(texts) if length <= MAX_TEXT else None

    extras = tuple(name for name in (delimiter, strip, breaks) if name)
    return ValueNode((*names, *extras), (join,))


def _of_versions(mark: str, old: ValueNode, new: ValueNode) -> ValueNode:
    """Combine two versions of a node: the old one has the input ``mark``."""

    def compute(arguments: Arguments) -> Any:
        rule = old if arguments[mark] is not None else new
        return rule.outputs[0]({name: arguments[name] for name in rule.names})  # type: ignore[misc]

    return ValueNode(tuple(dict.fromkeys((*new.names, *old.names))), (compute,))


def _replaced(text: str, *pairs: tuple[str, str], outputs: int = 1) -> ValueNode:
    """Replace pairs of texts in a text, all given at inputs."""

    def replace(arguments: Arguments) -> str | None:
        result = arguments[text]
        if not isinstance(result, str):
            return None
        for find, replacement in pairs:
            old, new = _as_text(arguments[find]), _as_text(arguments[replacement])
            if not old and not new:
                continue
            if len(result) + (result.count(old)) * len(new) > MAX_TEXT:
                return None
            result = result.replace(old, new)
        return result

    names = (text, *(name for pair in pairs for name in pair))
    return ValueNode(names, (replace,) * outputs)


def _without_choices(name: str) -> Compute:
    """Return a text in which wildcards, choices and LoRAs would be replaced, if it has none."""
    return lambda a: a[name] if isinstance(a[name], str) and not re.search(r"__|[{}<>]", a[name]) else None


def _unstyled(name: str) -> Compute:
    """Return a text that styles would change, if none is chosen."""
    return lambda arguments: arguments[name] if arguments["select_styles"] in (None, "") else None


def _in_case(arguments: Arguments) -> str | None:
    text, mode = arguments["string"], arguments["mode"]
    cases = {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
    return cases[mode](text) if isinstance(text, str) and mode in cases else None


def _trimmed(arguments: Arguments) -> str | None:
    text, mode = arguments["string"], arguments["mode"]
    sides = {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}
    return sides[mode](text) if isinstance(text, str) and mode in sides else None


def _string_function(arguments: Arguments) -> str | None:
    a, b, c = (_as_text(arguments[f"text_{letter}"]) for letter in "abc")
    tidy = arguments["tidy_tags"] == "yes"
    if arguments["action"] == "append":
        text = (", " if tidy else "").join(filter(None, (a, b, c)))
    elif b.startswith("/") and b.endswith("/"):
        return None  # an untrusted regular expression is not run
    elif len(a) + a.count(b) * len(c) > MAX_TEXT:
        return None
    else:
        text = a.replace(b, c)
    if tidy:
        text = re.sub(r",{2,}", ",", re.sub(r"\s{2,}", " ", text).replace(" ,", ",")).strip()
    return text


VALUE_NODES: dict[str, ValueNode] = {
    # ComfyUI's own
    "PrimitiveNode": _as_it_stands("value"),
    "PrimitiveInt": _as_it_stands("value"),
    "PrimitiveFloat": _as_it_stands("value"),
    "PrimitiveString": _as_it_stands("value"),
    "PrimitiveStringMultiline": _as_it_stands("value"),
    "PrimitiveBoolean": _as_it_stands("value"),
    "CustomCombo": _as_it_stands("choice"),
    "PreviewAny": _as_it_stands("source"),
    "ComfyNumberConvert": _in_every_slot("value", to_number, _integer),
    "ComfyMathExpression": _expression(
        "expression", to_number, _integer, bool, variables="abcdefghijklmnopqrstuvwxyz", prefix="values."
    ),
    "StringConcatenate": _joined("string_a", "string_b", delimiter="delimiter"),
    "StringReplace": _replaced("string", ("find", "replace")),
    "CaseConverter": ValueNode(("string", "mode"), (_in_case,)),
    "StringTrim": ValueNode(("string", "mode"), (_trimmed,)),
    # carry a value
    "String": _as_it_stands("String"),
    "String Literal": _as_it_stands("string"),
    "StringConstant": _as_it_stands("string"),
    "StringConstantMultiline": _as_it_stands("string"),
    "INTConstant": _as_it_stands("value"),
    "FloatConstant": _as_it_stands("value"),
    "ImpactInt": _as_it_stands("value"),
    "ImpactFloat": _as_it_stands("value"),
    "ImpactWildcardProcessor": _as_it_stands("populated_text"),
    "Int Literal": _as_it_stands("int"),
    "Float Literal": _as_it_stands("float"),
    "Cfg Literal": _as_it_stands("float"),
    "Int Literal (Image Saver)": _as_it_stands("int"),
    "Float Literal (Image Saver)": _as_it_stands("float"),
    "String Literal (Image Saver)": _as_it_stands("string"),
    "Cfg Literal (Image Saver)": _as_it_stands("float"),
    "Seed Generator": _as_it_stands("seed"),
    "Seed Generator (Image Saver)": _as_it_stands("seed"),
    "Input Parameters (Image Saver)": ValueNode(
        ("seed", "steps", "cfg", "sampler_name", "sampler", "scheduler", "denoise"),
        (
            _input("seed"),
            _input("steps"),
            _input("cfg"),
            _first_of("sampler_name", "sampler"),
            _input("scheduler"),
            _input("denoise"),
        ),
        needs_all=False,
    ),
    "JWInteger": _as_it_stands("value"),
    "JWFloat": _as_it_stands("value"),
    "JWString": _as_it_stands("text"),
    "Seed (rgthree)": _as_it_stands("seed"),
    "Power Primitive (rgthree)": _as_it_stands("value"),
    "KSampler Config (rgthree)": _as_it_stands("steps_total", "refiner_step", "cfg", "sampler_name", "scheduler"),
    "Power Prompt - Simple (rgthree)": ValueNode(("prompt",), (None, _input("prompt"))),
    "SDXL Power Prompt - Simple / Negative (rgthree)": ValueNode(
        ("prompt_g", "prompt_l"), (None, _input("prompt_g"), _input("prompt_l"))
    ),
    "CR Seed": _as_it_stands("seed"),
    "CR Text": _as_it_stands("text"),
    "CR Prompt Text": _as_it_stands("prompt"),
    "CR Value": _in_every_slot("value", to_number, _integer),
    "CR String To Combo": _as_it_stands("text"),
    "CR String To Number": ValueNode(("text", "round_integer"), (_rounded_as_told, lambda a: to_number(a["text"]))),
    "CR Float To Integer": _in_every_slot("_float", _integer),
    "CM_IntToFloat": _in_every_slot("a", lambda value: to_number(to_integer(value))),
    "CM_FloatToInt": _in_every_slot("a", _integer),
    "ShowText|pysssss": _as_it_stands("text"),
    "easy seed": _as_it_stands("seed"),
    "easy int": _as_it_stands("value"),
    "easy float": _as_it_stands("value"),
    "easy string": _as_it_stands("value"),
    "easy positive": _as_it_stands("positive"),
    "easy negative": _as_it_stands("negative"),
    "easy showAnything": _as_it_stands("anything"),
    "Text Multiline": _as_it_stands("text"),
    "Text String": _as_it_stands("text", "text_b", "text_c", "text_d"),
    "Text to String": _as_it_stands("text"),
    "String to Text": _as_it_stands("string"),
    "Seed": ValueNode(("seed",), (_input("seed"),) * 4),
    "Constant Number": _in_every_slot("number", _number, to_number, _integer),
    "Number to Int": _in_every_slot("number", _integer),
    "Number to Float": _in_every_slot("number", to_number),
    "Number to Seed": _in_every_slot("number", _integer),
    # compute a number
    "SimpleMath": _expression("value", _rounded, to_number),
    "SimpleMath+": _expression("value", _rounded, to_number),
    "SimpleMathInt+": _as_it_stands("value"),
    "SimpleMathFloat+": _as_it_stands("value"),
    "SimpleMathPercent+": _as_it_stands("value"),
    "MathExpression|pysssss": _expression("expression", _integer, to_number, variables="abc"),
    "EvalFloats": _expression("formula", to_number),
    "Evaluate Integers": _expression("python_expression", _integer, to_number, variables="abc"),
    "Evaluate Floats": _expression("python_expression", _integer, to_number, variables="abc"),
    "CR Integer Multiple": _computed("a * m", {"a": "integer", "m": "multiple"}, _integer),
    "CR Clamp Value": _computed(
        "max(low, min(a, high))", {"a": "a", "low": "range_min", "high": "range_max"}, to_number
    ),
    "Number Operation": _operation("number_a", "number_b", _number, to_number, _integer),
    "easy mathInt": _operation("a", "b", _integer, whole_division=True),
    "easy mathFloat": _operation("a", "b", to_number),
    # compute a text
    "StringFunction|pysssss": ValueNode(("action", "tidy_tags", "text_a", "text_b", "text_c"), (_string_function,)),
    "JoinStrings": _joined("string1", "string2", delimiter="delimiter"),
    "JoinStringMulti": _joined("string_*", delimiter="delimiter", skip_empty=True),
    "Text Concatenate": _of_versions(
        "linebreak_addition",
        _joined("text_a", "text_b", "text_c", "text_d", breaks="linebreak_addition", skip_empty=True),
        _joined(
            "text_a", "text_b", "text_c", "text_d", delimiter="delimiter", strip="clean_whitespace", skip_empty=True
        ),
    ),
    "Text Find and Replace": _replaced("text", ("find", "replace")),
    "CR Text Concatenate": _joined("text1", "text2", delimiter="separator"),
    "CR Combine Prompt": _joined("part1", "part2", "part3", "part4", delimiter="separator"),
    "CR Text Replace": _replaced("text", ("find1", "replace1"), ("find2", "replace2"), ("find3", "replace3")),
    "easy wildcards": ValueNode(("text",), (_without_choices("text"), _without_choices("text"))),
    "easy prompt": _as_it_stands("text"),
    "easy promptReplace": _replaced("prompt", ("find1", "replace1"), ("find2", "replace2"), ("find3", "replace3")),
    "easy stylesSelector": ValueNode(
        ("positive", "negative", "select_styles"), (_unstyled("positive"), _unstyled("negative"))
    ),
    "easy promptConcat": _joined("prompt1", "prompt2", delimiter="separator"),
}
"""Value nodes by class. A new one is one line."""
