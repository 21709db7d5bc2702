"""How likely a pose is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_reloc.bundle.manifest import CovarianceScale, Integrity, Plausibility, Usual
from edge_reloc.errors import ConfigError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.plausibility import chance, evidence_of, explained_px, unless_unlikely
from edge_reloc.pose.refine import refine_pose
from edge_reloc.structs import Correspondences, Evidence, Features, PoseEstimate, Status
from edge_reloc_export.integrity.fit import Tries, fit, judged, main
from edge_reloc_export.integrity.measure import FEWEST_RIGHT, Try, fit_plausibility
from edge_reloc_export.integrity.parts import worst

CAMERA = Camera(model="pinhole", width=640, height=480, fx=500, fy=500, cx=319.5, cy=239.5)
POSE = compose(so3_exp(np.array([0.1, -0.2, 0.05])), np.array([0.3, -0.1, 0.4]))
USUAL = Usual(explained=(-4.0, 0.5), concentration=(0.3, 0.2))
MODEL = Plausibility(first=USUAL, refined=USUAL)


def _seen_by(camera: Camera, noise_px: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (300,2) and points (300,3) of a room that fills the image of `camera`."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (camera.width, camera.height), (300, 2))
    depth = rng.uniform(2.0, 8.0, (300, 1))
    in_camera = np.c_[camera.rays_from_pixels(pixels), np.ones(300)][:, :3]
    world = (depth * in_camera / in_camera[:, 2:] - POSE[:3, 3]) @ POSE[:3, :3]
    return pixels + rng.normal(0, noise_px, pixels.shape), world


def _refined(camera: Camera, pixels: np.ndarray, world: np.ndarray) -> np.ndarray:
    found = refine_pose(camera, POSE, pixels, world)
    assert found is not None
    return found.cam_from_world


@pytest.mark.parametrize(
    "told",
    [
        replace(CAMERA, fx=530, fy=530),
        replace(CAMERA, fx=540),
        replace(CAMERA, cx=355),
        replace(CAMERA, model="opencv", distortion=(0.1, 0.0, 0.0, 0.0)),
    ],
)
def test_another_camera_explains_what_a_pose_cannot(told: Camera) -> None:
    pixels, world = _seen_by(CAMERA)
    right = explained_px(CAMERA, _refined(CAMERA, pixels, world), pixels, world)
    wrong = explained_px(told, _refined(told, pixels, world), pixels, world)
    assert right < 0.2 < 1.0 < wrong


def test_sheared_rows_are_explained() -> None:
    pixels, world = _seen_by(CAMERA)
    sheared = pixels + np.c_[0.04 * (pixels[:, 1] - 240), np.zeros(300)]
    assert explained_px(CAMERA, _refined(CAMERA, sheared, world), sheared, world) > 1.0


def test_noise_alone_is_not_explained_however_large() -> None:
    pixels, world = _seen_by(CAMERA, noise_px=4.0)
    assert explained_px(CAMERA, _refined(CAMERA, pixels, world), pixels, world) < 0.9


def _frame(inliers: slice) -> tuple[Features, Correspondences, PoseEstimate]:
    """A right pose of which some of 300 keypoints are inliers; the rows go down the image."""
    pixels, world = _seen_by(CAMERA)
    order = np.argsort(pixels[:, 1])
    features, matches = Features(Arena(), 300, 0, 0), Correspondences(Arena(), 300)
    features.n = matches.n = 300
    features.xy_px[:] = matches.xy_px[:] = pixels[order]
    matches.xyz_world[:] = world[order]
    rows = np.arange(300, dtype=np.int32)[inliers]
    estimate = PoseEstimate(
        t_ns=0, status=Status.OK, cam_from_world=POSE, inliers=len(rows), inlier_index=rows
    )
    return features, matches, estimate


def test_inliers_in_a_part_of_the_image_are_concentrated() -> None:
    features, matches, estimate = _frame(slice(None))
    top = np.flatnonzero(features.xy_px[:, 1] < CAMERA.height / 4).astype(np.int32)
    everywhere = evidence_of(CAMERA, features, matches, estimate, threshold_px=8.0)
    above = evidence_of(
        CAMERA, features, matches, replace(estimate, inlier_index=top), threshold_px=8.0
    )
    assert everywhere is not None and above is not None
    assert everywhere.concentration == pytest.approx(0.0, abs=1e-9)
    assert above.concentration == pytest.approx(np.log(300 / len(top)), abs=1e-6)


def test_no_inliers_are_no_evidence() -> None:
    features, matches, estimate = _frame(slice(0, 0))
    assert evidence_of(CAMERA, features, matches, estimate, threshold_px=8.0) is None


def test_what_is_usual_is_likely_and_less_usual_is_less_likely() -> None:
    usual = chance(MODEL, Evidence(explained=-4.0, concentration=0.3), refined=True)
    better = chance(MODEL, Evidence(explained=-9.0, concentration=0.0), refined=True)
    worse = chance(MODEL, Evidence(explained=-3.0, concentration=0.3), refined=True)
    bad = chance(MODEL, Evidence(explained=-1.0, concentration=1.5), refined=True)
    assert usual == better > 0.99 > worse > 0.5 > bad


def test_an_unlikely_pose_is_refused_in_one_line() -> None:
    _, _, estimate = _frame(slice(None))
    kept = replace(estimate, p_right=0.5)
    assert unless_unlikely(kept, 0.5) is kept
    refused = unless_unlikely(replace(estimate, p_right=0.2), 0.5)
    assert refused.status is Status.IMPLAUSIBLE and refused.cam_from_world is None
    assert refused.p_right is None
    assert refused.reason is not None and "20%, 50% are needed" in refused.reason


def _tries(count: int, right: bool = True) -> list[Try]:
    rng = np.random.default_rng(1)
    return [
        Try(
            squared=1.0,
            angle=0.1,
            right=right,
            evidence=Evidence(float(rng.normal(-3, 1)), float(rng.normal(1, 0.5))),
            error=0.1,
            claimed=0.1,
        )
        for _ in range(count)
    ]


def test_a_map_knows_what_is_usual_of_its_right_poses() -> None:
    odd = Evidence(explained=5.0, concentration=9.0)
    wrong = _tries(1, right=False)[0]._replace(evidence=odd)
    found = fit_plausibility([*_tries(400), wrong], _tries(400))
    assert found is not None and found.first == found.refined
    assert found.first.explained == pytest.approx((-3.0, np.hypot(1.0, 0.25)), abs=0.15)
    assert fit_plausibility(_tries(FEWEST_RIGHT - 1), _tries(400)) is None


def test_in_several_maps_together_everything_is_usual_that_is_in_one() -> None:
    def part(mean: float) -> Integrity:
        usual = Usual(explained=(mean, 0.3), concentration=(0.3, 0.2))
        scale = CovarianceScale(factor=2.0)
        known = Plausibility(first=usual, refined=usual)
        return Integrity(photos=20, first=scale, refined=scale, plausibility=known)

    both = worst([part(-4.0), part(-3.0)])
    assert both is not None and both.plausibility is not None
    assert both.plausibility.first.explained == pytest.approx((-3.5, np.hypot(0.3, 0.5)))
    assert both.plausibility.first.concentration == pytest.approx((0.3, 0.2))
    old = worst([part(-4.0), replace(part(-4.0), plausibility=None)])
    assert old is not None and old.plausibility is None


def test_absurd_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="explained is"):
        Usual(explained=(0.0, 0.0), concentration=(0.3, 0.2))


def test_the_fit_wants_maps_to_judge_each_other_by(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--foreign", "photos", "--reliability", "out.png", "maps/a=photos/a"]) == 1
    assert "name two maps or more, each as MAP=PHOTOS" in capsys.readouterr().err


def test_the_fit_finds_weights_and_judges_maps_by_the_others() -> None:
    rng = np.random.default_rng(2)

    def tried(name: str) -> Tries:
        beyond = np.maximum(rng.normal(1.0, 1.5, (3000, 2)), 0.0)
        p = 1 / (1 + np.exp(-(3.0 - 2.0 * beyond[:, 0] - 1.0 * beyond[:, 1])))
        excess = np.where(rng.random(3000) < p, 0.1, 9.0)
        return Tries(name=name, beyond=beyond, excess=excess, case=("unaltered",) * 3000)

    maps = [tried("a"), tried("b")]
    numbers = fit(maps[0].beyond, maps[0].right)
    assert numbers == pytest.approx([2.0, 1.0, 3.0], rel=0.12)
    said, true = judged(maps), np.concatenate([m.right for m in maps])
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 0.95)):
        inside = (said >= low) & (said < high)
        assert said[inside].mean() == pytest.approx(true[inside].mean(), abs=0.05)
