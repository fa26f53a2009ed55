"""The values of a node's widgets by the names of its inputs.

The editor's workflow has them in a row. Newer editors name every widget, older ones only those that were turned into
sockets: then a table of the common nodes is needed, and of what is in none the types of values and sockets tell a part.
Types are checked, so that values which are one place off are not taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..sampler_names import is_sampler, is_scheduler
from .shapes import is_text_input
from .ui_shapes import named_by_type
from .ui_widgets import CORE_WIDGETS, WIDGETS

_CONTROL = ("fixed", "increment", "decrement", "randomize", "increment-wrap", None)
"""Values of the unnamed control_after_generate widget behind a seed."""
_BUTTONS = (None, "", "image", "upload")
"""Values of buttons, at the end of the list."""


def widget_values(
    class_type: str, values: Any, inputs: Sequence[str | None], sockets: tuple[Sequence[str], Sequence[str]] = ((), ())
) -> tuple[dict[str, Any], bool]:
    """Return widget values by name, and False if not all of their names are known.

    inputs: for each socket of the node the name of its widget, or ``None``.
    sockets: types of the node's inputs and outputs without a widget.
    """
    if isinstance(values, Mapping):
        return {key: literal(value) for key, value in values.items() if isinstance(key, str)}, True
    if not isinstance(values, list) or not values:
        return {}, True
    if class_type in _LISTS:
        return _LISTS[class_type](values), True
    values = [value for value in values if not (isinstance(value, Mapping) and "textWidgetName" in value)]
    # Newer editors name every widget: then there are as many values as names. Older ones name only those that
    # were turned into sockets, so that a table of the common nodes is needed. Buttons have values too.
    named = [name for name in inputs if name is not None]
    tables, multi = _tables(class_type)
    for buttons, more in ((False, False), (True, False), (False, True)):
        if not more and named and (found := _matched(named, values, False, buttons, False)) is not None:
            return found, True
        for names in tables:
            if (
                names
                and (found := _matched(names, values, True, buttons, more and (multi or len(names) > 2))) is not None
            ):
                return found, True
    if class_type in WIDGETS and all(_one_of(value, _BUTTONS) for value in values):
        return {}, True
    if class_type in CORE_WIDGETS:
        return {}, False
    return {name: literal(value) for name, value in named_by_type(values, *sockets).items()}, False


def _tables(class_type: str) -> tuple[list[list[str]], bool]:
    """Return the names of a class's widgets, one list for each of its versions; True if it is one for several GPUs."""
    base = _MULTI.sub("", class_type)
    names = WIDGETS.get(class_type) or WIDGETS.get(base) or ()
    versions: list[list[str]] = [[]]
    for name in names:
        if name == "|":
            versions.append([])
        else:
            versions[-1].append(name)
    return versions, base != class_type and class_type not in WIDGETS


_MULTI = re.compile(r"(?:DisTorch2?)?MultiGPU$")
"""Nodes with the widgets of the one whose name they begin with, and devices behind them."""


def _matched(
    names: Sequence[str], values: Sequence[Any], fewer: bool, buttons: bool, more: bool
) -> dict[str, Any] | None:
    """Pair names with values, skipping the unnamed widgets behind seeds; ``None`` if they do not match.

    fewer: the last names may lack values, as in a workflow from before the node had those widgets.
    buttons: the values of buttons may follow.
    more: any values may follow, as in a workflow of a newer version.
    """
    found: dict[str, Any] = {}
    spare = len(values) - len(names)
    at = 0
    for name in names:
        if at == len(values):
            break
        value = values[at]
        at += 1
        found[name] = literal(value)
        # Behind a seed the word itself is enough, as no other widget comes there that has such a value. Old editors
        # had true or false in its place.
        behind = values[at] if at < len(values) else _NONE
        sure = "seed" in name and isinstance(behind, str)
        controls = _one_of(behind, _CONTROL) or (isinstance(behind, bool) and "seed" in name)
        if behind is not _NONE and _is_number(value) and controls and (sure or spare > 0):
            at += 1
            spare -= 1
    if (len(found) < len(names) and not fewer) or not all(_fits(name, value) for name, value in found.items()):
        return None
    left = values[at:]
    return found if not left or more or (buttons and all(_one_of(value, _BUTTONS) for value in left)) else None


