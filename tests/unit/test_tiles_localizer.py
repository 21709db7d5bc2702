"""A map of tiles localises as the whole map does, in memory that is taken once."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiled_yard import PARTS, tiled_yard

import edge_reloc
from edge_reloc.bundle import open_bundle
from edge_reloc.errors import BundleError, ConfigError, StaleViewError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.methods import Settings
from edge_reloc.running import budget as budget_module
from edge_reloc.running.budget import check_budget, fit_budget, plan_footprint
from edge_reloc.running.pipeline import pipeline
from edge_reloc.running.supervisor import Supervisor
from edge_reloc.structs import Frame, Localization, PoseEstimate, State, Status
from edge_reloc.tiles import slot_plan
from edge_reloc.tiles.tiled_bundle import TiledBundle, open_map
from edge_reloc.tiles.tiled_localizer import TiledLocalizer

DEMO = Path(__file__).parents[2] / "edge_reloc" / "demo"
CAMERA = read_camera(DEMO / "camera.json")
PERIOD_NS = 200_000_000  # the demo is a walk
SETTLED = 8  # frames until a stream's first poses are confirmed
APART_M = 0.05  # of the same frame in a tile and in the whole map


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's courtyard in three tiles, by where the photos were taken."""
    return tiled_yard(tmp_path_factory.mktemp("tiles")).parent


@pytest.fixture
def city(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "city", tmp_path / "city"))


def frame(number: int, *, live: bool = True, index: int = 0) -> Frame:
    path = DEMO / "frames" / f"frame_{number:03d}.jpg"
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    t_ns = PERIOD_NS * (index or number)
    return Frame(
        image=image, t_ns=t_ns, index=index, name=path.name, received_ns=t_ns if live else None
    )


def opened(city: Path, **settings: object) -> TiledLocalizer:
    localizer = edge_reloc.open(city, CAMERA, threads=1, **settings)
    assert isinstance(localizer, TiledLocalizer)
    return localizer


@pytest.fixture(scope="module")
def localizer(made: Path) -> Iterator[TiledLocalizer]:
    with opened(made / "city", resident_tiles=2) as localizer:
        yield localizer


def test_cut_tiles_are_smaller_and_whole(made: Path) -> None:
    whole = open_bundle(DEMO / "map").manifest.statistics["points"]
    for name in PARTS:
        tile = open_bundle(made / name, verify=True).manifest
        assert 0.3 * whole < tile.statistics["points"] < whole
        assert 0 < tile.statistics["photos"] < 96


def test_photos_are_localised_as_in_one_map(localizer: TiledLocalizer, made: Path) -> None:
    numbers = range(0, 80, 16)
    loaded = localizer.loaded
    with edge_reloc.open(DEMO / "map", CAMERA, threads=1) as whole:
        for number in numbers:
            result = localizer.localize(frame(number, live=False))
            expected = whole.localize(frame(number, live=False))
            assert result.ok and expected.ok, (number, result.reason, expected.reason)
            apart = camera_centre(result.cam_from_world) - camera_centre(expected.cam_from_world)
            assert np.linalg.norm(apart) < APART_M
            assert result.estimate.stages_ms["extract"] > 0
    assert localizer.loaded > loaded and len(localizer.resident) == 2


def test_memory_is_planned_and_taken_once(localizer: TiledLocalizer, made: Path) -> None:
    bundle = open_map(made / "city")
    plan = plan_footprint(bundle, CAMERA, replace(localizer.settings, method=None))
    assert plan.arena_bytes == localizer.arena_bytes
    slots = [row for row in plan.rows if row.kind == "tiles"]
    assert len(slots) == 2 and slots[0].nbytes == slots[1].nbytes > 1 << 20
    places = {id(slot.arena) for slot in localizer._slots}
    xyz = {slot.line.points.xyz.ctypes.data for slot in localizer._slots if slot.line}
    for tile in (0, 1, 2, 0):
        done = localizer._pager.load(1, tile)
        assert done.error is None
        localizer._slots[1].tile = tile
    assert {id(slot.arena) for slot in localizer._slots} == places
    assert {s.line.points.xyz.ctypes.data for s in localizer._slots if s.line} == xyz
    localizer._pager.load(1, 1)
    localizer._slots[0].tile, localizer._slots[1].tile = None, 1
    localizer._pager.load(0, 0)
    localizer._slots[0].tile = 0


