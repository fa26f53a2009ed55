"""The workflows that ship with the pack, described once: see make_workflows.py.

Positions are in the graph's own units, as the editor saves them: a slot stands 14 below its node's position and each
further one 20 below that; a node's title stands 30 above. Links that would run behind nodes are led round them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Link:
    """From an output, by name, over the points that it is led through."""

    node: int
    output: str
    via: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Node:
    """One node: inputs are links or values of widgets."""

    id: int
    type: str
    title: str
    pos: tuple[int, int]
    size: tuple[int, int]
    inputs: dict[str, Any] = field(default_factory=dict)
    colors: tuple[str, str] | None = None
    """Of title and body; None: the editor's own."""


@dataclass(frozen=True)
class Note:
    id: int
    title: str
    pos: tuple[int, int]
    size: tuple[int, int]
    text: str
    """Markdown."""


@dataclass(frozen=True)
class Group:
    title: str
    bounds: tuple[int, int, int, int]
    """x, y, width, height."""
    color: str


@dataclass(frozen=True)
class Workflow:
    name: str
    nodes: tuple[Node, ...]
    notes: tuple[Note, ...]
    groups: tuple[Group, ...]
    scale: float
    offset: tuple[int, int]
    """Where the editor shows it: pixels of the screen are (position + offset) * scale."""

    def node(self, number: int) -> Node:
        """The node with an id."""
        return next(node for node in self.nodes if node.id == number)


BLUE, GREEN, GOLD, PURPLE, GREY = "#3f789e", "#8A8", "#b58b2a", "#a1309b", "#88A"
USER = ("#223", "#335")
"""Colours of the nodes that a user has something to do with."""

NOTE = """\
### What to do

1. **Load Image + Recall**: upload the original file. How it was made is shown there.

2. **Upscale Parameters**: leave the command empty, or write what should differ:

- `--power 0.2` how much is regenerated, 0 to 1
- `--sharpen 0` sharpening, 0 to 1
- `--neg night` negative prompt
- `--prompt a cat` prompt
- `--model name` checkpoint
- `--seed 7` and `--cfg 6`
- `--keep detail` fine detail that the VAE loses

3. **Run**. Compare at the right; drag the saved picture in here to upscale it again.

An image without data needs `--prompt` and `--model`, or `--power 0`."""

IMAGE, COMMAND, ULTRASHARP, UPSCALE, MODELS, TILES, POSITIVE, NEGATIVE = 1, 2, 3, 4, 5, 6, 7, 8
PAD, ENCODE, SAMPLER, DECODE, RESULT, SHARPEN, SAVE, COMPARE, HELP, COPY = 9, 10, 11, 12, 13, 14, 15, 16, 17, 18
COPY_TITLE = "VAE Decode (copy)"

SHARED_NODES = (
    Node(IMAGE, "DistilleryLoadImage", "Load Image + Recall", (0, 0), (310, 1340), {"image": ""}, USER),
    Node(
        COMMAND, "DistilleryParameters", "Upscale Parameters", (350, 1000), (280, 340),
        {"generation": Link(IMAGE, "generation", ((330, 140), (330, 960))), "command": ""}, USER,
    ),
    Node(ULTRASHARP, "DistilleryLoadUltraSharp", "Load UltraSharp", (690, 240), (270, 110), {
        "model_name": "4x-UltraSharp.pth", "stand_in": "RealESRGAN_x4plus",
    }),
    Node(UPSCALE, "DistilleryUpscale2x", "Upscale 2x", (1000, 130), (230, 90), {
        "upscale_model": Link(ULTRASHARP, "upscale_model"), "image": Link(IMAGE, "image", ((660, 164),)),
        "mask": Link(IMAGE, "mask", ((660, 184),)),
    }),
    Node(MODELS, "DistilleryLoadModels", "Load Models (recalled)", (690, 530), (270, 310), {
        "settings": Link(COMMAND, "settings"), "fallback_checkpoint": "distillery-mini (built in)",
        "missing_lora": "error",
    }),
    Node(TILES, "DistilleryHiResTiles", "HiRes Tiles", (1000, 530), (230, 130), {
        "model": Link(MODELS, "model"), "vae": Link(MODELS, "vae"), "tiling": "auto", "tile_size": 768, "overlap": 128,
    }),
    Node(
        POSITIVE, "CLIPTextEncode", "Positive prompt", (1000, 790), (230, 90),
        {"clip": Link(MODELS, "clip"), "text": Link(COMMAND, "positive")},
    ),
    Node(
        NEGATIVE, "CLIPTextEncode", "Negative prompt", (1000, 940), (230, 90),
        {"clip": Link(MODELS, "clip"), "text": Link(COMMAND, "negative")},
    ),
    Node(PAD, "DistilleryPadImage", "Pad for VAE", (1300, 130), (230, 50), {"image": Link(UPSCALE, "image")}),
    Node(
        ENCODE, "VAEEncode", "VAE Encode", (1300, 300), (230, 50),
        {"pixels": Link(PAD, "image", ((1555, 225), (1280, 240))), "vae": Link(TILES, "vae")},
    ),
)  # fmt: skip
"""Everything up to the sampler."""
SHARED_GROUPS = (
    Group("1  Your image and command", (-30, -90, 680, 1460), BLUE),
    Group("2  Enlarge 2x", (665, 40, 590, 340), GREEN),
    Group("3  Models and prompts of the image", (665, 435, 590, 635), GOLD),
)
SCALE, OFFSET = 0.575, (135, 260)

