"""One scene of a benchmark: mapped, trained, localised and scored; what fails is noted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_reloc.bundle.reader import open_bundle
from edge_reloc.errors import SourceError
from edge_reloc.evaluation.chosen import shown_methods

from ..datasets.prepare import prepare
from ..datasets.scene import Scene
from ..packing.presets import FULL
from . import other_systems
from .answers import read_answers, write_submission
from .our_methods import OurMap, OurMethod, localise, make_map, parse_ours, to_float16, train
from .rows import row_of, with_retrieval
from .scoring import Row
from .steps import StepError, Steps


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


def comma_separated(text: str) -> list[str]:
    """The words of an option."""
    return [word.strip() for word in text.split(",") if word.strip()]


class SceneRun:
    """All methods and systems on one scene, each step once."""

    def __init__(
        self, folder: Path, scene: Scene, options: argparse.Namespace, outcome: Outcome
    ) -> None:
        """folder: for all of the scene. options: of `edge-reloc bench`. outcome: is added to."""
        self._folder, self._scene, self._options = folder, scene, options
        self._outcome = outcome
        self._prepared = prepare(scene, folder / "data")
        self._steps = Steps(folder)
        self._trainings = comma_separated(options.train)

    def run(self) -> None:
        """What one method or system fails at is noted, and the rest goes on."""
        methods = [parse_ours(text) for text in comma_separated(self._options.methods or "")]
        on_full = not methods or any(asked.preset == FULL for asked in methods)
        # Peers need the full map in any case, for its image embedding.
        full = self._map(FULL, self._trainings if on_full else [])
        if full is None:
            return
        if not methods:
            shown = shown_methods(open_bundle(full.bundle).manifest)
            methods = [parse_ours(text) for text in shown]
        rows: list[Row] = []
        for preset in dict.fromkeys(asked.preset for asked in methods):
            on_it = [asked for asked in methods if asked.preset == preset]
            needed = {asked.training for asked in on_it}
            trainings = [name for name in self._trainings if name in needed]
            our_map = full if preset == FULL else self._map(preset, trainings)
            if our_map is not None:
                rows += self._our_rows(our_map, on_it)
        place = {asked.text: number for number, asked in enumerate(methods)}
        self._outcome.rows += sorted(rows, key=lambda row: place[row.system])
        self._outcome.rows += self._other_rows(full)
        lines = self._steps.of_other_code()
        self._outcome.remarks += [f"{self._scene.name}: {line}" for line in lines]

    def _failed(self, error: Exception) -> None:
        self._outcome.failures.append(f"{self._scene.name}: {error}")

    def _map(self, preset: str, trainings: Sequence[str]) -> OurMap | None:
        """Mapped and trained; None without a map."""
        after, metric = [self._prepared], self._scene.metric
        try:
            made = make_map(self._steps, self._folder, preset, metric, self._options, after)
        except StepError as error:
            self._failed(error)
            return None
        for training in trainings:
            try:
                train(self._steps, made, training, self._options.preset)
            except StepError as error:
                self._failed(error)
        return made

    def _our_rows(self, our_map: OurMap, methods: Sequence[OurMethod]) -> list[Row]:
        """Every method that can run on one map, localised and scored."""
        after = our_map.steps
        if any("f16" in asked.method.split("+") for asked in methods):
            try:
                after.append(to_float16(self._steps, our_map).number)
            except StepError as error:
                self._failed(error)
        rows: dict[str, Row] = {}
        for asked in methods:
            try:
                poses, step = localise(
                    self._steps, self._folder, our_map, asked, self._options, after
                )
            except StepError as error:
                self._failed(error)
                continue
            row = self._row(asked.method, poses, step.command)
            if row is None:
                continue
            row = replace(row, mapping_s=our_map.mapped.seconds)
            if asked.training in our_map.trained:
                row = replace(row, training_s=our_map.trained[asked.training].seconds)
            rows[asked.text] = row
        on_it = list(rows.values())
        return [replace(with_retrieval(row, on_it), system=text) for text, row in rows.items()]

    def _other_rows(self, full: OurMap) -> list[Row]:
        """Systems that are run here, and those whose poses were brought along."""
        after, rows = [self._prepared, full.mapped.number], []
        for text in self._options.peer:
            try:
                done = other_systems.localise(
                    self._steps, self._folder, text, self._options, after=after
                )
                row = self._row(done.system, done.poses, done.step.command)
            except (StepError, SourceError) as error:  # it failed, or wrote something else
                self._failed(error)
                continue
            if row is not None:
                rows.append(row)
        for text in self._options.poses:
            system, _, file = text.partition("=")
            data, every = self._folder / "data", self._options.every
            rows.append(row_of(data, system, Path(file), self._scene, every))
        return rows

    def _row(self, system: str, poses: Path, command: str) -> Row | None:
        """Scored; None and a file to hand in where reference poses are kept back."""
        data = self._folder / "data"
        if self._scene.scored:
            return row_of(data, system, poses, self._scene, self._options.every, command=command)
        self._outcome.remarks.append(_submission(data, poses))
        return None


def _submission(data: Path, poses: Path) -> str:
    """The reference poses are kept back by those who publish the data."""
    names = (data / "queries.txt").read_text().split("\n")[:-1]
    path = poses.with_suffix(".submission.txt")
    count = write_submission(path, names, read_answers(poses))
    return (
        f"{path}: {count} of {len(names)} queries; its reference poses are kept back, hand it in "
        f"at visuallocalization.net"
    )
