"""Numbers of file headers, which may be anything."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> float | None:
    """The value as a finite number; None when it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def within(value: Any, low: float, high: float) -> float | None:
    """The value when it is a number of this range, bounds included."""
    number = finite(value)
    return number if number is not None and low <= number <= high else None
