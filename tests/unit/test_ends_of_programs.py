"""Packages that cannot be loaded end a program in one line; our own mistakes keep their trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_reloc.command_line.program import KNOWN_ERROR, program

LIBRARY = "libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize("module", ["edge_reloc", "edge_reloc.run"])
def test_opencv_that_cannot_be_loaded_is_one_line(module: str, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(f"raise ImportError({LIBRARY!r})\n")
    command = [sys.executable, "-m", module]
    command += ["run"] if module == "edge_reloc" else []
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--demo"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == KNOWN_ERROR
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and LIBRARY in line and "doctor" in line


def test_a_module_of_our_own_that_is_missing_keeps_its_trace() -> None:
    @program
    def main(argv: object = None) -> int:
        import edge_reloc.no_such_module  # noqa: F401  # type: ignore[import-not-found]

        return 0

    with pytest.raises(ModuleNotFoundError):
        main()
