"""A map in an arbitrary world comes back to the true one, by whatever is known of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scrambled_world as made
from numpy.testing import assert_allclose
from scrambled_world import ARBITRARY, ScrambledWorld

pytest.importorskip("onnx", reason="align is of the extra 'export'")
pytest.importorskip("pymap3d", reason="align is of the extra 'export'")

from edge_reloc import inspect
from edge_reloc.bundle import World, extend_bundle, open_bundle
from edge_reloc.bundle.layout import CELL_CENTRE, CELL_RADIUS, CELL_START, XYZ
from edge_reloc.errors import BundleError, MappingError
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.geodesy import enu_from_geodetic
from edge_reloc.geometry.rigid import camera_centre, pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.reference.colmap import read_model
from edge_reloc.running.demo import DEMO
from edge_reloc_export import align
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.scene.posed import empty_view
from edge_reloc_export.world_frame.change import change_world
from edge_reloc_export.world_frame.control_points import read_gcp_list
from edge_reloc_export.world_frame.utm import geodetic_from_utm

# Poses in two worlds: OpenCV's USAC ends its sampling by how long that takes, which was seen to
# move them by 0.04 mm; scene coordinates, whose inliers are many and rough, by 0.9 mm and 0.01
# degrees where one more counted.
USAC_M, USAC_DEG = 2e-4, 1e-3
ROUGH_M, ROUGH_DEG = 2e-3, 2e-2
SIDE_M = 0.4
METHODS = [
    ("exhaustive", None),
    ("image_retrieval", None),
    ("visible_structure", "cells"),
    ("visible_structure", "generative"),
    ("landmarks", None),
    ("scene_coordinates", None),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ScrambledWorld:
    """The demo's map in an arbitrary world; its frames stand for mapping photos."""
    model = read_model(DEMO / "truth")
    views = [
        empty_view(image.name, model.cameras[image.camera_id], image.cam_from_world, 0)
        for image in model.images
        if (DEMO / "frames" / image.name).is_file()
    ]
    return made.scramble(tmp_path_factory.mktemp("world"), DEMO / "map", views, DEMO / "frames")


@pytest.fixture
def aligned(world: ScrambledWorld, tmp_path: Path) -> Callable[..., Path]:
    """Runs the program; the bundle that it wrote."""

    def call(*words: object) -> Path:
        output = tmp_path / "aligned"
        own = ["--map", world.bundle, "--output", output]
        own += [] if "--work" in words else ["--work", world.work]
        assert align.main([str(word) for word in (*own, *words)]) == 0
        return output

    return call


