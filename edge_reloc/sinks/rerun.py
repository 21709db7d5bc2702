"""A live view in rerun (https://rerun.io): map, path, frustum, features, states, plots.

Addresses: `rerun:` starts the viewer, `rerun:FILE.rrd` and `FILE.rrd` save what it opens,
`rerun:serve[:PORT]` serves it to browsers (9090), `rerun:connect[:HOST:PORT]` sends to one that
runs (127.0.0.1:9876). With `?looks=HZ` (images a second, 0: none) and `?quality=1..100` (of
their JPEG). What is served has no password: anyone who reaches this machine may look.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from ..arrays import F32, F64
from ..errors import ConfigError, SinkError, missing_package
from ..geometry.camera import Camera
from ..geometry.frames import level_from_world
from ..geometry.rigid import invert
from ..memory.process import resident_bytes
from ..structs import PoseEstimate, State, Status
from .facts import RunFacts
from .host_port import host_port
from .look import Look
from .look_options import LOOK_OPTIONS, LOOKS_HZ, QUALITY
from .news import Newsreel
from .options import split_options

log = logging.getLogger(__name__)

GRPC_PORT, WEB_PORT = 9876, 9090
KEPT = "128MiB"  # of what is served, for viewers that come later
PATIENCE_S = 5.0  # with a viewer that takes nothing, at the end
SECOND_NS = 1_000_000_000
CORNER_PX = 0.5  # rerun's pixels begin at the corner of the first one
TIMELINE, FILE = "capture", ".rrd"
CHECK_S = 1.0  # how often a file is asked whether it takes what it gets

WORLD, POINTS, PATH, SEEN = "world", "world/points", "world/path", "world/inliers"
CAMERA, IMAGE = "world/camera", "world/camera/image"
KEYPOINTS, INLIERS = "world/camera/image/keypoints", "world/camera/image/inliers"
STATE, LOG = "state", "log"
AGE, STAGES, MEMORY = "latency/age", "latency/stages", "memory/resident"
CERTAINTY, COUNTS = "trust/p_right", "counts"

GREEN, ORANGE, RED, GREY = (40, 200, 90), (240, 150, 30), (220, 60, 60), (130, 130, 130)
COLOURS = {
    State.SEARCHING: GREY,
    State.TRACKING: GREEN,
    State.DEGRADED: ORANGE,
    State.LOST: RED,
    Status.OK: GREEN,
    Status.DEGRADED: ORANGE,
}
LOW, HIGH = np.array([70, 90, 160]), np.array([235, 215, 150])  # of map points, by height


def open_rerun(address: str, facts: RunFacts) -> RerunSink:
    """The sink of an address. Raises ConfigError, SinkError, MissingPackageError."""
    rest, options = split_options(address, LOOK_OPTIONS)
    sink = DrawingRerunSink if options.get("looks", LOOKS_HZ) > 0 else RerunSink
    return sink(rest, facts, **options)


class RerunSink:
    """Logs a run to one viewer, to whoever connects, or to a file."""

    def __init__(
        self, where: str, facts: RunFacts, *, looks: float = LOOKS_HZ, quality: int = QUALITY
    ) -> None:
        try:
            import rerun
        except ImportError:
            raise missing_package("rerun-sdk", "rerun:", "rerun") from None
        # At the end it waits for viewers for ever; `close` does not.
        rerun.unregister_shutdown()
        self._rerun, self._facts, self._quality = rerun, facts, quality
        self.looks_hz = looks
        self._recording = rerun.RecordingStream("edge_reloc")
        #: where to look
        self.about = _open(rerun, self._recording, where, blueprint(rerun, facts))
        self._frustum_m = _frustum(facts.xyz)
        self._last: tuple[F64, int] | None = None
        self._newsreel = Newsreel()
        self._process_ns = -SECOND_NS
        self._placed = False
        self._where, self._is_file = where, where.endswith(FILE)
        self._checked_s, self._ended = time.monotonic(), False
        self._log_world()

    def write(self, estimate: PoseEstimate) -> None:
        """Log an estimate."""
        self._at(estimate)
        self._log_state(estimate)
        self._log_numbers(estimate)
        self._log_pose(estimate)
        if self._is_file and time.monotonic() - self._checked_s > CHECK_S:
            self._check()

    def _check(self) -> None:
        """Raise SinkError where a file took nothing: its own thread writes it."""
        self._checked_s = time.monotonic()
        try:
            self._recording.flush(timeout_sec=PATIENCE_S)
        except RuntimeError as error:
            self._leave()
            raise SinkError(
                f"{self._where}: writing stopped ({error}); what came before that is in "
                f"the file: 'rerun rrd optimize --continue-on-error' makes a whole one of it"
            ) from None

    def close(self) -> None:
        """Send what is left, if anybody takes it; safe to call twice."""
        if self._ended:
            return
        try:
            if self._is_file:
                self._check()
            else:
                self._recording.flush(timeout_sec=PATIENCE_S)
        except SinkError as error:  # nobody writes any more whom it could be told
            log.warning("%s", error)
            return
        except RuntimeError:
            log.warning("rerun:%s: the viewer did not take all that it was sent", self._where)
        self._leave().join(PATIENCE_S)

    def _leave(self) -> threading.Thread:
        """Disconnect, in a thread that waits for ever for what takes nothing.

        It keeps the recording, which would wait likewise when nobody had it any more.
        """
        self._ended = True
        leaving = threading.Thread(target=self._recording.disconnect, daemon=True)
        leaving.start()
        return leaving

    def _at(self, estimate: PoseEstimate) -> None:
        self._recording.set_time(TIMELINE, duration=np.timedelta64(estimate.t_ns, "ns"))

    def _log_world(self) -> None:
        rr, facts = self._rerun, self._facts
        gravity = facts.world.gravity
        if gravity is not None:
            self._log(WORLD, rr.Transform3D(mat3x3=level_from_world(gravity)), static=True)
            self._log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        if len(facts.xyz):
            colours = _by_height(facts.xyz, gravity)
            self._log(POINTS, rr.Points3D(facts.xyz, colors=colours, radii=-1.2), static=True)
        states = [*State, *(s for s in Status if s.value not in State.__members__)]
        self._log(
            STATE,
            rr.StateConfiguration(
                values=[state.value for state in states],
                colors=[COLOURS.get(state, RED) for state in states],
            ),
            static=True,
        )

    def _log_state(self, estimate: PoseEstimate) -> None:
        rr, news = self._rerun, self._newsreel.of(estimate)
        if news is None:
            return
        if news.changed:
            self._log(STATE, rr.StateChange(state=news.state.value))
        self._log(LOG, rr.TextLog(news.text, level="INFO" if news.good else "WARN"))

    def _log_numbers(self, estimate: PoseEstimate) -> None:
        scalars = self._rerun.Scalars
        for path, value in _numbers(estimate):
            self._log(path, scalars(value))
        if estimate.t_ns - self._process_ns >= SECOND_NS:
            self._process_ns = estimate.t_ns
            if (rss_bytes := resident_bytes()) is not None:
                self._log(MEMORY, scalars(rss_bytes / 1e6))

    def _log_pose(self, estimate: PoseEstimate) -> None:
        rr = self._rerun
        if estimate.cam_from_world is None:
            self._last = None
            if self._placed:
                self._placed = False
                self._log(CAMERA, rr.Clear(recursive=False))
                self._log(SEEN, rr.Clear(recursive=False))
            return
        world_from_cam = invert(estimate.cam_from_world)
        self._log(
            CAMERA,
            rr.Transform3D(mat3x3=world_from_cam[:3, :3], translation=world_from_cam[:3, 3]),
        )
        if not self._placed and self._facts.camera is not None:
            self._log(CAMERA, _pinhole(rr, self._facts.camera, self._frustum_m))
        self._placed = True
        xyz, jumps = world_from_cam[:3, 3], estimate.reset_counter
        if self._last is not None and self._last[1] == jumps:
            colour = COLOURS.get(estimate.state or estimate.status, RED)
            step = rr.LineStrips3D([[self._last[0], xyz]], colors=[colour], radii=-1.5)
            self._log(PATH, step)
        self._last = xyz, jumps

    def _log(self, path: str, what: Any, *, static: bool = False) -> None:
        self._recording.log(path, what, static=static)


class DrawingRerunSink(RerunSink):
    """The same with images and what was found in them."""

    def draw(self, look: Look) -> None:
        """Log the image as JPEG, keypoints, inliers, and the map points of these."""
        rr = self._rerun
        self._at(look.estimate)
        _, jpeg = cv2.imencode(".jpg", look.image, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        self._log(IMAGE, rr.EncodedImage(contents=jpeg.tobytes(), media_type="image/jpeg"))
        for path, xy_px, colour, radius_px in (
            (KEYPOINTS, look.xy_px, GREY, 1.5),
            (INLIERS, look.inlier_xy_px, GREEN, 2.5),
        ):
            self._log(path, rr.Points2D(xy_px + CORNER_PX, colors=[colour], radii=-radius_px))
        if look.estimate.cam_from_world is not None:
            self._log(SEEN, rr.Points3D(look.inlier_xyz, colors=[GREEN], radii=-2.5))


def blueprint(rerun: Any, facts: RunFacts) -> Any:
    """How the viewer shows a run: the place, the image, and below them states and plots."""
    rrb = rerun.blueprint
    everything = rrb.VisibleTimeRange(
        TIMELINE,
        start=rrb.TimeRangeBoundary.infinite(),
        end=rrb.TimeRangeBoundary.cursor_relative(),
    )
    place = rrb.Spatial3DView(
        origin="/",
        contents=[f"+ /{WORLD}/**", f"- /{KEYPOINTS}", f"- /{INLIERS}"],
        name=facts.map_name,
        overrides={PATH: rrb.VisibleTimeRanges(everything)},
        eye_controls=_eye(rrb, facts),
    )
    image = rrb.Spatial2DView(origin=CAMERA, name="camera")
    plots = (
        rrb.TimeSeriesView(origin="latency", name="milliseconds"),
        rrb.TimeSeriesView(origin="counts", name="keypoints, matches, inliers"),
        rrb.TimeSeriesView(
            origin="trust",
            name="chance of being right",
            axis_y=rrb.ScalarAxis(range=(0.0, 1.05)),
            plot_legend=rrb.PlotLegend(visible=False),
        ),
        rrb.TimeSeriesView(
            origin="memory",
            name="memory, MB",
            plot_legend=rrb.PlotLegend(visible=False),
        ),
    )
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(place, image, column_shares=[3, 2]),
            rrb.Horizontal(
                rrb.Vertical(
                    rrb.StateTimelineView(origin=STATE, name="state"),
                    rrb.TextLogView(origin=LOG, name="changes"),
                ),
                *plots[:2],
                rrb.Vertical(*plots[2:]),
            ),
            row_shares=[3, 2],
        ),
        rrb.TimePanel(timeline=TIMELINE, state="collapsed", play_state="following"),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
    )


def _eye(rrb: Any, facts: RunFacts) -> Any:
    """Looks down on the place from beside it; where that is not known, as the viewer chooses."""
    if facts.world.gravity is None or not len(facts.xyz):
        return None
    xyz = facts.xyz @ level_from_world(facts.world.gravity).T
    low, high = np.percentile(xyz, (5, 95), axis=0)
    middle, size = (low + high) / 2, float(np.linalg.norm(high - low))
    return rrb.EyeControls3D(
        position=middle + size * np.array([-0.45, -0.65, 0.6]),
        look_target=middle,
        eye_up=(0.0, 0.0, 1.0),
    )


def _open(rerun: Any, recording: Any, where: str, blueprint: Any) -> str:
    """Connect a recording; in words, where it is to be seen, "" where `where` says that."""
    address = f"rerun:{where}"
    kind, _, rest = where.partition(":")
    try:
        if not where:
            recording.spawn(default_blueprint=blueprint)
            return "rerun's viewer"
        if where.endswith(FILE):
            if not Path(where).parent.is_dir():
                raise SinkError(f"{where}: there is no folder {Path(where).parent}; make it first")
            recording.save(where, default_blueprint=blueprint)
            return ""
        if kind == "serve":
            _, port = host_port(address, rest, WEB_PORT)
            uri = recording.serve_grpc(
                default_blueprint=blueprint,
                server_memory_limit=KEPT,
                cors_allow_origin=[f"http://*:{port}"],  # the page that is served here
            )
            rerun.serve_web_viewer(web_port=port, open_browser=False)
            return f"http://localhost:{port}/?url={quote(uri, safe='')} for browsers"
        if kind == "connect":
            host, port = host_port(address, rest, GRPC_PORT)
            uri = f"rerun+http://{host}:{port}/proxy"
            recording.connect_grpc(uri, default_blueprint=blueprint)
            return uri
    except (OSError, RuntimeError) as error:
        raise SinkError(f"{address}: cannot be opened ({error})") from None
    raise ConfigError(
        f"{address}: expected rerun:, rerun:FILE.rrd, rerun:serve[:PORT] or "
        f"rerun:connect[:HOST:PORT]"
    )


def _numbers(estimate: PoseEstimate) -> Iterator[tuple[str, float]]:
    if estimate.age_ms is not None:
        yield AGE, estimate.age_ms
    for stage, ms in estimate.stages_ms.items():
        yield f"{STAGES}/{stage}", ms
    if estimate.p_right is not None:
        yield CERTAINTY, estimate.p_right
    if not estimate.propagated:
        yield f"{COUNTS}/keypoints", estimate.keypoints
        yield f"{COUNTS}/matches", estimate.matches
        yield f"{COUNTS}/inliers", estimate.inliers


def _pinhole(rerun: Any, camera: Camera, distance_m: float) -> Any:
    return rerun.Pinhole(
        focal_length=(camera.fx, camera.fy),
        principal_point=(camera.cx + CORNER_PX, camera.cy + CORNER_PX),
        resolution=(camera.width, camera.height),
        camera_xyz=rerun.ViewCoordinates.RDF,
        image_plane_distance=distance_m,
    )


def _frustum(xyz: F32) -> float:
    """How far from the camera its image is drawn, world units: a tenth of the place's size."""
    if not len(xyz):
        return 0.5
    low, high = np.percentile(xyz, (5, 95), axis=0)
    return max(float(np.linalg.norm(high - low)) / 10, 1e-3)


def _by_height(xyz: F32, gravity: tuple[float, float, float] | None) -> NDArray[np.uint8]:
    """Colours (P,3) of map points."""
    height = xyz @ -np.array((0.0, 0.0, -1.0) if gravity is None else gravity)
    low, high = np.percentile(height, (2, 98))
    share = np.clip((height - low) / max(high - low, 1e-9), 0, 1)[:, None]
    return np.asarray(LOW + share * (HIGH - LOW), np.uint8)
