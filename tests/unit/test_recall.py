"""What is remembered between frames goes through a recording and goes on to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_reloc.errors import SourceError
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.messages.channel import encode
from edge_reloc.pose.quarter_turns import QuarterTurnSearch
from edge_reloc.reasons import Fault, Reason
from edge_reloc.running.replay import Resumption
from edge_reloc.running.supervisor import Supervisor
from edge_reloc.structs import Frame, PoseEstimate, State, Status

PERIOD_NS = 33_333_333
IMAGE = np.zeros((48, 64), np.uint8)
FRAMES = 60
SILENT, JUMPED, MISSED = 20, 35, 45  # frames before which something happens


def through_json(recalled: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(encode(recalled)))


def walk(supervisor: Supervisor, begin: int, end: int) -> list[dict[str, Any]]:
    """What is told of frames of a walk with a silence, a jump and frames without a pose."""
    told = []
    for index in range(begin, end):
        t_ns = index * PERIOD_NS + (index >= SILENT) * 700_000_000
        noise = np.random.default_rng(index).normal(0.0, 0.002, 6)
        far = 5.0 * (index >= JUMPED)
        if index == SILENT:
            fault = Fault(reason=Reason.CAMERA_GONE, text="gone", since_ns=0)
            silence = supervisor.silence(t_ns - 10_000_000, fault)
            told.append({} if silence is None else silence.to_json())
        lost = index >= MISSED and index % 3 == 0
        estimate = PoseEstimate(
            t_ns=t_ns,
            status=Status.NO_MATCHES if lost else Status.OK,
            cam_from_world=None
            if lost
            else compose(so3_exp(noise[:3]), [0.02 * index + far, 0, 1] + noise[3:]),
            covariance=None if lost else np.eye(6) * 1e-5,
            index=index,
        )
        told.append(supervisor.judge(Frame(image=IMAGE, t_ns=t_ns), estimate).to_json())
        ahead = supervisor.propagated(t_ns + 5_000_000)
        told.append({} if ahead is None else ahead.to_json())
    return told


@pytest.mark.parametrize("filtered", [False, True])
def test_a_supervisor_goes_on_where_another_was(filtered: bool) -> None:
    whole = Supervisor(filtered=filtered)
    seen = set()
    for at in range(0, FRAMES, 5):
        resumed = Supervisor(filtered=filtered)
        resumed.resume(through_json(whole.recall()))
        rest = walk(resumed, at, FRAMES)
        aside = Supervisor(filtered=filtered)
        aside.resume(whole.recall())
        assert walk(aside, at, FRAMES) == rest
        told = walk(whole, at, at + 5)
        assert rest[: len(told)] == told
        assert at == 0 or walk(Supervisor(filtered=filtered), at, at + 5) != told
        seen |= {whole.state, *(State(line["state"]) for line in told if line)}
    assert seen >= {State.SEARCHING, State.TRACKING, State.DEGRADED}
    assert told[-2]["reset_counter"] == 1


def test_slow_frames_are_remembered_as_slow() -> None:
    """At 2 Hz a gap of 1.3 s is no loss, for whoever knows the pace."""
    whole, resumed = Supervisor(), Supervisor()

    def seen_at(seconds: float, supervisor: Supervisor) -> State | None:
        t_ns = round(seconds * 1e9)
        estimate = PoseEstimate(
            t_ns=t_ns, status=Status.OK, cam_from_world=np.eye(4), covariance=np.eye(6) * 1e-5
        )
        return supervisor.judge(Frame(image=IMAGE, t_ns=t_ns), estimate).state

    for number in range(20):
        seen_at(0.5 * number, whole)
    recalled = through_json(whole.recall())
    resumed.resume(recalled)
    assert seen_at(10.8, resumed) is seen_at(10.8, whole) is State.TRACKING
    del recalled["machine"]["period_ns"], recalled["odometry"]
    Supervisor().resume(recalled)  # of an older recording


def test_damaged_memories_raise_what_a_replay_tells() -> None:
    supervisor = Supervisor()
    walk(supervisor, 0, 10)
    recalled = through_json(supervisor.recall())
    track = recalled["machine"]["track"]
    for wrong in ({**track, "steps": []}, {**track, "steps": [[[1, [2], 3], []]]}, {}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            supervisor.resume({**recalled, "machine": {**recalled["machine"], "track": wrong}})
    frames = [Frame(image=IMAGE, t_ns=index, index=index) for index in range(3)]
    resumption = Resumption(Path("flight.mcap"), supervisor.resume)
    resumption.expect(frames[0], recalled)
    resumption.expect(frames[2], {"machine": {}})  # read before the first one was its turn
    for frame in frames[:2]:
        resumption.before(frame)
    with pytest.raises(SourceError, match=r"flight\.mcap: what was remembered before"):
        resumption.before(frames[2])


def test_headings_are_remembered() -> None:
    search, other = QuarterTurnSearch(0.5), QuarterTurnSearch(0.5)
    found = PoseEstimate(t_ns=0, status=Status.OK, inliers=40)
    lost = PoseEstimate(t_ns=0, status=Status.NO_POSE)
    frame = Frame(image=IMAGE, t_ns=0)
    search.localize(frame, lambda turned: found if turned.quarter_turns == 3 else lost)
    other.resume(through_json(search.recall()))
    tried: list[int | None] = []

    def attempt(turned: Frame) -> PoseEstimate:
        tried.append(turned.quarter_turns)
        return found

    other.localize(frame, attempt)
    assert tried == [3]
