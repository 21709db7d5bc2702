"""What every regressor and every registration strategy promises."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc.geometry.camera import Camera
from edge_reloc.matching.regressed import SceneCoordinates
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.landmark_wise import LandmarkWise
from edge_reloc.pose.registration import OnePass, Regression
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.settings import Gate
from edge_reloc.stages import Registration
from edge_reloc.structs import Candidates, Correspondences, Features, PoseEstimate, Status, Work

CAMERA = Camera(model="pinhole", width=640, height=480, fx=500, fy=500, cx=319.5, cy=239.5)
KEYPOINTS, CAPACITY = 12, 8


class NoMatches:
    """A matcher that finds nothing."""

    def match(self, features: Features, candidates: Candidates, out: Correspondences) -> None:
        out.n = 0


class NoRefiner:
    """Never asked: there is no pose to refine."""

    def refine(self, *asked: object) -> tuple[PoseEstimate, Correspondences]:
        raise AssertionError("refined without a pose")

    around = refine


def registrations() -> dict[str, Registration]:
    solver = PoseSolver(threshold_px=8.0, gate=Gate(), seed=0)
    sizes = {"capacity": CAPACITY, "keypoints": KEYPOINTS, "threshold_px": 8.0, "seed": 0}
    return {
        "one pass": OnePass(NoMatches(), solver, NoRefiner()),
        "regression": Regression(SceneCoordinates(), solver, 0.5),
        "landmark wise": LandmarkWise(NoMatches(), NoRefiner(), Arena(), Gate(), **sizes),
    }


def work() -> Work:
    arena = Arena()
    features = Features(arena, KEYPOINTS, 0, 0, regressed=True)
    return Work(features, Candidates(arena, CAPACITY, KEYPOINTS), Correspondences(arena, CAPACITY))


@pytest.mark.parametrize("name", registrations())
def test_nothing_to_register_is_no_pose_and_a_reason(name: str) -> None:
    buffers = work()
    estimate = registrations()[name].register(CAMERA, buffers)
    assert estimate.status is Status.NO_MATCHES and estimate.reason
    assert estimate.cam_from_world is None and estimate.covariance is None
    assert buffers.matches.n == 0


def test_a_regressor_reads_valid_rows_and_keeps_to_the_capacity() -> None:
    buffers = work()
    features = buffers.features
    features.xyz_world[:] = np.arange(3 * KEYPOINTS).reshape(-1, 3)
    for n, expected in ((0, 0), (5, 5), (KEYPOINTS, CAPACITY)):
        features.n = n
        SceneCoordinates().regress(features, buffers.matches)
        assert buffers.matches.n == expected
        assert (buffers.matches.point_id[:expected] == -1).all()
        np.testing.assert_array_equal(buffers.matches.keypoint[:expected], np.arange(expected))
    np.testing.assert_array_equal(buffers.matches.xyz_world, features.xyz_world[:CAPACITY])
