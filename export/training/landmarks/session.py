"""One training of the recogniser: landmarks, labelled keypoints, network, packing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from edge_reloc.arrays import I64
from edge_reloc.bundle import extend_bundle
from edge_reloc.bundle.layout import network_file
from edge_reloc.errors import MappingError
from edge_reloc.methods.landmarks import ONE_PASS, PAPER_TRIED, PUBLISHED, TrainedLandmarks
from edge_reloc.methods.table import LANDMARKS

from ...nets.landmarks import ExportedRecogniser, Recogniser
from ...onnx.export import export_module
from ...packing.kept_landmarks import kept_landmarks
from ...packing.landmarks import LandmarkOptions, Landmarks, define_landmarks, write_landmarks
from ...progress import Progress, silent
from ...scene.combine import part_gravity
from ...scene.model import SceneModel
from ..continued import continued_file, take_place
from ..plots import plot_recognition
from ..report import History, TrainingReport, doubt
from ..session import TrainingSession, replace_network
from .labelled import LabelledKeypoints, keypoints_of, label_photos
from .trainer import Batches, RecogniserConfig, RecogniserTrainer

NETWORK = network_file(LANDMARKS.name)


@dataclass(frozen=True, kw_only=True)
class LandmarkReport(TrainingReport):
    """How the recogniser was trained, and how many keypoints it recognises."""

    FILE = "training_landmarks.json"
    landmarks: int
    recognised: float  #: share of the keypoints of landmarks that get theirs
    #: share of all keypoints that get their class, 0 being one, as the paper counts (table 2)
    precision_at_1: float
    on: str  #: which photos that was found on
    seconds: float  #: of all
    losses: History

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.landmarks} landmarks, {self.recognised:.1%} of their keypoints "
            f"recognised, precision@1 of all keypoints {self.precision_at_1:.1%}, "
            f"on {self.on}{doubt(self.recognised)}"
        )


class LandmarkSession(TrainingSession):
    """Makes landmarks for one map, trains their recogniser and puts both into it."""

    def __init__(
        self, bundle_dir: Path, work: Path, options: LandmarkOptions | None, device: str = "auto"
    ) -> None:
        """options: None to go on with the landmarks that the map has."""
        super().__init__(bundle_dir, work, device)
        self._continued = options is None
        if options is None:
            self._published = self.before.registration == PUBLISHED
            self.landmarks = kept_landmarks(self.bundle, self.model, published=self._published)
        else:
            self._published = options.published
            self.landmarks = landmarks_of(self.model, work, options)

    @property
    def before(self) -> TrainedLandmarks:
        """What the map has; MappingError for nothing."""
        trained = LANDMARKS.trained(self.bundle.manifest)
        if trained is None:
            raise MappingError(
                f"{self.bundle_dir}: has no landmarks to go on with; train without --continue"
            )
        return trained

    def train(
        self,
        config: RecogniserConfig,
        *,
        validate: bool,
        progress: Progress = silent,
        labelling: Progress = silent,
    ) -> LandmarkReport:
        """Train, export and pack.

        validate: leave blocks of photos out, and report recognition on them.
        """
        started = time.perf_counter()
        config = with_keypoints(config, self.bundle.manifest.features.keypoints)
        data = label_photos(
            self.bundle,
            self.points,
            self.model,
            self.store,
            self.landmarks.label,
            copies=config.copies,
            observed_only=config.observed_only,
            progress=labelling,
        )
        entries = np.arange(len(data.view))
        held_out = self.held_out[data.view]
        batches = Batches(
            data,
            entries[~held_out] if validate else entries,
            config,
            any_heading=self.bundle.manifest.features.turns,
        )
        checkpoint = self.work / f"landmarks_{config.name}.pt"
        trainer = RecogniserTrainer(
            batches,
            self.points.dim,
            self.landmarks.count,
            config,
            continued_file(checkpoint) if self._continued else checkpoint,
            self.device,
            checkpoint if self._continued else None,
        )
        network = trainer.run(lambda step, loss: progress(step, config.iterations, loss)).cpu()
        judged = entries[data.whole & held_out] if validate else entries[data.whole]
        found = recognition(network, data, judged)
        report = LandmarkReport(
            landmarks=self.landmarks.count,
            recognised=found.of_landmarks,
            precision_at_1=found.of_all,
            on="held-out mapping photos" if validate else "the mapping photos themselves",
            seconds=time.perf_counter() - started,
            losses=trainer.history,
        )
        self._write(network, config)
        if self._continued:
            take_place(checkpoint)
        plot_recognition(self.work / "training_landmarks.png", trainer.history)
        return report

    def _write(self, network: Recogniser, config: RecogniserConfig) -> None:
        path = self.work / "landmarks.onnx"
        export_recogniser(network, path)
        with extend_bundle(self.bundle_dir) as bundle:
            write_landmarks(bundle, self.landmarks, self.model.views)
            replace_network(bundle, NETWORK, path)
            LANDMARKS.record(bundle.manifest, self.before if self._continued else self._new(config))

    def _new(self, config: RecogniserConfig) -> TrainedLandmarks:
        return TrainedLandmarks(
            network=NETWORK,
            most=PAPER_TRIED,
            registration=PUBLISHED if self._published else ONE_PASS,
            second_pass=True,
            preset=config.name,
            iterations=config.iterations,
        )


def landmarks_of(model: SceneModel, work: Path, options: LandmarkOptions) -> Landmarks:
    """Landmarks of a packed model; of combined maps part by part."""
    return define_landmarks(model, options, part_gravity(work))


def export_recogniser(network: Recogniser, path: Path) -> None:
    """Write the network (.onnx) for its fixed number of keypoints and a mask."""
    keypoints = network.shape.keypoints
    generator = torch.Generator().manual_seed(0)
    descriptor = torch.randn(1, keypoints, network.dim, generator=generator)
    descriptor = torch.nn.functional.normalize(descriptor, dim=2)
    ray = torch.randn(1, keypoints, 2, generator=generator) * 0.4
    mask = (torch.arange(keypoints) < keypoints * 3 // 4).float()[None]
    names = ["descriptor", "ray", "mask"]
    export_module(
        ExportedRecogniser(network).eval(), [descriptor, ray, mask], names, ["probability"], path
    )


def with_keypoints(config: RecogniserConfig, keypoints: int) -> RecogniserConfig:
    """A schedule whose network takes no more keypoints than the map's features have."""
    most = min(config.shape.keypoints, keypoints)
    shape = replace(config.shape, keypoints=most)
    return replace(config, shape=shape, keypoints=min(config.keypoints, most))


class Recognition(NamedTuple):
    """Shares of keypoints that get their class (top-1)."""

    #: of those that show a landmark, the best class but 0
    of_landmarks: float
    #: of all whose class is known, 0 being one
    of_all: float


def recognition(network: Recogniser, data: LabelledKeypoints, entries: I64) -> Recognition:
    """How well the keypoints of entries are recognised."""
    right = shown = right_of_all = known = 0
    with torch.no_grad():
        for rows in keypoints_of(data, entries):
            rows = slice(rows.start, min(rows.stop, rows.start + network.shape.keypoints))
            descriptor = torch.from_numpy(data.descriptor[rows].astype(np.float32))[None]
            ray = torch.from_numpy(data.ray[rows])[None]
            logits = network(descriptor, ray, torch.ones(descriptor.shape[:2]))[0].numpy()
            label = data.label[rows]
            found = logits[:, 1:].argmax(axis=1) + 1
            right += int((found == label)[label > 0].sum())
            shown += int((label > 0).sum())
            right_of_all += int((logits.argmax(axis=1) == label)[label >= 0].sum())
            known += int((label >= 0).sum())
    return Recognition(right / max(shown, 1), right_of_all / max(known, 1))
