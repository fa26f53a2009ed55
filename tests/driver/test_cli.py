"""The command line as a user types it: results, errors, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from distillery.driver.cli.app import canonical_args, main, make_parser
from distillery.driver.cli.checkmetadata import finite
from distillery.driver.cli.streams import json_line
from distillery.nodes.generation import Generation, HiRes, Lora, to_dict
from distillery.nodes.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
CAT, ODD = ROOT / "examples" / "cat.png", ROOT / "examples" / "odd.png"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["upscale", str(CAT), "--powr", "0.2"], 2, ["--powr", "Did you mean --power?"]),
        (["upscale", str(CAT), "--power", "2"], 2, ["--power", "out of range", "0 to 1"]),
        (["upscale", str(CAT), "--power", "0.2", "--power", "0.3"], 2, ["--power", "twice"]),
        (["upscale", str(CAT), "--neg", "a --foo b"], 2, ["--foo"]),
        (["upscale", str(CAT), "--power"], 2, ["--power needs a value", "0 to 1"]),
        (["upscale", str(CAT), "--power", "--seed", "1"], 2, ["--power needs a value"]),
        (["upscale", str(CAT), "--power", "-.5"], 2, ["--power", "-.5", "out of range"]),
        (["upscale", str(CAT), "--seed 11"], 2, ['"--seed 11" came as one argument', '--seed "11"']),
        (["upscale", str(CAT), "--outt", "x"], 2, ["--outt", "Did you mean --out?"]),
        (["upscale", "no-such-file.png"], 2, ["no-such-file.png"]),
        (["upscale", str(ROOT / "README.md")], 2, ["README.md", "not an image"]),
        (["upscale", "https://example.org/a.png"], 2, ["Discord"]),
        (["upscale", str(CAT), "--allowhost", "a.org"], 2, ["Did you mean --allow-host?"]),
        (["checkmetadata", "https://a.org/a.png", "--allow-host", "*.org"], 2, ['"*.org"', "not the name of a host"]),
        (["checkmetadata", "https://a.org/a.png", "--ALLOW-HOST=b.org"], 2, ["links to b.org are", "--allow-host"]),
        (["upscale", str(CAT), "--server", "http://127.0.0.1:9"], 1, ["does not answer"]),
        (["upscale", str(CAT), "--server", "http://127.0.0.1:9", "--comfyui", "x"], 1, ["not both"]),
        (["upscale", str(CAT), "--comfyui", "no-such-folder"], 1, ["no-such-folder", "main.py"]),
        (["checkmetadata", "no-such-file.png"], 2, ["no-such-file.png"]),
        (["checkmetadata", str(CAT), "--jsn"], 2, ["--jsn"]),
    ],
)
def test_errors_say_what_to_do_and_have_their_exit_codes(arguments, code, words, capsys):
    assert main(arguments) == code
    shown = " ".join("".join(capsys.readouterr()).split())
    assert all(word in shown for word in words), shown
    assert "Traceback" not in shown


def test_without_a_command_the_usage_is_shown(capsys):
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


def test_help_names_every_parameter_with_its_default(capsys):
    assert main(["upscale", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for parameter in PARAMETERS:
        assert f"--{parameter.name}" in shown
        assert parameter.default in shown


def test_typographic_dashes_and_any_case_are_taken():
    given = ["upscale", "x.png", "—power", "0.2", "--NEG", "a", "--Negative_Prompt=b", "--json", "—Seed=4"]
    assert canonical_args(given) == ["upscale", "x.png", "--power=0.2", "--neg=a", "--neg=b", "--json", "--seed=4"]


def test_values_that_look_like_options_are_values():
    options = make_parser().parse_args(
        canonical_args(["upscale", "--neg", "-foo", "x.png", "--seed", "-1", "--OUT", "d"])
    )
    assert (options.sources, options.parameter_neg, options.parameter_seed) == (["x.png"], ["-foo"], ["-1"])
    assert options.out == "d"


def test_an_image_cannot_write_to_the_terminal(tmp_path, capsys):
    info = PngInfo()
    data = {
        "request_type": "\x1b[2J",
        "template_inputs": {"POSITIVE_PROMPT": "a\x1b]0;owned\x07 cat", "NOISE_SEED": "5"},
    }
    info.add_text(
        "prompt", json.dumps({**data, "preset_dict": {}, "payload_keymaker": {}, "command_string": "\x9b31m"})
    )
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=info)
    assert main(["checkmetadata", str(tmp_path / "a.png")]) == 0
    shown = capsys.readouterr().out
    assert "cat" in shown and not [c for c in shown if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0]


def test_parameters_of_the_table_are_options():
    options = make_parser().parse_args(["upscale", "x.png", "--missing_lora", "skip", "--seed", "1"])
    assert (options.parameter_missing_lora, options.parameter_seed) == (["skip"], ["1"])


def test_checkmetadata_as_json(capsys):
    assert main(["checkmetadata", str(ODD), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    expected = "origin positive negative seed cfg steps sampler scheduler checkpoint vae loras clip_skip width height hires denoise warnings fields"
    assert set(expected.split()) <= set(data)
    assert data["origin"] == "distillery-old"
    assert data["source"] == str(ODD)


def test_the_help_of_checkmetadata_documents_every_key(capsys):
    assert main(["checkmetadata", "--help"]) == 0
    shown = capsys.readouterr().out
    for key in (
        "source",
        "error",
        *to_dict(Generation()),
        *(f.name for f in fields(Lora)),
        *(f.name for f in fields(HiRes)),
    ):
        assert re.search(rf"\b{key}\b", shown), key


def test_checkmetadata_takes_many_files_and_patterns(tmp_path, capsys, monkeypatch):
    for name in ("b.png", "a.png", "[x].png"):
        (tmp_path / name).write_bytes(ODD.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["checkmetadata", "?.png", "[x].png", str(CAT), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["source"] for line in lines] == ["a.png", "b.png", "[x].png", str(CAT)]
    assert [line["seed"] for line in lines] == [7041776, 7041776, 7041776, 20240229]
    assert main(["checkmetadata", "a.png", str(CAT)]) == 0
    shown = capsys.readouterr().out
    assert shown.index("a.png") < shown.index("7041776") < shown.index("cat.png") < shown.index("20240229")


def test_checkmetadata_goes_on_after_a_file_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "page.png").write_text("<html>expired</html>")
    assert main(["checkmetadata", str(tmp_path / "page.png"), "nothing*.png", str(ODD), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [("error" in line, line.get("seed")) for line in lines] == [(True, None), (True, None), (False, 7041776)]
    assert main(["checkmetadata", "nothing*.png", str(tmp_path / "page.png")]) == 2
    assert "nothing*.png" in capsys.readouterr().err


def test_json_is_json_whatever_the_image_carries():
    line = json_line(finite({"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": "\u00e9"}))
    assert json.loads(line, parse_constant=pytest.fail) == {"a": ["nan", 1.5], "b": {"c": "inf"}, "d": "\u00e9"}


def test_warnings_come_last(tmp_path, capsys):
    record = {"version": 1, "generation": {"positive": "a", "seed": -1, "loras": [{"name": "x", "hash": "ab" * 6}]}}
    info = PngInfo()
    info.add_itxt("distillery", json.dumps(record))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=info)
    assert main(["checkmetadata", str(tmp_path / "a.png")]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith("! ") and "seed" in lines[-1]
    assert any("lora 1" in line and "x (model 1, clip 1, hash abababababab)" in line for line in lines)


def test_checkmetadata_shows_fields_with_their_places(capsys):
    assert main(["checkmetadata", str(CAT)]) == 0
    shown = capsys.readouterr().out
    assert "20240229" in shown and "NOISE_SEED" in shown and "what the image carries" in shown


def test_no_generation_data_is_an_answer(tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert main(["checkmetadata", str(tmp_path / "a.png")]) == 0
    assert "No generation data" in capsys.readouterr().out
    assert main(["upscale", str(tmp_path / "a.png")]) == 2
    assert "--prompt" in capsys.readouterr().err


def test_help_needs_neither_torch_nor_pillow():
    code = (
        "import sys\nfor m in ('torch', 'PIL', 'numpy', 'websocket'): sys.modules[m] = None\n"
        "from distillery.driver.cli import main\nsys.exit(main(['upscale', '--help']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.server
@pytest.mark.slow
def test_upscale_prints_where_the_result_is_and_how_it_was_made(server, tmp_path, capsys):
    assert main(["upscale", str(ODD), "—power", "0", "--server", server.url, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "odd_2x.png" in shown and "422x346" in shown and "7041776" in shown and "RealESRGAN" in shown
    assert Image.open(tmp_path / "odd_2x.png").size == (422, 346)


@pytest.mark.server
@pytest.mark.slow
def test_several_images_give_results_and_errors_of_their_own(server, tmp_path, capsys):
    code = main(
        [
            "upscale",
            str(ODD),
            "missing.png",
            str(ODD),
            "--continue-on-error",
            "--power",
            "0",
            "--json",
            "--server",
            server.url,
            "--out",
            str(tmp_path),
        ]
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 1
    assert lines[0]["recalled"]["seed"] == 7041776 and lines[0]["server"] == server.url
    assert [("path" in line, "error" in line) for line in lines] == [(True, False), (False, True), (True, False)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["odd_2x.png", "odd_2x_2.png"]


def start_job(server, out: Path, seed: int, **options: Any) -> subprocess.Popen[str]:
    """Start a job in a process of its own, and wait until the server works on it."""
    command = [
        sys.executable,
        "-m",
        "distillery.driver",
        "upscale",
        str(CAT),
        "--server",
        server.url,
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        [*command, "--seed", str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    assert wait_until(lambda: remaining(server) > 0, 60)
    time.sleep(1)
    return process


def remaining(server) -> int:
    with server.endpoint.session() as session:
        return session.get(f"{server.url}/prompt", timeout=10).json()["exec_info"]["queue_remaining"]


def wait_until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_cancel_the_job_on_the_server(server, tmp_path, number, code):
    process = start_job(server, tmp_path, 99)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and "cancelled on the server" in said and "Traceback" not in said
    assert wait_until(lambda: remaining(server) == 0, 60)
    assert not list(tmp_path.iterdir())


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_nohup_is_heeded(server, tmp_path):
    process = start_job(server, tmp_path, 98, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=300) == 0 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_server_cancels_the_job_of_a_driver_that_was_killed(server, tmp_path):
    """The lease is cut short here; at its usual length the job would be done before."""
    code = (
        "import sys; from distillery.driver.server import client; client.LEASE = 10; "
        "from distillery.driver.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["upscale", str(CAT), "--seed", "97", "--server", server.url, "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.DEVNULL)
    assert wait_until(lambda: remaining(server) > 0, 60)
    # More work than can be done meanwhile: it waits behind the first, whose driver lives.
    other = subprocess.Popen([sys.executable, "-c", code, *arguments, "--cfg", "5"], stderr=subprocess.DEVNULL)
    assert wait_until(lambda: remaining(server) > 1, 60)
    other.kill()
    assert wait_until(lambda: remaining(server) < 2, 60)
    process.kill()
    assert wait_until(lambda: remaining(server) == 0, 120)
    log = (server.log).read_text(encoding="utf-8", errors="replace")
    assert "nothing was heard of who sent it" in log
