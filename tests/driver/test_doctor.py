"""``distillery doctor``: each thing that can be missing, and the whole report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest
from damaged_files import DAMAGED, HTML, TENSORS, WHOLE, torch_file
from made_models import write_tensors

from distillery.driver import paths
from distillery.driver.cli import doctor
from distillery.driver.cli.doctor import Check
from distillery.driver.setup import comfyui, launcher
from distillery.nodes.model_files.mini import MINI_NAME
from distillery.nodes.model_files.upscalers import REALESRGAN, ULTRASHARP


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DISTILLERY_HOME that does not exist yet."""
    for name in ("DISTILLERY_MODELS", "DISTILLERY_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISTILLERY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(
            {".safetensors": WHOLE, ".pth": torch_file(TENSORS)}.get(Path(name).suffix.lower(), b"")
        )


def models(folder: Path, offline: bool = False) -> dict[str, Check]:
    return {check.name: check for check in doctor.check_models(folder, offline)}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    doctor.add_doctor_parser(parser.add_subparsers())
    options = parser.parse_args(["doctor", *arguments])
    return options.run(options), capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 0), "ok"), ((3, 13, 5), "ok"), ((3, 9, 2), "missing"), ((3, 14, 0), "missing")]
)
def test_python(version: tuple[int, ...], state: str) -> None:
    check = doctor.check_python(version)
    assert check.state == state
    assert ".".join(map(str, version)) in check.found
    assert (check.todo is None) == (state == "ok")


def test_an_environment_that_is_not_complete_is_missing(home: Path) -> None:
    check = doctor.check_environment(paths.checkout(), Path(sys.prefix))
    assert check.state == "missing"
    assert str(home) in check.found


def test_an_environment_is_known_by_its_marker_and_its_folder(home: Path, tmp_path: Path) -> None:
    directory = launcher.environment_dir(paths.checkout())
    python = launcher.environment_python(directory)
    put(directory, launcher.MARKER, str(python.relative_to(directory)))
    assert doctor.check_environment(paths.checkout(), directory) == Check("environment", "ok", str(directory))
    other = doctor.check_environment(paths.checkout(), tmp_path)
    assert other.state == "note"
    assert str(tmp_path) in other.found


def test_a_package_has_no_environment_of_the_launcher(tmp_path: Path) -> None:
    assert doctor.check_environment(tmp_path, Path(sys.prefix)).state == "note"


def test_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_disk(home).state == "ok"
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 1 << 60)
    low = doctor.check_disk(home)
    assert low.state == "missing"
    assert "GiB free" in low.found
    assert "DISTILLERY_HOME" in str(low.todo)


def test_variables_of_this_project_are_named() -> None:
    environ = {"DISTILLERY_OFFLINE": "1", "DISTILLERY_HOME": "/h", "DISTILLERY_CHECKOUT": "/c", "PATH": "/bin"}
    assert [check.found for check in doctor.check_variables(environ)] == ["DISTILLERY_OFFLINE=1"]


@pytest.mark.slow
def test_torch_as_it_is_here() -> None:
    check = doctor.check_torch()
    assert check.state in ("ok", "note"), check
    assert check.found.startswith("2.")
    assert " on " in check.found


@pytest.mark.slow
def test_a_torch_that_does_not_import_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TORCH_PROBE", "import no_such_torch")
    check = doctor.check_torch()
    assert check.state == "missing"
    assert check.found == "ModuleNotFoundError: No module named 'no_such_torch'"
    assert str(check.todo).startswith("Delete ")


@pytest.mark.parametrize(
    ("files", "offline", "state", "todo"),
    [
        ((), False, "later", "on first use"),
        ((), True, "missing", "DISTILLERY_OFFLINE"),
        (("main.py",), True, "ok", None),
        (("README.md",), False, "missing", "Delete"),
    ],
)
def test_comfyui(tmp_path: Path, files: tuple[str, ...], offline: bool, state: str, todo: str | None) -> None:
    put(tmp_path / "comfyui", *files)
    check = doctor.check_comfyui(tmp_path / "comfyui", offline)
    assert (check.name, check.state) == (f"ComfyUI {comfyui.VERSION}", state)
    assert todo in str(check.todo) if todo else check.todo is None


