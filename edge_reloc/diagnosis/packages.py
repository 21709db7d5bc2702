"""Python packages: what localisation needs, and what makes it faster."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .check import Check, missing, note, ok
from .system import Jetson

# Import name to the names of distributions that bring it.
DISTRIBUTIONS = {
    "numpy": ("numpy",),
    "pykdtree": ("pykdtree",),
    "threadpoolctl": ("threadpoolctl",),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt_rtx"),
    "pycuda": ("pycuda",),
    "cuda.bindings": ("cuda-bindings",),
}

Find = Callable[[str], "str | None"]


def find_package(name: str) -> str | None:
    """Version of a package, "" when unknown, None when it is not there.

    It is not imported: a package whose driver is broken may end the process.
    """
    try:
        if importlib.util.find_spec(name) is None:
            return None
    except (ImportError, ValueError):
        return None
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def opencv_build() -> str | None:
    """How OpenCV says it was built, None when it cannot be imported.

    Asked in a process of its own, with a limit: that import may hang or crash.
    """
    code = "import cv2; print(cv2.__version__); print(cv2.getBuildInformation())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def check_packages(
    root: Path, jetson: Jetson | None, find: Find, build: Callable[[], str | None]
) -> list[Check]:
    """numpy, pykdtree, threadpoolctl, OpenCV, and an inference engine."""
    checks = []
    for name in ("numpy", "pykdtree", "threadpoolctl"):
        version = find(name)
        if version is None:
            checks.append(missing(name, "not installed", "pip install edge-reloc"))
        else:
            checks.append(ok(name, version))
    checks.append(_opencv(root, jetson, find, build))
    tensorrt = _tensorrt(root, jetson, find)
    onnxruntime = find("onnxruntime")
    if onnxruntime is not None:
        checks.append(ok("ONNX Runtime", f"{onnxruntime}, on the CPU"))
    else:
        # Also beside TensorRT: planning and --engine auto need one that always works.
        cure = "pip install onnxruntime" if jetson else "pip install 'edge-reloc[cpu]'"
        checks.append(missing("ONNX Runtime", "not installed", cure))
    return [*checks, *tensorrt]


def _opencv(
    root: Path, jetson: Jetson | None, find: Find, build: Callable[[], str | None]
) -> Check:
    if find("cv2") is None:
        if jetson and list(root.glob("usr/lib/python3*/dist-packages/cv2*")):
            return missing(
                "OpenCV", "JetPack's is hidden from this virtual environment", _system_site()
            )
        return missing("OpenCV", "not installed", "pip install 'edge-reloc[cpu]'")
    text = build()
    if text is None:
        numpy = find("numpy") or ""
        if not find("cv2") and numpy and int(numpy.split(".")[0]) > 1:
            found = f"the system's does not load beside numpy {numpy}: it is built for numpy 1"
            return missing("OpenCV", found, "pip install 'numpy<2'")
        return missing(
            "OpenCV", "installed, but importing it fails", "python -c 'import cv2' says why"
        )
    version = text.split("\n", 1)[0].strip()
    if re.search(r"GStreamer:\s*YES", text):
        return ok("OpenCV", f"{version}, with GStreamer")
    found = f"{version}, without GStreamer: no CSI cameras and hardware decoders"
    if jetson is None:
        return ok("OpenCV", f"{version}, without GStreamer")
    return note(
        "OpenCV", found, f"pip uninstall opencv-python opencv-python-headless; {_system_site()}"
    )


def _tensorrt(root: Path, jetson: Jetson | None, find: Find) -> list[Check]:
    checks = []
    version = find("tensorrt")
    if version is not None:
        checks.append(ok("TensorRT", version or "version unknown"))
    elif list(root.glob("usr/lib/python3*/dist-packages/tensorrt")):
        checks.append(
            note("TensorRT", "the system's is hidden from this virtual environment", _system_site())
        )
    elif jetson is not None:
        checks.append(note("TensorRT", "not installed", "sudo apt install nvidia-jetpack"))
    else:
        checks.append(note("TensorRT", "not installed: engines are built where it is"))
    rtx = find("tensorrt_rtx")
    if rtx is not None:
        checks.append(ok("TensorRT-RTX", f"{rtx}: builds engines ahead of time"))
    pycuda, cuda_python = find("pycuda"), find("cuda.bindings")
    if pycuda is not None:
        checks.append(ok("pycuda", pycuda or "version unknown"))
    if cuda_python is not None:
        checks.append(ok("cuda-python", cuda_python or "version unknown"))
    if jetson is not None and pycuda is None and cuda_python is None:
        checks.append(
            note("pycuda", "neither it nor cuda-python is installed", "docs/jetson.md, 'CUDA'")
        )
    return checks


def _system_site() -> str:
    return "make it again with 'python3 -m venv --system-site-packages .venv'"
