"""`edge-reloc train --method visible_structure`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_reloc.command_line.arguments import above_zero, whole
from edge_reloc.errors import ConfigError
from edge_reloc.methods.visible_structure import CELLS, GENERATIVE

from ...progress import ProgressBar
from ..report import TrainingReport

if TYPE_CHECKING:
    from .session import VisibleStructureReport, VisibleStructureSession


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which heads, and how long the generative one."""
    add = parser.add_argument_group("of method visible_structure").add_argument
    add(
        "--head",
        choices=(CELLS, GENERATIVE, "both"),
        default="both",
        help="which head (default both)",
    )
    add("--samples", type=whole(1, 1 << 20), default=1000, help="generated points (default 1000)")
    add(
        "--radius",
        type=above_zero(1e6),
        help="of head generative, map units: all points within it are returned (default: chosen "
        "on held-out photos; 5 m of preset paper)",
    )
    add(
        "--default-head",
        choices=(CELLS, GENERATIVE),
        help="head that the map uses by itself (default: the better one on held-out photos, and "
        "generative where neither is)",
    )


def train(options: argparse.Namespace, work: Path) -> TrainingReport:
    """Train one head or both."""
    from .session import VisibleStructureReport, VisibleStructureSession

    session = VisibleStructureSession(options.map, work, options.device)
    if options.continued:
        return _continue(options, session)
    heads = {}
    if options.head != GENERATIVE:
        with ProgressBar(CELLS) as progress:
            heads[CELLS] = session.train_cells(progress)
        session.write()  # kept, whatever becomes of the other
    if options.head != CELLS:
        with ProgressBar(GENERATIVE) as progress:
            heads[GENERATIVE] = session.train_generative(
                options.preset,
                iterations=options.iterations,
                samples=options.samples,
                radius=options.radius,
                progress=progress,
            )
        session.write()
    choice = session.compare() if options.default_head is None else None
    if (chosen := choice.head if choice else options.default_head) is not None:
        session.write(default_head=chosen)
    return VisibleStructureReport(heads=heads, choice=choice, metric=session.model.metric)


def _continue(
    options: argparse.Namespace, session: VisibleStructureSession
) -> VisibleStructureReport:
    """Train the generative head that the map has for the points that it has by now."""
    from .session import VisibleStructureReport

    if options.head == CELLS:
        raise ConfigError(
            f"--continue: an update fits head {CELLS} itself; train it anew, which takes less than "
            f"a minute, or continue --head {GENERATIVE}"
        )
    with ProgressBar(GENERATIVE) as progress:
        report = session.continue_generative(options.iterations, progress)
    return VisibleStructureReport(heads={GENERATIVE: report}, metric=session.model.metric)
