"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
def demo16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's map with float16 networks beside the float32 ones, or skip."""
    pytest.importorskip("onnx")
    from edge_reloc_export import export_onnx as to_float16

    output = tmp_path_factory.mktemp("demo") / "demo16"
    assert to_float16.main(["--demo", "--count", "1", "--output", str(output)]) == 0
    return output
