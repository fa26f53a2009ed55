"""What Discord asks of the components of messages and modals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .refusals import Form, Path

JSON = dict[str, Any]

ROW, BUTTON, SELECT, INPUT = 1, 2, 3, 4
USERS, ROLES, MENTIONABLES, CHANNELS = 5, 6, 7, 8
SECTION, DISPLAY, THUMBNAIL, GALLERY, FILE, SEPARATOR, CONTAINER = 9, 10, 11, 12, 13, 14, 17
LABEL, UPLOAD, RADIO, BOXES, BOX = 18, 19, 21, 22, 23
SELECTS = (SELECT, USERS, ROLES, MENTIONABLES, CHANNELS)
IN_LABEL = (INPUT, *SELECTS, UPLOAD, RADIO, BOXES, BOX)

MAX_COMPONENTS = 40
MAX_TEXT = 4000


def walk(components: Any) -> Iterator[JSON]:
    """Every component of a tree, outer ones first."""
    for each in components if isinstance(components, list) else [components]:
        if isinstance(each, dict):
            yield each
            yield from walk(each.get("components", []))
            for name in ("accessory", "component"):
                if name in each:
                    yield from walk(each[name])


def check_message(form: Form, components: Any, v2: bool, attachments: set[str], at: Path = ()) -> None:
    """Check a message's components. attachments: names to which ``attachment://`` may lead."""
    path = (*at, "components")
    if not isinstance(components, list):
        form.wrong(path, "BASE_TYPE_BAD_TYPE", "Only lists can be used here")
        return
    if not v2 and len(components) > 5:
        form.wrong(path, "BASE_TYPE_BAD_LENGTH", "Must be 5 or fewer in length.")
    allowed = (ROW, SECTION, DISPLAY, GALLERY, FILE, SEPARATOR, CONTAINER) if v2 else (ROW,)
    checker = _Checker(form, attachments)
    for index, each in enumerate(components):
        checker.check(each, (*path, index), allowed)
    everything = list(walk(components))
    if v2 and len(everything) > MAX_COMPONENTS:
        form.wrong(
            path,
            "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED",
            f"A message has at most {MAX_COMPONENTS} components, not {len(everything)}",
        )
    text = sum(len(each.get("content") or "") for each in everything if each.get("type") == DISPLAY)
    if text > MAX_TEXT:
        form.wrong(
            path,
            "COMPONENT_MAX_DISPLAYABLE_TEXT_SIZE_EXCEEDED",
            f"Text displays have at most {MAX_TEXT} characters together, not {text}",
        )
    _check_unique(form, everything, path)


def check_modal(form: Form, modal: Any, at: Path = ("data",)) -> None:
    """Check a modal."""
    form.length((*at, "title"), modal.get("title"), 1, 45)
    form.length((*at, "custom_id"), modal.get("custom_id"), 1, 100)
    components = modal.get("components")
    path = (*at, "components")
    form.length(path, components, 1, 5)
    checker = _Checker(form, set())
    for index, each in enumerate(components or []):
        here = (*path, index)
        if each.get("type") == ROW:
            inner = each.get("components", [])
            if len(inner) != 1 or inner[0].get("type") != INPUT:
                form.wrong((*here, "components"), "BASE_TYPE_BAD_LENGTH", "A row of a modal has one text input.")
            for which, child in enumerate(inner):
                form.length((*here, "components", which, "label"), child.get("label"), 1, 45)
                checker.check(child, (*here, "components", which), (INPUT,))
        elif each.get("type") == LABEL:
            form.length((*here, "label"), each.get("label"), 1, 45)
            form.length((*here, "description"), each.get("description"), 0, 100, missing_ok=True)
            child = each.get("component") or {}
            if child.get("type") == INPUT and child.get("label") is not None:
                form.wrong((*here, "component", "label"), "COMPONENT_LABEL_IN_LABEL", "The label is the Label's.")
            checker.check(child, (*here, "component"), IN_LABEL)
        else:
            checker.check(each, here, (DISPLAY, LABEL, ROW))
    _check_unique(form, list(walk(components or [])), path)


