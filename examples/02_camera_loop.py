"""Poses of a camera until Ctrl-C. python examples/02_camera_loop.py [SOURCE [MAP CAMERA.json]]

SOURCE: v4l2:///dev/video0, rtsp://..., a video, a folder; the demo's frames unless given.
"""

import sys
from contextlib import closing
from pathlib import Path

import edge_reloc

demo = Path(edge_reloc.__file__).parent / "demo"
given = [*sys.argv[1:], *(demo / "frames", demo / "map", demo / "camera.json")[len(sys.argv) - 1 :]]
uri, map, camera = given

with (
    edge_reloc.open(map, camera, tracking=True) as localizer,
    closing(edge_reloc.open_source(uri, localizer.camera)) as source,
    closing(edge_reloc.open_sink("poses.jsonl")) as sink,
):
    try:
        for frame in source:  # a live source gives its newest frame, and drops those before
            result = localizer.localize(frame)
            sink.write(result.estimate)
            ms = sum(result.estimate.stages_ms.values())
            print(frame.index, result.status.value, f"{result.inliers} inliers, {ms:.0f} ms")
    except KeyboardInterrupt:
        print("ended; every line of poses.jsonl is whole")
