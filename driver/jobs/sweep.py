"""One picture with several parameters, and its contact sheet.

The server's cache does the shared stages once: the picture is uploaded, read and enlarged for the first job, and only
what the HiRes pass depends on is run for the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ...nodes.command import CommandError, parse_command
from ...nodes.errors import DistilleryError
from ..cancel import CancelToken
from ..errors import JobError
from ..events import Progress
from .backend import Backend
from .contact_sheet import Cell, contact_sheet, levels, opened
from .drift import Choice, Drift, best_power, drift, most_changed
from .job import Result, new_job_id
from .ordered_map import ordered
from .output import save_png
from .prepare import Task

MAX_CELLS = 100
"""Pictures of one sweep."""


@dataclass(frozen=True)
class Variant:
    """One combination of a sweep. ``None``: the image's own."""

    power: float
    cfg: float | None = None
    seed: int | None = None

    @property
    def command(self) -> str:
        """As a command."""
        values = (("power", self.power), ("cfg", self.cfg), ("seed", self.seed))
        return " ".join(f"--{name} {value!r}" for name, value in values if value is not None)

    @property
    def name(self) -> str:
        """For file names: ``power0.2_cfg6_seed5``."""
        values = (("power", self.power), ("cfg", self.cfg), ("seed", self.seed))
        return "_".join(
            f"{name}{value if name == 'seed' else format(value, 'g')}" for name, value in values if value is not None
        )


@dataclass(frozen=True)
class Sweep:
    """The pictures of a sweep, and the best power."""

    sheet: Path
    """The labelled contact sheet; one row for each CFG and seed, one column for each power."""
    upscaled: Result
    """The picture without a HiRes pass, which the others are measured against."""
    results: dict[Variant, Result]
    drifts: dict[Variant, Drift]
    choice: Choice
    """The best power, in the first row."""


def variants(powers: Sequence[float], cfgs: Sequence[float], seeds: Sequence[int]) -> list[list[Variant]]:
    """Rows of a contact sheet: each CFG with each seed, and in a row the powers, ascending.

    Raises CommandError where that is nothing or too much.
    """
    powers = sorted({float(p) for p in powers if p > 0})
    each_cfg: list[float | None] = [*dict.fromkeys(cfgs)] or [None]
    each_seed: list[int | None] = [*dict.fromkeys(seeds)] or [None]
    rows = [[Variant(power, cfg, seed) for power in powers] for cfg, seed in itertools.product(each_cfg, each_seed)]
    if not powers:
        raise CommandError("a sweep needs at least one --power above 0, such as --power 0.1,0.2,0.3,0.4.")
    if len(powers) * len(rows) > MAX_CELLS:
        raise CommandError(f"a sweep of {len(powers) * len(rows)} pictures is too large: at most {MAX_CELLS} are made.")
    for row in rows:
        parse_command(row[0].command)
        parse_command(row[-1].command)
    return rows


def first_command(command: str, rows: Sequence[Sequence[Variant]]) -> str:
    """Return the command of the first picture. Raises CommandError where both say the same parameter."""
    text = f"{command} {rows[0][0].command}".strip()
    parse_command(text)
    return text


def count(rows: Sequence[Sequence[Variant]]) -> int:
    """Count the jobs of a sweep: one for each variant, and one that only enlarges."""
    return 1 + sum(map(len, rows))


def sweep(
    backend: Backend,
    base: Task,
    tickets: Sequence[int],
    rows: Sequence[Sequence[Variant]],
    command: str,
    report: Callable[[str, Progress], None],
    cancel: CancelToken,
    on_done: Callable[[str, Result | DistilleryError], None] = lambda command, result: None,
) -> Sweep:
    """Upscale one picture with each variant, and lay the results side by side.

    base: the prepared picture. tickets: as many as :func:`count` says. rows: see :func:`variants`. command: what all
    have in common. report: called with a variant's name and an event, from several threads. on_done: called likewise
    with the command of each picture and what became of it. Raises DistilleryError at the first that fails.
    """
    stem = base.job.stem.removesuffix("_2x")
    flat = [variant for row in rows for variant in row]
    commands = [f"{command} --power 0".strip(), *(f"{command} {v.command}".strip() for v in flat)]
    names = ["power0", *(v.name for v in flat)]

    def work(index: int, text: str) -> Result:
        name = names[index]
        backend.announce(tickets[index])
        job = replace(
            base.job,
            id=new_job_id(),
            command=text,
            checkpoint=base.job.checkpoint if index else None,
            stem=f"{stem}_2x_{name}",
        )
        try:
            result = backend.run(
                replace(base, job=job, ticket=tickets[index]), lambda event: report(name, event), cancel
            )
        except DistilleryError as error:
            on_done(text, error)
            raise
        on_done(text, result)
        return result

    upscaled, *made = ordered(work, commands, backend.concurrency, cancel)
    results = dict(zip(flat, made, strict=True))
    reference = levels(opened(upscaled.path))
    drifts = {variant: drift(reference, levels(opened(result.path))) for variant, result in results.items()}
    choice = best_power({v.power: drifts[v] for v in rows[0]})
    strongest = levels(opened(results[rows[0][-1]].path))
    sheet = _sheet(upscaled, rows, results, drifts, choice, reference, strongest)
    try:
        path = save_png(sheet, base.folder, f"{stem}_sweep")
    except OSError as error:
        raise JobError(f"The contact sheet cannot be written to {base.folder}: {error.strerror or error}.") from error
    return Sweep(path, upscaled, results, drifts, choice)


def _sheet(
    upscaled: Result,
    rows: Sequence[Sequence[Variant]],
    results: dict[Variant, Result],
    drifts: dict[Variant, Drift],
    choice: Choice,
    reference: np.ndarray,
    strongest: np.ndarray,
) -> Image.Image:
    tile = min(448, reference.shape[1])
    corner = most_changed(reference, strongest, tile, tile)
    cells = []
    for i, row in enumerate(rows):
        line = [Cell(upscaled.path, ("only upscaled", "--power 0", ""))]
        for variant in row:
            chosen = i == 0 and variant.power == choice.power
            first = f"--power {variant.power:g}{'   best' if chosen else ''}"
            used = results[variant].generation
            line.append(
                Cell(results[variant].path, (first, f"cfg {used.cfg:g} seed {used.seed}", str(drifts[variant])), chosen)
            )
        cells.append(line)
    return contact_sheet(cells, corner)
