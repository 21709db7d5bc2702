"""The trainings of `edge-reloc train`: one line for each method that learns from a map."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

from edge_reloc.methods.table import LANDMARKS, SCENE_COORDINATES, VISIBLE_STRUCTURE

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
    VISIBLE_STRUCTURE.name: visible_structure,
    LANDMARKS.name: landmarks,
    SCENE_COORDINATES.name: scene_coordinates,
}
