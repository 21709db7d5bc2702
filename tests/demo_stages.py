"""The demo's map and one of its frames, for tests of every implementation of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import edge_reloc
from edge_reloc.bundle import MapBundle, open_bundle
from edge_reloc.features import FeatureSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.inference.engines import Engines
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import MethodStages, Settings, find_method
from edge_reloc.sources import open_source
from edge_reloc.structs import Features, Frame

DEMO = Path(edge_reloc.__file__).parent / "demo"
#: settings of each retriever; a method that retrieves stands here
VARIANTS = {
    "exhaustive": Settings(method="exhaustive"),
    "image_retrieval": Settings(method="image_retrieval"),
    "cells": Settings(method="visible_structure", head="cells"),
    "generative": Settings(method="visible_structure", head="generative"),
    "landmarks": Settings(method="landmarks"),
}


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the stages of the demo need."""

    bundle: MapBundle
    camera: Camera
    spec: FeatureSpec
    frame: Frame

    def features(self, embedding_dim: int = 0) -> Features:
        """Empty buffers of the demo's sizes."""
        spec = self.spec
        return Features(Arena(), spec.keypoints, spec.dim, embedding_dim, spec.place_dim)

    def extract(self, embedding_dim: int = 0) -> Features:
        """The frame's keypoints."""
        engines = Engines(self.bundle, Arena())
        out = self.features(embedding_dim)
        out.camera = self.camera
        open_extractor(self.spec, self.camera, engines.open).extract(self.frame, out)
        return out

    def stages(self, settings: Settings) -> MethodStages:
        """Retriever and embedder of a method."""
        assert settings.method is not None
        engines = Engines(self.bundle, Arena())
        return find_method(settings.method).open(self.bundle, engines, settings)


def open_demo() -> Demo:
    """Map, camera and one frame of the demo."""
    bundle, camera = open_bundle(DEMO / "map"), read_camera(DEMO / "camera.json")
    spec = bundle.manifest.features
    frame = next(iter(open_source(DEMO / "frames" / "frame_010.jpg", camera)))
    return Demo(bundle=bundle, camera=camera, spec=spec, frame=frame)
