#!/usr/bin/env python3
"""Recalling how images were made: this project's reader against sd-parsers and sd-prompt-reader, in one run.

    ./distillery python benchmarks/recall.py [--runs 5] [--repeat 20] [--only distillery]

The two others are installed from PyPI into temporary environments of their own, as they pin what they need. Every
reader gets the same files, the tests' own samples: every module tests/support/recall_*.py with a list CASES of

    (name, file name, maker of the file's bytes, expected values)

where the expected values are some of FIELDS. Printed are a table of the cases, with how many of the expected values
each reader gives rightly, and the files a second: median and range of the runs, in which the readers take turns.

Values are compared as far as readers can agree: numbers by value, checkpoints by file name without folder and
extension, prompts by words, without <lora:...> tags and the prefix "embedding:". LoRAs are not compared: the other two give no list of them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIELDS = ("positive", "negative", "seed", "steps", "cfg", "checkpoint")
Fields = dict[str, Any]
Case = tuple[str, str, Callable[[], bytes], Fields]

OURS = "distillery"
RIVALS = {"sd-parsers": "sd-parsers==0.6", "sd-prompt-reader": "sd-prompt-reader==1.3.5"}


# --- the readers: run in environments of their own, with nothing of this project but the first ---------------------


def distillery_reader() -> Callable[[str], Fields]:
    """This project's."""
    from distillery.nodes.recall import recall

    def read(path: str) -> Fields:
        generation = recall(path)
        return {field: getattr(generation, field) for field in FIELDS}

    return read


def sd_parsers_reader() -> Callable[[str], Fields]:
    """As its README uses it; of several samplers the first, which is the base pass where it finds more."""
    from sd_parsers import ParserManager  # type: ignore[import-not-found,unused-ignore]

    manager = ParserManager()

    def read(path: str) -> Fields:
        info = manager.parse(path)
        if info is None:
            return {}
        sampler = info.samplers[0] if info.samplers else None
        values = sampler.parameters if sampler else {}
        return {
            "positive": info.full_prompt,
            "negative": info.full_negative_prompt,
            "seed": values.get("seed", values.get("noise_seed")),
            "steps": values.get("steps"),
            "cfg": values.get("cfg_scale", values.get("cfg", values.get("scale", values.get("guidance_scale")))),
            "checkpoint": sampler.model.name if sampler and sampler.model else None,
        }

    return read


def sd_prompt_reader_reader() -> Callable[[str], Fields]:
    """As its command line uses it."""
    from sd_prompt_reader.image_data_reader import ImageDataReader  # type: ignore[import-not-found,unused-ignore]

    def read(path: str) -> Fields:
        reader = ImageDataReader(path)
        found = {"positive": reader.positive, "negative": reader.negative}
        for ours, theirs in (("seed", "seed"), ("steps", "steps"), ("cfg", "cfg"), ("checkpoint", "model")):
            found[ours] = reader.parameter.get(theirs)
        return found

    return read


READERS = {
    OURS: distillery_reader, "sd-parsers": sd_parsers_reader, "sd-prompt-reader": sd_prompt_reader_reader,
}  # fmt: skip


def work(name: str, folder: Path, repeat: int) -> int:
    """Read every file of a folder; print what was found and the seconds of ``repeat`` readings, as JSON."""
    read = READERS[name]()
    paths = sorted(str(path) for path in folder.iterdir())
    found: dict[str, Any] = {}
    for path in paths:  # also the warm-up
        try:
            found[Path(path).name] = {k: v for k, v in read(path).items() if v not in (None, "")}
        except Exception as error:
            found[Path(path).name] = {"error": f"{type(error).__name__}: {error}"[:100]}
    start = time.perf_counter()
    for _ in range(repeat):
        for path in paths:
            try:
                read(path)
            except Exception:
                pass
    seconds = time.perf_counter() - start
    print("\n" + json.dumps({"found": found, "seconds": seconds, "files": len(paths) * repeat}, default=str))
    return 0


# --- the comparison --------------------------------------------------------------------------------------------------


