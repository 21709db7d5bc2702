"""Scene coordinates: where cells look, what is known of them, what the network makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small products: threads only wait for each other

from edge_reloc.arrays import U8
from edge_reloc.bundle import open_bundle
from edge_reloc.errors import BundleError, ConfigError, MappingError
from edge_reloc.geometry.camera import read_camera
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.localizer import Localizer
from edge_reloc.matching.regressed import SceneCoordinates as Regressed
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings
from edge_reloc.pose.registration import Regression
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.running.demo import DEMO
from edge_reloc.settings import Gate
from edge_reloc.sources.photo import read_photo
from edge_reloc.structs import Candidates, Correspondences, Features, Status, Work
from edge_reloc_export.nets.detector import CellMaps
from edge_reloc_export.nets.scene_coordinates import (
    DenseEncoder,
    ExportedSceneCoordinates,
    HeadShape,
    SceneCoordinates,
)
from edge_reloc_export.training.scene_coordinates.kept_partition import kept_partition
from edge_reloc_export.training.scene_coordinates.partition import (
    UNKNOWN,
    LabelConfig,
    Partition,
    partition,
)
from edge_reloc_export.training.scene_coordinates.presets import SceneConfig, preset
from edge_reloc_export.training.scene_coordinates.regression_loss import LossConfig, reprojection_px
from edge_reloc_export.training.scene_coordinates.samples import CellSamples, of_views
from edge_reloc_export.training.scene_coordinates.session import export_scene_coordinates
from edge_reloc_export.training.scene_coordinates.trainer import Batches, SceneTrainer
from tests.plane_world import CAMERA, PlaneWorld, make_plane_world

HEIGHT, WIDTH = 40, 56  # 5 x 7 cells
SHAPE = HeadShape(width=32, classifier_width=16, blocks=1)
PLACES, LOOKS, VIEWS = 6, 12, 8
LABELS = LabelConfig(structural=PLACES)
CONFIG = SceneConfig(shape=SHAPE, labels=LABELS, iterations=400, cells=256, learning_rate=1e-2)


class Ramps(torch.nn.Module):
    """A feature network whose maps rise with x and y, and whose heat is one spot a cell."""

    def __init__(self, spot_px: tuple[int, int]) -> None:
        super().__init__()
        self.spot_px = spot_px

    def cells(self, image_11HW: torch.Tensor) -> CellMaps:
        rows, columns = image_11HW.shape[2] // 8, image_11HW.shape[3] // 8
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        ramps = torch.stack([8.0 * x + 3.5, 8.0 * y + 3.5])[None]
        logits = torch.full((1, 1, 8 * rows, 8 * columns), -20.0)
        logits[0, 0, self.spot_px[1] :: 8, self.spot_px[0] :: 8] = 5.0
        return CellMaps(ramps, logits + 0 * image_11HW)


@pytest.mark.parametrize("spot", [(0, 7), (3, 3), (7, 2)])
def test_a_cell_speaks_for_its_most_salient_spot(spot: tuple[int, int]) -> None:
    with torch.no_grad():
        spots = DenseEncoder(Ramps(spot))(torch.zeros(1, 1, HEIGHT, WIDTH))
    assert spots.xy_px.shape == (35, 2)
    expected = [[8 * c + spot[0], 8 * r + spot[1]] for r in range(5) for c in range(7)]
    np.testing.assert_allclose(spots.xy_px, expected, atol=1e-3)
    # The maps hold their own pixel coordinates: read anywhere inside, they say where.
    inside = [r * 7 + c for r in range(1, 4) for c in range(1, 6)]
    read = spots.features(torch.tensor(inside))
    np.testing.assert_allclose(read[:, :2], np.array(expected)[inside], atol=1e-3)
    np.testing.assert_allclose(read[:, 2], 5.0)


def test_without_heat_a_cell_speaks_for_its_middle() -> None:
    class Flat(Ramps):
        def cells(self, image_11HW: torch.Tensor) -> CellMaps:
            maps = super().cells(image_11HW)
            return CellMaps(maps.feature, torch.zeros_like(maps.logits))

    spots = DenseEncoder(Flat((0, 0)))(torch.zeros(1, 1, HEIGHT, WIDTH))
    np.testing.assert_allclose(spots.xy_px[0], [3.5, 3.5], atol=1e-4)


@pytest.fixture(scope="module")
def samples() -> CellSamples:
    """Points of six places seen by eight cameras; features tell points apart, with noise."""
    generator = np.random.default_rng(0)
    centre = generator.uniform(-3, 3, (PLACES, 3)) + [0, 0, 8]
    points = np.repeat(centre, LOOKS, axis=0) + 0.3 * generator.normal(size=(PLACES * LOOKS, 3))
    looks = generator.normal(size=(len(points), 24))
    feature, view, ray, depth, translation = [], [], [], [], []
    for index in range(VIEWS):
        shift = generator.uniform(-1, 1, 3)
        seen = points + shift
        translation.append(shift)
        feature.append(looks + 0.1 * generator.normal(size=looks.shape))
        view.append(np.full(len(points), index))
        ray.append(seen[:, :2] / seen[:, 2:])
        depth.append(np.where(generator.random(len(points)) < 0.8, seen[:, 2], 0.0))
    return CellSamples(
        feature=np.concatenate(feature).astype(np.float16),
        view=np.concatenate(view).astype(np.int32),
        ray=np.concatenate(ray).astype(np.float32),
        depth=np.concatenate(depth).astype(np.float32),
        rotation=np.repeat(np.eye(3, dtype=np.float32)[None], VIEWS, axis=0),
        translation=np.array(translation, np.float32),
        focal_px=np.full(VIEWS, 500.0, np.float32),
        usual_depth=np.full(VIEWS, 8.0, np.float32),
    )


def labels_of(samples: CellSamples, config: SceneConfig = CONFIG) -> Partition:
    return partition(samples, config.labels)


def trainer(samples: CellSamples, checkpoint: Path, config: SceneConfig = CONFIG) -> SceneTrainer:
    labels = labels_of(samples, config)
    return SceneTrainer(Batches(samples, labels, config), labels, config, checkpoint)


def test_partition_labels_places_and_leaves_the_unknown(samples: CellSamples) -> None:
    labels = labels_of(samples)
    assert labels.centre.shape == (PLACES, 1, 3)
    np.testing.assert_array_equal(labels.structural == UNKNOWN, samples.depth == 0)
    known = np.flatnonzero(samples.depth > 0)
    away = samples.xyz_world(known) - labels.centre[labels.structural[known], 0]
    assert np.linalg.norm(away, axis=1).max() < 2.0
    assert set(labels.semantic) == {0, 1}


def test_parts_of_a_combined_map_get_labels_each(samples: CellSamples) -> None:
    """The second half of the photos is of a place two hundred times as large, far away."""
    size = np.where(np.arange(VIEWS) < VIEWS // 2, 1.0, 200.0).astype(np.float32)
    moved = np.where(np.arange(VIEWS) < VIEWS // 2, 0.0, 5000.0).astype(np.float32)
    apart = replace(
        samples,
        depth=samples.depth * size[samples.view],
        translation=samples.translation * size[:, None] - moved[:, None] * [1, 0, 0],
    )
    part = (np.arange(VIEWS) >= VIEWS // 2).astype(np.intp)
    labels = partition(apart, LABELS, part)
    assert labels.centre.shape == (2 * PLACES, 1, 3)
    assert (labels.centre[:PLACES, 0, 0] < 100).all()
    assert (labels.centre[PLACES:, 0, 0] > 1000).all()
    assert labels.scale[:PLACES].max() < 2 and labels.scale[PLACES:].min() > 20
    of_first = labels.structural[part[samples.view] == 0]
    assert of_first.max() < PLACES


def test_without_depth_there_is_one_structural_label(samples: CellSamples) -> None:
    blind = replace(samples, depth=np.zeros_like(samples.depth))
    labels = labels_of(blind)
    assert len(labels.centre) == 1
    assert (labels.structural == UNKNOWN).all()


def test_points_of_known_depth_project_where_they_were_seen(samples: CellSamples) -> None:
    batch = Batches(samples, labels_of(samples), CONFIG).draw(np.random.default_rng(0))
    known = batch.depth > 0
    assert known.any() and (~known).any()
    error, visible = reprojection_px(batch.xyz_world, batch)
    assert visible[known].all()
    assert error[known].max() < 0.01
    aside = batch.xyz_world + torch.tensor([0.08, 0.0, 0.0])
    error, _ = reprojection_px(aside, batch)
    torch.testing.assert_close(error[known], 40.0 / batch.depth[known], rtol=1e-3, atol=0.01)
    _, visible = reprojection_px(batch.xyz_world - torch.tensor([0.0, 0.0, 30.0]), batch)
    assert not visible[known].any()


@pytest.mark.parametrize("known", [True, False], ids=["depth", "reprojection only"])
def test_training_finds_the_points(samples: CellSamples, tmp_path: Path, known: bool) -> None:
    truth = samples
    if not known:
        samples = replace(samples, depth=np.zeros_like(samples.depth))
    # Without depth 400 iterations are enough for some seeds alone.
    config = CONFIG if known else replace(CONFIG, iterations=800)
    training = trainer(samples, tmp_path / "a.pt", config)
    network = training.run(lambda step, error: None)
    rows = np.flatnonzero(truth.depth > 0)
    with torch.no_grad():
        said = network(torch.from_numpy(truth.feature[rows].astype(np.float32)))
    away = np.linalg.norm(said.xyz_world.numpy() - truth.xyz_world(rows), axis=1)
    errors_px = [error for _, _, error, _ in training.history]
    assert errors_px[-1] < 0.15 * errors_px[0]
    if known:  # rays of cameras so close to each other say little of depth
        assert np.median(away) < 0.25
    assert (said.score >= 1).all()


def test_surer_cells_are_more_exact(samples: CellSamples, tmp_path: Path) -> None:
    """Half of the cells show nothing that says where they are; their scores are lower."""
    generator = np.random.default_rng(1)
    lost = generator.random(len(samples.view)) < 0.5
    noise = generator.normal(size=samples.feature.shape).astype(np.float16)
    mixed = replace(samples, feature=np.where(lost[:, None], noise, samples.feature))
    config = replace(CONFIG, weight_decay=0.3, iterations=800)
    network = trainer(mixed, tmp_path / "a.pt", config).run(lambda step, error: None)
    # Other noise than that of the training, which it may know by heart.
    noise = generator.normal(size=samples.feature.shape)
    fresh = np.where(lost[:, None], noise, samples.feature).astype(np.float32)
    with torch.no_grad():
        score = network(torch.from_numpy(fresh)).score.numpy()
    assert np.median(score[~lost]) > 1.5 * np.median(score[lost])


def test_scores_live_where_errors_are_larger_than_alpha(
    samples: CellSamples, tmp_path: Path
) -> None:
    """With alpha as it is all scores fall to 1."""
    alive = []
    for name, of_median in (("published", 0.0), ("ours", 2.0)):
        loss = LossConfig(alpha=1e-3, alpha_of_median=of_median, score_from=0.0)
        config = replace(CONFIG, iterations=100, loss=loss)
        network = trainer(samples, tmp_path / f"{name}.pt", config).run(lambda step, error: None)
        with torch.no_grad():
            score = network(torch.from_numpy(samples.feature.astype(np.float32))).score
        alive.append(float((score > 1.1).float().mean()))
    assert alive[0] < 0.1 and alive[1] > 0.5, alive


def test_an_interrupted_training_goes_on_as_it_would_have(
    samples: CellSamples, tmp_path: Path
) -> None:
    # One checkpoint at 250 on the way; what is hidden is drawn anew as it was, too.
    config = replace(CONFIG, iterations=300, hidden=0.2)
    whole = trainer(samples, tmp_path / "whole.pt", config).run(lambda step, error: None)

    def interrupt(step: int, error: float) -> None:
        if step == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(samples, tmp_path / "parts.pt", config).run(interrupt)
    again = trainer(samples, tmp_path / "parts.pt", config)
    assert again.iteration == 250
    parts = again.run(lambda step, error: None)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert (
        trainer(
            samples, tmp_path / "parts.pt", replace(config, loss=LossConfig(beta=0.2))
        ).iteration
        == 0
    )


@pytest.mark.parametrize("field", ["translation", "view", "focal_px", "usual_depth", "feature"])
def test_a_checkpoint_of_another_map_is_not_gone_on_with(
    samples: CellSamples, tmp_path: Path, field: str
) -> None:
    """A world moved as a whole changes translations alone, and every coordinate with them."""
    config = replace(CONFIG, iterations=2)
    trainer(samples, tmp_path / "a.pt", config).run(lambda step, error: None)
    assert trainer(samples, tmp_path / "a.pt", config).iteration == 2
    value = getattr(samples, field)
    other = replace(samples, **{field: np.roll(value, 1, axis=0)})
    if field in ("focal_px", "usual_depth"):
        other = replace(samples, **{field: value * np.float32(1.1)})
    assert trainer(other, tmp_path / "a.pt", config).iteration == 0


def test_a_damaged_checkpoint_is_one_line(samples: CellSamples, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"cut off")
    with pytest.raises(MappingError, match=r"a\.pt: damaged, .*; delete it$"):
        trainer(samples, tmp_path / "a.pt")


def test_coordinates_far_from_the_origin_keep_their_precision(tmp_path: Path) -> None:
    """Offsets are regressed about the label's centre and added in float32."""
    torch.manual_seed(0)
    near = torch.rand(5, 3)
    far = near + torch.tensor([40_000.0, -20_000.0, 300.0])
    shared = {"mean": torch.zeros(3), "spread": torch.ones(3), "semantic": 2}
    shared["scale_LP"] = torch.full((5, 1), 0.5)
    heads = [
        SceneCoordinates(centre_LP3=c[:, None], shape=SHAPE, **shared).eval() for c in (near, far)
    ]
    torch.nn.init.normal_(heads[0].place.out.weight, std=0.1)
    state = {k: v for k, v in heads[0].state_dict().items() if "centre" not in k}
    heads[1].load_state_dict(state, strict=False)
    feature = torch.rand(50, 3)
    with torch.no_grad():
        here, there = (head(feature).xyz_world for head in heads)
    assert (here - near.mean(dim=0)).abs().max() > 0.1
    torch.testing.assert_close(there - far[0], here - near[0], atol=0.005, rtol=0)


