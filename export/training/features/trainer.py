"""The training loop of the feature network: every step is a function of its number.

Photos, views and noise of step k come from a generator seeded with k, so that a run that
was interrupted goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_reloc.errors import ConfigError

from ...identity import digest_of
from ...interruption import Interrupted, Interruption
from ...nets.waymark import Waymark, WaymarkMaps
from ..device import precision
from ..resumable import read_state, write_state
from .lessons import Lessons
from .losses import Losses, choose_matches, drift, pair_losses
from .photos import Photos
from .views import make_views

HELD_OUT = 24  # photos, evenly spread, for the accuracy that is reported
CHECK_HARD = 0.7
PAIRS_A_PHOTO = 2  # of a batch, so that descriptors learn to tell a photo's places apart
RELIABILITY_WEIGHT, PLACE_WEIGHT, DISTILLATION_WEIGHT = 0.3, 0.2, 1.0
HOLD_WEIGHT = 8.0  # of the drift from a network that is held
WARM_UP = 500  # steps
COOL_DOWN = 0.2  # of the steps


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Shape and schedule."""

    size: str = "m"  #: of `Waymark`
    steps: int = 20_000  #: of the optimiser
    batch: int = 8  #: pairs a step
    view_px: int = 256  #: side of a view
    matches: int = 96  #: of a pair, at most
    #: AdamW's, warmed up, held, and falling to nothing over the last fifth of the steps, so
    #: that a training can be given more steps before that
    rate: float = 2e-3
    harden: int = 4000  #: steps over which views come to differ as much as they ever will
    seed: int = 0  #: of weights and draws

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
    distilled: float
    accuracy: float
    held_out_accuracy: float


