"""How near each way to align a map comes to the true world.

    python tests/benchmarks/alignment.py              # the demo's map
    python tests/benchmarks/alignment.py --map maps/yard --images out/yard/images \
        --reference out/yard/reference                # any map with true poses and its photos
    python tests/benchmarks/alignment.py --map maps/church --images DATA/herz_jesus/images \
        --reference DATA/herz_jesus/reference --mapped maps/church_alone

The map is put into an arbitrary world first (another scale, axes and origin, not metric), then
aligned from made inputs with noise, and its points are compared with where they were. With
--mapped, a map of the photos alone, in the world that it was given by chance, is aligned to the
first one's, and the positions of its photos are compared with the true ones.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import scrambled_world as made

from edge_reloc.reference.colmap import read_model
from edge_reloc.running.demo import DEMO
from edge_reloc_export import align
from edge_reloc_export.scene.model import View
from edge_reloc_export.scene.posed import empty_view
from edge_reloc_export.work_folder import work_folder

SIDE_M = 0.4


def views_of(reference: Path, images: Path) -> list[View]:
    """Posed photos of a COLMAP model that lie in a folder."""
    model = read_model(reference)
    return [
        empty_view(image.name, model.cameras[image.camera_id], image.cam_from_world, 0)
        for image in model.images
        if (images / image.name).is_file()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the error of each way."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--map", type=Path, default=DEMO / "map")
    parser.add_argument("--images", type=Path, default=DEMO / "frames")
    parser.add_argument("--reference", type=Path, default=DEMO / "truth")
    parser.add_argument("--other", type=Path, help="another true map of the place (default: none)")
    parser.add_argument("--mapped", type=Path, help="map of the photos alone (default: the first)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        views = views_of(options.reference, options.images)
        world = made.scramble(folder / "world", options.map, views, options.images)
        ways = ways_of(world, folder)
        if options.mapped is not None:
            work = work_folder(options.mapped)
            world = replace(world, bundle=options.mapped, work=work)
            options.other = options.other or options.map
        if options.other is not None:
            photos = _some(world, folder / "some")
            ways["another map, photos localised in both"] = [
                "--to-map", options.other, "--photos", photos
            ]  # fmt: skip
        print(f"{options.mapped or options.map}: {len(views)} photos, {len(world.xyz)} points")
        for name, extra in ways.items():
            output = folder / "aligned"
            arguments = ["--map", world.bundle, "--work", world.work, "--output", output, *extra]
            told, refused = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(refused):
                code = align.main([str(word) for word in arguments])
            if code:
                print(f"  {name}: {refused.getvalue().splitlines()[-1]}")
                continue
            error = (
                made.frame_error(output, world.xyz)
                if options.mapped is None
                else made.photo_error(output, world)
            )
            only_scale = "size alone" in name or "distances" in name
            print(f"  {name}: {f'scale {100 * error.scale:+.3f} %' if only_scale else error}")
    return 0


def ways_of(world: made.ScrambledWorld, folder: Path) -> dict[str, list[object]]:
    """Options of each way, and made inputs in a folder."""
    views = world.views
    places = made.marked_places(world, 8, noise_px=1.0)
    tags = made.tags_at(world, 6)
    made.draw_tags(world, folder / "tagged", tags, SIDE_M, 8)
    tagged = ["--tags", SIDE_M, "--photos", folder / "tagged"]
    return {
        "GPS of photos, noise 3 m": ["--gps", made.write_gps(folder / "gps3.csv", views, 3.0)],
        "GPS, corrected, noise 3 cm": ["--gps", made.write_gps(folder / "rtk.csv", views, 0.03)],
        "positions of photos, noise 10 cm": [
            "--positions", made.write_positions(folder / "positions.csv", views, 0.1)
        ],
        "8 surveyed points, noise 2 cm and 1 px": [
            "--points", made.write_gcp_list(folder / "gcp_list.txt", places, 0.02)
        ],
        "7 distances, noise 1 cm and 1 px": [
            "--distances", made.write_distances(folder / "distances.csv", places, 0.01),
            "--marks", made.write_marks(folder / "marks.csv", places),
        ],
        "6 tags, size alone": tagged,
        "6 tags, centres known to 1 cm": [
            *tagged, "--tag-poses", made.write_tag_poses(folder / "tags.csv", tags, 0.01)
        ],
    }  # fmt: skip


def _some(world: made.ScrambledWorld, folder: Path) -> Path:
    """Ten photos."""
    folder.mkdir()
    for view in world.views[:: max(1, len(world.views) // 10)]:
        (folder / view.name).symlink_to(world.images / view.name)
    return folder


if __name__ == "__main__":
    sys.exit(main())
