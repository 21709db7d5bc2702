"""A map of photos whose poses you have: python examples/05_map_from_python.py [OUTPUT]

Here every fifth frame of the demo with its exact pose.
"""

import sys
from pathlib import Path

import edge_reloc
from edge_reloc.geometry.camera import read_camera
from edge_reloc.reference.truth import read_truth
from edge_reloc_export.packing.pack import pack_map
from edge_reloc_export.photos.feature_network import feature_settings
from edge_reloc_export.photos.features import FeatureStore
from edge_reloc_export.scene.clean import CleanOptions, clean
from edge_reloc_export.scene.posed import empty_view, map_posed
from edge_reloc_export.scene.triangulate import TriangulationOptions

demo = Path(edge_reloc.__file__).parent / "demo"
output = Path(*sys.argv[1:]) if sys.argv[1:] else Path("yard")
work = output.with_name(output.name + ".work")  # training needs it, the device does not

camera, cam_from_world = read_camera(demo / "camera.json"), read_truth(demo / "truth")
names = [f"frame_{number:03d}.jpg" for number in range(0, 80, 5)]
work.mkdir(parents=True, exist_ok=True)
kind = "sift"  # "waymark": better, and half a minute to export its network for this size
spec = feature_settings(kind, None, 1500, [(camera.width, camera.height)], work)
store = FeatureStore(work, spec, images=demo / "frames")
store.prepare(names)

views = [empty_view(name, camera, cam_from_world[name], turns=0) for name in names]
model = clean(map_posed(views, store, TriangulationOptions()), CleanOptions())
model.metric = True  # the poses are in metres
store.save()
pack_map(model, store, spec, output, name=output.name)

with edge_reloc.open(output) as localizer:
    result = localizer.localize(demo / "frames/frame_007.jpg")
print(f"{output}: {len(model.xyz)} points; a frame between two photos: {result.status.value}")
