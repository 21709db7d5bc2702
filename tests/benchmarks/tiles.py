"""A street flown through in tiles: no frame waits, nothing grows, seams are not seen.

    python tests/benchmarks/tiles.py --output out/street [--yards 9] [--rounds 4]

Renders a street of yards, maps each yard and its surroundings as a tile with true poses, and
the whole street as one map; then flies to and fro through it, in one process with three
localisers: the street in tiles, of which a few are in memory; the tile in the middle alone, in
the part of the flight that it covers; and the whole map. What is made is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

import edge_reloc
from edge_reloc.arrays import F64, U8
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import camera_centre, invert
from edge_reloc.localizer import Localizer
from edge_reloc.memory.process import resident_bytes
from edge_reloc.reference.colmap import ColmapImage, ColmapModel, read_model, write_model_text
from edge_reloc.running.demo import DEMO
from edge_reloc.structs import Frame, Localization
from edge_reloc.tiles.index import is_tiled
from edge_reloc.tiles.tiled_localizer import TiledLocalizer
from edge_reloc_export import map as mapping
from edge_reloc_export.tiles.write import write_tiles
from edge_reloc_export.worlds.effects import apply_effects
from edge_reloc_export.worlds.render import render
from edge_reloc_export.worlds.street import YARD_M, make_street
from edge_reloc_export.worlds.trajectories import look
from edge_reloc_export.worlds.world import WorldConfig
from edge_reloc_export.worlds.write import CAMERA, MAPPING_EFFECTS, QUERY_EFFECTS

CAMERA_FILE = DEMO / "camera.json"
STATION_M = 2.0
OVERLAP_M = 3.0  # of a tile beyond its yard
AZIMUTHS_DEG = (10.0, 70.0, 190.0, 250.0)
SPEED_M_S = 6.0
LEG = 8  # frames after a jump


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--yards", type=int, default=9)
    parser.add_argument("--texel-mm", type=float, default=8.0)
    parser.add_argument("--slots", type=int, default=3, help="tiles in memory")
    parser.add_argument("--step", type=float, default=0.4, help="metres between frames")
    parser.add_argument("--rounds", type=int, default=4, help="flights, there and back in turns")
    parser.add_argument("--rate", type=float, default=None, help="frames a second at most")
    parser.add_argument(
        "--jumps", type=int, default=20, help="times that the camera is put elsewhere, at the end"
    )
    parser.add_argument("--loads", type=int, default=50, help="tiles with heads, loaded beside")
    options = parser.parse_args()
    folder: Path = options.output
    render_street(folder, options)
    make_maps(folder, options)
    fly(folder, options)
    for method in ("visible_structure", "landmarks"):
        load_beside(folder / "yards", method, options.loads)
    return 0


def load_beside(folder: Path, method: str, loads: int) -> None:
    """Frames of the demo while a tile with trained heads is loaded, and while none is.

    Five tiles that are all the demo's map; which one is loaded is said here.
    """
    if not is_tiled(folder):
        write_tiles(folder, {f"copy{n}": DEMO / "map" for n in range(5)}, name="copies")
    frames = [f for f in edge_reloc.open_source(str(DEMO / "frames"), read_camera(CAMERA_FILE))]
    settings = {"method": method, "threads": 1, "tracking": True, "resident_tiles": 2}
    with edge_reloc.open(folder, CAMERA_FILE, **settings) as city:
        assert isinstance(city, TiledLocalizer)
        city._residency.next_page = lambda *_: None  # type: ignore[method-assign]
        wall: dict[bool, list[float]] = {True: [], False: []}
        resident, index, first = [], 0, city.loaded
        while city.loaded < first + loads:
            index += 1
            frame = replace(frames[index % len(frames)], t_ns=index * 66_000_000, received_ns=1)
            if index % 6 == 0 and not city.loading:
                here = [slot.tile for slot in city._slots]
                free = next(n for n, tile in enumerate(here) if tile != city._current)
                other = next(t for t in range(5) if (t + index) % 5 not in here)
                city._pager.request(free, (other + index) % 5)
            loading = city.loading
            begun = time.perf_counter()
            city.localize(frame)
            wall[loading].append((time.perf_counter() - begun) * 1e3)
            if index % 50 == 0:
                resident.append(round((resident_bytes() or 0) / 1e6, 1))
    for loading, values in wall.items():
        q = " ".join(f"{v:.1f}" for v in np.percentile(values, (50, 95, 99)))
        state = "a tile is loaded" if loading else "nothing is"
        print(f"{method}: {len(values)} frames while {state}: ms p50 p95 p99 {q}")
    print(f"{method}: {loads} loads, resident MB {resident}")


def render_street(folder: Path, options: argparse.Namespace) -> None:
    """Photos of mapping and frames of the flight, with their poses."""
    if (folder / "reference").is_dir():
        return
    begun = time.process_time()
    config = WorldConfig(seed=11, texel_m=options.texel_mm / 1000, shadow_m=0)
    world = make_street(config, options.yards)
    rng = np.random.default_rng(5)
    ends = -YARD_M / 2 + 1.5, (options.yards - 0.5) * YARD_M - 1.5
    poses: dict[str, F64] = {}
    for n, x in enumerate(np.arange(ends[0], ends[1] + 1e-6, STATION_M)):
        for azimuth in AZIMUTHS_DEG:
            at = np.array([x, rng.uniform(-0.8, 0.8), rng.uniform(1.5, 2.1)])
            turn = np.radians(azimuth + rng.uniform(-8, 8))
            poses[f"map_{n:03d}_{azimuth:03.0f}.jpg"] = look(at, turn, rng.uniform(0, 0.12))
    for n, x in enumerate(np.arange(ends[0] + 0.5, ends[1] - 0.5, options.step)):
        sway = np.sin(0.35 * x), np.sin(0.21 * x + 2)
        turn = np.radians(40.0 + 25 * np.sin(0.25 * x))
        at = np.array([x, 0.6 * sway[0], 1.75 + 0.2 * sway[1]])
        poses[f"frame_{n:04d}.jpg"] = look(at, turn, 0.05, 0.02 * sway[1])
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, pose in poses.items():
        if (folder / "images" / name).is_file():
            continue
        effects = MAPPING_EFFECTS if name.startswith("map_") else QUERY_EFFECTS
        picture = apply_effects(render(world, CAMERA, pose, supersample=1).image_bgr, effects, rng)
        cv2.imwrite(str(folder / "images" / name), picture)
    images = [ColmapImage(name=n, camera_id=1, cam_from_world=p) for n, p in poses.items()]
    write_model_text(
        folder / "reference", ColmapModel(cameras={1: CAMERA}, images=images, points={})
    )
    print(f"rendered {len(poses)} pictures in {time.process_time() - begun:.0f} s of processor")


def make_maps(folder: Path, options: argparse.Namespace) -> None:
    """A bundle for each yard, one of the whole street, and the tiled map."""
    if is_tiled(folder / "city"):
        return
    model = read_model(folder / "reference")
    centre = {
        image.name: camera_centre(image.cam_from_world)
        for image in model.images
        if image.name.startswith("map_")
    }
    reach = YARD_M / 2 + OVERLAP_M
    lists = {
        f"yard{n}": [name for name, at in centre.items() if abs(at[0] - n * YARD_M) < reach]
        for n in range(options.yards)
    }
    for tile, names in {**lists, "whole": list(centre)}.items():
        begun = time.process_time()
        if not (folder / tile).is_dir():
            (folder / f"{tile}.txt").write_text("\n".join(names) + "\n")
            call(
                mapping.main, "--images", folder / "images", "--output", folder / tile,
                "--list", folder / f"{tile}.txt", "--poses", folder / "reference", "--metric",
                "--keypoints", 1024, "--any-grade", "--work", folder / "work",
            )  # fmt: skip
        print(f"{tile}: {len(names)} photos, {time.process_time() - begun:.0f} s of processor")
    cameras = {tile: np.array([centre[n] for n in names]) for tile, names in lists.items()}
    bundles = {tile: folder / tile for tile in lists}
    write_tiles(folder / "city", bundles, name="street", cameras=cameras)


def call(program: Callable[..., int], *arguments: object) -> None:
    if program([str(argument) for argument in arguments]) != 0:
        raise SystemExit(f"{program.__module__} failed")


@dataclass
class Flight:
    """What became of the frames of one localiser."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    error_mm: list[float] = field(default_factory=list)
    error_deg: list[float] = field(default_factory=list)
    #: (3,) estimated minus true place of each frame, nan where there is none
    error: list[F64] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)

    def run(self, localizer: Localizer, frame: Frame, truth: F64) -> Localization:
        begun, spent = time.perf_counter(), time.thread_time()
        result = localizer.localize(frame)
        self.wall_ms.append((time.perf_counter() - begun) * 1e3)
        self.cpu_ms.append((time.thread_time() - spent) * 1e3)
        self.status[result.status.value] = self.status.get(result.status.value, 0) + 1
        pose = result.cam_from_world
        self.error.append(np.full(3, np.nan))
        if pose is not None:
            off = invert(pose) @ truth
            self.error[-1] = camera_centre(pose) - camera_centre(truth)
            self.error_mm.append(1e3 * float(np.linalg.norm(self.error[-1])))
            cosine = np.clip((np.trace(off[:3, :3]) - 1) / 2, -1, 1)
            self.error_deg.append(float(np.degrees(np.arccos(cosine))))
        return result

    def text(self, name: str) -> str:
        def q(values: list[float]) -> str:
            p = np.percentile(values, (50, 95, 99, 100)) if values else np.full(4, np.nan)
            return " ".join(f"{v:7.1f}" for v in p)

        return (
            f"{name:<12} {len(self.wall_ms):>6} {q(self.wall_ms)}  | {q(self.cpu_ms)}  | "
            f"{q(self.error_mm)}  {self.status}"
        )


