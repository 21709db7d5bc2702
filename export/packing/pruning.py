"""Fewer points a landmark: those that no kept point stands in for.

PRAM, section 3.2, eq. 5 and 6. P points, V views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.errors import ConfigError
from edge_reloc.geometry.rigid import transform

from ..scene.model import SceneModel, View


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """How a landmark's points are thinned out, as published."""

    #: of the area that a kept point stands for, in photos 640 pixels wide
    radius_px: float = 25.0
    #: share of a landmark's points after which its other photos add no more
    cover: float = 0.8

    def __post_init__(self) -> None:
        if self.radius_px < 0:
            raise ConfigError(f"radius: found {self.radius_px} px, expected at least 0")
        if not 0 < self.cover <= 1:
            raise ConfigError(f"cover: found {self.cover}, expected above 0 and at most 1")


def points_to_keep(
    model: SceneModel, label: NDArray[np.int32], options: PruningOptions
) -> NDArray[np.bool_]:
    """(P,): whether a point stays; label (P,), 1 to L, points of 0 go.

    Landmark by landmark: the photo that sees most of it keeps all of its points. Every
    next one adds those that, projected into the photos before, fall near no kept point
    there; until the photos together see enough of the landmark.
    """
    keep = np.zeros(len(model.xyz), bool)
    of_landmark: list[list[tuple[int, NDArray[np.int32]]]] = [[] for _ in range(label.max() + 1)]
    for index, view in enumerate(model.views):
        seen = np.unique(view.point_id)
        for landmark in np.unique(label[seen]):
            of_landmark[landmark].append((index, seen[label[seen] == landmark]))
    points = np.bincount(label)
    for landmark in range(1, len(of_landmark)):
        views = sorted(of_landmark[landmark], key=lambda entry: -len(entry[1]))
        _prune_one(model, views, int(points[landmark]), options, keep)
    return keep


def _prune_one(
    model: SceneModel,
    views: list[tuple[int, NDArray[np.int32]]],
    points: int,
    options: PruningOptions,
    keep: NDArray[np.bool_],
) -> None:
    """One landmark of `points` points; sets `keep` where a point stays."""
    considered = np.zeros(len(model.xyz), bool)
    frames: list[_Frame] = []
    for index, seen in views:
        fresh = seen[~considered[seen]]
        considered[seen] = True
        for frame in frames:
            fresh = fresh[~frame.near_kept(model.xyz[fresh])]
        keep[fresh] = True
        frames.append(_Frame(model.views[index], model.xyz[seen[keep[seen]]], options.radius_px))
        if considered.sum() > options.cover * points:
            break


class _Frame:
    """A photo and where the kept points that it sees lie in it."""

    def __init__(self, view: View, xyz: NDArray[np.float64], radius_px: float) -> None:
        self._view = view
        self._radius_px = radius_px * max(view.camera.width, view.camera.height) / 640
        pixels = self._project(xyz)
        self._kept = KDTree(pixels) if len(pixels) else None

    def near_kept(self, xyz: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,): whether points (N,3) fall near a kept one."""
        pixels = self._project(xyz)
        if self._kept is None or len(pixels) == 0:
            return np.zeros(len(xyz), bool)
        visible = np.isfinite(pixels).all(axis=1)
        near = np.zeros(len(xyz), bool)
        if visible.any():
            distance, _ = self._kept.query(np.ascontiguousarray(pixels[visible]), k=1)
            near[visible] = distance <= self._radius_px
        return near

    def _project(self, xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        camera, pose = self._view.camera, self._view.cam_from_world
        return np.ascontiguousarray(camera.project(transform(pose, xyz)), np.float64)
