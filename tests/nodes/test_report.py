"""A generation as rows and as text."""

from __future__ import annotations

from distillery.nodes.generation import Generation, Lora
from distillery.nodes.report import FIELDS, as_rows

GENERATION = Generation(
    origin="a1111", positive="a cat", seed=2**64 - 1, cfg=7.5, checkpoint_hash="0123456789",
    loras=(Lora("b", 0.5, 0.25), Lora("a", 1.0, 0.0, "abcdef012345")),
    fields={"seed": "parameters: Seed", "vae": "parameters"}, warnings=("first", "second"),
)  # fmt: skip


def test_loras_stand_in_order_with_their_strengths():
    loras = [value for name, value, _ in as_rows(GENERATION) if name.startswith("lora")]
    assert loras == ["b (model 0.5, clip 0.25)", "a (model 1, clip 0, hash abcdef012345)"]


def test_every_value_has_its_place_and_unknown_ones_are_empty():
    rows = {name: (value, where) for name, value, where in as_rows(GENERATION)}
    assert rows["seed"] == ("18446744073709551615", "parameters: Seed")
    assert rows["vae"] == ("the checkpoint's own", "parameters")
    assert rows["negative"] == ("", "")
    assert "vae_hash" not in rows and set(FIELDS) - {"loras", "vae_hash", "guidance", "parts", "patches"} <= set(rows)
