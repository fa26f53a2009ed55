"""The built-in checkpoint: what it holds, how it gets into place, and that ComfyUI loads it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors

from distillery.nodes.errors import DistilleryError
from distillery.nodes.model_files import mini
from distillery.nodes.model_files.families import CheckpointInfo, inspect_checkpoint
from distillery.nodes.model_files.mini import MINI_NAME, ensure_mini, text_encoder_shapes, text_encoder_weights
from distillery.nodes.model_files.safetensors_header import read_header


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The assembled file; the assembly itself compares it with the fixed SHA-256."""
    return ensure_mini(tmp_path_factory.mktemp("checkpoints"))


def test_text_encoder_has_the_size_of_clip_l():
    parameters = sum(int(np.prod(shape)) for shape in text_encoder_shapes().values())
    assert parameters == 123_060_480


EMBEDDING = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"


def test_token_embeddings_are_exact_in_half_precision_and_about_normal():
    values = np.concatenate(list(text_encoder_weights(EMBEDDING, (3072, 768)))).astype(np.float64)
    assert np.array_equal(values * 2**13, np.round(values * 2**13))
    assert abs(values.mean()) < 1e-4
    assert values.std() == pytest.approx(0.01804, abs=2e-5)
    kurtosis = ((values - values.mean()) ** 4).mean() / values.var() ** 2
    assert kurtosis == pytest.approx(3 - 1.2 / 4, abs=0.02)  # of a sum of four uniform numbers


def test_the_layers_add_nothing_to_the_embeddings():
    for name, shape in text_encoder_shapes().items():
        if name != EMBEDDING:
            (values,) = (np.unique(np.concatenate(list(text_encoder_weights(name, shape)))),)
            assert values.tolist() == [1 if "norm" in name and name.endswith("weight") else 0], name


def test_token_embeddings_differ_between_pieces():
    pieces = [p[:1000].tobytes() for p in text_encoder_weights(EMBEDDING, (3, 1 << 22))]
    assert len(set(pieces)) == 3


def test_token_embeddings_are_those_of_the_definition():
    """SHAKE-128 of the name, four planes of bytes, their sum less 510 in steps of 2^-13: by plain Python."""
    stream = hashlib.shake_128(f"distillery-mini {EMBEDDING} 0".encode()).digest(4 * 6)
    expected = [(sum(stream[plane * 6 + i] for plane in range(4)) - 510) / 8192 for i in range(6)]
    (values,) = text_encoder_weights(EMBEDDING, (2, 3))
    assert values.tolist() == expected
    assert values.dtype == np.dtype("<f2")


def test_eight_bit_weights_are_their_whole_numbers_times_the_scale_of_the_output():
    with safetensors.safe_open(mini.WEIGHTS, "np") as stored:
        weights = mini.trained_weights()
        names = [name for name in stored.keys() if name + ".scale" in stored.keys()]  # noqa: SIM118 (not a dict)
        assert len(names) > 20
        assert weights.keys() == {name for name in stored.keys() if not name.endswith(".scale")}  # noqa: SIM118
        for name in names:
            whole, scale = stored.get_tensor(name), stored.get_tensor(name + ".scale")
            assert whole.dtype == np.int8 and scale.dtype == np.float16 and scale.shape == whole.shape[:1]
            row = whole[-1].astype(np.float64) * float(scale[-1])
            np.testing.assert_array_equal(weights[name][-1], row.astype(np.float16), err_msg=name)


def test_the_weights_in_the_repository_are_small():
    assert mini.WEIGHTS.stat().st_size <= 40_000_000


def test_missing_weights_are_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(mini, "WEIGHTS", tmp_path / "gone.safetensors")
    with pytest.raises(DistilleryError, match=r"gone\.safetensors is missing .* --model NAME"):
        ensure_mini(tmp_path / "checkpoints")


