"""Evaluate the expressions of arithmetic nodes without eval()."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

Number = int | float

MAX_CHARACTERS = 200
MAX_MAGNITUDE = 2.0**70
# Only what can stand in arithmetic: this also keeps the compiler from warning about odd literals. Taken out one
# by one, as a single pattern for the whole expression would backtrack without end over a long word.
_TOKEN = re.compile(r"(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)(?!\w)|[A-Za-z_]\w*|[-+*/%(),]|\s+", re.ASCII)
_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: float(a) ** b,
}
_UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "abs": abs, "ceil": math.ceil, "float": float, "floor": math.floor, "int": int, "max": max, "min": min,
    "round": round,
}  # fmt: skip


def evaluate(expression: str, variables: Mapping[str, Number]) -> Number | None:
    """Evaluate an arithmetic expression; ``None`` if it is none or its value is not finite.

    Knows numbers, the given variables, ``+ - * / // % **``, brackets and abs, ceil, float, floor, int, max, min, round.
    """
    if len(expression) > MAX_CHARACTERS or _TOKEN.sub("", expression):
        return None
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body, variables)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr, variables: Mapping[str, Number]) -> Number:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        result: Number = node.value
    elif isinstance(node, ast.Name) and node.id in variables:
        result = variables[node.id]
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        result = _BINARY[type(node.op)](_value(node.left, variables), _value(node.right, variables))
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        result = _UNARY[type(node.op)](_value(node.operand, variables))
    elif (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
        and not node.keywords
    ):  # fmt: skip
        result = _FUNCTIONS[node.func.id](*(_value(argument, variables) for argument in node.args))
    else:
        raise ValueError(type(node).__name__)
    # Whole numbers would grow without bounds; complex ones come of roots of negative numbers.
    if isinstance(result, complex) or not abs(result) <= MAX_MAGNITUDE:
        raise ValueError("out of range")
    return result
