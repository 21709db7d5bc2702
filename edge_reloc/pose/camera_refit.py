"""What the matches of one frame say of its camera.

Pose and four numbers of the camera are fitted at once: a factor on both focal lengths, the
principal point, and one radial stretch. A frame may say nothing: of a flat wall seen from the
front, focal length and distance trade.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import F64
from ..geometry.camera import Camera
from ..geometry.rigid import compose, so3_exp
from .refine import MIN_DEPTH, MIN_SIGMA_PX, cluster_inflation, project

# The four numbers, 0 where the file is right: logarithm of the factor on the focal lengths,
# principal point (two) in focal lengths, radial stretch at 45 degrees.
PRIOR = np.diag(1.0 / np.square([1.0, 0.1, 0.1, 0.1]))  # what cameras may be at all
#: what the number of a right file may differ by where the map is slightly wrong
TOLERANCE = np.array([0.004, 0.01, 0.01, np.inf])
FEWEST = 30  # matches that tell something
NARROW = 0.4  # scale of the Cauchy weights in median errors: finds what fits the right camera
WIDE = 1.5  # the same, to say how sure that is
# A step each, in errors of inliers: matches that a pose of the file's camera has not chosen lie
# where another camera expects them, which may be far away.
NARROWING = (10.0, 6.0, 4.0, 2.4, 1.6, *(1.0,) * 6)


class Belief(NamedTuple):
    """The four numbers and their covariance (4,4)."""

    numbers: F64
    covariance: F64

    @property
    def sigma(self) -> F64:
        """Standard deviations (4,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def doubts(self, tolerance: F64 = TOLERANCE) -> F64:
        """How far the numbers lie from a right file's, in standard deviations (4,)."""
        return np.asarray(np.abs(self.numbers) / np.hypot(self.sigma, tolerance))


class Refit(NamedTuple):
    """What matches say of the four numbers: information (4,4), information @ estimate (4,)."""

    information: F64
    weighted: F64

    def belief(self, inflation: float = 1.0) -> Belief:
        """Inflation: of the variances."""
        covariance = np.asarray(np.linalg.inv(self.information / inflation + PRIOR), np.float64)
        return Belief(covariance @ self.weighted / inflation, covariance)

    def shown_in_part(self, share: float) -> Refit:
        """The same where that share of what a camera is off by shows: more, and less sure."""
        return Refit(share**2 * self.information, share * self.weighted)


class _System(NamedTuple):
    """Normal equations (10,10), (10,) of pose and numbers, and the weights (M,) behind them."""

    normal: F64
    gradient: F64
    weight: F64
    variance: float


def refit(
    camera: Camera, cam_from_world: F64, xy_px: F64, xyz_world: F64, inlier_px: float
) -> Refit | None:
    """What matches xy_px (M,2), xyz_world (M,3) say of the camera; None when degenerate.

    cam_from_world (4,4): the pose that the file's camera suits. inlier_px: error up to which a
    match agrees. How much is known of the numbers is said at the file, as in a score test (Rao,
    1948): of a flat wall noise alone leads to numbers at which they look certain.
    """
    world, observed = np.ascontiguousarray(xyz_world.T), np.ascontiguousarray(xy_px.T)
    try:
        found = _fit(camera, cam_from_world, world, observed, inlier_px)
        if found is None:
            return None
        numbers, at, rows, near = found
        world, observed = world[:, near], observed[:, near]
        noise = 2 * at.variance * float(at.weight @ at.weight)
        inflation = cluster_inflation(camera, observed, rows[10] * at.weight, noise)
        xyz = _in_camera(cam_from_world, world)
        if (xyz[2] < MIN_DEPTH).any():
            return None
        _linearise(camera, xyz, np.zeros(4), observed, rows)
        weighed = (rows[:10] * at.weight).reshape(10, -1)
        normal = weighed @ rows[:10].reshape(10, -1).T
        by_pose = np.linalg.solve(normal[:6, :6], normal[:6, 6:])
    except np.linalg.LinAlgError:
        return None
    information = (normal[6:, 6:] - normal[6:, :6] @ by_pose) / (at.variance * inflation)
    return Refit(information, information @ numbers)


def _fit(
    camera: Camera, pose: F64, world: F64, observed: F64, inlier_px: float
) -> tuple[F64, _System, F64, NDArray[np.intp]] | None:
    """Pose and numbers fitted to world (3,M), observed (2,M): Gauss-Newton from the file's.

    On matches that agree with the fit at hand, wide then close: those that agree with the file
    are not all that there are. The weights are narrow, since only matches that are right agree
    exactly, once the camera is mended. Returns the numbers (4,), wide weights where it ends,
    its rows (11,2,N) and which matches they are of (N,); None where too few agree.
    """
    numbers: F64 = np.zeros(4)
    for number, wide in enumerate(NARROWING):
        rows, near = _agreeing(camera, pose, numbers, world, observed, wide * inlier_px)
        if len(near) < FEWEST:
            return None
        at = _weigh(rows, NARROW)
        prior = at.variance * PRIOR
        at.normal[6:, 6:] += prior
        at.gradient[6:] += prior @ numbers
        step = -np.linalg.solve(at.normal, at.gradient)
        if not np.isfinite(step).all():
            return None
        last = number == len(NARROWING) - 1
        if last or (wide == 1.0 and -at.gradient @ step < at.variance):
            break  # within its own uncertainty
        pose = compose(so3_exp(step[:3]), step[3:6]) @ pose
        numbers = numbers + step[6:]
    at = _weigh(rows, WIDE)
    return numbers - np.linalg.solve(at.normal, at.gradient)[6:], at, rows, near


def _agreeing(
    camera: Camera, pose: F64, numbers: F64, world: F64, observed: F64, within_px: float
) -> tuple[F64, NDArray[np.intp]]:
    """Jacobian and residual (11,2,N) of matches that are off by less, and which they are (N,)."""
    xyz = _in_camera(pose, world)
    ahead = np.flatnonzero(xyz[2] >= MIN_DEPTH)
    rows = np.empty((11, 2, len(ahead)))
    _linearise(camera, xyz.take(ahead, axis=1), numbers, observed.take(ahead, axis=1), rows)
    off = rows[10]
    near = np.flatnonzero(off[0] * off[0] + off[1] * off[1] < within_px * within_px)
    return rows.take(near, axis=2), ahead[near]


def _in_camera(pose: F64, world: F64) -> F64:
    return np.asarray(pose[:3, :3] @ world + pose[:3, 3:])


def _linearise(camera: Camera, xyz: F64, numbers: F64, observed: F64, rows: F64) -> None:
    """Fill rows (11,2,M) with Jacobian and residual of points xyz (3,M) ahead of the camera."""
    focal = np.array([[camera.fx], [camera.fy]])
    centre = np.array([[camera.cx], [camera.cy]])
    away = project(camera, xyz, rows[:6]) - centre
    plane = away / focal
    radius2 = plane[0] * plane[0] + plane[1] * plane[1]
    factor = np.exp(numbers[0])
    stretch = factor * (1.0 + numbers[3] * radius2)
    rows[:6] *= stretch
    rows[6] = away * stretch
    rows[7:9] = 0.0
    rows[7, 0], rows[8, 1] = camera.fx, camera.fy
    rows[9] = factor * away * radius2
    rows[10] = rows[6] + centre + focal * numbers[1:3, None] - observed


def _weigh(rows: F64, narrowness: float) -> _System:
    """Cauchy weights of a scale in median errors, and what they make of the rows."""
    residual = rows[10]
    squared = residual[0] * residual[0] + residual[1] * residual[1]
    middle = len(squared) // 2
    median = float(np.partition(squared, middle)[middle])
    scale2 = max(narrowness**2 * median, MIN_SIGMA_PX**2)
    weight = 1.0 / (1.0 + squared / scale2)
    system = (rows[:10] * weight).reshape(10, -1) @ rows.reshape(11, -1).T
    freedom = max(2.0 * float(weight.sum()) - 10.0, 1.0)
    variance = max(float(weight @ squared) / freedom, MIN_SIGMA_PX**2)
    return _System(system[:, :10], system[:, 10], weight, variance)


def pose_by_number(camera: Camera, pose: F64, xy_px: F64, xyz_world: F64) -> F64 | None:
    """How a pose that fits its inliers moves with the numbers of its camera (6,4)."""
    xyz = _in_camera(pose, np.ascontiguousarray(xyz_world.T))
    if (xyz[2] < MIN_DEPTH).any():
        return None
    rows = np.empty((11, 2, len(xy_px)))
    _linearise(camera, xyz, np.zeros(4), np.ascontiguousarray(xy_px.T), rows)
    normal = _weigh(rows, WIDE).normal
    try:
        return np.asarray(-np.linalg.solve(normal[:6, :6], normal[:6, 6:]))
    except np.linalg.LinAlgError:
        return None
