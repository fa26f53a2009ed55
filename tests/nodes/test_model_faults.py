"""Model files that cannot be loaded: each is named as what it is, and torch's advice to trust it reaches nobody."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged_files import DAMAGED, TENSORS, WHOLE, pickled_code, plain_pickle, torch_file
from hypothesis import given
from hypothesis import strategies as st
from made_models import flat_esrgan, write_flat_esrgan

from distillery.nodes.errors import DistilleryError
from distillery.nodes.model_files.faults import ModelFileError, fault_of, words_of


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_named_as_what_they_are(tmp_path, case):
    suffix, content, words = DAMAGED[case]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    fault = fault_of(path)
    assert fault is not None and words in fault
    assert fault.endswith(".") and not fault.startswith(("model", "The"))


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".safetensors", WHOLE),
        (".sft", WHOLE),
        (".pth", torch_file(TENSORS)),
        (".ckpt", torch_file(TENSORS, legacy=True)),
        (".gguf", b"GGUF"),
    ],
)
def test_nothing_is_said_of_files_that_load(tmp_path, suffix, content):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    assert fault_of(path) is None


def test_an_archive_and_a_file_that_is_gone_are_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("model.safetensors", WHOLE)
    assert "unpack it" in str(fault_of(tmp_path / "a.ckpt"))
    assert "cannot be read" in str(fault_of(tmp_path / "gone.ckpt"))


@given(st.binary(max_size=200), st.sampled_from([".safetensors", ".pth"]))
def test_any_bytes_raise_nothing(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    fault_of(path)


@pytest.mark.parametrize("make", [pickled_code, plain_pickle])
def test_code_in_a_pickle_is_not_run_and_named(tmp_path, make):
    path = tmp_path / "model.pth"
    path.write_bytes(make(tmp_path / "mark"))
    assert fault_of(path) is None  # what a pickle asks for is seen when it is loaded
    with pytest.raises(pickle.UnpicklingError) as error:
        torch.load(path, weights_only=True)
    words = words_of(error.value, path)
    assert "posix.mkdir" in words or "nt.mkdir" in words
    assert "safetensors" in words and "weights_only" not in words and "succeed" not in words
    assert not (tmp_path / "mark").exists()


def test_other_errors_of_loaders_are_short_and_name_no_folder(tmp_path):
    path = tmp_path / "model.pth"
    words = words_of(RuntimeError(f"ERROR: Could not detect model type of: {path}\n"), path)
    assert "knows" in words and str(tmp_path) not in words
    words = words_of(ValueError(f"bad things in {path} " + "x" * 5000), path)
    assert str(tmp_path) not in words and len(words) < 400
    assert "weights_only" not in words_of(RuntimeError("set weights_only=False, which will likely succeed"), path)


# in the nodes


@pytest.fixture
def upscalers(comfy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An upscale_models folder of its own for ComfyUI's lists."""
    import folder_paths

    endings = folder_paths.folder_names_and_paths["upscale_models"][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "upscale_models", ([str(tmp_path)], endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def load(name: str) -> Any:
    from distillery.nodes.comfyui.load_ultrasharp import NO_STAND_IN, LoadUltraSharp

    return LoadUltraSharp.execute(name, NO_STAND_IN).result[0]


@pytest.mark.parametrize("case", DAMAGED)
def test_the_upscaler_node_names_damaged_files(upscalers, case):
    suffix, content, words = DAMAGED[case]
    (upscalers / f"model{suffix}").write_bytes(content)
    with pytest.raises(ModelFileError) as error:
        load(f"model{suffix}")
    assert str(error.value).startswith(f'The upscale model "model{suffix}" ') and words in str(error.value)


def test_the_upscaler_node_runs_no_code_and_repeats_no_advice_to(upscalers):
    (upscalers / "model.pth").write_bytes(pickled_code(upscalers / "mark"))
    with pytest.raises(ModelFileError, match=r'^The upscale model "model\.pth" wants to run code') as error:
        load("model.pth")
    assert "succeed" not in str(error.value) and not (upscalers / "mark").exists()


def test_a_model_of_another_kind_is_named(upscalers):
    (upscalers / "lora.safetensors").write_bytes(WHOLE)
    with pytest.raises(ModelFileError, match="no upscale model of an architecture that is known"):
        load("lora.safetensors")


@pytest.mark.parametrize(
    ("channels", "outputs", "words"), [(1, 1, "takes 1 channel and gives 1"), (4, 4, "takes 4 channels and gives 4")]
)
def test_models_of_other_channels_than_rgb_are_refused_before_any_work(upscalers, channels, outputs, words):
    write_flat_esrgan(upscalers / "grey.safetensors", 0.5, channels, outputs)
    with pytest.raises(DistilleryError, match=rf'"grey\.safetensors" {words}.*3 channels'):
        load("grey.safetensors")


def test_models_of_rgb_load_from_either_format(upscalers):
    write_flat_esrgan(upscalers / "a.safetensors", 0.5)
    (upscalers / "b.pth").write_bytes(torch_file(flat_esrgan(0.5)))
    assert load("a.safetensors").scale == load("b.pth").scale == 4
