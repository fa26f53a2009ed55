"""The whole job on the real server: what a user of /upscale gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from job_images import opened, picture, plain_graph, write_image
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.driver import Upscaler
from distillery.driver.errors import SourceError
from distillery.nodes.errors import DistilleryError
from distillery.nodes.parameters import MINI_NAME, NEGATIVE_SUFFIX
from distillery.nodes.recall import recall

pytestmark = [pytest.mark.server, pytest.mark.slow]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HIRES_STAGES = {"VAE Encode", "VAE Decode", "HiRes pass (KSampler)", "Load Models (recalled)", "Positive prompt"}


@pytest.fixture(scope="module")
def driver(server, tmp_path_factory):
    with Upscaler(server=server.url, out=tmp_path_factory.mktemp("out")) as driver:
        yield driver


@pytest.mark.parametrize("name", [p.name for p in sorted(EXAMPLES.glob("*.png"))])
def test_the_examples_come_back_at_exactly_2x_with_everything_recalled(driver, name):
    source = EXAMPLES / name
    before = recall(source)
    result = driver.upscale(source)
    out = opened(result)
    with Image.open(source) as image:
        assert out.image.size == (2 * image.width, 2 * image.height) == (result.width, result.height)
    used = result.generation
    assert (used.positive, used.negative, used.seed, used.cfg) == (
        before.positive,
        before.negative,
        before.seed,
        before.cfg,
    )
    assert (used.sampler, used.scheduler) == (before.sampler, before.scheduler)
    assert used.checkpoint == MINI_NAME
    assert (used.hires.denoise, used.sharpen) == (0.3, 0.3)
    assert HIRES_STAGES <= set(result.seconds)


def test_the_result_looks_like_the_source(driver, tmp_path):
    with Image.open(EXAMPLES / "cat.png") as image:
        source = image.convert("RGB").resize((96, 88), Image.Resampling.LANCZOS)
    result = driver.upscale(write_image(tmp_path / "a.png", source, plain_graph()), "--sharpen 0 --power 0.2")
    back = opened(result).image.resize(source.size, Image.Resampling.BOX)
    error = np.asarray(back).astype(float) - np.asarray(source).astype(float)
    assert 10 * np.log10(255**2 / (error**2).mean()) > 20
    assert abs(error.mean()) < 6


def test_the_output_carries_prompt_workflow_and_record(driver, tmp_path):
    out = opened(driver.upscale(write_image(tmp_path / "a.png", picture(64, 64), plain_graph()), "--seed 5"))
    prompt = json.loads(out.text["prompt"])
    assert {node["class_type"] for node in prompt.values()} >= {"KSampler", "DistillerySave", "DistilleryParameters"}
    workflow = json.loads(out.text["workflow"])
    commands = [n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "DistilleryParameters"]
    assert commands == ["--seed 5"]
    assert json.loads(out.text["distillery"])["generation"]["seed"] == 5


def test_an_output_can_be_upscaled_again_without_doubled_suffixes(driver, tmp_path):
    first = driver.upscale(EXAMPLES / "odd.png", "--neg fog --sharpen 0 --power 0.1")
    small = opened(first).image.resize((64, 64))
    info = PngInfo()
    for key, value in opened(first).text.items():
        info.add_itxt(key, value)
    small.save(tmp_path / "again.png", pnginfo=info)
    second = driver.upscale(tmp_path / "again.png", "--power 0.1")
    assert second.recalled.origin == "distillery-upscale"
    assert second.generation.positive == first.generation.positive
    assert second.generation.negative == f"fog, {NEGATIVE_SUFFIX}"
    third = driver.upscale(tmp_path / "again.png", "--power 0.1 --neg rain")
    assert third.generation.negative == f"rain, {NEGATIVE_SUFFIX}"


@pytest.mark.parametrize("size", [(64, 64), (65, 71), (66, 64), (119, 67)])
def test_every_size_comes_back_at_exactly_2x(driver, tmp_path, size):
    result = driver.upscale(write_image(tmp_path / "a.png", picture(*size), plain_graph()))
    assert opened(result).image.size == (size[0] * 2, size[1] * 2)


def test_no_border_pixel_is_lost(driver, tmp_path):
    """A marked last row and column survive the VAE's crop to multiples of 8."""
    image = picture(69, 67)
    levels = np.asarray(image).copy()
    levels[-2:], levels[:, -2:] = (255, 0, 0), (255, 0, 0)
    result = driver.upscale(write_image(tmp_path / "a.png", Image.fromarray(levels), plain_graph()), "--power 0.1")
    border = np.concatenate([opened(result).pixels[-2:].reshape(-1, 3), opened(result).pixels[:, -2:].reshape(-1, 3)])
    assert border[:, 0].mean() > border[:, 1].mean() + 80


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "I;16"])
def test_every_mode_is_taken(driver, tmp_path, mode):
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture(70, 66, "L")).astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):
        image = picture(70, 66).convert("L" if mode == "LA" else "RGB")
        alpha = Image.fromarray(np.tile(np.linspace(0, 255, 70).astype(np.uint8), (66, 1)))
        image.putalpha(alpha)
    else:
        image = picture(70, 66, mode)
    out = opened(driver.upscale(write_image(tmp_path / "a.png", image, plain_graph()), "--power 0.1"))
    assert out.image.size == (140, 132)
    if mode in ("LA", "RGBA"):
        assert out.image.mode == "RGBA"
        expected = np.asarray(alpha.resize((140, 132), Image.Resampling.BICUBIC)).astype(np.int16)
        assert np.abs(out.pixels[..., 3] - expected).max() <= 3
    if mode == "I;16":
        assert out.pixels.mean() == pytest.approx(np.asarray(picture(70, 66, "L")).mean(), abs=20)


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(driver, tmp_path):
    source = write_image(tmp_path / "a.png", picture(64, 64), plain_graph())
    first = opened(driver.upscale(source, "--seed 1")).pixels
    other = opened(driver.upscale(source, "--seed 2")).pixels
    driver.free()  # so that the third run computes everything again
    again = driver.upscale(source, "--seed 1")
    assert "HiRes pass (KSampler)" in again.seconds
    assert np.array_equal(first, opened(again).pixels)
    assert not np.array_equal(first, other)


