"""Options that several commands share: definitions and parsing."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ...nodes.command import parse_value
from ...nodes.parameters import PARAMETERS
from .given import referenced
from .terminal import MISSING
from .terminal_image import Protocol, protocol

if TYPE_CHECKING:
    from ..sources.load import Rules
    from ..upscaler import Upscaler

JOB_OPTIONS = (
    "out", "json", "allow-host", "server", "comfyui", "verbose", "help", "continue-on-error", "skip-existing", "manifest", "log",
    "preview", "compare", "header", "ca", "format", "quality", "use-proxy", "max-pixels", "cluster",
)  # fmt: skip
SOURCE = "image file, - for the standard input, or URL of a Discord attachment; @FILE: a list of them, one a line, @- on the standard input"


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Define the options of every command that reads images."""
    parser.add_argument(
        "--allow-host", metavar="HOST", action="append", default=[],
        help="fetch links of this host too, by its exact name; can be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--use-proxy", action="store_true", help="fetch links through the proxy that $HTTPS_PROXY names"
    )
    parser.add_argument(
        "--max-pixels", type=int, metavar="N",
        help="refuse images with more pixels, before they are decoded (default, and the most: 64,000,000)",
    )  # fmt: skip


def add_parameters(group: Any, more: dict[str, str], **defaults: str) -> None:
    """Define an option for each parameter.

    more: text to add to the help, by parameter. defaults: defaults that differ from the table's.
    """
    for parameter in PARAMETERS:
        group.add_argument(
            f"--{parameter.name}", dest=f"parameter_{parameter.name}", action="append", nargs="?", const=MISSING,
            metavar="X" if parameter.kind == "float" else "N" if parameter.kind == "int" else parameter.name.upper(),
            help=f"{parameter.meaning}; {parameter.accepts}{', or @FILE (@- on the standard input)' if parameter.kind == 'text' else ''}{more.get(parameter.name, '')}; "
            f"default {defaults.get(parameter.name, parameter.default)}".replace("%", "%%"),
        )  # fmt: skip


def add_output(parser: argparse.ArgumentParser, out: str) -> None:
    """Define the options for results, previews and the log. out: help text of ``--out``."""
    parser.add_argument("--out", metavar="PATH", default=".", help=out)
    parser.add_argument(
        "--preview", action="store_true",
        help="show the picture while it is made, where the terminal can (iTerm2's and kitty's protocols)",
    )  # fmt: skip
    parser.add_argument("--log", metavar="FILE", help="append what happens as JSON lines, with ids of the jobs")


def add_manifest(parser: Any) -> None:
    """Define ``--manifest``."""
    parser.add_argument(
        "--manifest", metavar="FILE", help="append a JSON line for each picture: what was made, and how"
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Define the options that choose the ComfyUI."""
    group = parser.add_argument_group("server (default: a managed ComfyUI, started when needed)")
    group.add_argument(
        "--server", metavar="URL", action="append",
        help="use this running ComfyUI, such as http://127.0.0.1:8188; repeated: each image goes to the least busy",
    )  # fmt: skip
    group.add_argument(
        "--header", metavar="HEADER", action="append", default=[],
        help='send this header to it, such as "Authorization: Bearer TOKEN"; others can read it in the process list, which '
        "$DISTILLERY_SERVER_HEADERS avoids (one a line); can be given more than once",
    )  # fmt: skip
    group.add_argument("--ca", metavar="FILE", help="trust the certificates in this file (or $SSL_CERT_FILE)")
    group.add_argument("--comfyui", metavar="DIR", help="start the ComfyUI in this folder")
    group.add_argument(
        "--cluster", metavar="URL",
        help="have the workers of a cluster run it: URL of its PostgreSQL, env (the URL is in DISTILLERY_DATABASE) or local",
    )  # fmt: skip
    group.add_argument("--verbose", action="store_true", help="show the log on the terminal")


def source_rules(options: argparse.Namespace) -> Rules:
    """Return what the options say of sources. Raises SourceError."""
    from ...nodes.image_formats import MAX_PIXELS
    from ..sources.fetch import environment_proxy
    from ..sources.load import Rules

    most = MAX_PIXELS if options.max_pixels is None else options.max_pixels
    return Rules(tuple(options.allow_host), most, environment_proxy() if options.use_proxy else None)


def make_upscaler(options: argparse.Namespace) -> Upscaler:
    """Return the Upscaler that the options ask for. Raises ServerError."""
    from ..server.endpoint import parse_headers
    from ..upscaler import Upscaler  # brings Pillow and numpy along, which --help does not need

    rules = source_rules(options)
    return Upscaler(
        server=options.server, comfyui=options.comfyui, out=options.out, allow_hosts=rules.allow_hosts,
        headers=parse_headers(options.header), ca=options.ca, max_pixels=rules.max_pixels, use_proxy=options.use_proxy,
        cluster=options.cluster,
    )  # fmt: skip


def typed_parameters(options: argparse.Namespace) -> dict[str, list[str] | None]:
    """Return the parameters as typed, or as read where ``@`` says so. Raises CommandError if a value is missing, SourceError."""
    given = {p.name: getattr(options, f"parameter_{p.name}") for p in PARAMETERS}
    for parameter in PARAMETERS:
        if parameter.kind == "text" and given[parameter.name]:
            given[parameter.name] = [referenced(text, f"--{parameter.name}") for text in given[parameter.name]]
    for parameter in PARAMETERS:
        if MISSING in (given[parameter.name] or ()):
            parse_value(parameter, "")  # raises, with what is accepted
    return given


@contextlib.contextmanager
def logged_to(file: str | None) -> Iterator[None]:
    """Log to a file as JSON lines within the context; None: no file."""
    if file is None:
        yield
        return
    from ..log import log_to

    handler = log_to(Path(file))
    package = logging.getLogger(__name__.partition(".")[0])
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()


def preview_protocol(options: argparse.Namespace, screen: Console) -> Protocol | None:
    """Return the protocol to show previews by; None if they are not wanted or the terminal has none."""
    return protocol(terminal=screen.is_terminal) if options.preview and not options.json else None
