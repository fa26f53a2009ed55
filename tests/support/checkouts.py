"""Checkouts of the launcher whose environments hold one tiny package, so that making one takes seconds."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = (
    *(
        "driver/setup/launcher.py",
        "driver/setup/pypi.py",
        "driver/setup/start.py",
        "driver/setup/steps.py",
        "driver/setup/verify.py",
    ),
    *("driver/paths.py", "nodes/model_files/file_lock.py"),
)
"""The files that the launcher consists of."""


@dataclass(frozen=True)
class Checkout:
    """A copy of the launcher with a requirements.lock of its own, and the folder of its environments."""

    root: Path
    home: Path
    wheels: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.root / "distillery"), *arguments]

    def variables(self, **more: str) -> dict[str, str]:
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}
        return {**os.environ, "DISTILLERY_HOME": str(self.home), **pip, **more}

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(command, env=self.variables(**more), capture_output=True, text=True, timeout=120)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), env=self.variables(), text=True, start_new_session=os.name != "nt",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    @property
    def environments(self) -> list[Path]:
        return sorted(p for p in self.home.glob("env-*") if p.is_dir())


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """The smallest wheel that pip takes, its metadata first as some builders write it."""
    info = f"{name}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**metadata, **files}.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*metadata, *files, f"{info}/RECORD"]))


def make_checkout(folder: Path) -> Checkout:
    root, wheels = folder / "a checkout", folder / "wheels"
    for name in ("distillery", "__init__.py", *LAUNCHER):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    wheels.mkdir()
    make_wheel(wheels, "tiny", "1.0", {"tiny.py": "VALUE = 1\n"})
    make_wheel(wheels, "tiny", "2.0", {"tiny.py": "VALUE = 2\n"})
    # pytest for the command `test`, from the environment in which these tests run.
    make_wheel(wheels, "host", "1.0", {"host.pth": sysconfig.get_paths()["purelib"] + "\n"})
    (root / "requirements.lock").write_text(pinned(wheels, "tiny==1.0"))
    (root / "requirements-dev.lock").write_text(pinned(wheels, "host==1.0"))
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (root / "tests").mkdir()
    return Checkout(root, folder / "home", wheels)


def pinned(wheels: Path, *requirements: str) -> str:
    """Lines of a lock, with the hash of each one's wheel."""
    lines = []
    for requirement in requirements:
        name, version = requirement.split("==")
        digest = hashlib.sha256((wheels / f"{name}-{version}-py3-none-any.whl").read_bytes()).hexdigest()
        lines.append(f"{requirement} --hash=sha256:{digest}\n")
    return "".join(lines)
