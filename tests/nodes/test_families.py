"""Families by the shapes in a safetensors header."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from distillery.nodes.model_files.families import CheckpointInfo, inspect_checkpoint, inspect_lora, missing_parts
from distillery.nodes.model_files.safetensors_header import HeaderError, read_header, write_header

UNET = "model.diffusion_model."
ATTENTION = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


def write(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A true safetensors file of zeros."""
    save_file({name: np.zeros(shape, dtype=np.float16) for name, shape in shapes.items()}, path)
    return path


@pytest.mark.parametrize(
    ("width", "family"), [(768, "sd15"), (1024, "sd21"), (2048, "sdxl"), (1280, "sdxl-refiner"), (4096, None)]
)
def test_family_of_a_checkpoint_is_told_by_the_width_of_its_text(tmp_path, width, family):
    path = write(tmp_path / "x.safetensors", {ATTENTION: (2, width), UNET + "input_blocks.0.0.weight": (2, 4, 3, 3)})
    assert inspect_checkpoint(path) == CheckpointInfo(family=family)


@pytest.mark.parametrize(("channels", "inpainting"), [(4, False), (8, False), (9, True)])
def test_inpainting_is_told_by_nine_input_channels(tmp_path, channels, inpainting):
    path = write(
        tmp_path / "x.safetensors", {ATTENTION: (2, 768), UNET + "input_blocks.0.0.weight": (2, channels, 3, 3)}
    )
    assert inspect_checkpoint(path).inpainting is inpainting


@pytest.mark.parametrize(
    ("name", "vae", "text"),
    [
        ("first_stage_model.decoder.conv_in.weight", True, False),
        ("first_stage_model.taesd_decoder.1.weight", True, False),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", False, True),
        ("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", False, True),
        ("conditioner.other.weight", False, False),
    ],
)
def test_parts_of_a_checkpoint(tmp_path, name, vae, text):
    info = inspect_checkpoint(write(tmp_path / "x.safetensors", {ATTENTION: (2, 768), name: (2,)}))
    assert (info.has_vae, info.has_text_encoder) == (vae, text)


def test_self_attention_does_not_tell_the_family(tmp_path):
    name = ATTENTION.replace("attn2", "attn1")
    assert inspect_checkpoint(write(tmp_path / "x.safetensors", {name: (2, 1280)})).family is None


