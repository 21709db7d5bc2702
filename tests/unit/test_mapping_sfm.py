"""Structure from motion as a step: names, caches, interruption, reasons."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from ground_world import make_ground
from mapping_world import World, WorldStore

from edge_reloc.errors import MappingError
from edge_reloc_export.photos.features import PhotoFeatures
from edge_reloc_export.scene import sfm_database
from edge_reloc_export.scene.lenses import find_lenses
from edge_reloc_export.scene.matching import PairMatches, match_pairs
from edge_reloc_export.scene.pairs import pairs_by_position
from edge_reloc_export.scene.sfm import map_photos
from edge_reloc_export.scene.sfm_database import verify, write_database

pycolmap = pytest.importorskip("pycolmap")


def renamed(world: World, pattern: str) -> tuple[WorldStore, list[str]]:
    """The same photos under other names, in the same order."""
    old = [view.name for view in world.views]
    names = [pattern.format(i) for i in range(len(old))]
    store = WorldStore(
        world.store.work, {n: world.store.get(o) for n, o in zip(names, old, strict=True)}, 64
    )
    store.key = lambda name: old[names.index(name)]  # type: ignore[method-assign]
    return store, names


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_ground(tmp_path_factory.mktemp("ground"), relief_m=8.0, oblique_deg=20.0)


def test_names_are_nothing_to_a_reconstruction(world: World) -> None:
    """Spaces, quotes and equal beginnings; and a cache that photos under other names share."""
    plain = map_photos(*renamed(world, "photo_{}.jpg"), {}, None, progress=False).model
    odd = map_photos(*renamed(world, "WhatsApp Image {}\t'é\".jpg"), {}, None, progress=False).model
    assert len(plain.views) == len(odd.views) == len(world.views)
    for one, other in zip(plain.views, odd.views, strict=True):
        assert other.name.startswith("WhatsApp Image ")
        np.testing.assert_array_equal(one.cam_from_world, other.cam_from_world)


def test_verification_goes_on_where_it_was_stopped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [view.name for view in world.views]
    pairs = [(i, j) for i in range(12) for j in range(i + 1, min(i + 4, 12))]
    matches = match_pairs(world.store, names, pairs, progress=False)
    lenses = find_lenses(names, [(640, 480)] * len(names), {}, None)
    whole, cut = tmp_path / "whole.db", tmp_path / "cut.db"
    for path in (whole, cut):
        write_database(pycolmap, path, world.store, names, lenses, matches)
    expected = verify(pycolmap, whole, matches, progress=False)
    monkeypatch.setattr(sfm_database, "VERIFIED_AT_ONCE", 8)
    real, asked = pycolmap.verify_matches, []

    def once(path: Path, listing: Path, options: object) -> None:
        asked.append(len(listing.read_text().splitlines()))
        if len(asked) == 2:
            raise KeyboardInterrupt
        real(path, listing, options)

    monkeypatch.setattr(pycolmap, "verify_matches", once)
    with pytest.raises(KeyboardInterrupt):
        verify(pycolmap, cut, matches, progress=False)
    found = verify(pycolmap, cut, matches, progress=False)
    assert sum(asked[2:]) == len(matches) - 8  # the first eight not again
    assert [p.pair for p in found] == [p.pair for p in expected]
    assert len(found) > 10


def test_matches_that_a_kill_took_out_come_back(world: World, tmp_path: Path) -> None:
    names = [view.name for view in world.views]
    pairs = [(i, i + 1) for i in range(11)]
    matches = match_pairs(world.store, names, pairs, progress=False)
    lenses = find_lenses(names, [(640, 480)] * len(names), {}, None)
    path = tmp_path / "d.db"
    write_database(pycolmap, path, world.store, names, lenses, matches)
    expected = verify(pycolmap, path, matches, progress=False)
    with contextlib.closing(sqlite3.connect(path)) as database:  # as pycolmap left it when killed
        database.execute("DELETE FROM matches")
        database.execute("DELETE FROM two_view_geometries")
        database.commit()
    found = verify(pycolmap, path, matches, progress=False)
    assert [pair.pair for pair in found] == [pair.pair for pair in expected]


def test_a_pair_without_inliers_does_not_count_as_verified(world: World, tmp_path: Path) -> None:
    names = [view.name for view in world.views]
    (match,) = match_pairs(world.store, names, [(0, 1)], progress=False)
    rng = np.random.default_rng(0)
    match.rows[:, 1] = rng.permutation(match.rows[:, 1])  # matches of nothing with nothing
    lenses = find_lenses(names, [(640, 480)] * len(names), {}, None)
    write_database(pycolmap, tmp_path / "d.db", world.store, names, lenses, [match])
    assert verify(pycolmap, tmp_path / "d.db", [match], progress=False) == []


def test_chance_places_no_photo(tmp_path: Path) -> None:
    """Some geometry explains many of any matches, the more there are: no reason to believe it."""
    store, names = bare(2, 400)
    rows = np.stack([np.arange(400), np.random.default_rng(3).permutation(400)], axis=1)
    match = PairMatches(
        pair=(0, 1), rows=rows.astype(np.int32), similarity=np.ones(400, np.float32)
    )
    lenses = find_lenses(names, [(640, 480)] * 2, {}, None)
    path = tmp_path / "d.db"
    write_database(pycolmap, path, store, names, lenses, [match])
    (tmp_path / "pairs.txt").write_text("000000 000001\n")
    pycolmap.verify_matches(path, tmp_path / "pairs.txt", pycolmap.TwoViewGeometryOptions())
    assert inliers_of_the_first_two(path) > sfm_database.MIN_MATCHES  # pycolmap believes it
    with pycolmap.Database.open(path) as database:
        database.clear_two_view_geometries()
    assert verify(pycolmap, path, [match], progress=False) == []
    assert inliers_of_the_first_two(path) == 0


def inliers_of_the_first_two(path: Path) -> int:
    with pycolmap.Database.open(path) as database:
        first, second = (image.image_id for image in database.read_all_images()[:2])
        return len(database.read_two_view_geometry(first, second).inlier_matches)


def bare(count: int, keypoints: int) -> tuple[WorldStore, list[str]]:
    rng = np.random.default_rng(0)
    photos = {}
    for row in range(count):
        descriptor = rng.standard_normal((keypoints, 64))
        descriptor /= np.linalg.norm(descriptor, axis=1, keepdims=True)
        photos[f"{row}.jpg"] = PhotoFeatures(
            xy_px=rng.uniform(0, 400, (keypoints, 2)).astype(np.float32),
            score=np.ones(keypoints, np.float32),
            descriptor=descriptor.astype(np.float16),
            width=640,
            height=480,
        )
    return WorldStore(Path(mkdtemp()), photos, 64), list(photos)


@pytest.mark.parametrize(
    ("count", "keypoints", "reason"),
    [
        (1, 300, "1 photo, expected 3 or more"),
        (2, 300, "2 photos, expected 3 or more"),
        (5, 20, "20 keypoints in the median photo"),
        (5, 300, "do not overlap enough"),
    ],
)
def test_the_reason_found_is_told(count: int, keypoints: int, reason: str, tmp_path: Path) -> None:
    store, names = bare(count, keypoints)
    store.work, store.images = tmp_path, tmp_path  # type: ignore[attr-defined]
    with pytest.raises(MappingError, match=reason):
        map_photos(store, names, {}, None, progress=False)


def test_positions_keep_look_alikes_apart_and_neighbours_together() -> None:
    near = [np.array([10.0 * i, 0.0, 0.0]) for i in range(80)]
    chosen = pairs_by_position([(0, 1), (0, 79)], near, per_photo=4)
    assert (0, 1) in chosen and (0, 79) not in chosen and (40, 42) in chosen
    assert pairs_by_position([(0, 79)], [None] * 80, per_photo=4) == [(0, 79)]
    assert pairs_by_position([(0, 79)], [np.zeros(3)] * 80, per_photo=4) == [(0, 79)]


def test_a_mapping_that_is_stopped_ends_in_one_line(data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_reloc", "map", "--features", "sift"]
    command += [
        "--images",
        str(data_dir / "herz_jesus" / "images"),
        "--output",
        str(tmp_path / "m"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        database = tmp_path / "m.work" / "sfm"
        deadline = time.monotonic() + 300
        while not list(database.glob("*/pairs.txt")) and time.monotonic() < deadline:
            assert program.poll() is None
            time.sleep(0.2)
        program.send_signal(signal.SIGTERM)
        _, err = program.communicate(timeout=120)
    assert program.returncode == 130
    assert err.strip().splitlines()[-1] == "interrupted"
    assert "@ " not in err and "Traceback" not in err
