"""TensorRT engines: inputs and outputs at fixed addresses, scratch that engines share.

The same code serves `tensorrt` from 10.3 on and `tensorrt_rtx`: only calls by tensor
names, which both have. An engine is chosen by its side-car (engine_key.py); one that was
not built here or does not fit this machine is never opened: TensorRT trusts what it loads.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..bundle.layout import ENGINES
from ..bundle.reader import MapBundle
from ..cuda.arena import Staged
from ..cuda.driver import CudaError
from ..cuda.gpu import Gpu
from ..errors import DiskError, EngineError, MissingPackageError
from ..files import write_atomic
from ..memory.arena import Arena
from .engine import Engine
from .engine_key import FLAVOURS, EngineKey, EngineRecord, find_sidecars
from .engine_origin import FOREIGN, built_here
from .engines import Engines

log = logging.getLogger(__name__)

WARM_UP = 2  # runs after which an engine holds all the memory it will ever use


class TensorRtEngine:
    """One engine in its execution context. Call `ready` once before the first `run`.

    scratch_bytes: device memory that it needs while it runs, and only then.
    """

    def __init__(self, record: EngineRecord, onnx_file: Path, package: TensorRt, gpu: Gpu) -> None:
        self.path = record.plan
        self._package, self._gpu = package, gpu
        self._engine = package.load(record, onnx_file)
        self._context = package.context(self._engine, record)
        self.scratch_bytes = int(self._engine.device_memory_size_v2)
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        self._staged: dict[str, Staged] = {}
        self._sent: list[Staged] = []  # inputs that the host writes
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            buffer = self._take(name, f"engine.{record.network.removesuffix('.onnx')}.{name}")
            self._staged[name] = buffer
            if self._engine.get_tensor_mode(name) == package.module.TensorIOMode.INPUT:
                self.inputs[name] = buffer.host
                self._sent.append(buffer)
            else:
                self.outputs[name] = buffer.host
            self._set_address(name, buffer.address)
        self._execute = self._enqueue

    def address(self, name: str) -> int:
        """Where an input or output lies on the device."""
        return self._staged[name].address

    def connect(self, name: str, producer: TensorRtEngine, output: str) -> None:
        """Take an input from where another engine leaves its output, without a copy.

        The producer must run first, every time. Raises EngineError when the two differ.
        """
        mine, theirs = self.inputs[name], producer.outputs[output]
        if (mine.shape, mine.dtype) != (theirs.shape, theirs.dtype):
            raise EngineError(
                f"{self.path}: input '{name}' is {mine.dtype} {mine.shape}, output '{output}' of "
                f"{producer.path.name} is {theirs.dtype} {theirs.shape}; they cannot be connected"
            )
        self.written_on_gpu(name)
        self._staged[name] = producer._staged[output]
        self.inputs[name] = theirs
        self._set_address(name, producer.address(output))

    def written_on_gpu(self, name: str) -> None:
        """Stop sending this input: a kernel writes it at its address."""
        self._sent = [buffer for buffer in self._sent if buffer is not self._staged[name]]

    def ready(self, scratch: int, nbytes: int) -> None:
        """Take the scratch at an address, warm up, and record a graph where that works."""
        if nbytes:
            self._context.set_device_memory(scratch, nbytes)
        for _ in range(WARM_UP):
            self.run()
        if not self._capturable():
            log.info("%s: runs without a CUDA graph, the engine does not allow one", self.path.name)
            return
        try:
            self._execute = self._gpu.capture(self._enqueue)
        except CudaError as error:
            log.warning("%s: runs without a CUDA graph: %s", self.path.name, error)
            return
        self.run()

    def run(self) -> None:
        """One inference from `inputs` into `outputs`."""
        arena, stream = self._gpu.arena, self._gpu.stream
        for buffer in self._sent:
            arena.upload(buffer, stream)
        self._execute()
        for name in self.outputs:
            arena.download(self._staged[name], stream)
        self._gpu.synchronize()

    def close(self) -> None:
        """Drop context and engine; the buffers are the arena's."""
        self._gpu.synchronize()
        del self._context, self._engine

    def _take(self, name: str, ledger_name: str) -> Staged:
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        if any(size < 1 for size in shape):
            raise EngineError(
                f"{self.path}: '{name}' has the dynamic shape {shape}; expected fixed sizes "
                f"(export the network again with static shapes)"
            )
        dtype = self._package.module.nptype(self._engine.get_tensor_dtype(name))
        return self._gpu.arena.take_staged(ledger_name, shape, dtype)

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise EngineError(f"{self.path}: TensorRT refuses the address of '{name}'")

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._gpu.stream):
            raise EngineError(
                f"{self.path}: TensorRT could not run it: {self._package.complaint()}"
            )

    def _capturable(self) -> bool:
        """tensorrt_rtx can tell; tensorrt is asked by trying."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._gpu.stream))


class TensorRt:
    """One package of FLAVOURS, its logger and runtime.

    host_code: run what version-compatible plans carry for the processor.
    """

    def __init__(self, flavour: str, *, host_code: bool = False) -> None:
        assert flavour in FLAVOURS
        try:
            self.module = importlib.import_module(flavour)
        except ImportError as error:
            raise MissingPackageError(
                f"this engine needs the package '{flavour}' ({error}); on a Jetson make the "
                f"virtual environment with --system-site-packages; 'edge-reloc doctor' tells"
            ) from None
        self.flavour = flavour
        self._host_code = host_code
        self._logger = _logger(self.module)
        self._runtime = self.module.Runtime(self._logger)

    @property
    def version(self) -> str:
        """For example 10.3.0."""
        return str(self.module.__version__)

    def load(self, record: EngineRecord, onnx_file: Path) -> Any:
        """The engine of a plan that is whole. Raises EngineError.

        onnx_file: where a plan without weights finds them.
        """
        cure = "build it again with 'edge-reloc export engine --force'"
        if not record.whole:  # nor another kind of file, which may never end
            raise EngineError(
                f"{record.plan}: is cut off or missing, expected {record.plan_nbytes} bytes; {cure}"
            )
        try:
            with open(record.plan, "rb") as stream:
                plan = stream.read(record.plan_nbytes)
        except OSError as error:
            raise EngineError(f"{record.plan}: cannot be read ({error.strerror}); {cure}") from None
        if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
            raise EngineError(f"{record.plan}: is damaged, its hash is another than built; {cure}")
        self._runtime.engine_host_code_allowed = self._host_code and record.key.carries_code
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(
                f"{record.plan}: {self.flavour} {self.version} cannot load it: {self.complaint()}; "
                f"{cure}"
            )
        if "strip_weights=True" in record.key.options:
            self._refit(engine, record, onnx_file)
        return engine

    def context(self, engine: Any, record: EngineRecord) -> Any:
        """An execution context whose scratch is ours to give."""
        ours = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.flavour == "tensorrt_rtx":
            context = self._compiled_context(engine, record, ours)
        else:
            context = engine.create_execution_context(ours)
        if context is None:
            raise EngineError(f"{record.plan}: no execution context: {self.complaint()}")
        return context

    def complaint(self) -> str:
        """The first line of what TensorRT said last."""
        said = self._logger.errors[-1] if self._logger.errors else "no reason given"
        return str(said.splitlines()[0])

    def _compiled_context(self, engine: Any, record: EngineRecord, strategy: Any) -> Any:
        """tensorrt_rtx compiles for this GPU now; what it made is kept for the next time."""
        kept = record.compiled
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        cache = config.create_runtime_cache()
        known = kept.read_bytes() if kept.is_file() else b""
        if known and not cache.deserialize(known):
            log.info("%s: of another GPU or version, made again", kept.name)
        config.set_runtime_cache(cache)
        context = engine.create_execution_context(config)
        made = bytes(memoryview(cache.serialize()))
        if made and made != known:
            with contextlib.suppress(OSError, DiskError):  # slower to start next time, no worse
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(kept, made)
        return context

    def _refit(self, engine: Any, record: EngineRecord, onnx_file: Path) -> None:
        refitter = self.module.Refitter(engine, self._logger)
        parser = self.module.OnnxParserRefitter(refitter, self._logger)
        if not parser.refit_from_file(str(onnx_file)) or not refitter.refit_cuda_engine():
            raise EngineError(
                f"{record.plan}: its weights cannot be taken from {onnx_file}: {self.complaint()}; "
                f"build it without --strip-weights"
            )


class TensorRtEngines(Engines):
    """The networks of a bundle by the engines beside it; on one GPU, one after the other.

    trust: take engines that were not built on this machine, too. host_code: and those that
    carry code for the processor. Raises EngineError, in one line, when an engine is missing,
    from elsewhere or does not fit this machine.
    """

    def __init__(
        self,
        bundle: MapBundle,
        arena: Arena,
        gpu: Gpu,
        *,
        precision: str | None = None,
        trust: bool = False,
        host_code: bool = False,
    ) -> None:
        super().__init__(bundle, arena, precision=precision, gpu=gpu)
        self._gpu = gpu
        self._trust, self._host_code = trust, host_code
        self._packages: dict[str, TensorRt] = {}
        self._made: list[TensorRtEngine] = []

    @property
    def name(self) -> str:
        """For example TensorRT 10.3.0."""
        return " and ".join(f"{FLAVOURS[f]} {p.version}" for f, p in self._packages.items())

    def ready(self) -> None:
        """Take the scratch that all engines share, as large as the largest asks for."""
        if not self._made:
            return
        nbytes = max(engine.scratch_bytes for engine in self._made)
        scratch = self._gpu.arena.take("engines.scratch", nbytes) if nbytes else 0
        for engine in self._made:
            engine.ready(scratch, nbytes)

    def close(self) -> None:
        """Engines first, then the packages they came from."""
        self._made.clear()
        super().close()
        self._packages.clear()

    def _open(self, network: str) -> Engine:
        file = self._file(network)
        record = self._choose(file)
        flavour = record.key.flavour
        if flavour not in self._packages:
            self._packages[flavour] = TensorRt(flavour, host_code=self._host_code)
        engine = TensorRtEngine(record, self.bundle.path(file), self._packages[flavour], self._gpu)
        self._made.append(engine)
        return engine

    def _file(self, network: str) -> str:
        """float16 where the bundle has it, unless float32 was asked for."""
        entry = self.bundle.manifest.networks.get(network)
        float16 = entry.float16 if entry else None
        if self._precision is None and float16 and self.bundle.has(float16):
            return float16
        return super()._file(network)

    def _choose(self, file: str) -> EngineRecord:
        """The engine of a network file that fits this machine."""
        folder = self.bundle.directory / ENGINES
        cure = (
            f"build it on this machine with 'edge-reloc export engine --map "
            f"{self.bundle.directory}', or do without with --engine onnxruntime"
        )
        records = find_sidecars(folder, Path(file).name) if folder.is_dir() else []
        if not records:
            raise EngineError(f"{folder}: no engine of '{file}'; {cure}")
        reasons = []
        for record in records:
            reason = self._refusal(record, file)
            if reason is None:
                return record
            reasons.append(f"{record.plan.name}: {reason}")
        raise EngineError(f"{folder}: no engine of '{file}' fits: {'; '.join(reasons)}; {cure}")

    def _refusal(self, record: EngineRecord, file: str) -> str | None:
        """Why an engine is not used; None: it is. Asked in this order: only what is trusted
        may say which package is imported.
        """
        if not self._trust and not built_here(record):
            return f"{FOREIGN} (take it all the same with --trust-engines)"
        if record.key.carries_code and not self._host_code:
            return "carries code for the processor (let it run with --engine-host-code)"
        return record.key.difference(self._here(record.key, file))

    def _here(self, built: EngineKey, file: str) -> EngineKey:
        """The key that an engine built here and now, in the same way, would have."""
        info, options = self._gpu.cuda.info, built.options
        later_version = built.carries_code
        later_gpu = "hardware_compatible=True" in options
        return EngineKey(
            onnx_sha256=self.bundle.manifest.files[file].sha256,
            flavour=built.flavour,
            tensorrt_version=(
                built.tensorrt_version if later_version else _installed(built.flavour)
            ),
            gpu=built.gpu if later_gpu or built.gpu == "any" else info.name,
            compute_capability=built.compute_capability if later_gpu else info.compute_capability,
            options=options,
        )


def _installed(flavour: str) -> str:
    """Version of a package, "not installed" where it is missing."""
    if importlib.util.find_spec(flavour) is None:
        return f"{flavour} is not installed"
    return str(importlib.import_module(flavour).__version__)


def _logger(module: Any) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc]
        """Called from TensorRT's own threads."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Severities count down from the worst."""
            if severity <= module.ILogger.ERROR:
                self.errors.append(message.strip())
            else:
                log.debug("%s", message)

    return Logger()
