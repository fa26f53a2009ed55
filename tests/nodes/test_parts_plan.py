"""Which installed files a model in parts is put together from, and what is said where that cannot be told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from distillery.nodes.command import parse_command
from distillery.nodes.generation import Generation, from_dict, to_dict
from distillery.nodes.model_files.parts_plan import InstalledParts, PartFiles, PartsError, plan_parts
from distillery.nodes.model_files.plan import BUILT_IN_FALLBACK, Files, Installed, ModelError, plan_models
from distillery.nodes.model_parts import Parts, Patch
from distillery.nodes.settings import settings_for

FLUX = "flux1-dev.safetensors"
INSTALLED = InstalledParts(
    models=PartFiles((FLUX, "q4.gguf"), lambda name: "flux" if "flux" in name else None),
    encoders=PartFiles(
        ("clip_l.safetensors", "t5xxl_fp8.safetensors", "sub/clip_g.safetensors"),
        lambda name: (
            "clip_l" if "clip_l" in name else "clip_g" if "clip_g" in name else "t5xxl" if "t5" in name else None
        ),
    ),
    vaes=PartFiles(("ae.safetensors", "vae-ft-mse.safetensors"), lambda name: 16 if name.startswith("ae") else 4),
)


def test_what_the_image_names_is_used_by_any_folder_and_extension():
    plan = plan_parts(FLUX, Parts(("x/CLIP_L.sft", "t5xxl_fp8"), "flux", "fp8_e4m3fn"), "AE", None, INSTALLED)
    assert plan.encoders == ("clip_l.safetensors", "t5xxl_fp8.safetensors") and plan.vae == "ae.safetensors"
    assert (plan.model, plan.type, plan.dtype, plan.family, plan.notes) == (FLUX, "flux", "fp8_e4m3fn", "flux", ())


def test_what_it_does_not_name_is_the_one_that_fits_and_that_is_said():
    plan = plan_parts(FLUX, Parts(), None, None, INSTALLED)
    assert plan.encoders == ("clip_l.safetensors", "t5xxl_fp8.safetensors") and plan.vae == "ae.safetensors"
    assert len(plan.notes) == 2 and all("does not name" in note for note in plan.notes)


def two_t5(files: InstalledParts) -> InstalledParts:
    return replace(files, encoders=replace(files.encoders, names=(*files.encoders.names, "t5xxl_fp16.safetensors")))


@pytest.mark.parametrize(
    ("model", "parts", "vae", "installed", "words"),
    [
        (FLUX, Parts(("gone", "t5xxl_fp8"), "flux"), None, INSTALLED, 'text encoder "gone" .* models/text_encoders'),
        (FLUX, Parts(("sub/clip_g", "t5xxl_fp8"), "flux"), None, INSTALLED, "clip_g.* takes clip_l and t5xxl"),
        (FLUX, Parts(), None, two_t5(INSTALLED), "several fit: t5xxl_fp16.safetensors, t5xxl_fp8.safetensors"),
        (FLUX, Parts(), None, replace(INSTALLED, encoders=PartFiles(())), "clip_l, .* none is in models/text_encoders"),
        (FLUX, Parts(), "gone", INSTALLED, 'VAE "gone" .* models/vae'),
        (FLUX, Parts(), "vae-ft-mse", INSTALLED, "has 4 channels; .* needs one with 16"),
        (FLUX, Parts(), None, replace(INSTALLED, vaes=PartFiles(("other.safetensors",))), "called like ae or flux"),
        ("q4.gguf", Parts(("clip_l",), "flux"), None, INSTALLED, "ComfyUI-GGUF"),
        ("q4.gguf", Parts(), None, replace(INSTALLED, gguf=True), "which family q4.gguf belongs to"),
        ("q4.gguf", Parts(("clip_l",), "flux"), None, replace(INSTALLED, gguf=True), "VAE of q4.gguf, whose family"),
    ],
)  # fmt: skip
def test_what_is_missing_or_unfit_is_named(model, parts, vae, installed, words):
    with pytest.raises(PartsError, match=words):
        plan_parts(model, parts, vae, None, installed)


def installed(**more) -> Installed:
    files = {"checkpoints": Files(("dream.safetensors",)), "vaes": Files(INSTALLED.vaes.names), "loras": Files(())}
    return Installed(**{**files, "models": Files(INSTALLED.models.names), "parts": INSTALLED, **more})


def made_by_flux(**more) -> Generation:
    values = {"positive": "a cat", "seed": 1, "checkpoint": FLUX, "parts": Parts(("clip_l", "t5xxl_fp8"), "flux"), "vae": "ae",
              "guidance": 3.5, "cfg": 1.0, "patches": (Patch("ModelSamplingFlux", {"max_shift": 1.15, "base_shift": 0.5}),)}  # fmt: skip
    return Generation(origin="comfyui", **{**values, **more})


def test_a_plan_of_parts_keeps_patches_and_guidance():
    plan = plan_models(made_by_flux(), installed(), BUILT_IN_FALLBACK, "error")
    assert plan.parts is not None and plan.checkpoint == FLUX and plan.vae == "ae.safetensors"
    assert plan.guidance == 3.5 and [p.node for p in plan.patches] == ["ModelSamplingFlux"]
    assert plan.generation.parts == Parts(("clip_l.safetensors", "t5xxl_fp8.safetensors"), "flux")
    assert not plan.generation.warnings


def test_a_name_alone_leads_to_the_folder_of_diffusion_models():
    plan = plan_models(
        made_by_flux(parts=None, vae=None, checkpoint="flux1-dev"), installed(), BUILT_IN_FALLBACK, "error"
    )
    assert plan.parts is not None and plan.checkpoint == FLUX and len(plan.generation.warnings) == 2


def test_a_missing_diffusion_model_is_asked_for_in_its_own_folder():
    with pytest.raises(ModelError, match=r'diffusion model "other".*models/diffusion_models'):
        plan_models(made_by_flux(checkpoint="other"), installed(), BUILT_IN_FALLBACK, "error")
    alone = installed(checkpoints=Files(()))
    plan = plan_models(made_by_flux(checkpoint="other"), alone, BUILT_IN_FALLBACK, "error")
    assert plan.parts is None and plan.patches == () and plan.guidance is None  # nothing of another model fits
    assert re.search("diffusion model into models/diffusion_models", " ".join(plan.generation.warnings))


def test_a_whole_checkpoint_stays_one():
    plan = plan_models(
        made_by_flux(checkpoint="dream", parts=None, patches=()), installed(), BUILT_IN_FALLBACK, "error"
    )
    assert plan.parts is None and plan.checkpoint == "dream.safetensors"


def test_another_model_of_the_command_drops_what_belongs_to_the_images_own():
    settings = settings_for(made_by_flux(), parse_command("--model dream"))
    assert (
        settings.generation.parts is None and settings.generation.patches == () and settings.generation.guidance is None
    )
    assert any("--model" in warning for warning in settings.generation.warnings)


def test_distilled_models_run_as_many_steps_as_they_did():
    for steps, cfg, expected in ((4, 1.0, 4), (8, 2.0, 8), (20, 1.0, 15), (6, 7.0, 15), (None, None, 15)):
        generation = made_by_flux(steps=steps, cfg=cfg)
        assert settings_for(generation, parse_command("")).steps == expected
    few = settings_for(made_by_flux(steps=1), parse_command(""))
    assert any("only 1 step" in warning for warning in few.generation.warnings)


def test_guided_families_have_cfg_1_where_the_image_does_not_say():
    assert settings_for(made_by_flux(cfg=None, family="flux"), parse_command("")).cfg == 1
    assert settings_for(made_by_flux(cfg=None, family=None), parse_command("")).cfg == 6


def test_the_record_keeps_parts_and_patches():
    generation = made_by_flux()
    assert from_dict(to_dict(generation)) == generation
    broken = {
        **to_dict(generation),
        "parts": {"encoders": 1},
        "patches": [{"node": "rm"}, {"node": "CFGZeroStar", "values": {}}],
    }
    found = from_dict(broken)
    assert found.parts is None and found.patches == (Patch("CFGZeroStar", {}),)
    assert sum("left out" in warning for warning in found.warnings) == 2
