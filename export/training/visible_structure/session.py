"""One training of a map: bank, heads, tuning on held-out photos, packing."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pykdtree.kdtree import KDTree
from torch import nn

from edge_reloc.arrays import F64, I64
from edge_reloc.bundle import extend_bundle
from edge_reloc.bundle.layout import network_file
from edge_reloc.errors import ConfigError, EdgeRelocError, MappingError
from edge_reloc.methods.table import VISIBLE_STRUCTURE
from edge_reloc.methods.visible_structure import (
    CELLS,
    GENERATIVE,
    TrainedHead,
    TrainedVisibleStructure,
)

from ...integrity.leave_out import write_without
from ...nets.visible_structure import CellsHead, ConditionalVae, FoldedDecoder
from ...onnx.export import export_module
from ...progress import Progress
from ..continued import continued_file, continued_length, take_place
from ..plots import plot_heads
from ..report import History, TrainingReport, doubt
from ..session import TrainingSession, replace_network
from .bank import make_bank
from .cells import CellsConfig, cell_shares, predict_shares, train_cells
from .default_head import HeadChoice, choose_head
from .generative import GenerativeConfig, GenerativeTrainer, Normalisation, fixed_noise, preset
from .head_trials import try_heads
from .tuning import Curve, cells_curve, distance_curve

log = logging.getLogger(__name__)

PARTS = 24  # random parts of each photo in the bank
TUNING_SHARE = 0.4  # length of the training that chooses the radius
VOXEL_SHARE = 0.5  # voxel over search radius


@dataclass(frozen=True, kw_only=True)
class HeadReport:
    """How one head was trained, and what it finds on held-out photos."""

    seconds: float  #: from the first step to the last
    share: list[float]  #: of the map returned
    recall: list[float]  #: of the visible points found at each share
    candidates: int  #: points that the head will return
    losses: History
    held_out: bool = True  #: false: those photos were learnt, too


@dataclass(frozen=True, kw_only=True)
class VisibleStructureReport(TrainingReport):
    """One report for each head that was trained, and what chose between them."""

    FILE = "training.json"
    heads: dict[str, HeadReport]
    choice: HeadChoice | None = None
    metric: bool = False

    def values(self) -> dict[str, Any]:
        """By head; the choice beside them."""
        heads = {head: asdict(report) for head, report in self.heads.items()}
        return heads if self.choice is None else {**heads, "choice": _finite(asdict(self.choice))}

    def summary(self) -> str:
        """One line a head, and one for the choice."""
        lines = [_line(head, report) for head, report in self.heads.items()]
        if self.choice is not None:
            lines.append(self.choice.told("m" if self.metric else "units"))
        return "\n".join(lines)


def _line(head: str, report: HeadReport) -> str:
    curve = dict(zip(report.share, report.recall, strict=True))
    shown = {share: curve[share] for share in (0.1, 0.2, 0.3)}
    recall = ", ".join(f"{100 * r:.0f} % in {100 * s:.0f} %" for s, r in shown.items())
    photos = "held-out photos" if report.held_out else "photos that it has learnt"
    return (
        f"{head}: {report.seconds:.1f} s, visible points found on {photos}: "
        f"{recall} of the map; {report.candidates} candidates{doubt(max(shown.values()))}"
    )


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an interval of which nothing is known has no ends."""
    for name, value in values.items():
        if isinstance(value, tuple):
            values[name] = [end if np.isfinite(end) else None for end in value]
    return values


