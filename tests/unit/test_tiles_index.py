"""A map of tiles on disk: written whole, opened when it fits together, refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import LANDMARK_CAM_FROM_WORLD
from edge_reloc.bundle.reader import hash_file
from edge_reloc.bundle.signing import make_key_pair
from edge_reloc.embedding.spec import EmbeddingSpec
from edge_reloc.errors import BundleError, ConfigError
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.tiles.coarse_retrieval import open_places
from edge_reloc.tiles.index import TILES_FILE, is_tiled, open_tiles
from edge_reloc.tiles.tiled_bundle import open_map
from edge_reloc_export import sign
from edge_reloc_export.tiles.write import photo_places, photo_positions, write_tiles

DEMO = Path(__file__).parents[2] / "edge_reloc" / "demo" / "map"


def moved(target: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the demo's map whose manifest was changed."""
    with extend_bundle(DEMO, target) as writer:
        change(writer.manifest)
    return target


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    city = tmp_path_factory.mktemp("tiles") / "city"
    write_tiles(city, {"north": DEMO, "south": DEMO}, name="two yards")
    return city


@pytest.fixture
def city(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "city"))


def edit(city: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((city / TILES_FILE).read_text())
    change(values)
    (city / TILES_FILE).write_text(json.dumps(values))


def refused(city: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        open_tiles(city)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def test_what_was_written_is_read(written: Path) -> None:
    assert is_tiled(written) and not is_tiled(DEMO)
    tiled = open_tiles(written)
    demo = open_bundle(DEMO)
    assert tiled.name == "two yards" and [t.name for t in tiled.tiles] == ["north", "south"]
    assert tiled.world == demo.manifest.world
    tile = tiled.tiles[0]
    assert tile.points == 5838 and tile.photos == 96 and tile.nbytes == demo.nbytes()
    assert json.loads(tiled.to_json()) == json.loads((written / TILES_FILE).read_text())
    assert tiled.open_tile(tile, verify=True).manifest.name == demo.manifest.name


def test_cameras_are_found_within_the_points(written: Path) -> None:
    tile = open_tiles(written).tiles[0]
    centre = np.array([camera_centre(p) for p in open_bundle(DEMO).array(LANDMARK_CAM_FROM_WORLD)])
    low, high = centre.min(axis=0), centre.max(axis=0)
    inside = np.array(tile.cameras_high) - np.array(tile.cameras_low)
    assert (np.array(tile.cameras_low) > np.array(tile.low)).all()
    assert (inside > 0.5 * (high - low)).all() and (inside < 1.3 * (high - low)).all()
    assert photo_positions(open_bundle(DEMO)).shape == (96, 3)


def test_places_are_unit_vectors_and_name_their_tile(written: Path) -> None:
    place = photo_places(open_bundle(DEMO))
    np.testing.assert_allclose(np.linalg.norm(place, axis=1), 1.0, atol=1e-5)
    places = open_places(open_tiles(written))
    assert places is not None
    similarity = places.similarity(place[5])
    assert similarity.shape == (2,) and similarity[0] == similarity[1] > 0.5


def test_cameras_that_are_told_are_the_bounds(tmp_path: Path) -> None:
    told = {"a": np.array([[0.0, 1.0, 2.0], [4.0, 3.0, 2.0]])}
    tile = write_tiles(tmp_path / "city", {"a": DEMO}, name="one", cameras=told).tiles[0]
    assert tile.cameras_low == (0.0, 1.0, 2.0) and tile.cameras_high == (4.0, 3.0, 2.0)


def test_a_city_may_be_written_anew_from_its_own_tiles(city: Path) -> None:
    tile = open_tiles(city).tile_directory(open_tiles(city).tiles[1])
    assert [t.name for t in write_tiles(city, {"only": tile}, name="one").tiles] == ["only"]
    assert [p.name for p in city.parent.iterdir()] == ["city"]


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "city").mkdir()
    (tmp_path / "city" / "diary.txt").write_text("dear diary")
    with pytest.raises(BundleError, match=r"diary\.txt.*left as it is"):
        write_tiles(tmp_path / "city", {"a": DEMO}, name="x")
    assert [p.name for p in tmp_path.iterdir()] == ["city"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", ".hidden", "a\\b", "a:b", "a\nb", "x."])
def test_names_that_are_paths(name: str, city: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no plain folder name"):
        write_tiles(tmp_path / "other", {name: DEMO}, name="x")
    edit(city, lambda v: v["tiles"][0].update(name=name))
    refused(city, TILES_FILE, "no plain folder name")


def test_tiles_of_other_features_and_worlds(city: Path, tmp_path: Path) -> None:
    def features(manifest: Any) -> None:
        manifest.features = replace(manifest.features, weights_sha256="0" * 64)

    def world(manifest: Any) -> None:
        manifest.world = replace(manifest.world, metric=False)

    def place(manifest: Any) -> None:
        here = {"latitude_deg": 47.0, "longitude_deg": 8.0, "altitude_m": 400.0}
        manifest.world = replace(manifest.world, georeference=here)

    def tilted(manifest: Any) -> None:
        manifest.world = replace(manifest.world, gravity=(0.0, 1.0, 0.0))

    for change, words in (
        (features, "features of another network.*weights_sha256"),
        (world, "another world.*metric false"),
        (place, "another world.*georeference"),
        (tilted, "another world.*gravity 90 degrees"),
    ):
        other = moved(tmp_path / change.__name__, change)
        with pytest.raises(BundleError, match=words):
            write_tiles(tmp_path / "city2", {"a": DEMO, "b": other}, name="x")
    assert not (tmp_path / "city2").exists()

    # and where somebody wrote such an index by hand
    edit(city, lambda v: v["features"].update(weights_sha256="1" * 64))
    refused(city, "north", "another network", "weights_sha256")


def test_regressed_maps_are_no_tiles(tmp_path: Path) -> None:
    other = moved(tmp_path / "map", lambda m: setattr(m, "method", "scene_coordinates"))
    with pytest.raises(BundleError, match="feature network of its own"):
        write_tiles(tmp_path / "city", {"a": other}, name="x")


def test_missing_and_changed_tiles(city: Path) -> None:
    manifest = city / "tiles" / "south" / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    refused(city, "south", "its manifest was changed", "combine --tiles")
    shutil.rmtree(city / "tiles" / "south")
    refused(city, "south", "tile listed", "copy the tiled map again")
    (city / "tiles" / "south").symlink_to(city / "tiles" / "north")
    refused(city, "south", "tile listed")
    (city / "tiles" / "south").unlink()
    shutil.copytree(city / "tiles" / "north", city / "tiles" / "stray")
    refused(city, "stray", "not listed in tiles.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(version=[2, 0]), ("newer than 1.0", "upgrade edge_reloc")),
        (lambda v: v.update(version=[0, 9]), ("older than 1.0",)),
        (lambda v: v.update(version="1.0"), ("expected [major, minor]",)),
        (lambda v: v.update(format="edge_reloc.map"), ("not an index of tiles",)),
        (lambda v: v.update(tiles=[]), ("lists no tiles",)),
        (lambda v: v.update(tiles=v["tiles"][:1] * 2), ("'north' twice",)),
        (lambda v: v.pop("world"), ("'world' is missing",)),
        (lambda v: v.update(colour="red"), ("unknown keys",)),
        (lambda v: v["tiles"][0].update(low=[9.0, 9.0, 99.0]), ("expected low to high",)),
        (lambda v: v["tiles"][0].update(points=-1), ("points", "at least 0")),
        (lambda v: v["files"].update({"../x": {"sha256": "", "nbytes": 1}}), ("'../x'",)),
        (lambda v: v["files"]["places.npy"].update(nbytes=3), ("places.npy", "expected 3")),
    ],
)
def test_bad_indices(city: Path, change: Callable[[dict[str, Any]], None], words: Any) -> None:
    edit(city, change)
    refused(city, *words)


def test_a_newer_minor_version_may_add_keys(city: Path) -> None:
    edit(city, lambda v: v.update(version=[1, 9], colour="red"))
    assert open_tiles(city).name == "two yards"


def test_not_json_and_no_index(city: Path) -> None:
    (city / TILES_FILE).write_bytes(b"\xff\xfe")
    refused(city, "not text")
    (city / TILES_FILE).write_text("{")
    refused(city, "not JSON")
    (city / TILES_FILE).unlink()
    refused(city, "not a map of tiles")


def test_places_of_no_tile(city: Path) -> None:
    for wrong in (np.full(192, 7, np.int32), np.arange(192, dtype=np.int32)[::-1] // 100):
        np.save(city / "places_tile.npy", wrong)
        digest = hash_file(city / "places_tile.npy")
        edit(city, lambda v, d=digest: v["files"]["places_tile.npy"].update(sha256=d))
        with pytest.raises(BundleError, match=r"places_tile\.npy: names a tile that there is not"):
            open_places(open_tiles(city))


def test_damaged_places(city: Path) -> None:
    path = city / "places.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"places\.npy.*sha256"):
        open_places(open_tiles(city))


def test_one_signature_covers_a_city(city: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(BundleError, match=r"not signed \(tiles\.sig is missing\)"):
        open_tiles(city, require_signed=public)
    assert sign.main(["--map", str(city), "--key", str(tmp_path / "key")]) == 0
    assert open_tiles(city, require_signed=public).name == "two yards"
    edit(city, lambda v: v.update(name="other"))
    with pytest.raises(BundleError, match=r"no signature of this tiles\.json"):
        open_tiles(city, require_signed=public)


def test_frames_come_in_colour_where_a_tile_sees_it(tmp_path: Path) -> None:
    def colour(manifest: Any) -> None:
        manifest.embedding = EmbeddingSpec(kind="dinov2", dim=384, network="nets/any.onnx")

    tile = moved(tmp_path / "tile", colour)
    write_tiles(tmp_path / "city", {"grey": DEMO, "colour": tile}, name="two")
    assert open_map(tmp_path / "city").manifest.sees_colour
    assert not open_map(DEMO).manifest.sees_colour


@pytest.mark.parametrize("name", ["manifest.json", "notes.txt", ".hidden", "engines"])
def test_what_lies_beside_the_index_is_listed(city: Path, name: str) -> None:
    (city / name).write_text("{}")
    refused(city, name, "not listed")


def test_tiles_lie_within_the_map(city: Path, tmp_path: Path) -> None:
    (city / "tiles").rename(tmp_path / "elsewhere")
    (city / "tiles").symlink_to(tmp_path / "elsewhere")
    refused(city, "symbolic link")


@pytest.mark.parametrize("bound", [1e300, -1e10])
def test_bounds_of_tiles_are_places(city: Path, bound: float) -> None:
    def put(values: dict[str, Any]) -> None:
        values["tiles"][0]["low"][0] = values["tiles"][0]["high"][0] = bound

    edit(city, put)
    refused(city, "low")


def test_a_signer_that_was_killed_leaves_a_map_that_opens(city: Path) -> None:
    (city / ".tiles.sig.tmp").write_bytes(b"half")
    (city / "tiles/north/.manifest.sig.tmp").write_bytes(b"half")
    assert open_map(city).manifest.name == "two yards"
