"""What a camera at a pose would get from the map: matches, covariance, status.

The covariance is the solver's (`pose/refine.py`) with points in the place of matches, each
counted by its chance, times the factor that the map's integrity puts on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from edge_reloc.arrays import F64, Bool
from edge_reloc.bundle.manifest import Integrity, Manifest
from edge_reloc.bundle.points import PointMap
from edge_reloc.geometry.camera import Camera
from edge_reloc.pose.integrity import CAREFUL
from edge_reloc.pose.point_noise import MEDIAN_SQUARE, noise_of, precision
from edge_reloc.pose.refine import IMAGE_PARTS, image_part, project
from edge_reloc.settings import Gate

from ..progress import Progress, silent
from .heading_grid import Grid
from .match_rate import MatchRate
from .seen_from import Observations, Seen

SURE = 1.64  # standard deviations: one frame in twenty has fewer matches
UNKNOWN = 1e9  # variance of a pose that its points do not determine


class Expected(Enum):
    """What localisation will do."""

    WORKS = "works"
    DOUBTFUL = "doubtful"
    NOT = "not"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Of one pose."""

    status: Expected
    matches: float  #: expected
    parts: float  #: of 4x4 of the image, that hold an expected match
    position: float  #: standard deviation in all, map units; inf where undetermined
    rotation_deg: float  #: likewise
    angle_deg: float  #: median, between the rays and those of the most similar photos


def refines(manifest: Manifest) -> bool:
    """Whether the map's own method has a second pass, whose errors are others."""
    return bool(manifest.methods.get(manifest.method, {}).get("second_pass", False))


class Predictor:
    """Asks a map about poses."""

    def __init__(
        self,
        observations: Observations,
        points: PointMap,
        rate: MatchRate,
        integrity: Integrity | None,
        gate: Gate,
        *,
        refines: bool = True,
    ) -> None:
        """refines: whether frames are matched a second time, see `refines`."""
        self.observations, self._points, self._rate = observations, points, rate
        self.refines = refines
        self.scale = CAREFUL
        if integrity is not None:
            self.scale = integrity.refined if refines else integrity.first
        self._gate = gate

    def predict(
        self, camera: Camera, cam_from_world: F64, without: Bool | None = None
    ) -> Prediction:
        """What a camera there would get. without (V,): photos that are taken for not mapped."""
        seen = self.observations.seen(camera, cam_from_world, without)
        rate = self._rate.of(seen)
        matches = float(rate.sum())
        part = image_part(camera, seen.xy_px)
        in_part = np.bincount(part, rate, IMAGE_PARTS**2)
        parts = float((1.0 - np.exp(-in_part)).sum())
        angle = _weighted_median(seen.angle_rad, rate)
        covariance = self._covariance(camera, cam_from_world, seen, rate)
        covariance = covariance * self._rate.inflation * self.scale.variance(angle)
        rotation, position = np.sqrt([np.trace(covariance[:3, :3]), np.trace(covariance[3:, 3:])])
        rotation_deg = float(np.degrees(rotation))
        return Prediction(
            status=self._status(matches, parts, rotation_deg),
            matches=matches,
            parts=parts,
            position=float(position) if position < UNKNOWN else float("inf"),
            rotation_deg=rotation_deg if rotation < UNKNOWN else float("inf"),
            angle_deg=float(np.degrees(angle)),
        )

    def _status(self, matches: float, parts: float, rotation_deg: float) -> Expected:
        """By what the gate asks of every pose."""
        gate, by_luck = self._gate, np.exp(SURE * self._rate.scatter)
        if matches * by_luck < gate.min_inliers or parts < 0.5 * gate.min_spread:
            return Expected.NOT
        enough = matches / by_luck >= gate.min_inliers and parts >= gate.min_spread
        exact = rotation_deg <= gate.max_rotation_std_deg
        return Expected.WORKS if enough and exact else Expected.DOUBTFUL

    def _covariance(self, camera: Camera, cam_from_world: F64, seen: Seen, rate: F64) -> F64:
        """(6,6) of [rotation rad, translation] by the information of the points."""
        m = len(seen.ids)
        rows = np.empty((6, 2, m))
        project(camera, seen.xyz_cam.T, rows)
        pixel = self._rate.keypoint_px * max(camera.width, camera.height) / self._mapping_side
        noise = noise_of(self._points, seen.ids.astype(np.int32))
        weight, less = np.ones(m), None
        if noise is not None and m:
            squared = np.full(m, pixel**2 * MEDIAN_SQUARE)
            known = precision(noise, cam_from_world[:3, :3], rows[3:6], squared)
            weight, less = known.weight, known.less
        pull = rate * weight
        information = (rows * pull).reshape(6, -1) @ rows.reshape(6, -1).T
        if less is not None:
            along = known.along(rows)
            information -= (along * (pull * less)) @ along.T
        information /= pixel**2
        if m < 6 or np.linalg.cond(information) > 1e14:
            return np.eye(6) * UNKNOWN**2
        return np.asarray(np.linalg.inv(information))

    @property
    def _mapping_side(self) -> int:
        camera = self.observations.views[0].camera
        return max(camera.width, camera.height)


def forecast(
    predictor: Predictor, camera: Camera, grid: Grid, progress: Progress = silent
) -> list[list[Prediction]]:
    """Of every heading (H) of every place (G)."""
    found = []
    for place, pitch in zip(grid.place, grid.pitch_rad, strict=True):
        poses = [grid.level.cam_from_world(place, h, float(pitch)) for h in grid.heading_rad]
        found.append([predictor.predict(camera, pose) for pose in poses])
        progress(len(found), len(grid.place))
    return found


def _weighted_median(values: F64, weight: F64) -> float:
    if not len(values):
        return np.pi
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])
