"""What `stages.Extractor` promises: keypoints inside the image, the best first."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from demo_stages import Demo

from edge_reloc.features import FeatureSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.inference.engines import Engines
from edge_reloc.memory.arena import Arena
from edge_reloc.stages import Extractor
from edge_reloc.structs import Features

UNIT = 1e-3  # a network's normalisation in float32, descriptors stored in float16
SIFT = FeatureSpec(kind="sift", dim=128, keypoints=400)


@pytest.fixture(scope="module", params=["sift", "network"])
def case(request: pytest.FixtureRequest, demo: Demo) -> tuple[Extractor, Features]:
    """Extractor and its buffers."""
    spec = SIFT if request.param == "sift" else demo.spec
    arena = Arena()
    extractor = open_extractor(spec, demo.camera, Engines(demo.bundle, arena).open)
    assert extractor.dim == spec.dim and extractor.borrowed_bytes > 0
    assert extractor.device_descriptors == 0
    out = Features(arena, spec.keypoints, spec.dim, 0, spec.place_dim)
    arena.seal()
    return extractor, out


def test_keypoints_lie_in_the_image_the_best_first(
    case: tuple[Extractor, Features], demo: Demo
) -> None:
    extractor, out = case
    extractor.extract(demo.frame, out)
    n = out.n
    assert 100 < n <= out.capacity
    height, width = demo.frame.image.shape[:2]
    xy_px = out.xy_px[:n]
    assert xy_px.min() >= -0.5 and (xy_px <= (width - 0.5, height - 0.5)).all()
    assert (np.diff(out.score[:n]) <= 0).all() and out.score[n - 1] > 0
    length = np.linalg.norm(out.descriptor[:n], axis=1)
    np.testing.assert_allclose(length, 1, atol=UNIT)


def test_a_smaller_buffer_keeps_the_best(case: tuple[Extractor, Features], demo: Demo) -> None:
    extractor, out = case
    extractor.extract(demo.frame, out)
    small = Features(Arena(), 50, out.descriptor.shape[1], 0, len(out.place))
    extractor.extract(demo.frame, small)
    assert small.n == 50
    np.testing.assert_array_equal(small.score, out.score[:50])


def test_a_blank_image_leaves_a_valid_struct(case: tuple[Extractor, Features], demo: Demo) -> None:
    extractor, out = case
    extractor.extract(replace(demo.frame, image=np.full_like(demo.frame.image, 90)), out)
    assert out.n == 0


def test_colour_and_grey_are_the_same_frame(case: tuple[Extractor, Features], demo: Demo) -> None:
    extractor, out = case
    extractor.extract(demo.frame, out)
    n, xy_px, descriptor = out.n, out.xy_px.copy(), out.descriptor.copy()
    colour = cv2.cvtColor(demo.frame.image, cv2.COLOR_GRAY2BGR)
    extractor.extract(replace(demo.frame, image=colour), out)
    assert out.n == n
    np.testing.assert_array_equal(out.xy_px[:n], xy_px[:n])
    np.testing.assert_array_equal(out.descriptor[:n], descriptor[:n])
