#!/usr/bin/env python3
"""How completely recall reads folders of pictures and workflows that others made.

    ./distillery python benchmarks/recall_corpus.py FOLDER... [--list] [--limit 2] [--json FILE]

Every picture and every JSON file that holds a ComfyUI graph is read. Graphs count once each, however many files hold
them: API graphs, and editor's workflows without one, apart. A graph is *complete* where both prompts, seed, cfg, steps,
sampler, scheduler and checkpoint are known; *nothing* where none of that is; else *part*. How many of those with nothing have no
node that samples (filters, comparisons of upscalers, texts) is said beside: there is nothing to read in them. Of files with both the API
graph and the workflow, the workflow is read alone too and compared with what the API graph gives, which is what ran:
a value that differs is wrong unless a warning of the workflow's explains it.

An exception of any kind but RecallError, and a file slower than the limit, are named; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillery.nodes.generation import Generation
from distillery.nodes.recall import RecallError, recall, recall_text
from distillery.nodes.recall.containers.image import read_contents
from distillery.nodes.recall.containers.texts import load_json

PICTURES = {".png", ".apng", ".jpg", ".jpeg", ".webp", ".avif"}
FIELDS = ("positive", "negative", "seed", "cfg", "steps", "sampler", "scheduler", "checkpoint")
LEVELS = ("complete", "part", "nothing")


@dataclass
class Graph:
    """One distinct graph, and what was read of it."""

    kind: str
    """``API`` or ``editor``."""
    level: str
    file: Path
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    samples: bool
    """False if no class of its nodes is one that samples."""
    told_later: bool = False
    """True if everything that is missing was only known when the graph ran."""


@dataclass
class Corpus:
    """Everything that was found."""

    files: int = 0
    unreadable: int = 0
    """Files that are no images, as RecallError says."""
    graphs: dict[str, Graph] = field(default_factory=dict)
    """By the graph's digest."""
    texts: collections.Counter[str] = field(default_factory=collections.Counter)
    """Pictures with data but no graph, by format."""
    compared: int = 0
    differing: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")


def files_of(folders: list[Path]) -> Iterator[Path]:
    """Yield pictures and JSON files, in a fixed order."""
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if path.suffix.lower() in PICTURES | {".json"} and path.is_file():
                yield path


def level_of(generation: Generation) -> tuple[str, tuple[str, ...]]:
    """Return how complete a generation is, and the names of the missing fields."""
    missing = tuple(name for name in FIELDS if getattr(generation, name) is None)
    if generation.empty or len(missing) == len(FIELDS):
        return "nothing", missing
    return ("part" if missing else "complete"), missing


def graph_of(texts: dict[str, str]) -> tuple[str, str] | None:
    """Return the kind and the digest of the graph in a file's texts; ``None`` if there is none."""
    for key in ("prompt", "workflow"):
        try:
            data = load_json(texts.get(key, ""))
        except ValueError:
            continue
        if not isinstance(data, dict):
            continue
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode("utf-8", "replace")).hexdigest()
        if isinstance(data.get("nodes"), list):
            return "editor", digest
        if any(isinstance(node, dict) and "class_type" in node for node in data.values()):
            return "API", digest
    return None


def samples(text: str) -> bool:
    """Return True if any node of a graph is of a class that samples, by its name."""
    return re.search(r'"(?:class_type|type)":\s*"[^"]{0,60}(?:sampl|detailer)', text, re.IGNORECASE) is not None


_AT_RUN_TIME = re.compile(
    r"random|wildcard|token|promptline|find and replace input|schedul|cycl|gradient|prompt text|style|florence|textgenerate|caption|magic|"
    r"toggle|retrieve",
    re.IGNORECASE,
)
"""Classes whose values are made, or looked up in files and caches, when the graph runs."""


def told_later(missing: tuple[str, ...], warnings: tuple[str, ...]) -> bool:
    """Return True if the warnings explain every missing field by a value that is made when the graph runs."""
    explained: set[str] = set()
    for warning in warnings:
        if re.search(r'not usable as seed: "-\d+"', warning):
            explained.add("seed")
        made = re.search(r"comes from node [^(]+\((.+)\), which (?:is not known|does not tell)", warning)
        if made and _AT_RUN_TIME.search(made.group(1)):
            explained |= {
                name
                for name in FIELDS
                if f"{name} prompt is not recalled" in warning or f": {name} is not recalled" in warning
            }
        if "which is not read here: it is chosen when the graph runs" in warning:
            explained.add("checkpoint")
    return bool(missing) and explained >= set(missing)


