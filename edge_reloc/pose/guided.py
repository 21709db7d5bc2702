"""The pose-guided second pass: look again where the first pose says to look.

Every map point that the first pose should see is projected, compared with the
keypoints around its place only, and the pose is refined on all agreements. The
comparisons reach a little further than they are asked to, so that the looks that
follow, from a pose that moved by a few pixels, need only project again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import F32, F64
from ..bundle.points import PointMap
from ..geometry.camera import Camera
from ..geometry.rigid import camera_centre
from ..structs import Correspondences, Features
from .cells_in_view import CellsInView

JUDGED_PARTS = 8  # the image is judged in 8x8 parts
SEARCH_PARTS = 6  # and searched in 6x6: fewer are larger products, more are more of them
BLOCK = 1024  # map points of a part that are compared at once
ENOUGH = 15  # points and keypoints that a part needs before silence there counts
REACH_BEYOND = 0.6  # how much further than asked is compared, as a share of the radius


class _Pairs(NamedTuple):
    """Q pairs, best first: rows of the points looked at and of the keypoints, cosine."""

    point: NDArray[np.intp]
    keypoint: NDArray[np.intp]
    similarity: F32


class _Seen(NamedTuple):
    """What was compared: V points that have pairs, where they were projected, Q pairs.

    xy (2,V), keypoint_xy (2,Q). reach_px: every similar pair within this distance is there.
    """

    camera: Camera
    ids: NDArray[np.int32]
    xyz: F32
    xy: F32
    pairs: _Pairs
    keypoint_xy: F32
    reach_px: float


class GuidedMatcher:
    """Matches map points to keypoints near their projection.

    min_similarity: lower than the first pass may ask, since the place of the
    match already speaks for it.
    """

    def __init__(self, points: PointMap, *, min_similarity: float) -> None:
        self._points = points
        self._cells = CellsInView(points)
        self._min_similarity = min_similarity
        self._expected = np.zeros(JUDGED_PARTS * JUDGED_PARTS, np.intp)
        self._seen: _Seen | None = None

    def forget(self) -> None:
        """A new frame begins."""
        self._seen = None

    def match(
        self,
        camera: Camera,
        cam_from_world: F64,
        features: Features,
        radius_px: float,
        out: Correspondences,
        *,
        keypoints: int | None = None,
        once: bool = False,
    ) -> None:
        """Fill the correspondences with one keypoint a point and back; set n.

        radius_px: how far from its projection a point may be found. keypoints: the best ones
        to compare with, None for all. once: no other look will follow. Call `forget` when the
        features are of another frame.
        """
        out.n = 0
        seen = self._seen
        xy = None if seen is None else self._moved_little(seen, camera, cam_from_world, radius_px)
        if seen is None or xy is None:
            few = features.n if keypoints is None else min(keypoints, features.n)
            reach = radius_px if once else (1.0 + REACH_BEYOND) * radius_px
            seen = self._seen = self._compare(camera, cam_from_world, features, reach, few)
            xy = seen.xy
        pairs = seen.pairs
        good = np.flatnonzero(_length2(xy[:, pairs.point] - seen.keypoint_xy) <= radius_px**2)
        good = good[_first_of_each(pairs.point[good], len(seen.ids))]
        good = good[_first_of_each(pairs.keypoint[good], features.n)][: out.capacity]
        m = out.n = len(good)
        out.keypoint[:m] = pairs.keypoint[good]
        out.point_id[:m] = seen.ids[pairs.point[good]]
        out.weight[:m] = pairs.similarity[good]
        out.xy_px[:m] = features.xy_px[out.keypoint[:m]]
        out.xyz_world[:m] = seen.xyz[pairs.point[good]]

    def _compare(
        self,
        camera: Camera,
        cam_from_world: F64,
        features: Features,
        reach: float,
        keypoints: int,
    ) -> _Seen:
        """Every similar pair within reach."""
        ids, xy = self._project(camera, cam_from_world)
        self._expected = _count_by_part(camera, xy.T)
        if keypoints and len(ids):
            pairs = self._similar(camera, ids, xy, features, reach, keypoints)
        else:
            nothing = np.zeros(0, np.intp)
            pairs = _Pairs(nothing, nothing, np.zeros(0, np.float32))
        best_first = np.argsort(-pairs.similarity)
        row = np.zeros(len(ids), np.intp)
        row[pairs.point] = 1
        used = np.flatnonzero(row)
        row[used] = np.arange(len(used))
        keypoint = pairs.keypoint[best_first]
        return _Seen(
            camera,
            ids[used],
            np.asarray(self._points.xyz)[ids[used]],
            xy[:, used],
            _Pairs(row[pairs.point[best_first]], keypoint, pairs.similarity[best_first]),
            np.ascontiguousarray(features.xy_px[keypoint].T),
            reach,
        )

    def _moved_little(
        self, seen: _Seen, camera: Camera, cam_from_world: F64, radius_px: float
    ) -> F32 | None:
        """Where the compared points lie now; None when they moved too far for that."""
        slack = seen.reach_px - radius_px
        if camera is not seen.camera or slack < 0 or len(seen.ids) == 0:
            return None
        xyz = _in_camera(seen.xyz, cam_from_world)
        if (xyz[2] <= 0).any():
            return None
        xy = np.asarray(camera.pixels_from_rays((xyz[:2] / xyz[2]).T).T, np.float32)
        return None if _length2(xy - seen.xy).max() > slack * slack else xy

    def coverage(self, camera: Camera, features: Features, inlier_px: F64) -> float:
        """Share of the image that agrees with the last pose looked from, 0..1.

        Of the parts of the image where that pose expects map points and the
        image has keypoints, how many have inliers (M,2)? A pose that fits one
        object and nothing around it scores low, however many inliers it has.
        """
        keypoints = _count_by_part(camera, features.xy_px[: features.n])
        judged = (self._expected >= ENOUGH) & (keypoints >= ENOUGH)
        if not judged.any():
            return 1.0
        return float((_count_by_part(camera, inlier_px)[judged] >= 2).mean())

    def _project(self, camera: Camera, cam_from_world: F64) -> tuple[NDArray[np.int32], F32]:
        """Ids (V,) and pixels (2,V) of the points that fall into the image.

        In float32, from the camera's place: good to a thousandth of a pixel.
        """
        ids = self._points.points_of_cells(self._cells.find(camera, cam_from_world))
        xyz = _in_camera(np.asarray(self._points.xyz)[ids], cam_from_world)
        ahead = np.flatnonzero(xyz[2] > 0)
        x, y = xyz[:2, ahead] / xyz[2, ahead]
        # Beyond its field of view a lens model may fold back into the image.
        seen = np.flatnonzero(x * x + y * y <= camera.reach**2)
        u, v = camera.pixels_from_rays(np.stack([x[seen], y[seen]]).T).T
        inside = np.flatnonzero((u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height))
        xy = np.stack([u[inside], v[inside]])
        return ids[ahead[seen[inside]]], np.asarray(xy, np.float32)

    def _similar(
        self,
        camera: Camera,
        ids: NDArray[np.int32],
        xy: F32,
        features: Features,
        radius_px: float,
        keypoints: int,
    ) -> _Pairs:
        """All pairs that are similar and within the radius; xy (2,V).

        One matrix product a part of the image: cheaper than looking up the
        neighbours of every point and comparing those alone.
        """
        part = _part(camera, xy.T, SEARCH_PARTS)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(SEARCH_PARTS**2 + 1)).tolist()
        width, height = camera.width / SEARCH_PARTS, camera.height / SEARCH_PARTS
        ids, (our_x, our_y) = ids[order], xy[:, order]
        their_x, their_y = np.ascontiguousarray(features.xy_px[:keypoints].T)
        descriptor = np.asarray(self._points.descriptor)  # slices of a memmap are slow to make
        room = np.empty((BLOCK, self._points.dim), np.float32)
        found = []
        for column in range(SEARCH_PARTS):
            nearby = _between(their_x, column * width - radius_px, width + 2 * radius_px)
            nearby_y = their_y[nearby]
            for row in range(SEARCH_PARTS):
                near = nearby[_between(nearby_y, row * height - radius_px, height + 2 * radius_px)]
                theirs = features.descriptor[near].T
                part_of = column * SEARCH_PARTS + row
                for start in range(bounds[part_of], bounds[part_of + 1], BLOCK):
                    end = min(start + BLOCK, bounds[part_of + 1])
                    ours = self._points.decode(descriptor[ids[start:end]], room[: end - start])
                    similarity = ours @ theirs
                    similar = np.flatnonzero(similarity >= self._min_similarity)
                    point, keypoint = np.divmod(similar, max(len(near), 1))
                    point, keypoint = point + start, near[keypoint]
                    away_x = our_x[point] - their_x[keypoint]
                    away_y = our_y[point] - their_y[keypoint]
                    close = np.flatnonzero(away_x * away_x + away_y * away_y <= radius_px**2)
                    cosine = similarity.ravel()[similar[close]]
                    found.append(_Pairs(order[point[close]], keypoint[close], cosine))
        return _Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _in_camera(xyz_world: F32, cam_from_world: F64) -> F32:
    """Camera coordinates (3,N) of points (N,3), float32, from the camera's place."""
    centre = camera_centre(cam_from_world).astype(np.float32)
    rotation = cam_from_world[:3, :3].astype(np.float32)
    return np.asarray(rotation @ (xyz_world - centre).T)


