"""What every camera and stream is to the thread that watches it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Protocol

from ..arrays import U8

LONGEST_NAME = 100


def name_of(address: str) -> str:
    """An address for people: without a password, and no longer than a line."""
    return re.sub(r"//[^/@\s]+@(?=[^/])", "//", address.removeprefix("v4l2://"))[:LONGEST_NAME]


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Shot:
    """One image, as its camera or stream gave it."""

    #: (H,W) grey or (H,W,3) BGR, ours alone
    image: U8
    #: by the clock that the capture names, in monotonic nanoseconds
    stamp_ns: int
    #: when it was handed to us, monotonic nanoseconds
    received_ns: int
    #: from the middle of the exposure to the stamp, as far as the driver tells
    delay_ns: int = 0
    #: frames between the one before and this one that nobody saw
    lost: int = 0
    #: counter-clockwise, that show it upright
    upright_turns: int = 0

    @classmethod
    def now(cls, image: U8, *, lost: int = 0, upright_turns: int = 0) -> Shot:
        """Of a camera that tells no time: its arrival."""
        t_ns = time.monotonic_ns()
        return cls(
            image=image, stamp_ns=t_ns, received_ns=t_ns, lost=lost, upright_turns=upright_turns
        )


class Capture(Protocol):
    """An open camera or stream. Opening raises SourceError."""

    @property
    def about(self) -> str:
        """Device, size, rate and format, as they were really opened."""

    @property
    def clock(self) -> str:
        """Whose times the frames have, in words."""

    def read(self) -> Shot | None:
        """The newest frame, waited for; None at the end.

        Raises SourceError when none comes in time, or one cannot be decoded.
        """

    def release(self) -> None:
        """Close; only where no `read` is under way."""
