"""How a camera would see map points, compared with how mapping photos saw them.

P points, V photos, O observations, M points in view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F64, I64, Bool
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import camera_centre, transform

from ..scene.model import View

# A radian beside the viewing direction counts as much as a factor of e^2 in distance.
DISTANCE_COUNTS = 0.5
RIGHT_ANGLE = 0.5 * np.pi
CELLS = (24, 18)  # of the image, in which near points hide far ones
SAME_DEPTH, BEHIND = 1.2, 1.5  # times the nearest depth of a cell


@dataclass(frozen=True, kw_only=True)
class Seen:
    """M points in a camera's image."""

    ids: I64  #: (M,)
    xy_px: F64  #: (M,2)
    xyz_cam: F64  #: (M,3)
    angle_rad: F64  #: (M,): from the ray of the photo that saw a point most alike
    log_distance: F64  #: (M,): of the camera's distance over that photo's
    photos: F64  #: (M,): how many saw a point
    hidden: Bool  #: (M,): behind points that no photo saw together with it
    blocked: Bool  #: (M,): behind a surface that the camera looks at from its back

    @property
    def features(self) -> F64:
        """(M,7): what a match depends on."""
        farther = np.maximum(self.log_distance, 0.0)
        nearer = np.maximum(-self.log_distance, 0.0)
        angle = self.angle_rad
        columns = (angle, angle**2, farther, nearer, np.log(self.photos), self.hidden)
        return np.column_stack([np.ones(len(self.ids)), *columns])


class Observations:
    """Which photo saw which point, from where."""

    def __init__(self, views: Sequence[View], xyz: F64) -> None:
        self.xyz = np.asarray(xyz, np.float64)
        self.views = views
        pairs = [np.unique(view.point_id) for view in views]
        point = np.concatenate(pairs).astype(np.int64)
        photo = np.repeat(np.arange(len(views)), [len(ids) for ids in pairs])
        centre = np.array([camera_centre(view.cam_from_world) for view in views])
        order = np.argsort(point, kind="stable")
        self._point, self._photo = point[order], photo[order]
        ray = centre[self._photo] - self.xyz[self._point]
        self._distance = np.maximum(np.linalg.norm(ray, axis=1), 1e-9)
        self._ray = ray / self._distance[:, None]
        self._start = np.searchsorted(self._point, np.arange(len(self.xyz) + 1))
        self._saw = np.zeros((len(self.xyz), len(views)), bool)
        self._saw[point, photo] = True
        self._photos = np.bincount(point, minlength=len(self.xyz))

    def seen(self, camera: Camera, cam_from_world: F64, without: Bool | None = None) -> Seen:
        """What a camera would see. without (V,): photos that are taken for not mapped."""
        xyz_cam = transform(cam_from_world, self.xyz)
        xy = camera.project(xyz_cam)
        inside = ((xy >= 0) & (xy < [camera.width, camera.height])).all(axis=1)
        # Beyond its field of view a lens model may fold back into the image.
        inside &= np.hypot(xyz_cam[:, 0], xyz_cam[:, 1]) <= camera.reach * np.abs(xyz_cam[:, 2])
        ids = np.flatnonzero(inside)
        saw, photos = self._saw[ids], self._photos[ids]
        if without is not None:
            saw &= ~without
            photos = np.count_nonzero(saw, axis=1)
        ids, saw, photos = ids[photos > 0], saw[photos > 0], photos[photos > 0]
        angle, log_distance = self._most_alike(ids, camera_centre(cam_from_world), without)
        parts = _Parts(camera, xy[ids], xyz_cam[ids, 2])
        return Seen(
            ids=ids,
            xy_px=xy[ids],
            xyz_cam=xyz_cam[ids],
            angle_rad=angle,
            log_distance=log_distance,
            photos=photos.astype(np.float64),
            hidden=parts.hidden(saw),
            blocked=parts.blocked(angle),
        )

    def _most_alike(self, ids: I64, centre: F64, without: Bool | None) -> tuple[F64, F64]:
        """Angle (M,) and log distance ratio (M,) to the most similar observation of points."""
        counts = self._start[ids + 1] - self._start[ids]
        first = np.cumsum(counts) - counts
        row = np.arange(int(counts.sum())) + np.repeat(self._start[ids] - first, counts)
        ray = centre - self.xyz[ids]
        distance = np.maximum(np.linalg.norm(ray, axis=1), 1e-9)
        cosine = (np.repeat(ray / distance[:, None], counts, axis=0) * self._ray[row]).sum(axis=1)
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        ratio = np.log(np.repeat(distance, counts) / self._distance[row])
        unlike = angle + DISTANCE_COUNTS * np.abs(ratio)
        if without is not None:
            unlike[without[self._photo[row]]] = np.inf
        if not len(ids):
            return np.zeros(0), np.zeros(0)
        least = np.minimum.reduceat(unlike, first)
        is_least = np.flatnonzero(unlike == np.repeat(least, counts))
        group = np.repeat(np.arange(len(ids)), counts)[is_least]
        best = is_least[np.unique(group, return_index=True)[1]]
        return angle[best], ratio[best]


class _Parts:
    """Points of an image, by its parts: those in front, and those far behind them."""

    def __init__(self, camera: Camera, xy: F64, depth: F64) -> None:
        columns, rows = CELLS
        part = xy[:, 0] * columns // camera.width + columns * (xy[:, 1] * rows // camera.height)
        self._part = np.unique(part, return_inverse=True)[1].reshape(-1)
        self._parts = int(self._part.max(initial=-1)) + 1
        nearest = np.full(self._parts, np.inf)
        np.minimum.at(nearest, self._part, depth)
        self._front = depth <= SAME_DEPTH * nearest[self._part]
        self._back = depth > BEHIND * nearest[self._part]

    def hidden(self, saw: Bool) -> Bool:
        """(M,): behind, and no photo that saw something in front saw it, too. saw (M,V)."""
        saw_front = np.zeros((self._parts, saw.shape[1]), bool)
        np.logical_or.at(saw_front, self._part[self._front], saw[self._front])
        hidden = self._back.copy()
        back = np.flatnonzero(hidden)
        hidden[back] = ~(saw[back] & saw_front[self._part[back]]).any(axis=1)
        return hidden

    def blocked(self, angle_rad: F64) -> Bool:
        """(M,): behind, and most of what is in front was seen from its other side alone."""
        away = np.where(angle_rad >= RIGHT_ANGLE, 1, -1)
        from_back = np.bincount(self._part[self._front], away[self._front], self._parts) > 0
        return self._back & from_back[self._part]