class FeatureTrainer:
    """One training; `folder` holds its checkpoint.

    Keypoints of the lessons are learnt; their descriptors are to be readable from our dense
    features by a 1x1 convolution, which is thrown away after the training. Photos are drawn
    by their area. `start`: a trained network to go on from, of the same size. `hold`: a network
    whose descriptors, reliability and embeddings ours is held to, in place of the losses that
    teach them; keypoints are learnt as ever. Batch norm keeps its statistics then, so `start`
    must have some.
    """

    def __init__(
        self,
        photos: Photos,
        lessons: Lessons,
        config: FeatureConfig,
        folder: Path,
        device: torch.device,
        *,
        start: Waymark | None = None,
        hold: Waymark | None = None,
    ) -> None:
        self.config, self.folder, self.device = config, folder, device
        self._data = digest_of(
            photos.identity(),
            *(said.cpu() for said in lessons),
            *(of.state_dict() for of in (start, hold) if of),
        )
        self.lessons = lessons.to(device)
        self.photos = photos.to(device)
        layout = torch.channels_last
        torch.manual_seed(config.seed)
        network = start or Waymark(config.size)
        self.network = network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        told = lessons.descriptors.shape[1]
        self.retell = nn.Conv2d(self.network.dense_dim, told, 1).to(device)
        self._before = hold.eval().to(device).to(memory_format=layout) if hold else None  # type: ignore[call-overload]
        parameters = [*self.network.parameters(), *self.retell.parameters()]
        decays = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decays, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}],
            lr=config.rate,
            fused=True,
        )
        every = max(len(photos) // HELD_OUT, 2)
        self.held_out = torch.arange(0, len(photos), every, device=device)
        kept = torch.ones(len(photos), dtype=torch.bool)
        kept[::every] = False
        area = (photos.sizes.prod(dim=1) * kept).to(torch.float64).cumsum(0)
        self._area_up_to = (area / area[-1]).to(torch.float32).to(device)
        self._random = torch.Generator(device)
        self.step = 0
        self._resume()

    @property
    def checkpoint(self) -> Path:
        """Where training goes on from."""
        return self.folder / "checkpoint.pt"

    def train(self, until: int, report_every: int) -> Iterator[StepReport]:
        """Train up to a step (the schedule's end at most), saving at every report.

        Raises Interrupted, with a checkpoint of where it stood, after Ctrl-C or SIGTERM.
        """
        until = min(until, self.config.steps)
        sums, count = torch.zeros(len(Losses._fields), device=self.device), 0
        while self.step < until:
            with Interruption() as interruption:
                sums, count = sums + self._one(self.step), count + 1
                self.step += 1
                if interruption.asked or self.step % report_every == 0 or self.step == until:
                    self.save()
            if interruption.asked:
                raise Interrupted(
                    f"step {self.step} of {self.config.steps} is kept in {self.checkpoint}; "
                    f"the same command goes on from there"
                )
            if self.step % report_every == 0 or self.step == until:
                mean = (sums / count).tolist()
                sums, count = torch.zeros_like(sums), 0
                yield StepReport(
                    step=self.step,
                    keypoints=mean[0],
                    descriptors=mean[1],
                    reliability=mean[2],
                    places=mean[3],
                    distilled=mean[4],
                    accuracy=mean[5],
                    held_out_accuracy=self.held_out_accuracy(),
                )

    def _one(self, step: int) -> Tensor:
        """Losses and accuracy of one step."""
        config = self.config
        self._random.manual_seed(config.seed * 1_000_003 + step)
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate * _schedule(step, config.steps)
        hardest = min(0.2 + 0.8 * step / config.harden, 1.0)
        draw = torch.rand((2, config.batch), generator=self._random, device=self.device)
        rows = torch.searchsorted(self._area_up_to, draw[0], right=True)  # none without area
        photos = -(-config.batch // PAIRS_A_PHOTO)
        rows = rows[:photos].repeat_interleave(PAIRS_A_PHOTO)[: config.batch]
        self.network.train(self._before is None)  # batch norm belongs to what is held
        losses = self._losses(rows, hardest * (0.2 + 0.8 * draw[1]))
        total = losses.keypoints
        if self._before is None:
            total = total + losses.descriptors + RELIABILITY_WEIGHT * losses.reliability
            total = total + PLACE_WEIGHT * losses.places + DISTILLATION_WEIGHT * losses.distilled
        else:
            total = total + HOLD_WEIGHT * losses.distilled
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        return torch.stack([loss.detach() for loss in losses])

    def _losses(self, rows: Tensor, hard: Tensor) -> Losses:
        config, generator, layout = self.config, self._random, torch.channels_last
        with torch.no_grad():
            views = make_views(
                self.photos, self.lessons, rows, config.view_px, generator, hard=hard
            )
            matches = choose_matches(*views, config.matches, generator)
        images = torch.cat([views[0].image, views[1].image])
        with precision(self.device):
            images = images.contiguous(memory_format=layout)
            maps = self.network(images)
            retold = self.retell(maps.dense).float().chunk(2)
            with torch.no_grad():
                before = self._before(images) if self._before else None
        first, second = zip(*(x.float().chunk(2) for x in maps), strict=True)
        both = (WaymarkMaps(*first), WaymarkMaps(*second))
        losses = pair_losses(both, retold, views, matches)
        return losses._replace(distilled=drift(maps, before)) if before else losses

    @torch.no_grad()
    def held_out_accuracy(self) -> float:
        """Share of right nearest neighbours on views of held-out photos, always the same."""
        self.network.eval()
        found = []
        for start in range(0, len(self.held_out), self.config.batch):
            rows = self.held_out[start : start + self.config.batch]
            self._random.manual_seed(7_654_321 + start)
            hard = torch.full((len(rows),), CHECK_HARD, device=self.device)
            found.append(float(self._losses(rows, hard).accuracy))
        return sum(found) / len(found)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "config": self.config.identity(),
            "data": self._data,
            "step": self.step,
            "network": self.network.state_dict(),
            "retell": self.retell.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_state(self.checkpoint, state)

    def write_weights(self) -> Path:
        """`waymark_SIZE.pt`, what ships: the network alone in float16, and how it was trained."""
        path = self.folder / f"waymark_{self.config.size}.pt"
        network = {
            name: value.to("cpu", torch.float16) if value.is_floating_point() else value.cpu()
            for name, value in self.network.state_dict().items()
        }
        state = {
            "size": self.config.size,
            "network": network,
            "training": {**self.config.identity(), "step": self.step, "photos": len(self.photos)},
        }
        write_state(path, state)
        return path

    def _resume(self) -> None:
        state = read_state(self.checkpoint, self.device)
        if state is None:
            return
        if state["config"] != self.config.identity():
            raise ConfigError(
                f"{self.checkpoint}: belongs to a training with other settings "
                f"({state['config']}); name another folder"
            )
        if state.get("data") != self._data:
            raise ConfigError(
                f"{self.checkpoint}: belongs to a training on other photos or with other "
                f"teachers; name another folder, or the photos and teachers that it began with"
            )
        self.network.load_state_dict(state["network"])
        self.retell.load_state_dict(state["retell"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def _schedule(step: int, steps: int) -> float:
    """Share of the full rate."""
    warm = min(WARM_UP, max(steps // 20, 1))
    return min((step + 1) / warm, 1.0, (steps - step) / max(COOL_DOWN * steps, 1.0))
