"""Whether a session keeps the memory it may take, before and after it was opened."""

from __future__ import annotations

from collections.abc import Sequence

from ..bundle import MapBundle
from ..errors import ConfigError
from ..geometry.camera import Camera
from ..memory.process import read_memory
from ..methods import Settings
from ..recording.ring import notes_bytes, ring_bytes
from ..sinks.opening import queue_bytes
from .budget import MIB, Footprint, Row, Rows, check_budget, fit_budget
from .session_options import RecorderOptions, SessionOptions


def within_budget(
    options: SessionOptions, bundle: MapBundle, camera: Camera, width: int, height: int
) -> tuple[Settings, Footprint | None, str]:
    """Settings that keep the budget, what is planned, and what had to be lowered for it.

    width, height: of the source, pixels. Raises ConfigError where nothing keeps it.
    """
    settings, budget = options.settings, options.budget_bytes
    if budget is None:
        return settings, None, ""
    rows = _rows(options, width, height)
    if options.fit:
        return fit_budget(bundle, camera, settings, budget, rows)
    return settings, check_budget(bundle, camera, settings, budget, rows, options.held_bytes), ""


def check_held(budget: int | None) -> None:
    """Refuse before the first frame when opening took more than the budget."""
    held = read_memory().rss_bytes
    if budget is not None and held is not None and held > budget:
        raise ConfigError(
            f"--budget {budget / MIB:.0f}MiB: the process holds {held / MIB:.1f} MiB with the "
            f"map open, more than was planned; name a larger budget"
        )


def sink_rows(outputs: Sequence[str]) -> Rows:
    """What is planned for poses that wait to be written."""
    return tuple(Row(kind="sinks", name=f"queue of {o}", nbytes=queue_bytes(o)) for o in outputs)


def frames_bytes(recorder: RecorderOptions, width: int, height: int) -> int:
    """What a flight recorder keeps of pixels."""
    return ring_bytes(width, height, recorder.seconds, recorder.most_bytes)


def _rows(options: SessionOptions, width: int, height: int) -> Rows:
    """What is planned beside the localiser."""
    rows, recorder = list(sink_rows(options.output)), options.recorder
    if recorder is not None:
        pixels = frames_bytes(recorder, width, height)
        rows.append(Row(kind="recorder", name="frames", nbytes=pixels))
        rows.append(Row(kind="recorder", name="notes", nbytes=notes_bytes(recorder.seconds)))
    return (*rows, *options.beside)
