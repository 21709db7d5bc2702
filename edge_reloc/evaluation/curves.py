"""Retrieval curves: what is found against how much of the map is returned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..bundle.reader import MapBundle
from ..geometry.rigid import Array
from ..inference.engines import Engines
from ..localizer import Localizer
from ..memory.arena import Arena
from ..methods.table import build_method
from ..settings import Settings
from ..structs import Candidates
from .dataset import Dataset
from .score import Score

LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
EVERY_IMAGE = EVERY_LANDMARK = 1 << 30


@dataclass(frozen=True, kw_only=True)
class RetrievalCurve:
    """recall: share of exhaustive's inlier points found, at each share returned."""

    scene: str
    method: str
    share: tuple[float, ...]
    recall: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)


def retrieval_curves(bundle: MapBundle, dataset: Dataset, reference: Score) -> list[RetrievalCurve]:
    """Curves of image retrieval, every trained head and landmarks, the surest ones first.

    reference: the score of `exhaustive` on the same dataset; its inlier
    points are what should be found.
    """
    heads = bundle.manifest.methods.get("visible_structure", {}).get("heads", {})
    base = Settings(images=EVERY_IMAGE)
    settings = {"image_retrieval": replace(base, method="image_retrieval")}
    for head in heads:
        settings[head] = replace(base, method="visible_structure", head=head)
    if "landmarks" in bundle.manifest.methods:
        settings["landmarks"] = replace(base, method="landmarks", landmarks=EVERY_LANDMARK)
    found: dict[str, list[Array]] = {name: [] for name in settings}
    localizers: dict[Any, Localizer] = {}
    retrievers: dict[str, list[Any]] = {}
    arena = Arena()
    engines = Engines(bundle, arena)
    for (_, frame), wanted in zip(dataset.frames(), reference.found, strict=True):
        if len(wanted) == 0:
            continue
        if frame.camera not in localizers:
            localizers[frame.camera] = Localizer.open(
                bundle, frame.camera, settings["image_retrieval"]
            )
        localizer = localizers[frame.camera]
        points = localizer.points
        assert points is not None  # image retrieval has them
        localizer.localize(frame)
        for name, chosen in settings.items():
            if name not in retrievers:
                extent = float(np.ptp(points.xyz, axis=0).max()) * 10
                retrievers[name] = []
                for level in LEVELS:
                    capacity = max(16, int(level * points.n))
                    method = build_method(
                        chosen.method or "",
                        bundle,
                        engines,
                        replace(chosen, candidates=capacity, radius=extent),
                    )
                    out = Candidates(arena, method.capacity, localizer.spec.keypoints)
                    retrievers[name].append((method.retriever, out))
            recall = np.zeros(len(LEVELS))
            for level_index, (retriever, out) in enumerate(retrievers[name]):
                retriever.retrieve(localizer.features, out)
                recall[level_index] = np.isin(
                    wanted, out.point_id[: out.n], assume_unique=True
                ).mean()
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


def format_curves(curves: list[RetrievalCurve]) -> str:
    """Plain-text table of the curves."""
    lines = ["share of exhaustive's inlier points found, by share of the map returned"]
    lines.append(" " * 32 + "".join(f"{100 * level:6.0f} %" for level in LEVELS))
    for curve in curves:
        row = "".join(f"{100 * r:6.1f} %" for r in curve.recall)
        lines.append(f"{curve.scene:15.15s} {curve.method:15.15s} {row}")
    return "\n".join(lines)
