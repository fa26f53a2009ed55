"""Lint, formatting and types of the whole project; packaging; what the pack may import."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

import distillery
from distillery.nodes import comfyui_version
from distillery.tools import check

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
@pytest.mark.parametrize("step", [check.types, check.imports])
def test_types_and_arrows(step):
    code, said, _ = step().run()
    assert code == 0, said


def test_a_step_that_fails_is_shown_and_an_unknown_one_is_named(capsys, monkeypatch):
    bad, good = (
        check.Step("lint", [[sys.executable, "-c", f"print('said'); raise SystemExit({n})"]], {}) for n in (3, 0)
    )
    monkeypatch.setitem(check.STEPS, "lint", lambda: [bad])
    monkeypatch.setitem(check.STEPS, "types", lambda: [good])
    assert check.main(["types"]) == 0
    assert check.main(["lint", "types"]) == 1
    assert "FAILED  lint" in (said := capsys.readouterr().out) and "said" in said and "failed: lint" in said
    with pytest.raises(SystemExit, match="2"):
        check.main(["lnit"])
    assert "no step is called 'lnit'; there are lint, types, imports, tests" in capsys.readouterr().err


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
    code = {p.relative_to(ROOT).as_posix() for name in ("nodes", "driver") for p in (ROOT / name).rglob("*.py")}
    assert {f"distillery/{path}" for path in code} <= names
    assert "distillery/py.typed" in names
    version = run(sys.executable, "-c", "import distillery; print(distillery.__version__)", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"), DISTILLERY_CHECKOUT="")  # fmt: skip
    assert version.stdout.strip() == distillery.__version__, version.stderr
    code = "from distillery.driver.server import workflow; print(len(workflow.build('a', 'b', 'c')))"
    clean = {"PYTHONPATH": str(tmp_path / "site"), "DISTILLERY_CHECKOUT": ""}
    result = run(sys.executable, "-c", code, cwd=tmp_path, **clean)
    assert result.stdout.strip().isdigit(), result.stderr


def test_every_package_is_named():
    """A room that pyproject.toml does not name would not be in the wheel."""
    named = re.search(r"\npackages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.DOTALL)
    folders = {p.parent.relative_to(ROOT) for name in ("nodes", "driver") for p in (ROOT / name).rglob("*.py")}
    packages = {".".join(("distillery", *folder.parts)) for folder in folders}
    data = {"distillery", "distillery.workflows", "distillery.models"}
    assert set(re.findall(r'"(.+?)"', named[1])) == packages | data


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


@pytest.mark.slow
def test_the_registry_gets_what_runs_and_nothing_of_development(tmp_path, monkeypatch):
    """As comfy node pack makes it: tracked files without what .comfyignore names."""
    if not run("git", "ls-files").stdout:
        pytest.skip("not a git checkout")
    code = "from comfy_cli.file_utils import zip_files; import sys; zip_files(sys.argv[1])"
    result = run(sys.executable, "-c", code, str(tmp_path / "node.zip"))
    assert result.returncode == 0, result.stdout + result.stderr
    with zipfile.ZipFile(tmp_path / "node.zip") as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {"__init__.py", "pyproject.toml", "requirements.lock", "distillery", "nodes", "driver", "web"} <= tops
    assert not tops & {"tests", "tools", "benchmarks", ".github", ".ci", "requirements-dev.lock", "CONTRIBUTING.md"}


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


def test_the_version_is_stated_once():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{distillery.__version__}"' in text
    assert f'requires-comfyui = ">={comfyui_version.OLDEST}"' in text


@pytest.mark.parametrize(("found", "is_taken"), [("0.3.64", False), ("0.26.9", False), ("0.27.0", True), ("1.0", True)])
def test_a_comfyui_that_is_too_old_is_named(monkeypatch, found, is_taken):
    monkeypatch.setitem(sys.modules, "comfyui_version", types.SimpleNamespace(__version__=found))
    if is_taken:
        comfyui_version.check()
    else:
        with pytest.raises(ImportError, match=rf"needs ComfyUI 0\.27\.0 or newer; this is ComfyUI {found}\. Update"):
            asyncio.run(distillery.comfy_entrypoint())


@pytest.mark.parametrize("module", [None, types.SimpleNamespace(), types.SimpleNamespace(__version__="unknown")])
def test_a_comfyui_that_tells_no_version_is_taken(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "comfyui_version", module)
    comfyui_version.check()


def test_skips_are_failures_where_nothing_may_be_skipped(pytestconfig, tmp_path):
    """The hook of conftest, in a pytest of its own."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(): pytest.skip('openssl is not here')\n"
        "def test_b(): pytest.skip('this CPU has no fast half precision')\n"
        "def test_c(): pass\n"
    )
    code = "import sys, pytest; sys.path[:0] = sys.argv[1:3]; import conftest; sys.exit(pytest.main(sys.argv[3:], [conftest]))"
    for value, failed in (("1", 1), ("", 0)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(ROOT / "tests" / "support"), str(ROOT / "tests"), str(tmp_path), "-q", "-p", "no:cacheprovider"],
            capture_output=True, text=True, env={**os.environ, "DISTILLERY_NO_SKIPS": value}, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == failed, done.stdout + done.stderr
        assert ("openssl is not here" in done.stdout) == bool(failed)
