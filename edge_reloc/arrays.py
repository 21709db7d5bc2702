"""Arrays by what they hold, of any shape; shapes stand in docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Array = F64  # for code in which everything is float64, such as geometry


def finite_numbers(value: Any, shape: tuple[int, ...] | None = None) -> Array | None:
    """What a file's lists hold, of this shape or any; None unless all are finite numbers."""
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):  # the last: an integer of 400 digits
        return None
    fits = shape is None or numbers.shape == shape
    return numbers if fits and np.isfinite(numbers).all() else None
