"""The workflows in ComfyUI's own editor, in a real browser, on a real server: what an artist sees and does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.driver import Upscaler
from distillery.driver.server import workflow
from distillery.nodes.generation import HiRes
from distillery.nodes.model_files.plan import NO_FALLBACK
from distillery.nodes.parameters import MINI_NAME
from distillery.nodes.recall import recall
from distillery.nodes.record import RECORD_KEY, record_for_copy

if TYPE_CHECKING:
    from editor import Editor

pytestmark = [pytest.mark.server, pytest.mark.slow]

WORKFLOWS = sorted(p.stem for p in workflow.ui_file().parent.glob("*.json"))
NODES_2 = {"Comfy.VueNodes.Enabled": True}
RENDERERS = {"classic": {}, "nodes 2.0": NODES_2}
PROMPT = "a lighthouse on a rock, <b>storm</b>"
SEED = 2**53 + 1  # more than a JavaScript number holds


def picture(path: Path, size: int = 64, steps: int | None = 3) -> Path:
    """A picture that a ComfyUI workflow with a LoRA has made, with that many steps in its HiRes pass (None: without one)."""
    graph = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": SEED, "steps": 20, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": MINI_NAME}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": size, "height": size, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT, "clip": ["10", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly", "clip": ["10", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
        "10": {"class_type": "LoraLoader", "inputs": {
            "lora_name": "add_detail.safetensors", "strength_model": 0.7, "strength_clip": 0.7, "model": ["4", 0], "clip": ["4", 1],
        }},
    }  # fmt: skip
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    pixels = np.stack([x / size, y / size, 0.5 + 0.5 * np.sin(x / 5) * np.cos(y / 7)], axis=-1)
    info = PngInfo()
    info.add_text("prompt", json.dumps(graph))
    image = Image.fromarray((pixels * 255).astype(np.uint8))
    image.save(path, pnginfo=info)
    if steps is not None:
        generation = recall(path)
        info.add_itxt(RECORD_KEY, record_for_copy(replace(generation, hires=HiRes(steps=steps))))
        image.save(path, pnginfo=info)
    return path


def api_file(name: str) -> dict:
    return json.loads((workflow.api_file().parent / f"{name}.json").read_text(encoding="utf-8"))


def ui_file(name: str) -> Path:
    return workflow.ui_file().parent / f"{name}.json"


def drawn_links(graph: dict) -> list[list]:
    """A graph as far as a user sees it: nodes with class, title, place and values; links."""
    nodes = [
        [n["id"], n["type"], n.get("title"), [round(v) for v in n["pos"]], n.get("widgets_values")]
        for n in sorted(graph["nodes"], key=lambda n: n["id"])
    ]
    return [nodes, sorted(link[1:5] for link in graph["links"])]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_dropped_workflow_is_whole_and_tidy(open_editor, renderer):
    editor = open_editor(RENDERERS[renderer])
    for name in WORKFLOWS:
        editor.drop(ui_file(name))
        check_graph(editor, name)


def check_graph(editor: Editor, name: str) -> None:
    """The dropped workflow is complete, nothing overlaps, and it is the graph of the API's file."""
    assert editor.unknown_nodes() == []
    assert editor.page.locator("[data-testid=error-overlay]").count() == 0
    assert editor.errors == []

    boxes = editor.boxes()
    groups = [g["bounding"] for g in editor.graph()["groups"]]
    for i, (x, y, w, h) in boxes.items():
        for j, (ox, oy, ow, oh) in boxes.items():
            apart = x + w <= ox or ox + ow <= x or y + h <= oy or oy + oh <= y
            assert i == j or apart, f"the nodes {i} and {j} overlap"
        inside = [gx <= x and x + w <= gx + gw and gy <= y and y + h <= gy + gh for gx, gy, gw, gh in groups]
        assert sum(inside) == 1, f"the node {i} stands in {sum(inside)} groups"

    assert editor.submission() == api_file(name), "run tools/make_workflows.py"


