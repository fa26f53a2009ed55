"""Lint, formatting and types of the whole project; packaging; what the pack may import."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DRIVER_ONLY = {"requests", "websocket", "rich", "filelock", "psutil", "urllib3"}
"""What the driver needs and the pack must do without."""


def run(*command: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **variables})


@pytest.mark.parametrize("arguments", [["check", "."], ["format", "--check", "."]])
def test_ruff(arguments):
    result = run(sys.executable, "-m", "ruff", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_types(tmp_path):
    (tmp_path / "distillery").symlink_to(ROOT, target_is_directory=True)
    packages = [o for name in ("nodes", "driver", "tools") for o in ("-p", f"distillery.{name}")]
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "cache")]
    result = run(sys.executable, "-m", "mypy", *options, *packages, cwd=tmp_path, MYPYPATH=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr


def imports(path: Path) -> set[tuple[int, str]]:
    """(relative level, module) of every import of a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.level, node.module or ""))
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_pack_imports_nothing_of_the_driver_and_itself_only_relatively(path):
    for level, module in imports(path):
        top = module.split(".")[0]
        assert top != "distillery", f"{path}: absolute import of this package"
        assert not (level == 0 and top in DRIVER_ONLY), f"{path}: {module}"
        assert not (level and top == "driver"), f"{path}: imports the driver"


@pytest.mark.slow
def test_the_pure_modules_import_without_comfyui_and_without_the_drivers_dependencies():
    files = [p.relative_to(ROOT).with_suffix("") for p in (ROOT / "nodes").rglob("*.py") if p.parent.name != "comfyui"]
    modules = sorted(".".join(("distillery", *p.parts)).removesuffix(".__init__") for p in files)
    blocked = sorted(DRIVER_ONLY | {"comfy", "comfy_api", "folder_paths"})
    code = f"import sys\nfor m in {blocked!r}: sys.modules[m] = None\nimport {', '.join(modules)}"
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_wheel_has_what_an_installed_driver_needs(tmp_path):
    archive = run("git", "ls-files", "--cached", "--others", "--exclude-standard")
    source = tmp_path / "source"
    for name in archive.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "examples/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "wheel"), str(source)]
    result = run(sys.executable, *command)
    assert result.returncode == 0, result.stdout + result.stderr
    with zipfile.ZipFile(next((tmp_path / "wheel").glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "site")
    for name in (
        "__init__.py", "nodes/comfyui/load_models.py", "nodes/recall/formats/upscale_record.py", "driver/cli/app.py", "workflows/upscale.json",
        "workflows/api/upscale.json", "models/distillery-mini/mini_unet_vae.safetensors", "web/docs/DistillerySave.md",
    ):  # fmt: skip
        assert f"distillery/{name}" in names
    code = "from distillery.driver.server import workflow; print(len(workflow.build('a', 'b', 'c')))"
    clean = {"PYTHONPATH": str(tmp_path / "site"), "DISTILLERY_CHECKOUT": ""}
    result = run(sys.executable, "-c", code, cwd=tmp_path, **clean)
    assert result.stdout.strip().isdigit(), result.stderr


@pytest.mark.slow
def test_comfy_node_validate_passes(tmp_path):
    """The registry's own check of pyproject.toml and of the code."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "DO_NOT_TRACK": "1", "COMFY_NO_TELEMETRY": "1"}
    result = run(
        sys.executable, "-m", "comfy_cli", "--skip-prompt", "--no-enable-telemetry", "node", "validate", **environment
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "error" not in result.stdout.lower(), result.stdout


def test_nothing_names_this_machine():
    """No absolute path of a developer's machine in what is committed."""
    tracked = run("git", "ls-files").stdout.splitlines()
    if not tracked:
        pytest.skip("not a git checkout")
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".json", ".toml", ".in", ".lock", ".yml") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert str(ROOT) + "/" not in text and str(Path.home()) + "/" not in text, name
