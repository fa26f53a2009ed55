"""Values that a user gives: options of commands, selects, modals. Wrong ones raise AssertionError, as Discord's client never sends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import check_components as kinds
from .calls import Resolved
from .world import Attachment, Channel, User

JSON = dict[str, Any]

_OBJECTS: dict[int, Any] = {6: User, 7: Channel, 11: Attachment}
_NAMES: dict[int, Any] = {3: str, 4: int, 5: bool, 10: (int, float)}


def find_options(
    command: JSON, given: Mapping[str, Any], subcommand: str | None, resolved: Resolved, focused: str | None
) -> list[JSON]:
    """Options as the interaction has them, nested in the subcommand."""
    holder, path = command, (subcommand or "").split()
    for step in path:
        inner = [each for each in holder.get("options", []) if each["name"] == step and each["type"] in (1, 2)]
        assert inner, f"/{command['name']} has no subcommand {step!r}"
        holder = inner[0]
    specs = {each["name"]: each for each in holder.get("options", [])}
    assert not any(each["type"] in (1, 2) for each in specs.values()), (
        f"/{command['name']} needs a subcommand: {list(specs)}"
    )
    assert set(given) <= set(specs), f"/{command['name']} has no options {set(given) - set(specs)}, but {list(specs)}"
    if focused is None:
        missing = [name for name, spec in specs.items() if spec.get("required") and given.get(name) is None]
        assert not missing, f"/{command['name']} requires {missing}"
    else:
        assert specs[focused].get("autocomplete"), f"{focused} is not completed"
    options = []
    for name, value in given.items():
        if value is None:
            continue
        spec = specs[name]
        option: JSON = {"name": name, "type": spec["type"]}
        if name == focused:
            option |= {"value": value, "focused": True}
        else:
            option["value"] = _option(spec, value, resolved)
        options.append(option)
    for number in range(len(path) - 1, -1, -1):
        options = [{"name": path[number], "type": 1 if number == len(path) - 1 else 2, "options": options}]
    return options


def _option(spec: JSON, value: Any, resolved: Resolved) -> Any:
    kind, name = spec["type"], spec["name"]
    if kind in _OBJECTS or kind in (8, 9):
        assert isinstance(value, _OBJECTS.get(kind, object)), f"{name} is no {value!r}"
        return resolved.add(value)
    fits = isinstance(value, _NAMES[kind]) and (kind == 5 or not isinstance(value, bool))
    assert fits, f"{name} takes {_NAMES[kind]}, not {value!r}"
    if spec.get("choices"):
        allowed = [choice["value"] for choice in spec["choices"]]
        assert value in allowed, f"{name} is one of {allowed}, not {value!r}"
    low, high = (
        (spec.get("min_length"), spec.get("max_length"))
        if kind == 3
        else (spec.get("min_value"), spec.get("max_value"))
    )
    size = len(value) if kind == 3 else value
    assert low is None or size >= low, f"{name}: Discord asks for at least {low}, not {value!r}"
    assert high is None or size <= high, f"{name}: Discord asks for at most {high}, not {value!r}"
    assert kind != 3 or 0 < len(value) <= 6000, f"{name}: a text option has 1 to 6000 characters"
    return value


def read_values(component: JSON, values: list[Any], resolved: Resolved) -> list[str]:
    """Chosen values of a select, a group of boxes or an upload."""
    name = component["custom_id"]
    least, most = component.get("min_values"), component.get("max_values")
    if component["type"] == kinds.BOXES and most is None:
        most = len(component["options"])
    least, most = 1 if least is None else least, 1 if most is None else most
    needed = component.get("required", True)
    if values or needed:
        assert least <= len(values) <= most, f"{name} takes {least} to {most} values, not {len(values)}"
    if component["type"] in (kinds.SELECT, kinds.BOXES):
        allowed = [option["value"] for option in component["options"]]
        assert set(values) <= set(allowed), f"{name} offers {allowed}, not {values}"
        return [str(value) for value in values]
    return [resolved.add(value) for value in values]


def fill_modal(modal: JSON, values: Mapping[str, Any], resolved: Resolved) -> list[JSON]:
    """The components of a submitted modal."""
    known = {each["custom_id"] for each in kinds.walk(modal["components"]) if "custom_id" in each}
    assert set(values) <= known, f"the modal has no {set(values) - known}, but {known}"
    done = []
    for number, each in enumerate(modal["components"], 1):
        shell: JSON = {"type": each["type"], "id": each.get("id", number)}
        if each["type"] == kinds.ROW:
            shell["components"] = [_field(each["components"][0], values, resolved, number)]
        elif each["type"] == kinds.LABEL:
            shell["component"] = _field(each["component"], values, resolved, number)
        done.append(shell)
    return done


def _field(component: JSON, values: Mapping[str, Any], resolved: Resolved, number: int) -> JSON:
    kind, name = component["type"], component["custom_id"]
    given = values.get(name)
    field: JSON = {"type": kind, "custom_id": name, "id": component.get("id", 100 + number)}
    needed = component.get("required", True)
    presets = [option["value"] for option in component.get("options", []) if option.get("default")]
    if kind == kinds.INPUT:
        text = (component.get("value") or "") if given is None else given
        assert isinstance(text, str), f"{name} is a text, not {text!r}"
        assert text or not needed, f"{name} must be filled in"
        least, most = component.get("min_length") or 0, component.get("max_length") or 4000
        assert not text or least <= len(text) <= most, f"{name} has {least} to {most} characters, not {len(text)}"
        return field | {"value": text}
    if kind == kinds.BOX:
        return field | {"value": bool(component.get("default")) if given is None else bool(given)}
    if kind == kinds.RADIO:
        value = (presets or [None])[0] if given is None else given
        assert value is not None or not needed, f"{name} must be chosen"
        allowed = [option["value"] for option in component["options"]]
        assert value is None or value in allowed, f"{name} offers {allowed}, not {value!r}"
        return field | {"value": value}
    chosen = presets if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    return field | {"values": read_values(component, chosen, resolved)}
