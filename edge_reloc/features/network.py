"""A feature network: grey image in, fixed-size keypoints out."""

from __future__ import annotations

import numpy as np

from ..arrays import F32
from ..bundle.schema import LARGEST
from ..embedding.place import pool
from ..errors import BundleError
from ..inference.engine import Engine
from ..structs import Features, Frame
from .image_fit import FitOnCpu, ImageFitter
from .spec import XYZ_WORLD, FeatureSpec

IMAGE, XY, SCORES, DESCRIPTORS, PLACE = "image", "xy_px", "scores", "descriptors", "place"
PLACE_CELL_PX = 32
BORDER_PX = 4  # padding ends in an edge, and edges make keypoints that are not there


class NetworkExtractor:
    """Fits the frame into the network's input, keeps what lies inside.

    The network takes `image` (1,1,H,W) float32 grey in 0..255 and returns
    `xy_px` (K,2), `scores` (K,) (zero or less: empty slot) and `descriptors`
    (K,D) of unit length, best score first; and, where the spec has a place_dim, `place`
    (1,G,H/32,W/32), not negative. Instead of descriptors it may return `xyz_world` (K,3).

    fitter: how images get into the network's input, by OpenCV when None.
    place_map (G,h,w): that of the last image alone, without what fills the input; valid
    until the next image.
    """

    def __init__(
        self, spec: FeatureSpec, engine: Engine, fitter: ImageFitter | None = None
    ) -> None:
        self.regresses = XYZ_WORLD in engine.outputs
        self.dim = 0 if self.regresses else spec.dim
        # Grey, turned, resized: three bytes a pixel, of cameras up to four times as large.
        self.borrowed_bytes = 12 * int(engine.inputs[IMAGE].size)
        said = XYZ_WORLD if self.regresses else DESCRIPTORS
        self.device_descriptors = engine.address(said)
        self._engine = engine
        self._net_height, self._net_width = engine.inputs[IMAGE].shape[2:]
        self._fitter = fitter or FitOnCpu(engine.inputs[IMAGE][0, 0])
        found = engine.outputs[said].shape[-1]
        if found != spec.dim:
            raise BundleError(
                f"feature network '{spec.kind}': descriptors have {found} numbers, "
                f"the map was made with {spec.dim}; rebuild the map with this network"
            )
        self.place_map: F32 | None = None
        self._has_place = spec.place_dim > 0
        if self._has_place:
            place = engine.outputs.get(PLACE)
            if place is None or place.ndim != 4 or place.shape[:2] != (1, spec.place_dim):
                raise BundleError(
                    f"feature network '{spec.kind}': output '{PLACE}' is "
                    f"{None if place is None else place.shape}, expected "
                    f"(1,{spec.place_dim},H/32,W/32); rebuild the map with this network"
                )

    def extract(self, frame: Frame, out: Features) -> None:
        """Fill xy_px, score and descriptor, best score first."""
        turns = (frame.quarter_turns or 0) % 4
        fit = self._fitter.fit(frame.image, turns)
        fit_width, fit_height = fit.fit_width, fit.fit_height
        self._engine.run()
        if self._has_place:
            rows, columns = -(-fit_height // PLACE_CELL_PX), -(-fit_width // PLACE_CELL_PX)
            self.place_map = self._engine.outputs[PLACE][0, :, :rows, :columns]
            out.place[:] = pool(self.place_map)
        xy, scores = self._engine.outputs[XY], self._engine.outputs[SCORES]
        keep = (scores > 0) & (xy[:, 0] >= 0) & (xy[:, 1] >= 0)
        # Weights decide what comes out: a network may say anything, also infinity.
        keep &= xy[:, 0] < fit_width - (BORDER_PX if fit_width < self._net_width else 0)
        keep &= xy[:, 1] < fit_height - (BORDER_PX if fit_height < self._net_height else 0)
        if self.regresses:
            xyz = self._engine.outputs[XYZ_WORLD]
            keep &= (np.abs(xyz) <= LARGEST).all(axis=1)
        found = np.flatnonzero(keep)[: out.capacity]
        out.n = n = len(found)
        x = (xy[found, 0] + 0.5) * (fit.width / fit_width) - 0.5
        y = (xy[found, 1] + 0.5) * (fit.height / fit_height) - 0.5
        out.xy_px[:n, 0], out.xy_px[:n, 1] = turn_back(x, y, fit.width, fit.height, turns)
        out.row[:n] = found
        out.score[:n] = scores[found]
        if self.regresses:
            out.xyz_world[:n] = xyz[found]
        else:
            out.descriptor[:n] = self._engine.outputs[DESCRIPTORS][found]


def turn_back(x: F32, y: F32, width: int, height: int, turns: int) -> tuple[F32, F32]:
    """Pixels of a turned image (width x height after turning) in the original."""
    if turns == 1:
        return (height - 1) - y, x
    if turns == 2:
        return (width - 1) - x, (height - 1) - y
    if turns == 3:
        return y, (width - 1) - x
    return x, y
