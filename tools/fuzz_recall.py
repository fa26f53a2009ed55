#!/usr/bin/env python3
"""A long fuzz run of the reader of images: whole files, texts, graphs, JSON, A1111 texts.

    ./distillery python tools/fuzz_recall.py [--inputs 1000000] [--seed 0] [--processes 1] [--engine both]

Two engines share the inputs: hypothesis, which makes inputs of the right shape (tools/recall_inputs.py), and atheris,
which changes bytes and keeps what reaches new code. Atheris is needed for its engine alone, on Linux:

    ./distillery python -m pip install atheris

An input fails on any exception but RecallError, on a result that cannot be shown or recorded, and on taking more
than --bound seconds of the processor. What failed is written to the folder of the run, and can be tried again:

    ./distillery python tools/fuzz_recall.py --replay FILE

The folder (--folder, by default outside the checkout) keeps atheris' corpus and how far each process came: the same
command goes on where the last one was stopped; --fresh begins anew, with the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distillery.driver import paths

ENGINES = ("hypothesis", "atheris")
BATCH = 2000
"""Inputs of hypothesis between two notes of how far it came; a stopped run repeats at most so many."""
MAX_LENGTH = 1 << 16
"""Bytes of atheris' inputs."""
INSTALL = "./distillery python -m pip install atheris   (Linux only)"
_REPORT_EVERY = 10.0


class TooSlow(BaseException):
    """An input took longer than the bound. No Exception: the code under test must not catch it."""


@dataclass
class Progress:
    """How far one process of one engine came."""

    engine: str
    worker: int
    seed: int
    target: int
    """Inputs that it is to run."""
    done: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    """Seconds of the processor that one input took at most."""
    failure: str = ""
    """The file of the input that failed, and the error in a line."""

    def save(self, folder: Path) -> None:
        part = folder / f"{self.engine}-{self.worker}.part"
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(part, self.file(folder))

    def file(self, folder: Path) -> Path:
        return folder / f"{self.engine}-{self.worker}.json"


