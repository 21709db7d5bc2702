"""Localise every photo of a folder and print where the camera was.

python examples/01_localize_photos.py MAP PHOTOS CAMERA.json
Without arguments: the map and frames that ship with the package.
"""

import sys
from pathlib import Path

import edge_reloc
from edge_reloc.bundle import open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.localizer import Localizer
from edge_reloc.sources import open_source

demo = Path(edge_reloc.__file__).parent / "demo"
if len(sys.argv) == 4:
    map_folder, photos, camera_file = (Path(argument) for argument in sys.argv[1:])
else:
    map_folder, photos, camera_file = demo / "map", demo / "frames", demo / "camera.json"

localizer = Localizer.open(open_bundle(map_folder), read_camera(camera_file))
for frame in open_source(str(photos), localizer.camera):
    estimate = localizer.localize(frame)
    if estimate.cam_from_world is None:
        print(frame.name, estimate.status.value, estimate.reason)
    else:
        x, y, z = camera_centre(estimate.cam_from_world)
        print(f"{frame.name} x {x:.3f} y {y:.3f} z {z:.3f}, {estimate.inliers} inliers")
    if frame.index == 9:
        break
localizer.close()
