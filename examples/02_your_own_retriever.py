"""Replace one stage: candidates from a rough position instead of the image.

A drone with GPS knows roughly where it is. Any object with the right method
is a stage; nothing has to be registered anywhere.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

import edge_reloc
from edge_reloc.bundle import open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.localizer import Localizer
from edge_reloc.settings import Settings
from edge_reloc.sources import open_source
from edge_reloc.structs import Candidates, Features


class NearPosition:
    """All map points within a radius of a position."""

    def __init__(self, xyz: np.ndarray, position: np.ndarray, radius_m: float) -> None:
        distance = np.linalg.norm(xyz - position, axis=1)
        self.ids = np.flatnonzero(distance < radius_m).astype(np.int32)

    def retrieve(self, features: Features, out: Candidates) -> None:
        out.clear()
        out.n = min(len(self.ids), out.capacity)
        out.point_id[: out.n] = self.ids[: out.n]


demo = Path(edge_reloc.__file__).parent / "demo"
camera = read_camera(demo / "camera.json")
localizer = Localizer.open(open_bundle(demo / "map"), camera, Settings(method="exhaustive"))
near = NearPosition(localizer.points.xyz, np.zeros(3), radius_m=8.0)
localizer.method = replace(localizer.method, retriever=near)
frame = next(iter(open_source(str(demo / "frames"), camera)))
print(localizer.localize(frame).status.value, "with", len(near.ids), "candidates")
