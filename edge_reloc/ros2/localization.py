"""Localising the images of a topic until told to stop."""

from __future__ import annotations

import contextlib
import threading

from ..bundle import MapBundle
from ..errors import SourceError
from ..geometry.camera import Camera
from ..methods import Settings
from ..running.loop import run
from ..running.statistics import RunStatistics
from ..running.supervisor import Supervisor, metre_of
from ..sinks import Sink
from ..sinks.background import BackgroundSinks
from ..sources.live import LiveSource
from ..tiles.any_map import open_on
from .subscription import TopicCapture


def localize_topic(
    bundle: MapBundle,
    calibration: Camera,
    settings: Settings,
    capture: TopicCapture,
    sink: Sink,
    stop: threading.Event,
) -> None:
    """Poses of the newest image to the sink, with the states of live streams.

    To end it set `stop` and close the capture. Raises EdgeRelocError.
    """
    with contextlib.ExitStack() as stack:
        try:
            source = LiveSource(lambda: capture, capture.about, calibration)
        except SourceError:
            if stop.is_set():
                return
            raise
        stack.callback(source.close)
        stack.callback(capture.close)
        camera = calibration.scaled_to(source.width, source.height)
        localizer = stack.enter_context(open_on(bundle, camera, settings))
        metre = metre_of(bundle.manifest.world, localizer.overview)
        sinks = BackgroundSinks(live=True)
        sinks.add(sink, "ros2")
        stack.callback(sinks.close)
        supervisor = Supervisor(metre=metre, localizer=localizer)
        run(
            localizer,
            source,
            RunStatistics(),
            sinks=[sinks],
            supervisor=supervisor,
            stop=stop,
        )
