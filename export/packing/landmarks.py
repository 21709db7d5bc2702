"""Landmarks of a map: neighbouring points under one label.

PRAM (Xue, Budvytis, Cipolla: Place Recognition Anywhere Model for Efficient Visual
Localization), sections 3.1 and 3.2. P points, V views, L landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.bundle import BundleWriter, layout
from edge_reloc.errors import ConfigError, MappingError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import camera_centre

from ..scene.model import SceneModel, View
from .birch import birch
from .pruning import PruningOptions, points_to_keep

NEIGHBOURS = 20
# The paper's 0.2 square metres fit rooms, seen from some 2 m; farther things lie wider apart.
VARIANCE_AT_2_M = 0.2
PER_VIEW = 12  # landmarks that a photo of usual reach should see
FEWEST, MOST = 8, 2048
CELLS_A_REACH = 20  # ground cells in the usual distance between camera and point
FEWEST_POINTS = 6  # below, a landmark cannot carry a pose
PAPER_VARIANCE = 0.2  # lambda_v, square metres (section 3.1)
PAPER_A_ROOM = 16  # lambda_l is 112 for seven rooms, 192 for twelve (section 4)


@dataclass(frozen=True, kw_only=True)
class LandmarkOptions:
    """How landmarks are made."""

    #: how many; None finds out
    number: int | None = None
    #: 2: clustered on the ground plane, as published; 3: in space, for scenes whose
    #: structure the ground plane hides
    dimensions: int = 2
    #: sections 3.1 and 3.2 to the letter: a fixed variance, 16 landmarks a room unless
    #: `number` says otherwise, none too small, and points pruned by eq. 5 and 6
    published: bool = False

    def __post_init__(self) -> None:
        if self.number is not None and not 1 <= self.number <= MOST:
            raise ConfigError(f"landmarks: found {self.number}, expected 1 to {MOST}")
        if self.dimensions not in (2, 3):
            raise ConfigError(f"landmarks: dimensions is {self.dimensions}, expected 2 or 3")
        if self.published and self.dimensions != 2:
            raise ConfigError(
                "landmarks: dimensions is 3, as published they are clustered on the ground plane; "
                "leave it out, or train another preset"
            )


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """L landmarks of P points."""

    #: (P,): 1 to L, 0 for points of no landmark
    label: NDArray[np.int32]
    #: (P,): whether a point is still its landmark's after pruning
    kept: NDArray[np.bool_]
    #: (L,): the view that sees most of each one's points, whose pose and camera are its
    #: virtual reference frame (eq. 4)
    view: NDArray[np.int32]

    @property
    def count(self) -> int:
        """L."""
        return len(self.view)


def define_landmarks(
    model: SceneModel,
    options: LandmarkOptions,
    gravity: dict[str, NDArray[np.float64] | None] | None = None,
) -> Landmarks:
    """Landmarks of a model. Raises MappingError when it has too few points, or no metres.

    gravity: of maps combined into one, by the prefix of their photos' names; each part
    is clustered by itself, on its own ground.
    """
    if options.published and not model.metric:
        raise MappingError(
            "as published, landmarks are made of points whose neighbours lie within 0.2 square "
            "metres, and this map has no metres; align it first with 'edge-reloc align', or "
            "train another preset"
        )
    label = _labels(model, options, gravity)
    kept = label > 0
    if options.published:
        kept = points_to_keep(model, label, PruningOptions())
    return Landmarks(
        label=label, kept=kept, view=reference_views(model, label, int(label.max(initial=0)))
    )


def _labels(
    model: SceneModel,
    options: LandmarkOptions,
    gravity: dict[str, NDArray[np.float64] | None] | None,
) -> NDArray[np.int32]:
    """(P,): landmark of each point, 0 for none."""
    if gravity is None:
        return _define(model, options)[0]
    parts = {name: _part(model, name, down) for name, down in gravity.items()}
    numbers = {name: _number(sub, options.published) for name, (sub, _) in parts.items()}
    total = sum(numbers.values())
    label = np.zeros(len(model.xyz), np.int32)
    used = 0
    for name, (sub, rows) in parts.items():
        share = numbers[name] if options.number is None else options.number * numbers[name] / total
        own, count = _define(sub, replace(options, number=max(1, round(share))))
        label[rows] = np.where(own > 0, own + used, 0)
        used += count
    return label


def _part(
    model: SceneModel, name: str, down: NDArray[np.float64] | None
) -> tuple[SceneModel, NDArray[np.intp]]:
    """One part of a combined model, and the rows of its points."""
    views = [view for view in model.views if view.name.startswith(f"{name}/")]
    seen = np.zeros(len(model.xyz), bool)
    for view in views:
        seen[view.point_id] = True
    part = replace(model, views=views, gravity=down).keep_points(seen)
    return part, np.flatnonzero(seen)


def _define(model: SceneModel, options: LandmarkOptions) -> tuple[NDArray[np.int32], int]:
    """Labels (P,) of one connected map, and how many."""
    rows = np.flatnonzero(consistent(model, PAPER_VARIANCE if options.published else None))
    if len(rows) < FEWEST_POINTS:
        raise MappingError(
            f"{len(rows)} of {len(model.xyz)} points lie where their neighbours do: "
            f"too few for landmarks, photograph more overlap"
        )
    xyz = model.xyz[rows]
    place = xyz @ ground_axes(xyz, model.gravity).T if options.dimensions == 2 else xyz
    number = options.number or _number(model, options.published)
    fewest = 1 if options.published else FEWEST_POINTS
    own = birch(place, min(number, max(len(rows) // fewest, 1)))
    enough = np.bincount(own) >= fewest
    new = np.where(enough, np.cumsum(enough), 0)
    label = np.zeros(len(model.xyz), np.int32)
    label[rows] = new[own]
    return label, int(enough.sum())


def consistent(model: SceneModel, variance_m2: float | None = None) -> NDArray[np.bool_]:
    """(P,): whether a point lies among its 20 nearest neighbours (section 3.1).

    Their mean squared distance from it may be `variance_m2`, or by default as large as in the
    paper, scaled with the squared distance that the point is seen from.
    """
    xyz = np.ascontiguousarray(model.xyz)
    neighbours = min(NEIGHBOURS + 1, len(xyz))
    if neighbours < 2:
        return np.zeros(len(xyz), bool)
    distance, _ = KDTree(xyz).query(xyz, k=neighbours)
    variance = (distance[:, 1:] ** 2).mean(axis=1)
    if variance_m2 is not None:
        return np.asarray(variance <= variance_m2)
    reach = viewing_distance(model)
    return np.asarray(variance <= VARIANCE_AT_2_M * (reach / 2.0) ** 2)


def viewing_distance(model: SceneModel) -> NDArray[np.float64]:
    """(P,): mean distance of each point from the cameras that observed it."""
    total, count = np.zeros(len(model.xyz)), np.zeros(len(model.xyz))
    for view in model.views:
        away = model.xyz[view.point_id] - camera_centre(view.cam_from_world)
        np.add.at(total, view.point_id, np.linalg.norm(away, axis=1))
        np.add.at(count, view.point_id, 1)
    return np.asarray(total / np.maximum(count, 1))


def ground_axes(
    xyz: NDArray[np.float64], gravity: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Two unit vectors (2,3) that span the ground (eq. 1).

    Perpendicular to gravity, or in the plane that fits the points (P,3) best.
    """
    if gravity is None:
        return np.asarray(np.linalg.svd(xyz - xyz.mean(axis=0), full_matrices=False)[2][:2])
    return np.asarray(np.linalg.svd(np.asarray(gravity, float)[None])[2][1:])


