"""Train the networks of a method for a map, and add them to it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.bundle.writer import check_destination
from edge_reloc.command_line.arguments import whole
from edge_reloc.command_line.program import OK
from edge_reloc.errors import ConfigError, MappingError
from edge_reloc.files import write_atomic
from edge_reloc.tiles.index import is_tiled

from .interruption import long_program
from .progress import LogHandler
from .training.table import TRAININGS
from .work_folder import at_work, existing_work_folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc train", description=__doc__)
    add = parser.add_argument
    add("--map", type=Path, required=True, help="map bundle, or map of tiles, to train for")
    add("--work", type=Path, help="work folder that 'edge-reloc map' left (default MAP.work)")
    default = next(iter(TRAININGS))
    add(
        "--method",
        choices=tuple(TRAININGS),
        default=default,
        help=f"whose networks (default {default})",
    )
    add(
        "--preset",
        default="quick",
        help="quick (minutes on 2 CPU cores, default) or paper (hours on a GPU)",
    )
    add("--iterations", type=whole(1), help="another length of the schedule (not of head cells)")
    add(
        "--continue",
        dest="continued",
        action="store_true",
        help="begin with the head that the map has, for a quarter of its iterations: after "
        "'edge-reloc update' (not of head cells, which an update fits)",
    )
    add("--device", default="auto", help="cpu, cuda or auto (default)")
    add(
        "--network",
        help="small or paper (default: the preset's), of landmarks or scene_coordinates",
    )
    add(
        "--validate",
        action="store_true",
        help="leave blocks of mapping photos out: landmarks reports recognition on them, "
        "scene_coordinates chooses by them, in a shorter training, which cells to keep",
    )
    add(
        "--cluster",
        default="local",
        metavar="ADDRESS",
        help="who trains the tiles of a map of tiles: local (a process for every core, default), "
        "local:N, auto, ray://HOST:PORT or HOST:PORT (Ray)",
    )
    for training in TRAININGS.values():
        training.add_options(parser)
    return parser


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Train, write the report into the work folder and print its summary; 0 when done."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LogHandler()])
    logging.getLogger("edge_reloc_export").setLevel(logging.INFO)
    started = time.perf_counter()
    work = existing_work_folder(options.map, options.work)
    _check(options)
    if is_tiled(options.map):
        from .city.training import train_city
        from .cluster.choose_executor import open_executor

        with at_work(work, alone=False), open_executor(options.cluster) as workers:
            print("\n".join(train_city(options, work, workers)))
        print(f"{options.map}: trained in {time.perf_counter() - started:.1f} s")
        return OK
    check_destination(options.map)  # before the training, not after it
    with at_work(work, alone=False):
        report = TRAININGS[options.method].train(options, work)
    write_atomic(work / report.FILE, json.dumps(report.values(), indent=1) + "\n")
    print(report.summary())
    if report.refusal is not None:
        raise MappingError(report.refusal)
    print(f"{options.map}: trained in {time.perf_counter() - started:.1f} s; report in {work}")
    return OK


def _check(options: argparse.Namespace) -> None:
    """ConfigError for what does not go with --continue."""
    if not options.continued:
        return
    if is_tiled(options.map):
        raise ConfigError(
            f"--continue: is for one map, and {options.map} is one of tiles; name a tile, e.g. "
            f"--map {options.map}/tiles/NAME --work FOLDER"
        )
    if options.validate:
        raise ConfigError(
            "--continue, --validate: the head has learnt the photos that would be left out; train "
            "without --continue to validate"
        )


if __name__ == "__main__":
    sys.exit(main())
