"""A headset's space in the map: true, steady, and anew where the map's frame jumps."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from head_motion import COVARIANCE, Headset, Relocaliser, map_from_head

from edge_reloc.geometry.frames import Placed
from edge_reloc.geometry.rigid import compose, invert, quat_from_rotation, rotation_vector, so3_exp
from edge_reloc.running.anchor import Anchor, Rules
from edge_reloc.sinks.shm import HEADER

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "anchor.py"
ANCHOR_C = Path(__file__).parent / "shm" / "anchor.c"
NS = 1_000_000_000
HZ = 90
MOST_STEP_MM = 1000 * Rules().most_m_s / HZ
MAP_FROM_LOCAL = compose(so3_exp([0, 2.0, 0]), [1.0, 0.0, -3.0])


def said(t_s: float, moved: np.ndarray | None = None) -> Placed:
    """The true pose of the head at a time, or one that is moved."""
    pose = map_from_head(t_s)
    return Placed(world_from_body=pose if moved is None else moved @ pose, covariance=COVARIANCE)


def local(t_s: float) -> np.ndarray:
    """Of a headset that does not drift."""
    return invert(MAP_FROM_LOCAL) @ map_from_head(t_s)


def test_what_is_shown_is_near_and_never_jumps() -> None:
    shown, nees = runpy.run_path(str(BENCHMARK))["simulate"](10.0, 2)
    anchor, newest = shown["anchor"], shown["newest map_from_local"]
    assert np.percentile(anchor.metres, 95) < 0.06
    assert np.percentile(anchor.degrees, 95) < np.percentile(newest.degrees, 95)
    assert max(anchor.step_mm) <= MOST_STEP_MM * (1 + 1e-6)
    assert max(newest.step_mm) > 10 * MOST_STEP_MM, "the poses are noisy"
    assert 2.0 < np.mean(nees) < 10.0  # about six; few of a run are independent


def test_its_covariance_is_true() -> None:
    """Not too small, and no more than half too large: of errors that last it is careful."""
    runs, last = 100, list[float]()
    for seed in range(runs):
        random = np.random.default_rng(seed)
        headset, poses, anchor = Headset(random), Relocaliser(random), Anchor()
        for tick in range(15):
            t_s = tick / 10
            head = headset.local_from_head(t_s)
            anchor.measure(round(t_s * NS), poses(t_s), head)
        truth, known = map_from_head(t_s), anchor.known @ head
        turned = rotation_vector(truth[:3, :3] @ known[:3, :3].T)
        error = np.r_[truth[:3, 3] - known[:3, 3], turned]
        covariance = anchor.covariance(round(t_s * NS))
        last.append(float(error @ np.linalg.solve(covariance, error)))
    bound = 1.96 * np.sqrt(2 * 6 / runs)  # 95 % of means of chi-square of six
    assert 4.0 - bound < np.mean(last) < 6.0 + bound


def test_without_noise_it_is_exact_at_once() -> None:
    anchor = Anchor()
    assert anchor.at(0, local(0.0)) is None
    for t_s in (0.0, 0.1, 0.2):
        assert anchor.measure(round(t_s * NS), said(t_s), local(t_s))
        found = anchor.at(round((t_s + 0.04) * NS), local(t_s + 0.04))
        assert found is not None
        np.testing.assert_allclose(found, MAP_FROM_LOCAL, atol=1e-9)
    assert not anchor.measure(round(0.1 * NS), said(0.1), local(0.1)), "of the past"


def test_a_reset_is_followed_at_once_and_nothing_else_is() -> None:
    anchor = Anchor()
    moved = compose(so3_exp([0, 0.02, 0]), [0.03, 0.0, 0.0])
    anchor.measure(0, said(0.0), local(0.0))
    anchor.measure(NS // 10, said(0.1, moved), local(0.1))
    before = anchor.at(NS // 10, local(0.1))
    assert before is not None
    for number in range(1, 5):
        t_ns = NS // 10 + number * NS // HZ
        after = anchor.at(t_ns, local(t_ns / NS))
        assert after is not None
        head = local(t_ns / NS)
        step = np.linalg.norm((after @ head - before @ head)[:3, 3])
        assert 0 < 1000 * step <= MOST_STEP_MM * (1 + 1e-6)
        before = after
    far = compose(np.eye(3), [5.0, 0.0, 0.0])
    t_s = 0.2
    assert anchor.measure(round(t_s * NS), said(t_s, far), local(t_s), reset_counter=1)
    found = anchor.at(round(t_s * NS), local(t_s))
    np.testing.assert_allclose(found, far @ MAP_FROM_LOCAL, atol=1e-9)
    assert anchor.restarts == 1


def test_local_tracking_that_jumped_is_found_out_in_a_second() -> None:
    anchor = Anchor()
    elsewhere = compose(so3_exp([0, 1.0, 0]), [2.0, 0.0, 1.0])
    for tick in range(30):
        t_s = tick / 10
        head = local(t_s) if tick < 10 else elsewhere @ local(t_s)
        believed = anchor.measure(round(t_s * NS), said(t_s), head)
        assert believed == (tick < 10 or tick >= 20), tick
    assert (anchor.refused, anchor.restarts) == (11, 1)
    expected = MAP_FROM_LOCAL @ invert(elsewhere)
    np.testing.assert_allclose(anchor.known, expected, atol=1e-9)


def test_a_space_that_is_put_elsewhere_moves_nothing() -> None:
    anchor = Anchor()
    anchor.measure(0, said(0.0), local(0.0))
    anchor.measure(NS // 10, said(0.1, compose(np.eye(3), [0.02, 0, 0])), local(0.1))
    before = anchor.at(NS // 10, local(0.1))
    previous_from_new = compose(so3_exp([0, 1.0, 0]), [2.0, 0.0, 1.0])
    anchor.move_local(previous_from_new)
    new = invert(previous_from_new) @ local(0.1)
    after = anchor.at(NS // 10, new)
    assert before is not None and after is not None
    np.testing.assert_allclose(after @ new, before @ local(0.1), atol=1e-12)


def test_drift_makes_it_less_certain_until_the_next_pose() -> None:
    anchor = Anchor()
    headset = Headset(np.random.default_rng(1))
    anchor.measure(0, said(0.0), headset.local_from_head(0.0))
    np.testing.assert_allclose(anchor.covariance(0), COVARIANCE)
    grown = anchor.covariance(9 * NS)
    rules = Rules()
    expected = COVARIANCE + np.diag([9 * rules.drift_m**2] * 3 + [9 * rules.drift_rad**2] * 3)
    np.testing.assert_allclose(grown, expected)
    anchor.measure(9 * NS, said(9.0), headset.local_from_head(9.0))
    assert (np.diag(anchor.covariance(9 * NS)) < np.diag(COVARIANCE)).all()


def written(motion: np.ndarray) -> str:
    return " ".join(repr(float(v)) for v in [*motion[:3, :3].ravel(), *motion[:3, 3]])


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_anchor_of_c_does_the_same(tmp_path: Path) -> None:
    """Noise, drift, a reset, local tracking that jumps, and a space that is put elsewhere."""
    program = tmp_path / "anchor"
    warnings = ["-Wall", "-Wextra", "-Werror", "-std=gnu11"]
    command = ["gcc", "-O2", *warnings, "-I", HEADER.parent, "-o", program, ANCHOR_C, "-lm"]
    subprocess.run(command, check=True)
    random = np.random.default_rng(3)
    headset, poses, anchor = Headset(random), Relocaliser(random), Anchor()
    root = random.normal(size=(6, 6)) * 2e-3  # a covariance that is not diagonal
    covariance = COVARIANCE + root @ root.T
    elsewhere, lines, expected = np.eye(4), list[str](), list[list[float]]()
    for tick in range(80):
        t_s = 0.1 * tick
        if tick == 40:  # without a word
            elsewhere = compose(so3_exp([0.1, 1.0, 0.2]), [2.0, 0.3, 1.0])
        if tick == 65:  # told
            previous_from_new = compose(so3_exp([0, -0.5, 0]), [1.0, 0.0, 2.0])
            elsewhere = invert(previous_from_new) @ elsewhere
            anchor.move_local(previous_from_new)
            lines.append(f"l {written(previous_from_new)}")
        then = elsewhere @ headset.local_from_head(t_s)
        moved = compose(np.eye(3), [3.0 * (tick >= 20), 0, 0])
        head = Placed(world_from_body=moved @ poses(t_s).world_from_body, covariance=covariance)
        resets, t_ns = int(tick >= 20), round(t_s * NS)
        believed = anchor.measure(t_ns, head, then, resets)
        quat = quat_from_rotation(head.rotation)
        told = " ".join(repr(float(v)) for v in [*head.xyz, *quat, *covariance.ravel()])
        lines.append(f"m {t_ns} {resets} {told} {written(then)}")
        expected.append([believed])
        for display in range(3):
            t_ns = round((t_s + 0.03 * display) * NS)
            shown = anchor.at(t_ns, then)
            assert shown is not None
            lines.append(f"a {t_ns} {written(then)}")
            expected.append([float(v) for v in written(shown).split()])
    done = subprocess.run(
        [program], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    found = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert len(found) == len(expected) and anchor.restarts == 2 and anchor.refused > 5
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        np.testing.assert_allclose(theirs, ours, atol=1e-9, err_msg=lines[number][:40])
