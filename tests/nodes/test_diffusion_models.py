"""Families of models in parts, told by the header alone, against ComfyUI's own detection on its own smallest networks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from distillery.driver.server import probe
from distillery.nodes.model_files.diffusion_models import PARTS, diffusion_family, encoder_kind, latent_channels
from distillery.nodes.model_files.safetensors_header import write_header
from distillery.nodes.model_parts import PATCHES, Parts, Patch, patch_text, to_parts, to_patch
from distillery.nodes.values import FAMILIES

ROPE = {"axes_dim": [8, 12, 12], "txt_ids_dims": [], "theta": 10000, "qkv_bias": True, "mlp_ratio": 4.0, "num_heads": 2}
DIT = {"patch_size": 2, "context_in_dim": 4096, "hidden_size": 64, "depth": 1, "depth_single_blocks": 1}
NEXT = {
    "patch_size": 2, "in_channels": 16, "dim": 64, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
    "qk_norm": True, "axes_dims": [8, 12, 12], "axes_lens": [300, 512, 512],
}  # fmt: skip
NETWORKS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "flux": ("flux.model", "Flux", {**ROPE, **DIT, "image_model": "flux", "in_channels": 16, "out_channels": 16,
             "vec_in_dim": 768, "guidance_embed": True}, "Flux"),
    "chroma": ("chroma.model", "Chroma", {**ROPE, **DIT, "image_model": "chroma", "in_channels": 64, "out_channels": 64,
               "vec_in_dim": None, "in_dim": 64, "out_dim": 64, "hidden_dim": 64, "n_layers": 1}, "Chroma"),
    "sd3": ("modules.diffusionmodules.mmdit", "OpenAISignatureMMDITWrapper",
            {"input_size": None, "patch_size": 2, "in_channels": 16, "depth": 2, "adm_in_channels": 2048,
             "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}},
             "pos_embed_max_size": 192, "pos_embed_scaling_factor": None, "qk_norm": "rms"}, "SD3"),
    "qwen_image": ("qwen_image.model", "QwenImageTransformer2DModel", {"image_model": "qwen_image", "num_layers": 1,
                   "attention_head_dim": 32, "num_attention_heads": 2, "joint_attention_dim": 3584}, "QwenImage"),
    "lumina2": ("lumina.model", "NextDiT", {**NEXT, "image_model": "lumina2", "cap_feat_dim": 2304}, "Lumina2"),
    "z_image": ("lumina.model", "NextDiT", {**NEXT, "image_model": "lumina2", "cap_feat_dim": 2560}, "Lumina2"),
    "auraflow": ("aura.mmdit", "MMDiT", {"in_channels": 4, "out_channels": 4, "patch_size": 2, "dim": 64, "n_layers": 2,
                 "n_double_layers": 1, "n_heads": 2, "global_conddim": 64, "cond_seq_dim": 2048, "max_seq": 64}, "AuraFlow"),
}  # fmt: skip
"""Family to module, class and arguments of ComfyUI's network, and the name of what ComfyUI takes it for.

Lumina 2 and Z-Image are one network of two widths; ComfyUI tells them apart by that of the real weights."""


def header(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A file with the header of such tensors and nothing behind it."""
    path.write_bytes(
        write_header({n: {"dtype": "F32", "shape": [*s], "data_offsets": [0, 0]} for n, s in shapes.items()}, {})
    )
    return path


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_families_are_told_as_comfyui_tells_them(comfy, tmp_path, family, prefix):
    import comfy.model_detection
    import comfy.ops

    module, name, arguments, expected = NETWORKS[family]
    network = getattr(importlib.import_module(f"comfy.ldm.{module}"), name)
    with torch.device("meta"):
        made = network(**arguments, operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="meta")
    tensors = {prefix + key: tensor for key, tensor in made.state_dict().items()}
    assert type(comfy.model_detection.model_config_from_unet(tensors, prefix)).__name__ == expected
    path = header(tmp_path / "model.safetensors", {key: tuple(t.shape) for key, t in tensors.items()})
    assert diffusion_family(path) == family


