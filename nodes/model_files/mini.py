"""distillery-mini: the checkpoint that ships with this project, assembled on first use.

The repository keeps what was trained, a small UNet, in 8 bits, and an autoencoder (see
models/distillery-mini/README.md). ComfyUI also wants a CLIP-L text encoder in a checkpoint of SD 1.5: 246 MB
that are computed, not kept. Its token embeddings are fixed pseudo-random numbers and its layers add nothing to
them, so that a word has the same features wherever in a prompt it stands; those the UNet was trained on.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DistilleryError
from ..files import PART, atomic_file
from ..parameters import MINI_NAME
from .file_lock import exclusive
from .safetensors_header import Header, HeaderError, read_header, write_header

_LOG_INFO = logging.getLogger(__name__).info

SIZE = 309_685_578
SHA256 = "0c5bff7bba88f18bb7ceb5f522191c03968a7b842dba43dddf12261d54641f6f"
"""SHA-256 of the assembled file, on every platform and with every version of numpy."""

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "distillery-mini" / "mini_unet_vae.safetensors"
WEIGHTS_SHA256 = "870b3835f8a4f327834f760019754f55df442d8d6a05f0e661d411188da33e8f"

_METADATA_KEY = "distillery_weights_sha256"
_MARGIN = 32 << 20
_CHUNK = 1 << 22
"""Weights that are computed at a time. Part of the definition of the token embeddings: a change changes them."""

_SCALE = ".scale"
_PREFIX = "cond_stage_model.transformer.text_model."
_LAYERS, _WIDTH, _INNER, _TOKENS, _POSITIONS = 12, 768, 3072, 49408, 77
"""Sizes of the text encoder of openai/clip-vit-large-patch14, as SD 1.5 uses it."""


def ensure_mini(checkpoints_dir: Path, say: Callable[[str], None] = _LOG_INFO) -> Path:
    """distillery-mini.safetensors in ``checkpoints_dir``, assembled (seconds, 283 MB) where it is missing or older.

    What is there is recognised by its size and the trained weights that its header names. The file appears
    complete or not at all; processes that want it at once take turns. say: is told when it is assembled.
    Raises DistilleryError where the trained weights are missing or damaged and where the disk fails.
    """
    target = checkpoints_dir / MINI_NAME
    if _is_current(target):
        return target
    if not WEIGHTS.is_file():
        raise DistilleryError(
            f"The built-in model cannot be assembled: {WEIGHTS} is missing from this installation of Distillery "
            "Upscale. Install it again from its repository, or put a Stable Diffusion 1.5 checkpoint into "
            f"{checkpoints_dir} and choose it with --model NAME."
        )
    try:
        checkpoints_dir.mkdir(parents=True, exist_ok=True)
        with exclusive(target.with_name(MINI_NAME + ".lock")):
            if not _is_current(target):
                say(f"Assembling the built-in model {target} ({SIZE / 1e6:.0f} MB).")
                _assemble(target)
    except OSError as error:
        raise DistilleryError(
            f"{target} cannot be written: {error.strerror or error}. Check the folder's permissions and the free "
            "space, and that no program has the file open."
        ) from error
    return target


def _is_current(path: Path) -> bool:
    try:
        return path.stat().st_size == SIZE and read_header(path).metadata.get(_METADATA_KEY) == WEIGHTS_SHA256
    except (OSError, HeaderError):
        return False


def _assemble(target: Path) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < SIZE + _MARGIN:
        raise DistilleryError(
            f"The built-in model needs {(SIZE + _MARGIN) / 1e6:.0f} MB of free space in {target.parent}, and "
            f"{free / 1e6:.0f} MB are free. Make room and try again."
        )
    for ending in (PART, ".tmp"):  # .tmp: of earlier versions
        for stale in target.parent.glob(f"{MINI_NAME}.*{ending}"):
            stale.unlink(missing_ok=True)  # of an attempt that was killed; the lock keeps out every living one
    with atomic_file(target) as file:
        found = write_checkpoint(file)
        if found != SHA256:
            raise DistilleryError(
                f"The built-in model came out wrong (SHA-256 {found}, expected {SHA256}): please report this. "
                "Until then choose another checkpoint with --model NAME."
            )


def write_checkpoint(file: BinaryIO) -> str:
    """Write the whole checkpoint; returns its SHA-256 (hexadecimal).

    Raises DistilleryError where the trained weights are not what they should be.
    """
    trained = trained_weights()
    shapes = {name: weights.shape for name, weights in trained.items()} | text_encoder_shapes()
    tensors: dict[str, dict[str, Any]] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * prod(shape)
        tensors[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}

    digest = hashlib.sha256()

    def write(piece: bytes | memoryview) -> None:
        digest.update(piece)
        file.write(piece)

    write(write_header(tensors, {"format": "pt", _METADATA_KEY: WEIGHTS_SHA256}))
    for weights in trained.values():
        write(weights.tobytes())
    for name, shape in text_encoder_shapes().items():
        for values in text_encoder_weights(name, shape):
            write(values.data.cast("B"))
    return digest.hexdigest()


def text_encoder_shapes() -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of a CLIP-L text encoder in a checkpoint of SD 1.5, in the file's order."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.token_embedding.weight": (_TOKENS, _WIDTH),
        "embeddings.position_embedding.weight": (_POSITIONS, _WIDTH),
        "final_layer_norm.weight": (_WIDTH,),
        "final_layer_norm.bias": (_WIDTH,),
    }
    linear = {f"self_attn.{part}_proj": (_WIDTH, _WIDTH) for part in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (_INNER, _WIDTH), "mlp.fc2": (_WIDTH, _INNER)}
    for layer in (f"encoder.layers.{i}." for i in range(_LAYERS)):
        for name, shape in linear.items():
            shapes[f"{layer}{name}.weight"] = shape
            shapes[f"{layer}{name}.bias"] = shape[:1]
        for name in ("layer_norm1", "layer_norm2"):
            shapes[f"{layer}{name}.weight"] = (_WIDTH,)
            shapes[f"{layer}{name}.bias"] = (_WIDTH,)
    return {_PREFIX + name: shape for name, shape in shapes.items()}


def text_encoder_weights(name: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The values of one tensor, flat, little-endian fp16, in pieces.

    Norms 1, all of the layers and positions 0: what comes out is the token's embedding, normalised. The
    embeddings are about normal with standard deviation 0.018: sums of four uniform bytes from SHAKE-128
    (FIPS 202) in steps of 2^-13. Those are whole numbers below 2^10 times a power of two, so that fp16
    holds them without rounding and no platform can come to another result.
    """
    count = prod(shape)
    if not name.endswith("token_embedding.weight"):
        fill = 1 if "norm" in name and name.endswith(".weight") else 0
        for begin in range(0, count, _CHUNK):
            yield np.full(min(_CHUNK, count - begin), fill, dtype="<f2")
        return
    table = ((np.arange(4 * 255 + 1) - 2 * 255) / 2**13).astype("<f2")
    for begin in range(0, count, _CHUNK):
        n = min(_CHUNK, count - begin)
        stream = hashlib.shake_128(f"distillery-mini {name} {begin}".encode()).digest(4 * n)
        a, b, c, d = np.frombuffer(stream, dtype=np.uint8).reshape(4, n)
        yield table.take(a.astype(np.uint16) + b + c + d)


