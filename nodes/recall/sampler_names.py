"""Samplers and schedulers by ComfyUI's names, from the names of all programs.

A name is compared without case, blanks and punctuation ("DPM++ 2M CFG++" is dpmpp_2m_cfg_pp), first with ComfyUI's own,
then with other programs'. A scheduler's name behind it is parted off. What is left is either known to have a near
counterpart, which stands in for it, or stays as it is; a warning says either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..texts import shorten

SAMPLERS = (
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm",
    "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
"""ComfyUI's samplers; the tests compare them with ComfyUI's own list."""
SCHEDULERS = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
)  # fmt: skip
"""ComfyUI's schedulers."""
MAX_NAME = 200
"""Number of characters of a name that are compared."""


class ParsedNames(NamedTuple):
    """ComfyUI's names; ``None`` where none is given."""

    sampler: str | None
    scheduler: str | None
    warnings: tuple[str, ...] = ()
    stands_in: bool = False
    """True if the sampler is a stand-in for one that ComfyUI lacks."""


def parse_names(
    sampler: str, scheduler: str = "", aliases: Mapping[str, str] | None = None, packs: bool = True
) -> ParsedNames:
    """Return ComfyUI's sampler and scheduler for a program's.

    scheduler: empty if the program names none; then one behind the sampler's name counts.
    aliases: the program's own names, by :func:`key_of`, where they mean another thing than elsewhere.
    packs: False for a program whose unknown names are no node pack's, so that none is kept.
    """
    name, schedule = (" ".join(text[:MAX_NAME].split()) for text in (sampler, scheduler))
    found, warnings = parse_scheduler(schedule)
    if key_of(name) in _NOTHING:
        return ParsedNames(None, found, warnings)
    known = {**_SAMPLER_KEYS, **(aliases or {})}
    base, behind = _part(name, known)
    if not schedule and behind:
        found, warnings = parse_scheduler(behind)
    key = key_of(base)
    if key in known:
        return ParsedNames(known[key], found, warnings)
    nearest = _near_sampler(base, packs)
    if nearest is None:
        warning = f'"{shorten(base, 60)}" is not one of ComfyUI\'s samplers: it needs the node pack that has it'
        return ParsedNames(base, found, (warning, *warnings))
    warning = f'ComfyUI has no sampler "{shorten(base, 60)}": {nearest} stands in for it'
    return ParsedNames(nearest, found, (warning, *warnings), stands_in=True)


