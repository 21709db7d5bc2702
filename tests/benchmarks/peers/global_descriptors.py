"""The image embedding of our own map, so that retrieval is the same for a peer as for us."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.bundle.layout import VIEW_EMBEDDING
from edge_reloc.bundle.reader import open_bundle
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.engines import Engines
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import Line, assemble
from edge_reloc.structs import Features, Frame

FOLDERS = ("embedding/", "nets/")


class GlobalDescriptors:
    """One vector a photo, of unit length."""

    def __init__(self, bundle: Path, threads: int) -> None:
        self._bundle = open_bundle(bundle)
        self._settings = parse_method("image_retrieval:1", Settings(threads=threads)).settings
        self._threads = threads
        self._lines: dict[Camera, Line] = {}

    def of(
        self, image_bgr: NDArray[np.uint8], camera: Camera, upright_turns: int
    ) -> NDArray[np.float32]:
        """(E,) of a photo (H,W,3) that a camera took."""
        if camera not in self._lines:
            engines = Engines(self._bundle, Arena(), threads=self._threads)
            self._lines[camera] = assemble(self._bundle, camera, self._settings, engines)
        line = self._lines[camera]
        image = image_bgr
        if not self._bundle.manifest.sees_colour:
            image = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        frame = Frame(image=image, t_ns=0, camera=camera, quarter_turns=upright_turns)
        features: Features = line.slots[0]
        with line.workers.frame():
            line.extractor.extract(frame, features)
            assert line.embedder is not None
            line.embedder.embed(frame, features)
        return np.array(features.embedding)

    def identity(self) -> str:
        """By which another embedding is known."""
        manifest = self._bundle.manifest
        files = sorted(name for name in manifest.files if name.startswith("embedding/"))
        stamps = [manifest.files[name].sha256 for name in files]
        return " ".join([str(manifest.features.weights_sha256), *stamps])

    def nbytes(self) -> tuple[int, int]:
        """Of what it opens of our map: its networks, and the rest."""
        used = {name for name in self._bundle.used if name.startswith(FOLDERS)}
        nets = {name for name in used if name.startswith("nets/")}
        return self._bundle.nbytes(nets), self._bundle.nbytes(used - nets)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """In which the map keeps those of its photos."""
        return self._bundle.array(VIEW_EMBEDDING).dtype
