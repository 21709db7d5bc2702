"""Our own feature network and its training: limits, geometry of views, going on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode

from edge_reloc.embedding.place import pool
from edge_reloc.errors import ConfigError, EngineError
from edge_reloc_export.nets.edgepoint2 import EdgePoint2, Widths
from edge_reloc_export.nets.local_features import load_local_features, weights_file
from edge_reloc_export.nets.waymark import SIZES, Waymark, fold, load_waymark, trained_waymark
from edge_reloc_export.onnx.export import export_features
from edge_reloc_export.training.features.lessons import FLOOR, Lessons, kept_lessons, teach
from edge_reloc_export.training.features.losses import choose_matches, overlap
from edge_reloc_export.training.features.photos import LEVELS, Photos, read_photos
from edge_reloc_export.training.features.teachers import (
    EdgePointDescriptors,
    EdgePointKeypoints,
    MeanKeypoints,
    NoDescriptors,
    load_descriptors,
    load_keypoints,
)
from edge_reloc_export.training.features.trainer import FeatureConfig, FeatureTrainer
from edge_reloc_export.training.features.views import apply, make_views, pixel_grid

PARAMETERS, GFLOP = 1_000_000, 2.5  # of size m at 640x480; a multiplication and an addition: 2
VIEW = 64
LEARNT = 1.3  # right nearest neighbours, times those of a network that learnt nothing


def textured(count: int = 30) -> Photos:
    """Smooth noise with a gradient: every place looks different."""
    generator = np.random.default_rng(0)
    images = []
    for _ in range(count):
        height, width = generator.integers(90, 140, 2)
        coarse = generator.uniform(0, 255, (18, 18)).astype(np.float32)
        image = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return Photos(images)


CPU = torch.device("cpu")


@cache
def lessons(seed: int = 1) -> Lessons:
    """Of `textured()`."""
    torch.manual_seed(seed)
    network = EdgePoint2(Widths(4, 8, 8, 8, 32, 4)).eval()
    teachers = EdgePointKeypoints(network), EdgePointDescriptors(network)
    return teach(textured(), *teachers, CPU, int, headings=1)


@pytest.mark.parametrize("size", SIZES)
def test_the_network_keeps_its_limits(size: str) -> None:
    model = Waymark(size).eval()
    assert sum(p.numel() for p in model.parameters()) < PARAMETERS
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        maps = model(torch.rand(1, 1, 480, 640) * 255)
    assert flops.get_total_flops() / 1e9 < GFLOP
    assert maps.logits.shape == (1, 1, 480, 640)
    assert maps.descriptors.shape == (1, 64, 60, 80)
    assert maps.reliability.shape == (1, 1, 60, 80)
    assert maps.embedding.shape == (1, 256)
    assert float(maps.embedding.norm()) == pytest.approx(1.0, rel=1e-4)


def test_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = Waymark("s")
    with torch.no_grad():
        for _ in range(3):  # give batch norm something to fold
            model.train()(torch.rand(2, 1, 64, 96) * 255)
        model.eval()
        image = torch.rand(1, 1, 70, 90) * 255  # no multiple of 32
        before = model.dense(image)
        after = fold(model).dense(image)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    assert before.heat.shape == (70, 90)
    for a, b in zip(before, after, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_views_show_what_their_homographies_say() -> None:
    """A pixel of one view, through the photo, is the same grey in the other."""
    photos, generator = textured(), torch.Generator().manual_seed(5)
    rows = torch.arange(12)
    hard = torch.full((12,), 0.5)
    said = lessons()._replace(heat=(photos.pixels.float() / 50 - 5).half())
    first, second = make_views(photos, said, rows, VIEW, generator, hard=hard)
    anywhere = first._replace(heat=torch.zeros_like(first.heat))
    chosen = choose_matches(anywhere, second, 40, generator)
    row = torch.nonzero(chosen.right)[:, 0]
    here, there_too = chosen.first[chosen.right], chosen.second[chosen.right]
    assert len(row) > 150
    assert len(torch.unique(row)) == 12
    second_from_first = torch.linalg.inv(second.photo_from_view) @ first.photo_from_view
    expected = apply(second_from_first[row], here[:, None])[:, 0]
    torch.testing.assert_close(expected, there_too, rtol=0, atol=1e-2)
    normal = there_too / (VIEW - 1) * 2 - 1

    def at_second(maps: torch.Tensor) -> torch.Tensor:
        spots = zip(row, normal, strict=True)
        read = [
            torch.nn.functional.grid_sample(
                maps[k : k + 1], xy.view(1, 1, 1, 2), align_corners=True
            )
            for k, xy in spots
        ]
        return torch.stack([value.squeeze() for value in read])

    def at_first(maps: torch.Tensor) -> torch.Tensor:
        return maps[row, 0, here[:, 1].long(), here[:, 0].long()]

    assert float((at_first(first.clean) - at_second(second.clean)).abs().median()) < 2.0
    # What was said of a place is read from where its grey is.
    for view in (first, second):
        error = (view.heat - view.clean / 50 + 5)[view.inside].abs()
        assert float(error.max()) < 0.01
    turned = torch.atan2(first.photo_from_view[:, 1, 0], first.photo_from_view[:, 0, 0])
    assert float(turned.max() - turned.min()) > np.pi  # any heading


def test_overlap_is_what_two_views_share() -> None:
    """Against the truth of a fine grid, and 1 for a view and itself."""
    photos, generator = textured(), torch.Generator().manual_seed(9)
    first, second = make_views(
        photos, lessons(), torch.arange(8), VIEW, generator, hard=torch.ones(8)
    )
    torch.testing.assert_close(overlap(first, first), torch.ones(8))
    grid = pixel_grid(VIEW, torch.device("cpu"))[None].expand(8, -1, -1)
    shares = []
    for here, there in ((first, second), (second, first)):
        xy = apply(torch.linalg.inv(there.photo_from_view) @ here.photo_from_view, grid)
        seen = ((xy >= 0) & (xy <= VIEW - 1)).all(2) & here.inside.flatten(1)
        shares.append(seen.sum(1) / here.inside.flatten(1).sum(1))
    truth = 0.5 * (shares[0] + shares[1])
    assert float(truth.min()) < 0.8
    torch.testing.assert_close(overlap(first, second), truth, rtol=0, atol=0.15)


def test_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    config = FeatureConfig(size="s", steps=6, batch=2, view_px=VIEW, matches=20)

    def trainer(folder: str) -> FeatureTrainer:
        return FeatureTrainer(textured(), lessons(), config, tmp_path / folder, CPU)

    whole = trainer("whole")
    reports = list(whole.train(6, 3))
    assert [r.step for r in reports] == [3, 6]
    parted = trainer("parted")
    list(parted.train(3, 3))
    again = trainer("parted")
    assert again.step == 3
    last = list(again.train(6, 3))
    assert last == reports[1:]
    for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)
    shipped = load_waymark(again.write_weights())
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(6)) * 255
    with torch.no_grad():
        trained = fold(again.network.eval())(image)
        for a, b in zip(shipped(image), trained, strict=True):
            torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 * float(b.abs().max()))
    with pytest.raises(ConfigError, match="belongs to a training with other settings"):
        other = FeatureConfig(size="s", steps=6, batch=3, view_px=VIEW, matches=20)
        FeatureTrainer(textured(), lessons(), other, tmp_path / "parted", CPU)
    other_photos = textured()
    other_photos.pixels[0] ^= 1
    for photos, said in (
        (other_photos, lessons()),
        (textured(), lessons(2)),
    ):
        with pytest.raises(ConfigError, match="on other photos or with other teachers"):
            FeatureTrainer(photos, said, config, tmp_path / "parted", CPU)


def test_descriptors_are_held_while_keypoints_are_learnt(tmp_path: Path) -> None:
    """Those of another network are taken over; one's own stay nearly as they are."""

    class Bright(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image / 20 - 10

    torch.manual_seed(2)
    torch.save({"size": "s", "network": Waymark("s").state_dict()}, tmp_path / "start.pt")
    torch.save({"size": "s", "network": Waymark("s").state_dict()}, tmp_path / "other.pt")
    said = teach(textured(), Bright(), NoDescriptors(), CPU, int, headings=1)
    config = FeatureConfig(size="s", steps=30, batch=4, view_px=VIEW, matches=20, rate=1e-2)

    def trainer(hold: str, start: str = "start.pt") -> FeatureTrainer:
        begin, held = trained_waymark(tmp_path / start), load_waymark(tmp_path / hold)
        return FeatureTrainer(
            textured(), said, config, tmp_path / hold[:-3], CPU, start=begin, hold=held
        )

    for hold, first, last in (("start.pt", 0.0, 0.3), ("other.pt", 0.5, 0.5)):
        reports = list(trainer(hold).train(30, 10))
        assert reports[-1].keypoints < 0.8 * reports[0].keypoints
        assert first < reports[0].distilled
        assert reports[-1].distilled < last
    with pytest.raises(ConfigError, match="belongs to a training on other"):
        trainer("start.pt", start="other.pt")


def test_several_teachers_are_heard_alike(tmp_path: Path) -> None:
    """By their kind of weights, each at its own padding; the mean of their logits."""
    torch.manual_seed(0)
    files = []
    for name in ("a.pt", "b.pt"):
        files.append(str(tmp_path / name))
        torch.save({"size": "s", "network": Waymark("s").state_dict()}, files[-1])
    image = torch.rand(1, 1, 70, 90) * 255
    with torch.no_grad():
        both = load_keypoints(files)
        assert isinstance(both, MeanKeypoints)
        alone = [load_keypoints([file])(image)[..., :70, :90] for file in files]
        torch.testing.assert_close(both(image), 0.5 * (alone[0] + alone[1]))
        assert both(image).shape == (1, 1, 70, 90)


def test_lessons_turn_with_the_photo_and_are_kept(tmp_path: Path) -> None:
    """Keypoints that are asked for in all headings are the same for a photo that was turned."""
    grey = np.random.default_rng(4).uniform(0, 255, (24, 24)).astype(np.float32)
    image = np.clip(cv2.resize(grey, (96, 96), interpolation=cv2.INTER_CUBIC), 0, 255)
    photos = Photos([image.astype(np.uint8), np.rot90(image).astype(np.uint8)])

    class Edges(torch.nn.Module):
        """Of things that begin at their left: other ones in every heading."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            right = torch.nn.functional.pad(image, (0, 1, 0, 0), mode="replicate")[..., 1:]
            return (right - image) / 10

    torch.manual_seed(1)
    network = EdgePointDescriptors(EdgePoint2(Widths(4, 8, 8, 8, 32, 4)).eval())
    said = teach(photos, Edges(), network, CPU, int)
    inner = (slice(8, -8), slice(8, -8))
    upright = said.heat[: 96 * 96].view(96, 96).float()[inner]
    turned = said.heat[len(said.heat) // 2 :][: 96 * 96].view(96, 96).float()
    assert float(upright.std()) > 0.3
    assert float((torch.rot90(turned, -1)[inner] - upright).abs().max()) < 0.05
    assert len(said.starts) == 2 * LEVELS and said.descriptors.shape[1] == 32

    class Flat(torch.nn.Module):
        asked = 0

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.asked += 1
            return torch.full_like(image, -20.0)

    flat = Flat()

    def kept(of: Photos) -> Lessons:
        return kept_lessons(tmp_path / "lessons.pt", of, flat, network, CPU)

    first, once = kept(photos), flat.asked
    assert float(first.heat.max()) == FLOOR and once > 0
    for a, b in zip(kept(photos), first, strict=True):
        assert torch.equal(a, b)
    assert flat.asked == once
    kept(textured(2))
    assert flat.asked > once


def test_means_of_a_report_are_of_the_steps_since_the_last(tmp_path: Path) -> None:
    config = FeatureConfig(size="s", steps=4, batch=2, view_px=VIEW, matches=20)

    def trainer(folder: str) -> FeatureTrainer:
        return FeatureTrainer(textured(), lessons(), config, tmp_path / folder, CPU)

    each = [r.keypoints for r in trainer("each").train(4, 1)]
    parted = trainer("parted")
    list(parted.train(3, 4))  # stops within a report's steps
    (report,) = trainer("parted").train(4, 4)
    assert report.keypoints == pytest.approx(each[3])


@pytest.mark.data
def test_training_learns(tmp_path: Path, data_dir: Path, weights_dir: Path) -> None:
    """A few steps on few photos: far from good, and better than random weights."""
    photos = read_photos([data_dir / "photos"], longest_px=300, shortest_px=112)
    config = FeatureConfig(size="s", steps=60, batch=4, view_px=96, matches=60, harden=10_000)
    weights = weights_dir / "edgepoint2_T32.pth"
    keypoints, descriptors = load_keypoints([str(weights)]), load_descriptors(weights)
    said = teach(photos, keypoints, descriptors, CPU, int, headings=1)
    trainer = FeatureTrainer(photos, said, config, tmp_path, CPU)
    untrained = trainer.held_out_accuracy()
    reports = list(trainer.train(60, 20))
    assert reports[-1].keypoints < 0.7 * reports[0].keypoints
    assert reports[-1].descriptors < reports[0].descriptors
    assert reports[-1].held_out_accuracy > LEARNT * untrained


def test_queries_are_never_trained_on(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, grey in (("a.png", 10), ("b.png", 200)):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((80, 100), grey, np.uint8))
    (tmp_path / "mapping.txt").write_text("a.png\n")
    photos = read_photos([tmp_path], longest_px=50, shortest_px=30)
    assert len(photos) == 1 and photos.image(0).shape == (40, 50)
    assert int(photos.image(0)[0, 0]) == 10
    with pytest.raises(ConfigError, match="no photos of 45 px or more"):
        read_photos([tmp_path], longest_px=50, shortest_px=45)


def test_the_exported_graph_agrees_with_torch(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(3)
    model = Waymark("s")
    weights, path = tmp_path / "waymark.pt", tmp_path / "waymark.onnx"
    torch.save({"size": "s", "network": model.state_dict()}, weights)
    export_features("waymark", weights, 96, 64, 128, path)
    image = torch.rand((1, 1, 64, 96), generator=torch.Generator().manual_seed(4)) * 255
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    xy, _scores, descriptors, place = session.run(None, {"image": image.numpy()})
    assert xy.shape == (128, 2) and descriptors.shape == (128, 64)
    with torch.no_grad():
        heat = load_waymark(weights).dense(image).heat.numpy()
        embedding = load_waymark(weights)(image).embedding.numpy()[0]
    assert place.shape == (1, 256, 2, 3)
    np.testing.assert_allclose(pool(place[0]), embedding, atol=1e-4)
    inside = (xy > 8).all(axis=1) & (xy < [88, 56]).all(axis=1)
    whole = np.rint(xy[inside]).astype(int)
    window = [heat[y - 2 : y + 3, x - 2 : x + 3].max() for x, y in whole]
    assert len(window) > 20
    assert np.median(np.array(window) - heat[whole[:, 1], whole[:, 0]]) < 1e-3


def test_weights_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such weights file"):
        load_waymark(tmp_path / "none.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(EngineError, match="damaged or not weights"):
        load_waymark(tmp_path / "cut.pt")
    torch.save({"size": "s", "network": Waymark("m").state_dict()}, tmp_path / "other.pt")
    with pytest.raises(EngineError, match="not Waymark's weights"):
        load_waymark(tmp_path / "other.pt")


@pytest.mark.data
def test_the_program_trains_and_goes_on(tmp_path: Path, data_dir: Path, weights_dir: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for photo in sorted((data_dir / "photos" / "images").iterdir())[:4]:
        shutil.copy(photo, few)
    command = [sys.executable, "-m", "edge_reloc", "train-features", "--output", str(tmp_path)]
    command += ["--photos", str(few), "--view", "96", "--batch", "2", "--headings", "2"]
    command += ["--teacher", str(weights_dir / "edgepoint2_T32.pth"), "--size", "s"]
    command += ["--steps", "4", "--report-every", "2", "--device", "cpu"]
    written = []
    for until, begins in ((2, 0), (4, 2)):
        done = subprocess.run(
            [*command, "--until", str(until)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"step {begins} of 4 on cpu" in done.stdout
        written.append((tmp_path / "lessons.pt").stat().st_mtime_ns)
    assert written[0] == written[1]  # the teachers were asked once
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--teacher is missing"),
        (["--hold", "none.pt"], "needs --keypoints"),
        (["--hold", "none.pt", "--teacher", "a.pt"], "name one"),
        (["--hold", "none.pt", "--keypoints", "a.pt"], "no such weights"),
    ],
)
def test_the_program_says_what_it_needs(tmp_path: Path, options: list[str], said: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((300, 300), np.uint8))
    command = [sys.executable, "-m", "edge_reloc", "train-features", "--photos", str(tmp_path)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out"), *options],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0 and said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shipped_weights_are_small_and_whole() -> None:
    file = weights_file("waymark", None)
    assert file.stat().st_size < 3_000_000
    state = torch.load(file, map_location="cpu", weights_only=True)
    assert all(v.dtype == torch.float16 for v in state["network"].values() if v.is_floating_point())
    assert state["training"]["step"] > 10_000
    assert load_waymark(file).size == state["size"]


@pytest.mark.data
@pytest.mark.parametrize("turn", [0, 90, 180])
def test_the_shipped_weights_match_a_photo_they_never_saw(turn: int, data_dir: Path) -> None:
    """A photo and itself turned and darker: most matches are right (by chance: none)."""
    path = sorted((data_dir / "herz_jesus" / "images").iterdir())[5]
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:640, :640]
    network = load_local_features("waymark", weights_file("waymark", None), 512)
    found = []
    for image in (grey, np.rot90(0.6 * grey, turn // 90)):
        with torch.no_grad():
            found.append(network(torch.from_numpy(image.astype(np.float32).copy())[None, None]))
    (xy, _, first, _), (turned, _, second, _) = found
    similarity = first @ second.T
    forward, backward = similarity.argmax(1), similarity.argmax(0)
    mutual = (backward[forward] == torch.arange(len(first))) & (similarity.max(1).values > 0.82)
    x, y = xy[mutual].T
    expected = {0: (x, y), 90: (y, 639 - x), 180: (639 - x, 639 - y)}[turn]
    error = (torch.stack(expected, 1) - turned[forward[mutual]]).norm(dim=1)
    assert int(mutual.sum()) > 150
    assert float((error < 3).float().mean()) > {0: 0.95, 90: 0.7, 180: 0.5}[turn]
