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
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_reloc.bundle.reader import open_bundle
from edge_reloc.command_line.arguments import whole
from edge_reloc.command_line.program import KNOWN_ERROR, OK
from edge_reloc.errors import ConfigError, SourceError
from edge_reloc.evaluation.chosen import extras_syntax, shown_methods, syntax
from edge_reloc.files import write_atomic

from .benchmark import other_systems
from .benchmark.answers import read_answers, write_submission
from .benchmark.our_methods import (
    OurMap,
    OurMethod,
    localise,
    make_map,
    parse_ours,
    to_float16,
    train,
)
from .benchmark.page import to_html, to_markdown
from .benchmark.rows import row_of, with_retrieval
from .benchmark.scoring import Row
from .benchmark.steps import StepError, Steps
from .datasets.prepare import prepare
from .datasets.scene import Scene
from .datasets.table import DATASETS, open_dataset
from .interruption import long_program
from .packing.presets import FULL, PRESETS
from .training.table import TRAININGS


@dataclass(kw_only=True)
class Outcome:
    """Of all scenes so far."""

    rows: list[Row] = field(default_factory=list)
    #: what could not be done, and why
    failures: list[str] = field(default_factory=list)
    #: files for those who keep reference poses back; what another version of this package did
    remarks: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Below the table."""
        return [*self.remarks, *self.failures]


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
        _run_scene(options.output / scene.name, scene, options, outcome)
        _write(options.output, outcome, options.against)
    print(to_markdown(outcome.rows, outcome.notes, options.against))
    print(f"written to {options.output}: results.md, results.json, results.html", file=sys.stderr)
    return KNOWN_ERROR if outcome.failures else OK


def _check(options: argparse.Namespace) -> None:
    """What makes no sense is told before the long work. Raises ConfigError and SourceError."""
    if options.poses and len(options.dataset) > 1:
        raise ConfigError("--poses are of one scene; name one --dataset")
    unknown = [name for name in _list(options.train) if name not in TRAININGS]
    if unknown:
        raise ConfigError(f"--train: found '{unknown[0]}', expected one of {', '.join(TRAININGS)}")
    for method in _list(options.methods or ""):
        parse_ours(method)
    for text in options.poses:
        system, equals, file = text.partition("=")
        if not (system and equals and file):
            raise ConfigError(f"--poses {text}: expected NAME=FILE")
        read_answers(Path(file))
    for text in options.peer:
        other_systems.check(text)
    systems = _list(options.methods or "") or list(shown_methods())
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


def _run_scene(folder: Path, scene: Scene, options: argparse.Namespace, outcome: Outcome) -> None:
    """All methods on one scene; what fails is noted, and the rest goes on."""
    prepared = prepare(scene, folder / "data")
    steps = Steps(folder)
    trainings = _list(options.train)
    methods = [parse_ours(text) for text in _list(options.methods or "")]
    on_full = not methods or any(asked.preset == FULL for asked in methods)
    try:  # peers need it in any case, for its image embedding
        wanted = trainings if on_full else []
        full = _make_map(steps, folder, scene, options, FULL, wanted, prepared, outcome)
    except StepError as error:
        outcome.failures.append(f"{scene.name}: {error}")
        return
    if not methods:
        methods = [parse_ours(text) for text in shown_methods(open_bundle(full.bundle).manifest)]
    rows: list[Row] = []
    for preset in dict.fromkeys(asked.preset for asked in methods):
        on_it = [asked for asked in methods if asked.preset == preset]
        wanted = [name for name in trainings if name in {asked.training for asked in on_it}]
        try:
            made = full
            if preset != FULL:
                made = _make_map(steps, folder, scene, options, preset, wanted, prepared, outcome)
        except StepError as error:
            outcome.failures.append(f"{scene.name}: {error}")
            continue
        rows += _our_rows(steps, folder, scene, options, made, on_it, outcome)
    place = {asked.text: number for number, asked in enumerate(methods)}
    outcome.rows += sorted(rows, key=lambda row: place[row.system])
    after = [prepared, full.mapped.number]
    outcome.rows += _other_rows(steps, folder, scene, options, after, outcome)
    outcome.remarks += [f"{scene.name}: {line}" for line in steps.of_other_code()]


def _make_map(
    steps: Steps,
    folder: Path,
    scene: Scene,
    options: argparse.Namespace,
    preset: str,
    trainings: Sequence[str],
    prepared: str,
    outcome: Outcome,
) -> OurMap:
    """Mapped and trained; a training that fails is noted. Raises StepError without a map."""
    made = make_map(steps, folder, preset, scene.metric, options, after=[prepared])
    for training in trainings:
        try:
            train(steps, made, training, options.preset)
        except StepError as error:
            outcome.failures.append(f"{scene.name}: {error}")
    return made


def _our_rows(
    steps: Steps,
    folder: Path,
    scene: Scene,
    options: argparse.Namespace,
    made: OurMap,
    methods: Sequence[OurMethod],
    outcome: Outcome,
) -> list[Row]:
    """Every method that can run on one map, localised and scored."""
    data, after = folder / "data", made.made
    if any("f16" in asked.method.split("+") for asked in methods):
        try:
            after.append(to_float16(steps, made).number)
        except StepError as error:
            outcome.failures.append(f"{scene.name}: {error}")
    rows: dict[str, Row] = {}
    for asked in methods:
        try:
            poses, step = localise(steps, folder, made, asked, options, after)
        except StepError as error:
            outcome.failures.append(f"{scene.name}: {error}")
            continue
        if not scene.scored:
            outcome.remarks.append(_submission(data, poses))
            continue
        row = row_of(data, asked.method, poses, scene, options.every, command=step.command)
        row = replace(row, mapping_s=made.mapped.seconds)
        if asked.training in made.trained:
            row = replace(row, training_s=made.trained[asked.training].seconds)
        rows[asked.text] = row
    on_it = list(rows.values())
    return [replace(with_retrieval(row, on_it), system=text) for text, row in rows.items()]


def _other_rows(
    steps: Steps,
    folder: Path,
    scene: Scene,
    options: argparse.Namespace,
    after: Sequence[str],
    outcome: Outcome,
) -> list[Row]:
    """Systems that are run here, and those whose poses were brought along."""
    data, rows = folder / "data", []
    for text in options.peer:
        try:
            done = other_systems.localise(steps, folder, text, options, after=after)
            if not scene.scored:
                outcome.remarks.append(_submission(data, done.poses))
                continue
            command = done.step.command
            row = row_of(data, done.system, done.poses, scene, options.every, command=command)
        except (StepError, SourceError) as error:  # it failed, or wrote something else
            outcome.failures.append(f"{scene.name}: {error}")
            continue
        rows.append(row)
    for text in options.poses:
        system, _, file = text.partition("=")
        rows.append(row_of(data, system, Path(file), scene, options.every))
    return rows


def _submission(data: Path, poses: Path) -> str:
    """The reference poses are kept back by those who publish the data."""
    names = (data / "queries.txt").read_text().split("\n")[:-1]
    path = poses.with_suffix(".submission.txt")
    count = write_submission(path, names, read_answers(poses))
    return (
        f"{path}: {count} of {len(names)} queries; its reference poses are kept back, hand it in "
        f"at visuallocalization.net"
    )


def _write(folder: Path, outcome: Outcome, against: str | None) -> None:
    values = {"rows": [row.to_json() for row in outcome.rows], "notes": outcome.notes}
    write_atomic(folder / "results.json", json.dumps(values, indent=1, allow_nan=False) + "\n")
    write_atomic(folder / "results.md", to_markdown(outcome.rows, outcome.notes, against))
    write_atomic(folder / "results.html", to_html(outcome.rows, outcome.notes, against))


def _list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


if __name__ == "__main__":
    sys.exit(main())
