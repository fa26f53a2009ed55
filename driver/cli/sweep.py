"""Run ``distillery sweep``."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from ...nodes.command import CommandError, format_command, parse_command, parse_value
from ...nodes.errors import DistilleryError
from ...nodes.parameters import BY_NAME
from ..sources import label
from .options import (
    SOURCE,
    add_manifest,
    add_output,
    add_parameters,
    add_server_options,
    add_source_options,
    logged_to,
    preview_protocol,
    typed_parameters,
)
from .report import add_to_manifest, report_error
from .terminal import DONE, INTERRUPTED, exit_code, printable


def add_sweep_parser(commands: Any, exits: str) -> None:
    """Define ``sweep``."""
    sweep = commands.add_parser(
        "sweep", help="upscale one image with several values, side by side on a contact sheet", epilog=exits,
        description="Upscales one image with each of the values and writes all results and a contact sheet, which "
        "marks the best power. Several values are separated by commas.",
        allow_abbrev=False,
    )  # fmt: skip
    sweep.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_source_options(sweep)
    group = sweep.add_argument_group("parameters (--power, --cfg and --seed take several values)")
    lists = dict.fromkeys(("power", "cfg", "seed"), "; several with commas")
    add_parameters(group, lists, power="0.1,0.2,0.3,0.4,0.5")
    add_output(sweep)
    sweep.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_manifest(sweep)
    add_server_options(sweep)
    sweep.set_defaults(run=run_sweep)


def parse_values(name: str, given: list[str] | None) -> list[Any]:
    """Parse the values of an option such as ``--power 0.1,0.2``. Raises CommandError."""
    if not given:
        return []
    if len(given) > 1:
        raise CommandError(f"--{name} is given twice; give it once, its values separated by commas.")
    return [parse_value(BY_NAME[name], text)[0] for text in re.split(r"[,\s]+", given[0].strip(", "))]


def run_sweep(options: argparse.Namespace) -> int:
    """Run ``distillery sweep``."""
    from ..jobs.drift import POWERS
    from ..jobs.job import Item, Result
    from ..jobs.manifest import Manifest
    from ..jobs.sweep import variants
    from ..upscaler import Upscaler
    from .progress import TerminalProgress

    given = typed_parameters(options)
    automatic = [v.strip().lower() for v in given["power"] or ()] in ([], ["auto"])
    powers = list(POWERS) if automatic else parse_values("power", given["power"])
    rows = variants(powers, parse_values("cfg", given["cfg"]), parse_values("seed", given["seed"]))
    command = format_command({k: v for k, v in given.items() if k not in ("power", "cfg", "seed")})
    parse_command(command)
    screen = Console(stderr=True, soft_wrap=True)
    previews = preview_protocol(options, screen)
    shortened = label(options.source)
    name = printable(Path(shortened).name)
    manifest = Manifest(Path(options.manifest)) if options.manifest else None

    def on_done(text: str, made: Result | DistilleryError) -> None:
        result, error = (made, None) if isinstance(made, Result) else (None, made)
        add_to_manifest(manifest, Item(0, shortened, result, error), text, {})

    with (
        logged_to(options.log),
        Upscaler(
            server=options.server,
            comfyui=options.comfyui,
            out=options.out,
            allow_hosts=options.allow_host,
            cluster=options.cluster,
        ) as upscaler,  # fmt: skip
        contextlib.ExitStack() as stack,
    ):
        progress = None if options.json else stack.enter_context(TerminalProgress(screen, "", previews))
        try:
            made = upscaler.sweep(
                options.source, rows, command,
                lambda variant, event: progress.show(f"{name} {variant}", event) if progress is not None else None,
                preview=previews is not None, on_done=on_done,
            )  # fmt: skip
        except DistilleryError as error:
            report_error(options, screen, options.source, error)
            return exit_code(error)
        except KeyboardInterrupt:
            screen.print("Interrupted; the jobs were cancelled on the server.")
            return INTERRUPTED
    if options.json:
        data = {
            "source": label(options.source),
            "sheet": str(made.sheet),
            "upscaled": str(made.upscaled.path),
            "power": made.choice.as_json(),
            "results": [
                {
                    **result.as_dict(), "power": variant.power, "cfg": result.generation.cfg,
                    "seed": result.generation.seed, "structure": round(made.drifts[variant].structure, 4),
                    "novelty": round(made.drifts[variant].novelty, 4),
                }
                for variant, result in made.results.items()
            ],
        }  # fmt: skip
        print(json.dumps(data, ensure_ascii=False), flush=True)
        return DONE
    console = Console(soft_wrap=True)
    for variant, result in made.results.items():
        console.print(f"{printable(str(result.path))}  {made.drifts[variant]}", highlight=False)
    console.print(f"[bold]{printable(str(made.sheet))}[/bold]", highlight=False)
    console.print(f"[green]{printable(made.choice.reason)}[/green]", highlight=False)
    return DONE
