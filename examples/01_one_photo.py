"""Where was this photo taken? python examples/01_one_photo.py [MAP PHOTO CAMERA.json]"""

import sys
from pathlib import Path

import edge_reloc

demo = Path(edge_reloc.__file__).parent / "demo"
map, photo, camera = sys.argv[1:] or (demo / "map", demo / "frames/frame_000.jpg", None)

with edge_reloc.open(map, camera) as localizer:  # no camera: the one that made the map
    result = localizer.localize(photo)
if result.cam_from_world is None:
    print(result.status.value, result.reason)
else:
    rotation, translation = result.cam_from_world[:3, :3], result.cam_from_world[:3, 3]
    print("camera at", -rotation.T @ translation, "with", result.inliers, "inliers")
