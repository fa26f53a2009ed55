"""Which installed files a generation is run with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from distillery.nodes.generation import Generation, Lora
from distillery.nodes.model_files.aliases import Aliases, parse_aliases
from distillery.nodes.model_files.file_hashes import HashCache, HashIndex
from distillery.nodes.model_files.plan import BUILT_IN_FALLBACK, NO_FALLBACK, Files, Installed, ModelError, plan_models
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
    checkpoints=Files(["sd/cosmopolitan_release_version.ckpt", "other.safetensors"]),
    vaes=Files(["vae-ft-mse-840000-ema-pruned.safetensors"]),
    loras=Files(["detail.safetensors", "styles/Style.safetensors"]),
)
NOTHING = Installed(Files([]), Files([]), Files([]))


def test_names_are_matched_without_folder_extension_and_case_and_loras_keep_their_order():
    plan = plan_models(GENERATION, INSTALLED, NO_FALLBACK, "error")
    assert plan.checkpoint == "sd/cosmopolitan_release_version.ckpt"
    assert plan.vae == "vae-ft-mse-840000-ema-pruned.safetensors"
    assert plan.loras == (Lora("styles/Style.safetensors", 0.75, 0.5), Lora("detail.safetensors", 1.0, 1.0))
    assert plan.clip_skip == 2
    assert plan.generation.checkpoint == plan.checkpoint
    assert plan.generation.warnings == ()


def test_an_exact_name_wins():
    installed = replace(INSTALLED, checkpoints=Files(["a/Other.safetensors", "other.safetensors"]))
    assert plan_models(
        replace(GENERATION, checkpoint="other.safetensors"), installed, NO_FALLBACK, "error"
    ).checkpoint == ("other.safetensors")


def test_the_built_in_model_stands_in_where_no_other_is_installed_and_the_result_says_so():
    plan = plan_models(GENERATION, NOTHING, BUILT_IN_FALLBACK, "error")
    assert plan.checkpoint == MINI_NAME
    assert plan.vae is None and plan.loras == () and plan.clip_skip is None
    text = "\n".join(plan.generation.warnings)
    assert all(word in text for word in ("Cosmopolitan", MINI_NAME, "--model", "style.safetensors", "vae-ft-mse"))


def test_the_built_in_model_does_not_replace_a_real_one_silently():
    installed = replace(INSTALLED, checkpoints=Files(["dreamshaper.safetensors", MINI_NAME]))
    with pytest.raises(ModelError) as error:
        plan_models(GENERATION, installed, BUILT_IN_FALLBACK, "error")
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
    plan = plan_models(GENERATION, replace(INSTALLED, vaes=Files([])), NO_FALLBACK, "error")
    assert plan.vae is None
    assert any("vae-ft-mse" in w for w in plan.generation.warnings)


def test_an_inpainting_checkpoint_is_swapped_for_its_base():
    generation = replace(GENERATION, checkpoint="other-inpainting.safetensors")
    plan = plan_models(generation, INSTALLED, NO_FALLBACK, "error")
    assert plan.checkpoint == "other.safetensors"
    assert any("inpainting" in w for w in plan.generation.warnings)


def test_an_inpainting_checkpoint_without_its_base_is_refused():
    generation = replace(GENERATION, checkpoint="gone-inpainting.safetensors")
    installed = replace(INSTALLED, checkpoints=Files(["gone-inpainting.safetensors", "other.safetensors"]))
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


# --- by hash -----------------------------------------------------------------------------------------------------


def hashed(folder: Path, contents: dict[str, bytes]) -> Files:
    """Real files with real hashes."""
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    index = HashIndex(HashCache(folder.parent / "cache.sqlite3"), lambda name: folder / name)
    return Files(sorted(contents), index.find, index.known)


def sha(data: bytes, digits: int = 10) -> str:
    return hashlib.sha256(data).hexdigest()[:digits]


def test_a_renamed_checkpoint_is_found_by_its_hash(tmp_path):
    files = hashed(tmp_path / "c", {"renamed.safetensors": b"one", "two.safetensors": b"two"})
    generation = replace(GENERATION, checkpoint="gone.safetensors", checkpoint_hash=sha(b"one"))
    plan = plan_models(generation, replace(INSTALLED, checkpoints=files), NO_FALLBACK, "error")
    assert plan.checkpoint == "renamed.safetensors"
    assert plan.generation.checkpoint_hash == sha(b"one")
    assert "renamed.safetensors by its hash" in plan.generation.fields["checkpoint"]
    assert plan.generation.warnings == ()  # it is the same file


def test_an_image_with_hashes_and_no_names_works(tmp_path):
    files = hashed(tmp_path / "c", {"a.safetensors": b"one", "b.safetensors": b"two"})
    vaes = hashed(tmp_path / "v", {"v.pt": b"vae"})
    generation = replace(GENERATION, checkpoint=None, checkpoint_hash=sha(b"two"), vae=None, vae_hash=sha(b"vae"))
    plan = plan_models(generation, replace(INSTALLED, checkpoints=files, vaes=vaes), NO_FALLBACK, "error")
    assert (plan.checkpoint, plan.vae) == ("b.safetensors", "v.pt")
    unknown = replace(generation, checkpoint_hash="0123456789")
    with pytest.raises(ModelError, match=r"hash 0123456789.*a\.safetensors"):
        plan_models(unknown, replace(INSTALLED, checkpoints=files), NO_FALLBACK, "error")


def test_a_name_goes_before_the_hash_and_a_known_other_hash_is_warned_of(tmp_path):
    files = hashed(tmp_path / "c", {"same.safetensors": b"new version", "old.safetensors": b"old version"})
    installed = replace(INSTALLED, checkpoints=files)
    generation = replace(GENERATION, checkpoint="same.ckpt", checkpoint_hash=sha(b"old version"))
    plan = plan_models(generation, installed, NO_FALLBACK, "error")
    assert plan.checkpoint == "same.safetensors" and plan.generation.warnings == ()  # no file was read for it
    files.with_hash(sha(b"new version"), files.names, None)  # now it is known
    plan = plan_models(generation, installed, NO_FALLBACK, "error")
    assert plan.checkpoint == "same.safetensors"
    assert any("not the file" in w and sha(b"old version") in w for w in plan.generation.warnings)
    assert plan.generation.checkpoint_hash is None  # what is recorded in the result is true


def test_an_old_hash_is_used_with_a_warning(tmp_path):
    data = bytes(0x100000) + b"x" * 0x20000
    files = hashed(tmp_path / "c", {"a.ckpt": data, "b.ckpt": b"short"})
    generation = replace(GENERATION, checkpoint="gone", checkpoint_hash=sha(b"x" * 0x10000, 8))
    plan = plan_models(generation, replace(INSTALLED, checkpoints=files), NO_FALLBACK, "error")
    assert plan.checkpoint == "a.ckpt"
    assert any("old kind" in w for w in plan.generation.warnings)


def test_loras_are_found_by_hash_in_their_order(tmp_path):
    files = hashed(tmp_path / "l", {"x.safetensors": b"x" * 99, "y.safetensors": b"y" * 99})
    generation = replace(
        GENERATION, loras=(Lora("gone", 0.3, 0.2, sha(b"y" * 99, 12)), Lora("x", 0.5, hash="ffffffffffff"))
    )
    plan = plan_models(generation, replace(INSTALLED, loras=files), NO_FALLBACK, "error")
    assert [(lora.name, lora.strength_model) for lora in plan.loras] == [("y.safetensors", 0.3), ("x.safetensors", 0.5)]


# --- by alias ----------------------------------------------------------------------------------------------------


def aliases(text: str) -> Aliases:
    return parse_aliases(text, Path("aliases.txt"))


def test_an_alias_stands_for_a_name_that_no_longer_exists():
    table = aliases("gone.safetensors = other.safetensors\n[loras]\nold = styles/Style.safetensors\n")
    generation = replace(
        GENERATION, checkpoint="sd\\Gone.ckpt", checkpoint_hash="0123456789", loras=(Lora("old.safetensors", 0.5),)
    )
    plan = plan_models(generation, replace(INSTALLED, aliases=table), NO_FALLBACK, "error")
    assert plan.checkpoint == "other.safetensors"
    assert plan.generation.checkpoint_hash is None
    assert plan.loras == (Lora("styles/Style.safetensors", 0.5),)
    assert "by its alias" in plan.generation.fields["checkpoint"] and "by its alias" in plan.generation.fields["loras"]


def test_an_alias_wins_over_a_like_name_and_loses_to_the_very_name():
    table = aliases("cosmopolitan_release_version.safetensors = other.safetensors")
    plan = plan_models(GENERATION, replace(INSTALLED, aliases=table), NO_FALLBACK, "error")
    assert plan.checkpoint == "other.safetensors"
    exact = Files(["Cosmopolitan_release_version.safetensors", "other.safetensors"])
    plan = plan_models(GENERATION, replace(INSTALLED, aliases=table, checkpoints=exact), NO_FALLBACK, "error")
    assert plan.checkpoint == "Cosmopolitan_release_version.safetensors"


def test_an_alias_can_name_the_built_in_model_and_not_smuggle_in_an_inpainting_one():
    plan = plan_models(
        replace(GENERATION, checkpoint="gone"), replace(INSTALLED, aliases=aliases(f"gone = {MINI_NAME}")), "x", "skip"
    )
    assert plan.checkpoint == MINI_NAME
    installed = replace(
        INSTALLED, aliases=aliases("gone = other"), is_inpainting=lambda name: name == "other.safetensors"
    )
    with pytest.raises(ModelError, match="inpainting"):
        plan_models(replace(GENERATION, checkpoint="gone"), installed, NO_FALLBACK, "error")


def test_aliases_that_lead_nowhere_are_told_in_the_warnings_and_in_the_error():
    table = aliases("gone = away\nnonsense\n")
    plan = plan_models(
        replace(GENERATION, checkpoint="gone"), replace(INSTALLED, aliases=table), "other.safetensors", "error"
    )
    text = "\n".join(plan.generation.warnings)
    assert "away" in text and "line 1" in text and "line 2" in text
    with pytest.raises(ModelError, match=r'"gone = that file" into aliases\.txt'):
        plan_models(replace(GENERATION, checkpoint="gone"), replace(INSTALLED, aliases=table), NO_FALLBACK, "error")


# --- what does not fit, and what is not there --------------------------------------------------------------------


def test_a_lora_of_another_family_is_warned_of():
    families = {"detail.safetensors": "sdxl", "styles/Style.safetensors": "sd15"}
    installed = replace(INSTALLED, family=lambda name: "sd15", lora_family=families.get)
    warnings = plan_models(GENERATION, installed, NO_FALLBACK, "error").generation.warnings
    assert len(warnings) == 1 and all(word in warnings[0] for word in ("detail.safetensors", "sdxl", "sd15"))


def test_an_embedding_that_is_not_installed_is_warned_of_by_name():
    generation = replace(GENERATION, positive="a cat, embedding:good", negative="(embedding:bad-hands-5:1.2)")
    plan = plan_models(generation, replace(INSTALLED, embeddings=["x/good.pt"]), NO_FALLBACK, "error")
    assert [w for w in plan.generation.warnings if "embedding" in w] == [
        "the embedding bad-hands-5 of the prompt is not installed and has no effect"
    ]


def lacking(*parts: str) -> Installed:
    return replace(INSTALLED, lacks=lambda name: parts)


def test_a_diffusion_model_alone_is_refused_with_where_it_belongs():
    with pytest.raises(ModelError, match=r"without text encoder \(CLIP\) and VAE.*diffusion_models.*--model NAME"):
        plan_models(replace(GENERATION, vae=None), lacking("text encoder", "VAE"), NO_FALLBACK, "error")
    with pytest.raises(ModelError, match=r"without text encoder \(CLIP\):"):
        plan_models(GENERATION, lacking("text encoder", "VAE"), NO_FALLBACK, "error")


def test_a_checkpoint_without_vae_needs_the_images():
    assert plan_models(GENERATION, lacking("VAE"), NO_FALLBACK, "error").vae == GENERATION.vae
    with pytest.raises(ModelError, match="holds no VAE, and the image names none"):
        plan_models(replace(GENERATION, vae=None), lacking("VAE"), NO_FALLBACK, "error")
    gone = replace(lacking("VAE"), vaes=Files([]))
    with pytest.raises(ModelError, match=r"holds no VAE, and the VAE vae-ft-mse.* is not installed.*models/vae"):
        plan_models(GENERATION, gone, NO_FALLBACK, "error")
