"""One update of a map, from new photos to the bundle, its work folder and a delta."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.arrays import I64, Bool
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
from ..scene.same_photos import check_photos
from ..scene.triangulate import TriangulationOptions
from .evidence import Verdict
from .expectation import KnownPoints, known_points
from .extended_work import save_next, take_next
from .growth import Grown, grow, see_again
from .refit_cells import refit_cells
from .register import Registered
from .repack import Repacked, repack
from .retirement import find_gone, observed_similarity

log = logging.getLogger(__name__)

STAGING = "updated"  # folder of the bundles that are being made
MOST_ROUNDS = 3

Register = Callable[[MapBundle, Sequence[str]], Registered]


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
        return known_points(self.model, stored, observed_similarity(self.model, stored, self.store))


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where results go."""

    output: Path
    work: Path  #: of the updated map
    delta: Path | None = None
    key: Path | None = None  #: private, that signs both


@dataclass(kw_only=True)
class Update:
    """What a map has become so far."""

    now: Base
    origin: I64  #: (P,): which point of the first base each is, -1 for new ones
    changed: Bool  #: (K,)
    left_out: dict[str, str] = field(default_factory=dict)  #: reason by photo

    def take(self, repacked: Repacked, bundle: Path) -> None:
        """Go on from what was packed."""
        before = np.concatenate([self.origin, np.full(repacked.order.max() + 1, -1)])
        self.origin = before[repacked.order]
        repacked.changed[: len(self.changed)] |= self.changed
        self.changed = repacked.changed
        store = self.now.store
        self.now = Base(bundle=open_bundle(bundle), model=repacked.model, store=store)


def update_map(
    base: Base, names: Sequence[str], register: Register, target: Target
) -> dict[str, Any]:
    """Update a map by photos; what came of it. Raises MappingError where none fits.

    Photos that it does not localise are tried again in what the others made of it: where much
    has changed, they need the new points. register: localises photos of names in a bundle.
    """
    state = _begun(base)
    waiting = list(names)
    rounds: list[Verdict] = []
    while waiting and len(rounds) < MOST_ROUNDS:
        points = state.now.points()
        found = register(state.now.bundle, waiting)
        views, refused = see_again(found.views, points, base.store)
        state.left_out = {**found.left_out, **refused}
        if not views:
            break
        grown = grow(state.now.model, views, points, base.store, _as_mapped(state.now.model))
        verdict = find_gone(grown, points, base.store)
        rounds.append(verdict)
        _pack_round(state, grown, verdict.retired, target, len(rounds))
        waiting = [name for name in waiting if name in state.left_out]
    if not rounds:
        name, reason = next(iter(state.left_out.items()))
        raise MappingError(
            f"{base.bundle.directory}: none of {len(names)} new photos fits into the map, which "
            f"stays as it is; first: {name}: {reason}"
        )
    publish(base, state, target)
    first = rounds[0]
    told = {"gone_rate": round(first.gone_rate, 4), "detection": round(first.detection, 3)}
    return {**_summary(base, state), **told, "left_out": state.left_out}


def merge_map(
    base: Base, new: Sequence[View], scouts: KnownPoints, target: Target
) -> dict[str, Any]:
    """The same with photos of another map, whose poses are known; nothing is retired."""
    points, state = base.points(), _begun(base)
    views, _ = see_again(new, points, base.store, sure=True)
    if not any(len(view.point_id) for view in views):
        raise MappingError(
            f"{base.bundle.directory}: the photos of the other map show none of its points; maps "
            f"that lie apart are combined without --merge"
        )
    grown = grow(base.model, views, points, base.store, _as_mapped(base.model), scouts)
    _pack_round(state, grown, np.zeros(grown.old_points, bool), target, 1)
    publish(base, state, target)
    return _summary(base, state)


def _begun(base: Base) -> Update:
    check_photos(base.model, base.store)  # old photos tell what descriptors of points look like
    cells = len(base.bundle.array(layout.CELL_CENTRE))
    return Update(now=base, origin=np.arange(len(base.model.xyz)), changed=np.zeros(cells, bool))


def _pack_round(state: Update, grown: Grown, retired: Bool, target: Target, number: int) -> None:
    """Pack what one round gave, and teach the head that tells cells."""
    staging = target.work / STAGING / str(number)
    shutil.rmtree(staging, ignore_errors=True)
    staging.parent.mkdir(exist_ok=True)
    repacked = repack(state.now.bundle, grown, retired, state.now.store, staging)
    refit_cells(staging, repacked.model, state.now.store, repacked.changed)
    state.take(repacked, staging)


def publish(base: Base, state: Update, target: Target) -> None:
    """Bundle, work folder and delta: the bundle last, in one step."""
    staging, store = state.now.bundle.directory, base.store
    with extend_bundle(staging) as writer:
        before = base.bundle.manifest.statistics.get("updates", 0)
        writer.manifest.statistics["updates"] = before + 1
    measure(staging, state.now.model, store)
    made = open_bundle(staging)
    store.save()
    save_next(target.work, state.now.model, made.manifest)
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
    shutil.rmtree(target.work / STAGING, ignore_errors=True)


def _as_mapped(model: SceneModel) -> TriangulationOptions:
    """As many photos must see a new point as the map asked of its own."""
    ids = np.concatenate([view.point_id for view in model.views])
    fewest = int(np.bincount(ids, minlength=len(model.xyz)).min())
    return replace(TriangulationOptions(), min_length=max(2, fewest))


def _summary(base: Base, state: Update) -> dict[str, Any]:
    before, origin = len(base.model.xyz), state.origin
    photos, views = len(base.model.views), state.now.model.views
    again = np.unique(np.concatenate([view.point_id for view in views[photos:]]))
    kept = int((origin >= 0).sum())
    return {
        "photos_before": photos,
        "photos_added": len(views) - photos,
        "points_before": before,
        "points": len(origin),
        "kept": kept,
        "seen_again": int((origin[again] >= 0).sum()),
        "retired": before - kept,
        "added": len(origin) - kept,
        "cells": len(state.changed),
        "cells_changed": int(state.changed.sum()),
    }
