"""A picture of a run: map from above, trajectory, one frame's inliers, landmarks."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..arrays import F32, I32, U8
from ..errors import ConfigError, one_line
from ..files import check_writable, write_atomic
from ..geometry.rigid import Array, camera_centre
from ..structs import Frame, Localization, Status
from .floor_plan import FloorPlan

SUFFIXES = (".png", ".jpg")
WIDTH_PX, PLAN_PX, STRIP_PX, MARGIN_PX = 1640, 900, 120, 20
REGRESSED_FRAMES = 100
TRACE_CAPACITY = 20_000  # beyond that every second frame is forgotten

Colour = tuple[int, int, int]
INK: Colour = (60, 60, 60)
PAPER: Colour = (255, 255, 255)
INLIER: Colour = (200, 90, 0)
OUTSIDE: Colour = (60, 60, 235)  # keypoints that show no landmark that was tried
GOLDEN_ANGLE = 0.381966  # of the hues: neighbours in number look different
COLOURS: dict[Status, Colour] = {  # BGR
    Status.OK: (80, 160, 40),
    Status.DEGRADED: (60, 170, 170),
    Status.NO_FEATURES: (150, 150, 150),
    Status.NO_MATCHES: (0, 150, 240),
    Status.NO_POSE: (40, 40, 220),
    Status.IMPLAUSIBLE: (180, 60, 180),
    Status.NOT_LOADED: (200, 140, 0),
}


class Recognised(NamedTuple):
    """Keypoints xy_px (N,2) and the landmark (N,) of each, below 1 for none."""

    xy_px: F32
    landmark: I32


class RunPicture:
    """Watches a run in bounded memory, then draws it.

    xyz (P,3): map points; where there are none, what frames regress is drawn as the map,
    and inliers in the colours of their scores. label (P,): landmark of each map point, 0 for
    none; None for other methods.
    """

    def __init__(
        self,
        path: Path,
        xyz: NDArray[np.float32],
        gravity: Array | None,
        unit: str,
        label: I32 | None = None,
    ):
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"{path}: expected a picture named {' or '.join(SUFFIXES)}")
        check_writable(path)
        self._path, self._xyz, self._gravity, self._unit = path, xyz, gravity, unit
        self._label = label
        self._recognised: Recognised | None = None
        self._trace: list[tuple[Status, Array | None]] = []
        self._stride, self._seen = 1, 0
        self._frame: Frame | None = None
        self._inlier_px = np.zeros((0, 2))
        self._inlier_xyz = np.zeros((0, 3))
        self._inlier_point = np.zeros(0, np.int32)
        self._inlier_score = np.zeros(0, np.float32)
        self._regressed: deque[Array] = deque(maxlen=REGRESSED_FRAMES)
        self._caption = "no frame was localised"

    def watch(self, frame: Frame, result: Localization) -> None:
        """Remember where the camera was, and the last localised frame whole."""
        estimate = result.estimate
        if self._seen % self._stride == 0:
            pose = estimate.cam_from_world
            self._trace.append((estimate.status, None if pose is None else pose.copy()))
            if len(self._trace) > TRACE_CAPACITY:
                self._trace = self._trace[::2]
                self._stride *= 2
        self._seen += 1
        if estimate.cam_from_world is None and self._frame is not None:
            return
        self._frame = frame
        self._recognised = None
        labels = result.keypoint_labels
        if labels is not None:
            shown = result.features.xy_px[: len(labels)]
            self._recognised = Recognised(shown.copy(), labels.copy())
        if estimate.inlier_index is not None:
            rows, matches = estimate.inlier_index, result.matches
            self._inlier_px = matches.xy_px[rows].copy()
            self._inlier_xyz = matches.xyz_world[rows].copy()
            self._inlier_point = matches.point_id[rows].copy()
            self._inlier_score = matches.weight[rows].copy()
            if not len(self._xyz):
                self._regressed.append(self._inlier_xyz)
            self._caption = f"{frame.name or frame.index}: {len(rows)} inliers"

    def write(self) -> None:
        """Draw and save, whole or not at all. Raises DiskError."""
        right = WIDTH_PX - PLAN_PX - 3 * MARGIN_PX
        height = PLAN_PX + STRIP_PX + 3 * MARGIN_PX
        canvas: U8 = np.full((height, WIDTH_PX, 3), 255, np.uint8)
        canvas[MARGIN_PX : MARGIN_PX + PLAN_PX, MARGIN_PX : MARGIN_PX + PLAN_PX] = self._plan()
        image = self._frame_image(right)
        left = PLAN_PX + 2 * MARGIN_PX
        rows = min(len(image), PLAN_PX - 40)
        canvas[MARGIN_PX : MARGIN_PX + rows, left : left + right] = image[:rows]
        _text(canvas, self._caption, (left, MARGIN_PX + rows + 28))
        self._draw_strip(canvas, PLAN_PX + 2 * MARGIN_PX)
        done, data = cv2.imencode(self._path.suffix, canvas)
        assert done
        write_atomic(self._path, data.tobytes())

    def _plan(self) -> U8:
        poses = [pose for _, pose in self._trace if pose is not None]
        centres = np.array([camera_centre(pose) for pose in poses]).reshape(-1, 3)
        xyz = np.asarray(self._xyz, np.float64)
        if not len(xyz):
            xyz = np.concatenate(self._regressed or [np.zeros((1, 3))])
        plan = FloorPlan(xyz, centres, self._gravity, PLAN_PX)
        canvas = plan.density(xyz)
        if self._label is not None:
            self._draw_landmarks(canvas, plan, self._label)
        inliers = [_whole(xy) for xy in plan.pixels(self._inlier_xyz)]
        if self._label is not None:
            for place in inliers:
                cv2.circle(canvas, place, 5, INK, -1, cv2.LINE_AA)
        for place, colour in zip(inliers, self._inlier_colours(), strict=True):
            cv2.circle(canvas, place, 3, colour, -1, cv2.LINE_AA)
        ahead = np.array([pose[2, :3] for pose in poses]).reshape(-1, 3)
        tips = plan.pixels(centres + 0.03 * plan.extent * ahead)
        dots = plan.pixels(centres)
        for dot, tip in zip(dots, tips, strict=True):
            cv2.line(canvas, _whole(dot), _whole(tip), (190, 215, 180), 1, cv2.LINE_AA)
        for dot in dots:
            cv2.circle(canvas, _whole(dot), 3, COLOURS[Status.OK], -1, cv2.LINE_AA)
        length = plan.scale_bar()
        end = 20 + round(length * plan.px_per_unit)
        cv2.line(canvas, (20, PLAN_PX - 20), (end, PLAN_PX - 20), INK, 2)
        _text(canvas, f"{length:g} {self._unit}", (20, PLAN_PX - 30))
        _text(canvas, plan.title, (20, 30))
        cv2.rectangle(canvas, (0, 0), (PLAN_PX - 1, PLAN_PX - 1), (200, 200, 200), 1)
        return canvas

    def _draw_landmarks(self, canvas: U8, plan: FloorPlan, label: I32) -> None:
        """Points in the colours of their landmarks."""
        pixels = plan.pixels(np.asarray(self._xyz, np.float64))
        for xy, landmark in zip(pixels, label, strict=True):
            if landmark > 0:
                cv2.circle(canvas, _whole(xy), 1, landmark_colour(landmark), -1)

    def _frame_image(self, width: int) -> U8:
        if self._frame is None:
            return np.full((width * 3 // 4, width, 3), 235, np.uint8)
        image = self._frame.image
        scale = min(width / image.shape[1], (PLAN_PX - 40) / image.shape[0])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        if self._recognised is not None:
            for xy, landmark in zip(*self._recognised, strict=True):
                place = _whole((xy + 0.5) * scale - 0.5)
                cv2.circle(image, place, 2, landmark_colour(landmark), -1, cv2.LINE_AA)
        inliers = [_whole(xy) for xy in (self._inlier_px + 0.5) * scale - 0.5]
        for place, colour in zip(inliers, self._inlier_colours(), strict=True):
            if self._label is None:
                cv2.circle(image, place, 3, colour, 1, cv2.LINE_AA)
            else:
                cv2.circle(image, place, 5, PAPER, -1, cv2.LINE_AA)
                cv2.circle(image, place, 4, colour, -1, cv2.LINE_AA)
        canvas: U8 = np.full((len(image), width, 3), 255, np.uint8)
        canvas[:, : image.shape[1]] = image[:, :width]
        return canvas

    def _inlier_colours(self) -> list[Colour]:
        """Of their points' landmarks, where there are some; of their scores without points."""
        if not len(self._xyz):
            rank = np.argsort(np.argsort(self._inlier_score)) * 255 // max(1, len(self._inlier_px))
            shades = cv2.applyColorMap(rank.astype(np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)
            return [(int(b), int(g), int(r)) for b, g, r in shades.reshape(-1, 3)]
        if self._label is None:
            return [INLIER] * len(self._inlier_px)
        return [landmark_colour(landmark) for landmark in self._label[self._inlier_point]]

    def _draw_strip(self, canvas: U8, top: int) -> None:
        """One colour a frame, in order, and what the colours mean."""
        width = WIDTH_PX - 2 * MARGIN_PX
        statuses = [status for status, _ in self._trace]
        for x in range(width if statuses else 0):
            colour = COLOURS[statuses[x * len(statuses) // width]]
            canvas[top : top + 30, MARGIN_PX + x] = colour
        x = MARGIN_PX
        for status, colour in COLOURS.items():
            share = 100.0 * statuses.count(status) / max(1, len(statuses))
            cv2.circle(canvas, (x + 8, top + 62), 8, colour, -1, cv2.LINE_AA)
            _text(canvas, f"{status.value} {share:.1f} %", (x + 24, top + 68))
            x += 250
        if not len(self._xyz):
            _text(canvas, "inliers: yellow surest", (x, top + 68))
        elif self._label is None:
            cv2.circle(canvas, (x + 8, top + 62), 4, INLIER, -1, cv2.LINE_AA)
            _text(canvas, "inliers of the frame shown", (x + 24, top + 68))
        else:
            cv2.circle(canvas, (x + 8, top + 62), 3, OUTSIDE, -1, cv2.LINE_AA)
            _text(canvas, "not recognised", (x + 24, top + 68))
            _text(canvas, "a colour a landmark; ringed: inliers", (x + 24, top + 105))
        _text(canvas, f"{self._seen} frames from left to right", (MARGIN_PX, top + 105))


def landmark_colour(landmark: int) -> Colour:
    """BGR of a landmark's number, never red; red below 1."""
    if landmark < 1:
        return OUTSIDE
    hue = round(15 + 145 * ((0.2 + landmark * GOLDEN_ANGLE) % 1.0))
    strong = 150 + 100 * (landmark % 2)
    pixel = np.array([[[hue, strong, 215]]], np.uint8)
    blue, green, red = (int(v) for v in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0])
    return blue, green, red


def _whole(xy: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(xy[0])), round(float(xy[1]))


def _text(canvas: U8, text: str, origin: tuple[int, int]) -> None:
    text = one_line(text)  # a name that is not UTF-8 would end the process
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
