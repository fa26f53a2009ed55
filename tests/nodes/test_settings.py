"""Command over recalled generation over defaults."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.nodes.command import parse_command
from distillery.nodes.errors import DistilleryError
from distillery.nodes.generation import Generation, HiRes, Lora, from_dict, to_dict
from distillery.nodes.parameters import NEGATIVE_SUFFIX
from distillery.nodes.record import record_for
from distillery.nodes.settings import NoPromptError, negative_prompt, resolve, settings_for, with_power

RECALLED = Generation(
    origin="distillery",
    positive="a cat, best quality, high quality, good",
    negative=f"light bulb, {NEGATIVE_SUFFIX}",
    seed=123,
    cfg=7.5,
    steps=30,
    sampler="euler_ancestral",
    scheduler="normal",
    denoise=1.0,
    checkpoint="model.safetensors",
    vae="vae.safetensors",
    loras=(Lora("b.safetensors", 0.5, 0.25), Lora("a.safetensors")),
    clip_skip=2,
    hires=HiRes(steps=12, denoise=0.4, tile=512, scale=1.5),
    family="sd15",
    fields={"seed": "template_inputs.NOISE_SEED"},
)


def test_an_empty_command_keeps_everything_of_the_image():
    s = settings_for(RECALLED, parse_command(""))
    assert (s.positive, s.negative, s.seed, s.cfg) == (RECALLED.positive, RECALLED.negative, 123, 7.5)
    assert (s.sampler, s.scheduler, s.steps) == ("euler_ancestral", "normal", 12)
    assert s.generation.loras == RECALLED.loras
    assert (s.generation.checkpoint, s.generation.vae, s.generation.clip_skip) == (
        "model.safetensors",
        "vae.safetensors",
        2,
    )


def test_power_and_sharpen_are_defaults_not_the_images():
    s = settings_for(replace(RECALLED, sharpen=0.9), parse_command(""))
    assert (s.denoise, s.sharpen) == (0.3, 0.3)


def test_the_command_beats_the_image():
    s = settings_for(
        RECALLED, parse_command("--seed 5 --cfg 4 --power 0.1 --sharpen 0 --prompt dog --model other --neg fog")
    )
    assert (s.positive, s.seed, s.cfg, s.denoise, s.sharpen) == ("dog", 5, 4.0, 0.1, 0.0)
    assert s.generation.checkpoint == "other"
    assert s.negative == f"fog, {NEGATIVE_SUFFIX}"
    assert s.generation.fields["seed"] == "command"
    assert s.generation.fields["cfg"] == "command"


@pytest.mark.parametrize(
    ("recalled", "given_text", "expected"),
    [
        (f"light bulb, {NEGATIVE_SUFFIX}", "night", f"night, {NEGATIVE_SUFFIX}"),
        (NEGATIVE_SUFFIX, "night", f"night, {NEGATIVE_SUFFIX}"),
        (NEGATIVE_SUFFIX, "", NEGATIVE_SUFFIX),
        (NEGATIVE_SUFFIX, f"night, {NEGATIVE_SUFFIX}", f"night, {NEGATIVE_SUFFIX}"),
        ("ugly", "night", "night"),
        ("ugly", "", ""),
        (None, "night", "night"),
        ("ugly", None, "ugly"),
        (None, None, ""),
    ],
)
def test_neg_replaces_the_users_part_and_keeps_the_standing_suffix(recalled, given_text, expected):
    assert negative_prompt(recalled, given_text) == expected


def test_no_generation_data_is_an_error_that_says_what_to_do():
    with pytest.raises(DistilleryError) as error:
        settings_for(Generation(), parse_command(""))
    assert all(word in str(error.value) for word in ("no generation data", "--prompt", "--model", "--power 0"))


def test_no_generation_data_is_fine_without_a_hires_pass():
    s = settings_for(Generation(), parse_command("--power 0"))
    assert (s.denoise, s.sharpen, s.positive) == (0, 0.3, "")
    assert s.generation.warnings == ()


def test_defaults_that_step_in_are_named():
    s = settings_for(Generation(), parse_command("--prompt cat --model m"))
    assert (s.seed, s.cfg, s.steps, s.sampler, s.scheduler) == (0, 6.0, 15, "uni_pc", "karras")
    assert any("no seed" in w for w in s.generation.warnings)
    assert any("no sampler" in w for w in s.generation.warnings)
    assert s.generation.fields["seed"] == "default"


@pytest.mark.parametrize(
    ("given_value", "recalled", "expected"),
    [
        (0, 5, (0, "command")),
        ("", None, ("", "command")),
        (None, 0, (0, "image")),
        (None, None, (7, "default")),
    ],
)
def test_command_goes_before_image_before_default(given_value, recalled, expected):
    assert resolve(given_value, recalled, 7) == expected


def test_every_value_names_where_it_comes_from():
    places = {name: f"the image's {name}" for name in ("positive", "negative", "seed", "cfg", "sampler", "scheduler")}
    recalled = replace(
        RECALLED, fields={**places, "hires.steps": "the image's steps", "checkpoint": "the image's model"}
    )
    used = settings_for(recalled, parse_command("")).generation
    assert used.fields == {
        **recalled.fields,
        "hires.denoise": "default",
        "sharpen": "default",
        "hires.scale": "this upscale",
    }
    nothing = settings_for(Generation(origin="x"), parse_command("--prompt cat --model m --power 0.1")).generation
    assert nothing.fields == {
        "positive": "command",
        "negative": "default",
        "seed": "default",
        "cfg": "default",
        "sampler": "default",
        "scheduler": "default",
        "checkpoint": "command",
        "hires.denoise": "command",
        "hires.steps": "default",
        "sharpen": "default",
        "hires.scale": "this upscale",
    }
    assert settings_for(recalled, parse_command("--neg fog")).generation.fields["negative"] == "command"
    unknown = settings_for(recalled, parse_command(""), ["uni_pc"], ["normal"]).generation
    assert (unknown.fields["sampler"], unknown.fields["scheduler"]) == ("default", "the image's scheduler")


def test_sdxl_has_defaults_of_its_own():
    s = settings_for(Generation(origin="x", positive="cat", family="sdxl"), parse_command(""))
    assert (s.sampler, s.scheduler) == ("euler_ancestral", "karras")


def test_a_sampler_that_comfyui_does_not_know_is_replaced_and_named():
    s = settings_for(replace(RECALLED, sampler="restart"), parse_command(""), ["uni_pc", "euler"], ["normal", "karras"])
    assert (s.sampler, s.scheduler) == ("uni_pc", "normal")
    assert any("restart" in w for w in s.generation.warnings)


def test_sharpening_an_upscaled_image_again_is_warned_of():
    again = replace(RECALLED, origin="distillery-upscale", sharpen=0.3)
    assert any("already sharpened" in w for w in settings_for(again, parse_command("")).generation.warnings)
    assert not settings_for(again, parse_command("--sharpen 0")).generation.warnings


def recorded(generation: Generation) -> dict:
    """The generation as it stands in a saved image."""
    return json.loads(record_for(generation))["generation"]


def test_the_record_reads_back_as_it_was_written():
    assert from_dict(recorded(RECALLED)) == RECALLED
    assert from_dict(to_dict(RECALLED)) == RECALLED


@pytest.mark.parametrize(
    "bad", [{"seed": -1}, {"seed": True}, {"cfg": "six"}, {"cfg": 1e9}, {"denoise": 3}, {"steps": 0}, {"loras": [5]}]
)
def test_unusable_values_of_a_record_are_dropped_and_named(bad):
    generation = from_dict({"origin": "x", **bad})
    assert generation.warnings
    assert all(not getattr(generation, name) for name in bad)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([*to_dict(RECALLED), "other"]), _json))
def test_any_json_object_reads_as_a_generation_that_can_be_written(data):
    assert from_dict(recorded(from_dict(data))) == from_dict(data)


def test_another_power_changes_nothing_else_and_warns_by_itself():
    settings = settings_for(RECALLED, parse_command("--power 0.7 --sharpen 0"))
    assert any(w.startswith("--power 0.7") for w in settings.generation.warnings)
    other = with_power(settings, 0.2)
    assert (other.denoise, other.generation.hires.denoise) == (0.2, 0.2)
    assert not any(w.startswith("--power") for w in other.generation.warnings)
    assert other == replace(
        settings,
        denoise=0.2,
        generation=replace(
            settings.generation,
            hires=replace(settings.generation.hires, denoise=0.2),
            fields=other.generation.fields,
            warnings=other.generation.warnings,
        ),
    )
    assert any(w.startswith("--power 0.9") for w in with_power(other, 0.9).generation.warnings)


def test_a_warning_that_only_begins_like_the_advice_on_power_stays():
    other = with_power(settings_for(RECALLED.warn("--power of the people"), parse_command("--power 0.7")), 0.2)
    assert other.generation.warnings == ("--power of the people",)


def test_another_power_needs_a_prompt_too():
    without = settings_for(Generation(), parse_command("--power 0"))
    assert with_power(without, 0.0).denoise == 0
    with pytest.raises(NoPromptError):
        with_power(without, 0.3)


def test_a_prompt_of_any_length_is_cut_with_a_warning():
    long = "cat, " * 10_000
    s = settings_for(replace(RECALLED, positive=long, negative="n" * 6000), parse_command("--power 0.2"))
    assert s.positive == long[:6000] == s.generation.positive and len(s.negative) == 6000
    assert [w for w in s.generation.warnings if "characters" in w] == [
        "the positive prompt has 50,000 characters: the first 6,000 are used"
    ]
    assert not [
        w
        for w in settings_for(replace(RECALLED, positive=long), parse_command("--power 0")).generation.warnings
        if "characters" in w
    ]
