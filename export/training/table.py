"""The trainings of `edge-reloc train`: one line for each method that learns from a map."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

from .landmarks import command as landmarks
from .report import TrainingReport
from .scene_coordinates import command as scene_coordinates
from .visible_structure import command as visible_structure


class Training(Protocol):
    """One method's training; its module imports what is heavy when it trains."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """The options that only this method has, as a group."""

    def train(self, options: argparse.Namespace, work: Path) -> TrainingReport:
        """Train for the map of the options, and put the networks into it."""


TRAININGS: dict[str, Training] = {
    "visible_structure": visible_structure,
    "landmarks": landmarks,
    "scene_coordinates": scene_coordinates,
}
