"""What every training keeps in its folder: where it is, and a log of how it went."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch


class Kept(Protocol):
    """Networks, averages and optimizers."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


def save(content: object, file: Path) -> None:
    """Whole or not at all."""
    temporary = file.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(file)


def save_arrays(file: Path, **arrays: Any) -> None:
    """A .npz file, whole or not at all."""
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(file)


class Run:
    """A training of ``steps`` steps that goes on where it was stopped.

    ``parts`` are given the state that WORK/NAME.state.pt has of them, and ``begin`` is the first step to do. Every
    ``every`` steps a line goes to WORK/NAME.csv: step, seconds since this start, mean loss, ``figures``.
    """

    def __init__(
        self, work: Path, name: str, steps: int, figures: Sequence[str], parts: Mapping[str, Kept], every: int = 100
    ) -> None:
        self.state, self.steps, self.every = self.state_file(work, name), steps, every
        self.figures, self.parts = figures, parts
        self.begin = 0
        if self.state.is_file():
            state = torch.load(self.state)
            self.begin = state["step"]
            for part, content in parts.items():
                content.load_state_dict(state[part])
        self._log = (work / f"{name}.csv").open("a", newline="")
        self._writer = csv.writer(self._log)
        if self.begin == 0:
            self._writer.writerow(["step", "seconds", "loss", *figures])
        self._since = self._shown = time.monotonic()
        self._losses: list[float] = []

    @staticmethod
    def state_file(work: Path, name: str) -> Path:
        return work / f"{name}.state.pt"

    def due(self, done: int, loss: torch.Tensor) -> bool:
        """Notes the loss of the step that makes ``done`` steps; whether ``write`` is to follow."""
        self._losses.append(float(loss.detach()))
        return done % self.every == 0 or done == self.steps

    def write(self, done: int, figures: Sequence[float]) -> None:
        """A line of the log, and the state."""
        now = time.monotonic()
        row = [float(np.mean(self._losses)), *figures]
        self._writer.writerow([done, round(now - self._since), *(f"{x:.4f}" for x in row)])
        self._log.flush()
        said = " ".join(f"{name} {x:.4f}" for name, x in zip(["loss", *self.figures], row, strict=True))
        print(f"{done}/{self.steps} {said} {(now - self._shown) / len(self._losses):.2f} s/step", flush=True)
        self._shown, self._losses = now, []
        save({"step": done, **{part: content.state_dict() for part, content in self.parts.items()}}, self.state)