@pytest.mark.parametrize("published", [False, True])
def test_the_exported_network_says_what_torch_says(tmp_path: Path, published: bool) -> None:
    """Published: all cells speak for their middles, pairs of labels have centres."""
    torch.manual_seed(0)
    encoder = DenseEncoder(Ramps((2, 5)), salient=not published)
    channels, pairs = (2, 2) if published else (3, 1)
    head = SceneCoordinates(
        torch.zeros(channels),
        torch.full((channels,), 20.0),
        torch.rand(4, pairs, 3),
        torch.ones(4, pairs),
        2,
        replace(SHAPE, likeliest=published),
    )
    torch.nn.init.normal_(head.place.out.weight, std=0.3)
    module = ExportedSceneCoordinates(encoder, head, asked=35, keep=10).eval()
    path = tmp_path / "net.onnx"
    export_scene_coordinates(module, WIDTH, HEIGHT, path)
    engine = open_engine(path, Arena())
    engine.inputs["image"][:] = 100.0
    engine.run()
    with torch.no_grad():
        xy, score, xyz = module(torch.full((1, 1, HEIGHT, WIDTH), 100.0))
    np.testing.assert_allclose(engine.outputs["scores"], score, rtol=1e-4)
    np.testing.assert_allclose(engine.outputs["xy_px"], xy, atol=1e-3)
    np.testing.assert_allclose(engine.outputs["xyz_world"], xyz, atol=1e-4)
    assert (np.diff(engine.outputs["scores"]) <= 0).all()


