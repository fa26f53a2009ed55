"""The user's table of names that no longer exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.nodes.model_files.aliases import MAX_BYTES, SECTIONS, parse_aliases, read_aliases

TABLE = """
# a comment
Cosmopolitan_release_version.safetensors = my_model.safetensors
"with = sign.ckpt" = other.safetensors
tight=squeezed

[LoRAs]
add_detail = more_details
my = mine
[vae]
my = theirs
"""
FILES = ["my_model.safetensors", "other.safetensors", "sub/squeezed.ckpt", "mine.pt", "theirs.pt", "more_details.pt"]


@pytest.mark.parametrize(
    ("wanted", "section", "found"),
    [
        ("Cosmopolitan_release_version.safetensors", "checkpoints", "my_model.safetensors"),
        ("sd\\cosmopolitan_release_version.ckpt", "loras", "my_model.safetensors"),
        ("tight.safetensors", "checkpoints", "sub/squeezed.ckpt"),
        ("add_detail.safetensors", "loras", "more_details.pt"),
        ("add_detail.safetensors", "checkpoints", None),
        ("my", "loras", "mine.pt"),
        ("my", "vae", "theirs.pt"),
        ("my", "checkpoints", None),
        ("unheard of", "checkpoints", None),
        ("", "checkpoints", None),
    ],
)
def test_aliases_are_found_by_name_and_kind(wanted, section, found):
    table = parse_aliases(TABLE.replace('"with = sign.ckpt"', "with"))
    assert table.warnings == ()
    assert table.find(wanted, section, FILES) == (found, ())


def test_a_kinds_own_alias_goes_before_one_for_all():
    table = parse_aliases("a = general\n[vae]\na = special")
    available = ["general.pt", "special.pt"]
    assert table.find("a", "vae", available)[0] == "special.pt"
    assert table.find("a", "loras", available)[0] == "general.pt"


def test_chains_are_followed_to_an_installed_name():
    table = parse_aliases("a = b\nb = c\nc = d")
    assert table.find("a", "vae", ["d.pt"]) == ("d.pt", ())
    assert table.find("a", "vae", ["c", "d.pt"]) == ("c", ())  # installed to the letter: no need to go on
    found, warnings = table.find("a", "vae", ["x"])
    assert found is None and "d, the alias of a, is not installed" in warnings[0] and "line 3" in warnings[0]


@pytest.mark.parametrize("text", ["a = b\nb = a", "a = b\nb = c\nc = a", "a = b\nb = c\nc = b"])
def test_circles_end_and_are_told(text):
    found, warnings = parse_aliases(text).find("a", "vae", ["x"])
    assert found is None and len(warnings) == 1 and "circle" in warnings[0]


def test_names_that_differ_in_case_or_extension_make_no_endless_circle():
    found, _ = parse_aliases("a.ckpt = A.safetensors").find("a.ckpt", "vae", ["x"])
    assert found is None
    assert parse_aliases("a.ckpt = A.safetensors").find("a.ckpt", "vae", ["A.safetensors"])[0] == "A.safetensors"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "name in the image = installed file"),
        ("a =", "name in the image = installed file"),
        ("= b", "name in the image = installed file"),
        ("a = a", "its own alias"),
        ("[checkpoint]", "[checkpoints]"),
        ("first = b", "line 1"),
        ("x = " + "y" * 2000, "name in the image = installed file"),
    ],
)
def test_bad_lines_are_named_and_the_others_count(line, words):
    table = parse_aliases(f"first = one\n{line}\n", Path("aliases.txt"))
    assert len(table.warnings) == 1
    assert "line 2 of aliases.txt" in table.warnings[0] and words in table.warnings[0]
    assert table.find("first", "vae", ["one"])[0] == "one"


def test_what_stands_below_an_unknown_heading_counts_for_nothing_and_many_bad_lines_are_summed_up():
    table = parse_aliases("[nonsense]\na = b")
    assert table.entries == () and len(table.warnings) == 1
    assert len(parse_aliases("x\n" * 100).warnings) == 6


def test_the_file_as_editors_write_it(tmp_path):
    place = tmp_path / "aliases.txt"
    assert read_aliases(place).entries == () and read_aliases(place).warnings == ()
    place.write_bytes("\ufeffmodèle.safetensors = b\r\n".encode())
    assert read_aliases(place).find("modèle", "vae", ["b"])[0] == "b"
    place.write_bytes(b"mod\xe8le = b\n")
    assert "UTF-8" in read_aliases(place).warnings[0]
    place.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "KiB" in read_aliases(place).warnings[0]
    assert len(read_aliases(tmp_path).warnings) == 1 or os.name == "nt"  # a folder


@given(st.text(), st.text(), st.sampled_from(SECTIONS), st.lists(st.text(), max_size=4))
def test_nothing_raises(text, wanted, section, available):
    found, warnings = parse_aliases(text).find(wanted, section, available)
    assert found is None or (found in available and not warnings)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde"))), st.sampled_from("abcde"))
def test_every_walk_ends(pairs, wanted):
    table = parse_aliases("\n".join(f"{old} = {new}" for old, new in pairs))
    found, warnings = table.find(wanted, "vae", ["e"])
    assert found in (None, "e") and not (found and warnings)
