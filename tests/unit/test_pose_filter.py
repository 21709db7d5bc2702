"""The filter of poses: true covariances on made motion, growth, late measurements, the gate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_reloc.geometry.rigid import (
    NORMALISED_95,
    camera_centre,
    compose,
    invert,
    normalised_error,
    so3_exp,
)
from edge_reloc.running.fix import Fix
from edge_reloc.running.pose_filter import Motion, PoseFilter
from edge_reloc.running.stillness import last_ones, stands_still

Array = np.ndarray
RATE_HZ, FRAMES, RUNS, SETTLED = 30.0, 45, 40, 20  # many short runs: errors last a second
STD = np.array([0.003, 0.003, 0.003, 0.01, 0.01, 0.01])


def at_random(generator: np.random.Generator, motion: Motion) -> list[Array]:
    """Poses of a camera that moves as the filter believes it does, in finer steps."""
    pose = compose(so3_exp(generator.normal(size=3)), generator.normal(size=3) * 3)
    turning, moving, poses, steps = generator.normal(size=3), generator.normal(size=3), [], 4
    dt = 1 / RATE_HZ / steps
    for _ in range(FRAMES):
        poses.append(pose)
        for _ in range(steps):
            turning = turning + generator.normal(size=3) * motion.turn_noise * np.sqrt(dt)
            moving = moving + generator.normal(size=3) * motion.place_noise * np.sqrt(dt)
            turn = so3_exp(turning * dt)
            pose, moving = compose(turn, turn @ moving * dt) @ pose, turn @ moving
    return poses


def by_hand(generator: np.random.Generator, motion: Motion) -> list[Array]:
    """Poses of a camera that is waved about."""
    phase = generator.uniform(0, 2 * np.pi, 6)
    times = np.arange(FRAMES)[:, None] / RATE_HZ
    waves = np.sin(times * np.array([2.0, 3.0, 1.0, 2.5, 2.0, 1.0]) + phase)
    size = np.array([0.3, 0.2, 0.1, 0.3, 0.2, 0.3])
    return [compose(so3_exp(row[:3]), row[3:]) for row in waves * size]


def standing(generator: np.random.Generator, motion: Motion) -> list[Array]:
    """Poses of a camera that stands still."""
    pose = compose(so3_exp(generator.normal(size=3)), generator.normal(size=3) * 3)
    return [pose] * FRAMES


def walking_off(generator: np.random.Generator, motion: Motion) -> list[Array]:
    """Poses of a camera that stands still, and then moves off."""
    way = generator.normal(size=6) * np.array([0.3, 0.3, 0.3, 0.2, 0.2, 0.2])
    since_s = np.maximum(np.arange(FRAMES) - SETTLED - 10, 0)[:, None] / RATE_HZ
    return [compose(so3_exp(row[:3]), row[3:]) for row in way * since_s**2]


def measured(poses: list[Array], generator: np.random.Generator, motion: Motion) -> list[Fix]:
    """Poses with errors, of which consecutive frames share a part that changes slowly."""
    mixed = generator.normal(size=(6, 6))
    covariance = (mixed @ mixed.T / 6 + 0.3 * np.eye(6)) * np.outer(STD, STD)
    root = np.linalg.cholesky(covariance)
    shared, kept = generator.normal(size=6), np.exp(-1 / RATE_HZ / motion.shared_s)
    fixes = []
    for index, pose in enumerate(poses):
        own = generator.normal(size=6)
        delta = root @ (np.sqrt(motion.shared) * shared + np.sqrt(1 - motion.shared) * own)
        wrong = invert(compose(so3_exp(delta[:3]), delta[3:])) @ pose
        t_ns = round(index / RATE_HZ * 1e9)
        fixes.append(Fix(t_ns=t_ns, cam_from_world=wrong, covariance=covariance))
        shared = kept * shared + np.sqrt(1 - kept**2) * generator.normal(size=6)
    return fixes


def squared_errors(
    move: Callable[..., list[Array]], believed: Motion, true: Motion | None = None
) -> tuple[Array, Array]:
    """In units of the covariance: after each measurement, and predicted before it."""
    after, before = [], []
    for seed in range(RUNS):
        generator = np.random.default_rng(seed)
        poses = move(generator, Motion())
        fixes = measured(poses, generator, true or Motion())
        pose_filter = PoseFilter(fixes[0], believed)
        for index in range(1, FRAMES):
            ahead = pose_filter.at(fixes[index].t_ns)
            assert pose_filter.add(fixes[index])
            now = pose_filter.at(fixes[index].t_ns)
            if index >= SETTLED:
                for fix, errors in ((ahead, before), (now, after)):
                    errors.append(
                        normalised_error(fix.cam_from_world, fix.covariance, poses[index])
                    )
    return np.array(after), np.array(before)


def test_covariance_is_true_where_the_motion_is_as_believed() -> None:
    for errors in squared_errors(at_random, Motion()):
        assert 5.0 < errors.mean() < 7.0  # chi-square of six degrees of freedom
        assert 0.92 < np.mean(errors < NORMALISED_95) < 0.98


def test_covariance_covers_a_camera_that_is_waved_about() -> None:
    for errors in squared_errors(by_hand, Motion()):
        assert errors.mean() < 7.0
        assert np.mean(errors < NORMALISED_95) > 0.92


def test_errors_that_frames_share_are_not_averaged_away() -> None:
    """What the treatment is for: errors taken for independent make the filter far too sure."""
    naive, _ = squared_errors(at_random, Motion(shared=0.0))
    assert naive.mean() > 7.5
    assert np.mean(naive < NORMALISED_95) < 0.88


def test_a_camera_that_stands_still_is_smooth_and_no_surer_than_it_may_be() -> None:
    """Its own errors are averaged away; what frames share stays, and is not taken for less."""
    one_place = replace(Motion(), shared_s=math.inf)
    errors, _ = squared_errors(walking_off, Motion(), one_place)
    assert 5.0 < errors.mean() < 7.0
    assert np.mean(errors < NORMALISED_95) > 0.92
    generator = np.random.default_rng(1)
    fixes = measured(standing(generator, Motion()), generator, one_place)
    steps = [jitter(fixes), jitter(smoothed(fixes))]
    assert steps[1] < 0.3 * steps[0]


def smoothed(fixes: list[Fix]) -> list[Fix]:
    """What the filter makes of each when it comes."""
    pose_filter = PoseFilter(fixes[0])
    return [pose_filter.at(fix.t_ns) for fix in fixes[1:] if pose_filter.add(fix)]


def jitter(fixes: list[Fix]) -> float:
    """Of positions from frame to frame."""
    centres = np.array([camera_centre(fix.cam_from_world) for fix in fixes[SETTLED:]])
    return float(np.median(np.linalg.norm(np.diff(centres, axis=0), axis=1)))


def test_who_stands_still() -> None:
    def seen(rate: float, count: int, hz: float = RATE_HZ) -> list[Fix]:
        """(rad/s, m/s) along all axes, with errors of a tenth of the variance."""
        poses = [compose(so3_exp([rate * i / hz] * 3), [rate * i / hz] * 3) for i in range(count)]
        generator = np.random.default_rng(3)
        fixes = measured(poses, generator, Motion(shared=0.9, shared_s=math.inf))
        return [replace(f, t_ns=round(i / hz * 1e9)) for i, f in enumerate(fixes)]

    assert stands_still(seen(0.0, 15), 0.1) and stands_still(seen(0.0, 8), 0.1)
    assert not stands_still(seen(0.0, 7), 0.1)
    assert not stands_still(seen(0.05, 15), 0.1) and not stands_still(seen(1.0, 15), 0.1)
    assert not stands_still(seen(0.0, 15), 0.03)  # they differ more than such exact ones
    assert len(last_ones(seen(0.0, 40))) == 15 and len(last_ones(seen(0.0, 40, hz=5.0))) == 6


@pytest.fixture
def straight() -> list[Fix]:
    """A camera that turns about its axis and flies straight on in the world."""
    fixes = []
    for index in range(12):
        t_s, rotation = index / RATE_HZ, so3_exp([0.0, 0.5 * index / RATE_HZ, 0.0])
        centre = np.array([1.0 + 0.6 * t_s, 0.2 * t_s, -0.3 * t_s])
        pose = compose(rotation, -rotation @ centre)
        covariance = np.diag(STD**2)
        fixes.append(Fix(t_ns=round(t_s * 1e9), cam_from_world=pose, covariance=covariance))
    return fixes


def filtered(fixes: list[Fix]) -> PoseFilter:
    pose_filter = PoseFilter(fixes[0])
    assert all(pose_filter.add(fix) for fix in fixes[1:])
    return pose_filter


def test_prediction_goes_on_and_its_covariance_grows(straight: list[Fix]) -> None:
    pose_filter, last = filtered(straight[:-1]), straight[-1]
    ahead = pose_filter.at(last.t_ns)
    assert ahead.t_ns == last.t_ns
    np.testing.assert_allclose(ahead.cam_from_world, last.cam_from_world, atol=2e-3)
    sizes = [
        np.diag(pose_filter.at(pose_filter.t_ns + ms * 1_000_000).covariance)
        for ms in (0, 30, 100, 300, 1000)
    ]
    assert all((later > 1.2 * sooner).all() for sooner, later in itertools.pairwise(sizes))


def test_late_measurement_counts_where_it_belongs(straight: list[Fix]) -> None:
    in_order, late = filtered(straight), filtered([*straight[:5], *straight[6:], straight[5]])
    without = filtered([*straight[:5], *straight[6:]])
    now = straight[-1].t_ns
    np.testing.assert_allclose(late.at(now).covariance, in_order.at(now).covariance, rtol=1e-9)
    np.testing.assert_allclose(
        late.at(now).cam_from_world, in_order.at(now).cam_from_world, rtol=1e-9
    )
    assert np.trace(late.at(now).covariance) < np.trace(without.at(now).covariance)
    assert late.t_ns == now


def test_what_lies_elsewhere_is_refused_and_changes_nothing(straight: list[Fix]) -> None:
    pose_filter = filtered(straight[:-1])
    before = pose_filter.at(straight[-1].t_ns)
    for shift in ([0.3, 0.0, 0.0], [0.0, 0.0, -0.3]):
        wrong = compose(np.eye(3), shift) @ straight[-1].cam_from_world
        fix = Fix(
            t_ns=straight[-1].t_ns,
            cam_from_world=wrong,
            covariance=straight[-1].covariance,
        )
        assert not pose_filter.agrees(fix)
        assert not pose_filter.add(fix)
    after = pose_filter.at(straight[-1].t_ns)
    np.testing.assert_array_equal(before.cam_from_world, after.cam_from_world)
    assert pose_filter.agrees(straight[-1])