def test_matches_are_the_coordinates_that_keypoints_bring() -> None:
    arena = Arena()
    features = Features(arena, 8, 0, 0, regressed=True)
    out = Correspondences(arena, 8)
    features.n = 5
    features.xy_px[:5] = np.arange(10).reshape(5, 2)
    features.xyz_world[:5] = np.arange(15).reshape(5, 3)
    features.score[:5] = np.arange(5, 0, -1)
    Regressed().regress(features, out)
    assert out.n == 5
    np.testing.assert_array_equal(out.xyz_world[:5], np.arange(15).reshape(5, 3))
    np.testing.assert_array_equal(out.keypoint[:5], np.arange(5))
    assert (out.point_id[:5] == -1).all()


def regressed(surest: bool) -> Work:
    """400 cells of a wide place, a quarter of them right: those of the best scores, or any."""
    generator = np.random.default_rng(0)
    xyz = generator.uniform([-3, -2, 4], [3, 2, 9], (400, 3))
    right = np.arange(400) < 100 if surest else generator.permutation(400) < 100
    arena = Arena()
    features = Features(arena, 400, 0, 0, regressed=True)
    features.n = 400
    features.xy_px[:] = CAMERA.project(xyz)
    features.xyz_world[:] = np.where(right[:, None], xyz, generator.permutation(xyz))
    features.score[:] = np.linspace(9, 1, 400)
    return Work(features, Candidates(arena, 1, 400), Correspondences(arena, 400))


