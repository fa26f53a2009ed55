"""The highest power that only adds detail, found by trying."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..cancel import CancelToken
from ..errors import JobError
from ..events import Message
from .backend import Backend
from .contact_sheet import before_after, levels, opened
from .drift import POWERS, Drift, best_power, drift, next_power
from .existing import find_result, result_of_earlier_run
from .job import OnProgress, Result, new_job_id
from .output import Output, make_folder, write_result
from .prepare import Task


def upscale_at_best_power(
    backend: Backend,
    task: Task,
    command: str,
    report: OnProgress,
    cancel: CancelToken,
    on_begin: Callable[[], None] = lambda: None,
) -> Result:
    """Try powers until the best is known; its result alone is kept, and says how it was chosen.

    task: prepared with :func:`first_command`. command: without a power. Raises DistilleryError.
    """
    folder = task.folder
    make_folder(folder)
    if task.skip_existing and (path := find_result(task, any_power=True)) is not None:
        return result_of_earlier_run(path, task, 0.0)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".distillery-") as name:
            return _try_powers(backend, task, command, Path(name), report, cancel, on_begin)
    except OSError as error:
        raise JobError(f"The result cannot be written to {folder}: {error.strerror or error}.") from error


def first_command(command: str) -> str:
    """Return the command that the task of an automatic power is prepared with."""
    return f"{command} --power {POWERS[0]}".strip()


def _try_powers(
    backend: Backend,
    task: Task,
    command: str,
    trials: Path,
    report: OnProgress,
    cancel: CancelToken,
    on_begin: Callable[[], None],
) -> Result:
    quiet = replace(task, output=Output(trials), compare=False, skip_existing=False)

    def run(power: float) -> tuple[Result, np.ndarray]:
        job = replace(task.job, id=new_job_id(), command=f"{command} --power {power:g}".strip())
        result = backend.run(replace(quiet, job=job), report, cancel, on_begin)
        return result, levels(opened(result.path))

    upscaled, reference = run(0)
    seconds = upscaled.total
    results: dict[float, Result] = {}
    measured: dict[float, Drift] = {}
    while (power := next_power(measured)) is not None:
        results[power], picture = run(power)
        seconds += results[power].total
        measured[power] = drift(reference, picture)
        verdict = "only detail" if measured[power].within else "too much"
        report(Message(f"--power {power:g}: {measured[power]}: {verdict}"))
    choice = best_power(measured)
    report(Message(f"Chosen: {choice.reason}."))
    kept = results[choice.power]
    written = write_result(kept.path, task.output, task.job.stem)
    generation = kept.generation
    for warning in written.warnings:
        generation = generation.warn(warning)
    compared = before_after(task.image.png, written.path) if task.compare else None
    return replace(kept, path=written.path, generation=generation, choice=choice, compared=compared, total=seconds)
