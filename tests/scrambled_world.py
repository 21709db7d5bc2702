"""A map whose world was made arbitrary, and what a user could know of the true one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from edge_reloc.bundle import MapBundle, World, extend_bundle, open_bundle
from edge_reloc.bundle.layout import XYZ
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.geodesy import enu_from_geodetic, geodetic_from_enu
from edge_reloc.geometry.rigid import (
    camera_centre,
    quat_from_rotation,
    rotation_angle_rad,
    so3_exp,
    transform,
)
from edge_reloc_export.packing.pack import PACKED_MODEL
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.scene.model import SceneModel, View, save_model
from edge_reloc_export.scene.similarity import Similarity, umeyama
from edge_reloc_export.world_frame.april_tags import CORNERS
from edge_reloc_export.world_frame.change import change_world
from edge_reloc_export.world_frame.fit import Item, WorldFit
from edge_reloc_export.world_frame.record import recorded

F64 = NDArray[np.float64]
ARBITRARY = Similarity(
    scale=0.31, rotation=so3_exp([0.4, -1.2, 2.0]), translation=np.array([20.0, -7.0, 3.0])
)
#: of the true world, which is east, north, up there
ORIGIN = {"latitude_deg": 48.2, "longitude_deg": 16.37, "altitude_m": 171.0}
COMPARED = 200  # points
GPS_IFD = 0x8825


@dataclass(frozen=True, kw_only=True)
class ScrambledWorld:
    """A bundle in an arbitrary world, its work folder, and the truth."""

    bundle: Path
    work: Path
    images: Path
    views: list[View]  #: with true poses
    xyz: F64  #: (P,3), true, in the bundle's order


def scramble(folder: Path, bundle: Path, views: Sequence[View], images: Path) -> ScrambledWorld:
    """A copy of a true bundle in an arbitrary world, not metric and without gravity.

    views: photos in `images` with true poses; what they observe is not needed.
    """
    xyz = np.asarray(open_bundle(bundle).array(XYZ), np.float64)
    work = folder / "map.work"
    work.mkdir(parents=True)
    bare = [replace(view, quarter_turns=0) for view in views]
    write_work(work, bare, xyz, images)
    arbitrary = World(metric=False)
    fit = WorldFit(source="nothing", similarity=ARBITRARY, items=[Item(name="-", residual=0.0)],
                   world=arbitrary)  # fmt: skip
    with extend_bundle(bundle, folder / "map") as writer:
        change_world(writer, open_bundle(bundle), ARBITRARY, arbitrary)
        writer.manifest.alignment = recorded(None, fit)
    return ScrambledWorld(
        bundle=folder / "map", work=work, images=images, views=list(views), xyz=xyz
    )


def write_work(work: Path, views: list[View], xyz: F64, images: Path) -> None:
    """As much of a work folder as aligning reads."""
    save_model(work / PACKED_MODEL, SceneModel(views=views, xyz=xyz, metric=True))
    spec = {"kind": "sift", "dim": 128}
    values = {"images": str(images), "spec": spec, "turns": {}}
    (work / "store.json").write_text(json.dumps(values))


class FrameError(NamedTuple):
    """Of a world against the true one."""

    scale: float  #: relative
    rotation_deg: float
    median_m: float  #: of where points lie
    largest_m: float

    def __str__(self) -> str:
        return (
            f"scale {100 * self.scale:+.3f} %, rotation {self.rotation_deg:.3f} deg, off by "
            f"{100 * self.median_m:.2f} cm (median), {100 * self.largest_m:.2f} cm (largest)"
        )


def frame_error(aligned: Path, true_xyz: F64) -> FrameError:
    """How far the points of an aligned map lie from the truth (P,3)."""
    bundle = open_bundle(aligned)
    rows = np.linspace(0, len(true_xyz) - 1, COMPARED).astype(int)
    return _compared(bundle, np.asarray(bundle.array(XYZ), np.float64)[rows], true_xyz[rows])


def photo_error(aligned: Path, world: ScrambledWorld) -> FrameError:
    """How far its mapping photos do, of a map that has its own points."""
    bundle = open_bundle(aligned)
    true = {view.name: camera_centre(view.cam_from_world) for view in world.views}
    views = [v for v in load_packed(world.work, bundle).views if v.name in true]
    found = np.array([camera_centre(view.cam_from_world) for view in views])
    return _compared(bundle, found, np.array([true[view.name] for view in views]))


def _compared(bundle: MapBundle, found: F64, true: F64) -> FrameError:
    """Places (N,3) of a map's world with the true ones."""
    place = bundle.manifest.world.georeference
    if place is not None:
        on_earth = [geodetic_from_enu(xyz, place) for xyz in found]
        found = np.array([enu_from_geodetic(*where, ORIGIN) for where in on_earth])
    left = umeyama(true, found)
    away = np.linalg.norm(found - true, axis=1)
    return FrameError(
        left.scale - 1,
        float(np.degrees(rotation_angle_rad(left.rotation))),
        float(np.median(away)),
        float(away.max()),
    )


