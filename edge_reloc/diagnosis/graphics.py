"""The graphics driver and CUDA, as files tell of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .check import Check, note, ok
from .kernel_files import read_text
from .system import Jetson


def check_gpu(root: Path, jetson: Jetson | None) -> list[Check]:
    """Driver and CUDA toolkit; one note where there is no NVIDIA GPU."""
    driver = read_text(root, "proc/driver/nvidia/version")
    match = re.search(r"Kernel Module.*?(\d+\.\d[\d.]*)", driver or "")
    if jetson is None and driver is None:
        return [note("GPU", "no NVIDIA driver: networks run on the CPU")]
    checks = []
    if match is not None:
        checks.append(ok("driver", f"NVIDIA {match[1]}"))
    elif driver is not None:
        checks.append(note("driver", "its version cannot be understood"))
    checks.append(_toolkit(root, jetson))
    return checks


def _toolkit(root: Path, jetson: Jetson | None) -> Check:
    text = read_text(root, "usr/local/cuda/version.json")
    try:
        version = str(json.loads(text or "")["cuda"]["version"])
        return ok("CUDA", f"{version}, in /usr/local/cuda")
    except (ValueError, KeyError, TypeError):
        pass
    header = read_text(root, "usr/local/cuda/include/cuda.h")
    number = re.search(r"#define CUDA_VERSION (\d+)", header or "")
    if number is not None:
        value = int(number[1])
        return ok("CUDA", f"{value // 1000}.{value % 1000 // 10}, in /usr/local/cuda")
    cure = "sudo apt install nvidia-jetpack" if jetson else ""
    return note("CUDA", "no toolkit in /usr/local/cuda (needed to install pycuda)", cure)
