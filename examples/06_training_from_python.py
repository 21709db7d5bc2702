"""Train what a map should answer: python examples/06_training_from_python.py [MAP]

MAP and MAP.work are what 'edge-reloc map' or example 05 made, which is run where there is none.
"""

import runpy
import sys
from pathlib import Path

import edge_reloc
from edge_reloc_export.training.visible_structure.session import VisibleStructureSession

map = Path(*sys.argv[1:]) if sys.argv[1:] else Path("yard")
if not map.exists():
    runpy.run_path(str(Path(__file__).with_name("05_map_from_python.py")))


def progress(step: int, steps: int, loss: float) -> None:
    if step % 500 == 1:
        print(f"step {step} of {steps}, loss {loss:.4f}")


session = VisibleStructureSession(map, map.with_name(map.name + ".work"))
trained = session.train_cells(progress)  # train_generative and other methods: export/training/
session.write()
print(f"{trained.candidates} of {session.points.n} points are matched with a frame")

demo = Path(edge_reloc.__file__).parent / "demo"
with edge_reloc.open(map, head="cells") as localizer:
    result = localizer.localize(demo / "frames/frame_007.jpg")
    print(result.status.value, "with", result.candidates.n, "candidates")
