"""Kernels: their sources lie in `kernels/`, compiled once for each kind of GPU and kept."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import DiskError
from ..files import cache_folder, write_atomic
from .driver import CudaError

SOURCES = Path(__file__).parent / "kernels"
NVCC_OPTIONS = ("-cubin", "-O3", "-std=c++17")


def kernel_image(source: str, defines: Mapping[str, int], target: str) -> bytes:
    """The machine code of a source for a target, such as "nearest.cu" for "sm_87".

    From the cache when source, definitions and compiler are those of an earlier time.
    Raises CudaError in one line when there is no compiler or it refuses the source.
    """
    compiler = find_compiler()
    options = [*NVCC_OPTIONS, f"-arch={target}", *(f"-D{k}={v}" for k, v in defines.items())]
    kept = cache_folder() / f"{Path(source).stem}.{target}.{_digest(compiler, options)}.cubin"
    if kept.is_file():
        return kept.read_bytes()
    image = _compile(compiler, options, source)
    with contextlib.suppress(OSError, DiskError):  # no place to keep it: compiled again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, image)
    return image


def find_compiler() -> Path:
    """nvcc: of EDGE_RELOC_NVCC, on the path, or in CUDA's usual place."""
    named = os.environ.get("EDGE_RELOC_NVCC") or shutil.which("nvcc")
    compiler = Path(named or "/usr/local/cuda/bin/nvcc")
    if not compiler.is_file():
        raise CudaError(
            f"CUDA: compile kernels: no compiler at {compiler}; install the CUDA toolkit (JetPack: "
            f"sudo apt install cuda-nvcc-12-6), or name it with EDGE_RELOC_NVCC=/path/to/nvcc"
        )
    return compiler


def _compile(compiler: Path, options: list[str], source: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edge_reloc_") as folder:
        out = Path(folder) / "kernels.cubin"
        command = [str(compiler), *options, f"-I{SOURCES}", str(SOURCES / source), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not out.is_file():
            text = (done.stderr + done.stdout).strip().splitlines() or ["no reason given"]
            reason = next((line for line in text if "error" in line or "fatal" in line), text[0])
            raise CudaError(f"CUDA: compile {source}: {reason.strip()}")
        return out.read_bytes()


def _digest(compiler: Path, options: list[str]) -> str:
    """Of all that decides the machine code; any change of a source counts."""
    known = compiler.resolve().stat()
    digest = hashlib.sha256(repr((str(compiler), known.st_size, known.st_mtime_ns)).encode())
    digest.update(repr(options).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
