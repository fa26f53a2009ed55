"""Whether a warm server grows: many jobs, and after each so many what lies in its folders and how much memory it has.

    ./distillery python benchmarks/growth.py [--jobs 500] [--size 64]

The jobs have power 0, so that nothing is regenerated, each with another seed and picture, so that nothing comes from the cache.
Writes benchmarks/results/growth.{md,json}.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from distillery.driver import Upscaler, paths
from distillery.driver.server import managed, probe

RESULTS = Path(__file__).parent / "results"
FOLDERS = ("input", "output", "temp")


@dataclass(frozen=True)
class Sample:
    """The state of the server after so many jobs."""

    jobs: int
    seconds: float
    memory: float
    """Resident memory of the server in MiB, that of its children included."""
    files: int
    """Files in its folders input, output and temp."""
    size: float
    """Their size in MiB."""
    history: int
    """Jobs that it remembers."""


def sample(server: managed.RunningServer, jobs: int, seconds: float) -> Sample:
    """Look at a server."""
    process = psutil.Process(server.pid)
    memory = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    files = [p for folder in FOLDERS for p in (server.base / folder).rglob("*") if p.is_file()]
    history = len(probe.get(server.endpoint, "/history", 60).json())
    size = sum(p.stat().st_size for p in files)
    return Sample(jobs, round(seconds, 1), round(memory / 2**20, 1), len(files), round(size / 2**20, 2), history)


def main() -> int:
    """Run the jobs and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500, metavar="N", help="default 500")
    parser.add_argument("--size", type=int, default=64, metavar="PIXELS", help="side of the pictures; default 64")
    parser.add_argument("--name", default="growth", help="of the files that are written (default: growth)")
    options = parser.parse_args()
    instance = f"benchmark-{os.getpid()}"
    server = managed.ensure(instance, say=lambda text: print(text, file=sys.stderr))
    samples, started = [], time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder, Upscaler(instance=instance, out=folder) as upscaler:
            picture = Path(folder) / "picture.png"
            for number in range(options.jobs + 1):
                if number in (1, 10, 25, 50) or number % max(1, options.jobs // 10) == 0:
                    samples.append(sample(server, number, time.monotonic() - started))
                    print(samples[-1], flush=True)
                if number == options.jobs:
                    break
                generator = np.random.default_rng(number)
                pixels = generator.integers(0, 256, (options.size, options.size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(picture)
                upscaler.upscale(picture, power=0, seed=number).path.unlink()
    finally:
        managed.stop(instance)
        shutil.rmtree(paths.servers_dir() / instance, ignore_errors=True)
        (paths.servers_dir() / f"{instance}.lock").unlink(missing_ok=True)
    write(samples, options.name)
    return 0


def write(samples: list[Sample], name: str) -> None:
    """Write the table."""
    (RESULTS / f"{name}.json").write_text(json.dumps([asdict(s) for s in samples], indent=1) + "\n", encoding="utf-8")
    rows = "\n".join(
        f"| {s.jobs} | {s.seconds:.0f} | {s.memory:.0f} | {s.files} | {s.size:.1f} | {s.history} |" for s in samples
    )
    (RESULTS / f"{name}.md").write_text(
        "# What a warm server keeps\n\n"
        "Jobs of power 0, each with a picture and a seed of its own: `benchmarks/growth.py`. The server deletes the "
        "oldest uploads where there are more than a hundred, once they are two minutes old (`driver/server/janitor.py`).\n\n"
        "| jobs | seconds | memory, MiB | files in input, output, temp | their size, MiB | jobs remembered |\n"
        f"| --- | --- | --- | --- | --- | --- |\n{rows}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
