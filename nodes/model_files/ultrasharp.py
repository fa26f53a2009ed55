"""4x-UltraSharp, the upscale model of Distillery, fetched on first use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from .download import TIMEOUT, DownloadError, Progress, download, offline
from .upscalers import ULTRASHARP

_LOG_INFO = logging.getLogger(__name__).info

SIZE = 66_961_958
SHA256 = "a5812231fc936b42af08a5edba784195495d303d5b3248c24489ef0c4021fe01"
URLS = (
    "https://huggingface.co/lokCX/4x-Ultrasharp/resolve/1856559b50de25116a7c07261177dd128f1f5664/4x-UltraSharp.pth",
    "https://huggingface.co/Kim2091/UltraSharp/resolve/main/4x-UltraSharp.pth",
)
LICENCE = (
    "4x-UltraSharp by Kim2091 is licensed CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/): "
    "name its author, no commercial use, share what you make of the model under the same licence."
)


def ensure_ultrasharp(
    folder: Path,
    progress: Progress | None = None,
    say: Callable[[str], None] = _LOG_INFO,
    interrupted: Callable[[], None] | None = None,
    urls: tuple[str, ...] = URLS,
    timeout: float = TIMEOUT,
) -> Path:
    """4x-UltraSharp.pth in ``folder``, downloaded (67 MB, verified) where it is missing.

    A file of that name is used as it is, with a notice where its size is not the original's: it may be a
    half precision or otherwise converted one. say: is told the licence before the download.
    Raises DownloadError, which names the file, the folder and the alternative.
    """
    target = folder / ULTRASHARP
    if target.is_file():
        size = target.stat().st_size
        if size != SIZE:
            say(f"{target} is not the original file ({size:,} bytes, the original has {SIZE:,}); it is used as it is.")
        return target

    if not offline():
        say(f"Downloading {ULTRASHARP} ({SIZE / 1e6:.0f} MB) to {folder}. {LICENCE}")
    try:
        return download(urls, target, SIZE, SHA256, progress, interrupted, timeout)
    except DownloadError as error:
        raise DownloadError(
            f"{error} Put {ULTRASHARP} into {folder} yourself (it is at {URLS[-1].split('/resolve')[0]}), or choose "
            "another upscale model in the Load UltraSharp node: any single-image model works, such as "
            "RealESRGAN_x4plus."
        ) from error
