"""The recogniser learns a made-up place, goes on where it was stopped, is exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small products: threads only wait for each other

from edge_reloc.errors import ConfigError, MappingError
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc_export.nets.landmarks import SHAPES, Recogniser, RecogniserShape, balanced_loss
from edge_reloc_export.training import resumable
from edge_reloc_export.training.augmentation import random_light, random_warp
from edge_reloc_export.training.continued import continued_file, take_place
from edge_reloc_export.training.landmarks.labelled import UNCERTAIN, LabelledKeypoints
from edge_reloc_export.training.landmarks.session import export_recogniser, recognition
from edge_reloc_export.training.landmarks.trainer import (
    Batches,
    RecogniserConfig,
    RecogniserTrainer,
    preset,
)

DIM, LANDMARKS, PHOTOS, KEYPOINTS = 16, 4, 24, 60
SHAPE = RecogniserShape(width=32, layers=2, heads=2, keypoints=64, context=32)
CONFIG = RecogniserConfig(
    shape=SHAPE, iterations=60, photos=8, keypoints=48, learning_rate=3e-3, part=0.3
)
PARITY = 1e-4  # of a probability: float32 summed in another order


@pytest.fixture(scope="module")
def data() -> LabelledKeypoints:
    """Landmarks that share their looks in pairs: only what is around tells them apart.

    Landmarks 1 and 2 look alike, and so do 3 and 4; photos show 1 and 3 or 2 and 4 with a
    sign of their own among the keypoints of no landmark.
    """
    generator = np.random.default_rng(0)
    looks = generator.normal(size=(4, DIM))
    descriptor, label = [], []
    for photo in range(PHOTOS):
        side = photo % 2
        kind = generator.integers(0, 3, KEYPOINTS)  # 0 and 1: landmarks, 2: the sign
        look = np.where(kind == 2, 2 + side, kind)
        descriptor.append(looks[look] + 0.2 * generator.normal(size=(KEYPOINTS, DIM)))
        label.append(np.where(kind == 2, 0, 1 + 2 * kind + side))
    rows = np.concatenate(descriptor)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return LabelledKeypoints(
        start=np.arange(PHOTOS + 1) * KEYPOINTS,
        ray=generator.uniform(-0.5, 0.5, (PHOTOS * KEYPOINTS, 2)).astype(np.float32),
        descriptor=rows.astype(np.float16),
        label=np.concatenate(label).astype(np.int32),
        view=np.arange(PHOTOS),
        whole=np.ones(PHOTOS, bool),
    )


def trainer(
    data: LabelledKeypoints, checkpoint: Path, config: RecogniserConfig = CONFIG
) -> RecogniserTrainer:
    batches = Batches(data, np.arange(PHOTOS - 4), config, any_heading=False)
    return RecogniserTrainer(batches, DIM, LANDMARKS, config, checkpoint)


@pytest.fixture(scope="module")
def trained(data: LabelledKeypoints, tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    checkpoint = tmp_path_factory.mktemp("training") / "landmarks.pt"
    return trainer(data, checkpoint).run(lambda step, loss: None)


def test_landmarks_are_told_apart_by_what_is_around(
    data: LabelledKeypoints, trained: Recogniser
) -> None:
    unseen = np.arange(PHOTOS - 4, PHOTOS)
    # By its own look alone a keypoint would be right half of the time.
    found = recognition(trained, data, unseen)
    assert found.of_landmarks > 0.9
    assert found.of_all > 0.9


def test_training_goes_on_where_it_was_stopped(
    data: LabelledKeypoints, trained: Recogniser, tmp_path: Path
) -> None:
    stopped = trainer(data, tmp_path / "landmarks.pt")

    class Stop(Exception):
        """Ctrl-C, in a test."""

    def stop(step: int, loss: float) -> None:
        if step == 40:
            stopped.save()
            raise Stop

    with pytest.raises(Stop):
        stopped.run(stop)
    again = trainer(data, tmp_path / "landmarks.pt")
    assert again.iteration == 40
    network = again.run(lambda step, loss: None)
    for ours, theirs in zip(network.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_slow_iterations_are_kept_by_the_clock(
    data: LabelledKeypoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An iteration of the paper's takes minutes on a CPU, 200 of them hours."""
    monkeypatch.setattr(resumable, "LONGEST_S", 0.0)

    def killed(step: int, loss: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(data, tmp_path / "landmarks.pt").run(killed)
    assert trainer(data, tmp_path / "landmarks.pt").iteration == 4


def test_another_schedule_starts_afresh(data: LabelledKeypoints, tmp_path: Path) -> None:
    checkpoint = tmp_path / "landmarks.pt"
    short = replace(CONFIG, iterations=3)
    trainer(data, checkpoint, short).run(lambda step, loss: None)
    assert trainer(data, checkpoint, short).iteration == 3
    assert trainer(data, checkpoint).iteration == 0


def test_other_rays_start_afresh(data: LabelledKeypoints, tmp_path: Path) -> None:
    """As of another calibration: descriptors and labels stay, what the network sees does not."""
    checkpoint, short = tmp_path / "landmarks.pt", replace(CONFIG, iterations=3)
    trainer(data, checkpoint, short).run(lambda step, loss: None)
    assert trainer(replace(data, ray=data.ray * 1.1), checkpoint, short).iteration == 0


def test_exported_network_answers_as_torch(trained: Recogniser, tmp_path: Path) -> None:
    path = tmp_path / "landmarks.onnx"
    export_recogniser(trained, path)
    engine = open_engine(path, Arena(), threads=1)
    generator = torch.Generator().manual_seed(5)
    n = 50
    descriptor = torch.nn.functional.normalize(torch.randn(1, n, DIM, generator=generator), dim=2)
    ray = torch.randn(1, n, 2, generator=generator)
    engine.inputs["descriptor"][0, :n], engine.inputs["ray"][0, :n] = descriptor[0], ray[0]
    engine.inputs["mask"][0, :n] = 1.0
    engine.run()
    with torch.no_grad():
        expected = trained(descriptor, ray, torch.ones(1, n)).softmax(dim=2)[0].numpy()
    # What lies behind the mask changes nothing for the others.
    np.testing.assert_allclose(engine.outputs["probability"][0, :n], expected, atol=PARITY)
    engine.inputs["descriptor"][0, n:] = 1.0
    engine.run()
    np.testing.assert_allclose(engine.outputs["probability"][0, :n], expected, atol=PARITY)
    engine.close()


def test_balanced_loss_by_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 5, 3, generator=generator)
    label = torch.tensor([[0, 0, 0, 2, 1]])
    mask = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
    minus_log = -logits[0].log_softmax(dim=1)[torch.arange(5), label[0]]
    # Three of four keypoints are not in the map: they weigh a quarter each.
    expected = (0.25 * minus_log[:3].sum() + 0.75 * minus_log[3]) / 4
    torch.testing.assert_close(balanced_loss(logits, label, mask), expected)


