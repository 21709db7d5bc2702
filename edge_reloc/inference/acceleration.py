"""What runs the networks and the matching of a map on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..bundle.layout import ENGINES
from ..bundle.reader import MapBundle
from ..cuda.bindings import open_cuda
from ..cuda.driver import CudaError, DeviceInfo
from ..cuda.gpu import Gpu
from ..cuda.planned import ORIN, PlannedGpu
from ..cuda.probe import find_gpu
from ..errors import EngineError
from ..settings import CommonSettings
from .engine_key import SIDECAR_SUFFIX, read_sidecar
from .engine_origin import built_here


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """Who does the two heavy parts of a frame."""

    #: "onnxruntime" or "tensorrt".
    engine: str
    #: "cpu" or "cuda".
    matcher: str
    #: why engines that lie beside the map are left alone, None where they are not
    note: str | None = None

    @property
    def uses_gpu(self) -> bool:
        """Whether anything of it runs on a GPU."""
        return self.engine == "tensorrt" or self.matcher == "cuda"


def choose_acceleration(bundle: MapBundle, settings: CommonSettings) -> Acceleration:
    """What the settings name, or else what the machine was prepared for.

    TensorRT where the map has engines that were built here and there is a GPU, ONNX Runtime
    elsewhere; matching on the GPU where the networks run there. "auto" is TensorRT: whoever
    opens it falls back.
    """
    engine, note = settings.engine, None
    if engine is None:
        sidecars = sorted((bundle.directory / ENGINES).glob(f"*{SIDECAR_SUFFIX}"))
        engine = "onnxruntime"
        if sidecars and find_gpu() is not None:
            if settings.trust_engines or any(_built_here(path) for path in sidecars):
                engine = "tensorrt"
            else:
                note = (
                    f"{bundle.directory / ENGINES}: holds no engine that was built on this "
                    f"machine, networks run in ONNX Runtime; build them with 'edge-reloc export "
                    f"engine --map {bundle.directory}'"
                )
    elif engine == "auto":
        engine = "tensorrt"
    matcher = settings.matcher or ("cuda" if engine == "tensorrt" else "cpu")
    return Acceleration(engine=engine, matcher=matcher, note=note)


def _built_here(sidecar: Path) -> bool:
    """Whether a side-car can be read and was written here."""
    try:
        return built_here(read_sidecar(sidecar))
    except EngineError:
        return False


def open_gpu() -> Gpu:
    """The GPU of this machine. Raises CudaError or MissingPackageError."""
    if find_gpu() is None:
        raise CudaError(
            "no CUDA device on this machine, or no NVIDIA driver (libcuda.so.1); leave out "
            "--engine tensorrt and --matcher cuda, or let --engine auto decide"
        )
    return Gpu(open_cuda())


def planned_gpu() -> PlannedGpu:
    """A GPU that only counts, of the device that is planned for."""
    return PlannedGpu(planned_device())


def planned_device() -> DeviceInfo:
    """The GPU of this machine, or an Orin where there is none."""
    return find_gpu() or ORIN
