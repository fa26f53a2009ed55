"""LoRAs of the image on the real server: found, applied in order and strength, refused or skipped when missing."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from job_images import opened, picture, plain_graph, write_image
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from distillery.driver import Upscaler
from distillery.driver.errors import JobError
from distillery.driver.server import managed
from distillery.nodes.generation import Lora
from distillery.nodes.model_files.aliases import FILE_NAME
from distillery.nodes.model_files.file_hashes import CACHE_NAME
from distillery.nodes.model_files.mini import ensure_mini
from distillery.nodes.summary import SUMMARY_KEY

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def driver(server, models, tmp_path_factory):
    """A server with a checkpoint under a name of its own (the built-in one takes no LoRAs) and two LoRAs for it."""
    checkpoint = models / "checkpoints" / "Sub" / "My_Model_v1.safetensors"
    checkpoint.parent.mkdir(exist_ok=True)
    shutil.copy(ensure_mini(models / "checkpoints"), checkpoint)
    torch.manual_seed(0)
    for name in ("first", "second"):
        weights = {}
        for layer in ("attn1_to_q", "attn1_to_v", "attn2_to_v"):
            key = f"lora_unet_input_blocks_3_1_transformer_blocks_0_{layer}"
            width = 768 if layer == "attn2_to_v" else 320
            weights[f"{key}.lora_down.weight"] = torch.randn(8, width) * 0.2
            weights[f"{key}.lora_up.weight"] = torch.randn(320, 8) * 0.2
            weights[f"{key}.alpha"] = torch.tensor(8.0)
        (models / "loras" / "styles").mkdir(exist_ok=True)
        save_file(weights, models / "loras" / "styles" / f"{name}.safetensors")
    with Upscaler(server=server.url, out=tmp_path_factory.mktemp("out")) as driver:
        yield driver
    checkpoint.unlink()  # other tests count on the built-in checkpoint being the only one


def with_loras(tmp_path, *loras: tuple[str, float, float]):
    graph = plain_graph()
    graph["4"]["inputs"]["ckpt_name"] = "my_model_v1.ckpt"
    source = "4"
    for i, (name, model, clip) in enumerate(loras):
        node = f"2{i}"
        graph[node] = {
            "class_type": "LoraLoader",
            "inputs": {
                "lora_name": name, "strength_model": model, "strength_clip": clip,
                "model": [source, 0], "clip": [source, 1],
            },
        }  # fmt: skip
        source = node
    graph["3"]["inputs"]["model"] = [source, 0]
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = [source, 1]
    return write_image(tmp_path / "a.png", picture(64, 64), graph)


def test_loras_are_found_by_name_and_applied_with_their_strengths(driver, tmp_path):
    plain = driver.upscale(with_loras(tmp_path))
    weak = driver.upscale(with_loras(tmp_path, ("First.safetensors", 0.2, 0.2)))
    strong = driver.upscale(with_loras(tmp_path, ("First.safetensors", 1.0, 1.0)))
    assert plain.generation.checkpoint.endswith("My_Model_v1.safetensors")
    assert strong.generation.loras == (Lora("styles/first.safetensors", 1.0, 1.0),)
    distance = [np.abs(opened(r).pixels - opened(plain).pixels).mean() for r in (weak, strong)]
    assert 0 < distance[0] < distance[1]


def test_several_loras_keep_their_order_and_both_strengths(driver, tmp_path):
    result = driver.upscale(with_loras(tmp_path, ("second.safetensors", 0.5, 0.25), ("first.safetensors", 0.75, 0.0)))
    assert result.generation.loras == (
        Lora("styles/second.safetensors", 0.5, 0.25),
        Lora("styles/first.safetensors", 0.75, 0.0),
    )
    assert result.generation.warnings == () or all("LoRA" not in w for w in result.warnings)


def test_a_missing_lora_is_an_error_that_names_it_and_can_be_skipped(driver, tmp_path):
    source = with_loras(tmp_path, ("gone.safetensors", 1.0, 1.0), ("first.safetensors", 0.5, 0.5))
    with pytest.raises(JobError, match=r"gone\.safetensors.*--missing_lora skip"):
        driver.upscale(source)
    skipped = driver.upscale(source, "--missing_lora skip")
    assert skipped.generation.loras == (Lora("styles/first.safetensors", 0.5, 0.5),)
    assert any("gone.safetensors" in w for w in skipped.warnings)


def test_the_models_of_the_last_image_are_kept_for_the_next(driver, server, tmp_path):
    """Another command, and other LoRAs, must not load the checkpoint again."""
    source = with_loras(tmp_path, ("first.safetensors", 0.5, 0.5))
    driver.upscale(source)
    loads = server.log.read_text(errors="replace").count("model weight dtype")
    driver.upscale(source, "--seed 5 --power 0.2")
    driver.upscale(with_loras(tmp_path, ("second.safetensors", 0.5, 0.5)))
    assert server.log.read_text(errors="replace").count("model weight dtype") == loads


def test_the_built_in_model_does_not_stand_in_where_others_are_installed(driver, tmp_path):
    graph = plain_graph()
    graph["4"]["inputs"]["ckpt_name"] = "Elsewhere.safetensors"
    source = write_image(tmp_path / "a.png", picture(64, 64), graph)
    with pytest.raises(JobError, match=r"Elsewhere.*My_Model_v1"):
        driver.upscale(source)
    assert driver.upscale(source, "--model my_model_v1").generation.checkpoint.endswith("My_Model_v1.safetensors")


def test_the_fallback_is_not_needed_for_an_image_without_a_hires_pass(driver, tmp_path):
    Image.new("RGB", (64, 64), (10, 200, 90)).save(tmp_path / "a.png")
    assert driver.upscale(tmp_path / "a.png", "--power 0").generation.checkpoint is None


def recorded(path, **generation):
    """An image with this pack's own record: of one step, so that the HiRes pass is quick."""
    values = {"origin": "a1111", "positive": "a lake", "negative": "", "seed": 1, "cfg": 6, "hires": {"steps": 1}}
    info = PngInfo()
    info.add_itxt("distillery", json.dumps({"version": 1, "generation": {**values, **generation}}))
    picture(64, 64).save(path, pnginfo=info)
    return path