def test_from_the_upload_to_the_result_and_back(open_editor, server, tmp_path):
    source = picture(tmp_path / "lighthouse.png")
    editor = open_editor()
    editor.drop(ui_file("upscale"))
    editor.upload(source)

    recalled = editor.page.locator(".distillery-summary", has_text="Recalled from")
    recalled.wait_for()
    text = recalled.inner_text()
    assert PROMPT in text and str(SEED) in text, "what strangers wrote is shown as text"
    assert f"{MINI_NAME}\nbuilt in" in text
    assert "add_detail.safetensors 0.7\nnot installed" in text

    editor.type_command("--power 0.2 --sharpen 0.1")
    end = editor.finished(editor.run())
    assert end["kind"] == "execution_success", end

    expected = api_file("upscale")
    expected["1"]["inputs"]["image"] = "lighthouse.png"
    expected["2"]["inputs"]["command"] = "--power 0.2 --sharpen 0.1"
    assert editor.submitted[-1]["prompt"] == expected

    shown = editor.page.locator(".distillery-compare img")
    widths = shown.evaluate_all("all => Promise.all(all.map(async i => (await i.decode(), i.naturalWidth)))")
    assert sorted(widths) == [64, 128]
    saved = next(e["detail"]["output"] for e in editor.events("executed") if "images" in e["detail"]["output"])
    file = server.output / saved["images"][0]["subfolder"] / saved["images"][0]["filename"]
    with Image.open(file) as image:
        assert image.size == (128, 128)
    made_with = editor.page.locator(".distillery-summary", has_text="Made with").inner_text()
    assert "Power\n0.2" in made_with and PROMPT in made_with
    assert "the LoRA add_detail.safetensors does not fit" in made_with, "warnings are on the node"

    before = drawn_links(editor.graph())
    editor.page.keyboard.press("Escape")
    editor.drop(file)
    assert drawn_links(editor.graph()) == before
    assert editor.errors == []


def test_a_result_of_the_driver_loads_the_graph_that_made_it(open_editor, server, tmp_path):
    source = picture(tmp_path / "rock.png")
    with Upscaler(server=server.url, out=tmp_path) as driver:
        result = driver.upscale(source, "--power 0")
    editor = open_editor()
    editor.drop(result.path)
    assert editor.unknown_nodes() == []
    assert editor.widget("DistilleryParameters", "command") == "--power 0"
    dropped = open_editor()
    dropped.drop(ui_file("upscale"))
    (nodes, links), (expected, expected_links) = drawn_links(editor.graph()), drawn_links(dropped.graph())
    assert links == expected_links
    changed = [n[1] for n, e in zip(nodes, expected, strict=True) if n != e]
    assert changed == ["DistilleryLoadImage", "DistilleryParameters"]


def refuse(editor: Editor, node: str) -> str:
    """Press Run and wait for the error of a node: what it says."""
    job = editor.run()
    if not job:  # refused before it is queued
        errors = editor.page.evaluate("() => window.app.lastNodeErrors")
        assert list(errors) == [node]
        return errors[node]["errors"][0]["details"]
    end = editor.finished(job)
    assert (end["kind"], end["detail"].get("node_id")) == ("execution_error", node), end
    return end["detail"]["exception_message"]


def test_nodes_2_shows_the_same(open_editor, tmp_path):
    editor = open_editor(NODES_2)
    editor.drop(ui_file("upscale"))
    editor.upload(picture(tmp_path / "rock_2.png"))
    editor.set_widget("DistilleryParameters", "command", "--power 0")
    assert editor.finished(editor.run())["kind"] == "execution_success"
    editor.page.locator(".distillery-summary", has_text="Recalled from").get_by_text(PROMPT).wait_for()
    editor.page.locator(".distillery-summary", has_text="Enlarged, without a HiRes pass").wait_for()
    widths = editor.page.locator(".distillery-compare img").evaluate_all(
        "all => Promise.all(all.map(async i => (await i.decode(), i.naturalWidth)))"
    )
    assert sorted(widths) == [64, 128]
    assert editor.errors == []


