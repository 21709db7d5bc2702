"""The one place that chooses how a map's local features are found."""

from __future__ import annotations

from collections.abc import Callable

from ..cuda.gpu import Gpu
from ..errors import BundleError
from ..geometry.camera import Camera
from ..inference.engine import Engine
from ..inference.signature import check_signature
from ..stages import Extractor
from .image_fit_cuda import FitOnGpu
from .network import DESCRIPTORS, IMAGE, SCORES, XY, NetworkExtractor
from .sift import SiftExtractor
from .spec import SIFT, SIFT_DIM, XYZ_WORLD, FeatureSpec, NetworkSpec


def open_extractor(
    spec: FeatureSpec,
    camera: Camera,
    open_network: Callable[[str], Engine],
    gpu: Gpu | None = None,
) -> Extractor:
    """The extractor of a spec for frames of one camera.

    open_network: file name in `spec.networks` -> its engine. Of several input sizes the
    one is taken that shrinks the camera's images least; BundleError without any. gpu:
    prepares images for a network that runs there.
    """
    if spec.kind == SIFT:
        if spec.dim != SIFT_DIM:
            raise BundleError(
                f"features: descriptors of '{SIFT}' have {spec.dim} numbers, expected {SIFT_DIM}; "
                f"map the place again"
            )
        return SiftExtractor(spec, camera.width, camera.height)
    if not spec.networks:
        raise BundleError(f"features: '{spec.kind}' names no network")
    network = max(spec.networks, key=lambda n: _fit(n, camera))
    engine = open_network(network.file)
    _check(engine, network)
    address = engine.address(IMAGE)
    if gpu is None or address == 0:
        return NetworkExtractor(spec, engine)
    engine.written_on_gpu(IMAGE)
    largest = 3 * camera.width * camera.height
    fitter = FitOnGpu(gpu, address, network.width, network.height, largest)
    return NetworkExtractor(spec, engine, fitter)


def _check(engine: Engine, network: NetworkSpec) -> None:
    """That the network is one of features, for images of the size that the map says."""
    said, dim = (XYZ_WORLD, 3) if XYZ_WORLD in engine.outputs else (DESCRIPTORS, None)
    rows = len(engine.outputs[SCORES]) if engine.outputs.get(SCORES) is not None else None
    check_signature(
        engine,
        f"feature network '{network.file}'",
        inputs={IMAGE: (1, 1, network.height, network.width)},
        outputs={SCORES: (rows,), XY: (rows, 2), said: (rows, dim)},
    )


def _fit(network: NetworkSpec, camera: Camera) -> tuple[float, int]:
    scale = min(network.width / camera.width, network.height / camera.height)
    return min(scale, 1.0), -network.width * network.height
