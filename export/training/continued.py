"""A training that begins with the head that a map has: after an update, shorter than anew.

The last checkpoint of a training holds the head's weights; an update takes it along into the
work folder of the new map.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edge_reloc.errors import MappingError

SHARE = 0.25  # of the iterations that the head was trained for


def continued_length(before: int | None, asked: int | None, usual: int) -> int:
    """Iterations: as asked, else a share of those of the head, or of its preset's `usual` ones."""
    return asked or max(1, round(SHARE * (before or usual)))


def continued_file(checkpoint: Path) -> Path:
    """Checkpoint of the training that goes on from a finished one's."""
    return checkpoint.with_name(f"{checkpoint.stem}_continued{checkpoint.suffix}")


def begin_with(network: nn.Module, checkpoint: Path, state: dict[str, Any] | None) -> None:
    """Give a network the weights of a checkpoint that was read; MappingError where they differ."""
    try:
        network.load_state_dict(finished_weights(checkpoint, state))
    except RuntimeError:
        raise MappingError(
            f"{checkpoint}: holds another network than is to be trained; give the same --network "
            f"as then, or train without --continue"
        ) from None


def finished_weights(checkpoint: Path, state: dict[str, Any] | None) -> dict[str, Tensor]:
    """Of a checkpoint that was read; MappingError where there is none, or its training goes on."""
    if state is None:
        raise MappingError(
            f"{checkpoint}: not there, and --continue begins with its weights: those of the "
            f"head that the map has; train without --continue"
        )
    if state["iteration"] < state["schedule"]["total_steps"]:
        raise MappingError(
            f"{checkpoint}: of a training that did not end; end it, or train without --continue"
        )
    weights: dict[str, Tensor] = state["network"]
    return weights


def take_place(checkpoint: Path) -> None:
    """The continued head is in the map: the next training goes on from it."""
    os.replace(continued_file(checkpoint), checkpoint)
