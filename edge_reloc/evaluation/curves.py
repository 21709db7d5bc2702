"""Retrieval curves: what is found against how much of the map is returned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..arrays import Array
from ..bundle.points import open_points
from ..bundle.reader import MapBundle
from ..geometry.camera import Camera
from ..inference.engines import Engines
from ..localizer import Localizer
from ..memory.arena import Arena
from ..methods import Method, Settings, Variant, variants
from ..methods.table import IMAGE_RETRIEVAL
from ..stages import Retriever
from ..structs import Candidates
from .dataset import Dataset
from .score import Score

LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, kw_only=True)
class RetrievalCurve:
    """One method on one scene."""

    scene: str
    method: str
    #: of the map, returned
    share: tuple[float, ...]
    #: of exhaustive's inlier points, found at each share
    recall: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)


def retrieval_curves(bundle: MapBundle, dataset: Dataset, reference: Score) -> list[RetrievalCurve]:
    """Curves of every trained method that retrieves, the surest points first.

    reference: the score of `exhaustive` on the same dataset; its inlier
    points are what should be found.
    """
    arena = Arena()
    engines = Engines(bundle, arena)
    retrievers = {
        variant.name: _retrievers(bundle, engines, method, variant)
        for method, variant in variants(bundle.manifest)
        if variant.unlimited is not None
    }
    found: dict[str, list[Array]] = {name: [] for name in retrievers}
    localizers: dict[Camera, Localizer] = {}
    frames = dataset.frames(grey=not bundle.manifest.sees_colour)
    for (_, frame), wanted in zip(frames, reference.found, strict=True):
        camera = frame.camera
        if len(wanted) == 0 or camera is None:
            continue
        if camera not in localizers:
            settings = Settings(method=IMAGE_RETRIEVAL.name)  # its features are embedded, too
            localizers[camera] = Localizer.open(bundle, camera, settings)
        features = localizers[camera].localize(frame).features
        for name, levels in retrievers.items():
            recall = np.zeros(len(LEVELS))
            for level, (retriever, out) in enumerate(levels):
                retriever.retrieve(features, out)
                ids = out.point_id[: out.n]
                recall[level] = np.isin(wanted, ids, assume_unique=True).mean()
            found[name].append(recall)
    return [
        RetrievalCurve(
            scene=dataset.name,
            method=name,
            share=LEVELS,
            recall=tuple(float(r) for r in np.mean(rows, axis=0)),
        )
        for name, rows in found.items()
        if rows
    ]


def _retrievers(
    bundle: MapBundle, engines: Engines, method: Method, variant: Variant
) -> list[tuple[Retriever, Candidates]]:
    """One a level, each with what it writes into."""
    points = open_points(bundle).n
    made = []
    for level in LEVELS:
        capacity = max(16, int(level * points))
        more = {**(variant.unlimited or {}), "candidates": capacity}
        stages = method.open(bundle, engines, method.settings(variant, Settings(), **more))
        assert stages.retriever is not None  # it has a curve
        keypoints = bundle.manifest.features.keypoints
        made.append((stages.retriever, Candidates(engines.arena, stages.capacity, keypoints)))
    return made


def format_curves(curves: list[RetrievalCurve]) -> str:
    """Plain-text table of the curves."""
    lines = ["share of exhaustive's inlier points found, by share of the map returned"]
    lines.append(" " * 32 + "".join(f"{100 * level:6.0f} %" for level in LEVELS))
    for curve in curves:
        row = "".join(f"{100 * r:6.1f} %" for r in curve.recall)
        lines.append(f"{curve.scene:15.15s} {curve.method:15.15s} {row}")
    return "\n".join(lines)
