"""The slots of a worker: one ComfyUI each, known to be well before it gets a real job."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from PIL import Image

from ...nodes.errors import DistilleryError
from ...nodes.parameters import MIN_SIDE, MINI_NAME
from ..cancel import CancelToken
from ..errors import JobCancelled
from ..jobs.backend import Backend
from ..jobs.output import Output
from ..jobs.prepare import prepare
from ..jobs.runner import LocalBackend
from ..server.servers import Server
from .values import model_key

log = logging.getLogger(__name__)

MAX_FAULTS = 3
"""Known-good jobs in a row that a slot may fail before it is taken out."""
REST = (2.0, 30.0)
"""Seconds before a slot that failed is tried again: the first time, doubled each time after, and at most."""


class SlotState(Enum):
    """State of a slot."""

    TRYING = "trying"
    """It has to do its known-good job first."""
    FREE = "free"
    BUSY = "busy"
    OUT = "out"
    """It has failed too often and gets nothing any more."""


@dataclass
class Slot:
    """One ComfyUI of a worker, which runs one job at a time."""

    name: str
    backend: Backend
    list_models: Callable[[], Sequence[str]]
    """Asks for the names of its checkpoints. Raises ServerError."""
    state: SlotState = SlotState.TRYING
    loaded: str | None = None
    """Key of the checkpoint of its last job."""
    models: frozenset[str] = frozenset()
    """Keys of its checkpoints."""
    faults: int = 0
    """Known-good jobs that it failed in a row."""
    error: str = ""
    """Why it failed last."""
    executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="slot"))

    def loads(self, model: str | None) -> bool:
        """Return True if a job of that checkpoint has another one loaded first."""
        return model is not None and model != self.loaded


def server_slot(server: Server) -> Slot:
    """Return the slot of a ComfyUI, run by the local backend of the driver."""
    return Slot(server.name, LocalBackend([server]), lambda: server.connect(lambda text: None).checkpoints())


def choose(slots: Iterable[Slot], model: str | None) -> Slot | None:
    """Return the free slot for a job: the one that has its checkpoint loaded, else one that has none, else any."""
    free = [slot for slot in slots if slot.state is SlotState.FREE]
    able = [slot for slot in free if model is None or model in slot.models] or free
    return min(able, key=lambda slot: (slot.loaded != model, slot.loaded is not None), default=None)


async def make_ready(slot: Slot, changed: Callable[[], None], warm_up: bool = True) -> None:
    """Run the known-good job until it succeeds, or the slot is out. Returns when it is free or out."""
    loop = asyncio.get_running_loop()
    while slot.state is SlotState.TRYING:
        try:
            models = await loop.run_in_executor(slot.executor, _try, slot, warm_up)
        except DistilleryError as error:
            slot.faults += 1
            slot.error = str(error)
            log.warning("%s fails a known-good job (%d of %d): %s", slot.name, slot.faults, MAX_FAULTS, error)
            if slot.faults >= MAX_FAULTS:
                slot.state = SlotState.OUT
            else:
                await asyncio.sleep(min(REST[1], REST[0] * 2 ** (slot.faults - 1)))
        else:
            slot.models, slot.state, slot.faults = models, SlotState.FREE, 0
            slot.loaded = model_key(MINI_NAME) if warm_up else None
    changed()


def _try(slot: Slot, warm_up: bool) -> frozenset[str]:
    """Start the server and run the known-good job; returns the keys of its checkpoints. Raises DistilleryError."""
    slot.backend.start(lambda text: log.info("%s: %s", slot.name, text))
    if warm_up:
        with tempfile.TemporaryDirectory(prefix="distillery-") as name:
            known_good(slot.backend, Path(name))
    return frozenset(model_key(name) for name in slot.list_models())


def known_good(backend: Backend, folder: Path) -> None:
    """Run a job that any healthy server can: a small picture, the built-in checkpoint. Raises DistilleryError."""
    source = folder / "warm-up.png"
    Image.linear_gradient("L").resize((MIN_SIDE, MIN_SIDE)).convert("RGB").save(source)
    task = prepare(source, f"--prompt gradient --seed 1 --power 0.2 --model {MINI_NAME}", Output(folder))
    try:
        backend.run(task, lambda event: None, CancelToken())
    except JobCancelled as error:
        raise DistilleryError(str(error)) from error