@pytest.mark.parametrize("surest", [True, False])
def test_a_pose_needs_the_cells_that_are_surest(surest: bool) -> None:
    solver = PoseSolver(threshold_px=4.0, gate=Gate(), seed=0)
    estimate = Regression(Regressed(), solver, 0.5).register(CAMERA, regressed(surest))
    assert estimate.inliers >= 95
    if surest:
        assert estimate.status is Status.OK
        return
    assert estimate.status is Status.IMPLAUSIBLE
    assert estimate.cam_from_world is None and estimate.covariance is None
    assert re.match(
        r"\d\d of the 100 surest cells agree with the pose, 50% are", estimate.reason or ""
    )
    anyhow = Regression(Regressed(), solver, 0.0).register(CAMERA, regressed(surest))
    assert anyhow.status is Status.OK


def halved(image: U8) -> U8:
    """The lower half covered."""
    covered = image.copy()
    covered[len(image) // 2 :] = 127
    return covered


@pytest.fixture(scope="module")
def courtyard() -> Iterator[Localizer]:
    camera = read_camera(DEMO / "camera.json")
    settings = Settings(method="scene_coordinates", threads=1)
    with Localizer.open(open_bundle(DEMO / "map"), camera, settings) as localizer:
        yield localizer


def mirrored(image: U8) -> U8:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


@pytest.mark.parametrize(("frame", "change"), [(56, halved), (8, mirrored)])
def test_half_of_a_view_or_its_mirror_image_is_no_wrong_pose(
    courtyard: Localizer, frame: int, change: Callable[[U8], U8]
) -> None:
    """Cells of the one agree on a pose 0.6 m and 13 deg off, of the other on one behind a
    wall.
    """
    image = read_photo(DEMO / "frames" / f"frame_{frame:03d}.jpg")
    assert courtyard.localize(image).ok
    assert not courtyard.localize(change(image)).ok


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> PlaneWorld:
    return make_plane_world(tmp_path_factory.mktemp("corner"), frames=2)


def test_a_map_without_coordinates_says_how_to_train_them(corner: PlaneWorld) -> None:
    with pytest.raises(BundleError, match="--method scene_coordinates"):
        Localizer.open(open_bundle(corner.bundle), CAMERA, Settings(method="scene_coordinates"))


@pytest.mark.parametrize("asked", [{"second_pass": True}, {"tracking": True}])
def test_what_needs_descriptors_is_refused(corner: PlaneWorld, asked: dict[str, bool]) -> None:
    bundle = open_bundle(corner.bundle)
    bundle.manifest.methods["scene_coordinates"] = {
        "features": {},
        "threshold_px": 14.0,
        "min_inlier_ratio": 0.1,
    }
    with pytest.raises(ConfigError, match=r"scene_coordinates: has no (second pass|tracking)"):
        Localizer.open(bundle, CAMERA, Settings(method="scene_coordinates", **asked))


def test_presets_are_named() -> None:
    assert preset("quick", iterations=7).iterations == 7
    assert preset("quick", shape="paper").shape.width == 512
    with pytest.raises(ConfigError, match="expected one of quick, paper"):
        preset("fast")
    with pytest.raises(ConfigError, match="expected one of small, paper"):
        preset("quick", shape="tiny")


def test_photos_can_be_left_out(samples: CellSamples) -> None:
    keep = np.arange(VIEWS) != 3
    rest = of_views(samples, keep)
    assert 3 not in rest.view
    assert len(rest.view) == len(samples.view) * (VIEWS - 1) // VIEWS


def test_a_continued_training_keeps_places_and_what_they_look_like(
    samples: CellSamples, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "scene.pt"
    config = replace(CONFIG, iterations=200)
    network = trainer(samples, checkpoint, config).run(lambda step, error: None)
    before = labels_of(samples, config)
    less = of_views(samples, np.arange(VIEWS) != 2)  # other cells: clusters would be others
    kept = kept_partition(less, checkpoint, config)
    same = samples.view != 2
    np.testing.assert_array_equal(kept.centre, before.centre)
    np.testing.assert_array_equal(kept.scale, before.scale)
    np.testing.assert_array_equal(kept.structural, before.structural[same])
    assert np.mean(kept.semantic == before.semantic[same]) > 0.95
    file = tmp_path / "scene_continued.pt"
    batches = Batches(less, kept, config)
    begun = SceneTrainer(batches, kept, config, file, start=checkpoint)
    for ours, theirs in zip(begun.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