def parse_scheduler(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Return ComfyUI's scheduler for a program's, with warnings; ``None`` for nothing or "automatic"."""
    key = key_of(name[:MAX_NAME])
    if key in _NOTHING:
        return None, ()
    if key in _SCHEDULER_KEYS:
        return _SCHEDULER_KEYS[key], ()
    if key in _PACK_KEYS:
        kept = _PACK_KEYS[key]
        return kept, (f'"{kept}" is not one of ComfyUI\'s schedulers: it needs the node pack that has it',)
    nearest = next((near for begin, near in _NEAR_SCHEDULERS.items() if key.startswith(begin)), None)
    if nearest is None and _PACK_NAME.fullmatch(name):
        return name, (f'"{shorten(name, 60)}" is not one of ComfyUI\'s schedulers: it needs the node pack that has it',)
    nearest = nearest or "normal"
    return nearest, (f'ComfyUI has no schedule "{shorten(name, 60)}": {nearest} stands in for it',)


def is_sampler(name: str) -> bool:
    """Return True for one of ComfyUI's own samplers, spelled as ComfyUI does."""
    return name in _SAMPLER_SET


def is_scheduler(name: str) -> bool:
    """Return True for one of ComfyUI's own schedulers, spelled as ComfyUI does."""
    return name in SCHEDULERS


def key_of(name: str) -> str:
    """Return a name without case, blanks and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("++", "pp"))


def _part(name: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Part a sampler's name from the scheduler behind it, on the longest sampler that is known."""
    key = key_of(name)
    if key in known:
        return name, ""
    for length in range(len(key) - 1, 1, -1):
        if key[:length] in known and key[length:] in _BEHIND:
            return key[:length], key[length:]
    # An unknown sampler: the longest scheduler behind a blank or an underscore.
    for match in re.finditer(r"[ _]+", name):
        if match.start() and key_of(name[match.end() :]) in _BEHIND:
            return name[: match.start()], name[match.end() :]
    return name, ""


def _near_sampler(name: str, packs: bool) -> str | None:
    """Return the stand-in for a sampler that ComfyUI lacks; ``None`` for a node pack's, which it may have."""
    key = key_of(name)
    for begin, nearest in _NEAR_SAMPLERS.items():
        if key.startswith(begin):
            return nearest
    if packs and _PACK_NAME.fullmatch(name):
        return None
    return "dpmpp_2m" if "dpm" in key else "euler"


_NOTHING = {"", "undefined", "none", "null", "automatic", "default", "unknown"}
"""Placeholders of programs that name none."""
_PACK_NAME = re.compile(r"[a-z][a-z0-9/+.-]{0,60}(?:_[a-z0-9+.-]{1,60}){1,8}", re.ASCII)
"""The shape of names in ComfyUI and its node packs."""
_SAMPLER_SET = frozenset(SAMPLERS)

_ALIASES = {
    # diffusers
    "eulerdiscrete": "euler", "eulerancestraldiscrete": "euler_ancestral", "flowmatcheulerdiscrete": "euler",
    "flowmatcheuler": "euler", "heundiscrete": "heun", "kdpm2discrete": "dpm_2", "kdpm2": "dpm_2",
    "kdpm2ancestraldiscrete": "dpm_2_ancestral", "kdpm2a": "dpm_2_ancestral", "lmsdiscrete": "lms",
    "deismultistep": "deis", "unipcmultistep": "uni_pc", "dpmsolversde": "dpmpp_sde", "dpmsolvermultistep": "dpmpp_2m",
    # SD.Next
    "dpmsde": "dpmpp_sde", "lmsd": "lms", "eulerflowmatch": "euler",
    # Easy Diffusion
    "unipcsnr": "uni_pc", "unipctu": "uni_pc", "unipctq": "uni_pc", "unipcsnr2": "uni_pc_bh2", "unipctu2": "uni_pc_bh2",
    # NovelAI
    "ddimv3": "ddim",
}  # fmt: skip
"""Other programs' names of ComfyUI's samplers, by :func:`key_of`."""


def _sampler_keys() -> dict[str, str]:
    keys = dict(_ALIASES)
    for name in SAMPLERS:
        keys[key_of(name)] = name
        # "a" is short for "ancestral", and CFG++ may stand on either side of it.
        short = name.replace("_ancestral", "_a")
        keys[key_of(short)] = name
        if short.endswith("_a_cfg_pp"):
            keys[key_of(short.replace("_a_cfg_pp", "_cfg_pp_a"))] = name
    for key in list(keys):
        keys.setdefault(f"k{key}", keys[key])  # k-diffusion's samplers, as NovelAI and InvokeAI name them
        keys.setdefault(f"{key}scheduler", keys[key])  # diffusers' classes
    return keys


_SAMPLER_KEYS = _sampler_keys()
_NEAR_SAMPLERS = {
    "plms": "euler", "pndm": "euler", "kplms": "euler", "restart": "dpmpp_2m", "tcd": "lcm", "cmsi": "lcm",
    "ufogen": "lcm", "perflow": "euler", "dcsolver": "uni_pc", "unipc": "uni_pc", "vdm": "dpmpp_2m",
    "ddimcfgpp": "euler_cfg_pp", "ddim": "ddim", "edm": "dpmpp_2m", "lms": "lms", "lcm": "lcm",
    "dpmpp4msde": "dpmpp_3m_sde", "dpmpp3m": "dpmpp_3m_sde", "dpmpp2msde": "dpmpp_2m_sde", "dpmppsde": "dpmpp_sde",
    "dpmpp2s": "dpmpp_2s_ancestral", "dpmsolversingle": "dpmpp_2s_ancestral", "kohakulonyu": "euler_ancestral",
}  # fmt: skip
"""Nearest counterparts of samplers that ComfyUI lacks, by the beginning of their keys."""

_SCHEDULER_KEYS = {
    **{key_of(name): name for name in SCHEDULERS}, "uniform": "normal", "discrete": "normal", "native": "normal",
    "sgm": "sgm_uniform", "ddim": "ddim_uniform", "betas": "beta",
}  # fmt: skip
"""ComfyUI's schedulers by the keys of all their names."""
_PACK_KEYS = {
    key_of(name): name
    for name in (
        "beta57", "bong_tangent", "gits", "GITS[coeff=1.2]", "LTXV[default]", "OSS FLUX", "OSS Wan", "OSS Chroma",
        "constant",
    )
}  # fmt: skip
"""Schedulers of node packs, which a server may have, by their keys."""
_NEAR_SCHEDULERS = {
    "polyexponential": "exponential", "alignyoursteps": "karras", "ays": "karras", "trailing": "sgm_uniform",
    "turbo": "sgm_uniform", "sdturbo": "sgm_uniform", "lcm": "sgm_uniform", "tcd": "sgm_uniform",
    "edmplayground": "karras", "lambdas": "karras", "flowmatch": "simple", "smoothstep": "simple", "substep": "normal",
}  # fmt: skip
"""Nearest counterparts of schedulers that ComfyUI lacks, by the beginning of their keys."""
_BEHIND = {*_SCHEDULER_KEYS, *_PACK_KEYS, *_NEAR_SCHEDULERS, "ays30", "ayssd1", "ayssdxl", "edmplaygroundv25"}
"""Keys of what may stand behind a sampler's name."""
