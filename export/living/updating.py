"""One update of a map, from new photos to the bundle, its work folder and a delta."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.bundle import MapBundle, extend_bundle, layout, open_bundle
from edge_reloc.bundle.manifest import manifest_bytes
from edge_reloc.bundle.points import open_points
from edge_reloc.bundle.signing import sign_file, write_signature
from edge_reloc.delta.delta_file import signature_file
from edge_reloc.delta.delta_writer import make_delta
from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic

from ..integrity.measure import measure
from ..photos.features import FeatureStore
from ..scene.model import SceneModel, View
from ..scene.triangulate import TriangulationOptions
from .evidence import Verdict
from .expectation import KnownPoints, known_points
from .extended_work import save_next, take_next
from .growth import Grown, grow, see_again
from .refit_cells import refit_cells
from .repack import Repacked, repack
from .retirement import find_gone, observed_similarity

log = logging.getLogger(__name__)

STAGING = "updated"  # folder of the bundle that is being made


@dataclass(frozen=True, kw_only=True)
class Base:
    """A map, what it was packed from, and the store that has its photos and the new ones."""

    bundle: MapBundle
    model: SceneModel
    store: FeatureStore

    def points(self) -> KnownPoints:
        """What is known of its points."""
        points = open_points(self.bundle)
        descriptor = np.empty(points.descriptor.shape, np.float32)
        stored = points.decode(points.descriptor, descriptor).astype(np.float16)
        return known_points(
            self.model, stored, observed_similarity(self.model, stored, self.store)
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where results go."""

    output: Path
    work: Path  #: of the updated map
    delta: Path | None = None
    key: Path | None = None  #: private, that signs both


def update_map(base: Base, new: Sequence[View], target: Target) -> dict[str, Any]:
    """Update a map by localised photos; what came of it. Raises MappingError where none fits."""
    points = base.points()
    views, left_out = see_again(new, points, base.store)
    if not views:
        name, reason = next(iter(left_out.items()))
        raise MappingError(
            f"{base.bundle.directory}: none of {len(new)} photos fits into the map; first: {name}: "
            f"{reason}"
        )
    grown = grow(base.model, views, points, base.store, _as_mapped(base.model))
    verdict = find_gone(grown, points, base.store, _cells(base.bundle))
    repacked = write_update(base, grown, verdict.retired, target)
    return {**_summary(base, grown, verdict, repacked), "left_out": left_out}


def merge_map(
    base: Base, new: Sequence[View], scouts: KnownPoints, target: Target
) -> dict[str, Any]:
    """The same with photos of another map, whose poses are known; nothing is retired."""
    points = base.points()
    views, _ = see_again(new, points, base.store, sure=True)
    joined = int(sum(len(view.point_id) for view in views))
    if not joined:
        raise MappingError(
            f"{base.bundle.directory}: the photos of the other map show none of its points; maps "
            f"that lie apart are combined without --merge"
        )
    grown = grow(base.model, views, points, base.store, _as_mapped(base.model), scouts)
    nothing = np.zeros(grown.old_points, bool)
    repacked = write_update(base, grown, nothing, target)
    return {"photos": len(repacked.model.views), "points": len(repacked.model.xyz),
            "kept": repacked.kept, "added": repacked.added, "seen_again": joined}  # fmt: skip


def write_update(base: Base, grown: Grown, retired: np.ndarray, target: Target) -> Repacked:
    """Bundle, work folder and delta: the bundle last, in one step."""
    staging = target.work / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    repacked = repack(base.bundle, grown, retired, base.store, staging)
    refit_cells(staging, repacked.model, base.store, repacked.changed)
    measure(staging, repacked.model, base.store)
    made = open_bundle(staging)
    base.store.save()
    save_next(target.work, repacked.model, made.manifest)
    if target.key is not None:
        write_signature(staging, target.key)
    if target.delta is not None:
        write_atomic(target.delta, make_delta(base.bundle, made))
        if target.key is not None:
            sign_file(target.delta, signature_file(target.delta), target.key)
    signature = staging / layout.SIGNATURE
    with extend_bundle(staging, target.output):
        pass
    assert manifest_bytes(target.output) == manifest_bytes(staging)  # the delta says its sha256
    if signature.is_file():
        write_atomic(target.output / layout.SIGNATURE, signature.read_bytes())
    take_next(target.work)
    shutil.rmtree(staging, ignore_errors=True)
    return repacked


def _as_mapped(model: SceneModel) -> TriangulationOptions:
    """As many photos must see a new point as the map asked of its own."""
    ids = np.concatenate([view.point_id for view in model.views])
    fewest = int(np.bincount(ids, minlength=len(model.xyz)).min())
    return replace(TriangulationOptions(), min_length=max(2, fewest))


def _cells(bundle: MapBundle) -> np.ndarray:
    """(P,): cell of each point."""
    start = bundle.array(layout.CELL_START)
    return np.repeat(np.arange(len(start) - 1), np.diff(start)).astype(np.int64)


def _summary(base: Base, grown: Grown, verdict: Verdict, repacked: Repacked) -> dict[str, Any]:
    new = repacked.model.views[grown.old_photos :]
    before = len(base.model.xyz)
    again = np.unique(np.concatenate([view.point_id for view in grown.model.views[-len(new) :]]))
    return {
        "photos_before": grown.old_photos,
        "photos_added": len(new),
        "points_before": before,
        "points": len(repacked.model.xyz),
        "kept": repacked.kept,
        "seen_again": int((again < before).sum()),
        "retired": before - repacked.kept,
        "added": repacked.added,
        "cells": len(repacked.changed),
        "cells_changed": int(repacked.changed.sum()),
        "gone_rate": round(verdict.gone_rate, 4),
        "detection": round(verdict.detection, 3),
    }
