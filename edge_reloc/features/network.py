"""A feature network: grey image in, fixed-size keypoints out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..embedding.place import pool
from ..errors import BundleError
from ..inference.engine import Engine
from ..types import Features, Frame
from .spec import FeatureSpec

IMAGE, XY, SCORES, DESCRIPTORS, PLACE = "image", "xy_px", "scores", "descriptors", "place"
PLACE_CELL_PX = 32


class NetworkExtractor:
    """Fits the frame into the network's input, keeps what lies inside.

    The network takes `image` (1,1,H,W) float32 grey in 0..255 and returns
    `xy_px` (K,2), `scores` (K,) (zero or less: empty slot) and `descriptors`
    (K,D) of unit length, best score first; and, where the spec has a place_dim, `place`
    (1,G,H/32,W/32), not negative.

    place_map (G,h,w): that of the last image alone, without what fills the input; valid
    until the next image.
    """

    def __init__(self, spec: FeatureSpec, engine: Engine) -> None:
        self.dim = spec.dim
        # Grey, turned, resized: three bytes a pixel, of cameras up to four times as large.
        self.borrowed_bytes = 12 * int(engine.inputs[IMAGE].size)
        self.device_descriptors = engine.address(DESCRIPTORS)
        self._engine = engine
        self._image = engine.inputs[IMAGE][0, 0]
        found = engine.outputs[DESCRIPTORS].shape[-1]
        if found != spec.dim:
            raise BundleError(
                f"feature network '{spec.kind}': descriptors have {found} numbers, "
                f"the map was made with {spec.dim}; rebuild the map with this network"
            )
        self.place_map: NDArray[np.float32] | None = None
        self._has_place = spec.place_dim > 0
        if self._has_place:
            place = engine.outputs.get(PLACE)
            if place is None or place.shape[1] != spec.place_dim:
                raise BundleError(
                    f"feature network '{spec.kind}': output '{PLACE}' is "
                    f"{None if place is None else place.shape}, expected "
                    f"(1,{spec.place_dim},H/32,W/32); rebuild the map with this network"
                )

    def extract(self, frame: Frame, out: Features) -> None:
        """Fill xy_px, score and descriptor, best score first."""
        image = frame.image
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        turns = (frame.quarter_turns or 0) % 4
        if turns:
            image = np.ascontiguousarray(np.rot90(image, turns))
        height, width = image.shape
        net_height, net_width = self._image.shape
        scale = min(net_width / width, net_height / height, 1.0)
        fit_width, fit_height = round(width * scale), round(height * scale)
        if (fit_width, fit_height) != (width, height):
            image = cv2.resize(image, (fit_width, fit_height), interpolation=cv2.INTER_AREA)
        if (fit_width, fit_height) != (net_width, net_height):
            # Networks normalise by the image's mean and spread: grey disturbs them least.
            self._image[:] = cv2.mean(image)[0]
        self._image[:fit_height, :fit_width] = image
        self._engine.run()
        if self._has_place:
            rows, columns = -(-fit_height // PLACE_CELL_PX), -(-fit_width // PLACE_CELL_PX)
            self.place_map = self._engine.outputs[PLACE][0, :, :rows, :columns]
            out.place[:] = pool(self.place_map)
        xy = self._engine.outputs[XY]
        scores = self._engine.outputs[SCORES]
        # Padding ends in an edge, and edges make keypoints that are not there.
        border = 4
        keep = (scores > 0) & (xy[:, 0] >= 0) & (xy[:, 1] >= 0)
        if fit_width < net_width:
            keep &= xy[:, 0] < fit_width - border
        if fit_height < net_height:
            keep &= xy[:, 1] < fit_height - border
        rows = np.flatnonzero(keep)[: out.capacity]
        out.n = n = len(rows)
        x = (xy[rows, 0] + 0.5) * (width / fit_width) - 0.5
        y = (xy[rows, 1] + 0.5) * (height / fit_height) - 0.5
        out.xy_px[:n, 0], out.xy_px[:n, 1] = _turn_back(x, y, width, height, turns)
        out.row[:n] = rows
        out.score[:n] = scores[rows]
        out.descriptor[:n] = self._engine.outputs[DESCRIPTORS][rows]


def _turn_back(
    x: np.ndarray, y: np.ndarray, width: int, height: int, turns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a turned image (width x height after turning) in the original."""
    if turns == 1:
        return (height - 1) - y, x
    if turns == 2:
        return (width - 1) - x, (height - 1) - y
    if turns == 3:
        return y, (width - 1) - x
    return x, y