def load_progress(folder: Path, wanted: Progress) -> Progress:
    """What an earlier run of the same seed left, or the beginning."""
    try:
        found = Progress(**json.loads(wanted.file(folder).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return wanted
    if found.seed != wanted.seed:
        return wanted
    found.target, found.failure = wanted.target, ""
    return found


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Stop the body after that many seconds of the processor, where the system can; elsewhere raise afterwards."""
    start = time.process_time()
    if hasattr(signal, "setitimer"):

        def stop(*_: Any) -> None:
            raise TooSlow(f"more than {seconds:g} s")

        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
    if time.process_time() - start > seconds:
        raise TooSlow(f"{time.process_time() - start:.1f} s")


class Runner:
    """Runs inputs one by one, and writes down the first that fails."""

    def __init__(self, folder: Path, progress: Progress, bound: float) -> None:
        from distillery.tools import recall_inputs

        self.inputs, self.folder, self.progress, self.bound = recall_inputs, folder, progress, bound
        self.last = time.monotonic()
        # Pillow warns of many a broken file; what matters here is what the reader does.
        warnings.simplefilter("ignore")

    def run(self, data: bytes) -> None:
        """Run one encoded input; raises what it raised."""
        self.progress.done += 1
        start = time.process_time()
        try:
            with bounded(self.bound):
                self.inputs.check(self.inputs.decode(data))
        except (Exception, TooSlow) as error:
            self._write_failure(data, error)
            raise
        self.progress.slowest = max(self.progress.slowest, time.process_time() - start)

    def note(self) -> None:
        """Write down how far it came."""
        now = time.monotonic()
        self.progress.seconds += now - self.last
        self.last = now
        self.progress.save(self.folder)

    def _write_failure(self, data: bytes, error: BaseException) -> None:
        failures = self.folder / "failures"
        failures.mkdir(exist_ok=True)
        name = f"{type(error).__name__}-{hashlib.sha256(data).hexdigest()[:12]}"
        (failures / name).write_bytes(data)
        text = "".join(traceback.format_exception(error))
        (failures / f"{name}.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
        line = " ".join(str(error).split())[:200]
        self.progress.failure = f"{failures / name}: {type(error).__name__}: {line}"
        self.note()


def run_hypothesis(runner: Runner) -> None:
    """Batches of inputs from the strategies, each with a seed of its own."""
    import hypothesis

    progress = runner.progress

    while progress.done < progress.target:
        size = min(BATCH, progress.target - progress.done)

        @hypothesis.seed((progress.seed * 1000 + progress.worker) * 10**9 + progress.done)
        @hypothesis.settings(
            max_examples=size, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(runner.inputs.inputs())
        def batch(item: Any) -> None:
            runner.run(item.encode())

        batch()
        runner.note()


def run_atheris(runner: Runner) -> None:
    """Coverage-guided inputs. Ends the process."""
    import atheris

    corpus, progress = runner.folder / "corpus", runner.progress
    left = progress.target - progress.done
    # libFuzzer's own escapes, so that any text can stand there.
    escaped = ["".join(f"\\x{b:02x}" for b in w.encode("utf-8", "surrogatepass")) for w in runner.inputs.words()]
    lines = [f'"{word}"' for word in escaped]
    (runner.folder / "words.txt").write_text("\n".join(lines), encoding="ascii")

    def one(data: bytes) -> None:
        runner.run(data)
        if progress.done % 1000 == 0:
            runner.note()

    arguments = [
        sys.argv[0], str(corpus), f"-runs={left}", f"-seed={progress.seed * 1000 + progress.worker + 1}",
        f"-max_len={MAX_LENGTH}", f"-dict={runner.folder / 'words.txt'}", "-rss_limit_mb=4096", "-verbosity=0",
        f"-timeout={max(10, int(10 * runner.bound))}", f"-artifact_prefix={runner.folder}/failures/libfuzzer-",
    ]  # fmt: skip
    (runner.folder / "failures").mkdir(exist_ok=True)
    atheris.Setup(arguments, one)
    atheris.Fuzz()


def work(options: argparse.Namespace) -> int:
    """One process of one engine."""
    engine, _, number = options.worker.partition("-")
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["distillery.nodes"]):
            import distillery.nodes.recall
            import distillery.nodes.report  # noqa: F401
    progress = load_progress(options.folder, Progress(engine, int(number), options.seed, options.inputs))
    if progress.done >= progress.target:
        return 0
    runner = Runner(options.folder, progress, options.bound)
    try:
        (run_atheris if engine == "atheris" else run_hypothesis)(runner)
    except (Exception, TooSlow):
        traceback.print_exc()
        return 1
    return 0


def replay(file: Path, bound: float) -> int:
    """Run one input again, with its traceback."""
    from distillery.tools import recall_inputs

    item = recall_inputs.decode(file.read_bytes())
    print(f"{item.mode}, {len(item.payload)} bytes: {item.payload[:300]!r}")
    with bounded(bound):
        print(recall_inputs.check(item))
    return 0


def supervise(options: argparse.Namespace) -> int:
    """Start the processes, report, and say how it ended."""
    engines = [engine for engine in ENGINES if options.engine in (engine, "both")]
    if "atheris" in engines and find_spec("atheris") is None:
        print(f"atheris is not installed: its engine is left out. To have it:\n  {INSTALL}", file=sys.stderr)
        if options.engine == "atheris":
            return 2
        engines.remove("atheris")
    corpus = options.folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    if "atheris" in engines and not any(corpus.iterdir()):
        from distillery.tools import recall_inputs

        for item in recall_inputs.seeds():
            data = item.encode()
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data[:MAX_LENGTH])

    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell may have started this with signals ignored
        signal.signal(ending, signal.default_int_handler)
    workers = [(engine, number) for engine in engines for number in range(options.processes)]
    share, rest = divmod(options.inputs, len(workers))
    processes, notes = [], []
    for i, (engine, number) in enumerate(workers):
        note = load_progress(options.folder, Progress(engine, number, options.seed, share + (i < rest)))
        note.save(options.folder)
        notes.append(note)
        command = [
            sys.executable, __file__, "--worker", f"{engine}-{number}", "--inputs", str(note.target), "--seed",
            str(options.seed), "--bound", str(options.bound), "--folder", str(options.folder),
        ]  # fmt: skip
        with (options.folder / f"{engine}-{number}.log").open("wb") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    before, started = sum(note.done for note in notes), time.monotonic()
    next_report = started + _REPORT_EVERY
    try:
        while any(process.poll() is None for process in processes):
            time.sleep(0.2)
            if time.monotonic() > next_report:
                next_report += _REPORT_EVERY
                notes = [load_progress_as_it_is(options.folder, note) for note in notes]
                done = sum(note.done for note in notes)
                rate = (done - before) / (time.monotonic() - started)
                print(f"{done} of {options.inputs} inputs, {rate:.0f} a second", flush=True)
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.")
        return 130
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
    notes = [load_progress_as_it_is(options.folder, note) for note in notes]
    return summary(options.folder, notes, [process.returncode for process in processes], before, started)


def load_progress_as_it_is(folder: Path, note: Progress) -> Progress:
    """What a process wrote last, its failure included."""
    try:
        return Progress(**json.loads(note.file(folder).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return note


def summary(folder: Path, notes: list[Progress], codes: list[int], before: int, started: float) -> int:
    """Print what was run and what failed; returns the exit code."""
    seconds = time.monotonic() - started
    for note in notes:
        rate = f"{note.done / note.seconds:.0f} a second" if note.seconds else "nothing to do"
        print(
            f"{note.engine} {note.worker}: {note.done} inputs, {rate}, slowest {note.slowest:.2f} s, seed {note.seed}"
        )
    done = sum(note.done for note in notes)
    print(f"{done} inputs; {done - before} of them in this run, in {seconds:.0f} s")
    failed = [note.failure for note in notes if note.failure]
    for failure in failed:
        print(f"FAILED {failure}")
    ended = [note for note, code in zip(notes, codes, strict=True) if code and not note.failure]
    for note in ended:
        print(f"FAILED {note.engine} {note.worker} ended early: see {folder / f'{note.engine}-{note.worker}.log'}")
    if done == before and not failed and not ended:
        print("Nothing was left to do: choose another --seed, or --fresh.")
    return 1 if failed or ended else 0


def main() -> int:
    """Run the command line; returns the exit code: 0 nothing failed, 1 an input failed, 2 it cannot be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="in all (default 1000000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, other inputs (default 0)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of each engine (default 1)")
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="both", help="default: both")
    parser.add_argument("--bound", type=float, default=5.0, metavar="S", help="seconds for one input (default 5)")
    parser.add_argument("--folder", type=Path, default=paths.home() / "fuzz-recall", metavar="DIR", help="of the run")
    parser.add_argument("--fresh", action="store_true", help="forget how far the last run came")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input again")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.inputs, options.processes) < 1 or options.bound <= 0 or options.seed < 0:
        parser.error("--inputs, --processes and --bound are above 0, --seed is 0 or more")
    if options.replay:
        return replay(options.replay, options.bound)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.worker:
        return work(options)
    if options.fresh:
        for file in options.folder.glob("*-*.json"):
            file.unlink()
    return supervise(options)


if __name__ == "__main__":
    sys.exit(main())
