"""Images prepared on the GPU against OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_reloc.errors import SourceError
from edge_reloc.features.image_fit import FitOnCpu
from edge_reloc.features.image_fit_cuda import FitOnGpu
from edge_reloc.running.demo import DEMO
from edge_reloc.sources.photo import read_photo

WIDTH, HEIGHT = 160, 96


def photo(grey: bool, size: tuple[int, int]) -> np.ndarray:
    """A corner of one of the demo's frames, (H,W) or (H,W,3)."""
    image = read_photo(DEMO / "frames" / "frame_000.jpg", grey=grey)
    return np.ascontiguousarray(np.tile(image, (2, 2) if grey else (2, 2, 1))[: size[1], : size[0]])


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [(160, 96), (100, 60), (320, 192), (333, 130), (150, 300)])
def test_the_input_is_what_opencv_makes_of_it(
    open_gpu: Any, grey: bool, turns: int, size: tuple[int, int]
) -> None:
    image = photo(grey, size)
    expected = np.zeros((HEIGHT, WIDTH), np.float32)
    fit = FitOnCpu(expected).fit(image, turns)
    gpu = open_gpu()
    target = gpu.arena.take_staged("input", (HEIGHT, WIDTH), np.float32)
    fitter = FitOnGpu(gpu, target.address, WIDTH, HEIGHT, 3 * 333 * 300)
    for _ in range(2):  # the sum starts from nothing every time
        assert fitter.fit(image, turns) == fit
    gpu.arena.download(target, gpu.stream)
    gpu.synchronize()
    inner = (slice(fit.fit_height), slice(fit.fit_width))
    difference = np.abs(target.host[inner] - expected[inner])
    assert difference.max() <= 1 and (difference > 0).mean() < 0.02
    outside = np.ones_like(expected, bool)
    outside[inner] = False
    np.testing.assert_allclose(target.host[outside], expected[outside], atol=0.02)


def test_a_frame_that_is_too_large_is_one_line(open_gpu: Any) -> None:
    gpu = open_gpu()
    target = gpu.arena.take_staged("input", (HEIGHT, WIDTH), np.float32)
    fitter = FitOnGpu(gpu, target.address, WIDTH, HEIGHT, 1000)
    with pytest.raises(SourceError, match=r"takes 1200 bytes, 1000 are set aside"):
        fitter.fit(np.zeros((30, 40), np.uint8), 0)
