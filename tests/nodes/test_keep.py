"""``--keep`` on the real server: what the default job delivers, and what it must not undo."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.driver import Upscaler
from distillery.driver.errors import JobError
from distillery.driver.server import workflow
from distillery.driver.server.client import ComfyClient
from distillery.nodes.recall import recall
from distillery.tools.mini import measures

pytestmark = [pytest.mark.server, pytest.mark.slow]

CAT = Path(__file__).resolve().parents[2] / "examples" / "cat.png"
COPY_STAGE = "VAE Decode (copy)"


def with_its_data(image: Image.Image, path: Path) -> Path:
    """The image with the cat's generation data, saved at the path."""
    info = PngInfo()
    with Image.open(CAT) as cat:
        for key, value in cat.info.items():
            if isinstance(value, str):
                info.add_text(key, value)
    image.save(path, pnginfo=info)
    return path


@pytest.fixture(scope="module")
def upscale(server, tmp_path_factory):
    """(command, source) -> (result, picture as (H, W, 3), 0 to 1), each made once; the source: a part of the cat."""
    folder = tmp_path_factory.mktemp("out")
    with Image.open(CAT) as cat:
        part = with_its_data(cat.convert("RGB").crop((70, 60, 166, 156)), folder / "part.png")
    made = {}
    with Upscaler(server=server.url, out=folder) as upscaler:

        def run(command: str, source: Path = part):
            if (command, source) not in made:
                result = upscaler.upscale(source, f"--sharpen 0 {command}")
                made[command, source] = result, np.asarray(Image.open(result.path).convert("RGB")) / 255
            return made[command, source]

        yield run


def test_the_default_job_keeps_the_detail_of_the_enlarged_picture(upscale):
    _, enlarged = upscale("--power 0", CAT)
    result, picture = upscale("", CAT)
    energy, correlation = measures.detail_kept(picture, enlarged)
    assert measures.psnr(picture, enlarged) >= 34
    assert correlation >= 0.9
    assert 0.85 < energy < 1.2
    assert COPY_STAGE in result.seconds
    assert result.generation.hires.keep == "detail"
    assert recall(result.path).hires.keep == "detail"


def test_the_pass_still_does_its_work(upscale):
    """Another seed gives another picture, a high power changes it, and it is not the enlarged picture."""
    _, enlarged = upscale("--power 0")
    _, picture = upscale("")
    _, other = upscale("--seed 99")
    _, strong = upscale("--power 0.6")
    assert measures.psnr(picture, other) < 45
    assert measures.psnr(picture, enlarged) < 45
    assert measures.psnr(strong, enlarged) < measures.psnr(picture, enlarged) - 3


def test_a_prompt_takes_colour_away_as_far_as_without_it(upscale):
    kept = [measures.saturation(upscale(f"{words} --keep detail")[1]) for words in ("", "--prompt monochrome")]
    plain = [measures.saturation(upscale(f"{words} --keep nothing")[1]) for words in ("", "--prompt monochrome")]
    assert kept[1] < 0.8 * kept[0]
    assert kept[1] / kept[0] < plain[1] / plain[0] + 0.03


def test_nothing_kept_costs_nothing_and_both_bring_the_colours_too(upscale):
    _, enlarged = upscale("--power 0")
    nothing, without = upscale("--keep nothing")
    both, with_both = upscale("--keep both")
    _, colours = upscale("--keep colours")
    assert COPY_STAGE not in nothing.seconds and nothing.generation.hires.keep == "nothing"
    assert both.generation.hires.keep == "both"
    assert measures.psnr(with_both, enlarged) > measures.psnr(without, enlarged) + 5
    assert measures.colour_shift(colours, enlarged) < measures.colour_shift(without, enlarged)


def test_alpha_odd_sizes_and_tiles_are_right(upscale, tmp_path):
    with Image.open(CAT) as cat:
        small = cat.convert("RGB").resize((99, 71))
    small.putalpha(Image.linear_gradient("L").resize(small.size))
    with_its_data(small, tmp_path / "odd.png")
    result, picture = upscale("", tmp_path / "odd.png")
    _, enlarged = upscale("--power 0", tmp_path / "odd.png")
    assert picture.shape == (142, 198, 3)
    assert Image.open(result.path).mode == "RGBA"
    assert measures.psnr(picture, enlarged) > 30


def test_a_saved_workflow_from_before_still_runs_and_says_what_detail_needs(server, tmp_path):
    """HiRes Result without the input ``copy``, and with a switch where ``keep`` is now."""
    graph = workflow.build("x.png", "--power 0.3", "old")
    result = graph[workflow.node_id(graph, "DistilleryHiResResult")]["inputs"]
    del result["copy"]
    result["keep"] = False
    with Image.open(CAT) as cat:
        small = with_its_data(cat.convert("RGB").resize((80, 72)), tmp_path / "small.png")
    with contextlib.closing(ComfyClient(server.url)) as client:
        image = graph[workflow.node_id(graph, "DistilleryLoadImage")]["inputs"]
        image["image"] = client.upload_image(small.read_bytes(), "png")
        client.run(graph)
        graph[workflow.node_id(graph, "DistilleryParameters")]["inputs"]["command"] = "--power 0.3 --keep detail"
        with pytest.raises(JobError, match=r"HiRes Result.*copy.*no link.*VAE Decode"):
            client.run(graph)
