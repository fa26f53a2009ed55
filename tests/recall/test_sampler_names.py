"""Samplers and schedulers of all programs by ComfyUI's names."""

from __future__ import annotations

from typing import Any

import pytest

from distillery.nodes.recall.sampler_names import SAMPLERS, SCHEDULERS, is_sampler, parse_names


def test_names_are_comfyuis_own(comfy: Any) -> None:
    import comfy.samplers

    assert set(comfy.samplers.SAMPLER_NAMES) == set(SAMPLERS)
    assert set(comfy.samplers.SCHEDULER_NAMES) == set(SCHEDULERS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_name_of_comfyui_stays_with_every_scheduler_behind_it(sampler: str) -> None:
    assert parse_names(sampler) == (sampler, None, (), False)
    for scheduler in SCHEDULERS:
        assert parse_names(f"{sampler}_{scheduler}") == (sampler, scheduler, (), False)
        assert parse_names(sampler, scheduler) == (sampler, scheduler, (), False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # A1111, Forge, SD.Next
        ("Res Multistep", ("res_multistep", None)),
        ("ER SDE", ("er_sde", None)),
        ("IPNDM_V", ("ipndm_v", None)),
        ("DPM++ 2M CFG++", ("dpmpp_2m_cfg_pp", None)),
        ("Euler a CFG++", ("euler_ancestral_cfg_pp", None)),
        ("Euler CFG++ A", ("euler_ancestral_cfg_pp", None)),
        ("DPM++ 2S a CFG++ Karras", ("dpmpp_2s_ancestral_cfg_pp", "karras")),
        ("DPM++ 2M SDE Heun Exponential", ("dpmpp_2m_sde_heun", "exponential")),
        ("Gradient Estimation", ("gradient_estimation", None)),
        ("DPM SDE", ("dpmpp_sde", None)),
        ("KDPM2 a", ("dpm_2_ancestral", None)),
        ("SA Solver", ("sa_solver", None)),
        ("Euler SGM", ("euler", "sgm_uniform")),
        # image savers
        ("Euler_simple", ("euler", "simple")),
        ("DPM++ 2M_sgm_uniform", ("dpmpp_2m", "sgm_uniform")),
        ("DPM++ 3M SDE_kl_optimal", ("dpmpp_3m_sde", "kl_optimal")),
        ("uni_pc_bh2_linear_quadratic", ("uni_pc_bh2", "linear_quadratic")),
        # stable-diffusion.cpp
        ("euler_a karras", ("euler_ancestral", "karras")),
        ("dpm++2s_a discrete", ("dpmpp_2s_ancestral", "normal")),
        ("dpm2", ("dpm_2", None)),
        # diffusers
        ("EulerAncestralDiscreteScheduler", ("euler_ancestral", None)),
        ("DPMSolverMultistepScheduler", ("dpmpp_2m", None)),
        ("UniPCMultistepScheduler", ("uni_pc", None)),
        ("DDIMScheduler", ("ddim", None)),
        # k-diffusion
        ("k_dpm_2_a", ("dpm_2_ancestral", None)),
        ("k_euler_ancestral", ("euler_ancestral", None)),
        ("Undefined", (None, None)),
        ("unknown", (None, None)),
    ],
)
def test_names_of_programs(name: str, expected: tuple[str | None, str | None]) -> None:
    assert parse_names(name) == (*expected, (), False)


@pytest.mark.parametrize(
    ("name", "sampler", "scheduler", "named"),
    [
        ("res_2s_beta57", "res_2s", "beta57", "res_2s"),
        ("deis_3m_bong_tangent", "deis_3m", "bong_tangent", "deis_3m"),
        ("euler_beta57", "euler", "beta57", "beta57"),
        ("euler_dy_karras", "euler_dy", "karras", "euler_dy"),
        ("dpmpp_2m_ays_30+", "dpmpp_2m", "karras", "ays30"),
    ],
)
def test_names_of_node_packs_are_parted_and_named(name: str, sampler: str, scheduler: str, named: str) -> None:
    found = parse_names(name)
    assert found[:2] == (sampler, scheduler) and named in " ".join(found.warnings) and not is_sampler("euler_dy")


@pytest.mark.parametrize(
    ("name", "sampler", "scheduler"),
    [
        ("PLMS", "euler", None),
        ("Restart Karras", "dpmpp_2m", "karras"),
        ("TCD", "lcm", None),
        ("DPM++ 4M SDE", "dpmpp_3m_sde", None),
        ("dpm++2mv2", "dpmpp_2m", None),
        ("Foo Bar", "euler", None),
    ],
)
def test_what_stands_in_is_named(name: str, sampler: str, scheduler: str | None) -> None:
    found = parse_names(name)
    assert found[:2] == (sampler, scheduler) and found.stands_in and "stands in" in found.warnings[0]


def test_names_of_any_length_end() -> None:
    assert parse_names("a_" * 100_000, "b_" * 100_000).sampler
