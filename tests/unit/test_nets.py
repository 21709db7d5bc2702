"""The detector on maps whose keypoints are known, and the network extractor."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_reloc.errors import BundleError, ConfigError, EngineError
from edge_reloc.features import FeatureSpec, NetworkSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.features.network import NetworkExtractor
from edge_reloc.features.sift import SiftExtractor
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.engine import OnHost
from edge_reloc.memory.arena import Arena
from edge_reloc.structs import Features, Frame
from edge_reloc_export.nets.detector import DenseMaps, Detector, sample
from edge_reloc_export.nets.local_features import feature_network
from edge_reloc_export.onnx.export import export_features, export_module

FLOAT32_NOISE = 1e-5
SIFT_BIAS_PX = 0.1  # OpenCV's default would be 0.25 off
SUBPIXEL_PX = 0.2  # a 3x3 centre of heat is biased towards the pixel; rounding errs by 0.5


def _maps(heat, reliability=None, stride=8):
    h, w = -(-heat.shape[0] // stride), -(-heat.shape[1] // stride)
    generator = torch.Generator().manual_seed(1)
    return DenseMaps(
        torch.as_tensor(heat, dtype=torch.float32),
        reliability,
        torch.randn((16, h, w), generator=generator),
    )


def _peaks_by_definition(heat, threshold, radius=2):
    """(x, y, heat) of every pixel that no pixel of its 5x5 window exceeds."""
    found = []
    for y, x in np.argwhere(heat > threshold):
        window = heat[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        if heat[y, x] == window.max():
            found.append((x, y, heat[y, x]))
    return sorted(found, key=lambda p: -p[2])


@pytest.mark.parametrize(("height", "width"), [(48, 64), (45, 61)])
def test_detector_finds_what_the_definition_says(height: int, width: int) -> None:
    heat = np.random.default_rng(3).random((height, width)).astype(np.float32)
    expected = _peaks_by_definition(heat, 0.2)[:60]
    found = Detector(60, threshold=0.2, refine_radius_px=0)(_maps(heat))
    np.testing.assert_array_equal(found.xy_px.numpy(), [(x, y) for x, y, _ in expected])
    np.testing.assert_allclose(found.scores.numpy(), [s for _, _, s in expected], rtol=1e-6)


def test_detector_marks_empty_slots() -> None:
    heat = np.zeros((32, 32), np.float32)
    heat[10, 20], heat[25, 5] = 0.9, 0.5
    found = Detector(16, threshold=0.2)(_maps(heat))
    assert (found.scores > 0).sum() == 2
    np.testing.assert_allclose(found.xy_px[:2].numpy(), [(20, 10), (5, 25)])
    assert bool(torch.isfinite(found.descriptors).all())


def test_detector_ranks_by_reliability_and_keeps_the_rim_free() -> None:
    heat = np.zeros((32, 32), np.float32)
    heat[8, 8], heat[8, 24], heat[16, 1] = 0.9, 0.5, 0.95
    reliability = torch.full((4, 4), 0.1)
    reliability[:, 2:] = 1.0
    found = Detector(16, threshold=0.2, border_px=4)(_maps(heat, reliability))
    assert (found.scores > 0).sum() == 2
    np.testing.assert_allclose(found.xy_px[:2].numpy(), [(24, 8), (8, 8)])


def test_positions_are_finer_than_a_pixel() -> None:
    rng = np.random.default_rng(5)
    truth = np.stack(np.meshgrid(np.arange(8, 60, 10), np.arange(8, 60, 10)), -1).reshape(-1, 2)
    truth = truth + rng.uniform(-0.5, 0.5, truth.shape)
    y, x = np.mgrid[:64, :64]
    squared = (x[..., None] - truth[:, 0]) ** 2 + (y[..., None] - truth[:, 1]) ** 2
    heat = np.exp(-squared / (2 * 0.8**2)).max(axis=-1)
    found = Detector(len(truth), threshold=0.3)(_maps(heat)).xy_px.numpy()
    error = np.linalg.norm(found[:, None] - truth[None], axis=2).min(axis=0)
    rounded = np.linalg.norm(np.round(truth) - truth, axis=1)
    assert np.median(error) < SUBPIXEL_PX
    assert np.median(error) < 0.6 * np.median(rounded)


def test_sampling_is_bicubic_at_cell_centres() -> None:
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn((8, 12, 16), generator=generator)
    xy = torch.rand((200, 2), generator=generator) * torch.tensor([127.0, 95.0])
    cell = (xy - 3.5) / 8
    grid = (2 * cell + 1) / torch.tensor([16.0, 12.0]) - 1
    expected = torch.nn.functional.grid_sample(
        maps[None], grid[None, :, None], "bicubic", "border", align_corners=False
    )[0, :, :, 0].T
    expected = torch.nn.functional.normalize(expected, dim=1)
    torch.testing.assert_close(sample(maps, xy, 8), expected, atol=FLOAT32_NOISE, rtol=0)


def test_unknown_network_and_senseless_sizes_are_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="found 'superglue', expected one of xfeat"):
        feature_network("superglue")
    with pytest.raises(ConfigError, match="size is 32x480"):
        export_features("xfeat", tmp_path / "x.onnx", 32, 480, 64, tmp_path / "out.onnx")
    with pytest.raises(ConfigError, match="4096 keypoints from 128x128"):
        export_features("xfeat", tmp_path / "x.onnx", 128, 128, 4096, tmp_path / "out.onnx")


def test_export_refuses_int64_and_writes_nothing(tmp_path) -> None:
    class Ranks(torch.nn.Module):
        def forward(self, x):
            return torch.argsort(x)

    with pytest.raises(EngineError, match="'rank' is int64"):
        export_module(Ranks(), [torch.rand(8)], ["x"], ["rank"], tmp_path / "rank.onnx")
    assert not list(tmp_path.iterdir())


class _BrightestDots(OnHost):
    """An engine whose keypoints are the pixels at 255, best-filled first."""

    def __init__(self, height: int, width: int, keypoints: int, dim: int) -> None:
        self.inputs = {"image": np.zeros((1, 1, height, width), np.float32)}
        self.outputs = {
            "xy_px": np.zeros((keypoints, 2), np.float32),
            "scores": np.zeros(keypoints, np.float32),
            "descriptors": np.ones((keypoints, dim), np.float32),
        }
        self.seen = np.zeros(0, np.float32)

    def run(self) -> None:
        image = self.inputs["image"][0, 0]
        self.seen = image.copy()
        y, x = np.nonzero(image > 200)
        self.outputs["scores"][:] = 0
        self.outputs["scores"][: len(x)] = 1
        self.outputs["xy_px"][: len(x)] = np.stack([x, y], axis=1)

    def close(self) -> None:
        pass


def _extractor(engine: _BrightestDots) -> tuple[NetworkExtractor, Features]:
    spec = FeatureSpec(
        kind="dots", dim=4, keypoints=16, networks=(NetworkSpec(file="x", width=80, height=60),)
    )
    return NetworkExtractor(spec, engine), Features(Arena(), 16, 4, 0)


def _frame(image: np.ndarray, turns: int | None) -> Frame:
    camera = Camera(model="pinhole", width=80, height=60, fx=1, fy=1, cx=1, cy=1)
    return Frame(image=image, t_ns=0, camera=camera, quarter_turns=turns)


def test_a_map_without_its_feature_network_says_so() -> None:
    """As `export single` leaves it where another network holds the map."""
    camera = Camera(model="pinhole", width=80, height=60, fx=1, fy=1, cx=1, cy=1)
    with pytest.raises(BundleError, match="'dots' names no network"):
        open_extractor(FeatureSpec(kind="dots", dim=4), camera, lambda file: pytest.fail(file))


@pytest.mark.parametrize("turns", [None, 0, 1, 2, 3, 5])
@pytest.mark.parametrize("colour", [False, True])
def test_turned_frames_give_pixels_of_the_frame_as_it_is(turns: int | None, colour: bool) -> None:
    image = np.full((60, 80), 20, np.uint8)
    dots = [(11, 7), (70, 9), (30, 52)]
    for x, y in dots:
        image[y, x] = 255
    engine = _BrightestDots(96, 96, 16, 4)
    extractor, features = _extractor(engine)
    extractor.extract(_frame(np.dstack([image] * 3) if colour else image, turns), features)
    found = {tuple(xy) for xy in features.xy_px[: features.n].tolist()}
    assert found == set(dots)
    shape = (80, 60) if (turns or 0) % 2 else (60, 80)
    np.testing.assert_array_equal(
        engine.seen[: shape[0], : shape[1]], np.rot90(image, turns or 0).astype(np.float32)
    )
    # What the image does not fill is its mean grey.
    assert engine.seen[-1, -1] == pytest.approx(image.mean(), abs=0.5)


def test_the_place_map_is_of_the_image_alone() -> None:
    """What fills the network's input beside the frame does not count."""
    engine = _BrightestDots(96, 96, 16, 4)
    place = np.zeros((1, 2, 3, 3), np.float32)
    place[0, :, :2, :2], place[0, 1, 2, :], place[0, 0, :, 2] = [[[3.0]], [[4.0]]], 9.0, 9.0
    engine.outputs["place"] = place
    network = NetworkSpec(file="x", width=96, height=96)
    spec = FeatureSpec(kind="dots", dim=4, keypoints=16, networks=(network,), place_dim=2)
    extractor, features = NetworkExtractor(spec, engine), Features(Arena(), 16, 4, 0, 2)
    extractor.extract(_frame(np.zeros((60, 64), np.uint8), None), features)
    np.testing.assert_allclose(features.place, [0.6, 0.8], atol=1e-5)
    del engine.outputs["place"]
    with pytest.raises(BundleError, match="output 'place' is None, expected"):
        NetworkExtractor(spec, engine)