@pytest.mark.parametrize(
    "shapes",
    [
        {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": (4, 768)},  # Flux
        {"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (4, 768)},  # SD 3
        {ATTENTION: (2, 1024), UNET + "input_blocks.1.1.time_stack.0.attn2.to_k.weight": (2, 1024)},  # SVD
        {ATTENTION: (2, 768), ATTENTION.replace("4.1", "5.1"): (2, 2048)},  # no real model
    ],
)
def test_other_architectures_have_no_family(tmp_path, shapes):
    assert inspect_checkpoint(write(tmp_path / "x.safetensors", shapes)).family is None


@pytest.mark.parametrize("name", ["x.ckpt", "x.pt", "x.pth", "x.bin"])
def test_pickles_are_not_opened(tmp_path, name):
    path = write(tmp_path / name, {ATTENTION: (2, 768)})
    assert inspect_checkpoint(path) == CheckpointInfo()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50) + b"{}",
        struct.pack("<Q", 10) + b"not json !",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 7) + b'{"a":1}',
        struct.pack("<Q", 15) + b'{"a":{"shape":5',
        struct.pack("<Q", 21) + b'{"a":{"shape":[-768]}}'[:21],
        struct.pack("<Q", 2) + b"\xff\xfe",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        b"\x80\x02}q\x00" * 100,
        b"<!DOCTYPE html><html>not found</html>",
    ],
)
def test_damaged_files_have_no_family_and_raise_nothing(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert inspect_checkpoint(path) == CheckpointInfo()
    assert inspect_lora(path) is None
    with pytest.raises(HeaderError):
        read_header(path)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([ATTENTION, "shape", "dtype", "__metadata__", UNET + "input_blocks.0.0.weight"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_any_json_in_the_header_raises_nothing(tmp_path, data):
    text = json.dumps(data).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.utime(path, ns=(0, hash(text) & 0xFFFFFFFFFF))  # so that the cache does not answer for another example
    assert isinstance(inspect_checkpoint(path), CheckpointInfo)
    inspect_lora(path)


def test_missing_file_and_folder_have_no_family(tmp_path):
    assert inspect_checkpoint(tmp_path / "gone.safetensors") == CheckpointInfo()
    (tmp_path / "folder.safetensors").mkdir()
    assert inspect_checkpoint(tmp_path / "folder.safetensors") == CheckpointInfo()


def test_file_written_again_is_inspected_again(tmp_path):
    path = tmp_path / "x.safetensors"
    assert inspect_checkpoint(path).family is None
    write(path, {ATTENTION: (2, 768)})
    assert inspect_checkpoint(path).family == "sd15"
    write(path, {ATTENTION: (2, 2048)})
    assert inspect_checkpoint(path).family == "sdxl"


def test_only_the_header_is_read(tmp_path):
    """The data of this file is absent: 7 GB that only its header tells of."""
    path = tmp_path / "x.safetensors"
    header = {ATTENTION: {"dtype": "F16", "shape": [1_700_000, 2048], "data_offsets": [0, 1_700_000 * 2048 * 2]}}
    path.write_bytes(write_header(header, {"format": "pt"}))
    assert inspect_checkpoint(path).family == "sdxl"


def test_written_header_is_read_back(tmp_path):
    tensors = {"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}
    content = write_header(tensors, {"format": "pt", "title": "größer"})
    path = tmp_path / "x.safetensors"
    path.write_bytes(content + b"\0" * 4)
    header = read_header(path)
    assert (dict(header.tensors), header.metadata, header.start) == (
        tensors, {"format": "pt", "title": "größer"}, len(content),
    )  # fmt: skip
    assert len(content) % 8 == 0


LORA_LAYER = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (f"lora_unet_{LORA_LAYER}.lora_down.weight", (4, 768)),
        (f"lora_unet_{LORA_LAYER}.lora_down.weight", (4, 768, 1, 1)),
        (f"lora_unet_{LORA_LAYER}.hada_w1_b", (4, 768)),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v.lora_down.weight", (4, 768)),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", (4, 768)),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora.down.weight", (4, 768)),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight", (4, 768)),
    ],
)
def test_family_of_a_lora_is_told_by_the_width_of_its_text(tmp_path, name, shape):
    path = tmp_path / "x.safetensors"
    assert inspect_lora(write(path, {name: shape})) == "sd15"
    wide = tuple(2048 if n == 768 else n for n in shape)
    assert inspect_lora(write(tmp_path / "y.safetensors", {name: wide})) == "sdxl"


@pytest.mark.parametrize(
    "name",
    [
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k.lora_down.weight",
        f"lora_unet_{LORA_LAYER}.lora_up.weight",
        f"lora_unet_{LORA_LAYER}.alpha",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_q.lora_down.weight",
    ],
)
def test_other_tensors_of_a_lora_tell_nothing(tmp_path, name):
    assert inspect_lora(write(tmp_path / "x.safetensors", {name: (4, 768)})) is None


TEXT, VAE = "cond_stage_model.transformer.text_model.x", "first_stage_model.decoder.conv_in.weight"


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ((ATTENTION,), ("text encoder", "VAE")),
        ((ATTENTION, "alphas_cumprod", "model_ema.decay"), ("text encoder", "VAE")),
        ((ATTENTION, TEXT), ("VAE",)),
        ((ATTENTION, VAE), ("text encoder",)),
        ((ATTENTION, TEXT, VAE), ()),
        ((ATTENTION, "text_encoders.clip_l.x", "vae.decoder.x"), ()),
        ((ATTENTION, "conditioner.embedders.0.x", VAE), ()),
        ((ATTENTION, "something.new.x"), ()),
        (("double_blocks.0.img_attn.qkv.weight", "img_in.weight"), ("text encoder", "VAE")),
        (("input_blocks.0.0.weight", "out.2.weight"), ("text encoder", "VAE")),
        (("lora_unet_x.lora_down.weight",), ()),
        ((), ()),
    ],
)
def test_parts_are_missing_only_where_all_that_is_there_is_known(tmp_path, names, missing):
    path = write(tmp_path / "x.safetensors", dict.fromkeys(names, (2, 2)))
    assert missing_parts(path) == missing


def test_of_what_cannot_be_read_nothing_is_missing(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"\x80\x02")
    assert missing_parts(tmp_path / "x.ckpt") == missing_parts(tmp_path / "gone.safetensors") == ()
