"""Whole jobs with names, encodings and outputs as users have them, on a real server."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from distillery.driver import Upscaler
from distillery.nodes.recall import recall

pytestmark = [pytest.mark.server, pytest.mark.slow]

CAT = Path(__file__).resolve().parents[2] / "examples" / "cat.png"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    """A small picture with the cat's record, for quick jobs."""
    with Image.open(CAT) as image:
        info = {key: value for key, value in image.info.items() if isinstance(value, str)}
        cut = image.crop((128, 128, 208, 192))
    from PIL.PngImagePlugin import PngInfo

    texts, out = PngInfo(), io.BytesIO()
    for key, value in info.items():
        texts.add_text(key, value)
    cut.save(out, "PNG", pnginfo=texts)
    return out.getvalue()


def upscale(server, folder: Path, *arguments: str | bytes, **options) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "distillery.driver", "upscale", "--power", "0", "--server", server.url, *arguments]
    return subprocess.run(command, capture_output=True, cwd=folder, timeout=300, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a name")
def test_a_name_that_is_no_utf8_and_a_pipe_that_takes_ascii_only(server, small, tmp_path):
    names = [b"caf\xe9.png", "\U0001f600 \u6f22\u5b57.png".encode(), ("\u6f22" * 83).encode() + b".png"]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(small)
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = upscale(server, tmp_path, *names, "--json", "--manifest", "m.jsonl", "--log", "l.jsonl", env=variables)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3 and all(Path(tmp_path, line["path"]).exists() for line in lines)
    assert len((tmp_path / "m.jsonl").read_bytes().splitlines()) == 3
    assert b"Logging error" not in done.stderr and b"Traceback" not in done.stderr


def test_outputs(server, small, tmp_path):
    (tmp_path / "a.png").write_bytes(small)
    done = upscale(server, tmp_path, "a.png", "--out", "-", "--format", "webp")
    assert done.returncode == 0, done.stderr
    piped = recall(done.stdout)
    assert piped.seed == recall(small).seed and Image.open(io.BytesIO(done.stdout)).format == "WEBP"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert upscale(server, tmp_path, "a.png", "--out", "b/big.jpg", "--quality", "80").returncode == 0
    assert recall(tmp_path / "b" / "big.jpg").positive == recall(small).positive
    again = upscale(server, tmp_path, "a.png", "--out", "b/big.jpg", "--quality", "80", "--skip-existing")
    assert again.returncode == 0 and b"is there already" in again.stdout
    for arguments, words in (
        (["a.png", "a.png", "--out", "-"], b"give a folder"),
        (["a.png", "a.png", "--out", "b.png"], b"give a folder"),
        (["a.png", "--out", "-", "--json"], b"--json does not go with"),
        (["a.png", "--out", "b.png", "--format", "webp"], b"ends like png"),
        (["a.png", "--quality", "80"], b"no quality"),
        (["a.png", "--out", "a.png/sub"], b"cannot be written"),
        (["a.png", "--max-pixels", "100"], b"at most 100 are taken"),
        (["a.png", "--neg", "@gone.txt"], b"cannot be read"),
    ):
        refused = upscale(server, tmp_path, *arguments)
        assert refused.returncode == 2 and words in refused.stderr + refused.stdout, (arguments, refused)


def test_a_pattern_skips_what_it_made(server, small, tmp_path):
    (tmp_path / "a.png").write_bytes(small)
    assert upscale(server, tmp_path, "*.png", "--skip-existing").returncode == 0
    done = upscale(server, tmp_path, "*.png", "--skip-existing")
    assert done.returncode == 0 and b"Left out" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a_2x.png"]


def test_two_dashes_end_the_options(server, small, tmp_path):
    (tmp_path / "--power").write_bytes(small)
    (tmp_path / "~me.png").write_bytes(small)
    done = upscale(server, tmp_path, "--", "--power", "~me.png")
    assert done.returncode == 0, done.stderr
    assert {"--power_2x.png", "~me_2x.png"} <= {p.name for p in tmp_path.iterdir()}


def test_another_upscaler_is_used_and_recorded(server, small, tmp_path):
    (tmp_path / "a.png").write_bytes(small)
    done = upscale(server, tmp_path, "a.png", "--upscaler", "RealESRGAN_x4plus", "--json")
    used = json.loads(done.stdout)
    assert used["generation"]["hires"]["upscaler"].startswith("RealESRGAN_x4plus")
    assert not any("stands in" in warning for warning in used["warnings"])
    missing = upscale(server, tmp_path, "a.png", "--upscaler", "4x_Nothing")
    assert missing.returncode == 1 and b'"4x_Nothing" is not installed' in missing.stderr


def test_bytes_in_and_bytes_out(server, small):
    with Upscaler(server=server.url) as upscaler:
        data, result = upscaler.upscale_bytes(small, power=0, format="webp", quality=100)
        assert (result.width, result.height) == (160, 128) and result.path == Path("image_2x.webp")
        image, _ = upscaler.upscale_bytes(Image.open(io.BytesIO(small)), power=0)
    assert recall(data).positive == recall(image).positive == recall(small).positive