def fly(folder: Path, options: argparse.Namespace) -> None:
    """There and back, in tiles, in the middle tile alone and in the whole map."""
    model = read_model(folder / "reference")
    flight = sorted(
        (i for i in model.images if i.name.startswith("frame_")), key=lambda image: image.name
    )
    truth = [image.cam_from_world for image in flight]
    images = [cv2.imread(str(folder / "images" / i.name), cv2.IMREAD_GRAYSCALE) for i in flight]
    settings = {"threads": 1, "tracking": True}
    middle = options.yards // 2
    inside = [abs(camera_centre(t)[0] - middle * YARD_M) < YARD_M / 2 for t in truth]
    period = None if options.rate is None else 1 / options.rate
    before = resident_bytes() or 0
    with (
        edge_reloc.open(folder / "city", CAMERA, resident_tiles=options.slots, **settings) as city,
        edge_reloc.open(folder / f"yard{middle}", CAMERA, **settings) as alone,
        edge_reloc.open(folder / "whole", CAMERA, **settings) as whole,
    ):
        assert isinstance(city, TiledLocalizer)
        of_city, of_alone, of_whole = Flight(), Flight(), Flight()
        t_ns, index, resident, switched, loading = 0, 0, [], [], []
        city.warm_up(images[0]), alone.warm_up(images[len(images) // 4]), whole.warm_up(images[0])
        for one in range(options.rounds):
            there = range(len(images))
            for n in reversed(there) if one % 2 else there:
                image, true, near = images[n], truth[n], inside[n]
                begun = time.perf_counter()
                t_ns, index = t_ns + int(1e9 * options.step / SPEED_M_S), index + 1
                frame = Frame(image=image, t_ns=t_ns, index=index, received_ns=t_ns)
                at, loads = city.tile, city.loaded
                begun_busy = city.loading
                of_city.run(city, frame, true)
                switched.append(city.tile != at and at is not None)
                loading.append(begun_busy or city.loaded != loads)
                if near:
                    of_alone.run(alone, frame, true)
                of_whole.run(whole, frame, true)
                if index % 20 == 0:
                    resident.append(resident_bytes() or 0)
                left = 0.0 if period is None else period - (time.perf_counter() - begun)
                time.sleep(max(left, 0.0))
        flights = of_city, of_alone, of_whole
        report(city, flights, np.array(switched), np.array(loading), resident, before)
    with edge_reloc.open(folder / "city", CAMERA, resident_tiles=options.slots, **settings) as city:
        assert isinstance(city, TiledLocalizer)
        jump(city, images, options.jumps)


def jump(city: TiledLocalizer, images: list[U8], jumps: int) -> None:
    """Memory while the camera is put elsewhere again and again, and how soon it is found."""
    rng = np.random.default_rng(1)
    t_ns, taken, resident, frames = 0, [], [], 0
    for _ in range(jumps):
        start = int(rng.integers(len(images) - LEG))
        t_ns += 60_000_000_000
        found = None
        for n in range(LEG):
            t_ns, frames = t_ns + 66_000_000, frames + 1
            frame = Frame(image=images[start + n], t_ns=t_ns, index=frames, received_ns=t_ns)
            if city.localize(frame).ok and found is None:
                found = n + 1
        taken.append(found)
        resident.append(resident_bytes() or 0)
    known = sorted(found for found in taken if found is not None)
    print(
        f"{jumps} jumps of {LEG} frames: found at frame {known}, {taken.count(None)} never; "
        f"{city.loaded} loads; resident MB {[round(v / 1e6, 1) for v in resident]}"
    )


def report(
    city: TiledLocalizer,
    flights: tuple[Flight, Flight, Flight],
    switched: np.ndarray,
    loading: np.ndarray,
    resident: list[int],
    before: int,
) -> None:
    """All figures, the last line as JSON."""
    of_city, of_alone, of_whole = flights
    total = sum(tile.nbytes for tile in city.tiles)
    print(
        f"{len(city.tiles)} tiles of {total / 1e6:.1f} MB, {len(city.resident)} in memory; "
        f"{city.loaded} loads, {int(switched.sum())} switches in {len(switched)} frames"
    )
    print(f"{'':<12} {'frames':>6} {'wall ms p50 p95 p99 max':^31}  | {'processor ms':^31}  | "
          f"{'error mm':^31}")  # fmt: skip
    for name, one in zip(("city", "one tile", "whole map"), flights, strict=True):
        print(one.text(name))
    apart = np.array(of_city.error) - np.array(of_whole.error)
    jump = np.linalg.norm(np.diff(np.array(of_city.error), axis=0), axis=1) * 1e3
    at_seams, elsewhere = jump[switched[1:]], jump[~switched[1:]]
    wall = np.array(of_city.wall_ms)
    figures = {
        "tiles_over_slots": len(city.tiles) / len(city.resident),
        "p99_ratio_wall": ratio(of_city.wall_ms, of_alone.wall_ms),
        "p99_ratio_processor": ratio(of_city.cpu_ms, of_alone.cpu_ms),
        "frames_while_loading": int(loading.sum()),
        "p50_ms_while_loading": round(float(np.median(wall[loading])), 1),
        "p50_ms_otherwise": round(float(np.median(wall[~loading])), 1),
        "localised": len(of_city.error_mm) / len(of_city.wall_ms),
        "localised_whole": len(of_whole.error_mm) / len(of_whole.wall_ms),
        "median_mm": float(np.median(of_city.error_mm)),
        "median_mm_whole": float(np.median(of_whole.error_mm)),
        "from_whole_mm_median": float(np.nanmedian(np.linalg.norm(apart, axis=1)) * 1e3),
        "step_mm_at_seams_p50_p95": quantiles(at_seams),
        "step_mm_elsewhere_p50_p95": quantiles(elsewhere),
        "resident_mb": [
            round(value / 1e6, 1) for value in resident[:: max(len(resident) // 12, 1)]
        ],
        "resident_mb_before": round(before / 1e6, 1),
        "growth_mb_second_half": round((resident[-1] - resident[len(resident) // 2]) / 1e6, 2),
    }
    print(json.dumps(figures))


def quantiles(values: np.ndarray) -> list[float]:
    return [round(float(v), 2) for v in np.nanpercentile(values, (50, 95))] if len(values) else []


def ratio(ours: list[float], theirs: list[float]) -> float:
    return round(float(np.percentile(ours, 99) / np.percentile(theirs, 99)), 3)


if __name__ == "__main__":
    raise SystemExit(main())
