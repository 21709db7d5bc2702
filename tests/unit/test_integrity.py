"""What a pose claims: covariance, protection levels, from which side it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_reloc import inspect
from edge_reloc.bundle.manifest import CovarianceScale, Integrity, World
from edge_reloc.bundle.points import PointMap
from edge_reloc.evaluation.claims import AXES, Claim, claim_of, nees_by_axis, pit
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import NORMALISED_95, camera_centre, compose, invert, so3_exp
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.calibration_check import CameraError
from edge_reloc.pose.integrity import (
    AXIS_95,
    PLANE_95,
    WRONG_FILE,
    IntegrityMonitor,
    protection_levels,
)
from edge_reloc.pose.viewing import is_behind, viewing_angles
from edge_reloc.structs import Correspondences, PoseEstimate, Status
from edge_reloc_export.integrity.leave_out import neighbourhoods
from edge_reloc_export.integrity.measure import FEWEST_VIEWS, PoseErrors, fit_scale, measure
from edge_reloc_export.integrity.parts import worst
from edge_reloc_export.scene.model import SceneModel, View

CAMERA = Camera(model="pinhole", width=64, height=48, fx=60, fy=60, cx=31.5, cy=23.5)
DOWN = (0.0, 0.0, -1.0)
WORLD = World(metric=True, gravity=DOWN)
# At the origin, looking along the world's x; the camera's y is down.
LOOKING_ALONG_X = compose(np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], float), np.zeros(3))
SIGMA_M = np.array([0.03, 0.02, 0.01])  # along the camera's x, y, z: world's -y, -z, x
SIGMA_RAD = np.radians([0.1, 0.2, 0.3])


def _wall(direction: tuple[int, int, int]) -> PointMap:
    """Points on the plane x = 5, all seen from one direction."""
    rng = np.random.default_rng(0)
    xyz = np.column_stack([np.full(40, 5.0), rng.uniform(-2, 2, (40, 2))]).astype(np.float32)
    return PointMap(
        xyz=xyz,
        descriptor=np.zeros((40, 4), np.float16),
        cell_start=np.array([0, 40], np.int32),
        cell_centre=np.zeros((1, 3), np.float32),
        cell_radius=np.ones(1, np.float32),
        direction=np.tile(np.array(direction, np.int8), (40, 1)),
    )


def _estimate(**more: object) -> tuple[PoseEstimate, Correspondences]:
    matches = Correspondences(Arena(), 40)
    matches.n, matches.point_id[:] = 40, np.arange(40)
    values = {
        "t_ns": 0,
        "status": Status.OK,
        "cam_from_world": LOOKING_ALONG_X,
        "covariance": np.diag(np.concatenate([SIGMA_RAD, SIGMA_M]) ** 2),
        "inliers": 40,
        "inlier_index": np.arange(40, dtype=np.int32),
    }
    return PoseEstimate(**{**values, **more}), matches  # type: ignore[arg-type]


def _monitor(points: PointMap | None, **more: float) -> IntegrityMonitor:
    known = Integrity(
        photos=50,
        first=CovarianceScale(factor=4.0, tail=2.0),
        refined=CovarianceScale(factor=9.0, tail=2.0),
    )
    values = {"risk": 0.05, "alert_limit_m": None, **more}
    return IntegrityMonitor(points, WORLD, known, **values)  # type: ignore[arg-type]


def test_a_pose_that_an_imu_contradicts_is_refused() -> None:
    estimate, matches = _estimate()
    monitor = _monitor(None, max_tilt_deg=10.0)
    in_camera = LOOKING_ALONG_X[:3, :3] @ np.array(DOWN)
    for tilt_deg, refused in ((0.0, False), (9.0, False), (11.0, True), (180.0, True)):
        tilted = so3_exp(np.radians([0.0, 0.0, tilt_deg])) @ (9.81 * in_camera)
        answer = monitor.judge(estimate, matches, tilted)
        assert (answer.status is Status.IMPLAUSIBLE) is refused
        assert refused == (answer.cam_from_world is None)
    assert "down is, at most 10.0 are believed" in (answer.reason or "")
    assert monitor.judge(estimate, matches).cam_from_world is not None


def test_levels_are_in_the_world() -> None:
    covariance = np.diag(np.concatenate([SIGMA_RAD, SIGMA_M]) ** 2)
    levels = protection_levels(LOOKING_ALONG_X, covariance, np.array(DOWN), tail=3, risk=0.05)
    assert levels.hpl_m == pytest.approx(PLANE_95 * 0.03)  # the camera's x is level
    assert levels.vpl_m == pytest.approx(AXIS_95 * 0.02)
    assert levels.ypl_deg == pytest.approx(AXIS_95 * 0.2)
    rarer = protection_levels(LOOKING_ALONG_X, covariance, np.array(DOWN), tail=3, risk=5e-5)
    assert rarer.hpl_m == pytest.approx(10 * levels.hpl_m)


def test_angles_tell_the_side() -> None:
    points, ids = _wall((-127, 0, 0)), np.arange(40, dtype=np.int32)
    before = viewing_angles(points, ids, LOOKING_ALONG_X)
    behind = compose(np.eye(3), np.array([-10.0, 0, 0]))  # centre at x = 10
    assert before is not None and before.max() < np.pi / 4
    after = viewing_angles(points, ids, behind)
    assert after is not None and after.min() > 3 * np.pi / 4
    all_around = viewing_angles(_wall((5, 0, 0)), ids, behind)
    assert all_around is not None and (all_around == 0).all()


def test_a_wall_is_not_seen_from_behind() -> None:
    estimate, matches = _estimate()
    assert _monitor(_wall((-127, 0, 0))).judge(estimate, matches).status is Status.OK
    judged = _monitor(_wall((127, 0, 0))).judge(estimate, matches)
    assert judged.status is Status.IMPLAUSIBLE and judged.cam_from_world is None
    assert judged.reason is not None and "from behind" in judged.reason


def test_covariance_is_scaled_by_what_was_measured() -> None:
    estimate, matches = _estimate()
    claimed = estimate.covariance
    assert claimed is not None
    points = _wall((-127, 0, 0))
    first = _monitor(points).judge(estimate, matches)
    again, _ = _estimate(refined=True)
    refined = _monitor(points).judge(again, matches)
    assert first.covariance is not None and refined.covariance is not None
    np.testing.assert_allclose(first.covariance, 4 * claimed)
    np.testing.assert_allclose(refined.covariance, 9 * claimed)
    unknown = IntegrityMonitor(None, WORLD, None, risk=1e-3, alert_limit_m=None)
    careful = unknown.judge(estimate, matches).covariance
    assert careful is not None and (np.diag(careful) > 5 * np.diag(claimed)).all()


def test_beyond_the_alert_limit_a_pose_is_degraded() -> None:
    estimate, matches = _estimate()
    points = _wall((-127, 0, 0))
    estimate = _monitor(points).judge(estimate, matches)
    level = _monitor(points).protect(estimate, None).hpl_m
    assert level is not None
    kept = _monitor(points, alert_limit_m=1.01 * level).protect(estimate, None)
    assert kept.status is Status.OK
    judged = _monitor(points, alert_limit_m=0.99 * level).protect(estimate, None)
    assert judged.status is Status.DEGRADED and judged.cam_from_world is not None
    assert judged.reason is not None and "alert limit" in judged.reason


def test_levels_allow_for_a_wrong_camera_file() -> None:
    estimate, _ = _estimate()
    monitor = _monitor(None, risk=0.05 * WRONG_FILE)  # 0.05 is left where the file is wrong
    exact = monitor.protect(estimate, None)
    little = CameraError(np.zeros(6), np.zeros((6, 6)))
    assert monitor.protect(estimate, little).hpl_m == exact.hpl_m  # rare faults may be more
    # Displaced by 0.3 m along the view (level) and 0.4 m down, turned by 2 deg; and 1 m unsure.
    shift = np.array([0.0, np.radians(2.0), 0.0, 0.0, 0.4, 0.3])
    wrong = monitor.protect(estimate, CameraError(shift, np.diag([0.0, 0, 0, 0, 0, 1.0])))
    assert wrong.hpl_m == pytest.approx(0.3 + PLANE_95 * np.hypot(0.01, 1.0))
    assert wrong.vpl_m == pytest.approx(max(0.4 + AXIS_95 * 0.02, exact.vpl_m or 0.0))
    assert wrong.ypl_deg == pytest.approx(max(2.0 + AXIS_95 * 0.2, exact.ypl_deg or 0.0))
    np.testing.assert_array_equal(wrong.covariance, estimate.covariance)


def test_levels_add_what_a_vouched_camera_file_may_be_off_by() -> None:
    """Normal errors beside those of the pose, at the whole risk: they are no rare fault."""
    estimate, _ = _estimate()
    risk = 1e-3
    monitor = _monitor(None, risk=risk)
    exact = monitor.protect(estimate, None)
    assert exact.hpl_m is not None and exact.vpl_m is not None and exact.ypl_deg is not None
    shift = np.array([0.0, np.radians(0.5), 0.0, 0.0, 0.04, 0.03])
    turned, along, down = np.radians(0.4), 0.5, 0.2
    covariance = np.square(np.diag([0.0, turned, 0.0, 0.0, down, along]))
    found = monitor.protect(estimate, CameraError(shift, covariance, vouched=True))
    plane, axis = 3.717, 3.291  # of a thousandth beyond: in a plane, along an axis
    assert found.hpl_m == pytest.approx(0.03 + np.hypot(exact.hpl_m, plane * along), rel=1e-3)
    assert found.vpl_m == pytest.approx(0.04 + np.hypot(exact.vpl_m, axis * down), rel=1e-3)
    assert found.ypl_deg == pytest.approx(0.5 + np.hypot(exact.ypl_deg, axis * 0.4), rel=1e-3)
    np.testing.assert_array_equal(found.covariance, estimate.covariance)


def test_a_wall_is_rightly_seen_from_its_other_end() -> None:
    points, ids = _wall((-40, 120, 0)), np.arange(40, dtype=np.int32)
    for x, behind in ((3.0, False), (7.0, True)):  # before the plane x = 5, and beyond it
        pose = compose(np.eye(3), [-x, 12.0, 0.0])  # centre at y = -12; mapped from y > 0
        angles = viewing_angles(points, ids, pose)
        assert angles is not None and np.median(angles) > np.pi / 2
        assert is_behind(points, ids, pose, angles) is behind
    points.xyz[:, 0] += np.linspace(-3, 3, 40)  # a room has no side
    pose = compose(np.eye(3), [-3.0, 12.0, 0.0])
    angles = viewing_angles(points, ids, pose)
    assert angles is not None and is_behind(points, ids, pose, angles)


@pytest.mark.parametrize("scale", [1.5, 3.0])
def test_ninety_five_percent_of_new_errors_are_held(scale: float) -> None:
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 0.6, 400)
    true = scale**2 * np.exp(1.2 * np.maximum(angle - 0.3, 0))
    squared = true * (rng.standard_normal((400, 6)) ** 2).sum(axis=1)
    fitted = fit_scale(PoseErrors(squared[:200], angle[:200]))
    allowed = NORMALISED_95 * np.array([fitted.variance(a) for a in angle[200:]])
    assert 0.90 <= np.mean(squared[200:] <= allowed) <= 0.995
    assert fitted.tail >= 4  # normal errors end soon


def test_heavy_tails_are_seen() -> None:
    rng = np.random.default_rng(2)
    size = rng.pareto(2.0, 2000) + 1  # P(size > s) = s^-2
    fitted = fit_scale(PoseErrors(size**2, np.zeros(2000)))
    assert fitted.tail == pytest.approx(2.0, abs=0.35)


def test_of_several_maps_the_worst_counts() -> None:
    good, bad = CovarianceScale(factor=2.0, tail=4.0), CovarianceScale(factor=5.0, tail=3.0)
    one = Integrity(photos=20, first=good, refined=bad)
    other = Integrity(photos=30, first=bad, refined=good)
    both = worst([one, other])
    assert both is not None and both.photos == 50
    assert both.first == both.refined == CovarianceScale(factor=5.0, tail=3.0)
    assert worst([one, None]) is None


def test_claims_are_compared_in_the_world() -> None:
    estimate, _ = _estimate(hpl_m=0.05, vpl_m=0.05, ypl_deg=1.0)
    moved = compose(so3_exp([0, np.radians(0.5), 0]), np.zeros(3)) @ LOOKING_ALONG_X
    centre = invert(moved)
    centre[:3, 3] += [0.03, 0.04, 0.02]
    reference = invert(centre)
    claim = claim_of(estimate, reference, np.array(DOWN))
    assert claim is not None and claim.error is not None
    np.testing.assert_allclose(camera_centre(reference), [0.03, 0.04, 0.02], atol=1e-12)
    np.testing.assert_allclose(claim.error, [0.05, 0.02, 0.5], atol=1e-9)
    assert not claim.misleading
    low, _ = _estimate(hpl_m=0.049, vpl_m=0.05, ypl_deg=1.0)
    tight = claim_of(low, reference, np.array(DOWN))
    assert tight is not None and tight.misleading


def _claims(truth: np.ndarray, claimed: np.ndarray, tries: int) -> list[Claim]:
    """Of poses whose errors have one covariance (6,6) and are said to have another."""
    errors = np.random.default_rng(3).multivariate_normal(np.zeros(6), truth, tries)
    estimate, _ = _estimate(covariance=claimed)
    claims = []
    for error in errors:
        reference = compose(so3_exp(error[:3]), error[3:]) @ LOOKING_ALONG_X
        claim = claim_of(estimate, reference, None)
        assert claim is not None
        claims.append(claim)
    return claims


def test_each_axis_tells_whether_its_errors_are_as_claimed() -> None:
    truth = np.diag(np.concatenate([SIGMA_RAD, SIGMA_M]) ** 2)
    truth[0, 4] = truth[4, 0] = 0.9 * SIGMA_RAD[0] * SIGMA_M[1]
    claimed = truth.copy()
    claimed[5, 5] /= 16.0  # too sure of the position along the view
    claimed[2, 2] *= 16.0  # too modest of the turn around it
    claims = _claims(truth, claimed, 2000)
    nees = nees_by_axis(claims)
    assert nees is not None and tuple(nees) == AXES
    np.testing.assert_allclose(list(nees.values()), [1, 1, 1 / 16, 1, 1, 16], rtol=0.15)
    share = np.array([np.histogram(values, 10, (0, 1))[0] / 2000 for values in pit(claims).T])
    np.testing.assert_allclose(share[[0, 1, 3, 4]], 0.1, atol=0.03)
    assert share[5, [0, -1]].min() > 0.3 and share[2, [0, -1]].max() == 0
    assert nees_by_axis([]) is None


def test_the_demo_tells_its_levels(tmp_path: Path) -> None:
    import edge_reloc

    demo = Path(edge_reloc.__file__).parent / "demo"
    with edge_reloc.open(demo / "map", camera=demo / "camera.json") as localizer:
        estimate = localizer.localize(demo / "frames/frame_010.jpg").estimate
    assert estimate.hpl_m is not None and 0.001 < estimate.hpl_m < 1
    assert estimate.to_json()["hpl_m"] == estimate.hpl_m


def test_few_photos_say_nothing_of_errors(tmp_path: Path) -> None:
    view = View(
        name="a.jpg",
        camera=CAMERA,
        cam_from_world=np.eye(4),
        xy_px=np.zeros((1, 2), np.float32),
        point_id=np.zeros(1, np.int32),
        keypoint=np.zeros(1, np.int32),
    )
    few = SceneModel(views=[view] * (FEWEST_VIEWS - 1), xyz=np.ones((1, 3)), metric=True)
    assert measure(tmp_path / "map", few, None) is None  # type: ignore[arg-type]


def test_neighbourhoods_are_apart_and_together() -> None:
    views = []
    for place in range(24):  # along a line, looking across it at points five away
        pose = compose(np.eye(3), np.array([-float(place), 0, 0]))
        ids = np.arange(1, dtype=np.int32)
        views.append(
            View(
                name=f"{place}",
                camera=CAMERA,
                cam_from_world=pose,
                xy_px=np.zeros((1, 2), np.float32),
                point_id=ids,
                keypoint=ids,
            )
        )
    sets = neighbourhoods(views, np.array([[12.0, 0, 5.0]]), count=3, share=0.25)
    assert [len(rows) for rows in sets] == [6, 6, 6]
    assert all(np.ptp(rows) == 5 for rows in sets)  # neighbours, none skipped
    assert {0, 23} <= {int(n) for rows in sets for n in rows}  # both ends


def test_a_map_that_never_measured_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    golden = Path(__file__).parents[1] / "golden/bundle"
    assert inspect.main([str(golden)]) == 0
    assert "errors     guessed" in capsys.readouterr().out
