"""What the editor shows on the nodes."""

from __future__ import annotations

import json

from distillery.nodes import summary
from distillery.nodes.generation import Generation, HiRes, Lora
from distillery.nodes.summary import INSTALLED, MISSING, Row, summarize_image, summarize_models, summarize_result

GENERATION = Generation(
    origin="a1111", positive="a <b>cat</b>", negative="", seed=2**64 - 1, cfg=7.0, steps=20, sampler="euler",
    scheduler="karras", checkpoint="x.safetensors", loras=(Lora("b", 0.5, 0.5), Lora("c", 1.0, 0.0)), clip_skip=2,
    hires=HiRes(steps=15, denoise=0.3, upscaler="u.pth"), sharpen=0.3, warnings=("first",),
)  # fmt: skip


def test_an_image_shows_what_it_says_and_which_models_are_there():
    asked = []

    def find(folder: str, name: str, digest: str | None) -> str:
        asked.append((folder, name))
        return MISSING if name == "c" else INSTALLED

    shown = summarize_image(GENERATION, find)
    assert shown.heading == "Recalled from its a1111 data"
    assert asked == [("checkpoints", "x.safetensors"), ("loras", "b"), ("loras", "c")]
    assert shown.rows == (
        Row("Prompt", "a <b>cat</b>"),
        Row("Checkpoint", "x.safetensors", INSTALLED),
        Row("LoRA", "b 0.5", INSTALLED),
        Row("LoRA", "c 1 (clip 0)", MISSING, missing=True),
        Row("Seed", str(2**64 - 1)),
        Row("Sampling", "euler, karras, 20 steps, CFG 7, CLIP skip 2"),
    )
    assert shown.warnings == ("first",)


def test_an_image_without_data_says_what_to_do():
    shown = summarize_image(Generation(warnings=("why",)), lambda *_: INSTALLED)
    assert shown.rows == () and shown.warnings == (summary.ADVICE, "why")


def test_a_result_shows_its_power_and_the_steps_of_its_own_pass():
    rows = {row.name: row.value for row in summarize_result(GENERATION).rows}
    assert (rows["Power"], rows["Sharpen"], rows["Upscaler"]) == ("0.3", "0.3", "u.pth")
    assert "15 steps" in rows["Sampling"]


def test_a_result_without_a_hires_pass_names_no_model():
    shown = summarize_result(Generation(checkpoint="x", positive="y", hires=HiRes(denoise=0.0), sharpen=0.0))
    assert [row.name for row in shown.rows] == ["Power", "Sharpen"]


def test_the_loaded_models_stand_alone():
    assert [row.name for row in summarize_models(GENERATION).rows] == ["Checkpoint", "LoRA", "LoRA"]


def test_the_editor_gets_json():
    data = json.loads(summarize_image(GENERATION, lambda *_: INSTALLED).as_json())
    assert data["rows"][0] == {"name": "Prompt", "value": "a <b>cat</b>", "note": "", "missing": False}
    assert set(data) == {"heading", "rows", "warnings"}
    summarize_image(Generation(origin="a1111", positive="half \ud83d"), lambda *_: INSTALLED).as_json().encode("utf-8")
