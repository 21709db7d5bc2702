"""Photos divided into tiles, and tiles brought into one world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mapping_world import CAMERA, look_at

from edge_reloc_export.city.seams import adjust_tiles, find_seam, seam_error
from edge_reloc_export.city.split import Part, neighbours, split_by_matches, split_by_position
from edge_reloc_export.scene.align import transform_model
from edge_reloc_export.scene.model import SceneModel, View
from edge_reloc_export.scene.similarity import Similarity

SEAM_SHARE = 1e-3  # of the distance to what is seen: what 0.2 % of noise in points leaves
GROWN = 1.05  # a tile of this size, where the round trip does not close


def _every_photo_is_of_one_core(parts: list[Part], count: int, most: int) -> None:
    assert sorted(np.concatenate([part.core for part in parts]).tolist()) == list(range(count))
    for part in parts:
        assert set(part.core) <= set(part.rows) and len(part.rows) <= most
        assert (np.diff(part.rows) > 0).all()


def test_tiles_by_position_lie_together_and_overlap() -> None:
    x, y = np.meshgrid(np.arange(30), np.arange(10))
    centre = np.stack([x.ravel(), y.ravel(), np.zeros(300)], axis=1).astype(float)
    parts = split_by_position(centre, 100)
    _every_photo_is_of_one_core(parts, 300, 100)
    assert len(parts) == 4 and len(neighbours(parts)) >= 3
    assert all(len(part.core) == 75 and len(part.rows) == 94 for part in parts)
    extents = [np.ptp(centre[part.core], axis=0).max() for part in parts]
    assert max(extents) < 10  # strips of 7 or 8 by 10, not photos from here and there


def _ring(count: int, reach: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A walk around a block: photos share the more the nearer they are."""
    pairs = [sorted((i, (i + k) % count)) for i in range(count) for k in range(1, reach + 1)]
    return np.array(pairs), np.array([500 / k for _ in range(count) for k in range(1, reach + 1)])


def test_tiles_by_matches_cut_a_round_trip_into_arcs() -> None:
    pairs, weight = _ring(200)
    mixed = np.random.default_rng(0).permutation(200)  # the order of capture tells nothing
    parts = split_by_matches(200, np.sort(mixed[pairs], axis=1), weight, 60)
    _every_photo_is_of_one_core(parts, 200, 60)
    place = np.argsort(mixed)
    for part in parts:
        on_ring = np.sort(place[part.core])
        jumps = (np.diff(np.r_[on_ring, on_ring[0] + 200]) > 1).sum()
        assert jumps <= 2  # an arc, or two at most
    assert len(neighbours(parts)) >= len(parts)  # the round trip closes


def test_few_photos_are_one_tile() -> None:
    assert [p.rows.tolist() for p in split_by_position(np.zeros((5, 3)), 20)] == [list(range(5))]
    pairs, weight = _ring(20)
    assert len(split_by_matches(20, pairs, weight, 20)) == 1


def _walk(count: int) -> SceneModel:
    """Photos around a block that look inwards; every photo sees the points near its way."""
    rng = np.random.default_rng(3)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    xyz = np.stack([8 * np.cos(angle), 8 * np.sin(angle), rng.uniform(-2, 2, 3000)], axis=1)
    xyz *= rng.uniform(0.9, 1.1, (3000, 1))
    views = []
    for at in np.linspace(0, 2 * np.pi, count, endpoint=False):
        centre = np.array([13 * np.cos(at), 13 * np.sin(at), 0.3 * np.sin(5 * at)])
        seen = np.flatnonzero(np.abs((angle - at + np.pi) % (2 * np.pi) - np.pi) < 0.25)
        views.append(
            View(
                name=f"{len(views):03d}.jpg",
                camera=CAMERA,
                cam_from_world=look_at(centre, np.zeros(3)),
                xy_px=np.zeros((len(seen), 2), np.float32),
                point_id=seen.astype(np.int32),
                keypoint=seen.astype(np.int32),
            )
        )
    return SceneModel(views=views, xyz=xyz, metric=False)


