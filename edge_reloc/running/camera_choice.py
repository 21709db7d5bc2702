"""The camera of a session: as recorded, calibrated, or that of the mapping photos."""

from __future__ import annotations

import contextlib
import logging

from ..bundle import MapBundle
from ..bundle.mapping_cameras import fitting_camera, mapping_cameras, only_camera, unlike_mapping
from ..geometry.camera import Camera, read_camera
from ..sources import open_source
from .session_options import SessionOptions

log = logging.getLogger(__name__)


def choose_camera(options: SessionOptions, bundle: MapBundle) -> tuple[Camera, str]:
    """The camera, and where it comes from in words. Raises EdgeRelocError."""
    if options.replay is not None and options.calibration is None:
        return options.replay.session.camera, "as recorded"
    if options.calibration is not None:
        camera = read_camera(options.calibration)
        doubt = unlike_mapping(bundle, camera)
        if doubt is not None:
            log.warning("%s", doubt)
        return camera, f"from {options.calibration}"
    if len(mapping_cameras(bundle)) > 1:
        with contextlib.closing(
            open_source(options.source, names=options.names, options=options.camera_options)
        ) as source:
            camera, name = fitting_camera(bundle, source.width, source.height)
    else:
        camera, name = only_camera(bundle)
    return camera, f"as the mapping camera '{name}' (no --calibration given)"
