"""Jobs whose model files are damaged, incomplete or full of code, on the real server: told before any work is done."""

from __future__ import annotations

import pytest
from damaged_files import DAMAGED, pickled_code
from job_images import picture, plain_graph, write_image
from made_models import without_tensors

from distillery.driver import Upscaler
from distillery.driver.errors import JobError
from distillery.driver.events import Stage
from distillery.nodes.model_files.mini import ensure_mini

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def driver(server, tmp_path):
    with Upscaler(server=server.url, out=tmp_path / "out") as driver:
        yield driver


def job_error(driver, source) -> tuple[str, list[str]]:
    """The error of a job, and the stages that began before it."""
    stages: list[str] = []

    def report(event: object) -> None:
        if isinstance(event, Stage):
            stages.append(event.title)

    with pytest.raises(JobError) as error:
        driver.upscale(source, on_progress=report)
    assert "succeed" not in str(error.value) and "/models/" not in str(error.value)
    return str(error.value), stages


def source_with(tmp_path, checkpoint: str | None = None, lora: str | None = None, vae: str | None = None):
    graph = plain_graph()
    if checkpoint:
        graph["4"]["inputs"]["ckpt_name"] = checkpoint
    if lora:
        inputs = {"lora_name": lora, "strength_model": 1.0, "strength_clip": 1.0, "model": ["4", 0], "clip": ["4", 1]}
        graph["20"] = {"class_type": "LoraLoader", "inputs": inputs}
        graph["3"]["inputs"]["model"] = ["20", 0]
    if vae:
        graph["21"] = {"class_type": "VAELoader", "inputs": {"vae_name": vae}}
        graph["8"]["inputs"]["vae"] = ["21", 0]
    return write_image(tmp_path / "a.png", picture(64, 64), graph)


@pytest.mark.parametrize("case", ["web page", "LFS pointer as ckpt", "empty", "cut off in its tensors", "zip cut off"])
def test_damaged_checkpoints(driver, models, tmp_path, case):
    suffix, content, words = DAMAGED[case]
    file = models / "checkpoints" / f"Damaged{suffix}"
    file.write_bytes(content)
    try:
        text, stages = job_error(driver, source_with(tmp_path, file.name))
    finally:
        file.unlink()
    assert text.startswith(f'Load Models (recalled): The checkpoint "{file.name}" ') and words in text
    assert "Upscale 2x" not in stages


@pytest.mark.parametrize("kind", ["checkpoints", "loras", "vae"])
def test_code_in_a_model_is_not_run(driver, models, tmp_path, kind):
    own = models / "checkpoints" / "Own.safetensors"
    own.hardlink_to(ensure_mini(models / "checkpoints"))
    file = models / kind / f"Code{'.ckpt' if kind == 'checkpoints' else '.pt'}"
    file.write_bytes(pickled_code(tmp_path / "mark"))
    name = {"checkpoints": "checkpoint", "loras": "lora", "vae": "vae"}[kind]
    try:
        text, stages = job_error(driver, source_with(tmp_path, **{"checkpoint": own.name, name: file.name}))
    finally:
        file.unlink()
        own.unlink()
    assert f'"{file.name}" wants to run code' in text and "safetensors" in text
    assert not (tmp_path / "mark").exists() and "Upscale 2x" not in stages


@pytest.mark.parametrize(
    ("prefixes", "words"),
    [
        (("cond_stage_model.", "first_stage_model."), "without text encoder (CLIP) and VAE"),
        (("cond_stage_model.",), "without text encoder (CLIP):"),
        (("first_stage_model.",), "holds no VAE, and the image names none"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_checkpoint_that_lacks_a_part_is_told_before_any_work(driver, models, tmp_path, prefixes, words, suffix):
    file = without_tensors(ensure_mini(models / "checkpoints"), models / "checkpoints" / f"Parts{suffix}", prefixes)
    try:
        text, stages = job_error(driver, source_with(tmp_path, file.name))
    finally:
        file.unlink()
    assert f'The checkpoint "{file.name}"' in text and words in text and "--model NAME" in text
    assert "Upscale 2x" not in stages
