"""``distillery checkmetadata``."""

from __future__ import annotations

import argparse
import math
from typing import Any

from rich.console import Console
from rich.table import Table

from ...nodes.errors import DistilleryError
from ...nodes.generation import Generation, to_dict
from ..sources import label
from .given import expand_sources
from .options import SOURCE, add_source_options, source_rules
from .report import generation_table, report_error
from .streams import print_json
from .terminal import DONE, combine_exit_codes, exit_code, printable

_JSON_KEYS = """--json prints one object for each image, in a line of its own:
  source        as it was given, without the query of a URL
  error         why it cannot be read; then there is nothing else
  origin        the format that was read, "none" without generation data
  positive, negative, seed, cfg, steps, sampler, scheduler, denoise, guidance, checkpoint, checkpoint_hash, vae,
  vae_hash, clip_skip, width, height, family, sharpen
                null where the image does not tell
  parts         where the checkpoint is a diffusion model alone: an object of encoders (a list), type, dtype; else null
  patches       nodes that change the sampling, in order: objects of node, values
  loras         in order: objects of name, strength_model, strength_clip, hash
  hires         an object with those of steps, denoise, tile, scale, upscaler, keep that the image tells
  fields        where each value was found, by key
  warnings      a list of texts
  carried       what else the image carries"""


def add_checkmetadata_parser(commands: Any, exits: str) -> None:
    """Define ``checkmetadata``."""
    check = commands.add_parser(
        "checkmetadata", help="show what images say of how they were made", epilog=f"{_JSON_KEYS}\n\n{exits}", allow_abbrev=False,
        description="Shows what images say of how they were made: every field, where it was found, and the warnings.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    check.add_argument("sources", nargs="+", metavar="SOURCE", help=f"{SOURCE}; or a pattern such as *.png")
    add_source_options(check)
    check.add_argument(
        "--json", action="store_true",
        help="print one JSON object for each image, in a line of its own: source, and error or the fields of the generation",
    )  # fmt: skip
    check.set_defaults(run=run_checkmetadata)


def run_checkmetadata(options: argparse.Namespace) -> int:
    """Run ``distillery checkmetadata``. An image without generation data is no error."""
    from ...nodes.recall import recall
    from ..sources.load import load

    screen = Console(stderr=True, soft_wrap=True)
    sources = expand_sources(options.sources)
    rules = source_rules(options)
    codes = []
    for source in sources:
        try:
            image = load(source, rules)
            generation = recall(image.data)
        except DistilleryError as error:
            report_error(options, screen, source, error)
            codes.append(exit_code(error))
            continue
        if options.json:
            print_json(finite({"source": label(source), **to_dict(generation)}))
        else:
            if len(sources) > 1:
                size = f"{image.width}x{image.height}"
                Console(soft_wrap=True).print(f"[bold]{printable(label(source))}[/bold]  {size}", highlight=False)
            show_generation(generation)
        codes.append(DONE)
    return combine_exit_codes(codes)


def finite(value: Any) -> Any:
    """Return data with NaN and Infinity, which some images carry and JSON lacks, as strings."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def show_generation(generation: Generation) -> None:
    """Print the fields with their provenance, the extra metadata and the warnings."""
    from ...nodes.report import NO_DATA, carried_rows

    console = Console(soft_wrap=True)
    if generation.empty:
        console.print(NO_DATA, highlight=False)
    else:
        console.print(generation_table(generation))
    carried = list(carried_rows(generation))
    if carried:
        table = Table(
            title="what the image carries", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in carried:
            table.add_row(printable(name), printable(value))
        console.print(table)
    for warning in generation.warnings:
        console.print(f"[yellow]! {printable(warning)}[/yellow]", highlight=False)
