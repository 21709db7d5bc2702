"""A mapped corner, made once for all scenarios, and programs as users start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from plane_world import PlaneWorld, make_plane_world

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def corner(tmp_path_factory: pytest.TempPathFactory) -> PlaneWorld:
    """Bundle, frames and camera file of the synthetic corner."""
    return make_plane_world(tmp_path_factory.mktemp("corner"))


@pytest.fixture
def edge_reloc(tmp_path: Path) -> Program:
    """Runs `python -m edge_reloc ...` in an empty folder."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge_reloc", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=600,
            # One warning of numpy or OpenCV on stderr would fail the tests of
            # error lines, and should: users would read it too.
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )

    return call
