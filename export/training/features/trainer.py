"""The training loop of the feature network: every step is a function of its number.

Photos, views and noise of step k come from a generator seeded with k, so that a run that
was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_reloc.errors import ConfigError
from edge_reloc.files import write_atomic

from ...nets.waymark import Waymark
from .losses import choose_matches, pair_losses
from .pairs import Views, make_views
from .photos import Photos

HELD_OUT = 24  # photos, evenly spread, for the accuracy that is reported
CHECK_HARD = 0.7
RELIABILITY_WEIGHT, PLACE_WEIGHT = 0.3, 0.2
WARM_UP = 500  # steps
COOL_DOWN = 0.2  # of the steps


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """size: of `Waymark`. batch: pairs a step. view_px: side of a view. matches: a pair, at
    most. rate: AdamW's, warmed up, held, and falling to nothing over the last fifth of the
    steps, so that a training can be given more steps before that. harden: steps over which
    views come to differ as much as they ever will.
    """

    size: str = "m"
    steps: int = 20_000
    batch: int = 8
    view_px: int = 256
    matches: int = 160
    rate: float = 2e-3
    harden: int = 4000
    seed: int = 0

    def identity(self) -> dict[str, Any]:
        """What may not change in the course of a training: all but its length."""
        return {name: value for name, value in asdict(self).items() if name != "steps"}


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Means since the last report, and the accuracy on photos that are never trained on."""

    step: int
    keypoints: float
    descriptors: float
    reliability: float
    places: float
    accuracy: float
    held_out_accuracy: float


class FeatureTrainer:
    """One training; `folder` holds its checkpoint.

    teacher: module with `(image) -> (descriptors, logits)` whose keypoints are learnt.
    """

    def __init__(
        self,
        photos: Photos,
        teacher: nn.Module,
        config: FeatureConfig,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.photos = photos.to(device)
        self.teacher = teacher.eval().to(device)
        torch.manual_seed(config.seed)
        self.network = Waymark(config.size).to(device)
        decays = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decays, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}],
            lr=config.rate,
        )
        every = max(len(photos) // HELD_OUT, 2)
        self.held_out = torch.arange(0, len(photos), every)
        kept = torch.ones(len(photos), dtype=torch.bool)
        kept[self.held_out] = False
        self.rows = torch.nonzero(kept).flatten()
        self.step = 0
        self._resume()

    @property
    def checkpoint(self) -> Path:
        """Where training goes on from."""
        return self.folder / "checkpoint.pt"

    def train(self, until: int, report_every: int) -> Iterator[StepReport]:
        """Train up to a step (the schedule's end at most), saving at every report."""
        sums = torch.zeros(5)
        for step in range(self.step, min(until, self.config.steps)):
            sums += self._one(step)
            self.step = step + 1
            if self.step % report_every == 0 or self.step == min(until, self.config.steps):
                self.save()
                count = (step % report_every) + 1
                mean = (sums / count).tolist()
                sums.zero_()
                yield StepReport(
                    step=self.step,
                    keypoints=mean[0],
                    descriptors=mean[1],
                    reliability=mean[2],
                    places=mean[3],
                    accuracy=mean[4],
                    held_out_accuracy=self.held_out_accuracy(),
                )

    def _one(self, step: int) -> Tensor:
        """Losses (4) and accuracy of one step."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate * _schedule(step, config.steps)
        hard = min(0.2 + 0.8 * step / config.harden, 1.0)
        rows = self.rows[torch.randint(len(self.rows), (config.batch,), generator=generator)]
        self.network.train()
        losses = self._losses(rows, generator, hard)
        total = losses.keypoints + losses.descriptors
        total = total + RELIABILITY_WEIGHT * losses.reliability + PLACE_WEIGHT * losses.places
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        return torch.stack([loss.detach().cpu() for loss in losses])

    def _losses(self, rows: Tensor, generator: torch.Generator, hard: float) -> Any:
        config = self.config
        with torch.no_grad():
            views = make_views(self.photos, rows, config.view_px, generator, hard=hard)
            logits = self._teach(views)
            matches = choose_matches(*views, logits[0], config.matches, generator)
        with self._precision():
            maps = self.network(torch.cat([views[0].image, views[1].image]))
        count = len(rows)
        first = type(maps)(*(x[:count].float() for x in maps))
        second = type(maps)(*(x[count:].float() for x in maps))
        return pair_losses(first, second, views, logits, matches, rows)

    def _teach(self, views: tuple[Views, Views]) -> tuple[Tensor, Tensor]:
        with self._precision():
            _, logits = self.teacher(torch.cat([views[0].clean, views[1].clean]))
        return tuple(logits.float().chunk(2))  # type: ignore[return-value]

    def _precision(self) -> AbstractContextManager[Any]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    @torch.no_grad()
    def held_out_accuracy(self) -> float:
        """Share of right nearest neighbours on views of held-out photos, always the same."""
        self.network.eval()
        found = []
        for start in range(0, len(self.held_out), self.config.batch):
            rows = self.held_out[start : start + self.config.batch]
            generator = torch.Generator().manual_seed(7_654_321 + start)
            found.append(float(self._losses(rows, generator, CHECK_HARD).accuracy))
        return sum(found) / len(found)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        torch.save(
            {
                "config": self.config.identity(),
                "step": self.step,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
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
            raise ConfigError(f"{self.checkpoint}: damaged ({error}); delete it") from error
        if state["config"] != self.config.identity():
            raise ConfigError(
                f"{self.checkpoint}: belongs to a training with other settings "
                f"({state['config']}); name another folder"
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def _schedule(step: int, steps: int) -> float:
    """Share of the full rate."""
    warm = min(WARM_UP, max(steps // 20, 1))
    return min((step + 1) / warm, 1.0, (steps - step) / max(COOL_DOWN * steps, 1.0))