UPSCALE_2X = Workflow(
    "upscale",
    (
        *SHARED_NODES,
        Node(SAMPLER, "KSampler", "HiRes pass (KSampler)", (1590, 980), (250, 270), {
            "model": Link(TILES, "model"), "seed": Link(COMMAND, "seed"), "steps": Link(COMMAND, "steps"),
            "cfg": Link(COMMAND, "cfg"), "sampler_name": Link(COMMAND, "sampler_name"),
            "scheduler": Link(COMMAND, "scheduler"), "positive": Link(POSITIVE, "CONDITIONING"),
            "negative": Link(NEGATIVE, "CONDITIONING"), "latent_image": Link(ENCODE, "LATENT"),
            "denoise": Link(COMMAND, "denoise"),
        }),
        Node(
            DECODE, "VAEDecode", "VAE Decode", (1890, 980), (230, 50),
            {"samples": Link(SAMPLER, "LATENT"), "vae": Link(TILES, "vae", ((1300, 620), (1850, 620)))},
        ),
        Node(
            COPY, "VAEDecode", COPY_TITLE, (1870, 300), (250, 50),
            {"samples": Link(ENCODE, "LATENT"), "vae": Link(TILES, "vae", ((1300, 620), (1850, 620)))},
        ),
        Node(RESULT, "DistilleryHiResResult", "HiRes Result", (2180, 640), (230, 140), {
            "upscaled": Link(UPSCALE, "image", ((1265, -5), (2140, -5))),
            "settings": Link(COMMAND, "settings", ((650, 412), (2150, 412))),
            "regenerated": Link(DECODE, "IMAGE"),
            "loaded": Link(MODELS, "generation", ((985, 735), (2150, 735))),
            "copy": Link(COPY, "IMAGE", ((2162, 314),)),
            "keep": "auto",
        }),
        Node(SHARPEN, "DistillerySharpen", "Sharpen (Distillery)", (2460, 640), (225, 60), {
            "image": Link(RESULT, "image"), "alpha": Link(COMMAND, "sharpen", ((690, 1300), (2430, 1300))),
        }),
        Node(COMPARE, "DistilleryCompare", "Before / After", (2750, 0), (420, 470), {
            "before": Link(IMAGE, "image", ((360, -60), (2690, -60))), "after": Link(SHARPEN, "image"),
        }, USER),
        Node(SAVE, "DistillerySave", "Save Image + Record", (2750, 570), (420, 590), {
            "images": Link(SHARPEN, "image"), "generation": Link(RESULT, "generation", ((2440, 740),)),
            "filename_prefix": "distillery/upscale",
            "mask": Link(UPSCALE, "mask", ((1280, 15), (2720, 15))),
            "upscaler_info": Link(ULTRASHARP, "upscaler_info", ((985, 394), (2700, 394))),
        }, USER),
    ),
    (Note(HELP, "How to use this", (350, 270), (280, 630), NOTE),),
    (
        *SHARED_GROUPS,
        Group("4  HiRes pass, tile by tile", (1275, 40, 860, 1240), PURPLE),
        Group("5  Result", (2155, -90, 1045, 1280), GREY),
    ),
    SCALE,
    OFFSET,
)  # fmt: skip

POWERS = (0.2, 0.35, 0.5)
POWER_NOTE = """\
### What to do

The same image at three powers: how much of it is regenerated. Enlarging, models, prompts and encoding are done once.

1. **Load Image + Recall**: upload the original file.

2. **Upscale Parameters**: leave the command empty, or write what should differ: `--sharpen 0`, `--neg night`, \
`--prompt a cat`, `--model name`, `--seed 7`, `--cfg 6`. `--power` does not count here.

3. **Power**: choose a power in each of the three rows. A row that is set to 0 shows the enlarged image as it is.

4. **Run**. Each result is saved with its own record.

To try fewer, press Ctrl+B on a *Save* node: its row is not run."""


