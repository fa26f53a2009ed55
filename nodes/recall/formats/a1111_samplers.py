"""The schedule that a sampler of A1111 has where the text names none."""

from __future__ import annotations

from typing import NamedTuple

from ..sampler_names import key_of, parse_names


class SamplerNames(NamedTuple):
    """ComfyUI's names; ``None`` for an unknown one."""

    sampler: str | None
    scheduler: str | None
    warnings: tuple[str, ...] = ()


_AUTOMATIC = {
    # ComfyUI's name of the sampler: the schedule that "Automatic" means since A1111 1.9
    "dpm_2": "karras",
    "dpm_2_ancestral": "karras",
    "dpmpp_2s_ancestral": "karras",
    "dpmpp_2m": "karras",
    "dpmpp_sde": "karras",
    "dpmpp_2m_sde": "exponential",
    "dpmpp_2m_sde_heun": "exponential",
    "dpmpp_3m_sde": "exponential",
    "ddim": "ddim_uniform",
    "lcm": "sgm_uniform",
}
AUTOMATIC_SINCE = (1, 9)
"""First version of A1111 in which a sampler without a schedule means the sampler's own."""


def sampling(name: str, schedule: str, version: tuple[int, int] | None) -> SamplerNames:
    """Return ComfyUI's sampler and scheduler for A1111's.

    name: of the sampler, before 1.9 with the schedule behind it ("DPM++ 2M Karras").
    schedule: "Schedule type", or ComfyUI's own name; empty if the image has none.
    version: of A1111, major and minor; ``None`` if unknown.
    """
    found = parse_names(name, schedule)
    if found.sampler is None or found.scheduler is not None:
        return SamplerNames(*found[:3])
    # ComfyUI's own name is that of an image saver, which means no schedule of A1111's.
    automatic = _AUTOMATIC.get(found.sampler, "normal") if found.sampler != name else "normal"
    # DDIM had a schedule of its own before 1.9 too; so has what stands in.
    always = found.stands_in or (found.sampler == "ddim" and name != "ddim")
    if key_of(schedule) == "automatic" or always or (version is not None and version >= AUTOMATIC_SINCE):
        return SamplerNames(found.sampler, automatic, found.warnings)
    warnings = found.warnings
    if version is None and automatic != "normal":
        warnings += (
            f'the image names neither a schedule nor a version of A1111: "{name[:60]}" is taken to be '
            "of A1111 before 1.9, with the schedule normal",
        )
    return SamplerNames(found.sampler, "normal", warnings)
