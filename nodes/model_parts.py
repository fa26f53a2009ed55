"""What makes a model beside its weights' file: the parts that it is loaded from, and the stock nodes that shape its sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .values import real, to_model_name, to_name, whole

MAX_ENCODERS = 4
MAX_PATCHES = 16


@dataclass(frozen=True)
class Parts:
    """The files beside a diffusion model that stands in a file of its own. The VAE is the generation's."""

    encoders: tuple[str, ...] = ()
    """File names of the text encoders, one to four, in the loader's order; empty: the image does not name them."""
    type: str | None = None
    """ComfyUI's name of what the encoders are for, such as ``flux``, ``sd3`` or ``qwen_image``."""
    dtype: str | None = None
    """ComfyUI's ``weight_dtype`` of the diffusion model; None: the file's own."""


@dataclass(frozen=True)
class Patch:
    """A stock node that changes a model's sampling, with its inputs other than the model."""

    node: str
    """Class name in ComfyUI, one of PATCHES."""
    values: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[Any], Any]
"""Returns the value, checked, or None."""


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= 200 else None


def _choice(*names: str) -> Check:
    return lambda value: value if value in names else None


_FREE_U: dict[str, Check] = {name: real(0, 10) for name in ("b1", "b2", "s1", "s2")}
_PART: dict[str, Check] = {"start_percent": real(0, 1), "end_percent": real(0, 1)}

# Names and ranges of ComfyUI's own nodes (comfy_extras/nodes_model_advanced.py, _freelunch, _pag, _cfg, _sd3, _slg, _lumina2);
# a test compares them.
PATCHES: dict[str, dict[str, Check]] = {
    "ModelSamplingDiscrete": {
        "sampling": _choice("eps", "v_prediction", "lcm", "x0", "img_to_img", "img_to_img_flow"), "zsnr": _boolean,
    },
    "ModelSamplingContinuousEDM": {
        "sampling": _choice("v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"),
        "sigma_max": real(0, 1000), "sigma_min": real(0, 1000),
    },
    "ModelSamplingContinuousV": {
        "sampling": _choice("v_prediction"), "sigma_max": real(0, 1000), "sigma_min": real(0, 1000),
    },
    "ModelSamplingSD3": {"shift": real(0, 100)},
    "ModelSamplingAuraFlow": {"shift": real(0, 100)},
    "ModelSamplingFlux": {
        "max_shift": real(0, 100), "base_shift": real(0, 100), "width": whole(16, 16_384), "height": whole(16, 16_384),
    },
    "RescaleCFG": {"multiplier": real(0, 1)},
    "FreeU": _FREE_U,
    "FreeU_V2": _FREE_U,
    "PerturbedAttentionGuidance": {"scale": real(0, 100)},
    "CFGZeroStar": {},
    "CFGNorm": {"strength": real(0, 100)},
    "RenormCFG": {"cfg_trunc": real(0, 100), "renorm_cfg": real(0, 100)},
    "SkipLayerGuidanceSD3": {"layers": _text, "scale": real(0, 10), **_PART},
    "SkipLayerGuidanceDiT": {
        "double_layers": _text, "single_layers": _text, "scale": real(0, 10), **_PART, "rescaling_scale": real(0, 10),
    },
}  # fmt: skip
"""The patches that are recalled and applied: class name to the checks of its inputs."""

SHIFTS = ("ModelSamplingSD3", "ModelSamplingAuraFlow", "ModelSamplingFlux")
"""Patches of the timestep shift, of which the last applied counts."""


def to_patch(node: Any, values: Any) -> Patch | None:
    """Return a patch of untrusted input, or None where the class is none of PATCHES or a value is not usable.

    An input that is missing stays so: it has ComfyUI's default.
    """
    checks = PATCHES.get(node) if isinstance(node, str) else None
    if checks is None or not isinstance(values, Mapping):
        return None
    found = {}
    for name, check in checks.items():
        if values.get(name) is None:
            continue
        found[name] = check(values[name])
        if found[name] is None:
            return None
    return Patch(node, found)


def to_parts(value: Any) -> Parts | None:
    """Return parts of untrusted input, or None where they are not usable."""
    if not isinstance(value, Mapping):
        return None
    encoders = value.get("encoders") or []
    if not isinstance(encoders, list | tuple) or len(encoders) > MAX_ENCODERS:
        return None
    names = tuple(to_model_name(name) for name in encoders)
    if None in names:
        return None
    return Parts(names, to_name(value.get("type")), to_name(value.get("dtype")))  # type: ignore[arg-type]


def parts_to_dict(parts: Parts | None) -> dict[str, Any] | None:
    """Return parts as JSON-ready data."""
    return None if parts is None else {"encoders": list(parts.encoders), "type": parts.type, "dtype": parts.dtype}


def patch_to_dict(patch: Patch) -> dict[str, Any]:
    """Return a patch as JSON-ready data."""
    return {"node": patch.node, "values": dict(patch.values)}


def patch_text(patch: Patch) -> str:
    """Return a patch in one line: ``ModelSamplingSD3 (shift 3)``."""
    values = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in patch.values.items()
    )
    return f"{patch.node} ({values})" if values else patch.node
