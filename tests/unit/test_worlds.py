"""The rendered courtyard: its truth must be true."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import compose, invert, pose_error, rotation_from_quat, transform
from edge_reloc_export.worlds.courtyard import make_courtyard
from edge_reloc_export.worlds.effects import CameraEffects, apply_effects
from edge_reloc_export.worlds.lighting import SUN, bake_light
from edge_reloc_export.worlds.render import Rendering, render
from edge_reloc_export.worlds.trajectories import look, mapping_views, query_path
from edge_reloc_export.worlds.world import Quad, World, WorldConfig
from edge_reloc_export.worlds.write import CAMERA, write_place

Pair = list[tuple[np.ndarray, Rendering]]  # two cam_from_world with their views

DEPTH_TOLERANCE = 2e-3  # relative; two views of a plane, nearest pixel 3 mm aside
GREY_LEVELS = 6.0  # median difference of a warped view: resampling only
SIFT_PX = 0.5  # median; keypoint noise under a change of view
SPOT_PX = 0.03  # centroid of a spot 20 px wide, 8-bit grey
ALTERED_SHARE = 0.02  # pieces are whole, and paint may hit the colour that was there
POSE_DIGITS = 1e-10  # 12 digits are written


@pytest.fixture(scope="module")
def yard() -> World:
    return make_courtyard(WorldConfig(texel_m=0.01, shadow_m=0))


@pytest.fixture(scope="module")
def pair(yard: World) -> Pair:
    """Two views of one wall, 40 cm and 9° apart."""
    a = look(np.array([2.6, -1.9, 1.6]), np.radians(-35), 0.05)
    b = look(np.array([2.9, -1.65, 1.7]), np.radians(-44), 0.03, 0.02)
    return [(pose, render(yard, CAMERA, pose)) for pose in (a, b)]


def carry(pair: Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pixels of view a (N,2), where view b sees them (N,2), depth there (N,)."""
    (a_from_world, a), (b_from_world, _) = pair
    rows, cols = np.nonzero(a.depth_m)
    pixels = np.stack([cols, rows], axis=1).astype(float)
    rays = np.concatenate([CAMERA.rays_from_pixels(pixels), np.ones((len(pixels), 1))], axis=1)
    xyz_b = transform(b_from_world @ invert(a_from_world), rays * a.depth_m[rows, cols, None])
    in_b = CAMERA.project(xyz_b)
    inside = ((in_b > 1) & (in_b < [CAMERA.width - 2, CAMERA.height - 2])).all(axis=1)
    return pixels[inside], in_b[inside], xyz_b[inside, 2]


def look_up(image: np.ndarray, at: np.ndarray, mode: int = cv2.INTER_LINEAR) -> np.ndarray:
    # cv2.remap wants fewer than 32768 rows.
    n = len(at) // 500 * 500
    grid = at[:n].astype(np.float32).reshape(-1, 500, 2)
    return cv2.remap(image, grid, None, mode).reshape(n, -1)


def test_depth_of_one_view_predicts_the_other(pair: Pair) -> None:
    pixels, in_b, depth_b = carry(pair)
    seen = look_up(pair[1][1].depth_m, in_b, cv2.INTER_NEAREST)[:, 0]
    error = np.abs(seen / depth_b[: len(seen)] - 1)
    assert len(pixels) > 150_000
    assert np.median(error) < DEPTH_TOLERANCE
    assert np.mean(error < 0.02) > 0.85  # the rest is hidden behind something


def test_colours_of_one_view_predict_the_other(pair: Pair) -> None:
    pixels, in_b, _ = carry(pair)

    def difference(shift_px: float) -> float:
        there = look_up(pair[1][1].image_bgr, in_b + shift_px).astype(float)
        here = look_up(pair[0][1].image_bgr, pixels).astype(float)
        return float(np.median(np.abs(there - here)))

    assert difference(0.0) < GREY_LEVELS
    assert difference(0.0) < 0.75 * min(difference(1.0), difference(-1.0))