class _Checker:
    def __init__(self, form: Form, attachments: set[str]) -> None:
        self._form, self._attachments = form, attachments

    def check(self, each: Any, at: Path, allowed: tuple[int, ...]) -> None:
        if not isinstance(each, dict):
            self._form.wrong(at, "BASE_TYPE_BAD_TYPE", "Only dictionaries can be used here")
            return
        kind = each.get("type")
        if kind not in allowed:
            self._form.wrong((*at, "type"), "UNION_TYPE_CHOICES", f'Value of field "type" must be one of {allowed}.')
            return
        checks = {
            ROW: self._row, BUTTON: self._button, INPUT: self._input, SECTION: self._section, DISPLAY: self._display,
            THUMBNAIL: self._thumbnail, GALLERY: self._gallery, FILE: self._file, SEPARATOR: self._separator,
            CONTAINER: self._container, UPLOAD: self._upload, RADIO: self._radio, BOXES: self._boxes, BOX: self._box,
        }  # fmt: skip
        (self._select if kind in SELECTS else checks[kind])(each, at)

    def _row(self, row: JSON, at: Path) -> None:
        inner = row.get("components")
        self._form.length((*at, "components"), inner, 1, 5)
        for index, each in enumerate(inner or []):
            self.check(each, (*at, "components", index), (BUTTON, *SELECTS))
        if len(inner or []) > 1 and any(each.get("type") in SELECTS for each in inner or []):
            self._form.wrong(
                (*at, "components"),
                "COMPONENT_LAYOUT_WIDTH_EXCEEDED",
                "The specified component exceeds the maximum width",
            )

    def _button(self, button: JSON, at: Path) -> None:
        style = button.get("style")
        self._form.choice((*at, "style"), style, (1, 2, 3, 4, 5, 6))
        self._form.length((*at, "label"), button.get("label"), 0, 80, missing_ok=True)
        if style == 5:
            self._form.length((*at, "url"), button.get("url"), 1, 512)
            if button.get("custom_id"):
                self._form.wrong(
                    (*at, "custom_id"),
                    "BUTTON_COMPONENT_CUSTOM_ID_AND_URL",
                    "A custom id and url cannot both be specified",
                )
        elif style != 6:
            self._form.length((*at, "custom_id"), button.get("custom_id"), 1, 100)
            if button.get("url"):
                self._form.wrong((*at, "url"), "BUTTON_COMPONENT_INVALID_URL", "Only link buttons have a url")
        if style != 6 and not button.get("label") and not button.get("emoji"):
            self._form.wrong(
                (*at, "label"), "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A button has a label or an emoji"
            )

    def _select(self, select: JSON, at: Path) -> None:
        self._form.length((*at, "custom_id"), select.get("custom_id"), 1, 100)
        self._form.length((*at, "placeholder"), select.get("placeholder"), 0, 150, missing_ok=True)
        if select["type"] == SELECT:
            self._options(select, at, 1, 25)
        self._range(select, at, 25)

    def _options(self, holder: JSON, at: Path, least: int, most: int) -> None:
        options = holder.get("options")
        self._form.length((*at, "options"), options, least, most)
        seen = set()
        for index, option in enumerate(options or []):
            here = (*at, "options", index)
            self._form.length((*here, "label"), option.get("label"), 1, 100)
            self._form.length((*here, "value"), option.get("value"), 1, 100)
            self._form.length((*here, "description"), option.get("description"), 0, 100, missing_ok=True)
            if option.get("value") in seen:
                self._form.wrong(
                    (*here, "value"),
                    "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED",
                    "The specified option value is already used",
                )
            seen.add(option.get("value"))
        defaults = sum(bool(option.get("default")) for option in options or [])
        if defaults > (holder.get("max_values") or 1) and holder["type"] != BOXES:
            self._form.wrong(
                (*at, "options"),
                "SELECT_COMPONENT_TOO_MANY_DEFAULT_VALUES",
                "There are more defaults than can be selected",
            )

    def _range(self, holder: JSON, at: Path, most: int) -> None:
        least = holder.get("min_values")
        self._form.number((*at, "min_values"), least, 0, most)
        self._form.number((*at, "max_values"), holder.get("max_values"), 1, most)
        if least is not None and holder.get("max_values") is not None and least > holder["max_values"]:
            self._form.wrong(
                (*at, "min_values"), "SELECT_COMPONENT_MIN_GREATER_THAN_MAX", "min_values is above max_values"
            )
        options = holder.get("options")
        if options and (holder.get("max_values") or 1) > len(options):
            self._form.wrong(
                (*at, "max_values"), "SELECT_COMPONENT_MAX_VALUES", "There are fewer options than max_values"
            )

    def _section(self, section: JSON, at: Path) -> None:
        inner = section.get("components")
        self._form.length((*at, "components"), inner, 1, 3)
        for index, each in enumerate(inner or []):
            self.check(each, (*at, "components", index), (DISPLAY,))
        if not section.get("accessory"):
            self._form.wrong((*at, "accessory"), "BASE_TYPE_REQUIRED", "This field is required")
        else:
            self.check(section["accessory"], (*at, "accessory"), (BUTTON, THUMBNAIL))

    def _display(self, display: JSON, at: Path) -> None:
        self._form.length((*at, "content"), display.get("content"), 1, MAX_TEXT)

    def _thumbnail(self, thumbnail: JSON, at: Path) -> None:
        self._media(thumbnail.get("media"), (*at, "media"))
        self._form.length((*at, "description"), thumbnail.get("description"), 0, 1024, missing_ok=True)

    def _gallery(self, gallery: JSON, at: Path) -> None:
        items = gallery.get("items")
        self._form.length((*at, "items"), items, 1, 10)
        for index, item in enumerate(items or []):
            self._media(item.get("media"), (*at, "items", index, "media"))
            self._form.length((*at, "items", index, "description"), item.get("description"), 0, 1024, missing_ok=True)

    def _file(self, file: JSON, at: Path) -> None:
        self._media(file.get("file"), (*at, "file"), only_attachments=True)

    def _media(self, media: Any, at: Path, only_attachments: bool = False) -> None:
        url = media.get("url") if isinstance(media, dict) else None
        if not url:
            self._form.wrong((*at, "url"), "BASE_TYPE_REQUIRED", "This field is required")
        elif url.startswith("attachment://"):
            if url[13:] not in self._attachments:
                self._form.wrong(
                    (*at, "url"),
                    "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND",
                    f"The referenced attachment was not found: {url}",
                )
        elif only_attachments or not url.startswith(("https://", "http://")):
            self._form.wrong(
                (*at, "url"), "URL_TYPE_INVALID_SCHEME", "Scheme must be one of ('http', 'https', 'attachment')."
            )
        elif len(url) > 2048:
            self._form.wrong((*at, "url"), "BASE_TYPE_MAX_LENGTH", "Must be 2048 or fewer in length.")

    def _separator(self, separator: JSON, at: Path) -> None:
        self._form.choice((*at, "spacing"), separator.get("spacing", 1), (1, 2))

    def _container(self, container: JSON, at: Path) -> None:
        inner = container.get("components")
        self._form.length((*at, "components"), inner, 1, MAX_COMPONENTS)
        self._form.number((*at, "accent_color"), container.get("accent_color"), 0, 0xFFFFFF)
        for index, each in enumerate(inner or []):
            self.check(each, (*at, "components", index), (ROW, SECTION, DISPLAY, GALLERY, FILE, SEPARATOR))

    def _input(self, text: JSON, at: Path) -> None:
        self._form.length((*at, "custom_id"), text.get("custom_id"), 1, 100)
        self._form.choice((*at, "style"), text.get("style"), (1, 2))
        self._form.number((*at, "min_length"), text.get("min_length"), 0, 4000)
        self._form.number((*at, "max_length"), text.get("max_length"), 1, 4000)
        self._form.length((*at, "placeholder"), text.get("placeholder"), 0, 100, missing_ok=True)
        self._form.length((*at, "value"), text.get("value"), 0, text.get("max_length") or 4000, missing_ok=True)

    def _upload(self, upload: JSON, at: Path) -> None:
        self._form.length((*at, "custom_id"), upload.get("custom_id"), 1, 100)
        self._range(upload, at, 10)

    def _radio(self, radio: JSON, at: Path) -> None:
        self._form.length((*at, "custom_id"), radio.get("custom_id"), 1, 100)
        self._options(radio, at, 2, 10)

    def _boxes(self, boxes: JSON, at: Path) -> None:
        self._form.length((*at, "custom_id"), boxes.get("custom_id"), 1, 100)
        self._options(boxes, at, 1, 10)
        self._range({**boxes, "max_values": boxes.get("max_values") or len(boxes.get("options") or [1])}, at, 10)

    def _box(self, box: JSON, at: Path) -> None:
        self._form.length((*at, "custom_id"), box.get("custom_id"), 1, 100)


def _check_unique(form: Form, everything: list[JSON], path: Path) -> None:
    for name, code in (("custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED"), ("id", "COMPONENT_ID_DUPLICATED")):
        given = [each[name] for each in everything if each.get(name)]
        for twice in sorted({str(value) for value in given if given.count(value) > 1}):
            form.wrong(path, code, f"Component {name} cannot be duplicated: {twice}")