def test_three_powers_share_everything_before_the_sampler(open_editor, server, tmp_path):
    editor = open_editor()
    editor.drop(ui_file("compare_power"))
    editor.upload(picture(tmp_path / "three.png"))
    powers = [0, 0.2, 0.7]
    for node, power in enumerate(powers):
        editor.set_widget("DistilleryPower", "power", power, which=node)
    job = editor.run()
    assert editor.finished(job)["kind"] == "execution_success"
    ran = [e["detail"] for e in editor.events("executing")]
    assert ran.count("4") == ran.count("10") == 1, "enlarged and encoded once"
    records = [
        json.loads(e["detail"]["output"]["distillery"][0])["generation"]
        for e in editor.events("executed")
        if "distillery" in (e["detail"]["output"] or {})
    ]
    assert sorted(record["hires"]["denoise"] for record in records) == powers
    warned = [record["hires"]["denoise"] for record in records if "hallucinations" in str(record["warnings"])]
    assert warned == [0.7]


def test_an_error_is_on_its_node_in_words_of_the_user(open_editor, tmp_path):
    source = picture(tmp_path / "named.png")
    bare = tmp_path / "bare.png"
    with Image.open(source) as image:
        Image.frombytes("RGB", image.size, image.tobytes()).save(bare)
    editor = open_editor()
    editor.drop(ui_file("upscale"))
    assert "no image is chosen" in refuse(editor, "1")

    editor.upload(bare)
    assert "no generation data" in refuse(editor, "2")
    editor.page.locator(".p-toast-message", has_text="no generation data").wait_for()
    assert "nothing of how it was made" in editor.page.locator(".distillery-summary").first.inner_text()

    editor.upload(source)
    editor.type_command("--power strong")
    assert "--power" in refuse(editor, "2")

    editor.type_command("--model no_such_model")
    editor.set_widget("DistilleryLoadModels", "fallback_checkpoint", NO_FALLBACK)
    assert "no_such_model" in refuse(editor, "5")
    editor.page.locator(".p-toast-message", has_text="Put it into models/checkpoints").wait_for()
    assert editor.errors == []


def test_progress_and_previews_are_live_and_cancel_works_at_once(open_editor, tmp_path):
    editor = open_editor({"Comfy.Execution.PreviewMethod": "latent2rgb"})
    editor.drop(ui_file("upscale"))
    editor.upload(picture(tmp_path / "large.png", 128, steps=None))
    job = editor.run()
    sampling = "e => e.kind === 'progress' && e.detail.node === '11' && e.detail.value > 1"
    editor.page.wait_for_function(f"() => window.seen.events.some({sampling})", timeout=300_000)
    pressed = editor.page.evaluate("() => performance.now()")
    editor.page.locator("[data-testid=queue-button] ~ button, button[aria-label*='ancel']").last.click()
    end = editor.finished(job)
    assert end["kind"] == "execution_interrupted"
    assert end["at"] - pressed < 10_000
    counted = {e["detail"]["node"]: e["detail"]["max"] for e in editor.events("progress")}
    assert counted["4"] >= 1 and counted["11"] == 15, "the upscale counts its tiles, the sampler its steps"
    assert editor.events("b_preview_with_metadata"), "the HiRes pass shows what it is doing"


def test_the_template_browser_lists_the_workflows_and_opens_them(open_editor):
    editor = open_editor()
    editor.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    editor.page.get_by_text("distillery-upscale").last.click()
    for name in WORKFLOWS:
        editor.page.locator("[role=dialog]").get_by_text(name, exact=True).first.wait_for()
    editor.page.locator("[role=dialog]").get_by_text("upscale", exact=True).first.click()
    editor.page.wait_for_function("() => window.app.graph.nodes.length > 10")
    for kind in {node["type"] for node in editor.graph()["nodes"] if node["type"].startswith("Distillery")}:
        help_page = editor.page.request.get(f"/extensions/distillery-upscale/docs/{kind}.md")
        assert help_page.ok and help_page.text().startswith("# "), kind
    assert editor.submission() == api_file("upscale")
