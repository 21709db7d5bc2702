"""DINOv2's class token as an image embedding: one more network per frame.

The network is exported by the toolchain with the images' normalisation inside: `image`
(1,3,S,S) float32 RGB in 0..255 to `embedding` (E,), the token as it is and not of unit length:
ViSiR (section 5) learns from that. A grey image is taken as RGB without colour.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..inference.engine import Engine
from ..inference.signature import check_signature
from ..structs import Features, Frame

IMAGE, EMBEDDING = "image", "embedding"


class DinoV2Embedder:
    """Squeezes the frame into the network's square and runs it."""

    def __init__(self, engine: Engine) -> None:
        check_signature(
            engine,
            "embedding network",
            inputs={IMAGE: (1, 3, None, None)},
            outputs={EMBEDDING: (None,) * engine.outputs.get(EMBEDDING, np.empty(0)).ndim},
        )
        self._engine = engine
        self._planes = engine.inputs[IMAGE][0]
        self.dim = int(engine.outputs[EMBEDDING].size)

    def embed(self, frame: Frame, features: Features) -> None:
        """Fill features.embedding from the frame, turned as its heading says."""
        image = frame.image
        turns = (frame.quarter_turns or 0) % 4
        if turns:
            image = np.ascontiguousarray(np.rot90(image, turns))
        height, width = self._planes.shape[1:]
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if image.ndim == 2:
            self._planes[:] = image
        else:
            for plane in range(3):  # BGR to RGB
                self._planes[plane] = image[:, :, 2 - plane]
        self._engine.run()
        features.embedding[:] = self._engine.outputs[EMBEDDING].ravel()
