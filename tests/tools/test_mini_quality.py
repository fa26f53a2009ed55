"""The weights that ship, on a picture that training never saw: a floor for each figure of the evaluation.

The figures themselves, on many pictures, are in models/distillery-mini/README.md; tools/mini/evaluate.py makes them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distillery.nodes.model_files.mini import ensure_mini
from distillery.tools.mini import measures

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import json, sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from distillery.tools.mini import evaluate, measures
from distillery.tools.mini.captions import words
evaluate.start_comfyui(Path(sys.argv[1]))
picture = Image.open(sys.argv[3]).convert("RGB")
x, y = ((n - 256) // 2 for n in picture.size)
pixels = np.asarray(picture.crop((x, y, x + 256, y + 256))) / 255.0
with torch.inference_mode():
    model = evaluate.Model(Path(sys.argv[2]))
    caption = ", ".join(words((pixels * 255).astype(np.uint8)))
    latent = model.encode(pixels)
    found = {"vae": evaluate.compare(model.decode(latent), pixels)}
    for power in (0.3, 0.5):
        found[str(power)] = evaluate.compare(model.decode(model.hires(latent, caption, "", power)), pixels)
    found["plain"] = measures.saturation(model.decode(model.hires(latent, caption, "", 0.3)))
    found["grey"] = measures.saturation(model.decode(model.hires(latent, "monochrome, " + caption, "", 0.3)))
    found["vivid"] = measures.saturation(model.decode(model.hires(latent, caption, "monochrome", 0.3)))
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory, comfyui_dir: Path) -> dict[str, dict[str, float]]:
    folder = tmp_path_factory.mktemp("quality")
    script = folder / "run.py"
    script.write_text(RUN, encoding="utf-8")
    checkpoint = ensure_mini(folder)
    # In a process of its own: ComfyUI settles device and memory management at import.
    result = subprocess.run(
        [sys.executable, str(script), str(comfyui_dir), str(checkpoint), str(ROOT / "examples" / "cat.png")],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, cwd=folder, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_measures_tell_what_they_say():
    random = np.random.default_rng(0)
    picture = random.uniform(0.3, 0.7, (64, 64, 3))
    assert measures.psnr(picture, picture + 0.1) == pytest.approx(20)
    assert measures.colour_shift(picture, picture) == 0
    assert measures.colour_shift(picture, picture + [0.05, 0, -0.05]) > 3
    half = 0.5 + (picture - 0.5) / 2
    energy, correlation = measures.detail_kept(half, picture)
    assert energy == pytest.approx(0.25, abs=0.01) and correlation == pytest.approx(1)
    assert measures.detail_kept(random.uniform(0.3, 0.7, (64, 64, 3)), picture)[1] < 0.1
    grey = np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1)
    assert measures.saturation(grey) < 0.01 < 1 < measures.saturation(picture)
    # CIE: red of sRGB is L* 53.24, a* 80.09, b* 67.20.
    np.testing.assert_allclose(measures.lab(np.array([[[1.0, 0, 0]]]))[0, 0], [53.24, 80.09, 67.20], atol=0.02)


# This picture's finest detail is grain, which the latents hold less of (0.4) than of the evaluation's pictures (0.8).


@pytest.mark.slow
def test_the_autoencoder_keeps_the_picture(figures):
    assert figures["vae"]["psnr"] > 26
    assert figures["vae"]["delta_e"] < 1.0
    assert 0.3 < figures["vae"]["detail"] < 1.5


@pytest.mark.slow
def test_the_hires_pass_keeps_the_picture_and_its_colours(figures):
    assert figures["0.3"]["psnr"] > 25.8
    assert figures["0.3"]["delta_e"] < 1.3
    assert 0.3 < figures["0.3"]["detail"] < 1.5


@pytest.mark.slow
def test_at_power_half_it_is_still_the_same_picture(figures):
    assert 24.8 < figures["0.5"]["psnr"] < figures["0.3"]["psnr"]
    assert figures["0.5"]["delta_e"] < 2.5
    assert 0.25 < figures["0.5"]["detail"] < 1.5


@pytest.mark.slow
def test_text_matters(figures):
    assert figures["grey"] < 0.7 * figures["plain"]
    assert figures["vivid"] > 1.3 * figures["plain"]
