"""A training that can be interrupted: AdamW under a one-cycle rate, and its checkpoint."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic

Network = TypeVar("Network", bound=nn.Module)
Note = TypeVar("Note", bound="tuple[float, ...]")


class ResumableTraining(Generic[Network, Note]):
    """network: where it is trained already. identity: what a checkpoint must agree with,
    else the training starts afresh. history: one note for each report, the iteration first.

    Raises MappingError for a damaged checkpoint.
    """

    def __init__(
        self,
        network: Network,
        checkpoint: Path,
        identity: str,
        *,
        iterations: int,
        learning_rate: float,
        weight_decay: float,
        device: str,
    ) -> None:
        self.network, self.checkpoint, self.device = network, checkpoint, device
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, learning_rate, total_steps=iterations, pct_start=0.1
        )
        self.iteration = 0
        self.history: list[Note] = []
        self._identity = identity
        self._resume()

    def step(self, loss: Tensor, largest_gradient: float) -> None:
        """One iteration further down a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), largest_gradient)
        self.optimizer.step()
        self.schedule.step()
        self.iteration += 1

    def save(self) -> None:
        """Checkpoint, whole or not at all."""
        stream = io.BytesIO()
        torch.save(
            {
                "config": self._identity,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "iteration": self.iteration,
                "history": self.history,
            },
            stream,
        )
        write_atomic(self.checkpoint, stream.getvalue())

    def _resume(self) -> None:
        if not self.checkpoint.is_file():
            return
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        except Exception as error:  # torch raises a dozen unrelated classes
            raise MappingError(
                f"{self.checkpoint}: damaged, or no checkpoint of a training; delete it"
            ) from error
        if state["config"] != self._identity:
            return  # another schedule, network or map: start afresh
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.iteration, self.history = state["iteration"], state["history"]