def test_larger_frames_are_fitted_and_pixels_scaled_back() -> None:
    image = np.full((120, 160), 20, np.uint8)
    image[40:42, 100:102] = 255  # one pixel at half the size: centre (100.5, 40.5)
    extractor, features = _extractor(_BrightestDots(60, 80, 16, 4))
    extractor.extract(_frame(image, None), features)
    np.testing.assert_allclose(features.xy_px[: features.n], [(100.5, 40.5)])


def test_a_network_of_another_descriptor_length_is_refused() -> None:
    with pytest.raises(BundleError, match="descriptors have 6 numbers, the map was made with 4"):
        _extractor(_BrightestDots(60, 80, 16, 6))


@pytest.mark.parametrize("max_side", [400, 200])
def test_sift_positions_have_no_bias(max_side: int) -> None:
    truth = np.array([[240.0, 130.0], [100.4, 200.7], [300.0, 80.0], [60.3, 60.2]])
    y, x = np.mgrid[:300, :400]
    squared = (x[..., None] - truth[:, 0]) ** 2 + (y[..., None] - truth[:, 1]) ** 2
    image = (40 + 180 * np.exp(-squared / (2 * 6.0**2)).max(axis=-1)).astype(np.uint8)
    spec = FeatureSpec(kind="sift", dim=128, keypoints=64, max_side=max_side)
    features = Features(Arena(), 64, 128, 0)
    SiftExtractor(spec, image.shape[1], image.shape[0]).extract(_frame(image, None), features)
    found = features.xy_px[: features.n]
    nearest = np.linalg.norm(found[:, None] - truth[None], axis=2).argmin(axis=0)
    np.testing.assert_allclose(found[nearest], truth, atol=SIFT_BIAS_PX)
    norms = np.linalg.norm(features.descriptor[: features.n], axis=1)
    np.testing.assert_allclose(norms, 1.0, atol=FLOAT32_NOISE)