class VisibleStructureSession(TrainingSession):
    """A map's bank of embeddings, on which both heads are trained."""

    def __init__(self, bundle_dir: Path, work: Path, device: str = "auto") -> None:
        super().__init__(bundle_dir, work, device)
        self.bank = make_bank(self.model, self.store, self.bundle, parts=PARTS)
        held_out = self.held_out[self.bank.view]
        self.all_rows = np.arange(len(self.bank.view))
        self.train_rows = self.all_rows[~held_out]
        self.tune_rows = self.all_rows[held_out & self.bank.whole]
        self.tune_seen = [self.bank.seen(entry) for entry in self.tune_rows]
        self.heads: dict[str, TrainedHead] = {}
        self.networks: dict[str, Path] = {}
        trained = VISIBLE_STRUCTURE.trained(self.bundle.manifest)
        self._heads_before = trained.heads if trained else {}
        #: the map's default head, where it was one of two
        self.default_before = trained.head if trained and len(trained.heads) > 1 else None
        #: of heads that have not learnt the held-out photos
        self.tuned: dict[str, Path] = {}

    def train_cells(self, progress: Progress) -> HeadReport:
        """Tune on held-out photos, then train again on all."""
        started = time.perf_counter()
        config = CellsConfig()
        share = cell_shares(self.bank, self.points.cell_start)

        def fit(rows: I64, before: int) -> tuple[CellsHead, History]:
            history: History = []

            def report(step: int, loss: float) -> None:
                history.append((step, loss))
                progress(before + min(step + 1, config.steps), 2 * config.steps, loss)

            return train_cells(self.bank, share, rows, config, report), history

        head, losses = fit(self.train_rows, 0)
        curve = cells_curve(
            predict_shares(head, self.bank.embedding[self.tune_rows]),
            self.tune_seen,
            self.points.cell_start,
        )
        self.tuned[CELLS] = self._export(f"{CELLS}_tuning", head, "share")
        head, _ = fit(self.all_rows, config.steps)
        self.networks[network_file(CELLS)] = self._export(CELLS, head, "share")
        candidates = curve.candidates(self.points.n)
        self.heads[CELLS] = TrainedHead(network=network_file(CELLS), candidates=candidates)
        return self._report(CELLS, curve, losses, started)

    def train_generative(
        self,
        preset_name: str,
        *,
        iterations: int | None,
        samples: int,
        radius: float | None = None,
        progress: Progress,
    ) -> HeadReport:
        """Train on all photos, with a radius that is given or chosen on held-out photos.

        One that is chosen comes from a training of 40 % of the length without those photos;
        with one that is given, option or preset, all points within it are returned.
        """
        started = time.perf_counter()
        config = self._config(preset_name, iterations, radius)
        short = preset(preset_name, iterations=max(1, int(config.iterations * TUNING_SHARE)))
        before = short.iterations if config.radius is None else 0
        total = before + config.iterations

        def fit(
            role: str, schedule: GenerativeConfig, rows: I64, before: int
        ) -> tuple[FoldedDecoder, History]:
            checkpoint = self.work / f"{GENERATIVE}_{config.name}_{role}.pt"
            rows = rows[self.bank.whole[rows]] if config.whole_photos else rows
            schedule = replace(schedule, radius=None)  # with another one nothing is learnt anew
            trainer = GenerativeTrainer(
                self.bank, self.model.xyz, rows, schedule, checkpoint, self.device
            )
            vae = trainer.run(lambda step, loss: progress(before + step, total, loss)).cpu()
            return folded(vae, trainer.normalisation, samples), trainer.history

        if config.radius is None:
            tuning, _ = fit("tuning", short, self.train_rows, 0)
            self.tuned[GENERATIVE] = self._export(f"{GENERATIVE}_tuning", tuning, "points")
            curve, radius_at = self.radius_curve(tuning)
        decoder, losses = fit("final", config, self.all_rows, before)
        if config.radius is None:
            chosen = curve.candidates(self.points.n)
            radius = float(np.interp(chosen / self.points.n, curve.share, radius_at))
            candidates = min(int(1.5 * chosen), self.points.n)
        else:
            curve, _ = self.radius_curve(decoder)
            radius, candidates = config.radius, self.points.n
        self.networks[network_file(GENERATIVE)] = self._export(GENERATIVE, decoder, "points")
        self.heads[GENERATIVE] = TrainedHead(
            network=network_file(GENERATIVE),
            candidates=candidates,
            radius=radius,
            voxel=radius * VOXEL_SHARE,
            samples=samples,
            preset=config.name,
            iterations=config.iterations,
        )
        report = self._report(GENERATIVE, curve, losses, started)
        return replace(report, held_out=GENERATIVE in self.tuned)

    def continue_generative(self, iterations: int | None, progress: Progress) -> HeadReport:
        """Train the head that the map has on, for the points that it has by now, and write it.

        Radius and number of candidates stay. MappingError where the map has no such head.
        """
        started = time.perf_counter()
        before = self._heads_before.get(GENERATIVE)
        if before is None or before.samples is None:
            raise MappingError(
                f"{self.bundle_dir}: has no head {GENERATIVE} to go on with; train without "
                f"--continue"
            )
        usual = preset(before.preset or "quick")
        length = continued_length(before.iterations, iterations, usual.iterations)
        config = replace(preset(usual.name, iterations=length), radius=None)
        checkpoint = self.work / f"{GENERATIVE}_{config.name}_final.pt"
        rows = self.all_rows[self.bank.whole] if config.whole_photos else self.all_rows
        going_on = continued_file(checkpoint)
        trainer = GenerativeTrainer(
            self.bank, self.model.xyz, rows, config, going_on, self.device, checkpoint
        )
        vae = trainer.run(lambda step, loss: progress(step, length, loss)).cpu()
        decoder = folded(vae, trainer.normalisation, before.samples)
        curve, _ = self.radius_curve(decoder)
        self.networks[network_file(GENERATIVE)] = self._export(GENERATIVE, decoder, "points")
        self.heads[GENERATIVE] = before
        self.write()
        take_place(checkpoint)
        report = self._report(GENERATIVE, curve, trainer.history, started)
        return replace(report, held_out=False)

    def _config(
        self, preset_name: str, iterations: int | None, radius: float | None
    ) -> GenerativeConfig:
        """ConfigError for a preset that is for other maps."""
        config = preset(preset_name, iterations=iterations)
        if config.class_token and self.bank.unit:
            kind = self.bundle.manifest.embedding.kind if self.bundle.manifest.embedding else None
            raise ConfigError(
                f"preset '{config.name}': is for maps whose photos DINOv2 embeds, this one's "
                f"embedding is '{kind}'; map with --embedding dinov2, or take 'paper_vlad'"
            )
        if radius is None and config.radius is not None and not self.model.metric:
            raise ConfigError(
                f"preset '{config.name}': its radius is {config.radius:g} m, but the map is not "
                f"metric; name one in map units with --radius"
            )
        return config if radius is None else replace(config, radius=radius)

    def compare(self) -> HeadChoice | None:
        """The heads on held-out photos that neither has learnt; None without both heads.

        In the map as it would be without these photos: points that they had placed would let
        either head find them.
        """
        held_out = np.unique(self.bank.view[self.tune_rows])
        if self.tuned.keys() != {CELLS, GENERATIVE} or not len(held_out):
            return None
        folder = self.work / "heads"
        try:
            write_without(self.model, self.bundle_dir, held_out.astype(np.int32), folder)
            with extend_bundle(folder) as bundle:
                for head, path in self.tuned.items():
                    replace_network(bundle, network_file(head), path)
            heads = GENERATIVE, CELLS
            return choose_head(try_heads(folder, self.model, self.store, held_out, heads))
        except EdgeRelocError as error:  # what was learnt is worth more than the comparison
            log.warning("the heads are not compared: %s", error)
            return None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def radius_curve(self, decoder: FoldedDecoder) -> tuple[Curve, F64]:
        """Recall on the held-out photos, and the radius at each share."""
        xyz = self.model.xyz
        distances = []
        with torch.no_grad():
            for entry in self.tune_rows:
                generated = decoder(torch.from_numpy(self.bank.embedding[entry][None])).numpy()
                tree = KDTree(np.ascontiguousarray(generated))
                distances.append(tree.query(np.asarray(self.points.xyz), k=1)[0])
        low, high = np.percentile(xyz, [2, 98], axis=0)
        extent = float(np.linalg.norm(high - low))
        return distance_curve(distances, self.tune_seen, np.geomspace(extent * 1e-3, extent, 80))

    def write(self, *, default_head: str | None = None) -> None:
        """Put the trained heads into the bundle, beside those it has."""
        with extend_bundle(self.bundle_dir) as bundle:
            before = VISIBLE_STRUCTURE.trained(bundle.manifest)
            heads = {**(before.heads if before else {}), **self.heads}
            published_first = GENERATIVE if GENERATIVE in heads else CELLS
            trained = TrainedVisibleStructure(
                head=default_head or self.default_before or published_first,
                heads=heads,
                second_pass=before.second_pass if before else True,
            )
            VISIBLE_STRUCTURE.record(bundle.manifest, trained)
            bundle.manifest.method = VISIBLE_STRUCTURE.name
            for name, path in self.networks.items():
                replace_network(bundle, name, path)

    def _export(self, name: str, network: nn.Module, output: str) -> Path:
        path = self.work / f"{name}.onnx"
        example = torch.zeros(1, self.bank.embedding.shape[1])
        export_module(network, [example], ["embedding"], [output], path)
        return path

    def _report(self, head: str, curve: Curve, losses: History, started: float) -> HeadReport:
        plot_heads(self.work / f"training_{head}.png", head, losses, curve)
        return HeadReport(
            seconds=time.perf_counter() - started,
            share=curve.share.tolist(),
            recall=curve.recall.tolist(),
            candidates=self.heads[head].candidates,
            losses=losses,
        )


def folded(vae: ConditionalVae, normalisation: Normalisation, samples: int) -> FoldedDecoder:
    """The decoder with its fixed noise, ready for export."""
    noise = fixed_noise(samples, vae.latent)
    return FoldedDecoder(vae, noise, normalisation.scale, normalisation.offset).eval()