@pytest.mark.slow
def test_the_nodes_load_in_comfyui(home: Path, comfyui_dir: Path) -> None:
    check = doctor.check_pack(comfyui_dir)
    assert check.state == "ok", check
    assert int(check.found.split()[0]) >= 10


@pytest.mark.slow
def test_a_pack_that_does_not_load_tells_why(
    home: Path, tmp_path: Path, comfyui_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "__init__.py").write_text("raise ValueError('a node is broken')\n")
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    check = doctor.check_pack(comfyui_dir)
    assert (check.state, check.found) == ("missing", "does not load: ValueError: a node is broken")


def test_without_comfyui_the_pack_is_not_checked(home: Path) -> None:
    assert doctor.check_pack(None).state == "note"


# --- models ------------------------------------------------------------------------------------------------------


def test_where_no_models_are_the_default_ones_come_by_themselves(tmp_path: Path) -> None:
    found = models(tmp_path / "models")
    assert {name: check.state for name, check in found.items()} == {
        "models": "later",
        "upscaler": "later",
        "stand-in upscaler": "later",
        "checkpoints": "note",
        "built-in checkpoint": "later",
    }
    assert str(tmp_path / "models" / "checkpoints") in str(found["checkpoints"].todo)
    assert "CC BY-NC-SA 4.0" in str(found["upscaler"].todo)


def test_offline_a_missing_upscaler_does_not_come(tmp_path: Path) -> None:
    check = models(tmp_path, offline=True)["upscaler"]
    assert check.state == "missing"
    assert ULTRASHARP in str(check.todo)
    assert str(tmp_path / "upscale_models") in str(check.todo)


@pytest.mark.parametrize("stand_in", [REALESRGAN, "RealESRGAN_x4plus.pth", "esrgan/RealESRGAN_x4plus.pth"])
def test_offline_the_stand_in_is_enough(tmp_path: Path, stand_in: str) -> None:
    put(tmp_path / "upscale_models", stand_in)
    found = models(tmp_path, offline=True)
    assert found["upscaler"].state == "note"
    assert "stands in" in found["upscaler"].found
    assert found["stand-in upscaler"].state == "ok"


@pytest.mark.parametrize("file", [ULTRASHARP, "4x-ultrasharp.safetensors", "esrgan/4x-UltraSharp.pth"])
@pytest.mark.parametrize("offline", [True, False])
def test_ultrasharp_is_found_as_the_nodes_find_it(tmp_path: Path, file: str, offline: bool) -> None:
    put(tmp_path / "upscale_models", file)
    assert models(tmp_path, offline)["upscaler"].state == "ok"


def test_models_are_counted_by_kind_and_others_left_out(tmp_path: Path) -> None:
    put(tmp_path / "checkpoints", MINI_NAME, "sd15/dream.safetensors", "put_checkpoints_here", "dream.txt")
    put(tmp_path / "loras", "a.safetensors", "b/c.SAFETENSORS")
    found = models(tmp_path)
    assert found["models"].found == f"2 checkpoints, 2 loras, 0 vae, 0 upscale models in {tmp_path}"
    assert (found["checkpoints"].state, found["checkpoints"].found) == ("ok", str(Path("sd15/dream.safetensors")))
    assert found["built-in checkpoint"].state == "ok"


def test_many_checkpoints_are_not_all_listed(tmp_path: Path) -> None:
    put(tmp_path / "checkpoints", *(f"{letter}.safetensors" for letter in "abcdefgh"))
    assert models(tmp_path)["checkpoints"].found.endswith("e.safetensors and 3 more")


def file_checks(folder: Path) -> list[Check]:
    return [check for check in doctor.check_models(folder, False) if check.name.startswith("model file")]


