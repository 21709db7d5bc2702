"""Write a rendered place as a folder of photos with reference poses.

    images/*.jpg  reference/{cameras,images,points3D}.txt
    mapping.txt  queries.txt  camera.json

The reference is a COLMAP model in text, without points.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_reloc.arrays import F64, U8
from edge_reloc.command_line.arguments import whole
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import EdgeRelocError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera, write_camera
from edge_reloc.reference.colmap import ColmapImage, ColmapModel, write_model_text

from ..progress import open_bar
from .courtyard import make_courtyard
from .effects import CameraEffects, apply_effects
from .render import render
from .trajectories import mapping_views, motion_px, query_path
from .world import World, WorldConfig

CAMERA = Camera(
    model="opencv", width=640, height=480, fx=482.0, fy=482.0, cx=321.3, cy=238.2,
    distortion=(-0.06, 0.018, 0.0004, -0.0003),
)  # fmt: skip
MAPPING_EFFECTS = CameraEffects(lens_blur_px=0.6, noise=0.5)
QUERY_EFFECTS = CameraEffects(lens_blur_px=0.8, exposure=0.12, tint=0.02, noise=0.8)
SHUTTER = 0.05  # open share of the time between two frames
MAPPING_QUALITY, QUERY_QUALITY = 92, 75


def write_place(
    output: Path,
    world: World,
    camera: Camera,
    seed: int,
    frames: int,
    progress: bool = False,
    *,
    walk: int = 1,
    stations: int = 32,
) -> None:
    """Render mapping photos and query frames into a folder.

    walk: another number, another walk through the same place, by way of so many stations.
    """
    rng = np.random.default_rng([seed, walk])
    mapping, queries = mapping_views(rng, stations), query_path(rng, frames)
    (output / "images").mkdir(parents=True, exist_ok=True)
    poses: dict[str, F64] = {}
    for index, pose in enumerate(mapping):
        poses[f"map_{index:03d}.jpg"] = pose
    for index, pose in enumerate(queries):
        poses[f"frame_{index:03d}.jpg"] = pose
    bar = open_bar(len(poses), "rendering", "photo", shown=progress)
    for done, (name, pose) in enumerate(poses.items()):
        picture = render(world, camera, pose).image_bgr
        if name.startswith("map_"):
            picture, quality = apply_effects(picture, MAPPING_EFFECTS, rng), MAPPING_QUALITY
        else:
            motion = motion_px(queries, done - len(mapping), camera.fx, SHUTTER)
            picture, quality = apply_effects(picture, QUERY_EFFECTS, rng, motion), QUERY_QUALITY
        write_jpeg(output / "images" / name, picture, quality)
        bar.update()
    bar.close()
    images = [ColmapImage(name=n, camera_id=1, cam_from_world=p) for n, p in poses.items()]
    reference = ColmapModel(cameras={1: camera}, images=images, points={})
    write_model_text(output / "reference", reference)
    for file, prefix in (("mapping.txt", "map_"), ("queries.txt", "frame_")):
        names = [name for name in poses if name.startswith(prefix)]
        write_atomic(output / file, "\n".join(names) + "\n")
    write_camera(output / "camera.json", camera)


def write_jpeg(path: Path, image_bgr: U8, quality: int, exif: bytes = b"") -> None:
    """Write a JPEG file (progressive, which is a tenth smaller; colours coarser).

    exif: as Pillow's `Exif.tobytes()`, below 64 KiB.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1,
               cv2.IMWRITE_JPEG_PROGRESSIVE, 1,
               cv2.IMWRITE_JPEG_LUMA_QUALITY, quality,
               cv2.IMWRITE_JPEG_CHROMA_QUALITY, max(quality - 20, 1)]  # fmt: skip
    good, data = cv2.imencode(".jpg", image_bgr, options)
    if not good:
        raise EdgeRelocError(f"{path}: OpenCV cannot encode JPEG; install opencv-python-headless")
    jpeg = data.tobytes()
    if exif:  # the first segment after the start of the image
        jpeg = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    write_atomic(path, jpeg)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Render the courtyard: photos for mapping, frames for the demo."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_reloc_export.worlds.write", description=main.__doc__
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--seed", type=int, default=7, help="another seed, another yard (default 7)"
    )
    parser.add_argument("--frames", type=int, default=100, help="query frames (default 100)")
    parser.add_argument(
        "--texel-mm", type=float, default=4.0, help="size of a texel in mm (default 4)"
    )
    parser.add_argument(
        "--altered", type=float, default=0.0, help="share of the surfaces that changed (default 0)"
    )
    parser.add_argument("--walk", type=whole(1), default=1, help="another walk (default 1)")
    parser.add_argument(
        "--stations",
        type=whole(1, 10_000),
        default=32,
        help="of the mapping walk, 3 photos each (default 32)",
    )
    args = parser.parse_args(argv)
    world = make_courtyard(
        WorldConfig(seed=args.seed, texel_m=args.texel_mm / 1000, altered=args.altered)
    )
    write_place(
        args.output,
        world,
        CAMERA,
        args.seed,
        args.frames,
        progress=True,
        walk=args.walk,
        stations=args.stations,
    )
    return OK


if __name__ == "__main__":
    raise SystemExit(main())
