"""Build one engine: from an ONNX file to a plan and its side-car."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from edge_reloc.bundle.reader import hash_file
from edge_reloc.cuda.driver import DeviceInfo
from edge_reloc.errors import ConfigError, EngineError
from edge_reloc.files import write_atomic
from edge_reloc.inference.engine_key import (
    FORMAT,
    PLAN_SUFFIX,
    SIDECAR_SUFFIX,
    VERSION,
    EngineKey,
    EngineRecord,
    read_sidecar,
)
from edge_reloc.inference.engine_origin import make_secret, origin_of

from .flavour import Flavour
from .parse import Layer, list_layers, make_logger, parse_network

Progress = Callable[[str, int, int], None]  # phase, step, steps


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What a user may ask of TensorRT's builder."""

    workspace_bytes: int | None = None  #: scratch at most; None for TensorRT's own choice
    optimisation_level: int | None = None  #: 0 to 5, None for the default
    version_compatible: bool = False  #: runs with later versions of TensorRT too
    hardware_compatible: bool = False  #: runs on later GPUs too (slower)
    strip_weights: bool = False  #: the device reads the weights from the ONNX file
    timing_cache: Path | None = None  #: file that makes later builds faster

    def __post_init__(self) -> None:
        level = self.optimisation_level
        if level is not None and not 0 <= level <= 5:
            raise ConfigError(f"--optimisation-level is {level}, expected 0 to 5")

    def names(self) -> tuple[str, ...]:
        """What belongs to the key: everything but the cache."""
        values = asdict(self)
        del values["timing_cache"]
        return tuple(f"{key}={value}" for key, value in values.items() if value)


def engine_key(
    flavour: Flavour,
    onnx_file: Path,
    options: BuildOptions,
    *,
    target: str | None,
    gpu: DeviceInfo | None,
) -> EngineKey:
    """The key of an engine for a target ("sm86") built ahead of time, or for this GPU."""
    if not onnx_file.is_file():
        raise EngineError(f"{onnx_file}: no such network file")
    if target is not None:
        flavour.target(target)  # refuses what it does not know
        digits = target.removeprefix("sm")
        capability, name = f"{digits[:-1]}.{digits[-1]}", "any"
    elif gpu is not None:
        capability, name = gpu.compute_capability, gpu.name
    else:
        raise EngineError(
            "no GPU here to build engines for; build on the device, or ahead of time with "
            "--target sm86 (needs tensorrt_rtx)"
        )
    return EngineKey(
        onnx_sha256=hash_file(onnx_file),
        flavour=flavour.name,
        tensorrt_version=flavour.version,
        gpu=name,
        compute_capability=capability,
        options=options.names(),
    )


def build_engine(
    flavour: Flavour,
    onnx_file: Path,
    key: EngineKey,
    options: BuildOptions,
    folder: Path,
    progress: Progress,
) -> EngineRecord:
    """Build the engine of `key` and write plan and side-car into `folder`.

    The side-car is marked as written on this machine. Raises EngineError with TensorRT's own
    words, DiskError, and KeyboardInterrupt when Ctrl-C stopped it; then nothing has been written.
    """
    make_secret()  # before the long work: it may fail
    started = time.perf_counter()
    trt = flavour.module
    logger = make_logger(flavour)
    builder = trt.Builder(logger)
    network = parse_network(flavour, builder, logger, onnx_file)
    config = builder.create_builder_config()
    _configure(flavour, config, key, options)
    monitor = _Monitor.of(trt, progress)
    config.progress_monitor = monitor
    cache = _attach_timings(flavour, config, options.timing_cache)
    with _Interruptible(monitor):
        plan = builder.build_serialized_network(network, config)
    if monitor.stopped:
        raise KeyboardInterrupt
    if plan is None:
        reason = logger.errors[0].splitlines()[0] if logger.errors else "no reason given"
        raise EngineError(f"{onnx_file}: {flavour.name} cannot build it: {reason}")
    content = bytes(memoryview(plan))
    stem = folder / key.file_stem(onnx_file.stem)
    record = EngineRecord(
        key=key,
        network=onnx_file.name,
        plan_sha256=hashlib.sha256(content).hexdigest(),
        plan_nbytes=len(content),
        path=_with(stem, SIDECAR_SUFFIX),
    )
    values = {
        "format": FORMAT,
        "version": VERSION,
        "network": record.network,
        "key": asdict(key),
        "plan": {"sha256": record.plan_sha256, "nbytes": record.plan_nbytes},
        "origin": origin_of(record),
        "build_s": round(time.perf_counter() - started, 2),
        "layers": [asdict(layer) for layer in list_layers(network)],
        "inspector": _inspect(flavour, logger, content) if key.gpu != "any" else None,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"{folder}: cannot be made ({error.strerror})") from error
    write_atomic(_with(stem, PLAN_SUFFIX), content)
    write_atomic(record.path, json.dumps(values, indent=1) + "\n")
    if cache is not None and options.timing_cache is not None:
        write_atomic(options.timing_cache, bytes(memoryview(cache.serialize())))
    return read_sidecar(record.path)


