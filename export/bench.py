"""Data sets in, one table out: map, train, localise and score, each of them once.

Poses are written first and scored later, so that other systems' poses stand in the same table.
What was done with the same command and data is not done again: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.command_line.arguments import whole
from edge_reloc.command_line.program import KNOWN_ERROR, OK
from edge_reloc.errors import ConfigError
from edge_reloc.evaluation.chosen import extras_syntax, shown_methods, syntax
from edge_reloc.files import write_atomic

from .benchmark import other_systems
from .benchmark.answers import read_answers
from .benchmark.our_methods import parse_ours
from .benchmark.page import to_html, to_markdown
from .benchmark.scene_run import Outcome, SceneRun, comma_separated
from .datasets.scene import Scene
from .datasets.table import DATASETS, open_dataset
from .interruption import long_program
from .packing.presets import PRESETS
from .training.table import TRAININGS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc bench", description=__doc__)
    add = parser.add_argument
    add(
        "--dataset",
        action="append",
        required=True,
        metavar="KIND:FOLDER",
        help=f"a scene of {', '.join(DATASETS)}, as published; repeatable",
    )
    add("--output", type=Path, required=True, help="folder for all of it, and for going on")
    add(
        "--methods",
        help=f"comma-separated: {syntax()}; {extras_syntax()}; '@' and one of "
        f"{', '.join(PRESETS)}: on a map of that preset; default: all that run",
    )
    add(
        "--train",
        default="",
        help=f"comma-separated: {', '.join(TRAININGS)}; default: none of them",
    )
    add("--preset", default="quick", help="of the trainings: quick (default) or paper")
    add("--every", type=whole(1), default=1, help="each n-th query (default 1)")
    add("--threads", type=whole(1, 256), default=2, help="of localisation (default 2)")
    add(
        "--map-options",
        default="",
        metavar="TEXT",
        help="more for 'edge-reloc map', such as '--features sift'",
    )
    add(
        "--poses",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="poses of another system for the one scene: poses.jsonl, or lines "
        "'photo qw qx qy qz tx ty tz', world to camera; repeatable",
    )
    add(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another system: a command that localises a scene's queries and writes poses.jsonl; "
        f"{other_systems.FILLED_IN} are filled in; repeatable",
    )
    add("--against", metavar="NAME", help="system that all others are compared with, by ratios")
    return parser


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Run what is left, write the table; 1 where something could not be done."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _check(options)
    scenes = [open_dataset(address) for address in options.dataset]
    _check_scenes(scenes, options)
    outcome = Outcome()
    for scene in scenes:
        SceneRun(options.output / scene.name, scene, options, outcome).run()
        _write(options.output, outcome, options.against)
    print(to_markdown(outcome.rows, outcome.notes, options.against))
    print(f"written to {options.output}: results.md, results.json, results.html", file=sys.stderr)
    return KNOWN_ERROR if outcome.failures else OK


def _check(options: argparse.Namespace) -> None:
    """What makes no sense is told before the long work. Raises ConfigError and SourceError."""
    if options.poses and len(options.dataset) > 1:
        raise ConfigError("--poses are of one scene; name one --dataset")
    unknown = [name for name in comma_separated(options.train) if name not in TRAININGS]
    if unknown:
        raise ConfigError(f"--train: found '{unknown[0]}', expected one of {', '.join(TRAININGS)}")
    for method in comma_separated(options.methods or ""):
        parse_ours(method)
    for text in options.poses:
        system, equals, file = text.partition("=")
        if not (system and equals and file):
            raise ConfigError(f"--poses {text}: expected NAME=FILE")
        read_answers(Path(file))
    for text in options.peer:
        other_systems.check(text)
    systems = comma_separated(options.methods or "") or list(shown_methods())
    systems += [text.partition("=")[0] for text in (*options.peer, *options.poses)]
    if options.against is not None and options.against not in systems:
        raise ConfigError(
            f"--against: found '{options.against}', expected one of {', '.join(systems)}"
        )


def _check_scenes(scenes: Sequence[Scene], options: argparse.Namespace) -> None:
    """Likewise of the data sets. Raises ConfigError."""
    names = [scene.name for scene in scenes]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"--dataset: two scenes are named '{twice[0]}'; run them one by one, each with an "
            f"--output of its own"
        )
    if options.poses and not scenes[0].scored:
        raise ConfigError(
            f"--poses: the reference poses of {names[0]} are kept back, so that nothing is scored; "
            f"hand the poses in at visuallocalization.net"
        )


def _write(folder: Path, outcome: Outcome, against: str | None) -> None:
    values = {"rows": [row.to_json() for row in outcome.rows], "notes": outcome.notes}
    write_atomic(folder / "results.json", json.dumps(values, indent=1, allow_nan=False) + "\n")
    write_atomic(folder / "results.md", to_markdown(outcome.rows, outcome.notes, against))
    write_atomic(folder / "results.html", to_html(outcome.rows, outcome.notes, against))


if __name__ == "__main__":
    sys.exit(main())