_NONE = object()
_NUMBER_NAMES = re.compile(
    r"(?:\w{1,20}_)?seed|steps(?:_\w{1,10})?|cfg(?:_\w{1,20})?|denoise|(?:\w{1,20}_)?(?:width|height)|(?:\w{1,20}_)?strength(?:_\w{1,10})?|guidance|"
    r"batch_size|(?:start|end)_at_step|(?:scale|upscale)_by|true_gs"
)
_WORDS = re.compile(
    r"add_noise|return_with_leftover_noise|(?:\w{1,40}_)?(?:name|normalization|interpretation|method|mode|preset|device|dtype|resolution)"
)
"""Widgets whose values are words, or switches."""


def _fits(name: str, value: Any) -> bool:
    """Return True if a value can belong to a widget: values that are one place off must not pass."""
    if value is None:
        return True
    if name.startswith("use_"):
        return not _is_number(value)
    if _NUMBER_NAMES.fullmatch(name):
        return _is_number(value)
    if name in ("sampler_name", "scheduler"):
        if not isinstance(value, str):
            return not _is_number(value)
        if value in _CONTROL:
            return False
        ours, other = (is_sampler, is_scheduler) if name == "sampler_name" else (is_scheduler, is_sampler)
        return ours(value) or not other(value)
    if name == "delimiter" or is_text_input(name):
        return isinstance(value, str | Mapping) and str(value).lower() not in ("true", "false")
    if _WORDS.fullmatch(name):
        return not _is_number(value)
    if name == "linebreak_addition":
        return str(value).lower() in ("true", "false")
    return True


# Texts as they are queued

_ENCODERS = ("CLIPTextEncode", "TextEncode", "Power Prompt", "SDXL Power Prompt")
"""Beginnings of classes whose texts the editor changes when it queues them."""
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_CHOICE = re.compile(r"(?<!\\)\{[^{}]{0,2000}\}")


def as_queued(class_type: str, name: str, value: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a value as the editor queues it, without comments; and the choices in braces, which it makes then."""
    if not isinstance(value, str) or not class_type.startswith(_ENCODERS) or not is_text_input(name):
        return value, ()
    text = _COMMENT.sub("", value) if "//" in value or "/*" in value else value
    return text, tuple(match[0] for match in _CHOICE.finditer(text[:MAX_PROMPT]))


MAX_PROMPT = 1_000_000
"""Length up to which a text is searched for choices."""


def _power_loras(values: list[Any]) -> dict[str, Any]:
    """Name the values of rgthree's Power Lora Loader: objects among buttons."""
    entries = [value for value in values if isinstance(value, Mapping) and "lora" in value]
    return {f"lora_{i}": entry for i, entry in enumerate(entries, 1)}


def _managed_loras(values: list[Any]) -> dict[str, Any]:
    """Name the value of LoRA Manager: a list of objects."""
    lists = (value for value in values if isinstance(value, list))
    return {"loras": next((v for v in lists if all(isinstance(e, Mapping) for e in v)), [])}


def _stacker(values: list[Any]) -> dict[str, Any]:
    """Name the values of the LoRA Stacker: four for each of its LoRAs."""
    names = ["input_mode", "lora_count"]
    for i in range(1, 51):
        names += [f"lora_name_{i}", f"lora_wt_{i}", f"model_str_{i}", f"clip_str_{i}"]
    return {name: literal(value) for name, value in zip(names, values, strict=False)}


_LISTS = {
    "Power Lora Loader (rgthree)": _power_loras,
    "Lora Loader (LoraManager)": _managed_loras,
    "Lora Stacker (LoraManager)": _managed_loras,
    "LoRA Stacker": _stacker,
}
"""Nodes whose widget values are lists or come in groups."""


def literal(value: Any) -> Any:
    """Return a widget's value as in the API: a list must not pose as a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_of(value: Any, choices: tuple[Any, ...]) -> bool:
    return (value is None or isinstance(value, str)) and value in choices