def read_layers(record: EngineRecord) -> tuple[Layer, ...]:
    """The layers that a side-car lists."""
    values = json.loads(record.path.read_text(encoding="utf-8"))
    return tuple(
        Layer(
            name=v["name"],
            kind=v["kind"],
            dtypes=tuple(v["dtypes"]),
            shapes=tuple(tuple(shape) for shape in v["shapes"]),
        )
        for v in values["layers"]
    )


def _configure(flavour: Flavour, config: Any, key: EngineKey, options: BuildOptions) -> None:
    trt = flavour.module
    if key.gpu == "any":
        config.num_compute_capabilities = 1
        config.set_compute_capability(flavour.target(key.target), 0)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimisation_level is not None:
        config.builder_optimization_level = options.optimisation_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if (options.version_compatible or options.hardware_compatible) and flavour.ahead_of_time:
        asked = "version" if options.version_compatible else "hardware"
        raise ConfigError(
            f"--{asked}-compatible: {flavour.name} makes no such plans; name each GPU with "
            f"--target, or use --flavour tensorrt on the device"
        )
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.strip_weights:
        if key.gpu == "any":
            raise ConfigError(
                "--strip-weights: needs the GPU that the engine is for; leave it out with --target"
            )
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        # Not plain REFIT: its plans may drop a bias, by TensorRT's own release notes.
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)


def _attach_timings(flavour: Flavour, config: Any, path: Path | None) -> Any:
    if path is None or not flavour.keeps_timings:
        return None
    content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    # A cache of another GPU or version is refused by TensorRT: then start afresh.
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _inspect(flavour: Flavour, logger: Any, plan: bytes) -> Any:
    """What the finished engine says of itself; needs the GPU that it is for."""
    runtime = flavour.module.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return None
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(flavour.module.LayerInformationFormat.JSON)
    return json.loads(text)


class _Monitor:
    """Builds TensorRT's progress monitor once its class is known."""

    @staticmethod
    def of(trt: Any, progress: Progress) -> Any:
        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            """Called from TensorRT's own threads: must not raise."""

            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)
                self.stopped = False
                self._steps: dict[str, int] = {}

            def phase_start(self, name: str, parent: str | None, steps: int) -> None:
                """Remember how long a phase is."""
                self._steps[name] = steps

            def step_complete(self, name: str, step: int) -> bool:
                """False asks TensorRT to stop."""
                progress(name, step + 1, self._steps.get(name, step + 1))
                return not self.stopped

            def phase_finish(self, name: str) -> None:
                """Forget it."""
                self._steps.pop(name, None)

        return Monitor()


class _Interruptible:
    """While it is open, Ctrl-C asks the build to stop instead of raising inside it."""

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor

    def __enter__(self) -> None:
        try:
            self._before: Any = signal.signal(signal.SIGINT, self._stop)
        except ValueError:  # not the main thread: signals are not ours
            self._before = None

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._monitor.stopped = True


def _with(stem: Path, suffix: str) -> Path:
    """The stem holds dots of its own, so `with_suffix` would cut it."""
    return stem.with_name(stem.name + suffix)
