"""Results of earlier runs, found again."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from distillery.driver.jobs.existing import find_result
from distillery.driver.jobs.job import Job
from distillery.driver.jobs.output import Output
from distillery.driver.jobs.prepare import Task
from distillery.driver.sources.clean_image import clean_image
from distillery.nodes.generation import Generation


def test_an_existing_result_is_known_by_picture_and_command_not_by_name(tmp_path):
    def picture(path: Path, colour: int, **text: str) -> Path:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        for key, value in text.items():
            info.add_text(key, value)
        Image.new("RGB", (64, 64), (colour, 0, 0)).save(path, pnginfo=info)
        return path

    from distillery.driver.server.api import upload_name

    data = picture(tmp_path / "a.png", 1).read_bytes()
    clean = clean_image(data, "a.png", Generation())

    def request(command: str) -> Task:
        return Task(Job("0" * 32, "a.png", "hash", command, None, "a_2x", 0.0), clean, Output(tmp_path))

    def result(name: str, image: str, command: str) -> None:
        graph = {
            "1": {"class_type": "DistilleryLoadImage", "inputs": {"image": image}},
            "2": {"class_type": "DistilleryParameters", "inputs": {"command": command}},
        }
        picture(tmp_path / name, 9, prompt=json.dumps(graph))

    name = f"{upload_name(*request('').upload)} [temp]"
    assert find_result(request("")) is None
    picture(tmp_path / "a_2x.png", 5)
    (tmp_path / "a_2x_2.png").write_bytes(b"no picture")
    result("a_2x_3.png", "distillery_other.png [temp]", "--power 0.3")
    assert find_result(request("--power 0.3")) is None
    result("a_2x_4.png", name, "—power 0.30")
    assert find_result(request("--power 0.3")) == tmp_path / "a_2x_4.png"
    assert find_result(request("--power 0.2")) is None
    assert find_result(request("--power 0.2"), any_power=True) == tmp_path / "a_2x_4.png"
