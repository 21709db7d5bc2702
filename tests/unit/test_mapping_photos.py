"""The feature cache, unusable photos, and the map program's clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import MappingError, SourceError
from edge_reloc.features import FeatureSpec
from edge_reloc_export import map as map_program
from edge_reloc_export.photos.features import FeatureStore, open_store
from edge_reloc_export.photos.listing import list_photos, read_facts

SPEC = FeatureSpec(kind="sift", dim=128, keypoints=200)


def textured(seed: int, size: int = 240) -> np.ndarray:
    """Blobs at random places: photos of different seeds share nothing."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 128, np.uint8)
    for _ in range(150):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        cv2.circle(image, centre, int(rng.integers(3, 14)), colour, -1)
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), textured(index))
    return folder


def entries(work: Path) -> set[str]:
    return {path.name for path in (work / "features").iterdir()}


def test_features_come_from_the_cache_the_second_time(photos: Path, tmp_path: Path) -> None:
    first = FeatureStore(tmp_path / "w", SPEC, images=photos).get("0.png")
    assert first.descriptor.dtype == np.float16 and len(first.xy_px) > 50
    again = FeatureStore(tmp_path / "w", SPEC, images=photos)
    again._extract = None  # type: ignore[assignment,method-assign]  # any extraction would fail
    np.testing.assert_array_equal(again.get("0.png").xy_px, first.xy_px)
    np.testing.assert_array_equal(again.get("0.png").descriptor, first.descriptor)


@pytest.mark.parametrize("change", ["photo", "keypoints", "turns"])
def test_a_change_is_never_answered_from_an_old_entry(
    photos: Path, tmp_path: Path, change: str
) -> None:
    store = FeatureStore(tmp_path / "w", SPEC, images=photos)
    store.get("0.png")
    before = entries(store.work)
    spec, turns = SPEC, {}
    if change == "photo":
        cv2.imwrite(str(photos / "0.png"), textured(99))
    elif change == "keypoints":
        spec = FeatureSpec(kind="sift", dim=128, keypoints=100)
    else:
        turns = {"0.png": 1}
    FeatureStore(tmp_path / "w", spec, images=photos, turns=turns).get("0.png")
    assert len(entries(store.work) - before) == 1


def test_a_damaged_entry_is_made_again(photos: Path, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "w", SPEC, images=photos)
    first = store.get("0.png")
    (entry,) = (store.work / "features").iterdir()
    entry.write_bytes(entry.read_bytes()[:1000])
    again = FeatureStore(tmp_path / "w", SPEC, images=photos).get("0.png")
    np.testing.assert_array_equal(again.xy_px, first.xy_px)


