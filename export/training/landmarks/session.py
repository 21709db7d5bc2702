"""One training of the recogniser: landmarks, labelled keypoints, network, packing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_reloc.arrays import I64
from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import network_file
from edge_reloc.bundle.points import open_points
from edge_reloc.errors import MappingError

from ...nets.landmarks import ExportedRecogniser, Recogniser
from ...onnx.export import export_module
from ...packing.landmarks import LandmarkOptions, Landmarks, define_landmarks, write_landmarks
from ...packing.networks import add_network, forget_float16
from ...packing.pack import PACKED_MODEL
from ...scene.combine import PARTS_FILE, open_any_store
from ...scene.model import SceneModel, load_model
from ..report import plot_recognition
from ..visible_structure.bank import held_out_views
from .labelled import LabelledKeypoints, keypoints_of, label_photos
from .trainer import Batches, RecogniserConfig, RecogniserTrainer

Progress = Callable[[int, int, float], None]

NETWORK = network_file("landmarks")
MOST = 20  # landmarks tried, as in the paper's rooms
REGISTRATION = "one_pass"


class LandmarkSession:
    """Makes landmarks for one map, trains their recogniser and puts both into it."""

    def __init__(self, bundle_dir: Path, work: Path, options: LandmarkOptions) -> None:
        self.bundle_dir, self.work = bundle_dir, work
        self.bundle = open_bundle(bundle_dir)
        self.points = open_points(self.bundle)
        self.model = load_packed(work, self.points.n)
        self.landmarks = landmarks_of(self.model, work, options)

    def train(
        self,
        config: RecogniserConfig,
        *,
        validate: bool,
        device: str,
        progress: Progress,
        labelling: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, Any]:
        """Train, export and pack; the report as a dictionary.

        validate: leave blocks of photos out, and report recognition on them.
        """
        started = time.perf_counter()
        data = label_photos(
            self.bundle,
            self.points,
            self.model,
            open_any_store(self.work),
            self.landmarks.label,
            copies=config.copies,
            progress=labelling,
        )
        entries = np.arange(len(data.view))
        held_out = held_out_views(len(self.model.views))[data.view]
        batches = Batches(
            data,
            entries[~held_out] if validate else entries,
            config,
            any_heading=self.bundle.manifest.features.turns,
        )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        trainer = RecogniserTrainer(
            batches,
            self.points.dim,
            self.landmarks.count,
            config,
            self.work / f"landmarks_{config.name}.pt",
            device,
        )
        network = trainer.run(lambda step, loss: progress(step, config.iterations, loss)).cpu()
        judged = entries[data.whole & held_out] if validate else entries[data.whole]
        result = {
            "landmarks": self.landmarks.count,
            "recognised": recognition(network, data, judged),
            "on": "held-out mapping photos" if validate else "the mapping photos themselves",
            "seconds": time.perf_counter() - started,
            "losses": trainer.history,
        }
        self._write(network, config, result)
        plot_recognition(self.work / "training_landmarks.png", trainer.history)
        return result

    def _write(self, network: Recogniser, config: RecogniserConfig, result: dict[str, Any]) -> None:
        path = self.work / "landmarks.onnx"
        export_recogniser(network, path)
        with extend_bundle(self.bundle_dir) as bundle:
            write_landmarks(bundle, self.landmarks, self.model.views)
            add_network(bundle, NETWORK, path.read_bytes())
            forget_float16(bundle, NETWORK)
            bundle.manifest.methods["landmarks"] = {
                "network": NETWORK,
                "most": MOST,
                "registration": REGISTRATION,
                "second_pass": True,
                "preset": config.name,
                "iterations": config.iterations,
            }


def load_packed(work: Path, points: int) -> SceneModel:
    """The model that a bundle of `points` points was packed from; MappingError else."""
    model = load_model(work / PACKED_MODEL)
    if len(model.xyz) != points:
        raise MappingError(
            f"{work}: holds {len(model.xyz)} points, the bundle has {points}; "
            f"they are not of the same mapping run, or the map was pruned: map again"
        )
    return model


def landmarks_of(model: SceneModel, work: Path, options: LandmarkOptions) -> Landmarks:
    """Landmarks of a packed model; of combined maps part by part."""
    listing = work / PARTS_FILE
    if not listing.is_file():
        return define_landmarks(model, options)
    parts = json.loads(listing.read_text())
    gravity = {name: load_model(Path(at) / PACKED_MODEL).gravity for name, at in parts.items()}
    return define_landmarks(model, options, gravity)


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


def recognition(network: Recogniser, data: LabelledKeypoints, entries: I64) -> float:
    """Share of the keypoints of landmarks that get theirs, over entries (top-1)."""
    right = known = 0
    with torch.no_grad():
        for rows in keypoints_of(data, entries):
            rows = slice(rows.start, min(rows.stop, rows.start + network.shape.keypoints))
            descriptor = torch.from_numpy(data.descriptor[rows].astype(np.float32))[None]
            ray = torch.from_numpy(data.ray[rows])[None]
            logits = network(descriptor, ray, torch.ones(descriptor.shape[:2]))[0].numpy()
            label = data.label[rows]
            found = logits[:, 1:].argmax(axis=1) + 1
            right += int((found == label)[label > 0].sum())
            known += int((label > 0).sum())
    return right / max(known, 1)
