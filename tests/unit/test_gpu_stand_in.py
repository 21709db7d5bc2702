"""The tests of the GPU, over a driver that stands in for one where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_everything_over_the_driver_works_without_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-python is not installed")
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler (g++) to build the stand-in driver with")
    sys.path.insert(0, str(ROOT / "tests" / "gpu"))
    from stand_in.build import build_driver

    build_driver(tmp_path)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{tmp_path}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "EDGE_RELOC_STAND_IN": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-x", "-p", "no:cacheprovider", "tests/gpu"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
