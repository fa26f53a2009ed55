#!/usr/bin/env python3
"""What the driver costs: the server's idle time between jobs, and the driver's own time for each job.

    ./distillery python benchmarks/driver.py [--server URL] [--jobs 10] [--size 64] [--power 0] [--one-picture]
                                             [--peers FOLDER]

Pictures of its own are upscaled in one call of ``upscale_many``. Idle is the time from the server's end of a job to
its begin of the next, by the server's own timestamps (milliseconds). Overhead is measured with the same jobs one by
one: seconds of the call less the seconds that the server executed it. ``--one-picture`` gives all jobs the same
picture, which the server has in its cache: jobs that take no time, the hardest case for the idle time. In the
maximum are most likely ComfyUI's collections of garbage: in 400 jobs pauses of 0.6 to 1.3 s stood 10.0 s apart, as they do.

``--peers``: also ``comfy run`` of comfy-cli and two Python clients of PyPI, on the same server in the same run. FOLDER
is a virtual environment of theirs, made where there is none. They get the same workflow, one picture that is
uploaded already, one job after another, which is what they offer; overhead and idle are measured in the same way.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import uuid
import venv
from pathlib import Path

import numpy as np
from PIL import Image

from distillery.driver import Result, Upscaler
from distillery.driver.server import workflow
from distillery.driver.server.client import ComfyClient
from distillery.nodes.parameters import MINI_NAME

PEERS = ("comfy-cli==1.23.0", "comfy-api-simplified==1.6.0", "comfy-catapult==3.0.0")


def pictures(folder: Path, count: int, size: int, one: bool) -> list[Path]:
    """Source files of that size in pixels, all different or all the same."""
    made = []
    for number in range(count):
        levels = np.random.default_rng(0 if one else number).integers(0, 256, (size, size, 3), dtype=np.uint8)
        made.append(folder / f"{number}.png")
        Image.fromarray(levels).save(made[-1])
    return made


def executed(results: list[Result]) -> list[tuple[float, float]]:
    """The server's begin and end of each job, in its order."""
    return sorted(result.executed for result in results if result.executed is not None)


def show(name: str, seconds: list[float]) -> None:
    """Print median and range in milliseconds."""
    print(
        f"{name}: median {1000 * statistics.median(seconds):.0f} ms "
        f"({1000 * min(seconds):.0f} to {1000 * max(seconds):.0f}, n={len(seconds)})"
    )


def peers_python(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is made where there is none."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return python


def measure_peer(python: Path, peer: str, url: str, jobs: int, size: int, folder: Path) -> None:
    """Run a peer and print its figures. Its jobs do what ``--one-picture --power 0`` does."""
    client = ComfyClient(url)
    buffer = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(levels).save(buffer, "PNG")
    name = client.upload_image(buffer.getvalue(), "png")
    files = []
    for number in range(jobs + 1):  # the first one warms up
        graph = workflow.build(name, "--power 0", f"distillery/{uuid.uuid4().hex}")
        files.append(folder / f"{peer}-{number}.json")
        files[-1].write_text(json.dumps(graph), encoding="utf-8")
    known = set(client._json("GET", "/history"))
    environment = os.environ | {"NO_PROXY": "127.0.0.1,localhost", "DO_NOT_TRACK": "1"}
    script = Path(__file__).with_name("driver_peers.py")
    done = subprocess.run(
        [python, script, peer, url, *files], capture_output=True, text=True, env=environment, timeout=900
    )
    if done.returncode:
        print(f"{peer}: failed: {done.stderr[-400:].strip()}", file=sys.stderr)
        return
    seconds = json.loads(done.stdout.splitlines()[-1])[1:]
    times = []
    for prompt_id, job in client._json("GET", "/history").items():
        if prompt_id not in known:
            at = {kind: data["timestamp"] / 1000 for kind, data in job["status"]["messages"]}
            times.append((at["execution_start"], at["execution_success"]))
    client.close()
    times = sorted(times)[1:]
    show(f"{peer}: idle between jobs", [after[0] - before[1] for before, after in itertools.pairwise(times)])
    show(f"{peer}: overhead", [wall - (end - begin) for wall, (begin, end) in zip(seconds, times, strict=True)])


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", help="a running ComfyUI with this pack (default: the managed one)")
    parser.add_argument("--jobs", type=int, default=10, metavar="N", help="jobs of each kind (default 10)")
    parser.add_argument("--size", type=int, default=64, metavar="PX", help="side of the pictures (default 64)")
    parser.add_argument("--power", type=float, default=0.0, metavar="X", help="power of the jobs (default 0)")
    parser.add_argument("--one-picture", action="store_true", help="the same picture for all jobs")
    parser.add_argument("--peers", metavar="FOLDER", type=Path, help="compare with the peers in this environment")
    options = parser.parse_args()
    parameters = {"power": options.power, "prompt": "a hill", "model": MINI_NAME}

    with tempfile.TemporaryDirectory() as name, Upscaler(server=options.server, out=name) as upscaler:
        folder = Path(name)
        kinds = []
        for kind in ("overlapped", "one by one"):
            (folder / kind).mkdir()
            kinds.append(pictures(folder / kind, options.jobs, options.size, options.one_picture))
        upscaler.upscale(kinds[0][0], **parameters)  # warm-up: the server starts and loads its models
        print(f"{options.jobs} jobs, {options.size}x{options.size}, --power {options.power:g}", end=", ")
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")

        items = list(upscaler.upscale_many(kinds[0], **parameters))
        failed = [item for item in items if item.result is None]
        if failed:
            print(failed[0].error, file=sys.stderr)
            return 1
        times = executed([item.result for item in items if item.result is not None])
        show("idle between jobs", [after[0] - before[1] for before, after in itertools.pairwise(times)])
        show("execution", [end - begin for begin, end in times])
        alone = [upscaler.upscale(path, **parameters) for path in kinds[1]]
        show("overhead", [r.total - (r.executed[1] - r.executed[0]) for r in alone if r.executed is not None])
        if options.peers is not None:
            python = peers_python(options.peers)
            for peer in PEERS:
                measure_peer(python, peer.partition("==")[0], alone[0].server, options.jobs, options.size, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