def write_gps(path: Path, views: Sequence[View], noise_m: float, seed: int = 0) -> Path:
    """name,lat,lon,alt of photos."""
    rng = np.random.default_rng(seed)
    lines = ["name,lat,lon,alt"]
    for view in views:
        xyz = camera_centre(view.cam_from_world) + noise_m * rng.standard_normal(3)
        lines.append(f"{view.name},{_told(geodetic_from_enu(xyz, ORIGIN), ',')}")
    return _written(path, lines)


def write_photos_with_gps(world: ScrambledWorld, folder: Path, every: int) -> list[View]:
    """Each n-th photo with its exact place in its EXIF; their views."""
    folder.mkdir()
    some = world.views[::every]
    for view in some:
        where = geodetic_from_enu(camera_centre(view.cam_from_world), ORIGIN)
        exif = Image.Exif()
        exif[GPS_IFD] = {
            1: "N",
            2: _degrees(where.latitude_deg),
            3: "E",
            4: _degrees(where.longitude_deg),
            5: b"\0",
            6: IFDRational(round(where.altitude_m * 1000), 1000),
        }
        with Image.open(world.images / view.name) as image:
            image.save(folder / view.name, exif=exif)
    return some


def _degrees(angle: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """To a hundred-thousandth of a second, 0.3 mm."""
    whole = int(angle)
    minutes = int((angle - whole) * 60)
    seconds = ((angle - whole) * 60 - minutes) * 60
    return (
        IFDRational(whole, 1),
        IFDRational(minutes, 1),
        IFDRational(round(seconds * 100_000), 100_000),
    )


def write_positions(path: Path, views: Sequence[View], noise_m: float, seed: int = 0) -> Path:
    """name,x,y,z of photos."""
    rng = np.random.default_rng(seed)
    lines = ["name,x,y,z"]
    for view in views:
        x, y, z = camera_centre(view.cam_from_world) + noise_m * rng.standard_normal(3)
        lines.append(f"{view.name},{x:.6f},{y:.6f},{z:.6f}")
    return _written(path, lines)


class Marked(NamedTuple):
    """A place and the pixels (2,) of photos that show it."""

    name: str
    xyz: F64
    pixels: dict[str, F64]


def marked_places(
    world: ScrambledWorld, count: int, noise_px: float, photos: int = 6, seed: int = 0
) -> list[Marked]:
    """Points spread over the map, as a user would mark them."""
    rng = np.random.default_rng(seed)
    out: list[Marked] = []
    for row in rng.permutation(len(world.xyz)):
        pixels = pixels_of(world, world.xyz[row])
        if len(pixels) < photos:
            continue
        near = [name for name in pixels][:: max(1, len(pixels) // photos)][:photos]
        chosen = {n: pixels[n] + noise_px * rng.standard_normal(2) for n in near}
        out.append(Marked(f"p{len(out) + 1}", world.xyz[row], chosen))
        if len(out) == count:
            break
    return out


def pixels_of(world: ScrambledWorld, xyz: F64) -> dict[str, F64]:
    """Where photos have a place well inside, by their names."""
    found = {}
    for view in world.views:
        inside = transform(view.cam_from_world, xyz[None])
        if inside[0, 2] < 0.5:
            continue
        xy = view.camera.project(inside)[0]
        size = view.camera.width, view.camera.height
        if all(20 < v < side - 20 for v, side in zip(xy, size, strict=True)):
            found[view.name] = xy
    return found


def write_gcp_list(
    path: Path, places: Sequence[Marked], noise_m: float = 0.0, seed: int = 0
) -> Path:
    """As OpenDroneMap reads it: longitude, latitude, altitude, pixels, photo, name."""
    rng = np.random.default_rng(seed)
    lines = ["EPSG:4326"]
    for place in places:
        where = geodetic_from_enu(place.xyz + noise_m * rng.standard_normal(3), ORIGIN)
        told = f"{where.longitude_deg:.10f}\t{where.latitude_deg:.10f}\t{where.altitude_m:.4f}"
        for photo, (x, y) in place.pixels.items():
            lines.append(f"{told}\t{x:.2f}\t{y:.2f}\t{photo}\t{place.name}")
    return _written(path, lines)


def write_marks(path: Path, places: Sequence[Marked]) -> Path:
    """name,photo,x,y."""
    lines = ["name,photo,x,y"]
    for place in places:
        lines += [f"{place.name},{p},{x:.2f},{y:.2f}" for p, (x, y) in place.pixels.items()]
    return _written(path, lines)


def write_distances(path: Path, places: Sequence[Marked], noise_m: float, seed: int = 0) -> Path:
    """from,to,metres of neighbours in the list."""
    rng = np.random.default_rng(seed)
    lines = ["from,to,metres"]
    for a, b in itertools.pairwise(places):
        metres = np.linalg.norm(a.xyz - b.xyz) + noise_m * rng.standard_normal()
        lines.append(f"{a.name},{b.name},{metres:.4f}")
    return _written(path, lines)


class PlacedTag(NamedTuple):
    """A tag in the true world."""

    number: int
    world_from_tag: F64


def tags_at(world: ScrambledWorld, count: int, seed: int = 0) -> list[PlacedTag]:
    """Tags that face the cameras that may see them."""
    tags = []
    for number, place in enumerate(marked_places(world, count, 0.0, photos=10, seed=seed)):
        seen = [v for v in world.views if v.name in pixels_of(world, place.xyz)]
        out = np.mean([camera_centre(v.cam_from_world) for v in seen], axis=0) - place.xyz
        out = np.array([out[0], out[1], 0.0]) / np.linalg.norm(out[:2])
        right = np.cross([0.0, 0.0, 1.0], out)
        pose = np.eye(4)
        pose[:3] = np.stack([right, [0.0, 0.0, 1.0], out, place.xyz], axis=1)
        tags.append(PlacedTag(number, pose))
    return tags


def write_tag_poses(
    path: Path, tags: Sequence[PlacedTag], noise_m: float, *, turned: bool = False, seed: int = 0
) -> Path:
    """id,x,y,z of the centres; turned: with qw,qx,qy,qz."""
    rng = np.random.default_rng(seed)
    lines = ["id,x,y,z" + (",qw,qx,qy,qz" if turned else "")]
    for tag in tags:
        numbers = [*tag.world_from_tag[:3, 3] + noise_m * rng.standard_normal(3)]
        numbers += [*quat_from_rotation(tag.world_from_tag[:3, :3])] if turned else []
        lines.append(",".join([str(tag.number), *(f"{n:.6f}" for n in numbers)]))
    return _written(path, lines)


def draw_tags(
    world: ScrambledWorld, folder: Path, tags: Sequence[PlacedTag], side_m: float, photos: int
) -> list[str]:
    """Photos with tags (36h11) into a folder, so many of each tag; their names."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36H11)
    shown: dict[str, list[PlacedTag]] = {}
    for tag in tags:
        corners = transform(tag.world_from_tag, 1.5 * side_m * np.array(CORNERS))
        inside = [pixels_of(world, corner).keys() for corner in corners]
        good = [v.name for v in world.views if all(v.name in names for names in inside)]
        for name in [good[i] for i in np.linspace(0, len(good) - 1, photos).astype(int)]:
            shown.setdefault(name, []).append(tag)
    folder.mkdir()
    for view in world.views:
        if view.name in shown:
            image = np.asarray(cv2.imread(str(world.images / view.name)), np.uint8)
            for tag in shown[view.name]:
                picture = np.asarray(dictionary.generateImageMarker(tag.number, 400), np.uint8)
                _draw(image, view.camera, view.cam_from_world @ tag.world_from_tag, picture, side_m)
            cv2.imwrite(str(folder / view.name), image)
    return list(shown)


def _draw(
    image: NDArray[np.uint8],
    camera: Camera,
    cam_from_tag: F64,
    tag: NDArray[np.uint8],
    side_m: float,
) -> None:
    """A tag with its white margin, through the lens: where each pixel's ray meets its plane."""
    around = camera.project(transform(cam_from_tag, 1.3 * side_m * np.array(CORNERS)))
    (x0, y0), (x1, y1) = np.floor(around.min(axis=0)), np.ceil(around.max(axis=0)) + 1
    v, u = np.mgrid[int(y0) : int(y1), int(x0) : int(x1)]
    pixels = np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float64)
    rays = np.concatenate([camera.rays_from_pixels(pixels), np.ones((len(pixels), 1))], axis=1)
    normal, centre = cam_from_tag[:3, 2], cam_from_tag[:3, 3]
    depth = (normal @ centre) / (rays @ normal)
    across, up = ((rays * depth[:, None] - centre) @ cam_from_tag[:3, :2] / side_m).T
    inside = (np.abs(across) < 0.65) & (np.abs(up) < 0.65)
    padded = cv2.copyMakeBorder(tag, 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=255)
    pattern = cv2.GaussianBlur(padded, (0, 0), 4)
    column = ((across + 0.65) * 400 - 0.5).astype(np.float32)[inside]
    row = ((0.65 - up) * 400 - 0.5).astype(np.float32)[inside]
    grey = cv2.remap(pattern, column[None], row[None], cv2.INTER_LINEAR)[0]
    image[v.ravel()[inside], u.ravel()[inside]] = grey[:, None]


def _told(values: Sequence[float], between: str) -> str:
    return between.join(f"{value:.10f}" for value in values)


def _written(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path