@pytest.fixture
def refusal(
    world: ScrambledWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs the program, which refuses; its line."""

    def call(*words: object) -> str:
        output = tmp_path / "refused"
        own = ["--map", world.bundle, "--output", output]
        own += [] if "--work" in words else ["--work", world.work]
        assert align.main([str(word) for word in (*own, *words)]) == 1
        assert not output.exists()
        lines = capsys.readouterr().err.strip().splitlines()
        return lines[-1]

    return call


@pytest.mark.parametrize(("method", "head"), METHODS)
def test_poses_are_the_same_up_to_the_similarity(
    world: ScrambledWorld, method: str, head: str | None
) -> None:
    camera = read_camera(DEMO / "camera.json")
    settings = Settings(method=method, head=head, threads=1)
    with (
        Localizer.open(open_bundle(DEMO / "map"), camera, settings) as true,
        Localizer.open(open_bundle(world.bundle, verify=True), camera, settings) as moved,
    ):
        for number in (0, 40):
            frame = DEMO / "frames" / f"frame_{number:03d}.jpg"
            first, second = true.localize(frame).estimate, moved.localize(frame).estimate
            assert first.cam_from_world is not None and second.cam_from_world is not None
            assert first.covariance is not None and second.covariance is not None
            error = pose_error(second.cam_from_world, ARBITRARY.of_pose(first.cam_from_world))
            rough = method == "scene_coordinates"
            assert error.translation < (ROUGH_M if rough else USAC_M) * ARBITRARY.scale
            assert error.rotation_deg < (ROUGH_DEG if rough else USAC_DEG)
            unit = np.diag([1.0] * 3 + [ARBITRARY.scale] * 3)
            assert_allclose(
                np.diag(second.covariance), np.diag(unit @ first.covariance @ unit), rtol=0.02
            )
            assert abs(first.inliers - second.inliers) <= 2
            assert first.p_right == pytest.approx(second.p_right, abs=1e-3)


def test_gps_gives_the_place_on_earth(
    world: ScrambledWorld, aligned: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = aligned("--gps", made.write_gps(tmp_path / "gps.csv", world.views, 0.02))
    error = made.frame_error(found, world.xyz)
    assert error.largest_m < 0.06 and error.rotation_deg < 0.4 and abs(error.scale) < 0.004
    manifest = open_bundle(found, verify=True).manifest
    assert manifest.world.metric and manifest.world.gravity == (0.0, 0.0, -1.0)
    assert manifest.alignment is not None and manifest.alignment.items == len(world.views)
    assert manifest.files[XYZ].unit == "metre"
    table = capsys.readouterr().out
    assert "aligned to gps.csv" in table and "origin at latitude 4" in table
    assert inspect.main([str(found)]) == 0
    told = capsys.readouterr().out
    assert "origin at latitude 4" in told and "aligned    to gps.csv, 80 items" in told


def test_gps_of_the_photos_headers_does_as_well(
    world: ScrambledWorld, aligned: Callable[..., Path], tmp_path: Path
) -> None:
    some = made.write_photos_with_gps(world, tmp_path / "photos", every=8)
    work = tmp_path / "gps.work"
    work.mkdir()
    made.write_work(work, some, world.xyz, tmp_path / "photos")
    found = aligned("--gps", "exif", "--work", work)
    assert made.frame_error(found, world.xyz).largest_m < 0.005


def test_surveyed_points_give_the_frame_and_a_wrong_one_is_left_out(
    world: ScrambledWorld, aligned: Callable[..., Path], tmp_path: Path
) -> None:
    places = made.marked_places(world, 7, noise_px=0.5)
    wrong = places[2]._replace(xyz=places[2].xyz + [0.0, 3.0, 0.0])
    listed = made.write_gcp_list(tmp_path / "gcp_list.txt", [*places[:2], wrong, *places[3:]], 0.01)
    found = aligned("--points", listed)
    error = made.frame_error(found, world.xyz)
    assert error.largest_m < 0.05 and error.rotation_deg < 0.25
    alignment = open_bundle(found).manifest.alignment
    assert alignment is not None and alignment.left_out == ("p3",)
    assert alignment.residuals["p3"] == pytest.approx(3.0, abs=0.2)


def test_tags_give_the_metre_and_with_places_the_frame(
    world: ScrambledWorld, aligned: Callable[..., Path], refusal: Callable[..., str],
    tmp_path: Path,
) -> None:  # fmt: skip
    tags = made.tags_at(world, 4)
    names = made.draw_tags(world, tmp_path / "tagged", tags, SIDE_M, 3)
    work = tmp_path / "tagged.work"
    work.mkdir()
    some = [view for view in world.views if view.name in names]
    made.write_work(work, some, world.xyz, tmp_path / "tagged")
    only_scale = aligned("--tags", SIDE_M, "--work", work)
    assert abs(made.frame_error(only_scale, world.xyz).scale) < 0.002
    poses = made.write_tag_poses(tmp_path / "tags.csv", tags, 0.005)
    found = aligned("--tags", SIDE_M, "--work", work, "--tag-poses", poses)
    assert made.frame_error(found, world.xyz).largest_m < 0.05
    turned = made.write_tag_poses(tmp_path / "turned.csv", tags[:2], 0.002, turned=True)
    found = aligned("--tags", SIDE_M, "--work", work, "--tag-poses", turned)
    assert made.frame_error(found, world.xyz).largest_m < 0.1
    line = refusal("--tags", 0.5, "--work", work, "--tag-poses", poses)
    assert "tags measure 0.4 m" in line or "tags measure 0.399" in line


def test_distances_give_the_metre_and_keep_the_axes(
    world: ScrambledWorld, aligned: Callable[..., Path], refusal: Callable[..., str],
    tmp_path: Path,
) -> None:  # fmt: skip
    places = made.marked_places(world, 6, noise_px=0.5)
    marks = made.write_marks(tmp_path / "marks.csv", places)
    distances = made.write_distances(tmp_path / "distances.csv", places, 0.005)
    found = aligned("--distances", distances, "--marks", marks)
    assert abs(made.frame_error(found, world.xyz).scale) < 0.005
    before = open_bundle(world.bundle).array(XYZ)
    ratio = open_bundle(found).array(XYZ) / before
    assert_allclose(ratio, 1 / ARBITRARY.scale, rtol=0.006)
    first, second, third = world.views[0], world.views[30], world.views[60]
    centres = [camera_centre(v.cam_from_world) for v in (first, second, third)]
    good, wrong = (
        np.linalg.norm(centres[0] - centres[1]),
        1.3 * np.linalg.norm(centres[0] - centres[2]),
    )
    between_photos = tmp_path / "photos.csv"
    between_photos.write_text(
        f"from,to,metres\n{first.name},{second.name},{good}\n{first.name},{third.name},{wrong}\n"
    )
    assert "expected a difference of at most" in refusal("--distances", between_photos)


def test_another_map_lends_its_world(
    world: ScrambledWorld, aligned: Callable[..., Path], refusal: Callable[..., str],
    tmp_path: Path,
) -> None:  # fmt: skip
    photos = tmp_path / "photos"
    photos.mkdir()
    for view in world.views[::16]:
        (photos / view.name).symlink_to(world.images / view.name)
    found = aligned("--to-map", DEMO / "map", "--photos", photos)
    assert made.frame_error(found, world.xyz).largest_m < 0.01
    theirs, ours = (open_bundle(path).manifest.world for path in (DEMO / "map", found))
    assert ours == theirs
    # Mapped in both: the other's work folder has them, bent by another focal length or so.
    other = tmp_path / "bent.work"
    other.mkdir()
    bent = []
    for view in world.views:
        pose = view.cam_from_world.copy()
        centre = camera_centre(pose)
        centre = centre + [0.0, 0.0, 0.2 * float(centre[:2] @ centre[:2])]
        pose[:3, 3] = -pose[:3, :3] @ centre
        bent.append(replace(view, cam_from_world=pose))
    made.write_work(other, bent, world.xyz, world.images)
    line = refusal("--to-map", DEMO / "map", "--other-work", other)
    assert "apart in the two maps" in line and "one of the maps is bent" in line


def test_a_poor_fit_is_refused_with_what_would_mend_it(
    world: ScrambledWorld, refusal: Callable[..., str], tmp_path: Path
) -> None:
    line = refusal("--gps", made.write_gps(tmp_path / "gps.csv", world.views, 3.0))
    assert "do not fit the reconstruction" in line and "farther apart" in line
    order = [world.views[n] for n in np.random.default_rng(0).permutation(len(world.views))]
    shuffled = [
        replace(view, cam_from_world=other.cam_from_world)
        for view, other in zip(world.views, order, strict=True)
    ]
    line = refusal("--positions", made.write_positions(tmp_path / "p.csv", shuffled, 0.0))
    assert "do not fit" in line or "mirror" in line
    places = made.marked_places(world, 4, noise_px=0.2)
    wrong = places[1]._replace(xyz=places[1].xyz + [0.0, 0.0, 4.0])
    line = refusal("--points", made.write_gcp_list(tmp_path / "g.txt", [wrong, *places[2:]]))
    assert "expected" in line
    four = [places[0], wrong, *places[2:]]
    line = refusal("--points", made.write_gcp_list(tmp_path / "gcp.txt", four))
    assert "without 'p2' the others fit within" in line
    offset = [p._replace(xyz=p.xyz + [5e5, 5e6, 0.0]) for p in places]
    far = tmp_path / "far.txt"
    lines = [
        f"{p.xyz[0]:.3f} {p.xyz[1]:.3f} {p.xyz[2]:.3f} {x:.2f} {y:.2f} {photo} {p.name}"
        for p in offset
        for photo, (x, y) in p.pixels.items()
    ]
    far.write_text("LOCAL\n" + "\n".join(lines) + "\n")
    assert "away from the origin" in refusal("--points", far)


def test_what_is_missing_is_said(
    world: ScrambledWorld, refusal: Callable[..., str], tmp_path: Path
) -> None:
    gps = made.write_gps(tmp_path / "gps.csv", world.views, 0.1)
    line = refusal("--gps", gps, "--work", tmp_path / "none.work")
    assert "no work folder of this map" in line and "--photos DIR" in line
    other = tmp_path / "other.work"
    other.mkdir()
    made.write_work(other, world.views, world.xyz + [0.0, 0.0, 0.5], world.images)
    assert "of another map" in refusal("--gps", gps, "--work", other)
    assert "gives positions of 0 of 80 posed photos" in refusal("--gps", "exif")
    assert "no AprilTag of family 36h11" in refusal("--tags", 0.2, "--work", _few(world, tmp_path))
    listing = tmp_path / "gcp_list.txt"
    listing.write_text("EPSG:31468\n1 2 3 4 5 a.jpg\n")
    assert "coordinate system 'EPSG:31468', expected EPSG:4326" in refusal("--points", listing)
    combined = tmp_path / "combined"
    shutil.copytree(world.bundle, combined)
    with extend_bundle(combined) as writer:
        writer.manifest.world = World(metric=True, parts={"a": (0.0, 0.0, 0.0)})
    assert "align each of them, then combine" in refusal("--map", combined, "--gps", gps)


def _few(world: ScrambledWorld, folder: Path) -> Path:
    work = folder / "few.work"
    work.mkdir()
    made.write_work(work, world.views[:2], world.xyz, world.images)
    return work


def test_what_was_aligned_is_aligned_again_and_knows_its_work_folder(
    world: ScrambledWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "map"
    shutil.copytree(world.bundle, bundle)
    work = ["--map", str(bundle), "--work", str(world.work)]
    positions = made.write_positions(tmp_path / "positions.csv", world.views, 0.0)
    assert align.main([*work, "--positions", str(positions)]) == 0
    assert made.frame_error(bundle, world.xyz).largest_m < 1e-4
    capsys.readouterr()
    gps = made.write_gps(tmp_path / "gps.csv", world.views, 0.0)
    assert align.main([*work, "--gps", str(gps), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["scale"] == pytest.approx(1.0, abs=1e-6)
    opened = open_bundle(bundle, verify=True)
    model = load_packed(world.work, opened)
    place = opened.manifest.world.georeference
    assert place is not None and model.georeference == place
    offset = enu_from_geodetic(*made.ORIGIN.values(), place)
    for before, after in zip(world.views, model.views, strict=True):
        centre = camera_centre(after.cam_from_world) - offset
        assert_allclose(centre, camera_centre(before.cam_from_world), atol=1e-4)
    centre, radius = opened.array(CELL_CENTRE), opened.array(CELL_RADIUS)
    start, xyz = opened.array(CELL_START), opened.array(XYZ)
    cell = np.repeat(np.arange(len(centre)), np.diff(start))
    assert (np.linalg.norm(xyz - centre[cell], axis=1) <= radius[cell]).all()


def test_a_network_is_moved_twice_by_one_layer(world: ScrambledWorld, tmp_path: Path) -> None:
    bundle = open_bundle(world.bundle)
    with extend_bundle(world.bundle, tmp_path / "twice") as writer:
        change_world(writer, bundle, ARBITRARY, World(metric=False))
    twice = open_bundle(tmp_path / "twice", verify=True)
    for file in ("nets/generative.onnx", "nets/scene_coordinates_640x480.onnx"):
        before, after = bundle.manifest.files[file], twice.manifest.files[file]
        assert before.network is not None and after.network is not None
        assert before.network.activation_bytes == after.network.activation_bytes
        assert abs(before.nbytes - after.nbytes) < 16


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("rotation", [[2.0, 0, 0], [0, 1, 0], [0, 0, 1]], "expected orthonormal rows"),
        ("scale", 0.0, "'scale' is 0.0, expected above 0"),
        ("residuals", {"a": "b"}, "residuals['a'] is 'b', expected a number"),
    ],
)
def test_a_spoilt_alignment_is_one_line(
    world: ScrambledWorld, tmp_path: Path, key: str, value: object, line: str
) -> None:
    bundle = tmp_path / "spoilt"
    shutil.copytree(world.bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["alignment"][key] = value
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=re.escape(line)):
        open_bundle(bundle)


def test_utm_is_that_of_the_epsg_registry() -> None:
    # pyproj 3.7.2 of latitude 48.2, longitude 16.37 and of -33.9, 151.2
    north = geodetic_from_utm(601799.1457910417, 5339437.153786422, 33, south=False)
    south = geodetic_from_utm(333568.9410115521, 6247473.33684402, 56, south=True)
    assert_allclose([*north, *south], [48.2, 16.37, -33.9, 151.2], atol=1e-10)


def test_a_list_of_control_points_is_read_as_opendronemap_does(tmp_path: Path) -> None:
    listing = tmp_path / "gcp_list.txt"
    listing.write_text(
        "WGS84 UTM 33N\n"
        "601799.146 5339437.154 171 100 200 a.jpg\n"
        "# a comment\n"
        "601799.146\t5339437.154\t171\t110\t210\tb.jpg\n"
        "601809.146 5339437.154 171 300.5 200 a.jpg corner extra\n"
    )
    known, marks = read_gcp_list(listing)
    assert [(m.name, m.photo) for m in marks] == [
        ("gcp1", "a.jpg"), ("gcp1", "b.jpg"), ("corner", "a.jpg")
    ]  # fmt: skip
    assert marks[2].xy_px == (300.5, 200.0)
    assert known.origin is not None and abs(known.origin["latitude_deg"] - 48.2) < 1e-4
    # Ten metres on the grid are 10.0030 at this height, turned by the convergence of 1.02 deg.
    between = known.xyz["corner"] - known.xyz["gcp1"]
    assert_allclose(between, [10.0014, -0.1781, 0.0], atol=0.0005)
    listing.write_text("EPSG:4326\n16.37 48.2 171 100\n")
    with pytest.raises(MappingError, match=r"gcp_list.txt:2: 4 columns, expected x y z"):
        read_gcp_list(listing)