def test_each_model_file_is_looked_into(tmp_path: Path) -> None:
    put(tmp_path / "checkpoints", "good.safetensors")
    put(tmp_path / "loras", "good.safetensors", "also/good.safetensors")
    (tmp_path / "loras" / "login.safetensors").write_bytes(HTML)
    suffix, content, words = DAMAGED["cut off in its tensors"]
    (tmp_path / "checkpoints" / f"half{suffix}").write_bytes(content)
    half, login = file_checks(tmp_path)
    assert half.found.startswith(f"{tmp_path / 'checkpoints' / 'half.safetensors'} {words}")
    assert "web page" in login.found and login.todo == "Download it again, in a browser."
    assert half.state == login.state == "note"


def test_a_checkpoint_without_its_parts_is_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "checkpoints" / "unet.safetensors", "model.diffusion_model.out.2.bias")
    (check,) = file_checks(tmp_path)
    assert "no text encoder and no VAE" in check.found and "diffusion_models" in str(check.todo)


def test_an_upscaler_that_a_job_would_fail_with_is_missing(tmp_path: Path) -> None:
    put(tmp_path / "upscale_models", REALESRGAN)
    (tmp_path / "upscale_models" / ULTRASHARP).write_bytes(HTML)
    found = models(tmp_path)
    assert (found["upscaler"].state, found["stand-in upscaler"].state) == ("missing", "ok")
    assert "web page" in found["upscaler"].found
    (tmp_path / "upscale_models" / REALESRGAN).write_bytes(b"")
    assert models(tmp_path)["stand-in upscaler"].state == "note"
    (tmp_path / "upscale_models" / ULTRASHARP).unlink()
    assert models(tmp_path)["stand-in upscaler"].state == "missing"


def test_looking_into_files_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "loras", "a.safetensors", "b.safetensors")
    monkeypatch.setattr(doctor, "LOOKING_TIME", -1)
    assert [check.found[:20] for check in file_checks(tmp_path)] == ["only 0 of 2 looked i"]


# --- the report --------------------------------------------------------------------------------------------------


def test_leftovers_are_named_with_what_deletes_them(home: Path) -> None:
    current = launcher.environment_dir(paths.checkout()).name
    for name in (current, "env-0123456789ab", comfyui.comfyui_dir().name, "comfyui-0.29.0-01234567", "models"):
        (home / name).mkdir(parents=True)
    (home / "env-0123456789ab.log").touch()
    found = {check.found: check for check in doctor.check_leftovers(home, paths.checkout())}
    assert set(found) == {str(home / "env-0123456789ab"), str(home / "comfyui-0.29.0-01234567")}
    assert all(check.state == "note" and path in str(check.todo) for path, check in found.items())


@pytest.mark.slow
def test_the_report_of_a_new_home_says_all_and_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys)
    report = json.loads(run(capsys, "--json")[1])
    assert code == 1  # this home has no environment
    assert report["ok"] is False
    assert report["home"] == str(home)
    names = [check["name"] for check in report["checks"]]
    for name in ("Python", "environment", "disk", "models", "upscaler", "checkpoints", "PyTorch", "node pack"):
        assert name in names
        assert f"{name}: " in text
    for check in report["checks"]:
        assert check["state"] in ("ok", "note", "later", "missing")
        found = "" if check["name"] == "disk" else f"{check['found']}\n"  # free space changes
        assert f"{check['state']:8}{check['name']}: {found}" in text
        assert check["state"] not in ("later", "missing") or check["todo"] or check["name"] == "models"
    assert "1 missing; see above what to do." in text
    assert not home.exists()


@pytest.mark.slow
def test_where_nothing_is_missing_the_exit_code_is_0(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = launcher.environment_dir(paths.checkout())
    put(directory, launcher.MARKER, str(launcher.environment_python(directory).relative_to(directory)))
    code, text = run(capsys)
    assert (code, text.splitlines()[-1]) == (0, "All that is needed is there, or comes by itself on first use.")
