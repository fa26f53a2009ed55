"""Run ComfyUI in this process, with a watchdog that ends it when nobody uses it.

    python entrypoint.py COMFYUI_DIR STATE_DIR IDLE_SECONDS -- ComfyUI's own arguments

One process and not a supervisor with a child: whatever ends it, nothing is left behind. It is run by
the interpreter that ComfyUI needs, so it imports nothing of this project but the two modules beside it that are its own.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

# Run as a script there is no package.
if __package__:
    from . import guard, janitor
else:
    import guard  # type: ignore[import-not-found,no-redef]
    import janitor  # type: ignore[import-not-found,no-redef]

LAST_USED = "last_used"
"""File in the state folder; clients touch it to keep the server warm, the first time when it has started."""
STATE = "server.json"
"""File in the state folder that says which server is the instance's."""
TOKEN = "token"
"""File in the state folder with the secret that the server asks for."""
START_TIMEOUT = 600.0
"""Seconds from the start to the first answer: a cold disk and a GPU driver can take minutes."""
_POLL = 1.0
_GRACE = 15.0
"""Seconds that ComfyUI gets to end by itself."""

_HAS_ACCELERATOR = """
import torch
known = torch.accelerator.is_available() if hasattr(torch, "accelerator") else torch.cuda.is_available()
raise SystemExit(0 if known or torch.backends.mps.is_available() else 10)
"""


def device_arguments() -> list[str]:
    """``--cpu`` where torch finds neither CUDA nor MPS nor another accelerator, and the attention that is fast there.

    ComfyUI's own choice for a CPU, sub-quadratic attention, took half as long again: 1.64 s a step against 1.09 s (512x512, two cores).

    Asked in a process of its own: ComfyUI sets up torch's memory allocator before it imports torch.
    A torch that does not import is left for ComfyUI to report.
    """
    answer = subprocess.run([sys.executable, "-c", _HAS_ACCELERATOR], capture_output=True)
    return ["--cpu", "--use-pytorch-cross-attention"] if answer.returncode == 10 else []


def tasks_remaining() -> int:
    """Jobs of ComfyUI's queue, running ones included; 0 while it is still starting."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    queue = getattr(getattr(server, "instance", None), "prompt_queue", None)
    return queue.get_tasks_remaining() if queue is not None else 0


def reason_to_end(state: Path, port: str, idle: float, running: float) -> str | None:
    """Return why this server should end now, or None.

    It ends when no job ran and no client touched LAST_USED for ``idle`` seconds, when no client has used it
    START_TIMEOUT after its start (``running``: seconds since then), when its state folder is gone, and when that
    folder names a server on another port: then a driver that was killed in the middle of the start has left
    this one behind.
    """
    mark = state / LAST_USED
    if not state.is_dir():
        return "The state folder is gone"
    try:
        if tasks_remaining():
            mark.touch()
        elif time.time() - mark.stat().st_mtime > idle:
            return f"Idle for {idle:.0f} s"
    except FileNotFoundError:
        if running > START_TIMEOUT:
            return "Nobody has waited for the start"
    except OSError:
        return None  # a file system that does not answer now is no reason to end
    try:
        url = str(json.loads((state / STATE).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if url.endswith(f":{port}") else "Another server has taken over"


def watch(state: Path, port: str, idle: float) -> None:
    """End this process once there is a reason to."""
    started = time.monotonic()
    while (reason := reason_to_end(state, port, idle, time.monotonic() - started)) is None:
        time.sleep(_POLL)
    print(f"{reason}: ending.", flush=True)
    if os.name == "nt":
        signal.raise_signal(signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)  # to the process: raised in this thread it would not wake the main one
    time.sleep(_GRACE)
    os._exit(0)


def main() -> None:
    """Start the watchdog, then ComfyUI as its own main program."""
    split = sys.argv.index("--")
    comfyui, state, idle = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    # A parent may have started this with signals ignored; ComfyUI ends, cleaning up, on KeyboardInterrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.chdir(comfyui)
    arguments = sys.argv[split + 1 :]
    port = arguments[arguments.index("--port") + 1]
    guard.install((state / TOKEN).read_text(encoding="utf-8"), port)
    threading.Thread(target=watch, args=(state, port, idle), daemon=True, name="idle watchdog").start()
    if "--base-directory" in arguments:  # a ComfyUI of the user's own keeps its files
        base = Path(arguments[arguments.index("--base-directory") + 1])
        threading.Thread(target=janitor.run, args=(base,), daemon=True, name="janitor").start()
    sys.argv = [str(comfyui / "main.py"), *arguments, *device_arguments()]
    sys.path[0] = str(comfyui)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
