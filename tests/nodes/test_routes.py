"""What the editor asks the pack for, over HTTP, from a real server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import requests

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cat.png"

pytestmark = [pytest.mark.server, pytest.mark.slow]


def recalled(server, image: str) -> requests.Response:
    return server.endpoint.session().get(f"{server.url}/distillery/recall", params={"image": image}, timeout=60)


def test_an_uploaded_image_tells_how_it_was_made(server):
    name = f"{uuid.uuid4().hex}.png"
    files = {"image": (name, EXAMPLE.read_bytes(), "image/png")}
    server.endpoint.session().post(
        f"{server.url}/upload/image", files=files, data={"type": "temp"}, timeout=60
    ).raise_for_status()
    response = recalled(server, f"{name} [temp]")
    assert response.status_code == 200
    rows = {row["name"]: row["value"] for row in response.json()["rows"]}
    assert "tabby cat" in rows["Prompt"] and rows["Seed"] == "20240229"


@pytest.mark.parametrize(
    "image",
    [
        "",
        "none.png",
        "../../pyproject.toml",
        str(EXAMPLE),
        "..\\..\\x.png [output]",
        "\0",
        "a.png/b",
        "x" * 300,
        "a/" * 2000,
    ],
)
def test_nothing_outside_of_comfyuis_folders_is_read_or_named(server, image):
    here = server.base / "input" / "a.png"
    here.write_bytes(EXAMPLE.read_bytes())
    response = recalled(server, image)
    here.unlink()
    assert str(server.base) not in response.text and str(server.base.parent) not in response.text
    assert response.status_code == 404
    assert set(response.json()) == {"error"}
    assert str(EXAMPLE.parent) not in response.json()["error"].replace(image or "\n", "")
