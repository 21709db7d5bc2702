"""A sink of your own: anything that writes estimates and can be closed. Positions as CSV."""

from contextlib import closing
from pathlib import Path

import edge_reloc
from edge_reloc.running.loop import run
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.sinks.opening import SINKS


class CsvSink:
    """One localised frame a line: time in seconds, position of the camera in the map."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")
        self.file.write("t_s,x,y,z\n")

    def write(self, estimate: edge_reloc.PoseEstimate) -> None:
        if estimate.cam_from_world is not None:  # there is no pose to write, never a guess
            pose = estimate.cam_from_world
            xyz = -pose[:3, :3].T @ pose[:3, 3]
            self.file.write(f"{estimate.t_ns * 1e-9:.6f},{xyz[0]:.4f},{xyz[1]:.4f},{xyz[2]:.4f}\n")

    def close(self) -> None:
        self.file.close()


SINKS[".csv"] = CsvSink  # `open_sink` and the programs' loop know it by its suffix
demo = Path(edge_reloc.__file__).parent / "demo"
with (
    edge_reloc.open(demo / "map", in_flight=2) as localizer,
    closing(edge_reloc.open_source(demo / "frames", localizer.camera)) as source,
    closing(edge_reloc.open_sink("positions.csv")) as csv,
    closing(edge_reloc.open_sink("poses.tum")) as tum,
):
    run(localizer, source, statistics := RunStatistics(), sinks=[csv, tum], limit=10)
print(statistics.frames, "frames in positions.csv and poses.tum")