def _number(model: SceneModel, published: bool) -> int:
    """Landmarks of one connected map."""
    return PAPER_A_ROOM if published else automatic_number(model)


def automatic_number(model: SceneModel) -> int:
    """Landmarks so that a usual photo sees a dozen of them.

    The extent of the map in photos: ground that has points, over the ground under the
    points that one photo sees.
    """
    axes = ground_axes(model.xyz, model.gravity)
    size = float(np.median(viewing_distance(model))) / CELLS_A_REACH
    cell = np.floor(model.xyz @ axes.T / max(size, 1e-9)).astype(np.int64)
    _, flat = np.unique(cell, axis=0, return_inverse=True)
    flat = flat.reshape(-1)
    seen = [len(np.unique(flat[view.point_id])) for view in model.views if len(view.point_id)]
    photos = (int(flat.max(initial=0)) + 1) / max(float(np.median(seen or [1])), 1.0)
    return int(np.clip(round(PER_VIEW * photos), FEWEST, MOST))


def reference_views(
    model: SceneModel, label: NDArray[np.int32], landmarks: int
) -> NDArray[np.int32]:
    """(L,): the view that observed most points of each landmark; of equals the first."""
    most, best = np.full(landmarks, -1), np.zeros(landmarks, np.int32)
    for index, view in enumerate(model.views):
        seen = np.bincount(label[np.unique(view.point_id)], minlength=landmarks + 1)[1:]
        better = seen > most
        most[better], best[better] = seen[better], index
    return best


def write_landmarks(bundle: BundleWriter, landmarks: Landmarks, views: list[View]) -> None:
    """Put landmarks into a bundle; their views' cameras must be in its manifest.

    Raises MappingError when one is not.
    """
    label = np.where(landmarks.kept, landmarks.label, 0)
    order = np.argsort(label, kind="stable").astype(np.int32)
    start = np.searchsorted(label[order], np.arange(1, landmarks.count + 2))
    order, start = order[start[0] :], start - start[0]
    cameras = [Camera.from_dict(values, "") for values in bundle.manifest.cameras.values()]
    frames = [views[view] for view in landmarks.view]
    for frame in frames:
        if frame.camera not in cameras:
            raise MappingError(f"{frame.name}: its camera is not in the bundle; map again")
    unit = "metre" if bundle.manifest.world.metric else "map unit"
    bundle.add_array(layout.LANDMARK_START, start.astype(np.int32))
    bundle.add_array(layout.LANDMARK_POINT_ID, order)
    bundle.add_array(
        layout.LANDMARK_CAM_FROM_WORLD, np.stack([frame.cam_from_world for frame in frames]), unit
    )
    camera = np.array([cameras.index(frame.camera) for frame in frames], np.int32)
    bundle.add_array(layout.LANDMARK_CAMERA, camera)
