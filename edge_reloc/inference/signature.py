"""What a network must take and give: names, shapes, numbers of floating point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ..errors import BundleError
from .engine import Engine

#: lengths by axis, None for any
Shape = tuple["int | None", ...]


def check_signature(
    engine: Engine, who: str, *, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
) -> None:
    """Refuse an engine that others would fail on when they write and read it.

    who: for people, the beginning of the error line. inputs: all that it takes. outputs: those
    that are read; it may give more. Raises BundleError.
    """
    if extra := sorted(set(engine.inputs) - set(inputs)):
        raise BundleError(f"{who}: takes '{extra[0]}' as well, expected {', '.join(inputs)} alone")
    for kind, expected, found in (
        ("input", inputs, engine.inputs),
        ("output", outputs, engine.outputs),
    ):
        for name, shape in expected.items():
            _check(f"{who}: {kind} '{name}'", shape, found.get(name))


def _check(which: str, shape: Shape, array: NDArray[Any] | None) -> None:
    fits = array is not None and array.dtype.kind == "f" and len(array.shape) == len(shape)
    if not fits or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):  # type: ignore[union-attr]
        found = "missing" if array is None else f"{array.dtype} {array.shape}"
        wanted = ",".join("any" if n is None else str(n) for n in shape)
        raise BundleError(
            f"{which} is {found}, expected floats of ({wanted}); it is not of this map, "
            f"train or export the network again"
        )