def test_files_are_found_by_their_hashes_and_the_hashes_are_kept(driver, server, models, tmp_path):
    checkpoint = (models / "checkpoints" / "Sub" / "My_Model_v1.safetensors").read_bytes()
    lora = (models / "loras" / "styles" / "second.safetensors").read_bytes()
    start = 8 + int.from_bytes(lora[:8], "little")
    source = recorded(
        tmp_path / "a.png",
        positive="a lake, embedding:not_there",
        checkpoint_hash=hashlib.sha256(checkpoint).hexdigest()[:10],
        loras=[{"name": "gone", "strength_model": 0.5, "hash": hashlib.sha256(lora[start:]).hexdigest()[:12]}],
    )
    result = driver.upscale(source)
    # The built-in checkpoint, which is installed too, is the same file.
    assert result.generation.checkpoint.endswith(("My_Model_v1.safetensors", "distillery-mini.safetensors"))
    assert "by its hash" in result.generation.fields["checkpoint"]
    assert any("not_there" in w for w in result.warnings)
    with closing(sqlite3.connect(server.base / "user" / "__distillery" / CACHE_NAME)) as database:
        kept = [path for (path,) in database.execute("SELECT path FROM hashes")]
    assert any(path.endswith(".safetensors") for path in kept)


def test_an_alias_is_used_as_soon_as_it_is_written_and_the_nodes_show_it(driver, server, tmp_path):
    source = recorded(
        tmp_path / "a.png",
        checkpoint="Cosmopolitan_release_version.safetensors",
        loras=[{"name": "first", "strength_model": 0.5, "strength_clip": 0.25}],
    )
    place = server.base / "user" / "default" / FILE_NAME
    with pytest.raises(JobError) as error:
        driver.upscale(source)
    assert str(place) in str(error.value)
    place.parent.mkdir(exist_ok=True)
    place.write_text("Cosmopolitan_release_version.safetensors = my_model_v1\n")
    try:
        result = driver.upscale(source)
    finally:
        place.unlink()
    assert result.generation.checkpoint.endswith("My_Model_v1.safetensors")
    shown = history_summaries(server, result.prompt_id)
    # What the first, failed run has read is in ComfyUI's cache: Load Models and Save Image have run.
    assert [summary["heading"] for summary in shown] == ["Loaded", "Made with"]
    for summary in shown:
        rows = {row["name"]: row["value"] for row in summary["rows"]}
        assert rows["Checkpoint"].endswith("My_Model_v1.safetensors")
        assert rows["LoRA"] == "styles/first.safetensors 0.5 (clip 0.25)"
    with pytest.raises(JobError):
        driver.upscale(source, "--seed 2")


def history_summaries(server: managed.RunningServer, prompt_id: str) -> list[dict[str, Any]]:
    """What the nodes of a job show, in the order of their headings."""

    session = server.endpoint.session()
    outputs = session.get(f"{server.url}/history/{prompt_id}", timeout=10).json()[prompt_id]["outputs"]
    shown = [json.loads(text) for output in outputs.values() for text in output.get(SUMMARY_KEY, ())]
    return sorted(shown, key=lambda summary: summary["heading"])