def test_lfs_pointer_in_place_of_the_weights_is_named(tmp_path, monkeypatch):
    pointer = tmp_path / "mini_unet_vae.safetensors"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 36707206\n")
    monkeypatch.setattr(mini, "WEIGHTS", pointer)
    with pytest.raises(DistilleryError, match="git lfs pull"):
        ensure_mini(tmp_path / "checkpoints")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1_000_000})
    monkeypatch.setattr(mini.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DistilleryError, match="1 MB are free"):
        ensure_mini(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_assembled_file_is_complete_and_alone(checkpoint):
    assert checkpoint.stat().st_size == mini.SIZE
    assert [p.name for p in checkpoint.parent.iterdir()] == [MINI_NAME]
    info = inspect_checkpoint(checkpoint)
    assert info == CheckpointInfo(family="sd15", inpainting=False, has_vae=True, has_text_encoder=True)


@pytest.mark.slow
def test_assembled_file_is_read_by_safetensors_with_the_trained_weights_unchanged(checkpoint):
    trained = mini.trained_weights()
    with safetensors.safe_open(checkpoint, "np") as whole:
        assert set(whole.keys()) == set(trained) | set(text_encoder_shapes())
        for name, values in trained.items():
            np.testing.assert_array_equal(whole.get_tensor(name), values, err_msg=name)
        layer = "cond_stage_model.transformer.text_model.encoder.layers.11."
        assert (whole.get_tensor(layer + "layer_norm2.weight") == 1).all()
        assert (whole.get_tensor(layer + "mlp.fc2.bias") == 0).all()


@pytest.mark.slow
def test_file_that_is_there_is_returned_untouched(checkpoint):
    before = checkpoint.stat()
    said: list[str] = []
    assert ensure_mini(checkpoint.parent, said.append) == checkpoint
    assert (checkpoint.stat().st_mtime_ns, checkpoint.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert said == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut off", "of older weights"])
def test_damaged_or_outdated_file_is_assembled_again(tmp_path, damage):
    target = tmp_path / MINI_NAME
    (tmp_path / f"{MINI_NAME}.abc.tmp").write_bytes(b"left by a killed process")
    if damage == "cut off":
        target.write_bytes(b"\0" * 1000)
    else:
        header = json.dumps({"__metadata__": {"distillery_weights_sha256": "0" * 64}}).encode()
        with target.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(mini.SIZE)
    said: list[str] = []
    ensure_mini(tmp_path, said.append)
    assert read_header(target).metadata["distillery_weights_sha256"] == mini.WEIGHTS_SHA256
    assert [p.name for p in tmp_path.iterdir()] == [MINI_NAME]
    assert len(said) == 1 and str(target) in said[0]


@pytest.mark.slow
def test_two_at_once_assemble_it_once(tmp_path):
    said: list[str] = []
    threads = [threading.Thread(target=ensure_mini, args=(tmp_path, said.append)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert [p.name for p in tmp_path.iterdir()] == [MINI_NAME]
    assert hashlib.sha256((tmp_path / MINI_NAME).read_bytes()).hexdigest() == mini.SHA256


LOAD = """
import json, sys
import comfy.options
comfy.options.enable_args_parsing(False)
from comfy.cli_args import args
args.cpu = True
import torch, numpy as np
import comfy.sd
model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(sys.argv[1], output_vae=True, output_clip=True)
conds = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in ("a red fox", "a red fox", "the sea")]
y, x = torch.meshgrid(torch.linspace(0, 1, 128), torch.linspace(0, 1, 128), indexing="ij")
image = torch.stack([0.3 + 0.3 * x, 0.3 + 0.3 * y, 0.4 + 0.2 * torch.sin(8 * x) * torch.cos(6 * y)], dim=-1)[None]
latent = vae.encode(image)
decoded = vae.decode(latent)
json.dump({
    "model": type(model.model.model_config).__name__,
    "type": model.model.model_type.name,
    "cond": list(conds[0].shape),
    "finite": all(bool(torch.isfinite(c).all()) for c in conds),
    "same": bool(torch.equal(conds[0], conds[1])),
    "other": float((conds[0] - conds[2]).abs().max()),
    "latent": list(latent.shape),
    "psnr": float(-10 * torch.log10(((decoded.clamp(0, 1) - image) ** 2).mean())),
}, sys.stdout)
"""


@pytest.mark.slow
def test_comfyui_loads_it_as_sd15_with_text_encoder_and_vae(checkpoint, tmp_path, comfyui_dir):
    # In a process of its own: ComfyUI settles device and memory management at import.
    script = tmp_path / "load.py"
    script.write_text(LOAD, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, str(script), str(checkpoint)],
        env={**os.environ, "PYTHONPATH": str(comfyui_dir), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert found["model"] == "SD15"
    assert found["type"] == "EPS"
    assert found["cond"] == [1, 77, 768]
    assert found["finite"]
    assert found["same"]
    assert found["other"] > 0.1
    assert found["latent"] == [1, 4, 16, 16]
    assert found["psnr"] > 25
    assert "missing" not in result.stderr.lower(), result.stderr
