"""Which way a frame is turned, from what agrees at each heading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_reloc.geometry.camera import Camera
from edge_reloc.pose.quarter_turns import QuarterTurnSearch
from edge_reloc.structs import Frame, PoseEstimate, Status

CAMERA = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=32, cy=24)
FRAME = Frame(image=np.zeros((48, 64), np.uint8), t_ns=0, camera=CAMERA)


class Attempts:
    """Answers with as many inliers as were set for a heading; fewer than 50 give no pose."""

    def __init__(self, *inliers: int) -> None:
        self.inliers, self.made = inliers, list[int]()

    def __call__(self, frame: Frame) -> PoseEstimate:
        assert frame.quarter_turns is not None
        self.made.append(frame.quarter_turns)
        inliers = self.inliers[frame.quarter_turns]
        return PoseEstimate(
            t_ns=0,
            status=Status.OK if inliers >= 50 else Status.NO_POSE,
            inliers=inliers,
            stages_ms={"extract": 1.0},
        )


def test_the_heading_where_most_agrees_counts_and_is_kept() -> None:
    heading = QuarterTurnSearch(0.5)
    first = Attempts(270, 0, 1400, 60)
    estimate = heading.localize(FRAME, first)
    assert estimate.inliers == 1400
    assert first.made == [0, 1, 2, 3, 2]  # the best last: its matches are at hand
    assert estimate.stages_ms == {"extract": 5.0}
    again = Attempts(270, 0, 900, 60)
    assert heading.localize(FRAME, again).inliers == 900
    assert again.made == [2]


def test_turns_are_counted_from_upright_as_the_file_says_it() -> None:
    heading = QuarterTurnSearch(0.5)
    portrait, landscape = replace(FRAME, upright_turns=3), replace(FRAME, upright_turns=0)
    first = Attempts(0, 60, 0, 1400)
    heading.localize(portrait, first)
    assert first.made[0] == 3
    # Held another way, upright is the heading still.
    for frame, turns in ((landscape, 0), (portrait, 3)):
        again = Attempts(*(1300 if k == turns else 0 for k in range(4)))
        assert heading.localize(frame, again).inliers == 1300
        assert again.made == [turns]
    # Where the map's heading is another, it is so however a frame was held.
    heading.localize(landscape, Attempts(0, 1400, 0, 0))
    beyond = Attempts(1400, 0, 0, 0)
    heading.localize(portrait, beyond)
    assert beyond.made == [0]


def test_a_file_that_is_wrong_costs_attempts_and_no_pose() -> None:
    heading = QuarterTurnSearch(0.5)
    heading.localize(FRAME, Attempts(1400, 0, 0, 0))
    wrong = Attempts(1400, 0, 0, 0)
    assert heading.localize(replace(FRAME, upright_turns=2), wrong).inliers == 1400
    assert wrong.made == [2, 3, 0]


def test_a_wrong_heading_that_fits_does_not_stay() -> None:
    heading = QuarterTurnSearch(0.5)
    heading.localize(FRAME, Attempts(1400, 0, 0, 0))
    turned = Attempts(270, 0, 1300, 0)
    assert heading.localize(FRAME, turned).inliers == 1300
    assert turned.made == [0, 1, 2]  # as much as before: enough


def test_how_much_is_enough_is_the_methods_affair() -> None:
    heading = QuarterTurnSearch(0.9)
    heading.localize(FRAME, Attempts(1800, 0, 0, 0))
    assert heading.localize(FRAME, Attempts(1200, 0, 1500, 0)).inliers == 1500


def test_nothing_found_is_said_and_the_heading_stays() -> None:
    heading = QuarterTurnSearch(0.5)
    heading.localize(FRAME, Attempts(0, 400, 0, 0))
    lost = heading.localize(FRAME, Attempts(20, 10, 30, 0))
    assert lost.status is Status.NO_POSE
    assert heading.quarter_turns == 1