def test_sift_matches_agree_with_the_truth(pair: Pair) -> None:
    (a_from_world, a), (b_from_world, b) = pair
    sift = cv2.SIFT_create(nfeatures=2048, contrastThreshold=0.02)
    (keys_a, words_a), (keys_b, words_b) = (
        sift.detectAndCompute(cv2.cvtColor(view.image_bgr, cv2.COLOR_BGR2GRAY), None)
        for view in (a, b)
    )
    assert min(len(keys_a), len(keys_b)) > 1500
    pairs = cv2.BFMatcher().knnMatch(words_a, words_b, k=2)
    good = [first for first, second in pairs if first.distance < 0.75 * second.distance]
    xy_a = np.array([keys_a[m.queryIdx].pt for m in good])
    xy_b = np.array([keys_b[m.trainIdx].pt for m in good])
    z = a.depth_m[tuple(np.round(xy_a).astype(int).T[::-1])]
    rays = np.concatenate([CAMERA.rays_from_pixels(xy_a), np.ones((len(xy_a), 1))], axis=1)
    predicted = CAMERA.project(
        transform(b_from_world @ invert(a_from_world), rays * z[:, None])[z > 0]
    )
    error = np.linalg.norm(predicted - xy_b[z > 0], axis=1)
    assert len(error) > 300
    assert np.median(error) < SIFT_PX


@pytest.mark.parametrize("supersample", [1, 2, 3])
@pytest.mark.parametrize("model", ["pinhole", "opencv", "fisheye"])
def test_a_spot_lands_where_the_camera_projects_it(model: str, supersample: int) -> None:
    distortion = {"pinhole": (), "opencv": (-0.1, 0.02, 1e-3), "fisheye": (0.02, -0.01)}[model]
    camera = Camera(
        model=model, width=200, height=150, fx=180, fy=175, cx=97.3, cy=76.1, distortion=distortion
    )
    side = 600
    y, x = np.mgrid[:side, :side]
    spot = 255 * np.exp(-(((x - 380) ** 2 + (y - 200) ** 2) / (2 * 12.0**2)))
    quad = Quad(
        corner=np.array([-1.0, 3.0, 1.0]),
        edge_u=np.array([2.0, 0, 0]),
        edge_v=np.array([0, 0, -2.0]),
        texture=np.repeat(spot[..., None], 3, axis=2).astype(np.uint8),
    )
    pose = look(np.array([0.1, 0.0, 0.2]), 0.1, -0.05, 0.2)
    sky = np.zeros((2, 4, 3), np.uint8)
    view = render(World(quads=[quad], sky=sky), camera, pose, supersample=supersample)
    at = quad.corner + quad.edge_u * 380.5 / side + quad.edge_v * 200.5 / side
    grey = view.image_bgr[..., 0].astype(float)
    rows, cols = np.mgrid[: camera.height, : camera.width]
    found = np.array([(grey * cols).sum(), (grey * rows).sum()]) / grey.sum()
    expected = camera.project(transform(pose, at[None]))[0]
    assert np.linalg.norm(found - expected) < SPOT_PX
    row, col = np.round(expected[::-1]).astype(int)
    ray = np.append(camera.rays_from_pixels(np.array([[col, row]]))[0], 1.0)
    point = transform(invert(pose), (ray * view.depth_m[row, col])[None])[0]
    assert point[1] == pytest.approx(3.0, abs=1e-5)


def test_quads_are_seen_from_the_front_and_hide_what_is_behind() -> None:
    def wall(distance: float, value: int, sign: float) -> Quad:
        return Quad(
            corner=np.array([-sign * 5.0, distance, 5.0]),
            edge_u=np.array([sign * 10.0, 0, 0]),
            edge_v=np.array([0, 0, -10.0]),
            texture=np.full((8, 8, 3), value, np.uint8),
        )

    camera = Camera(model="pinhole", width=32, height=24, fx=30, fy=30, cx=15.5, cy=11.5)
    pose = look(np.zeros(3), 0.0, 0.0)
    view = render(World(quads=[wall(4, 40, 1), wall(2, 90, 1), wall(1, 200, -1)]), camera, pose)
    assert (view.image_bgr == 90).all()
    assert np.allclose(view.depth_m, 2.0)
    behind = render(World(quads=[wall(-3, 40, 1)]), camera, pose)
    assert (behind.depth_m == 0).all() and (behind.quad == -1).all()


def floor(side_m: float, height_m: float = 0.0) -> Quad:
    """A square around the origin that faces up, one texel a centimetre."""
    pixels = round(side_m * 100)
    return Quad(
        corner=np.array([-side_m / 2, side_m / 2, height_m]),
        edge_u=np.array([side_m, 0, 0]),
        edge_v=np.array([0, -side_m, 0]),
        texture=np.full((pixels, pixels, 3), 150, np.uint8),
    )


def test_a_shadow_falls_away_from_the_sun() -> None:
    ground, plate = floor(4.0), floor(0.5, height_m=1.0)
    bake_light([ground, plate], shadow_m=0.02)
    middle = -SUN[:2] / SUN[2]  # of the plate, carried down along the light
    row, col = round((2.0 - middle[1]) * 100), round((2.0 + middle[0]) * 100)
    dark = ground.texture[..., 0] < 158  # lit 186, shaded 131
    found = np.argwhere(dark).mean(axis=0)
    assert np.abs(found - [row, col]).max() < 3
    assert dark.sum() == pytest.approx(50 * 50, rel=0.1)
    assert plate.texture.min() > 140


