"""States of a stream of poses, by tables: one event a frame in, one state out."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc.geometry.rigid import compose
from edge_reloc.reasons import Reason
from edge_reloc.running.fix import Fix
from edge_reloc.running.pose_filter import PoseFilter
from edge_reloc.running.state_machine import StateMachine
from edge_reloc.structs import State

PERIOD_NS = 33_333_333


def fix(t_ns: int, place: float) -> Fix:
    """A pose that drifts along x at 0.3 m/s from a place."""
    pose = compose(np.eye(3), [place + 0.3e-9 * t_ns, 0.0, 0.0])
    return Fix(t_ns=t_ns, cam_from_world=pose, covariance=np.eye(6) * 1e-4)


class Table:
    """Feeds a machine a frame a letter.

    h, t: a pose here or two metres away; H: doubtful; r: somewhere else every time; k: here,
    but tracked; o: none, few matches; b: none, blurred; _: a period in which no frame comes.
    """

    def __init__(self) -> None:
        self.machine = StateMachine(PoseFilter)
        self.t_ns = 0
        self._random = np.random.default_rng(5)

    def feed(self, letters: str) -> tuple[str, str]:
        """State after every letter, and whether its pose is used (+) or not (-)."""
        states, used = "", ""
        for letter in letters:
            self.t_ns += PERIOD_NS
            given = self._event(letter)
            states += self.machine.state.value[0]
            used += "+" if given else "-"
        return states, used

    def _event(self, letter: str) -> bool:
        machine, t_ns = self.machine, self.t_ns
        if letter == "_":
            machine.silence(t_ns)
            return False
        if letter in "ob":
            why = Reason.BLURRED if letter == "b" else Reason.FEW_MATCHES
            return machine.frame(t_ns, None, why)
        place = {"t": 2.0, "r": self._random.uniform(-9, 9)}.get(letter, 0.0)
        why = Reason.UNCERTAIN if letter == "H" else None
        return machine.frame(t_ns, fix(t_ns, place), why, independent=letter != "k")


@pytest.mark.parametrize(
    ("letters", "states", "used"),
    [
        ("hhhhh", "SSTTT", "--+++"),  # the first fix after three that agree
        ("hohoh", "SSSST", "----+"),  # gaps do not matter
        ("rrrrrrrr", "SSSSSSSS", "--------"),  # poses that never agree
        ("hthththth", "SSSSSSSSS", "---------"),  # of two places in turn neither is believed
        ("hkkkkk", "SSSSSS", "------"),  # what begins with the last pose confirms nothing
        ("hkkhh", "SSSST", "----+"),
        ("hhhbhhbhh", "SSTTTTTTT", "--+-++-++"),  # single bad frames are no news
        ("hhhbbbhhhh", "SSTTTDDDTT", "--+---++++"),  # three are; three good ones mend it
        ("hhhHhhh", "SSTDDDT", "--+++++"),  # doubtful: used, and said
        ("hhhthhh", "SSTTTTT", "--+-+++"),  # one pose elsewhere is not believed
        ("hhhtttt", "SSTTTTT", "--+--++"),  # three that agree are: a jump
        ("hhhtrtrt", "SSTTTDDD", "--+-----"),
    ],
)
def test_table(letters: str, states: str, used: str) -> None:
    assert Table().feed(letters) == (states, used)


def test_a_jump_counts_once_it_is_confirmed() -> None:
    table = Table()
    table.feed("hhhhh" + "tt")
    assert (table.machine.reset_counter, table.machine.reason) == (0, Reason.JUMP)
    table.feed("t")
    assert (table.machine.reset_counter, table.machine.reason) == (1, None)
    table.feed("ttt" + "hhh")
    assert table.machine.reset_counter == 2


def test_lost_and_found_again_is_no_jump() -> None:
    table = Table()
    states, used = table.feed("hhh" + "o" * 40 + "hhhh")
    assert states == "SST" + "TT" + "D" * 28 + "L" * 10 + "LLTT"
    assert used == "--+" + "-" * 40 + "--++"
    assert table.machine.reset_counter == 0


def test_lost_and_found_elsewhere_is_one() -> None:
    """Forty metres away after a second: plausible motion does not lead there."""
    table = Table()
    table.feed("hhh" * 10 + "o" * 32)
    assert table.machine.state is State.LOST
    table.machine.frame(table.t_ns, None, Reason.DARK)
    assert table.machine.reason is Reason.DARK
    for _ in range(3):
        table.t_ns += PERIOD_NS
        table.machine.frame(table.t_ns, fix(table.t_ns, 40.0))
    assert (table.machine.state, table.machine.reset_counter) == (State.TRACKING, 1)


def test_no_frame_is_degraded_then_lost() -> None:
    table = Table()
    states, _ = table.feed("hhh" + "_" * 35)
    assert states == "SST" + "T" * 15 + "D" * 15 + "L" * 5
    assert table.machine.reason is Reason.STALE
    assert not table.machine.silence(table.t_ns + PERIOD_NS)  # no news
    assert table.machine.silence(table.t_ns + PERIOD_NS, Reason.CAMERA_GONE)


def test_half_the_rate_makes_no_difference() -> None:
    table = Table()
    assert table.feed("h_" * 6)[0] == "SSSSTTTTTTTT"


def test_slow_frames_are_followed_once_their_pace_is_known() -> None:
    """A frame in 0.7 s, then in 1.3 s, as a small computer may need."""
    table = Table()
    assert table.feed(("h" + "_" * 20) * 8)[0][-40:] == "T" * 40
    assert table.feed(("h" + "_" * 38) * 4)[0].count("L") == 0


@pytest.mark.parametrize("step_s", [3600, -3600, 2, -2])
def test_a_clock_that_is_set_loses_the_track_once(step_s: int) -> None:
    table = Table()
    table.feed("hhhh")
    table.t_ns += step_s * 1_000_000_000
    frames = [fix(table.t_ns + i * PERIOD_NS, 0.5) for i in range(1, 6)]
    states = []
    for measured in frames:
        used = table.machine.frame(measured.t_ns, measured)
        states.append((table.machine.state, used))
    lost, tracking = (State.LOST, False), (State.TRACKING, True)
    assert states == [lost, lost, tracking, tracking, tracking]


def test_no_pose_is_used_while_searching_or_lost() -> None:
    """Whatever comes: two thousand random events."""
    generator = np.random.default_rng(1)
    table, seen = Table(), set()
    for letter in generator.choice(list("hhhhhhtHrkob_"), 2000):
        states, used = table.feed(letter)
        seen.add(states)
        assert used == "-" or states in "TD"
        if generator.random() < 0.02:
            table.t_ns += int(generator.integers(-3_000_000_000, 3_000_000_000))
    assert seen >= {"S", "T", "D", "L"}
