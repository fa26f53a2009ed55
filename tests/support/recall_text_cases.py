"""Sample files with what a reader should find in them, for benchmarks/recall.py: other programs than ComfyUI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recall_text_samples import SAMPLES

A1111: dict[str, Any] = {"seed": 965400086, "steps": 28, "cfg": 6.5, "checkpoint": "dream v8"}
A1111["positive"] = (
    "a lake at dusk, easynegative-free Steps: into the unknown, one: two "
    "the words Negative prompt: stand in the middle of this line"
)
A1111["negative"] = "blurry, (bad:1.3), easynegative nor this"
FORGE = {
    "positive": "portrait of a woman in a yellow raincoat",
    "seed": 42,
    "steps": 25,
    "checkpoint": "flux1-dev-Q8_0",
}
CIVITAI = {"positive": "a fisherman mending nets", "negative": "lowres", "seed": 7, "steps": 30, "cfg": 5}
SWARMUI = {"negative": "fog", "seed": 882695506, "steps": 28, "cfg": 6, "checkpoint": "base_1.0"}
FOOOCUS = {"seed": 5124052352, "steps": 30, "cfg": 4, "checkpoint": "juggernautXL_v8Rundiffusion"}
INVOKEAI = {"positive": "a lake, holidays", "seed": 3293022630, "steps": 35, "cfg": 8, "checkpoint": "juggernautXL"}
NOVELAI = {"seed": 3816166865, "steps": 28, "cfg": 5}
PLAIN = {"positive": "a lake", "negative": "blurry", "seed": 2**60 + 1, "steps": 20, "cfg": 7.5, "checkpoint": "dream"}


def _case(name: str, file: str, expected: dict[str, Any]) -> tuple[str, str, Callable[[], bytes], dict[str, Any]]:
    return name, file, lambda: SAMPLES[file], expected


CASES = [
    _case("A1111 PNG", "a1111.png", A1111),
    _case("A1111 JPEG", "a1111.jpg", A1111),
    _case("A1111 WebP", "a1111.webp", A1111),
    _case("A1111 AVIF", "a1111.avif", A1111),
    _case("Forge, Flux", "forge_flux.png", FORGE),
    _case("Civitai JPEG", "civitai.jpg", CIVITAI),
    _case("SwarmUI PNG", "swarmui.png", SWARMUI),
    _case("SwarmUI JPEG", "swarmui.jpg", SWARMUI),
    _case("Fooocus PNG", "fooocus.png", FOOOCUS),
    _case("Fooocus JPEG", "fooocus.jpg", FOOOCUS),
    _case("InvokeAI", "invokeai.png", INVOKEAI),
    _case("NovelAI", "novelai.png", NOVELAI),
    _case("NovelAI WebP", "novelai.webp", NOVELAI),
    _case("ComfyUI WebP", "comfyui.webp", PLAIN),
    _case("ComfyUI AVIF", "comfyui.avif", PLAIN),
    _case("ComfyUI APNG", "comfyui.apng", PLAIN),
    _case("ComfyUI with A1111 text", "comfyui_and_text.png", PLAIN),
]
