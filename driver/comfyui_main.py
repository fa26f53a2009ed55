"""Runs ComfyUI in this process, with a watchdog that ends it when nobody uses it.

    python comfyui_main.py COMFYUI_DIR STATE_DIR IDLE_SECONDS -- ComfyUI's own arguments

One process and not a supervisor with a child: whatever ends it, nothing is left behind. It is run by
the interpreter that ComfyUI needs, so it imports nothing of this project.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

LAST_USED = "last_used"
"""File in the state folder; clients touch it to keep the server warm."""
_POLL = 1.0
_GRACE = 15.0
"""Seconds that ComfyUI gets to end by itself."""


def device_arguments() -> list[str]:
    """``--cpu`` where there is neither CUDA nor MPS nor another accelerator that torch knows."""
    import torch

    accelerator = torch.accelerator.is_available() if hasattr(torch, "accelerator") else torch.cuda.is_available()
    return [] if accelerator else ["--cpu"]


def tasks_remaining() -> int:
    """Jobs of ComfyUI's queue, running ones included; 0 while it is still starting."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    queue = getattr(getattr(server, "instance", None), "prompt_queue", None)
    return queue.get_tasks_remaining() if queue is not None else 0


def watch(state: Path, idle: float) -> None:
    """End this process when it has been idle for so many seconds, or when its state folder is gone."""
    mark = state / LAST_USED
    while True:
        time.sleep(_POLL)
        try:
            if tasks_remaining():
                os.utime(mark)
            elif time.time() - mark.stat().st_mtime > idle:
                print(f"Idle for {idle:.0f} s: ending.", flush=True)
                break
        except FileNotFoundError:
            print("The state folder is gone: ending.", flush=True)
            break
        except OSError:
            continue  # a file system that does not answer now is no reason to end
    signal.raise_signal(signal.SIGINT)
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
    sys.argv = [str(comfyui / "main.py"), *arguments, *device_arguments()]
    sys.path[0] = str(comfyui)
    threading.Thread(target=watch, args=(state, idle), daemon=True, name="idle watchdog").start()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
