"""A training that can be interrupted: AdamW under a one-cycle rate, and its checkpoint."""

from __future__ import annotations

import io
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

import edge_reloc
from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic

from ..identity import digest_of
from ..interruption import Interrupted, Interruption
from .continued import begin_with

log = logging.getLogger(__name__)

LONGEST_S = 600.0  # without a checkpoint, however long an iteration takes

Network = TypeVar("Network", bound=nn.Module)


class Schedule(Protocol):
    """What any training's configuration says of its length and pace."""

    @property
    def iterations(self) -> int:
        """Steps of the optimiser."""

    @property
    def learning_rate(self) -> float:
        """Largest rate of the cycle."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""


class Iteration(NamedTuple):
    """One iteration's loss, and what a report notes beside it."""

    loss: Tensor
    #: asked at reports only
    noted: Callable[[], tuple[float, ...]] = tuple


class Recorded:
    """Work of a GPU, recorded as a CUDA graph: most small kernels take longer to ask for."""

    WARM_UP = 3  # times, for what compiles and allocates at first

    def __init__(self, work: Callable[[], Iteration], device: torch.device) -> None:
        random = torch.cuda.get_rng_state(device)
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(self.WARM_UP):
                work()
        torch.cuda.current_stream(device).wait_stream(side)
        torch.cuda.set_rng_state(random, device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._iteration = work()

    def replay(self) -> Iteration:
        """Do it again; the results are where they were."""
        self._graph.replay()
        return self._iteration


class ResumableTraining(ABC, Generic[Network]):
    """Trains until its schedule ends; goes on where a checkpoint of the same training stands."""

    #: share of the iterations in which the rate rises
    warm_up: float = 0.1
    #: share of the largest rate that it rises from
    first_rate: float = 0.04
    #: norm over which gradients are cut
    largest_gradient: float
    #: iterations
    report_every: ClassVar[int]
    checkpoint_every: ClassVar[int]
    #: every iteration is the same work in the same memory: a GPU records it once and replays it
    replayed: ClassVar[bool] = False
    #: column of the history that a report shows
    shown: ClassVar[int] = 1

    def __init__(
        self,
        network: Network,
        schedule: Schedule,
        data: str,
        checkpoint: Path,
        device: torch.device | str,
        start: Path | None = None,
    ) -> None:
        """data: digest of all that is learnt from. start: checkpoint of a finished training
        whose weights this one begins with.

        A checkpoint of other data, another schedule, another network or another version of
        this package is not gone on with: the training starts afresh and says so. Raises
        MappingError for a damaged checkpoint.
        """
        if start is not None:
            begin_with(network, start, read_state(start, torch.device("cpu")))
        self._identity = digest_of(
            edge_reloc.__version__, schedule, data, repr(network), dict(network.state_dict())
        )
        self.network = network.to(device)
        self.device = torch.device(device)
        self.iterations, self.checkpoint = schedule.iterations, checkpoint
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            fused=self.device.type == "cuda",
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            schedule.learning_rate,
            total_steps=schedule.iterations,
            pct_start=self.warm_up,
            div_factor=1.0 / self.first_rate,
        )
        self.iteration = 0
        #: iteration, loss and what is noted, for each report
        self.history: list[tuple[float, ...]] = []
        self._recorded: Recorded | None = None
        self._resume()

    @abstractmethod
    def next_iteration(self) -> Iteration:
        """The loss of a new batch."""

    def run(self, report: Callable[[int, float | None], None]) -> Network:
        """Train to the end; report(iteration, what is shown) at first and at every one.

        What is shown was measured at the last multiple of `report_every`, and is None before
        there was one. Raises Interrupted, with a checkpoint of where it stood, after Ctrl-C or
        SIGTERM.
        """
        self.network.train()
        report(self.iteration, self._shown_value())
        saved = time.monotonic()
        with Interruption() as interruption:
            while self.iteration < self.iterations:
                loss, noted = self._gradients()
                self._step()
                last = self.iteration == self.iterations
                if last or self.iteration % self.report_every == 0:
                    self.history.append((self.iteration, loss.item(), *noted()))
                report(self.iteration, self._shown_value())
                due = self.iteration == 1 or self.iteration % self.checkpoint_every == 0
                due = due or time.monotonic() - saved > LONGEST_S
                if last or interruption.asked or due:  # the first tells of a full disk at once
                    self.save()
                    saved = time.monotonic()
                if interruption.asked:
                    raise Interrupted(
                        f"iteration {self.iteration} of {self.iterations} is kept in "
                        f"{self.checkpoint}; the same command goes on from there"
                    )
        return self.network.eval()

    def _shown_value(self) -> float | None:
        return self.history[-1][self.shown] if self.history else None

    def prepare(self) -> None:
        """Before an iteration: put numbers that change with it where it looks for them."""

    def _gradients(self) -> Iteration:
        """One iteration up to the gradients of the parameters."""
        self.prepare()
        if not self.replayed or self.device.type != "cuda":
            return self._work()
        if self._recorded is None:
            self._recorded = Recorded(self._work, self.device)
        return self._recorded.replay()

    def _work(self) -> Iteration:
        iteration = self.next_iteration()
        self.optimizer.zero_grad(set_to_none=True)
        iteration.loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.largest_gradient)
        return iteration

    def _step(self) -> None:
        self.optimizer.step()
        self.schedule.step()
        self.iteration += 1

    def save(self) -> None:
        """Checkpoint, whole or not at all."""
        state = {
            "identity": self._identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "iteration": self.iteration,
            "history": self.history,
            "random": torch.get_rng_state(),
            "random_cuda": self._cuda_state(),
        }
        write_state(self.checkpoint, state)

    def _resume(self) -> None:
        state = read_state(self.checkpoint, self.device)
        if state is None:
            return
        if state.get("identity") != self._identity:
            log.warning(
                "%s: the checkpoint is of another map, schedule or version: starting afresh",
                self.checkpoint,
            )
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.iteration, self.history = state["iteration"], state["history"]
        torch.set_rng_state(state["random"].cpu())
        if self.device.type == "cuda" and len(state.get("random_cuda", ())):
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)
        log.info(
            "%s: goes on from iteration %d of %d", self.checkpoint, self.iteration, self.iterations
        )

    def _cuda_state(self) -> Tensor:
        if self.device.type != "cuda":
            return torch.empty(0, dtype=torch.uint8)
        return torch.cuda.get_rng_state(self.device)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and numbers as torch does, whole or not at all."""
    stream = io.BytesIO()
    torch.save(state, stream)
    write_atomic(path, stream.getvalue())


def read_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Inverse of `write_state`; None without a file, MappingError for a damaged one."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises a dozen unrelated classes
        raise MappingError(f"{path}: damaged, or no checkpoint of a training; delete it") from error
    return state
