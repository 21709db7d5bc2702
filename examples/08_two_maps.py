"""Which map knows this photo? python examples/08_two_maps.py [MAP MAP PHOTO CAMERA.json]

Both are open at once, each in its own memory. Without arguments: the demo by two methods.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

import edge_reloc

demo = Path(edge_reloc.__file__).parent / "demo"
first, second, photo, camera = sys.argv[1:] or (
    *(demo / "map", demo / "map", demo / "frames/frame_000.jpg", demo / "camera.json"),
)
methods = (None, None) if sys.argv[1:] else ("visible_structure", "scene_coordinates")

with ExitStack() as stack:
    localizers = [
        stack.enter_context(edge_reloc.open(map, camera, method=method))
        for map, method in zip((first, second), methods, strict=True)
    ]
    results = [localizer.localize(photo) for localizer in localizers]
    for localizer, result in zip(localizers, results, strict=True):
        found = f"{result.inliers} inliers" if result.ok else result.reason
        print(localizer.bundle.directory, localizer.settings.method, result.status.value, found)
    print(sum(result.ok for result in results), "of 2 maps know it")
