"""Kernels are compiled for the GPUs of the field, kept, and refused in one line."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from edge_reloc.cuda import kernels
from edge_reloc.cuda.driver import CudaError
from edge_reloc.cuda.kernels import SOURCES, find_compiler, kernel_image
from edge_reloc.cuda.resident import row_bytes

TARGETS = ("sm_87", "sm_90", "sm_110")  # Orin; H100 and H200; Thor
DEFINES = {"ROW_BYTES": 128, "INT8": 0, "WARPS": 4, "TILES": 2, "COLUMNS": 64}


@pytest.fixture
def nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_RELOC_CACHE", str(tmp_path / "cache"))
    try:
        return find_compiler()
    except CudaError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("source", "defines", "kernels_in_it"),
    [("nearest.cu", DEFINES, 3), ("nearest.cu", {**DEFINES, "INT8": 1}, 3), ("image.cu", {}, 2)],
)
def test_every_kernel_compiles_without_spilling(
    nvcc: Path, target: str, source: str, defines: dict[str, int], kernels_in_it: int
) -> None:
    options = [f"-D{name}={value}" for name, value in defines.items()]
    command = [str(nvcc), "-cubin", "-O3", "-std=c++17", f"-arch={target}", "-Xptxas", "-v"]
    command += [*options, f"-I{SOURCES}", str(SOURCES / source), "-o", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    assert len(spills) == kernels_in_it and set(spills) == {("0", "0")}


def test_machine_code_is_made_once(
    nvcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = kernel_image("nearest.cu", DEFINES, "sm_87")
    assert image[:4] == b"\x7fELF"
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".cubin"]
    monkeypatch.setattr(kernels, "_compile", None)  # would raise when called
    assert kernel_image("nearest.cu", DEFINES, "sm_87") == image
    with pytest.raises(TypeError):  # another definition is another kernel
        kernel_image("nearest.cu", {**DEFINES, "INT8": 1}, "sm_87")


def test_a_place_that_cannot_be_written_costs_only_time(
    nvcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGE_RELOC_CACHE", str(tmp_path / "file"))
    assert kernel_image("nearest.cu", DEFINES, "sm_87")[:4] == b"\x7fELF"


def test_a_source_that_is_refused_is_one_line(nvcc: Path) -> None:
    with pytest.raises(CudaError, match=r"^CUDA: compile nearest.cu: .*error") as error:
        kernel_image("nearest.cu", {**DEFINES, "TILES": 0}, "sm_87")
    assert "\n" not in str(error.value)


def test_a_missing_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_RELOC_NVCC", "/nowhere/nvcc")
    with pytest.raises(CudaError, match="no compiler at /nowhere/nvcc; install the CUDA toolkit"):
        find_compiler()


@pytest.mark.parametrize(
    ("dim", "itemsize", "expected"),
    [(64, 2, 128), (48, 2, 128), (32, 1, 32), (16, 1, 32), (256, 2, 512)],
)
def test_rows_are_padded_to_powers_of_two(dim: int, itemsize: int, expected: int) -> None:
    assert row_bytes(dim, itemsize) == expected