def texts_of_json(path: Path) -> dict[str, str]:
    """Return a JSON file's graph as the text that a picture would have; empty for any other JSON."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for key in ("prompt", "workflow"):
        found = graph_of({key: text})
        if found is not None:
            return {"prompt" if found[0] == "API" else "workflow": text}
    return {}


def read_corpus(folders: list[Path], limit: float) -> Corpus:
    """Read every file of some folders. limit: seconds for one file."""
    corpus = Corpus()
    for path in files_of(folders):
        corpus.files += 1
        is_json = path.suffix.lower() == ".json"
        try:
            texts = texts_of_json(path) if is_json else read_contents(path).texts
            if is_json and not texts:
                continue
            start = time.process_time()
            generation = recall_text(texts) if is_json else recall(path)
            seconds = time.process_time() - start
        except RecallError:
            corpus.unreadable += 1
            continue
        except Exception as error:  # that is what is looked for
            corpus.errors.append(f"{path}: {type(error).__name__}: {error}")
            continue
        corpus.slowest = max(corpus.slowest, (seconds, str(path)))
        if seconds > limit:
            corpus.slow.append(f"{path}: {seconds:.1f} s")
        graph = graph_of(texts)
        if graph is None:
            corpus.texts[generation.origin] += 1
        elif graph[1] not in corpus.graphs:
            level, missing = level_of(generation)
            text = texts["prompt" if graph[0] == "API" and "prompt" in texts else "workflow"]
            later = told_later(missing, generation.warnings)
            corpus.graphs[graph[1]] = Graph(graph[0], level, path, missing, generation.warnings, samples(text), later)
            if graph[0] == "API" and "workflow" in texts:
                _compare(corpus, path, texts["workflow"], recall_text({"prompt": texts["prompt"]}))
    return corpus


def _compare(corpus: Corpus, path: Path, workflow: str, ran: Generation) -> None:
    """Read the workflow alone, and note the values that differ from those of the graph that ran."""
    alone = recall_text({"workflow": workflow})
    if ran.empty or alone.empty:
        return
    corpus.compared += 1
    for name in (*FIELDS, "loras", "vae", "denoise", "clip_skip", "guidance", "width", "height", "hires"):
        ours, theirs = getattr(alone, name), getattr(ran, name)
        if ours is not None and theirs is not None and ours != theirs:
            corpus.differing.append(f"{path}: {name}: {_short(ours)} by the workflow, {_short(theirs)} by the graph")


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 200 else text[:197] + "..."


def counts(corpus: Corpus) -> dict[str, dict[str, int]]:
    """Return the numbers of distinct graphs by kind and level."""
    found = {kind: dict.fromkeys(LEVELS, 0) for kind in ("API", "editor")}
    for graph in corpus.graphs.values():
        found[graph.kind][graph.level] += 1
    return found


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders of pictures and workflows")
    parser.add_argument("--list", action="store_true", help="name every graph that is not complete, and what differs")
    parser.add_argument("--limit", type=float, default=1.0, metavar="S", help="seconds for one file (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    corpus = read_corpus(options.folders, options.limit)
    found = counts(corpus)
    if options.list:
        for graph in sorted(corpus.graphs.values(), key=lambda g: (g.kind, g.level, str(g.file))):
            if graph.level != "complete":
                print(f"{graph.kind} {graph.level} {graph.file}: lacks {', '.join(graph.missing)}")
                print("".join(f"    {_short(warning)}\n" for warning in graph.warnings), end="")
        print("\n".join(corpus.differing))
    print(f"{corpus.files} files, {corpus.unreadable} of them no images")
    print(f"{'distinct graphs':16}" + "".join(f"{level:>10}" for level in LEVELS) + f"{'of':>10}")
    for kind, levels in found.items():
        print(f"{kind:16}" + "".join(f"{levels[level]:>10}" for level in LEVELS) + f"{sum(levels.values()):>10}")
    empty = {
        k: sum(not g.samples for g in corpus.graphs.values() if g.kind == k and g.level == "nothing") for k in found
    }
    later = {k: sum(g.told_later for g in corpus.graphs.values() if g.kind == k) for k in found}
    print("of nothing, without a node that samples: " + ", ".join(f"{n} {kind}" for kind, n in empty.items()))
    print(
        "of part, what is missing was known only when it ran: " + ", ".join(f"{n} {kind}" for kind, n in later.items())
    )
    print("pictures without a graph: " + ", ".join(f"{n} {name}" for name, n in sorted(corpus.texts.items())))
    print(f"{corpus.compared} workflows compared with the graph that ran: {len(corpus.differing)} values differ")
    print(f"slowest {corpus.slowest[0]:.2f} s ({Path(corpus.slowest[1]).name}); {len(corpus.errors)} exceptions")
    for problem in corpus.errors + corpus.slow:
        print(f"FAULT {problem}")
    if options.json:
        data = {
            "files": corpus.files,
            "graphs": found,
            "nothing_without_a_sampler": empty,
            "part_known_when_it_ran": later,
            "texts": dict(corpus.texts),
            "compared": corpus.compared,
            "differing": len(corpus.differing),
            "slowest": round(corpus.slowest[0], 3),
            "exceptions": len(corpus.errors),
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if corpus.errors or corpus.slow else 0


if __name__ == "__main__":
    sys.exit(main())
