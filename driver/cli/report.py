"""Results and errors, as text or as JSON."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ...nodes.errors import DistilleryError
from ...nodes.generation import Generation
from ..sources import label
from .streams import print_json
from .terminal import printable

if TYPE_CHECKING:
    from ..jobs.job import Item, Result
    from ..jobs.manifest import Manifest


def report_error(options: argparse.Namespace, screen: Console, source: str, error: DistilleryError) -> None:
    """Print the error of a source, as JSON if the options say so."""
    if options.json:
        print_json({"source": label(source), "error": str(error)})
    else:
        screen.print(f"[red]{printable(label(source))}: {printable(str(error))}[/red]", highlight=False)


def report_result(options: argparse.Namespace, source: str, result: Result) -> None:
    """Print a result, as JSON if the options say so."""
    if options.json:
        print_json(as_json(source, result))
    else:
        show_result(result)


def as_json(source: str, result: Result) -> dict[str, Any]:
    """Return a result in the form of ``upscale --json``."""
    return {"source": label(source), **result.as_dict()}


def show_result(result: Result) -> None:
    """Print the path of the result, its generation, warnings and timings."""
    console = Console(soft_wrap=True)
    console.print(f"[bold]{printable(str(result.path))}[/bold]  {result.width}x{result.height}", highlight=False)
    if result.skipped:
        console.print("[dim]is there already, made from the same picture with the same parameters[/dim]")
        return
    if result.compared is not None:
        console.print(f"[bold]{printable(str(result.compared))}[/bold]  before and after", highlight=False)
    console.print(generation_table(result.generation))
    if result.choice is not None:
        console.print(f"[green]{printable(result.choice.reason)}[/green]", highlight=False)
    for warning in result.warnings:
        console.print(f"[yellow]! {printable(warning)}[/yellow]", highlight=False)
    slow = [f"{title} {seconds:.1f}" for title, seconds in result.seconds.items() if seconds >= 0.05]
    cached = f"; {len(result.cached)} stages from the cache" if result.cached else ""
    console.print(
        f"[dim]{result.total:.1f} s: {', '.join(slow) or 'all from the cache'}{cached}[/dim]", highlight=False
    )


def generation_table(generation: Generation) -> Table:
    """Return a table of the known fields of a generation, with their provenance."""
    from ...nodes.report import as_rows

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for name, value, where in as_rows(generation):
        if value:
            table.add_row(printable(name), printable(value), printable(where))
    return table


def add_to_manifest(manifest: Manifest | None, item: Item, command: str, parameters: dict[str, Any]) -> None:
    """Append the line of one image, if there is a manifest.

    parameters: those outside the command; only an automatic power is one.
    """
    from ..jobs.manifest import entry

    if manifest is not None:
        power = f" --power {parameters['power']}" if parameters else ""
        manifest.add(entry(item, f"{command}{power}".strip()))