def _first_of_each(group: NDArray[np.intp], groups: int) -> NDArray[np.bool_]:
    """Whether a row (N,) is the first of its group, 0 to groups - 1."""
    rows = np.arange(len(group))
    first = np.empty(groups, np.intp)
    first[group[::-1]] = rows[::-1]  # of several writes to a place the last stays
    return np.asarray(first[group] == rows)


def _length2(xy: F32) -> F32:
    """Squared length (N,) of vectors (2,N)."""
    return np.asarray(xy[0] * xy[0] + xy[1] * xy[1])


def _between(values: F32, low: float, width: float) -> NDArray[np.intp]:
    """Rows with low <= value <= low + width."""
    return np.flatnonzero((values >= low) & (values <= low + width))


def _part(camera: Camera, xy_px: NDArray[np.floating[Any]], parts: int) -> NDArray[np.uint8]:
    """Part of the image (N,) of parts x parts, column by column, in which pixels (N,2) lie."""
    column = np.clip(xy_px[:, 0] * (parts / camera.width), 0, parts - 1).astype(np.uint8)
    row = np.clip(xy_px[:, 1] * (parts / camera.height), 0, parts - 1).astype(np.uint8)
    return np.asarray(column * np.uint8(parts) + row)


def _count_by_part(camera: Camera, xy_px: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """(64,) how many pixels (N,2) fall into each part of the image."""
    return np.bincount(_part(camera, xy_px, JUDGED_PARTS), minlength=JUDGED_PARTS * JUDGED_PARTS)
