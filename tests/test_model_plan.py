"""Which installed files a generation is run with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distillery.nodes.generation import Generation, Lora
from distillery.nodes.model_plan import BUILT_IN, NO_FALLBACK, Installed, ModelError, plan_models
from distillery.nodes.parameters import MINI_NAME

GENERATION = Generation(
    origin="distillery",
    checkpoint="Cosmopolitan_release_version.safetensors",
    vae="vae-ft-mse-840000-ema-pruned.safetensors",
    loras=(Lora("style.safetensors", 0.75, 0.5), Lora("detail.safetensors", 1.0, 1.0)),
    clip_skip=2,
    family="sd15",
)
INSTALLED = Installed(
    checkpoints=["sd/cosmopolitan_release_version.ckpt", "other.safetensors"],
    vaes=["vae-ft-mse-840000-ema-pruned.safetensors"],
    loras=["detail.safetensors", "styles/Style.safetensors"],
)
NOTHING = Installed([], [], [])


def test_names_are_matched_without_folder_extension_and_case_and_loras_keep_their_order():
    plan = plan_models(GENERATION, INSTALLED, NO_FALLBACK, "error")
    assert plan.checkpoint == "sd/cosmopolitan_release_version.ckpt"
    assert plan.vae == "vae-ft-mse-840000-ema-pruned.safetensors"
    assert plan.loras == (Lora("styles/Style.safetensors", 0.75, 0.5), Lora("detail.safetensors", 1.0, 1.0))
    assert plan.clip_skip == 2
    assert plan.generation.checkpoint == plan.checkpoint
    assert plan.generation.warnings == ()


def test_an_exact_name_wins():
    installed = replace(INSTALLED, checkpoints=["a/Other.safetensors", "other.safetensors"])
    assert plan_models(
        replace(GENERATION, checkpoint="other.safetensors"), installed, NO_FALLBACK, "error"
    ).checkpoint == ("other.safetensors")


def test_the_built_in_model_stands_in_where_no_other_is_installed_and_the_result_says_so():
    plan = plan_models(GENERATION, NOTHING, BUILT_IN, "error")
    assert plan.checkpoint == MINI_NAME
    assert plan.vae is None and plan.loras == () and plan.clip_skip is None
    text = "\n".join(plan.generation.warnings)
    assert all(word in text for word in ("Cosmopolitan", MINI_NAME, "--model", "style.safetensors", "vae-ft-mse"))


def test_the_built_in_model_does_not_replace_a_real_one_silently():
    installed = replace(INSTALLED, checkpoints=["dreamshaper.safetensors", MINI_NAME])
    with pytest.raises(ModelError) as error:
        plan_models(GENERATION, installed, BUILT_IN, "error")
    assert all(word in str(error.value) for word in ("Cosmopolitan", "dreamshaper", "--model"))


def test_the_built_in_model_can_be_asked_for_by_name():
    plan = plan_models(replace(GENERATION, checkpoint="distillery-mini"), INSTALLED, NO_FALLBACK, "error")
    assert plan.checkpoint == MINI_NAME


def test_a_chosen_fallback_is_used_with_a_warning():
    plan = plan_models(replace(GENERATION, checkpoint="gone"), INSTALLED, "other.safetensors", "error")
    assert plan.checkpoint == "other.safetensors"
    assert any("gone" in w and "other.safetensors" in w for w in plan.generation.warnings)


@pytest.mark.parametrize("fallback", [NO_FALLBACK, "also-gone.safetensors"])
def test_without_a_usable_fallback_it_is_an_error_that_names_what_is_there(fallback):
    with pytest.raises(ModelError) as error:
        plan_models(replace(GENERATION, checkpoint="gone"), INSTALLED, fallback, "error")
    assert "gone" in str(error.value) and "other.safetensors" in str(error.value)


def test_an_image_that_names_no_checkpoint():
    with pytest.raises(ModelError, match="names no checkpoint"):
        plan_models(replace(GENERATION, checkpoint=None), INSTALLED, NO_FALLBACK, "error")


def test_a_missing_lora_is_an_error_that_names_it_and_its_likes():
    generation = replace(GENERATION, loras=(Lora("detial.safetensors"), Lora("detail.safetensors")))
    with pytest.raises(ModelError) as error:
        plan_models(generation, INSTALLED, NO_FALLBACK, "error")
    assert all(word in str(error.value) for word in ("detial.safetensors", "--missing_lora skip", "detail.safetensors"))


def test_a_missing_lora_is_skipped_with_a_warning_where_the_user_says_so():
    generation = replace(GENERATION, loras=(Lora("gone.safetensors"), Lora("detail.safetensors", 0.5)))
    plan = plan_models(generation, INSTALLED, NO_FALLBACK, "skip")
    assert plan.loras == (Lora("detail.safetensors", 0.5, 1.0),)
    assert any("gone.safetensors" in w for w in plan.generation.warnings)
    assert plan.generation.loras == plan.loras


def test_a_missing_vae_leaves_the_checkpoints_own_with_a_warning():
    plan = plan_models(GENERATION, replace(INSTALLED, vaes=[]), NO_FALLBACK, "error")
    assert plan.vae is None
    assert any("vae-ft-mse" in w for w in plan.generation.warnings)


def test_an_inpainting_checkpoint_is_swapped_for_its_base():
    generation = replace(GENERATION, checkpoint="other-inpainting.safetensors")
    plan = plan_models(generation, INSTALLED, NO_FALLBACK, "error")
    assert plan.checkpoint == "other.safetensors"
    assert any("inpainting" in w for w in plan.generation.warnings)


def test_an_inpainting_checkpoint_without_its_base_is_refused():
    generation = replace(GENERATION, checkpoint="gone-inpainting.safetensors")
    installed = replace(INSTALLED, checkpoints=["gone-inpainting.safetensors", "other.safetensors"])
    with pytest.raises(ModelError, match="inpainting"):
        plan_models(generation, installed, "other.safetensors", "error")


def test_an_inpainting_checkpoint_is_recognised_by_its_contents_too():
    installed = replace(INSTALLED, is_inpainting=lambda name: name == "other.safetensors")
    with pytest.raises(ModelError, match="inpainting"):
        plan_models(replace(GENERATION, checkpoint="other"), installed, NO_FALLBACK, "error")


def test_another_family_is_warned_of():
    plan = plan_models(GENERATION, replace(INSTALLED, family=lambda name: "sdxl"), NO_FALLBACK, "error")
    assert any("sdxl" in w for w in plan.generation.warnings)
    assert plan.clip_skip is None
