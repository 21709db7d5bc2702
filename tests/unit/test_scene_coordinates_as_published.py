"""`--preset paper` is SS-DVR (Nie et al., IJCAI 2025), number by number.

Where that paper says nothing: ACE (Brachmann et al., CVPR 2023), on which it builds. ACE's text
was not at hand: what is marked "ACE" is as others report it or from memory (which is which:
docs/scene_coordinates.md), its sections from memory.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small products: threads only wait for each other

from edge_reloc_export.nets.detector import CellMaps
from edge_reloc_export.nets.scene_coordinates import DenseEncoder, Prediction, SceneCoordinates
from edge_reloc_export.training.augmentation import published_copy
from edge_reloc_export.training.scene_coordinates.partition import (
    UNKNOWN,
    LabelConfig,
    Partition,
    partition,
)
from edge_reloc_export.training.scene_coordinates.photo_cells import PhotoCells
from edge_reloc_export.training.scene_coordinates.presets import preset
from edge_reloc_export.training.scene_coordinates.regression_loss import (
    Batch,
    LossConfig,
    total_loss,
)
from edge_reloc_export.training.scene_coordinates.samples import BufferConfig, CellSamples
from edge_reloc_export.training.scene_coordinates.trainer import Batches, SceneTrainer

PAPER = preset("paper")
LOSS = PAPER.loss
FOCAL_PX = 500.0


@pytest.fixture(scope="module")
def samples() -> CellSamples:
    """One camera at the origin; 600 cells of two looks, in four places; a quarter without depth."""
    generator = np.random.default_rng(0)
    corner = np.array([[-3, 0, 8], [3, 0, 8], [0, 3, 9], [0, -3, 9]], np.float64)
    place, look = generator.integers(0, 4, 600), generator.integers(0, 2, 600)
    xyz = corner[place] + 0.2 * generator.normal(size=(600, 3)) + 0.4 * look[:, None]
    feature = np.where(look[:, None], 5.0, -5.0) + generator.normal(size=(600, 8))
    known = generator.random(600) < 0.75
    return CellSamples(
        feature=feature.astype(np.float16),
        view=np.zeros(600, np.int32),
        ray=(xyz[:, :2] / xyz[:, 2:]).astype(np.float32),
        depth=np.where(known, xyz[:, 2], 0).astype(np.float32),
        rotation=np.eye(3, dtype=np.float32)[None],
        translation=np.zeros((1, 3), np.float32),
        focal_px=np.array([FOCAL_PX], np.float32),
        usual_depth=np.array([8.0], np.float32),
    )


def small_labels(samples: CellSamples) -> Partition:
    return partition(samples, replace(PAPER.labels, structural=4, batch=400, rounds=20))


def network(labels: Partition) -> SceneCoordinates:
    torch.manual_seed(0)
    arrays = (labels.mean, labels.spread, labels.centre, labels.scale)
    return SceneCoordinates(*map(torch.from_numpy, arrays), labels.semantics, PAPER.shape)


# 3.1 and 4.2: the partition


def test_64_structural_and_2_semantic_labels() -> None:
    """4.2."""
    assert (PAPER.labels.structural, PAPER.labels.semantic) == (64, 2)


def test_mini_batches_of_400k_at_most_200_times() -> None:
    """4.2, of the mini-batch k-means of equation 3."""
    assert (PAPER.labels.batch, PAPER.labels.rounds) == (400_000, 200)


def test_semantic_labels_are_of_features_as_the_encoder_leaves_them(samples: CellSamples) -> None:
    """Equation 2 and 4: nearest mean of f_i. One feature is far larger than the others."""
    assert not PAPER.labels.whitened
    loud = samples.feature.copy()
    loud[:, 0] = np.where(np.arange(600) < 300, -300, 300)
    found = small_labels(replace(samples, feature=loud)).semantic
    assert len(set(found[:300])) == len(set(found[300:])) == 1 and found[0] != found[-1]


def test_structural_labels_are_of_all_coordinates(samples: CellSamples) -> None:
    """3.1, equation 5: k-means of the coordinates, of which no sample is spoken of."""
    assert PAPER.labels.of_cells is None
    known = np.flatnonzero(samples.depth > 0)
    labels, xyz = small_labels(samples), samples.xyz_world(known)
    assert (np.bincount(labels.structural[known]) > 50).all()
    np.testing.assert_array_equal(labels.structural == UNKNOWN, samples.depth == 0)
    for label in range(4):
        mine = xyz[labels.structural[known] == label]
        assert np.linalg.norm(mine - mine.mean(axis=0), axis=1).max() < 2.0  # 4 between corners


def test_means_are_of_pairs_of_labels_in_metres(samples: CellSamples) -> None:
    """3.1, below equation 5: the mean of the coordinates of each pair of labels."""
    assert PAPER.labels.by_pair and not PAPER.labels.scaled
    labels, known = small_labels(samples), np.flatnonzero(samples.depth > 0)
    assert labels.centre.shape == (4, 2, 3) and (labels.scale == 1).all()
    xyz = samples.xyz_world(known)
    for place in range(4):
        for look in range(2):
            mine = (labels.structural[known] == place) & (labels.semantic[known] == look)
            expected = xyz[mine].mean(axis=0)
            np.testing.assert_allclose(labels.centre[place, look], expected, atol=1e-4)
    ours = partition(samples, LabelConfig(structural=4))
    assert ours.centre.shape == (4, 1, 3)


def test_coordinates_begin_at_the_mean_of_the_likeliest_pair(samples: CellSamples) -> None:
    """3.1: both labels at once, so that each is right or wrong on its own."""
    labels = small_labels(samples)
    net = network(labels)
    with torch.no_grad():
        said = net(torch.from_numpy(samples.feature.astype(np.float32)))
    place, look = said.structural.argmax(dim=1), said.semantic.argmax(dim=1)
    # The bias of the last layer is drawn within 0.044.
    np.testing.assert_allclose(said.xyz_world, labels.centre[place, look], atol=0.08)


# 3.2 and 4.2: the network


def test_the_classifier_has_six_layers(samples: CellSamples) -> None:
    """4.2: of features, for both labels."""
    layers = [m for m in network(small_labels(samples)).classifier if hasattr(m, "in_features")]
    assert len(layers) == 6
    assert all(a.out_features == b.in_features for a, b in pairwise(layers))
    assert layers[-1].out_features == 4 + 2


def test_the_head_is_ace_s(samples: CellSamples) -> None:
    """4.2, and ACE: 512 wide, eight layers, homogeneous; 3.2: and a score."""
    net = network(small_labels(samples))
    layers = [m for m in [*net.blocks.modules(), *net.leave.modules()] if hasattr(m, "in_features")]
    assert [m.out_features for m in layers] == [512] * 8
    assert (net.place.out.in_features, net.place.out.out_features) == (512, 4 + 1)


def test_labels_enter_the_fusion_one_hot(samples: CellSamples) -> None:
    """3.2, equation 9: labels are encoded into embeddings; not how likely each is."""
    assert PAPER.shape.likeliest and PAPER.shape.fusion
    net, told = network(small_labels(samples)), []
    net.fusion.register_forward_hook(lambda module, inputs, output: told.append(inputs[1]))
    net(torch.from_numpy(samples.feature.astype(np.float32)))
    assert set(told[0].unique().tolist()) == {0.0, 1.0}
    assert (told[0].sum(dim=1) == 2).all()


def test_a_score_is_above_one(samples: CellSamples) -> None:
    """3.2, equation 10: s = 1 + exp(s^)."""
    net = network(small_labels(samples))
    torch.nn.init.normal_(net.place.out.weight)
    with torch.no_grad():
        assert (net(torch.from_numpy(samples.feature.astype(np.float32))).score > 1).all()


class Ramps(torch.nn.Module):
    """A feature network whose one map rises with x, and whose heat is anywhere."""

    def cells(self, image_11HW: torch.Tensor) -> CellMaps:
        rows, columns = image_11HW.shape[2] // 8, image_11HW.shape[3] // 8
        ramp = (8.0 * torch.arange(columns) + 3.5).expand(1, 1, rows, columns)
        return CellMaps(ramp, torch.rand(1, 1, 8 * rows, 8 * columns))


def test_every_cell_is_asked_for_its_middle() -> None:
    """Equation 1 and 6: features of patches, a grid of them, and nothing else."""
    assert not PAPER.salient
    cells = PhotoCells(DenseEncoder(Ramps(), salient=PAPER.salient), [(640, 480)], "cpu")
    look = cells.look(np.zeros((480, 640, 3), np.uint8), 0)
    assert cells.asked(640, 480) == 4800
    middles = [(8 * c + 3.5, 8 * r + 3.5) for r in range(60) for c in range(80)]
    assert sorted(map(tuple, look.xy_px.tolist())) == sorted(middles)
    np.testing.assert_allclose(look.features(), look.xy_px[:, :1])


# 3.2 and 3.3: the loss


def one_cell(
    xyz: tuple[float, float, float], score: float = 1.0, known: bool = True
) -> tuple[Prediction, Batch]:
    """The point (0, 0, 5) seen on the axis of a camera, which says that it is at xyz.

    Both labels are as unsure as can be: 64 and 2 equal logits.
    """
    found = Prediction(
        torch.zeros(1, 64), torch.zeros(1, 2), torch.tensor([xyz]), torch.tensor([score])
    )
    return found, Batch(
        feature=torch.zeros(1, 8),
        ray=torch.zeros(1, 2),
        rotation=torch.eye(3)[None],
        translation=torch.zeros(1, 3),
        focal_px=torch.tensor([FOCAL_PX]),
        usual_depth=torch.tensor([5.0]),
        depth=torch.tensor([5.0 if known else 0.0]),
        xyz_world=torch.tensor([[0.0, 0.0, 5.0]]),
        structural=torch.tensor([3 if known else UNKNOWN]),
        semantic=torch.tensor([1]),
    )


def loss_of(
    config: LossConfig, *cell: tuple[float, float, float] | float | bool, progress: float = 0.0
) -> float:
    return float(total_loss(*one_cell(*cell), config, progress)[0])  # type: ignore[arg-type]


ALONE = replace(LOSS, beta=0.0, gamma=0.0)
#: L1: 60 + 80 pixels
OFF = (0.6, 0.8, 5.0)


def test_reprojection_errors_are_l1_and_never_clamped() -> None:
    """Equation 11: |x - K h^-1 y|_1, from the first iteration to the last."""
    assert LOSS.clamp_px is None
    for progress in (0.0, 0.5, 0.999):
        assert loss_of(ALONE, OFF, progress=progress) == pytest.approx(140.0)
    assert loss_of(ALONE, (5.0, 4.0, 5.0)) == pytest.approx(900.0)


@pytest.mark.parametrize("score", [1.0, 2.0, 50.0])
def test_alpha_is_20_and_fixed(score: float) -> None:
    """Equation 12 and 4.2: s l^ + alpha ln(1/s), alpha = 20, from the first iteration."""
    assert (LOSS.alpha, LOSS.alpha_of_median, LOSS.score, LOSS.score_from) == (20, 0, True, 0)
    expected = score * 140 - 20 * math.log(score)
    assert loss_of(ALONE, OFF, score) == pytest.approx(expected, rel=1e-5)


def test_beta_is_a_tenth_and_of_metres() -> None:
    """Equation 16 and 17, and 4.2: 0.1 |y - y^|_2."""
    assert LOSS.beta == 0.1 and not LOSS.in_pixels
    ahead = (0.0, 0.0, 8.0)  # 3 m off along its ray: no reprojection error
    assert loss_of(replace(LOSS, gamma=0.0), ahead) == pytest.approx(0.1 * 3.0)


def test_gamma_is_100_and_of_both_labels() -> None:
    """Equation 8 and 17, and 4.2."""
    assert LOSS.gamma == 100
    right = (0.0, 0.0, 5.0)
    assert loss_of(LOSS, right) == pytest.approx(100 * (math.log(64) + math.log(2)))
    assert loss_of(LOSS, right, 1.0, False) == pytest.approx(100 * math.log(2))


def test_each_loss_is_a_sum_over_the_batch() -> None:
    """Equation 8, 15 and 16: a cell without depth has none of the last, and counts."""
    assert not LOSS.over_known
    found, batch = one_cell((0.0, 0.0, 8.0))
    _, blind = one_cell((0.0, 0.0, 8.0), 1.0, False)
    twice = Prediction(*(torch.cat([value, value]) for value in found))
    both = Batch(**{k: torch.cat([v, vars(blind)[k]]) for k, v in vars(batch).items()})
    total = float(total_loss(twice, both, LOSS, 0.0)[0])
    expected = (0.1 * 3 + 100 * math.log(64)) / 2 + 100 * math.log(2)
    assert total == pytest.approx(expected)


@pytest.mark.parametrize("xyz", [(0.0, 0.0, -5.0), (0.0, 0.0, 0.05), (0.0, 0.0, 1001.0)])
def test_what_has_no_pixel_is_drawn_to_a_dummy_at_10_m(xyz: tuple[float, float, float]) -> None:
    """ACE, 3.3: nearer than 0.1 m, further than 1,000 m or 1,000 pixels off; no score."""
    assert loss_of(ALONE, xyz, 7.0) == pytest.approx(abs(10 - xyz[2]), rel=1e-5)
    aside = (11.0, 0.0, 5.0)
    assert loss_of(ALONE, aside, 7.0) == pytest.approx(11 + 5)


# 4.2, and ACE, 4: the schedule


def test_16_passes_over_8_million_cells_in_batches_of_5120() -> None:
    """ACE, 4: 25,000 iterations; 1,024 cells of each image."""
    assert PAPER.buffer.total == 8_000_000 and PAPER.buffer.any_depth == 1024
    assert PAPER.cells == 5120 and PAPER.iterations == 25_000
    assert PAPER.iterations * PAPER.cells == 16 * PAPER.buffer.total
    for photos in (1, 25, 200, 10_000):
        images = photos * (PAPER.buffer.of_photos(photos).copies + 1)
        assert images * 1024 >= 8_000_000
        assert (images - photos) * 1024 < 8_000_000 or images == photos
    assert PAPER.buffer.of_photos(25) != PAPER.buffer.of_photos(200)
    assert BufferConfig().of_photos(25) == BufferConfig()


def test_batches_are_drawn_from_the_whole_buffer(samples: CellSamples) -> None:
    """3.1, equation 6: sampled, whether depth is known or not."""
    assert PAPER.unknown is None and PAPER.hidden == 0
    labels = small_labels(samples)
    batch = Batches(samples, labels, PAPER).draw(np.random.default_rng(0))
    unknown = float((batch.structural == UNKNOWN).float().mean())
    assert abs(unknown - float((samples.depth == 0).mean())) < 0.03


def test_adamw_from_5e_4_to_5e_3_in_one_cycle(samples: CellSamples, tmp_path: Path) -> None:
    """ACE, 4; neither paper is known to cut gradients."""
    labels, config = small_labels(samples), replace(PAPER, iterations=40)
    trainer = SceneTrainer(Batches(samples, labels, config), labels, config, tmp_path / "a.pt")
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert trainer.largest_gradient == math.inf and PAPER.weight_decay == 0.01
    rates = []
    for _ in range(config.iterations):
        rates.append(trainer.schedule.get_last_lr()[0])
        trainer.optimizer.step()
        trainer.schedule.step()
    assert rates[0] == pytest.approx(5e-4) and max(rates) == pytest.approx(5e-3)
    top = int(np.argmax(rates))
    assert (np.diff(rates[:top]) > 0).all() and (np.diff(rates[top:]) < 0).all()


def test_copies_are_turned_by_15_degrees_and_scaled_by_two_thirds_to_three_halves() -> None:
    """ACE, 4: augmentation; light by a tenth, neither tilt nor shift nor blur."""
    assert PAPER.buffer.augmentation == "ace"
    generator = np.random.default_rng(0)
    image = np.full((48, 64, 3), 100, np.uint8)
    angles, scales, lights = [], [], []
    for _ in range(400):
        copy, photo_from_copy = published_copy(image, generator)
        centre = cv2.perspectiveTransform(np.array([[[31.5, 23.5]]]), photo_from_copy)[0, 0]
        np.testing.assert_allclose(centre, [31.5, 23.5], atol=1e-6)
        turn = np.linalg.inv(photo_from_copy)
        scales.append(float(np.sqrt(np.linalg.det(turn[:2, :2]))))
        angles.append(float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))))
        np.testing.assert_allclose(turn[2], [0, 0, 1], atol=1e-9)
        lights.append(int(copy[24, 32, 0]))
    assert -15 <= min(angles) < -13 and 13 < max(angles) <= 15
    assert 2 / 3 - 1e-6 <= min(scales) < 0.7 and 1.45 < max(scales) <= 1.5 + 1e-6
    assert 85 <= min(lights) < 95 and 105 < max(lights) <= 115


# 3.2, 4.2, and ACE, 3.1: the pose


def test_cells_below_the_51st_percentile_of_scores_are_dropped() -> None:
    """4.2, where it is written as a percentile of 0.51, and 4.4."""
    assert PAPER.kept == pytest.approx(1 - 0.51)


def test_inliers_lie_within_10_pixels() -> None:
    """ACE, 3.1: of RANSAC."""
    assert PAPER.threshold_px == 10


def test_ours_is_something_else() -> None:
    """What `quick` does instead has its own figures."""
    quick = preset("quick")
    for name in ("salient", "shape", "buffer", "labels", "loss", "threshold_px", "unknown"):
        assert getattr(quick, name) != getattr(PAPER, name)
