"""What goes wrong in the field, on purpose: a scenario file for long runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ..errors import ConfigError, SinkError
from ..files import read_small
from ..structs import Frame, PoseEstimate


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Numbers from 0 on; 0 switches a fault off."""

    #: Each n-th frame never arrives.
    drop_every: int = 0
    #: From each n-th frame on the camera repeats its picture `freeze_frames` times.
    freeze_every: int = 0
    freeze_frames: int = 10
    #: Half of each n-th picture is noise.
    corrupt_every: int = 0
    #: How long the sink takes for a pose, milliseconds.
    slow_sink_ms: float = 0.0
    #: Poses until the made-up disk is full.
    sink_fails_after: int = 0
    #: Of the noise.
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
                raise ConfigError(f"faults: '{field.name}' is {value!r}, expected a number >= 0")


def read_faults(path: Path) -> Faults:
    """A scenario of a JSON file; ConfigError for what it does not know."""
    try:
        values = json.loads(read_small(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a readable scenario ({error})") from error
    known = [field.name for field in fields(Faults)]
    if not isinstance(values, dict) or set(values) - set(known):
        raise ConfigError(f"{path}: expected an object with some of {', '.join(known)}")
    return Faults(**values)


def faulty_frames(frames: Iterable[Frame], faults: Faults) -> Iterator[Frame]:
    """The frames as a bad camera would deliver them."""
    generator = np.random.default_rng(faults.seed)
    frozen, left = None, 0
    for number, frame in enumerate(frames, start=1):
        if faults.drop_every and number % faults.drop_every == 0:
            continue
        if left > 0 and frozen is not None:
            left -= 1
            yield replace(frame, image=frozen)
            continue
        if faults.freeze_every and number % faults.freeze_every == 0:
            frozen, left = frame.image.copy(), faults.freeze_frames
        if faults.corrupt_every and number % faults.corrupt_every == 0:
            image = frame.image.copy()
            half = image[image.shape[0] // 2 :]
            half[...] = generator.integers(0, 256, half.shape, np.uint8)
            frame = replace(frame, image=image)
        yield frame


class FaultySink:
    """Takes poses slowly, and at some point not any more."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._taken = 0

    def write(self, estimate: PoseEstimate) -> None:
        """Wait; SinkError once the made-up disk is full."""
        self._taken += 1
        limit = self._faults.sink_fails_after
        if limit and self._taken > limit:
            raise SinkError(
                f"the sink of the scenario: cannot be written after {limit} poses (made-up full "
                f"disk); set sink_fails_after to 0"
            )
        if self._faults.slow_sink_ms:
            time.sleep(self._faults.slow_sink_ms / 1000.0)

    def close(self) -> None: ...