def test_what_a_frame_left_is_stale_after_the_next_in_another_tile(city: Path) -> None:
    with opened(city, resident_tiles=3) as localizer:
        first = localizer.localize(frame(0, live=False))
        assert first.matches.n > 0 and first.features.n > 0
        localizer.localize(frame(50, live=False))
        with pytest.raises(StaleViewError):
            first.features  # noqa: B018


def test_a_live_frame_never_waits_and_says_so(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tile that it shows is kept from being loaded, for as long as the test wants."""
    with opened(city, resident_tiles=2) as localizer:
        noise = np.random.default_rng(1).integers(0, 255, (480, 640), np.uint8)
        foreign = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0))
        foreign = np.asarray(cv2.normalize(foreign, None, 0, 255, cv2.NORM_MINMAX), np.uint8)
        go, load = threading.Event(), localizer._pager.load

        def slowly(slot: int, tile: int) -> object:
            assert go.wait(20)
            return load(slot, tile)

        monkeypatch.setattr(localizer._pager, "load", slowly)
        strange = Frame(image=foreign, t_ns=1, received_ns=1)
        statuses = [localizer.localize(replace(strange, t_ns=n)).status for n in range(1, 5)]
        assert statuses[-1] is Status.NOT_LOADED and len(localizer.resident) == 1
        result = localizer.localize(replace(strange, t_ns=9))
        assert result.cam_from_world is None
        assert "no tile in memory" in (result.reason or "")
        go.set()
        for n in range(10, 60):
            result = localizer.localize(replace(strange, t_ns=n))
            if result.status is not Status.NOT_LOADED:
                break
        assert result.status in (Status.NO_MATCHES, Status.NO_POSE, Status.IMPLAUSIBLE)


def test_the_states_see_no_jump_at_a_seam(city: Path) -> None:
    with opened(city, resident_tiles=2, tracking=True) as localizer:
        supervisor = Supervisor(localizer=localizer)
        used = set()
        for index, number in enumerate(range(28), start=1):
            shown = frame(number, index=index)
            supervisor.before(shown.t_ns)
            localizer._take_in(localizer._pager.poll(wait=True))  # as if flown slowly
            estimate = supervisor.judge(shown, localizer.localize(shown).estimate)
            used.add(localizer.tile)
            if index > SETTLED:
                assert estimate.cam_from_world is not None, (number, estimate.reason)
        assert supervisor.state is State.TRACKING and estimate.reset_counter == 0
        assert len(used) >= 2, used


def test_two_frames_in_flight_and_what_is_remembered(city: Path) -> None:
    done: list[Localization] = []
    with (
        opened(city, resident_tiles=3, tracking=True, in_flight=2) as localizer,
        pipeline(localizer, lambda _: None, lambda _, result, begun: done.append(result)) as frames,
    ):
        for index in range(1, 6):
            frames.push(frame(index, index=index))
        frames.settle()
        recalled = localizer.recall()
    assert len(done) == 5 and all(result.ok for result in done)
    assert done[-1].estimate.tracked
    with opened(city, resident_tiles=3, tracking=True) as again:
        again.resume(recalled)
        assert again.localize(frame(6, index=6)).estimate.tracked


def test_a_tracked_pose_is_verified_in_its_tile_and_one_of_no_tile_never(
    city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    search = TiledLocalizer._registered

    def registered(localizer: TiledLocalizer, shown: Frame, camera: Camera) -> PoseEstimate:
        searched.append(shown.index)
        return search(localizer, shown, camera)

    monkeypatch.setattr(TiledLocalizer, "_registered", registered)
    with opened(city, resident_tiles=3, tracking=True, search_every=1) as localizer:
        for index in range(1, 4):
            assert localizer.localize(frame(index, index=index)).ok
            localizer.verify()
        assert searched == [1, 3]  # the second and third are tracked, the third is due
        assert localizer.localize(frame(4, index=4)).estimate.tracked
        monkeypatch.setattr(localizer, "_believes", lambda *_: False)
        assert not localizer.localize(frame(5, index=5)).ok
        before = list(searched)
        localizer.verify()
        assert searched == before


@pytest.mark.parametrize("place", [-5, 12])  # a number, and the header
def test_a_damaged_tile_is_said_once_and_left_out(
    place: int, city: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = city / "tiles" / "middle" / "points" / "descriptors.npy"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.unlink()
    path.write_bytes(data)
    with (
        caplog.at_level(logging.WARNING),
        opened(city, resident_tiles=2, wait_for_tiles=True) as localizer,
    ):
        for number in (0, 25, 50, 75):
            assert localizer.localize(frame(number)).ok
        assert "middle" not in localizer.resident
    said = [record for record in caplog.records if "'middle' is left out" in record.message]
    assert len(said) == 1 and "sha256" in said[0].getMessage()


def test_no_tile_at_all(city: Path) -> None:
    for tile in PARTS:
        path = city / "tiles" / tile / "points" / "xyz.npy"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.unlink()
        path.write_bytes(data)
    with pytest.raises(BundleError, match="none of its 3 tiles can be used"):
        opened(city)


def test_refused_settings(made: Path) -> None:
    city = made / "city"
    with pytest.raises(ConfigError, match="resident_tiles: found 1, expected 2 to 64"):
        opened(city, resident_tiles=1)
    with pytest.raises(ConfigError, match="maps of tiles run on the processor"):
        opened(city, engine="tensorrt")
    with pytest.raises(ConfigError, match="maps of tiles run on the processor"):
        opened(city, matcher="cuda")
    with pytest.raises(ConfigError, match="which tiles cannot share"):
        opened(city, method="scene_coordinates")
    with pytest.raises(BundleError, match="a map of tiles, which this does not take"):
        open_bundle(city)


def test_a_budget_is_kept_with_fewer_tiles(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "libraries_bytes", lambda: 50 << 20)
    bundle, settings = open_map(made / "city"), Settings(threads=1, resident_tiles=3)
    assert isinstance(bundle, TiledBundle)
    two = plan_footprint(bundle, CAMERA, replace(settings, resident_tiles=2)).nbytes
    three = plan_footprint(bundle, CAMERA, settings).nbytes
    assert two < three
    budget = (50 << 20) + (two + three) // 2
    with pytest.raises(ConfigError, match=r"tiles \d.*lower it with --resident-tiles 2"):
        check_budget(bundle, CAMERA, settings, budget)
    lowered, plan, words = fit_budget(bundle, CAMERA, settings, budget)
    assert lowered.resident_tiles == 2 and plan.nbytes == two and "2 tiles in memory" in words


def test_a_prior_brings_the_right_tile_in(made: Path) -> None:
    with opened(made / "city", resident_tiles=2) as localizer:
        assert "east" not in localizer.resident
        localizer.near(np.array([2.5, 0.0, 1.6]), 0.2)
        blank = replace(frame(0), image=np.full((480, 640), 90, np.uint8))
        for n in range(1, 4):
            localizer.localize(replace(blank, t_ns=n))
            localizer._take_in(localizer._pager.poll(wait=True))
        assert "east" in localizer.resident


def test_planning_reads_no_tile_whole(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_reloc.bundle import array_file, reader

    def never(*args: object) -> None:
        raise AssertionError("an array was looked through")

    monkeypatch.setattr(reader, "check_array", never)
    monkeypatch.setattr(array_file, "_copied", never)
    bundle = open_map(made / "city")
    assert isinstance(bundle, TiledBundle)
    plan = slot_plan.plan_tiles(bundle, CAMERA, Settings(threads=1))
    assert len(plan.tiles) == 3 and plan.slots == 3
