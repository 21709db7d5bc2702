"""`edge-reloc train --method landmarks`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...progress import ProgressBar
from ..report import TrainingReport


def add_options(parser: argparse.ArgumentParser) -> None:
    """How landmarks are made."""
    add = parser.add_argument_group("of method landmarks").add_argument
    add(
        "--landmarks",
        type=int,
        help="how many (default: as the scene asks for; of preset paper 16, as in its rooms)",
    )
    add(
        "--dimensions",
        type=int,
        choices=(2, 3),
        default=2,
        help="cluster on the ground plane (2, default) or in space (3)",
    )


def train(options: argparse.Namespace, work: Path) -> TrainingReport:
    """Make landmarks and train their recogniser."""
    from ...packing.landmarks import LandmarkOptions
    from .session import LandmarkSession
    from .trainer import PAPER, preset

    config = preset(options.preset, iterations=options.iterations, shape=options.network)
    landmarks = LandmarkOptions(
        number=options.landmarks,
        dimensions=options.dimensions,
        published=options.preset == PAPER,
    )
    session = LandmarkSession(options.map, work, landmarks, options.device)
    with ProgressBar("labelling", "photo") as labelling, ProgressBar("recogniser") as training:
        return session.train(
            config, validate=options.validate, labelling=labelling, progress=training
        )
