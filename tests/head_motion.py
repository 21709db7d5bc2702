"""A head that walks about a room: its truth, a headset that drifts, and a relocaliser's poses."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sin

import numpy as np

from edge_reloc.geometry.frames import Placed
from edge_reloc.geometry.rigid import compose, invert, so3_exp

SIGMA_M, SIGMA_RAD = 0.01, np.radians(0.2)  # of a pose of the relocaliser, an axis
SHARED, SHARED_S = 0.8, 1.0  # of its variance, that errs alike for so long
DRIFT_M, DRIFT_RAD = 0.01, np.radians(0.1)  # of local tracking, per root of a second
COVARIANCE = np.diag([SIGMA_M**2] * 3 + [SIGMA_RAD**2] * 3)


def map_from_head(t_s: float) -> np.ndarray:
    """(4,4), OpenXR's axes: walks an eight at 0.5 to 1 m/s, looks about at up to 70 deg/s."""
    w = 0.35
    xyz = [2.5 * sin(w * t_s), 1.65 + 0.03 * sin(11 * t_s), 1.5 * sin(2 * w * t_s)]
    yaw, pitch = 1.2 * sin(0.9 * t_s) + 0.5 * sin(0.2 * t_s), 0.25 * sin(1.3 * t_s)
    return compose(so3_exp([0, yaw, 0]) @ so3_exp([pitch, 0, 0]), xyz)


@dataclass
class Headset:
    """`local_from_head` of the truth and a drift that grows step by step."""

    random: np.random.Generator
    map_from_local: np.ndarray = field(
        default_factory=lambda: compose(so3_exp([0, 2.0, 0]), [1.0, 0.0, -3.0])
    )
    t_s: float = 0.0

    def local_from_head(self, t_s: float) -> np.ndarray:
        """At a time that is no earlier than that before."""
        root = np.sqrt(max(0.0, t_s - self.t_s))
        turn = so3_exp(self.random.normal(size=3) * DRIFT_RAD * root)
        head = map_from_head(t_s)[:3, 3]
        move = head - turn @ head + self.random.normal(size=3) * DRIFT_M * root
        self.map_from_local = compose(turn, move) @ self.map_from_local
        self.t_s = t_s
        return invert(self.map_from_local) @ map_from_head(t_s)


@dataclass
class Relocaliser:
    """Poses with a covariance that is true, whose errors are alike for a while."""

    random: np.random.Generator
    alike: np.ndarray | None = None
    t_s: float = 0.0

    def __call__(self, t_s: float) -> Placed:
        sigmas = np.sqrt(np.diag(COVARIANCE))
        if self.alike is None:
            self.alike = self.random.normal(size=6)
        keep = np.exp(-(t_s - self.t_s) / SHARED_S)
        self.t_s = t_s
        self.alike = keep * self.alike + np.sqrt(1 - keep**2) * self.random.normal(size=6)
        own = self.random.normal(size=6)
        error = sigmas * (np.sqrt(SHARED) * self.alike + np.sqrt(1 - SHARED) * own)
        truth = map_from_head(t_s)
        said = compose(so3_exp(-error[3:]) @ truth[:3, :3], truth[:3, 3] - error[:3])
        return Placed(world_from_body=said, covariance=COVARIANCE)
