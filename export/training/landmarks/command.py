"""`edge-reloc train --method landmarks`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...progress import ProgressBar
from ..continued import continued_length
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

    if options.continued:
        return _continue(options, work)
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


def _continue(options: argparse.Namespace, work: Path) -> TrainingReport:
    """Train the recogniser that the map has for the points that it has by now."""
    from .session import LandmarkSession
    from .trainer import preset

    session = LandmarkSession(options.map, work, None, options.device)
    before = session.before
    usual = preset(before.preset or options.preset, shape=options.network)
    length = continued_length(before.iterations, options.iterations, usual.iterations)
    config = preset(usual.name, iterations=length, shape=options.network)
    with ProgressBar("labelling", "photo") as labelling, ProgressBar("recogniser") as training:
        return session.train(config, validate=False, labelling=labelling, progress=training)
