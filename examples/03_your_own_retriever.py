"""A method of your own: map points near a position that the vehicle knows, from GPS perhaps.

It brings a retriever and takes features, matching and solver as they are.
"""

from pathlib import Path
from typing import Any

import numpy as np

import edge_reloc
from edge_reloc.bundle.points import open_points
from edge_reloc.methods import METHODS, Method, MethodStages, Variant
from edge_reloc.methods.one_pass import one_pass


class NearPosition(Method):
    name = "near_position"
    summary = "map points within a radius of a known position"
    variants = (Variant(name=name),)  # as `evaluate` would call it
    position, radius = np.zeros(3), 8.0  # map units

    def open(self, bundle: Any, engines: Any, settings: Any) -> MethodStages:
        points = open_points(bundle)
        self.xyz = points.xyz
        return MethodStages(registration=one_pass, retriever=self, points=points, capacity=points.n)

    def retrieve(self, features: Any, out: Any) -> None:
        near = np.linalg.norm(self.xyz - self.position, axis=1) < self.radius
        out.clear()
        out.n = np.count_nonzero(near)
        out.point_id[: out.n] = np.flatnonzero(near)


gps = METHODS["near_position"] = NearPosition()  # from here on `open` knows it
demo = Path(edge_reloc.__file__).parent / "demo"
with edge_reloc.open(demo / "map", method="near_position") as localizer:
    gps.position = np.array([0.0, 0.0, 1.5])  # before each frame
    result = localizer.localize(demo / "frames/frame_000.jpg")
    print(result.status.value, result.candidates.n, "of", localizer.points.n, "points matched")
