"""One training of scene coordinates: cells, partition, network, packing."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edge_reloc.bundle import BundleWriter, extend_bundle
from edge_reloc.bundle.layout import network_file
from edge_reloc.errors import MappingError
from edge_reloc.features import FeatureSpec, NetworkSpec
from edge_reloc.methods import bundle_networks
from edge_reloc.methods.judgement import Judgement
from edge_reloc.methods.scene_coordinates import TrainedSceneCoordinates
from edge_reloc.methods.table import SCENE_COORDINATES
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.settings import Gate

from ...nets.detector import TENSORRT_MAX_KEYPOINTS
from ...nets.local_features import feature_network, weights_file
from ...nets.scene_coordinates import DenseEncoder, ExportedSceneCoordinates, SceneCoordinates
from ...onnx.export import export_module
from ...packing.networks import add_network, forget_float16
from ...photos.feature_network import network_sizes
from ...progress import Progress, silent
from ...scene.combine import part_of_photos
from ..continued import continued_file, take_place
from ..judge import bar, is_learnt, judge, left_out_views
from ..report import History, TrainingReport
from ..session import TrainingSession
from .kept_partition import kept_partition
from .partition import partition
from .photo_cells import PhotoCells
from .predictions import plot_scene_coordinates, predict_photos
from .presets import SceneConfig, preset
from .samples import CellSamples, DepthMaps, of_views, sample_cells
from .share import choose_share
from .trainer import Batches, SceneTrainer

log = logging.getLogger(__name__)

METHOD = SCENE_COORDINATES.name
CELLS_FOLDER = "sampled_cells"  # in the work folder: what was sampled of each photo
# Every cell answers, also where nothing is known: in wrong places up to 7% agree by chance,
# on right ones 15% and more.
MIN_INLIER_RATIO = 0.1
ALONE = f"{METHOD}_map"  # in the work folder: a map of the last network alone, to judge it by
TUNING_SHARE = 0.4  # length of the training that chooses the share


@dataclass(frozen=True, kw_only=True)
class EncoderChoice:
    """Which feature network is the frozen encoder."""

    kind: str = "waymark"  #: of the table of feature networks
    weights: Path | None = None  #: None for those that ship
    salient: bool = True  #: as `SceneConfig.salient` of what is trained on it


@dataclass(frozen=True, kw_only=True)
class SceneReport(TrainingReport):
    """How scene coordinates were trained, and which share of the cells is kept."""

    FILE = f"training_{METHOD}.json"
    cells: int  #: sampled, of all photos and copies
    known_depth: float  #: share of them
    bytes_sampled: int  #: of their features
    kept: float  #: share of a frame's cells, the surest
    shares: dict[str, float]  #: mean error on held-out photos of each share that was tried
    seconds_sampling: float
    seconds_judging: float
    seconds: float  #: of all
    history: History
    judged: Judgement
    metric: bool  #: whether map units are metres

    def summary(self) -> str:
        """Two lines."""
        return (
            f"{self.cells} cells, {self.known_depth:.0%} of known depth; their median "
            f"reprojection error {self.history[-1][SceneTrainer.shown]:.1f} px; the best "
            f"{self.kept:.0%} of a frame's cells are kept\n{self.judged.told(self.metric)}"
        )


class SceneSession(TrainingSession):
    """Trains scene coordinates for one map and puts them into it."""

    def __init__(
        self,
        bundle_dir: Path,
        work: Path,
        encoder: EncoderChoice,
        device: str = "auto",
        before: TrainedSceneCoordinates | None = None,
    ) -> None:
        """before: what the map has, to go on with."""
        super().__init__(bundle_dir, work, device)
        self.before = before
        self.choice = encoder
        self._weights = weights_file(encoder.kind, encoder.weights)
        self._stamp = hashlib.sha256(self._weights.read_bytes()).hexdigest()
        if before is not None and before.features.weights_sha256 != self._stamp:
            raise MappingError(
                f"{self._weights}: not the weights of the encoder that {bundle_dir} has; name "
                f"those with --weights, or train without --continue"
            )
        network = feature_network(encoder.kind).load(self._weights)
        self.encoder = DenseEncoder(network, salient=encoder.salient).eval()
        views = self.model.views
        self.sizes = network_sizes(
            (v.camera.height, v.camera.width)
            if v.quarter_turns % 2
            else (v.camera.width, v.camera.height)
            for v in views
        )
        self.cells = PhotoCells(self.encoder, self.sizes, self.device)

    def train(
        self,
        config: SceneConfig,
        *,
        depth_maps: DepthMaps | None,
        validate: bool,
        any_grade: bool = False,
        progress: Progress = silent,
        sampling: Progress = silent,
    ) -> SceneReport:
        """Train without some photos, judge on these, and put the network into the map.

        validate: first train a shorter schedule without blocks of photos, to choose the
        share of cells that serves those best. any_grade: also a network that does not find
        photos again; otherwise the map stays as it is, and the report says why.
        """
        started = time.perf_counter()
        left_out = left_out_views(len(self.model.views))
        samples = sample_cells(
            self.cells,
            self.model,
            self.store,
            config.buffer,
            depth_maps,
            sampling,
            self.work / CELLS_FOLDER,
            ~left_out,
        )
        sampled = time.perf_counter()
        kept = config.kept if self.before is None else self.before.kept
        before, total = 0, config.iterations
        shares: dict[str, float] = {}
        if validate:
            short = replace(config, iterations=max(1, int(config.iterations * TUNING_SHARE)))
            before, total = short.iterations, short.iterations + config.iterations
            network, _ = self._fit(
                of_views(samples, ~self.held_out),
                short,
                "tuning",
                lambda step, error: progress(step, total, error),
            )
            # As the device will solve and judge.
            gate = Gate(
                min_inlier_ratio=MIN_INLIER_RATIO,
                max_rotation_std_deg=TrainedSceneCoordinates.max_rotation_std_deg,
            )
            solver = PoseSolver(
                threshold_px=config.threshold_px, gate=gate, seed=config.seed, weighted=True
            )
            kept, shares = choose_share(
                network, self.cells, self.model, self.store, self.held_out, solver
            )
        network, trainer = self._fit(
            samples,
            config,
            "final",
            lambda step, error: progress(before + step, total, error),
        )
        trained = self._export(network.cpu(), config, kept)
        fitted = time.perf_counter()
        judged = judge(self._alone(trained), self.model, self.store, left_out)
        trained = replace(trained, judged=judged)
        refusal = None if is_learnt(judged) else self._refusal(judged, config)
        if refusal is not None and any_grade:
            log.warning("warning: %s", self._doubt(judged))
            refusal = None
        report = SceneReport(
            refusal=refusal,
            cells=len(samples.view),
            known_depth=float((samples.depth > 0).mean()),
            bytes_sampled=int(samples.feature.nbytes),
            kept=kept,
            shares=shares,
            seconds_sampling=sampled - started,
            seconds_judging=time.perf_counter() - fitted,
            seconds=time.perf_counter() - started,
            history=trainer.history,
            judged=judged,
            metric=self.model.metric,
        )
        if refusal is None:
            self._install(trained)
            if self.before is not None:
                take_place(self._checkpoint(config, "final"))
        self._picture(network, trainer)
        return report

    def _fit(
        self,
        samples: CellSamples,
        config: SceneConfig,
        role: str,
        report: Callable[[int, float | None], None],
    ) -> tuple[SceneCoordinates, SceneTrainer]:
        checkpoint, start = self._checkpoint(config, role), None
        if self.before is None:
            labels = partition(samples, config.labels, part_of_photos(self.store, self.model))
        else:
            labels = kept_partition(samples, checkpoint, config)
            checkpoint, start = continued_file(checkpoint), checkpoint
        trainer = SceneTrainer(
            Batches(samples, labels, config), labels, config, checkpoint, self.device, start
        )
        return trainer.run(report), trainer

    def _checkpoint(self, config: SceneConfig, role: str) -> Path:
        return self.work / f"{METHOD}_{config.name}_{role}.pt"

    def _export(
        self, network: SceneCoordinates, config: SceneConfig, kept: float
    ) -> TrainedSceneCoordinates:
        """Networks for all image sizes into the work folder, and what a map must know of them."""
        specs = []
        encoder = self.encoder.cpu()
        for width, height in self.sizes:
            name = network_file(f"{METHOD}_{width}x{height}")
            asked = self.cells.asked(width, height)
            keep = min(max(16, round(kept * asked)), TENSORRT_MAX_KEYPOINTS)
            module = ExportedSceneCoordinates(encoder, network, asked=asked, keep=keep)
            export_scene_coordinates(module, width, height, self.work / name)
            specs.append((keep, NetworkSpec(file=name, width=width, height=height)))
        features = FeatureSpec(
            kind=METHOD,
            dim=3,
            keypoints=max(keep for keep, _ in specs),
            turns=self.bundle.manifest.features.turns,
            networks=tuple(spec for _, spec in specs),
            weights_sha256=self._stamp,
        )
        return TrainedSceneCoordinates(
            features=features,
            threshold_px=config.threshold_px,
            min_inlier_ratio=MIN_INLIER_RATIO,
            encoder=self.choice.kind,
            kept=kept,
            preset=config.name,
            iterations=config.iterations if self.before is None else self.before.iterations,
        )

    def _alone(self, trained: TrainedSceneCoordinates) -> Path:
        """A map in the work folder that holds the networks and nothing else."""
        manifest = replace(
            self.bundle.manifest,
            features=replace(self.bundle.manifest.features, networks=()),
            embedding=None,
            method=METHOD,
            methods={},
            networks={},
            parity={},
            files={},
        )
        with BundleWriter(self.work / ALONE, manifest) as bundle:
            self._add(bundle, trained)
        return bundle.directory

    def _install(self, trained: TrainedSceneCoordinates) -> None:
        with extend_bundle(self.bundle_dir) as bundle:
            _forget_networks(bundle)
            self._add(bundle, trained)

    def _add(self, bundle: BundleWriter, trained: TrainedSceneCoordinates) -> None:
        for spec in trained.features.networks:
            add_network(bundle, spec.file, (self.work / spec.file).read_bytes())
        SCENE_COORDINATES.record(bundle.manifest, trained)

    def _doubt(self, judged: Judgement) -> str:
        return f"scene coordinates are not learnt: {judged.told(self.model.metric)}; {bar()}"

    def _refusal(self, judged: Judgement, config: SceneConfig) -> str:
        longer = max(2 * config.iterations, preset(config.name).iterations)
        return (
            f"{self.bundle_dir}: left as it is, since {self._doubt(judged)}; train longer "
            f"(--iterations {longer}), or put it into the map all the same (--any-grade), for "
            f"which what was trained is kept in {self.work}"
        )

    def _picture(self, network: SceneCoordinates, trainer: SceneTrainer) -> None:
        """Labels and scores on a few photos, coordinates of more of them from above."""
        network = network.to(self.device)
        views = np.unique(np.linspace(0, len(self.model.views) - 1, 24).astype(int))
        photos = predict_photos(network, self.cells, self.model, self.store, views)
        plot_scene_coordinates(
            self.work / f"training_{METHOD}.png", photos, self.model, trainer.history
        )


def export_scene_coordinates(
    module: ExportedSceneCoordinates, width: int, height: int, path: Path
) -> None:
    """Write encoder and regression (.onnx) for grey images of one size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 1, height, width), generator=generator) * 255
    export_module(module, [image], ["image"], ["xy_px", "scores", "xyz_world"], path, compare=False)


def _forget_networks(bundle: BundleWriter) -> None:
    """Drop the networks of an earlier training of scene coordinates."""
    for network in bundle_networks(bundle.manifest):
        if network.role == METHOD:
            forget_float16(bundle, network.file)
            bundle.remove(network.file)
