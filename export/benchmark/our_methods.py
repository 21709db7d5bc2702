"""Our methods on a scene: maps, trainings and poses, each by a program that is run once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_reloc.errors import ConfigError
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.methods import Settings, variants

from ..packing.presets import FULL, PRESETS
from .steps import Step, Steps

MODULE = "python", "-m"
ON_MAP = "@"  # image_retrieval:10+2@standard


@dataclass(frozen=True, kw_only=True)
class OurMethod:
    """A method on a map of some size."""

    #: as it was asked for, which names its row
    text: str
    #: as `edge-reloc evaluate` takes it
    method: str
    #: of the map
    preset: str

    @property
    def training(self) -> str:
        """Which of the trainings its networks are of, if any are."""
        name = self.method.partition("+")[0].partition(":")[0]
        return next(method.name for method, variant in variants() if variant.name == name)


def parse_ours(text: str) -> OurMethod:
    """`METHOD[@PRESET]`, a method as evaluate takes it. Raises ConfigError."""
    method, mark, preset = text.partition(ON_MAP)
    parse_method(method, Settings())
    if mark and preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError(f"method '{text}': after '{ON_MAP}' one of {known} is expected")
    return OurMethod(text=text, method=method, preset=preset or FULL)


@dataclass(frozen=True, kw_only=True)
class OurMap:
    """A map of a scene as one preset makes it, and what was trained for it."""

    preset: str
    bundle: Path
    mapped: Step
    trained: dict[str, Step] = field(default_factory=dict)

    @property
    def steps(self) -> list[str]:
        """Numbers of the steps that poses rest on."""
        return [self.mapped.number, *(step.number for step in self.trained.values())]


def make_map(
    steps: Steps,
    folder: Path,
    preset: str,
    metric: bool,
    options: argparse.Namespace,
    after: Sequence[str],
) -> OurMap:
    """Map the scene of a folder. Raises StepError."""
    data, name = folder / "data", _named("map", preset, "_")
    arguments: list[str | Path] = ["--images", data / "images", "--list", data / "mapping.txt"]
    arguments += ["--poses", data / "reference", "--output", folder / name]
    arguments += ["--metric"] if metric else []
    arguments += options.map_options.split()
    arguments += ["--preset", preset] if preset != FULL else []
    program = *MODULE, "edge_reloc_export.map", *arguments
    step = steps.run(_named("map", preset), *program, output=folder / name, after=after)
    return OurMap(preset=preset, bundle=folder / name, mapped=step)


def train(steps: Steps, made: OurMap, method: str, preset: str) -> None:
    """Train for a map by a preset of the trainings. Raises StepError."""
    arguments: list[str | Path] = ["--map", made.bundle, "--method", method, "--preset", preset]
    program = *MODULE, "edge_reloc_export.train", *arguments
    name, after = _named(f"train {method}", made.preset), [made.mapped.number]
    made.trained[method] = steps.run(name, *program, output=made.bundle, after=after)


def to_float16(steps: Steps, made: OurMap) -> Step:
    """Put networks in float16 into a map. Raises StepError."""
    program = *MODULE, "edge_reloc_export.export_onnx", "--map", made.bundle
    name = _named("float16", made.preset)
    return steps.run(name, *program, output=made.bundle, after=made.steps)


def localise(
    steps: Steps,
    folder: Path,
    made: OurMap,
    asked: OurMethod,
    options: argparse.Namespace,
    after: Sequence[str],
) -> tuple[Path, Step]:
    """Write the poses of all queries; their file and the step. Raises StepError."""
    poses = folder / "poses" / f"{asked.text.replace(':', '_')}.jsonl"
    poses.parent.mkdir(exist_ok=True)
    arguments: list[str | Path] = ["--map", made.bundle, "--scene", folder / "data"]
    arguments += ["--method", asked.method]
    arguments += ["--threads", str(options.threads), "--every", str(options.every)]
    program = *MODULE, "edge_reloc_export.benchmark.localize", *arguments, "--output", poses
    return poses, steps.run(f"localise {asked.text}", *program, output=poses, after=after)


def _named(name: str, preset: str, mark: str = " ") -> str:
    """Steps and folders of full maps have the bare name."""
    return name if preset == FULL else f"{name}{mark}{preset}"
