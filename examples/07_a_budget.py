"""Host memory is planned before any is taken: refuse a budget, or lower limits to keep it."""

from pathlib import Path

import edge_reloc
from edge_reloc.bundle import open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.running.budget import MIB, libraries_bytes, plan_footprint

demo = Path(edge_reloc.__file__).parent / "demo"
camera = read_camera(demo / "camera.json")
settings = edge_reloc.Settings(match_block=4096)  # many candidates at once: fast, and large
plan = plan_footprint(open_bundle(demo / "map"), camera, settings)
print(plan.to_text())


def budget() -> int:
    """Of the whole process, 8 MiB too little."""
    return libraries_bytes() + plan.nbytes - 8 * MIB


try:
    edge_reloc.open(demo / "map", camera, settings=settings, budget_bytes=budget())
except edge_reloc.ConfigError as error:
    print("refused:", error)

with edge_reloc.open(
    demo / "map", camera, settings=settings, budget_bytes=budget(), fit=True
) as localizer:
    result = localizer.localize(demo / "frames/frame_000.jpg")
    print("fitted:", result.status.value, "with match_block", localizer.settings.match_block)
