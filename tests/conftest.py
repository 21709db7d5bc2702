"""Fixtures shared by all tests."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Every core has a worker: more threads, here and in programs, only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

#: begun first, longest first, so that no worker is left alone with one at the end
LONGEST = (
    "scenarios/test_scene_coordinate_program.py",
    "unit/test_engines.py",
    "scenarios/test_export_program.py",
    "scenarios/test_trainings_know_their_map.py",
    "scenarios/test_documented_commands.py",
    "scenarios/test_demo_place.py",
    "unit/test_waymark.py",
    "scenarios/test_nothing_gets_lost.py",
    "unit/test_style.py",
    "scenarios/test_examples.py",
    "unit/test_gpu_stand_in.py",
    "scenarios/test_landmark_program.py",
    "scenarios/test_profile_program.py",
    "unit/test_mapping_photos.py",
    "unit/test_training.py",
    "scenarios/test_left_out.py",
    "scenarios/test_phone_photos.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    gone = [path for path in order if not path.is_file()]
    assert not gone, f"LONGEST names files that are gone: {gone}"
    items.sort(key=lambda item: order.get(item.path, len(order)))


def _shared(folder: str) -> Path:
    base = Path(os.environ.get("EDGE_RELOC_DATA", ROOT.parent / "shared"))
    path = base / folder
    if not path.is_dir():
        pytest.skip(f"developers' photo collection not found at {path} (set EDGE_RELOC_DATA)")
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of scenes with photos and reference poses, or skip."""
    return _shared("data")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Folder of pretrained local features, or skip."""
    return _shared("weights")


@pytest.fixture(scope="session")
def demo16(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's map with float16 networks beside the float32 ones, or skip.

    Made by whichever worker needs it first, for all of them: nobody may write into it.
    """
    pytest.importorskip("onnx")
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # one of several workers, whose folders lie in it
        folder = folder.parent
    output = folder / "demo16"
    with (folder / "demo16.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.is_dir():  # a map is there as a whole or not at all
            from edge_reloc_export import export_onnx as to_float16

            assert to_float16.main(["--demo", "--count", "1", "--output", str(output)]) == 0
    return output