def test_the_seed_decides_everything() -> None:
    worlds = [make_courtyard(WorldConfig(seed=s, texel_m=0.1, shadow_m=0)) for s in (3, 3, 4)]
    first, same, other = [[q.texture.tobytes() for q in w.quads] for w in worlds]
    assert first == same
    assert first != other


def test_an_altered_yard_is_the_same_but_for_the_share_that_changed() -> None:
    first, *later = (
        make_courtyard(WorldConfig(seed=3, texel_m=0.03, shadow_m=0, altered=share))
        for share in (0, 0.3, 0.3)
    )
    changed, total, moved = 0.0, 0.0, 0
    for before, after, again in zip(first.quads, *(w.quads for w in later), strict=True):
        assert (after.texture == again.texture).all()
        moved += not np.array_equal(before.corner, after.corner)
        area = float(np.linalg.norm(np.cross(before.edge_u, before.edge_v)))
        changed += area * float((before.texture != after.texture).any(axis=2).mean())
        total += area
    assert abs(changed / total - 0.3) < ALTERED_SHARE
    assert 0 < moved < 0.2 * len(first.quads)  # crates


def test_queries_stay_near_the_mapping_views() -> None:
    rng = np.random.default_rng(1)
    mapping, queries = mapping_views(rng), query_path(rng, 50)
    assert 80 <= len(mapping) <= 110
    for query in queries:
        errors = [pose_error(query, view) for view in mapping]
        assert min(e.translation + e.rotation_deg / 20 for e in errors) < 2.0  # 1 m and 20°


def test_no_camera_stands_in_or_against_something(yard: World) -> None:
    small = CAMERA.scaled_to(80, 60)
    rng = np.random.default_rng([7, 1])
    for pose in mapping_views(rng)[::5] + query_path(rng, 12):
        depth = render(yard, small, pose, supersample=1).depth_m
        assert depth[depth > 0].min() > 0.35


def test_motion_blur_keeps_the_middle_of_the_exposure() -> None:
    image = np.zeros((61, 61, 3), np.uint8)
    image[26:35, 26:35] = 250
    effects = CameraEffects(lens_blur_px=0.5, vignetting=0.0)
    out = apply_effects(image, effects, np.random.default_rng(0), np.array([5.3, -2.1]))
    grey = out[..., 0].astype(float)
    rows, cols = np.mgrid[:61, :61]
    middle = np.array([(grey * cols).sum(), (grey * rows).sum()]) / grey.sum()
    assert np.abs(middle - 30).max() < 0.02
    assert grey[30].astype(bool).sum() >= 9 + 4


def test_written_reference_reads_back(tmp_path: Path) -> None:
    camera = CAMERA.scaled_to(64, 48)
    write_place(tmp_path, World(quads=[floor(4.0)]), camera, seed=7, frames=4)
    number, model, *values = (tmp_path / "reference/cameras.txt").read_text().split("\n")[1].split()
    assert (number, model) == ("1", "OPENCV")
    fx, fy, cx, cy, *distortion = [float(v) for v in values[2:]]
    assert (fx, fy) == pytest.approx((camera.fx, camera.fy))
    assert (cx, cy) == pytest.approx((camera.cx + 0.5, camera.cy + 0.5))
    assert distortion == pytest.approx(list(camera.distortion[:4]))
    assert read_camera(tmp_path / "camera.json") == camera

    lines = (tmp_path / "reference/images.txt").read_text().split("\n")[1:]
    assert not any(lines[1::2])
    found = {}
    for line in lines[0:-1:2]:
        _, *numbers, camera_id, name = line.split()
        pose = [float(v) for v in numbers]
        found[name] = compose(rotation_from_quat(pose[:4]), pose[4:])
        assert camera_id == "1"
    rng = np.random.default_rng([7, 1])
    expected = mapping_views(rng) + query_path(rng, 4)
    mapping = (tmp_path / "mapping.txt").read_text().split()
    queries = (tmp_path / "queries.txt").read_text().split()
    assert list(found) == mapping + queries
    for name, pose in zip(found, expected, strict=True):
        assert np.abs(found[name] - pose).max() < POSE_DIGITS
        assert cv2.imread(str(tmp_path / "images" / name)).shape == (48, 64, 3)
