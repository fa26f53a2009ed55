"""HTTP routes of this pack for the editor: see web/js/distillery.js and the template browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

import folder_paths
from aiohttp import web
from server import PromptServer  # ComfyUI's own module of that name

from ..errors import DistilleryError
from ..lease import Watcher
from ..recall import recall
from ..summary import summarize_image
from ..upscaler_choice import choose_upscaler
from .show import find_model

PACK = Path(__file__).parents[2]
"""This folder under its name in custom_nodes, which is the name of the pack in the template browser."""


def add_routes() -> None:
    """Add this pack's routes to ComfyUI's server. To be called while it loads its packs."""
    server = getattr(PromptServer, "instance", None)
    if server is None:  # nodes without a server, as in tests
        return
    server.routes.get("/distillery/recall")(recalled)
    watcher = Watcher(server)
    server.add_on_prompt_handler(watcher.on_prompt)
    server.add_on_prompt_handler(choose_upscaler)

    async def renew(request: web.Request) -> web.Response:
        """Note that the sender of a job lives: see :mod:`..lease`."""
        watcher.renew(request.match_info["prompt_id"][:64])
        return web.Response(status=204)

    server.routes.post("/distillery/lease/{prompt_id}")(renew)
    # ComfyUI lists the files of workflows/ as templates, but serves them from the first of a pack's folders that is
    # named like one for examples, which here is the one with the pictures: what was added first is asked first.
    server.app.add_routes([web.static(f"/api/workflow_templates/{PACK.name}", PACK / "workflows")])


async def recalled(request: web.Request) -> web.Response:
    """Recall an image of the input folder before anything is run: a Summary as JSON.

    Query: ``image``, as Load Image nodes name it. 404 with ``{"error": …}`` where there is no such image.
    """
    name = request.query.get("image", "")
    try:
        path = _image_path(name)
        if not path.is_file():
            raise FileNotFoundError
        summary = await asyncio.to_thread(lambda: summarize_image(recall(path), find_model))
    except (DistilleryError, ValueError, OSError) as error:
        # An OSError's own text names folders of the server, and so may one that a DistilleryError quotes.
        text = str(error)
        if not isinstance(error, DistilleryError) or any(folder in text for folder in _folders()):
            text = f"there is no image {name!r} in the input folder that can be read"
        return web.json_response({"error": text}, status=404)
    return web.Response(text=summary.as_json(), content_type="application/json")


def _image_path(name: str) -> Path:
    """Path of an image in one of ComfyUI's three folders. ValueError for a path that leads out of them."""
    path = Path(folder_paths.get_annotated_filepath(name))
    # ComfyUI looks too, but not in each version that this pack runs on.
    if not any(path.absolute().is_relative_to(folder) for folder in _folders()) or ".." in path.parts:
        raise ValueError(f"{name!r} leads out of ComfyUI's folders")
    return path


def _folders() -> tuple[str, ...]:
    """ComfyUI's folders of images, as absolute paths."""
    folders = (
        folder_paths.get_input_directory(), folder_paths.get_output_directory(), folder_paths.get_temp_directory()
    )  # fmt: skip
    return tuple(str(Path(folder).absolute()) for folder in folders)