def trained_weights() -> dict[str, np.ndarray]:
    """UNet and autoencoder under their names in a checkpoint, little-endian fp16.

    A tensor that is kept in 8 bits comes with a tensor ``<name>.scale`` of one number for each of its
    outputs, of fp16: the product is rounded once, so that every machine comes to the same.
    Raises DistilleryError where the file is not what it should be.
    """
    header, data = _verified()
    stored: dict[str, np.ndarray] = {}
    for name, tensor in header.tensors.items():
        begin, end = tensor["data_offsets"]
        dtype = {"I8": "i1", "F16": "<f2"}[tensor["dtype"]]
        stored[name] = np.frombuffer(data[begin:end], dtype=dtype).reshape(tensor["shape"])
    weights = {}
    for name in sorted(stored):
        values = stored[name]
        if name.endswith(_SCALE):
            continue
        if values.dtype == np.int8:
            scale: np.ndarray = stored[name + _SCALE].astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
            values = (values.astype(np.float32) * scale).astype("<f2")
        weights[name] = values
    return weights


def _verified() -> tuple[Header, bytes]:
    """Read header and data of the trained weights, and verify them."""
    content = WEIGHTS.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != WEIGHTS_SHA256:
        pointer = (
            " It is a Git LFS pointer: run git lfs pull." if content.startswith(b"version https://git-lfs") else ""
        )
        raise DistilleryError(
            f"The built-in model cannot be assembled: {WEIGHTS} is damaged (SHA-256 {found}, expected "
            f"{WEIGHTS_SHA256}).{pointer} Install Distillery Upscale again."
        )
    header = read_header(WEIGHTS)
    return header, content[header.start :]
