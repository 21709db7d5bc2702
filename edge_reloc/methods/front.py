"""The front of a line: what finds a frame's features, and what is remembered between frames.

It knows nothing of a map but its feature network, so that the tiles of a city share one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from ..features.extractor import open_extractor
from ..features.spec import FeatureSpec
from ..geometry.camera import Camera
from ..inference.engines import Engines
from ..memory.threads import Workers
from ..pose.calibration_check import CalibrationCheck
from ..pose.quarter_turns import QuarterTurnSearch
from ..pose.tracking import Tracker
from ..settings import CommonSettings
from ..stages import Extractor
from ..structs import Features


@dataclass(frozen=True, kw_only=True)
class Front:
    """Everything before a map is asked, and the parts whose answer hangs on earlier frames."""

    extractor: Extractor
    #: one for each frame in flight
    slots: tuple[Features, ...]
    workers: Workers
    tracker: Tracker | None
    calibration_check: CalibrationCheck | None
    #: for maps of turned photos
    turns: QuarterTurnSearch | None


def open_front(
    spec: FeatureSpec,
    camera: Camera,
    settings: CommonSettings,
    engines: Engines,
    *,
    embedding_dim: int = 0,
    share_of_last_inliers: float = 0.5,
) -> Front:
    """The front for frames of one camera; its buffers come from the engines' arena.

    embedding_dim: E. share_of_last_inliers: see `QuarterTurnSearch`. Maps of turned photos look
    at a frame again, so that the next one has to wait: they have one slot.
    """
    extractor = open_extractor(spec, camera, engines.open, engines.gpu)
    slots = tuple(
        Features(
            engines.arena,
            spec.keypoints,
            extractor.dim,
            embedding_dim,
            spec.place_dim,
            regressed=extractor.regresses,
        )
        for _ in range(1 if spec.turns else settings.in_flight)
    )
    return Front(
        extractor=extractor,
        slots=slots,
        workers=Workers(settings.threads),
        tracker=Tracker(settings.search_every) if settings.tracking else None,
        calibration_check=_calibration_check(settings),
        turns=QuarterTurnSearch(share_of_last_inliers) if spec.turns else None,
    )


def _calibration_check(settings: CommonSettings) -> CalibrationCheck | None:
    percent = settings.camera_error_percent
    if settings.calibration_check:
        return CalibrationCheck(None if percent is None else percent / 100.0)
    if percent is not None:
        raise ConfigError(
            f"camera_error_percent: found {percent:g} without calibration_check, which takes the "
            f"camera file for exact; leave one of the two out"
        )
    return None
