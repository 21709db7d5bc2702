"""Builds the driver that stands in for a GPU, and kernels that it can run."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from edge_reloc.cuda.kernels import SOURCES

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
OPTIONS = (
    "-O2",
    "-march=native",  # converts float16 in one instruction
    "-ffp-contract=off",  # and still rounds every product
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-dangling-pointer",
)


def build_driver(folder: Path) -> Path:
    """libcuda.so.1 in `folder`."""
    path = folder / "libcuda.so.1"
    rest = folder / "not_supported.cpp"
    source = (HERE / "driver.cpp").read_text()
    names = [name for name in _asked_by_pycuda() if f"API {name}(" not in source]
    rest.write_text("".join(f'extern "C" int {name}() {{ return 801; }}\n' for name in names))
    _compile([str(HERE / "driver.cpp"), str(rest), "-Wl,-soname,libcuda.so.1", "-ldl"], path)
    return path


def _asked_by_pycuda() -> list[str]:
    """Functions that must be there, whatever they do, for pycuda to be imported."""
    if importlib.util.find_spec("pycuda") is None:
        return []
    (module,) = importlib.util.find_spec("pycuda").submodule_search_locations
    text = ""
    for library in Path(module).glob("_driver*.so"):
        done = subprocess.run(["nm", "-D", "-u", str(library)], capture_output=True, text=True)
        text += done.stdout
    return re.findall(r"\bU (cu[A-Z]\w+)", text)


class KernelsOnCpu:
    """Stands in for `kernel_image`: the same sources, compiled for the processor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, source: str, defines: Mapping[str, int], target: str) -> bytes:
        """What the stand-in driver takes for machine code: the path of a library."""
        text = (SOURCES / source).read_text()
        names = re.findall(r"__global__ void\s+(?:__launch_bounds__\(\w+\)\s+)?(\w+)\(", text)
        assert names, source
        kernels = "".join(f"STAND_IN_KERNEL({name})\n" for name in names)
        wrapper = f'#include <kernel.h>\n#include "{SOURCES / source}"\n{kernels}'
        options = [f"-I{HERE}", *(f"-D{name}={value}" for name, value in defines.items())]
        every = wrapper + text + repr(options)
        for header in sorted(HERE.glob("*.*h")):
            every += header.read_text()
        path = self._folder / f"{hashlib.sha256(every.encode()).hexdigest()[:16]}.so"
        if not path.is_file():
            file = path.with_suffix(".cpp")
            file.write_text(wrapper)
            _compile([*options, str(file)], path)
        return f"stand-in:{path}\0".encode()


def _compile(arguments: list[str], path: Path) -> None:
    assert COMPILER is not None
    subprocess.run([COMPILER, *OPTIONS, *arguments, "-o", str(path)], check=True)
