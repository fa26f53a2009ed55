"""Texts and lists of sources from files and the standard input, which no process list shows."""

import io
import sys

import pytest

from distillery.driver.cli.given import MAX_BYTES, expand_sources, referenced
from distillery.driver.errors import SourceError


def test_a_text_is_read_from_a_file(tmp_path):
    (tmp_path / "neg.txt").write_text("\ufefffog, \u6f22\u5b57\n", encoding="utf-8")
    assert referenced(f"@{tmp_path / 'neg.txt'}", "--neg") == "fog, \u6f22\u5b57"
    assert referenced("fog @home", "--neg") == "fog @home" and referenced("@@home", "--neg") == "@home"


def test_a_text_is_read_from_the_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fog\n"), "utf-8"))
    assert referenced("@-", "--neg") == "fog"


def test_sources_are_listed_in_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("# two\na.png\n\n  https://cdn.discordapp.com/attachments/1/2/b.png?ex=1 \n")
    link = "https://cdn.discordapp.com/attachments/1/2/b.png?ex=1"
    assert expand_sources(["x.png", "@list.txt"]) == ["x.png", "a.png", link]
    (tmp_path / "@odd.png").write_bytes(b"")
    assert expand_sources(["@odd.png"]) == ["@odd.png"]  # a file of that name is that file
    assert expand_sources(["*.txt", "no*.png"]) == ["list.txt", "no*.png"]


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "big.txt").write_bytes(b"x" * (MAX_BYTES + 1))
    for argument, words in (("@nothing.txt", "write @@"), (f"@{tmp_path}", "cannot be read"),
                            (f"@{tmp_path / 'latin.txt'}", "UTF-8"), (f"@{tmp_path / 'big.txt'}", "1 MiB")):  # fmt: skip
        with pytest.raises(SourceError, match=words):
            referenced(argument, "--neg")
    with pytest.raises(SourceError, match="names no source"):
        expand_sources([f"@{tmp_path / 'empty.txt'}"])