def _branch(number: int, power: float) -> tuple[Node, ...]:
    """One power's sampler and result: a row that is fed from lines which run down beside all rows."""
    y, first = number * 560, 100 + 10 * number
    top = y + 100
    sampler, decode, result, sharpen, save = (first + i for i in range(1, 6))

    def lane(place: int) -> int:
        """Where one of the lines runs down, counted from the left."""
        return 1580 + 8 * place

    def down(node: int, output: str, start: tuple[int, int], place: int, target: int) -> Link:
        """To the line at the height of ``start``, and down to a height of this row."""
        return Link(node, output, (start, (lane(place), start[1]), (lane(place), target)))

    def across(node: int, output: str, start: tuple[int, int], place: int, target: int, end: int) -> Link:
        """As :func:`down`, then above the row's nodes to the column at ``end``."""
        return Link(node, output, (*down(node, output, start, place, y + target).via, (end, y + target)))

    return (
        Node(first, "DistilleryPower", "Power", (1740, top + 300), (225, 100), {
            "settings": down(COMMAND, "settings", (650, 412), 15, top + 314), "power": power,
        }, USER),
        Node(sampler, "KSampler", f"HiRes pass {number + 1} (KSampler)", (2010, top), (250, 270), {
            "model": down(TILES, "model", (1260, 544), 6, top + 14),
            "positive": down(POSITIVE, "CONDITIONING", (1260, 804), 7, top + 34),
            "negative": down(NEGATIVE, "CONDITIONING", (1260, 954), 8, top + 54),
            "latent_image": down(ENCODE, "LATENT", (1560, 314), 9, top + 74),
            "seed": down(COMMAND, "seed", (660, 1076), 10, top + 97),
            "steps": down(COMMAND, "steps", (660, 1096), 11, top + 141),
            "cfg": down(COMMAND, "cfg", (660, 1116), 12, top + 165),
            "sampler_name": down(COMMAND, "sampler_name", (660, 1136), 13, top + 190),
            "scheduler": down(COMMAND, "scheduler", (660, 1156), 14, top + 214),
            "denoise": Link(first, "denoise"),
        }),
        Node(decode, "VAEDecode", "VAE Decode", (2340, top), (230, 50), {
            "samples": Link(sampler, "LATENT"), "vae": across(TILES, "vae", (1270, 620), 3, 0, 2310),
        }),
        Node(result, "DistilleryHiResResult", "HiRes Result", (2340, y + 200), (230, 140), {
            "upscaled": across(UPSCALE, "image", (1265, -5), 2, -12, 2320),
            "settings": Link(first, "settings", ((2290, top + 330),)),
            "regenerated": Link(decode, "IMAGE", ((2595, y + 163), (2315, y + 163))),
            "loaded": across(MODELS, "generation", (985, 735), 4, 12, 2300),
            "copy": across(COPY, "IMAGE", (1565, 474), 16, 36, 2330),
            "keep": "auto",
        }),
        Node(sharpen, "DistillerySharpen", "Sharpen (Distillery)", (2340, y + 415), (230, 60), {
            "image": Link(result, "image", ((2595, y + 368), (2315, y + 368))),
            "alpha": across(COMMAND, "sharpen", (660, 1196), 5, 24, 2290),
        }),
        Node(save, "DistillerySave", f"Save {number + 1}", (2660, top), (420, 380), {
            "images": Link(sharpen, "image"), "generation": Link(result, "generation"),
            "filename_prefix": f"distillery/power_{number + 1}",
            "mask": across(UPSCALE, "mask", (1280, 15), 1, -24, 2630),
            "upscaler_info": across(ULTRASHARP, "upscaler_info", (985, 394), 0, -36, 2640),
        }, USER),
    )  # fmt: skip


COMPARE_POWER = Workflow(
    "compare_power",
    (
        *SHARED_NODES,
        Node(
            COPY,
            "VAEDecode",
            COPY_TITLE,
            (1300, 460),
            (230, 50),
            {"samples": Link(ENCODE, "LATENT", ((1560, 314), (1280, 420))), "vae": Link(TILES, "vae")},
        ),
        *(node for number, power in enumerate(POWERS) for node in _branch(number, power)),
    ),
    (Note(HELP, "How to use this", (350, 270), (280, 630), POWER_NOTE),),
    (
        *SHARED_GROUPS,
        Group("4  Encode once", (1275, 40, 280, 490), PURPLE),
        *(
            Group(f"5{letter}  HiRes pass and result", (1720, number * 560 + 36 - 20, 1385, 505), PURPLE)
            for number, letter in zip(range(len(POWERS)), "abc", strict=True)
        ),
    ),
    SCALE,
    OFFSET,
)

WORKFLOWS = (UPSCALE_2X, COMPARE_POWER)
