"""`edge-reloc train --method visible_structure`: its options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...progress import ProgressBar

if TYPE_CHECKING:
    from .session import HeadReport, VisibleStructureReport, VisibleStructureSession

HEADS = ("cells", "generative")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which heads, and how long the generative one."""
    add = parser.add_argument_group("of method visible_structure").add_argument
    add("--head", choices=(*HEADS, "both"), default="both", help="which head (default both)")
    add("--samples", type=int, default=1000, help="generated points (default 1000)")
    add("--default-head", choices=HEADS, help="head that the map uses by itself")


def train(options: argparse.Namespace, work: Path) -> VisibleStructureReport:
    """Train one head or both."""
    from .session import VisibleStructureReport, VisibleStructureSession

    session = VisibleStructureSession(options.map, work, options.device)
    train_head: dict[str, Callable[[], HeadReport]] = {
        "cells": lambda: session.train_cells(ProgressBar("cells")),
        "generative": lambda: _train_generative(session, options),
    }
    heads = HEADS if options.head == "both" else (options.head,)
    report = VisibleStructureReport(heads={head: train_head[head]() for head in heads})
    session.write(default_head=options.default_head)
    return report


def _train_generative(session: VisibleStructureSession, options: argparse.Namespace) -> HeadReport:
    return session.train_generative(
        options.preset,
        iterations=options.iterations,
        samples=options.samples,
        progress=ProgressBar("generative"),
    )