def load_cases() -> list[Case]:
    """The cases of every module of samples that can be imported."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    cases: list[Case] = []
    for path in sorted((ROOT / "tests" / "support").glob("recall_*.py")):
        try:
            module = importlib.import_module(path.stem)
        except ImportError as error:
            print(f"{path.name} is left out: {error}", file=sys.stderr)
            continue
        cases += getattr(module, "CASES", [])
    return cases


def same(field: str, expected: Any, found: Any) -> bool:
    """Whether a reader's value is the expected one, see the head of this file."""
    if found is None:
        return expected in (None, "")
    if field in ("seed", "steps", "cfg"):
        try:
            return float(expected) == float(found) and (field != "seed" or int(expected) == int(found))
        except (TypeError, ValueError, OverflowError):
            return False
    if field == "checkpoint":
        return _stem(str(expected)) == _stem(str(found))
    return _words(str(expected)) == _words(str(found))


def _stem(name: str) -> str:
    return re.sub(r"\.(safetensors|ckpt|pt|sft|gguf)$", "", re.split(r"[/\\]", name)[-1])


def _words(text: str) -> list[str]:
    return re.sub(r"<lora:[^>]*>|\bembedding:", "", text).replace(",", " , ").split()


def make_environment(folder: Path, requirement: str) -> Path | None:
    """The interpreter of a new environment with a package, or None where it cannot be installed."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    result = subprocess.run([python, "-m", "pip", "install", "-q", requirement], capture_output=True, text=True)
    if result.returncode:
        print(f"{requirement} cannot be installed here: {result.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return python


def run(python: Path, name: str, folder: Path, repeat: int) -> dict[str, Any]:
    """One turn of a reader."""
    command = [str(python), __file__, "--reader", name, "--folder", str(folder), "--repeat", str(repeat)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"})
    if result.returncode:
        raise SystemExit(f"{name} does not run:\n{result.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def print_table(cases: list[Case], answers: dict[str, dict[str, Any]]) -> None:
    """Values read rightly of those expected, a line each case, and the cases that are all right."""
    width = max(len(case[0]) for case in cases)
    print(f"{'case':{width}}  {'  '.join(answers)}")
    whole = dict.fromkeys(answers, 0)
    for name, file, _, expected in cases:
        cells = []
        for reader, answer in answers.items():
            found = answer["found"][file]
            right = sum(same(field, value, found.get(field)) for field, value in expected.items())
            whole[reader] += right == len(expected)
            cell = "error" if "error" in found else f"{right}/{len(expected)}"
            cells.append(f"{cell:{len(reader)}}")
        print(f"{name:{width}}  {'  '.join(cells)}")
    counts = [f"{f'{n}/{len(cases)}':{len(reader)}}" for reader, n in whole.items()]
    print(f"{'all right':{width}}  {'  '.join(counts)}")


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="turns of each reader (default 5)")
    parser.add_argument(
        "--repeat", type=int, default=20, metavar="N", help="readings of each file in a turn (default 20)"
    )
    parser.add_argument("--only", choices=list(READERS), action="append", help="only this reader (can be repeated)")
    parser.add_argument("--reader", choices=list(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        return work(options.reader, options.folder, options.repeat)

    cases = load_cases()
    for name, _, _, expected in cases:
        assert expected and set(expected) <= set(FIELDS), f"{name}: expected values are some of {FIELDS}"
    assert len({case[1] for case in cases}) == len(cases), "two cases share a file name"
    with tempfile.TemporaryDirectory(prefix="recall-benchmark-") as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        for _, file, make, _ in cases:
            (folder / file).write_bytes(make())
        pythons: dict[str, Path] = {}
        for name in options.only or READERS:
            python = Path(sys.executable)
            if name in RIVALS:
                made = make_environment(Path(temporary) / name, RIVALS[name])
                if made is None:
                    continue
                python = made
            pythons[name] = python
        rates: dict[str, list[float]] = {name: [] for name in pythons}
        answers: dict[str, dict[str, Any]] = {}
        for _ in range(options.runs):
            for name, python in pythons.items():
                answers[name] = run(python, name, folder, options.repeat)
                rates[name].append(answers[name]["files"] / answers[name]["seconds"])

    python_version = platform.python_version()
    print(
        f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores, Python {python_version}, {len(cases)} files"
    )
    print_table(cases, answers)
    for name, values in rates.items():
        print(f"{name}: median {statistics.median(values):.0f} files a second ({min(values):.0f} to {max(values):.0f})")
    if OURS in rates:
        for name in rates.keys() - {OURS}:
            ratios = [ours / theirs for ours, theirs in zip(rates[OURS], rates[name], strict=True)]
            print(f"{OURS} / {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
