"""What runs the networks and the matching of a map on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle.layout import ENGINES
from ..bundle.reader import MapBundle
from ..cuda.bindings import open_cuda
from ..cuda.driver import CudaError, DeviceInfo
from ..cuda.gpu import Gpu
from ..cuda.planned import ORIN, PlannedGpu
from ..cuda.probe import find_gpu
from ..settings import CommonSettings
from .engine_key import SIDECAR_SUFFIX


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """Who does the two heavy parts of a frame."""

    #: "onnxruntime" or "tensorrt".
    engine: str
    #: "cpu" or "cuda".
    matcher: str

    @property
    def uses_gpu(self) -> bool:
        """Whether anything of it runs on a GPU."""
        return self.engine == "tensorrt" or self.matcher == "cuda"


def choose_acceleration(bundle: MapBundle, settings: CommonSettings) -> Acceleration:
    """What the settings name, or else what the machine was prepared for.

    TensorRT where the map has engines and there is a GPU, ONNX Runtime elsewhere; matching
    on the GPU where the networks run there. "auto" is TensorRT: whoever opens it falls back.
    """
    engine = settings.engine
    if engine is None:
        prepared = any((bundle.directory / ENGINES).glob(f"*{SIDECAR_SUFFIX}"))
        engine = "tensorrt" if prepared and find_gpu() is not None else "onnxruntime"
    elif engine == "auto":
        engine = "tensorrt"
    matcher = settings.matcher or ("cuda" if engine == "tensorrt" else "cpu")
    return Acceleration(engine=engine, matcher=matcher)


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
