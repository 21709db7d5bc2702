"""Parameters that an autopilot needs to fly on our poses, what each is for, and what it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .check import Check, missing, note, ok

EXACT = 1e-4  # parameters are float32
LONGEST_DELAY_MS = {"px4": 300, "ardupilot": 250}
QUALITY = 50  # of 100; ours is the chance of being right, percent


@dataclass(frozen=True, kw_only=True)
class Need:
    """One parameter."""

    name: str
    value: float
    why: str
    #: at most `value` does, too
    or_less: bool = False
    #: other values that do, too
    others: tuple[float, ...] = ()
    #: flying without is less good, not wrong
    advised: bool = False

    def met_by(self, value: float) -> bool:
        """Whether a value does."""
        if self.or_less and value <= self.value + EXACT:
            return True
        return any(math.isclose(value, v, abs_tol=EXACT) for v in (self.value, *self.others))

    @property
    def wanted(self) -> str:
        """In words."""
        words = [f"{value:g}" for value in (self.value, *self.others)]
        return f"{words[0]} or less" if self.or_less else " or ".join(words)


def _px4(age_ms: float | None, judged: bool) -> list[Need]:
    delay_ms = 0.0 if age_ms is None else age_ms
    stamped = (
        "stamps are those of the capture, once TIMESYNC has converged (50 s)"
        if age_ms is None
        else "the age said: for a port without TIMESYNC, where arrival counts"
    )
    return [
        Need(name="EKF2_EV_CTRL", value=11, why="horizontal, vertical, yaw; no velocity is sent"),
        Need(name="EKF2_EV_DELAY", value=delay_ms, why=stamped),
        Need(name="EKF2_EV_NOISE_MD", value=0, why="takes the variances that are sent"),
        Need(
            name="EKF2_EVP_NOISE",
            value=0.1,
            or_less=True,
            why="m, floor of the position's deviation: nothing finer is believed; 0.02 for "
            "centimetres",
            advised=True,
        ),
        Need(
            name="EKF2_EVA_NOISE",
            value=0.1,
            or_less=True,
            why="rad, floor of the yaw's deviation (0.05 is the least)",
            advised=True,
        ),
        _quality("EKF2_EV_QMIN", judged),
        *_no_lever_arm("EKF2_EV_POS"),
        Need(
            name="EKF2_HGT_REF",
            value=3,
            others=(0, 1),
            why="height by vision, indoors; barometer or GNSS outdoors",
            advised=True,
        ),
    ]


def _ardupilot(age_ms: float | None, judged: bool) -> list[Need]:
    delay = (
        "the least age_ms of poses that are sent (say --age-ms), 10 with run --rate"
        if age_ms is None
        else "the age said: ArduPilot takes the freshest pose for one of age 0"
    )
    return [
        Need(
            name="VISO_TYPE",
            value=1,
            why="MAVLink: positions as they are; 2 and 3 hide jumps and turn the map to the "
            "compass",
        ),
        Need(
            name="VISO_DELAY_MS",
            value=10 if age_ms is None else round(age_ms),  # a whole number there
            why=delay,
            advised=age_ms is None,
        ),
        *_no_lever_arm("VISO_POS"),
        Need(name="VISO_SCALE", value=1, why="poses are in metres"),
        Need(name="VISO_ORIENT", value=0, why="poses are the body's"),
        Need(
            name="VISO_POS_M_NSE",
            value=0.2,
            or_less=True,
            why="m, floor of the position's deviation (0.1 is the least)",
            advised=True,
        ),
        Need(
            name="VISO_YAW_M_NSE",
            value=0.2,
            or_less=True,
            why="rad, floor of the yaw's deviation; below 0.087 EKF3 has its own",
            advised=True,
        ),
        _quality("VISO_QUAL_MIN", judged),
        Need(name="EK3_ENABLE", value=1, why="EKF3 fuses poses"),
        Need(name="AHRS_EKF_TYPE", value=3, why="EKF3 flies"),
        Need(name="EK3_SRC1_POSXY", value=6, why="horizontal position by ExternalNav"),
        Need(name="EK3_SRC1_VELXY", value=0, why="no velocity is sent"),
        Need(
            name="EK3_SRC1_POSZ",
            value=6,
            others=(1,),
            why="height by ExternalNav, or by the barometer",
        ),
        Need(name="EK3_SRC1_VELZ", value=0, why="no velocity is sent"),
        Need(
            name="EK3_SRC1_YAW",
            value=6,
            others=(1,),
            why="yaw by ExternalNav; by the compass only for a map with north",
        ),
    ]


def _no_lever_arm(name: str) -> list[Need]:
    why = "poses are the body's, not the camera's"
    return [Need(name=f"{name}_{axis}", value=0, why=why) for axis in "XYZ"]


def _quality(name: str, judged: bool) -> Need:
    if not judged:
        return Need(name=name, value=0, why="the map does not know the chance of being right")
    return Need(
        name=name,
        value=QUALITY,
        or_less=True,
        why="quality is 100 times the chance of being right, 0 where nobody knows",
        advised=True,
    )


NEEDS: dict[str, Callable[[float | None, bool], list[Need]]] = {
    "px4": _px4,
    "ardupilot": _ardupilot,
}


def needs_of(autopilot: str, age_ms: float | None = None, *, judged: bool = True) -> list[Need]:
    """Of an autopilot in NEEDS. age_ms: of poses that are sent. judged: they have `p_right`."""
    if age_ms is not None:
        age_ms = min(age_ms, LONGEST_DELAY_MS[autopilot])
    return NEEDS[autopilot](age_ms, judged)


def check_autopilot(needs: list[Need], found: Mapping[str, float | None] | None) -> list[Check]:
    """One check a parameter. found: by name, None where it is not there; None: nobody asked."""
    if found is None:
        return [note(need.name, f"{need.wanted}: {need.why}") for need in needs]
    return [_check(need, found.get(need.name)) for need in needs]


def _check(need: Need, value: float | None) -> Check:
    cure = f"param set {need.name} {need.value:g}"
    tell = note if need.advised else missing
    if value is None:
        return tell(need.name, "not there", f"{need.wanted}: {need.why} ({need.name})")
    if need.met_by(value):
        return ok(need.name, f"{value:g}: {need.why}")
    return tell(need.name, f"{value:g}, {need.wanted} is needed: {need.why}", cure)
