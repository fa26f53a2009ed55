"""Texts of others in messages."""

from __future__ import annotations

from distillery.nodes.texts import MAX_REASON, reason_of, shorten


def test_a_text_is_put_on_one_line_and_cut_with_dots():
    assert shorten(" a\n\tb ", 3) == "a b"
    assert shorten("x" * 10, 10) == "x" * 10
    assert shorten("x" * 11, 10) == "x" * 7 + "..."


def test_an_error_without_words_is_named_by_its_type():
    assert reason_of(ValueError("two\nlines")) == "two lines"
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(ValueError("y" * 1000))) == MAX_REASON