def _tile(walk: SceneModel, rows: list[int], similarity: Similarity, noise: float) -> SceneModel:
    """Some photos with what they see, in a frame of their own, placed with some noise."""
    views = [walk.views[row] for row in rows]
    seen = np.zeros(len(walk.xyz), bool)
    for view in views:
        seen[view.point_id] = True
    model = replace(walk, views=views).keep_points(seen)
    rng = np.random.default_rng(len(rows))
    model = replace(model, xyz=model.xyz + noise * rng.standard_normal(model.xyz.shape))
    return transform_model(model, similarity)


def _similarity(seed: int) -> Similarity:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    scale, shift = float(rng.uniform(0.3, 3)), rng.uniform(-50, 50, 3)
    return Similarity(scale=scale, rotation=rotation, translation=shift)


@pytest.fixture(scope="module")
def tiles() -> list[SceneModel]:
    """Five tiles of a round trip, each in a frame and unit of its own."""
    walk = _walk(60)
    return [
        _tile(walk, sorted(row % 60 for row in range(12 * k, 12 * k + 16)), _similarity(k), 0.01)
        for k in range(5)
    ]


def _seams(tiles: list[SceneModel]) -> list:
    pairs = [(a, b) for a in range(len(tiles)) for b in range(a + 1, len(tiles))]
    found = [find_seam(a, tiles[a], b, tiles[b]) for a, b in pairs]
    return [seam for seam in found if seam is not None]


def test_tiles_come_into_one_world(tiles: list[SceneModel]) -> None:
    seams = _seams(tiles)
    assert [(s.first, s.second) for s in seams] == [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]
    world_from = adjust_tiles(seams, range(5))
    assert sorted(world_from) == [0, 1, 2, 3, 4]
    world = {k: transform_model(tiles[k], s) for k, s in world_from.items()}
    for seam in seams:
        error = seam_error(world[seam.first], world[seam.second])
        assert error is not None and error.photos == 4
        assert error.share < SEAM_SHARE and error.turn_deg < 0.1


def test_the_seams_of_a_round_trip_share_what_does_not_close(tiles: list[SceneModel]) -> None:
    """As of a tile whose ends differ in scale by five per cent."""
    seams = _seams(tiles)
    middle = tiles[1].xyz.mean(axis=0)
    grown = middle + GROWN * (seams[0].xyz_second - middle)
    tied = seams[0].first_from_second
    back = Similarity(scale=1 / GROWN, rotation=np.eye(3), translation=(1 - 1 / GROWN) * middle)
    seams[0] = replace(seams[0], xyz_second=grown, first_from_second=tied.after(back))
    world_from = adjust_tiles(seams, range(5))
    gaps = []
    for seam in seams:
        a, b = world_from[seam.first], world_from[seam.second]
        gap = a.apply(seam.xyz_first) - b.apply(seam.xyz_second)
        gaps.append(float(np.median(np.linalg.norm(gap, axis=1))))
    assert max(gaps) < 0.6 * sum(gaps)  # along the tree alone one seam has it all


def test_a_seam_that_is_wrong_moves_nothing(tiles: list[SceneModel]) -> None:
    """Tiles that look alike: many points agree, on a place where the tile cannot lie."""
    seams = _seams(tiles)
    right = adjust_tiles(seams, range(5))
    false = replace(seams[0], first=0, second=2, xyz_second=seams[2].xyz_first[:200])
    false = replace(false, xyz_first=seams[0].xyz_first[: len(false.xyz_second)])
    false = replace(false, xyz_second=false.xyz_second[: len(false.xyz_first)])
    found = adjust_tiles([*seams, false], range(5))
    anchor = next(k for k, s in right.items() if s.scale == 1.0)
    for k, similarity in found.items():
        between = right[anchor].inverse().after(right[k]), found[anchor].inverse().after(similarity)
        assert between[1].scale == pytest.approx(between[0].scale, rel=0.01)


def test_a_tile_that_hangs_together_with_no_other_is_not_there(tiles: list[SceneModel]) -> None:
    assert sorted(adjust_tiles(_seams([tiles[0], tiles[2], tiles[1]]), range(3))) == [0, 1, 2]
    assert sorted(adjust_tiles(_seams([tiles[0], tiles[1], tiles[3]]), range(3))) == [0, 1]
    assert list(adjust_tiles([], [1, 2])) == [1]  # tile 0 could not be placed
