"""Translate A1111's names of samplers and schedules into ComfyUI's."""

from __future__ import annotations

import re
from typing import NamedTuple


class SamplerNames(NamedTuple):
    """ComfyUI's names; ``None`` for an unknown one."""

    sampler: str | None
    scheduler: str | None
    warnings: tuple[str, ...] = ()


# A1111's name in lower case: (ComfyUI's name, schedule that "Automatic" means since A1111 1.9)
_SAMPLERS = {
    "euler a": ("euler_ancestral", "normal"),
    "euler": ("euler", "normal"),
    "lms": ("lms", "normal"),
    "heun": ("heun", "normal"),
    "dpm2": ("dpm_2", "karras"),
    "dpm2 a": ("dpm_2_ancestral", "karras"),
    "dpm++ 2s a": ("dpmpp_2s_ancestral", "karras"),
    "dpm++ 2m": ("dpmpp_2m", "karras"),
    "dpm++ sde": ("dpmpp_sde", "karras"),
    "dpm++ 2m sde": ("dpmpp_2m_sde", "exponential"),
    "dpm++ 2m sde heun": ("dpmpp_2m_sde_heun", "exponential"),
    "dpm++ 3m sde": ("dpmpp_3m_sde", "exponential"),
    "dpm fast": ("dpm_fast", "normal"),
    "dpm adaptive": ("dpm_adaptive", "normal"),
    "ddim": ("ddim", "ddim_uniform"),
    "unipc": ("uni_pc", "normal"),
    "lcm": ("lcm", "sgm_uniform"),
    "deis": ("deis", "normal"),
    "ipndm": ("ipndm", "normal"),
    "ddpm": ("ddpm", "normal"),
    "heunpp2": ("heunpp2", "normal"),
}
_STAND_INS = {"plms": ("euler", "normal"), "restart": ("dpmpp_2m", "karras")}
"""Nearest counterparts of what ComfyUI lacks."""

_SCHEDULES = {
    "karras": "karras",
    "exponential": "exponential",
    "simple": "simple",
    "normal": "normal",
    "beta": "beta",
    "uniform": "normal",
    "sgm uniform": "sgm_uniform",
    "sgmuniform": "sgm_uniform",
    "ddim": "ddim_uniform",
    "ddim uniform": "ddim_uniform",
    "kl optimal": "kl_optimal",
    "linear quadratic": "linear_quadratic",
}
_NEAR_SCHEDULES = {"polyexponential": "exponential", "align your steps": "karras"}

COMFYUI_SCHEDULERS = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
)  # fmt: skip
_COMFYUI = re.compile(
    r"(?:euler|heun|exp_heun|dpm_|dpmpp_|lms|ddpm|ddim|lcm|ipndm|deis|uni_pc|res_|gradient_|er_sde|sa_solver|seeds_)"
    r"[a-z0-9_]*"
)
"""Shape of ComfyUI's own names, which its image savers write unchanged."""

AUTOMATIC_SINCE = (1, 9)
"""First version of A1111 in which a sampler without a schedule means the sampler's own."""


def sampling(name: str, schedule: str, version: tuple[int, int] | None) -> SamplerNames:
    """Return ComfyUI's sampler and scheduler for A1111's.

    name: of the sampler, before 1.9 with the schedule behind it ("DPM++ 2M Karras").
    schedule: "Schedule type", or ComfyUI's own name; empty if the image has none.
    version: of A1111, major and minor; ``None`` if unknown.
    """
    name, schedule = " ".join(name.split()), " ".join(schedule.split())
    if not name or name.lower() == "undefined":
        return SamplerNames(None, _scheduler(schedule)[0], _scheduler(schedule)[1])
    base, suffix = _split(name)
    warnings: list[str] = []
    lower = base.lower()
    # DDIM had a schedule of its own before 1.9 too.
    automatic_always = lower == "ddim"
    if lower in _SAMPLERS:
        sampler, automatic = _SAMPLERS[lower]
    elif _COMFYUI.fullmatch(base):
        sampler, automatic = base, "normal"
    else:
        sampler, automatic = _STAND_INS.get(lower, _STAND_INS["restart" if "dpm" in lower else "plms"])
        automatic_always = True
        warnings.append(f'ComfyUI has no sampler "{base[:60]}": {sampler} stands in for it')

    if schedule and schedule.lower() != "automatic":
        scheduler, more = _scheduler(schedule)
        return SamplerNames(sampler, scheduler, (*warnings, *more))
    if suffix:
        scheduler, more = _scheduler(suffix)
        return SamplerNames(sampler, scheduler, (*warnings, *more))
    if schedule or automatic_always or (version is not None and version >= AUTOMATIC_SINCE):
        return SamplerNames(sampler, automatic, tuple(warnings))
    if version is None and automatic != "normal":
        warnings.append(
            f'the image names neither a schedule nor a version of A1111: "{name[:60]}" is taken to be '
            "of A1111 before 1.9, with the schedule normal"
        )
    return SamplerNames(sampler, "normal", tuple(warnings))


def _split(name: str) -> tuple[str, str]:
    """Split a sampler's name from the schedule behind it."""
    lower = name.lower()
    if lower in _SAMPLERS or lower in _STAND_INS:
        return name, ""
    for suffix in sorted({*_SCHEDULES, *_NEAR_SCHEDULES}, key=len, reverse=True):
        if lower.endswith(f" {suffix}"):
            return name[: -len(suffix) - 1].rstrip(), suffix
    for suffix in COMFYUI_SCHEDULERS:
        if lower.endswith(f"_{suffix}") and _COMFYUI.fullmatch(name):
            return name[: -len(suffix) - 1], suffix
    return name, ""


def _scheduler(schedule: str) -> tuple[str | None, tuple[str, ...]]:
    lower = schedule.lower()
    if not schedule:
        return None, ()
    if lower in COMFYUI_SCHEDULERS:
        return lower, ()
    if lower in _SCHEDULES:
        return _SCHEDULES[lower], ()
    nearest = _NEAR_SCHEDULES.get(lower, "karras" if lower.startswith("align your steps") else "normal")
    return nearest, (f'ComfyUI has no schedule "{schedule[:60]}": {nearest} stands in for it',)