def test_what_cannot_be_told_is_not_guessed(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"<html>")
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    plain = header(tmp_path / "c.safetensors", {"x": (1,)})
    for path in (tmp_path / "a.safetensors", tmp_path / "b.gguf", tmp_path / "gone.safetensors", plain):
        assert diffusion_family(path) is encoder_kind(path) is latent_channels(path) is None


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)}, "clip_l"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (5120, 1280), "text_model.encoder.layers.30.mlp.fc1.weight": (5120, 1280)},
         "clip_g"),
        ({"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (10240, 4096)}, "t5xxl"),
        ({"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (5120, 2048)}, "pile_t5xl"),
        ({"model.layers.0.post_feedforward_layernorm.weight": (2304,)}, "gemma2_2b"),
        ({"model.layers.0.self_attn.k_proj.bias": (512,), "model.layers.0.post_attention_layernorm.weight": (3584,)}, "qwen2.5_7b"),
        ({"model.layers.0.self_attn.q_norm.weight": (128,), "model.layers.0.post_attention_layernorm.weight": (2560,)}, "qwen3_4b"),
        ({"model.layers.0.post_attention_layernorm.weight": (4096,)}, "llama3_8b"),
    ],
)  # fmt: skip
def test_text_encoders_are_told_as_comfyui_tells_them(comfy, tmp_path, shapes, kind):
    import comfy.sd

    assert encoder_kind(header(tmp_path / "te.safetensors", shapes)) == kind
    meta = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    names = {
        "clip_l": "CLIP_L", "clip_g": "CLIP_G", "t5xxl": "T5_XXL", "pile_t5xl": "T5_XL", "gemma2_2b": "GEMMA_2_2B",
        "qwen2.5_7b": "QWEN25_7B", "qwen3_4b": "QWEN3_4B", "llama3_8b": "LLAMA3_8",
    }  # fmt: skip
    assert comfy.sd.detect_te_model(meta).name == names[kind]


def test_channels_of_vaes(tmp_path):
    assert latent_channels(header(tmp_path / "a.safetensors", {"decoder.conv_in.weight": (512, 16, 3, 3)})) == 16
    assert latent_channels(header(tmp_path / "b.safetensors", {"taesd_decoder.1.weight": (64, 4, 3, 3)})) == 4


def test_tables_know_the_same_families():
    assert set(PARTS) == set(FAMILIES)


@pytest.mark.server
@pytest.mark.slow
def test_patches_have_the_inputs_and_ranges_of_comfyuis_nodes(server):
    stock = probe.get(server.endpoint, "/object_info", 120).json()
    for name, checks in PATCHES.items():
        sections = stock[name]["input"]
        inputs = {k: v for part in ("required", "optional") for k, v in sections.get(part, {}).items() if k != "model"}
        assert checks.keys() <= inputs.keys(), name
        for key, check in checks.items():
            kind, options = inputs[key][0], inputs[key][1] if len(inputs[key]) > 1 else {}
            for value in kind if isinstance(kind, list) else [options["default"]]:
                assert check(value) == value, (name, key, value)
            if "max" in options:
                assert check(options["max"]) == options["max"] and check(options["max"] + 1) is None, (name, key)


def test_parts_and_patches_of_untrusted_input():
    assert to_parts({"encoders": ["a", "b"], "type": "flux"}) == Parts(("a", "b"), "flux")
    assert to_parts({"encoders": [r"C:\Users\NAME\models\clip\a.safetensors"]}) == Parts(("a.safetensors",))
    for bad in (None, [], {"encoders": "a"}, {"encoders": [1]}, {"encoders": ["a"] * 5}):
        assert to_parts(bad) is None
    assert to_patch("RescaleCFG", {"multiplier": "0.5"}) == Patch("RescaleCFG", {"multiplier": 0.5})
    assert to_patch("RescaleCFG", {}) == Patch("RescaleCFG", {})
    for name, values in (("os.system", {}), ("RescaleCFG", {"multiplier": 7}), ("RescaleCFG", None), (None, {})):
        assert to_patch(name, values) is None
    assert patch_text(Patch("ModelSamplingSD3", {"shift": 3.0})) == "ModelSamplingSD3 (shift 3)"
