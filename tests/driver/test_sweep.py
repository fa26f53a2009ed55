"""The variants of a sweep, from its command line to rows and columns."""

from __future__ import annotations

import pytest

from distillery.driver.cli.sweep import parse_values
from distillery.driver.jobs.sweep import Variant, variants
from distillery.nodes.command import CommandError


def test_values_of_a_sweep():
    assert parse_values("power", ["0.1, 0.2,0.3"]) == [0.1, 0.2, 0.3]
    assert parse_values("seed", ["18446744073709551615"]) == [2**64 - 1]
    assert parse_values("cfg", None) == []
    for wrong in (["0.1,x"], ["2"], ["0.1", "0.2"], [","]):
        with pytest.raises(CommandError):
            parse_values("power", wrong)


def test_rows_of_a_sweep_are_cfg_and_seed_and_columns_are_powers():
    rows = variants([0.3, 0.1, 0.3], [5.0, 7.0], [1])
    assert rows == [[Variant(p, cfg, 1) for p in (0.1, 0.3)] for cfg in (5.0, 7.0)]
    assert rows[0][0].command == "--power 0.1 --cfg 5.0 --seed 1" and rows[0][0].name == "power0.1_cfg5_seed1"
    with pytest.raises(CommandError, match="above 0"):
        variants([0], [], [])
    with pytest.raises(CommandError, match="too large"):
        variants([0.1, 0.2], [1 + i / 10 for i in range(60)], [])
    with pytest.raises(CommandError, match="--cfg"):
        variants([0.1], [99], [])