def test_uncertain_keypoints_teach_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 3, generator=generator)
    label = torch.tensor([[0, 0, 2, UNCERTAIN, 1, UNCERTAIN], [1, 0, 0, 2, 2, 0]])
    mask = torch.ones(2, 6)
    without = mask * (label != UNCERTAIN)
    expected = balanced_loss(logits, label.clamp(min=0), without)
    torch.testing.assert_close(balanced_loss(logits, label, mask), expected)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of quick, paper"):
        preset("fast")
    with pytest.raises(ConfigError, match="expected one of paper, small"):
        preset("quick", shape="tiny")
    full = preset("quick", iterations=7, shape="paper")
    assert full.shape == SHAPES["paper"] and full.iterations == 7
    assert full.learning_rate < preset("quick").learning_rate  # what a deep network bears
    assert preset("paper", shape="small").learning_rate == preset("paper").learning_rate


def test_augmentation_moves_and_darkens_but_not_always_alike() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    lights = [random_light(image, np.random.default_rng(seed)) for seed in range(6)]
    assert all(light.shape == image.shape and light.dtype == np.uint8 for light in lights)
    assert np.ptp([float(light.mean()) for light in lights]) > 10
    centre = np.array([39.5, 29.5, 1.0])
    moved = [random_warp(80, 60, np.random.default_rng(seed)) @ centre for seed in range(6)]
    away = [np.linalg.norm(m[:2] / m[2] - centre[:2]) for m in moved]
    assert max(away) > 1.0
    assert max(away) < 15.0  # a tenth of each side at most, and tilt


def test_a_continued_training_begins_with_the_head_that_is_there(
    data: LabelledKeypoints, tmp_path: Path
) -> None:
    checkpoint, config = tmp_path / "landmarks.pt", replace(CONFIG, iterations=30)
    head = trainer(data, checkpoint, config).run(lambda step, loss: None)
    kept = checkpoint.read_bytes()
    later = replace(data, label=np.where(data.label == 4, 0, data.label))  # landmark 4 is gone
    batches = Batches(later, np.arange(PHOTOS - 4), config, any_heading=False)

    def continued(iterations: int) -> RecogniserTrainer:
        shorter, file = replace(config, iterations=iterations), continued_file(checkpoint)
        return RecogniserTrainer(batches, DIM, LANDMARKS, shorter, file, start=checkpoint)

    begun = continued(8)
    for ours, theirs in zip(begun.network.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        before = recognition(head, later, np.arange(PHOTOS)).of_all
    after = recognition(begun.run(lambda step, loss: None), later, np.arange(PHOTOS)).of_all
    assert after > before + 0.05
    assert checkpoint.read_bytes() == kept  # until the map has the new one
    take_place(checkpoint)
    assert checkpoint.read_bytes() != kept and not continued_file(checkpoint).exists()
    assert continued(8).iteration == 0  # another one goes on from there


def test_a_training_goes_on_only_from_a_finished_one_of_its_network(
    data: LabelledKeypoints, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "landmarks.pt"
    batches = Batches(data, np.arange(4), CONFIG, any_heading=False)

    def continued(landmarks: int) -> RecogniserTrainer:
        file = continued_file(checkpoint)
        return RecogniserTrainer(batches, DIM, landmarks, CONFIG, file, start=checkpoint)

    with pytest.raises(MappingError, match=r"not there.*train without --continue"):
        continued(LANDMARKS)
    trainer(data, checkpoint).save()
    with pytest.raises(MappingError, match="did not end"):
        continued(LANDMARKS)
    trainer(data, checkpoint, replace(CONFIG, iterations=1)).run(lambda step, loss: None)
    continued(LANDMARKS)
    with pytest.raises(MappingError, match=r"another network.*--network"):
        continued(LANDMARKS + 1)