def test_an_interruption_keeps_what_was_done(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path / "w", SPEC, images=photos)
    extract, done = store._extract, []

    def interrupted(name: str, turns: int):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        return extract(name, turns)

    monkeypatch.setattr(store, "_extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.prepare(list_photos(photos), progress=False)
    assert len(entries(store.work)) == 2
    again = FeatureStore(tmp_path / "w", SPEC, images=photos)
    extract, redone = again._extract, []
    monkeypatch.setattr(again, "_extract", lambda n, k: (redone.append(n), extract(n, k))[1])
    assert again.prepare(list_photos(photos), progress=False) == list_photos(photos)
    assert redone == ["2.png", "3.png"]


def test_unreadable_photos_are_skipped_and_listed(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "1.png").write_bytes(b"no photo at all")
    cv2.imwrite(str(photos / "2.png"), np.zeros((8, 8, 3), np.uint8))
    store = FeatureStore(tmp_path / "w", SPEC, images=photos)
    with caplog.at_level("WARNING"):
        usable = store.prepare([*list_photos(photos), "gone.png"], progress=False)
    assert usable == ["0.png", "3.png"]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "1.png: not a readable image" in lines[0] and "2.png: 8x8 pixels" in lines[1]
    assert "gone.png: No such file" in lines[2]
    for name in ("0.png", "3.png"):
        (photos / name).write_bytes(b"")
    with pytest.raises(
        MappingError, match=r"none of 4 photos can be read; first: .*0.png: not a readable"
    ):
        FeatureStore(tmp_path / "v", SPEC, images=photos).prepare(
            list_photos(photos), progress=False
        )


def test_a_saved_store_opens_with_its_settings(photos: Path, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "w", SPEC, images=photos, turns={"1.png": 2})
    store.save()
    again = open_store(tmp_path / "w")
    assert (again.spec, again.turns, again.images) == (SPEC, {"1.png": 2}, photos.resolve())
    with pytest.raises(MappingError, match="not a mapping work folder"):
        open_store(tmp_path)


def test_photos_are_found_by_folder_and_by_list(photos: Path, tmp_path: Path) -> None:
    (photos / "notes.txt").write_text("not a photo")
    (photos / "inner").mkdir()
    cv2.imwrite(str(photos / "inner" / "x.JPG"), textured(7))
    assert list_photos(photos) == ["0.png", "1.png", "2.png", "3.png", "inner/x.JPG"]
    (tmp_path / "list.txt").write_text("2.png\n\n0.png\n2.png\n")
    assert list_photos(photos, tmp_path / "list.txt") == ["2.png", "0.png"]
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, message in ((empty, "no photos in"), (tmp_path / "none", "no such folder")):
        with pytest.raises(SourceError, match=message):
            list_photos(folder)


def test_a_list_of_photos_that_are_not_there_says_so(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("gone.jpg\nlost.jpg\n")
    code, _, err = run(
        capsys, "--images", photos, "--list", tmp_path / "list.txt", "--output", tmp_path / "map"
    )
    assert code == 1
    assert "none of 2 photos can be read; first: " in err and "gone.jpg: No such file" in err


def test_exif_gives_focal_length_place_and_turns(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    exif.get_ifd(0x8769)[0xA405] = 28
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "S", (33.0, 30.0, 36.0), "E", (151.0, 0.0, 0.0)
    gps[5], gps[6] = b"\x01", 12.5
    Image.new("RGB", (400, 300)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "b.jpg").write_bytes(b"nothing")
    facts = read_facts(tmp_path, ["a.jpg", "b.jpg"])
    assert list(facts) == ["a.jpg"]
    fact = facts["a.jpg"]
    assert (fact.width, fact.height, fact.quarter_turns) == (400, 300, 3)
    assert fact.size_turned(fact.quarter_turns) == (300, 400)
    assert fact.focal_px == pytest.approx(28 / 43.267 * 500, rel=1e-3)
    assert fact.latitude_deg == pytest.approx(-33.51)
    assert (fact.longitude_deg, fact.altitude_m) == (151.0, -12.5)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = map_program.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_photos_that_do_not_overlap_are_one_clear_error(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycolmap")
    code, _, err = run(capsys, "--images", photos, "--output", tmp_path / "map")
    assert code == 1
    assert "the 4 photos do not overlap enough: of 6 pairs" in err
    assert "Traceback" not in err and not (tmp_path / "map").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features", "xfeat"], "need their weights"),
        (["--poses", "nowhere"], "no COLMAP model here"),
        (["--metric"], "no --poses were given"),
        (["--camera", "nowhere.json"], "no such camera file"),
        (["--list", "nowhere.txt"], "nowhere.txt: No such file"),
    ],
)
def test_wrong_options_are_one_clear_error(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    code, out, err = run(capsys, "--images", photos, "--output", tmp_path / "map", *arguments)
    assert (code, out) == (1, "")
    assert message in err and "Traceback" not in err


def test_a_real_facade_becomes_a_bundle(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = data_dir / "herz_jesus"
    names = (scene / "mapping.txt").read_text().split()[:6]
    (tmp_path / "list.txt").write_text("\n".join([*names, "missing.jpg"]))
    code, out, _ = run(
        capsys,
        *("--images", scene / "images", "--list", tmp_path / "list.txt"),
        *("--poses", scene / "reference", "--metric", "--json"),
        *("--output", tmp_path / "facade", "--keypoints", 800),
    )
    summary = json.loads(out)
    assert code == 0
    assert summary["skipped"] == ["missing.jpg"] and summary["photos"] == 6
    assert summary["points"] > 300 and summary["metric"]
    assert summary["mean_reprojection_error_px"] < 0.7  # 0.34 px with all photos
    assert (tmp_path / "facade" / "manifest.json").is_file()


def test_a_real_facade_from_photos_alone(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycolmap")
    from edge_reloc.geometry.rigid import camera_centre
    from edge_reloc.reference.colmap import read_model
    from edge_reloc_export.scene.align import robust_similarity
    from edge_reloc_export.scene.model import load_model

    scene = data_dir / "herz_jesus"
    names = (scene / "mapping.txt").read_text().split()[:7]
    (tmp_path / "list.txt").write_text("\n".join(names))
    arguments = ["--images", scene / "images", "--list", tmp_path / "list.txt", "--json"]
    arguments += ["--output", tmp_path / "facade", "--keypoints", 1200]
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and not json.loads(out)["metric"]
    model = load_model(tmp_path / "facade.work" / "model.npz")
    reference = {image.name: image for image in read_model(scene / "reference").images}
    found = np.array([camera_centre(v.cam_from_world) for v in model.views])
    true = np.array([camera_centre(reference[v.name].cam_from_world) for v in model.views])
    assert len(found) >= 6
    # Focal length free: 2 cm over 20 photos, some 12 m apart; seven photos do less well.
    assert np.median(robust_similarity(found, true).residual) < 0.15
    for view in model.views:
        assert np.abs(view.camera.fx / 920.0 - 1) < 0.05


def test_a_copy_of_a_photo_is_left_out(photos: Path, tmp_path: Path) -> None:
    (photos / "0 (1).png").write_bytes((photos / "0.png").read_bytes())
    store = FeatureStore(tmp_path / "w", SPEC, images=photos)
    assert store.copies(["0.png", "1.png", "0 (1).png"]) == {"0 (1).png": "0.png"}


def test_facts_of_a_header_are_read(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(textured(1))
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Drone"
    exif.get_ifd(0x8769)[0xA405] = 28
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 30.0, 0.0)})
    for name in ("photo.tif", "photo.jpg"):
        picture.save(tmp_path / name, exif=exif)
        assert read_facts(tmp_path, [name])[name].model == "Drone"
    fact = read_facts(tmp_path, ["photo.jpg"])["photo.jpg"]  # Pillow writes no more to a TIFF
    assert (fact.film_mm, fact.latitude_deg, fact.longitude_deg) == (28.0, -33.5, -70.5)
    assert fact.focal_px is not None
