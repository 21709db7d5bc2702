"""Frames of a run as sinks for viewers get them: facts, estimates with known poses, looks."""

from __future__ import annotations

from math import sin

import numpy as np

from edge_reloc.bundle.manifest import World
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.reasons import Reason
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.look import Look
from edge_reloc.structs import PoseEstimate, State, Status

PERIOD_NS = 100_000_000
LOST = 5  # index of a frame without a pose
FRONT = MOUNTS["front"].copy()
FRONT[:3, 3] = [0.2, 0.0, 0.1]
CAMERA = Camera(
    model="opencv", width=64, height=48, fx=60.1, fy=60.2, cx=31.5, cy=23.5, distortion=(0.1,)
).mounted(FRONT)
XYZ = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
ORIGIN = {"latitude_deg": 47.0, "longitude_deg": 8.0, "altitude_m": 400.0}
FACTS = RunFacts(
    map_name="yard",
    world=World(metric=True, gravity=(0.0, 0.0, -1.0), georeference=ORIGIN),
    camera=CAMERA,
    xyz=XYZ,
    source="here",
)
#: standard deviations of the pose: the camera's right, down and ahead, metres
SIGMA_M = (0.1, 0.2, 0.3)


def estimate(index: int) -> PoseEstimate:
    """A pose of its own for each frame, none for frame LOST."""
    t_ns, found = index * PERIOD_NS, index != LOST
    if not found:
        return PoseEstimate(
            t_ns=t_ns,
            status=Status.NO_MATCHES,
            reason="3 matches",
            state=State.LOST,
            state_reason=Reason.DARK,
            index=index,
        )
    return PoseEstimate(
        t_ns=t_ns,
        received_ns=t_ns + 5_000_000,
        age_ms=12.5,
        status=Status.OK,
        state=State.TRACKING,
        cam_from_world=compose(so3_exp([0.1 * index, 2.0, -0.3]), [sin(index), -2.0, 0.1 * index]),
        covariance=np.diag([1e-6] * 3 + [s * s for s in SIGMA_M]),
        keypoints=40,
        inliers=7,
        p_right=0.98,
        stages_ms={"extract": 3.5},
        index=index,
    )


def look(index: int) -> Look:
    """An image with a bright square, and features in it."""
    image = np.full((48, 64), 30, np.uint8)
    image[10:30, 20:40] = 220
    xy_px = np.array([[20.0, 10.0], [39.5, 29.25], [3.0, 4.0]], np.float32)
    return Look(
        estimate=estimate(index),
        image=image,
        xy_px=xy_px,
        inlier_xy_px=xy_px[:2],
        inlier_xyz=XYZ[:2],
    )
