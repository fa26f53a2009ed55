"""Check, inside an environment, that what a lock pins is there: run before the environment counts as complete.

    python -I verify.py LOCK

Standard library only, and nothing of this project. Prints what is wrong, a line each; the exit code is 1 then.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_PIN = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)\s*(;)?")
IMPORTED = {
    **{name: name for name in ("torch", "torchvision", "torchaudio", "numpy", "safetensors", "spandrel", "aiohttp")},
    **{name: name for name in ("av", "scipy", "tokenizers", "requests", "urllib3", "rich", "filelock", "psutil")},
    "pillow": "PIL",
    "pyyaml": "yaml",
    "websocket-client": "websocket",
}
"""Module by package, of those that the nodes, the driver and ComfyUI cannot do without, and of those with libraries
of their own that a system may lack something for."""


def pins(lock: str) -> Iterator[tuple[str, str, bool]]:
    """Yield name, version and whether it is for every platform, for each package of a lock."""
    for line in lock.splitlines():
        match = _PIN.match(line)
        if match:
            yield match[1], match[2], not match[3]


def problems(lock: str) -> Iterator[str]:
    """Yield what is missing, is another version or cannot be imported."""
    names = set()
    for name, version, everywhere in pins(lock):
        names.add(name)
        if not everywhere:
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} {version} is not there"
            continue
        if found.split("+")[0] != version:
            yield f"{name} is {found}, not {version}"
    for name, module in IMPORTED.items():
        if name not in names:
            continue
        try:
            importlib.import_module(module)
        except BaseException as error:  # whatever a library ends with where its system does not suit it
            yield f"{module} cannot be imported: {type(error).__name__}: {error}"


if __name__ == "__main__":
    wrong = list(problems(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
