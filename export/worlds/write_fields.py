"""Write a survey flight over made fields: photos with EXIF, and reference poses.

    images/*.jpg  reference/{cameras,images,points3D}.txt  truth.json

The reference is a COLMAP model in text, without points, in metres east, north
and up of the take-off. The photos have EXIF as a drone writes it: maker, focal
length (true), position (with the receiver's error).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from edge_reloc.arrays import F64
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import ConfigError, missing_package
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.reference.colmap import ColmapImage, ColmapModel, write_model_text

from ..progress import open_bar
from .effects import CameraEffects, apply_effects
from .fields import Fields, FieldsConfig, make_fields
from .trajectories import look
from .write import write_jpeg

CAMERA = Camera(
    model="opencv", width=1024, height=768, fx=710.0, fy=710.0, cx=511.5, cy=383.5,
    distortion=(-0.02,),
)  # fmt: skip
EFFECTS = CameraEffects(lens_blur_px=0.6, exposure=0.03, noise=1.0)
QUALITY = 90
SENSOR_DIAGONAL_MM, FILM_DIAGONAL_MM = 7.70, math.hypot(36.0, 24.0)
RIM_M = 15.0  # ground beyond what level photos see
TAKE_OFF = (47.4210, 11.2530, 655.0)  # latitude and longitude in degrees, altitude in metres


@dataclass(frozen=True, kw_only=True)
class FlightConfig:
    """A survey in parallel strips, flown to and fro, the camera looking down."""

    seed: int = 7
    photos: int = 40  #: shared evenly between the strips
    strips: int = 5  #: side by side in the east, flown north and south by turns
    height_m: float = 40.0  #: above the mean ground, the same for all photos
    forward_overlap: float = 0.7  #: 0 to below 1, of neighbours in a strip
    side_overlap: float = 0.6  #: 0 to below 1, of neighbouring strips
    attitude_deg: float = 2.0  #: spread of heading, pitch and roll
    drift_m: float = 0.5  #: spread of the places around the planned ones
    gps_m: float = 0.8  #: spread of the receiver's error in each axis

    def __post_init__(self) -> None:
        if not 1 <= self.strips <= self.photos:
            raise ConfigError(
                f"flight: {self.photos} photos in {self.strips} strips, expected 1 or more in each"
            )
        for name in ("forward_overlap", "side_overlap"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"flight: {name} is {getattr(self, name)}, expected 0 to below 1")
        if self.height_m <= 0:
            raise ConfigError(f"flight: height_m is {self.height_m}, expected above 0 metres")


def spacing_m(flight: FlightConfig, camera: Camera) -> tuple[float, float]:
    """Distances of neighbouring strips and of neighbours in a strip."""
    side = camera.width / camera.fx * flight.height_m * (1 - flight.side_overlap)
    return side, camera.height / camera.fy * flight.height_m * (1 - flight.forward_overlap)


def ground_size_m(flight: FlightConfig, camera: Camera) -> tuple[float, float]:
    """East-west and north-south size of the ground that a flight sees."""
    side, forward = spacing_m(flight, camera)
    longest = math.ceil(flight.photos / flight.strips)
    wide, high = camera.width / camera.fx, camera.height / camera.fy
    return (
        side * (flight.strips - 1) + wide * flight.height_m + 2 * RIM_M,
        forward * (longest - 1) + high * flight.height_m + 2 * RIM_M,
    )


def survey_views(
    rng: Generator, flight: FlightConfig, camera: Camera, ground_m: float
) -> list[F64]:
    """cam_from_world of all photos in the order of the flight.

    ground_m: mean z of the ground, which the camera flies height_m above.
    """
    side, forward = spacing_m(flight, camera)
    views = []
    for strip, numbers in enumerate(np.array_split(np.arange(flight.photos), flight.strips)):
        north = strip % 2 == 0
        along = (np.arange(len(numbers)) - (len(numbers) - 1) / 2) * forward
        for y in along if north else along[::-1]:
            place = np.array([(strip - (flight.strips - 1) / 2) * side, y, 0.0])
            place += rng.normal(0, flight.drift_m, 3) + [0, 0, ground_m + flight.height_m]
            yaw, pitch, roll = np.radians(rng.normal(0, flight.attitude_deg, 3))
            views.append(look(place, yaw + (0 if north else np.pi), pitch - np.pi / 2, roll))
    return views


def write_survey(
    output: Path, fields: Fields, camera: Camera, flight: FlightConfig, progress: bool = False
) -> dict[str, F64]:
    """Render a flight into a folder; the measured places (3,) by photo, metres."""
    rng = np.random.default_rng([flight.seed, 2])
    views = survey_views(rng, flight, camera, float(fields.height_m.mean()))
    poses = {f"survey_{index:04d}.jpg": view for index, view in enumerate(views)}
    (output / "images").mkdir(parents=True, exist_ok=True)
    measured = {}
    bar = open_bar(len(poses), "rendering", "photo", shown=progress)
    for name, pose in poses.items():
        picture = apply_effects(fields.picture(camera, pose), EFFECTS, rng)
        measured[name] = camera_centre(pose) + rng.normal(0, flight.gps_m, 3)
        exif = drone_exif(camera, measured[name])
        write_jpeg(output / "images" / name, picture, QUALITY, exif)
        bar.update()
    bar.close()
    images = [ColmapImage(name=n, camera_id=1, cam_from_world=p) for n, p in poses.items()]
    reference = ColmapModel(cameras={1: camera}, images=images, points={})
    write_model_text(output / "reference", reference)
    return measured


def drone_exif(camera: Camera, enu_m: F64) -> bytes:
    """The EXIF of a photo taken at a place (3,), metres from the take-off."""
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    try:
        from pymap3d import enu2geodetic
    except ImportError:
        raise missing_package("pymap3d", "writing GPS", "export") from None
    latitude, longitude, altitude = enu2geodetic(*enu_m, *TAKE_OFF)
    share = camera.fx / math.hypot(camera.width, camera.height)  # focal length per diagonal
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "edge_reloc", "made fields"  # Make, Model
    details = exif.get_ifd(0x8769)
    details[0x920A] = IFDRational(round(share * SENSOR_DIAGONAL_MM * 1000), 1000)  # FocalLength
    details[0xA405] = round(share * FILM_DIAGONAL_MM)  # FocalLengthIn35mmFilm
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N" if latitude >= 0 else "S", _sexagesimal(abs(latitude))
    gps[3], gps[4] = "E" if longitude >= 0 else "W", _sexagesimal(abs(longitude))
    gps[5] = b"\0" if altitude >= 0 else b"\1"  # above or below sea level
    gps[6] = IFDRational(round(abs(altitude) * 1000), 1000)
    return bytes(exif.tobytes())


def _sexagesimal(angle_deg: float) -> tuple[Any, ...]:
    """Degrees, minutes and seconds, the seconds to 1e-5 (0.3 mm)."""
    from PIL.TiffImagePlugin import IFDRational

    rest = round(angle_deg * 3600 * 100_000)
    degrees, rest = divmod(rest, 3600 * 100_000)
    minutes, rest = divmod(rest, 60 * 100_000)
    return IFDRational(degrees, 1), IFDRational(minutes, 1), IFDRational(rest, 100_000)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Render a survey flight over fields, for trying the mapping of drones' photos."""
    flight, ground = FlightConfig(), FieldsConfig()
    parser = argparse.ArgumentParser(
        prog="python -m edge_reloc_export.worlds.write_fields", description=main.__doc__
    )

    def add(option: str, default: float, what: str) -> None:
        kind = type(default)
        parser.add_argument(option, type=kind, default=default, help=f"{what} (default {default})")

    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    add("--seed", flight.seed, "another seed, other fields")
    add("--photos", flight.photos, "photos of the flight")
    add("--strips", flight.strips, "strips, flown in opposite headings")
    add("--height", flight.height_m, "height above the ground, m")
    add("--forward", flight.forward_overlap, "overlap along a strip, 0 to 1")
    add("--side", flight.side_overlap, "overlap of neighbouring strips, 0 to 1")
    add("--gps", flight.gps_m, "spread of the GPS error, m")
    add("--relief", ground.relief_m, "highest above lowest ground, m; 0 is a plane")
    add("--parcel", ground.parcel_m, "size of a field with the same crop, m")
    add("--variety", ground.variety, "how far the crop's rows differ, 0 to 1")
    add("--trees", ground.trees_per_ha, "trees per hectare; 0: no paths and barns either")
    add("--texel-mm", ground.texel_m * 1000, "size of a texel, mm")
    args = parser.parse_args(argv)
    flight = FlightConfig(
        seed=args.seed, photos=args.photos, strips=args.strips, height_m=args.height,
        forward_overlap=args.forward, side_overlap=args.side, gps_m=args.gps,
    )  # fmt: skip
    ground = FieldsConfig(
        seed=args.seed, size_m=ground_size_m(flight, CAMERA), texel_m=args.texel_mm / 1000,
        relief_m=args.relief, parcel_m=args.parcel, variety=args.variety, trees_per_ha=args.trees,
    )  # fmt: skip
    measured = write_survey(args.output, make_fields(ground), CAMERA, flight, progress=True)
    origin = dict(zip(("latitude_deg", "longitude_deg", "altitude_m"), TAKE_OFF, strict=True))
    truth = {
        "camera": CAMERA.to_dict(), "take_off": origin,
        "flight": asdict(flight), "ground": asdict(ground),
        "gps_m": {name: [round(float(v), 3) for v in place] for name, place in measured.items()},
    }  # fmt: skip
    write_atomic(args.output / "truth.json", json.dumps(truth, indent=1) + "\n")
    return OK


if __name__ == "__main__":
    raise SystemExit(main())
