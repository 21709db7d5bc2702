"""Which tiles are wanted in memory: on the way, when lost, and with a word from outside."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from edge_reloc.tiles.coarse_retrieval import Places
from edge_reloc.tiles.index import Tile
from edge_reloc.tiles.residency import Page, Residency

SECOND = 1_000_000_000
FRAME_NS = SECOND // 10


def row(count: int = 8, length: float = 10.0, overlap: float = 2.0) -> list[Tile]:
    """Tiles along x, photos at one height."""
    tiles = []
    for n in range(count):
        low, high = n * length - overlap / 2, (n + 1) * length + overlap / 2
        box = {"low": (low, -5.0, 0.0), "high": (high, 5.0, 6.0)}
        cameras = {"cameras_low": (low, -1.0, 2.0), "cameras_high": (high, 1.0, 2.0)}
        counts = {"points": 100, "photos": 10, "nbytes": 1000}
        tiles.append(Tile(name=f"t{n}", manifest_sha256="0" * 64, **box, **cameras, **counts))
    return tiles


def flown(residency: Residency, xs: Iterable[float]) -> None:
    for n, x in enumerate(xs):
        residency.seen(n * FRAME_NS, np.array([x, 0.0, 2.0]))


def test_the_cost_grows_from_the_middle_outwards() -> None:
    residency = Residency(row(), 3)
    cost = [residency.cost(np.array([x, 0.0, 2.0]))[0] for x in (5, 8, 11, 15, 30)]
    assert cost == sorted(cost) and cost[0] == pytest.approx(0.0, abs=1e-6)
    assert cost[2] == pytest.approx(residency.scale) and cost[4] == pytest.approx(19 + 6)


def test_the_next_tile_along_the_way_is_loaded() -> None:
    residency = Residency(row(), 3)
    flown(residency, np.arange(32.0, 37.0, 0.4))  # 4 m/s, in tile 3
    assert residency.next_page([3, 2, 7], 3) == Page(tile=4, slot=2)
    assert residency.next_page([3, 5, 4], 3) is None
    back = Residency(row(), 3)
    flown(back, np.arange(37.0, 33.0, -0.4))
    assert back.next_page([3, 4, 7], 3) == Page(tile=2, slot=2)


def test_what_is_near_is_not_given_up_for_what_is_hardly_nearer() -> None:
    residency = Residency(row(), 2)
    flown(residency, [35.0] * 5)  # hovering in the middle of tile 3
    assert residency.next_page([3, 4], 3) is None and residency.next_page([3, 2], 3) is None
    assert residency.next_page([3, 6], 3) is not None


def test_when_lost_looks_decide_and_tiles_that_failed_wait() -> None:
    residency = Residency(row(), 2)
    looks = np.full(8, 0.1, np.float32)
    looks[6] = 0.9
    residency.unseen(0, looks, None, alone=False)
    page = residency.next_page([0, 1], None)
    assert page is not None and page.tile == 6
    residency.unseen(FRAME_NS, looks, None, alone=False)
    assert residency.best([0, 6])[0] == 6
    for _ in range(6):
        residency.failed(6)
    assert residency.best([0, 6])[0] == 0


def test_a_map_is_only_said_not_to_know_an_image_when_all_of_it_was_asked() -> None:
    residency = Residency(row(3), 2)
    residency.unseen(0, None, None, alone=False)
    resident: list[int | None] = [0, 1]
    asked = set()
    for _ in range(20):
        for tile in resident:
            if tile is not None:
                residency.failed(tile)
                asked.add(tile)
        assert residency.untried(resident) == (asked != {0, 1, 2})
        page = residency.next_page(resident, None)
        if page is not None:
            resident[page.slot] = page.tile
    assert asked == {0, 1, 2}


def test_a_prior_keeps_far_tiles_out() -> None:
    residency = Residency(row(), 2)
    residency.near(np.array([55.0, 0.0, 2.0]), 3.0)
    looks = np.zeros(8, np.float32)
    looks[0] = 0.6  # looks like tile 0, which is 40 m away
    residency.unseen(0, looks, None, alone=False)
    assert set(residency.best(range(8))[:2]) <= {4, 5, 6}


def test_the_last_pose_counts_for_a_while_and_odometry_for_longer() -> None:
    residency = Residency(row(), 2)
    flown(residency, [35.0, 35.0])
    residency.unseen(2 * FRAME_NS, None, None, alone=False)
    assert residency.best(range(8))[0] == 3
    assert not residency.searches and residency.next_page([6, 7], None) is None  # a hidden lens
    for second in range(20, 61, 10):
        residency.unseen(second * SECOND, None, None, alone=False)
    assert residency.searches
    assert np.ptp(residency.pull()) == 0.0  # nothing is known any more
    carried = Residency(row(), 2)
    flown(carried, [35.0, 35.0])
    for second in range(1, 41):
        carried.unseen(second * SECOND, None, np.array([35.0 + second, 0.0, 2.0]), alone=False)
    assert carried.best(range(8))[0] in (5, 6, 7)


def test_a_tile_that_is_left_out_is_never_wanted() -> None:
    residency = Residency(row(3), 2)
    residency.leave_out(2)
    flown(residency, [25.0, 25.0])
    assert residency.next_page([0, 1], 1) is None
    assert residency.best([0, 1, 2])[-1] == 2


def test_a_frame_that_waits_gets_any_tile_it_was_not_looked_for_in() -> None:
    residency = Residency(row(4), 2)
    residency.unseen(0, np.array([0.9, 0.8, 0.2, 0.1], np.float32), None, alone=True)
    page = residency.next_page([0, 1], None, [0, 1])
    assert page == Page(tile=2, slot=1)
    assert residency.next_page([0, 2], None, [0, 1, 2]) == Page(tile=3, slot=1)
    assert residency.next_page([0, 3], None, [0, 1, 2, 3]) is None


def test_places_name_the_tile_whose_photos_look_alike() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.random((3, 32)) + 1.0
    tile = np.repeat(np.arange(3, dtype=np.int32), 20)
    place = kinds[tile] + 0.1 * rng.random((60, 32))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    places = Places(place.astype(np.float16), tile, 4)
    for kind in range(3):
        looks = places.similarity(place[20 * kind + 3].astype(np.float32))
        assert looks.argmax() == kind and looks[3] == -1.0
