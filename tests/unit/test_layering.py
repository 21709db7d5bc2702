"""The runtime never loads what only a workstation has."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "edge_reloc"

# Never on the device; `tensorrt` and `pycuda` are there, but only their own
# file may load them, and only when an engine is opened.
HEAVY = {
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "tensorrt",
    "tensorrt_rtx",
    "pycuda",
    "matplotlib",
    "pycolmap",
    "scipy",
    "transformers",
    "edge_reloc_export",
}
FORBIDDEN_ANYWHERE = {"torch", "edge_reloc_export", "edge_reloc_calib", "pycolmap", "scipy"}


def modules(folder: Path) -> list[str]:
    names = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    """Every module of the runtime, in one fresh process."""
    code = (
        "import importlib, sys\n"
        f"for name in {modules(RUNTIME)!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = {HEAVY!r} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {sorted(loaded)}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_program_parses_its_options_before_it_loads_opencv() -> None:
    """`--help` answers at once, also where OpenCV is missing."""
    code = (
        "import sys\n"
        "from edge_reloc import run, inspect, __main__\n"
        "assert 'cv2' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(RUNTIME.rglob("*.py")), ids=lambda p: p.name)
def test_no_file_of_the_runtime_names_the_toolchain(path: Path) -> None:
    """Also not inside a function, where no import test would see it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        for name in names:
            assert name.split(".")[0] not in FORBIDDEN_ANYWHERE, f"line {node.lineno}: {name}"


def test_the_toolchain_says_edge_reloc_export_nowhere_but_relative() -> None:
    """Inside export/ and calib/ imports are relative: the folder may be renamed."""
    for folder, name in (("export", "edge_reloc_export"), ("calib", "edge_reloc_calib")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    assert (node.module or "").split(".")[0] != name, f"{path}:{node.lineno}"
