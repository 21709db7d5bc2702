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