def test_a_cached_run_gives_a_file_of_its_own(driver, tmp_path):
    source = write_image(tmp_path / "a.png", picture(64, 64), plain_graph())
    first = driver.upscale(source, "--seed 3")
    second = driver.upscale(source, "--seed 3")
    assert first.path != second.path
    assert "HiRes pass (KSampler)" in second.cached
    assert np.array_equal(opened(first).pixels, opened(second).pixels)


def test_another_command_does_not_upscale_or_load_again(driver, tmp_path):
    source = write_image(tmp_path / "a.png", picture(64, 64), plain_graph())
    driver.upscale(source, "--seed 3")
    second = driver.upscale(source, "--seed 4 --power 0.2")
    assert {"Load UltraSharp", "Upscale 2x"} <= set(second.cached)


def test_power_changes_how_far_the_result_is_from_the_upscaled_image(driver, tmp_path):
    source = write_image(tmp_path / "a.png", picture(64, 64), plain_graph())
    upscaled, low, high = (
        opened(driver.upscale(source, f"--power {p} --sharpen 0")).pixels for p in ("0", "0.1", "0.9")
    )
    assert 0 < np.abs(low - upscaled).mean() < np.abs(high - upscaled).mean()


def test_power_0_runs_nothing_of_the_hires_pass_and_needs_no_data(driver, tmp_path):
    result = driver.upscale(write_image(tmp_path / "a.png", picture(70, 66)), "--power 0")
    assert opened(result).image.size == (140, 132)
    assert not HIRES_STAGES & (set(result.seconds) | set(result.cached))
    assert result.generation.checkpoint is None


def test_sharpen_0_skips_the_sharpening(driver, tmp_path):
    source = write_image(tmp_path / "a.png", picture(64, 64))
    soft, sharp = (opened(driver.upscale(source, f"--power 0 --sharpen {a}")).pixels for a in (0, 1))
    gradient = [np.abs(np.diff(p, axis=1)).mean() for p in (soft, sharp)]
    assert gradient[1] > 1.5 * gradient[0]


def test_an_image_without_data_is_an_error_that_says_what_to_do(driver, tmp_path):
    with pytest.raises(DistilleryError, match="--prompt"):
        driver.upscale(write_image(tmp_path / "a.png", picture(64, 64)))


def test_an_image_without_data_works_with_prompt_and_model(driver, tmp_path):
    source = write_image(tmp_path / "a.png", picture(64, 64))
    result = driver.upscale(source, f"--prompt a hill --model {MINI_NAME}")
    assert (result.generation.positive, result.generation.checkpoint) == ("a hill", MINI_NAME)
    assert result.generation.cfg == 6


def test_a_missing_checkpoint_is_replaced_by_the_built_in_model_and_the_result_says_so(driver, tmp_path):
    graph = plain_graph()
    graph["4"]["inputs"]["ckpt_name"] = "NotHere_v3.safetensors"
    result = driver.upscale(write_image(tmp_path / "a.png", picture(64, 64), graph))
    assert result.generation.checkpoint == MINI_NAME
    assert any("NotHere_v3" in w and "stands in" in w for w in result.warnings)


def test_a_sampler_that_comfyui_does_not_know_is_replaced_with_a_warning(driver, tmp_path):
    source = write_image(tmp_path / "a.png", picture(64, 64), plain_graph(sampler_name="restart"))
    result = driver.upscale(source)
    assert result.generation.sampler == "uni_pc"
    assert any("restart" in w for w in result.warnings)


def test_a_small_image_is_an_error(driver, tmp_path):
    with pytest.raises(SourceError, match="64x64"):
        driver.upscale(write_image(tmp_path / "a.png", picture(63, 80), plain_graph()), "--power 0")


@pytest.mark.parametrize(
    "name", ["new_raw", "new_lora_3x4", "old_9x16", "old_img2img", "sdxl_sharpen_0", "new_control_adapt", "new_cutoff"]
)
def test_real_distillery_images(driver, shared, tmp_path, name):
    """Shrunk for speed; their metadata is the original's."""
    with Image.open(shared / "images" / f"{name}.png") as image:
        image.load()
        size = (image.width * 80 // max(image.size), image.height * 80 // max(image.size))
        source = write_image(tmp_path / f"{name}.png", image, image.text["prompt"], tuple(max(64, s) for s in size))
    before = recall(source)
    result = driver.upscale(source, "--power 0.1")
    with Image.open(source) as image:
        assert opened(result).image.size == (2 * image.width, 2 * image.height)
    assert (result.generation.positive, result.generation.seed) == (before.positive, before.seed)
    assert result.generation.checkpoint == MINI_NAME
    assert any(before.checkpoint in w for w in result.warnings)
