"""What a TensorRT engine was built from and for, and whether that is here.

An engine is a device's own: it runs with one version of TensorRT on one kind of GPU.
Beside each plan lies a side-car (JSON) that says so, and that both the builder and
the runtime read. Engines live in a bundle's `engines/` and are never part of it: what a
side-car says proves nothing, until engine_origin.py has found that it was written here.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..bundle.fields import read_json
from ..errors import EngineError
from ..files import cache_folder

FORMAT = "edge_reloc.engine"
VERSION = 1
PLAN_SUFFIX, SIDECAR_SUFFIX = ".plan", ".json"
COMPILED_SUFFIX = ".jit"
LARGEST_SIDECAR, MOST_ITEMS = 1 << 24, 1 << 20  # bytes; of a large network a few million

#: the packages that engines may be of, with their names for people; nothing else is imported
FLAVOURS = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}

_WORDS = {
    "onnx_sha256": "the network",
    "flavour": "the TensorRT package",
    "tensorrt_version": "TensorRT",
    "gpu": "the GPU",
    "compute_capability": "the compute capability",
    "options": "the build options",
}


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """Two engines are interchangeable when their keys are equal."""

    #: of the ONNX file, which carries the precision
    onnx_sha256: str
    #: of FLAVOURS
    flavour: str
    #: such as 10.3.0
    tensorrt_version: str
    #: its name; any: a plan built ahead of time
    gpu: str
    #: such as 8.7
    compute_capability: str
    #: whatever else changes the plan
    options: tuple[str, ...] = ()

    @property
    def carries_code(self) -> bool:
        """Whether the plan holds a runtime of its own: code for the processor."""
        return "version_compatible=True" in self.options

    def difference(self, here: EngineKey) -> str | None:
        """What is other `here` than where the engine was built, in words; None: nothing."""
        for part in fields(self):
            built, now = getattr(self, part.name), getattr(here, part.name)
            if built != now:
                return f"{_WORDS[part.name]} changed: built {_short(built)}, now {_short(now)}"
        return None

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of everything."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:8]

    @property
    def target(self) -> str:
        """For example sm87."""
        return "sm" + self.compute_capability.replace(".", "")

    def file_stem(self, network: str) -> str:
        """Name of the plan and its side-car, without suffix; network: "cells.fp16"."""
        package = "rtx" if self.flavour == "tensorrt_rtx" else "trt"
        version = ".".join(self.tensorrt_version.split(".")[:3])
        return f"{network}.{self.target}.{package}{version}.{self.digest}"


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """A side-car: the key, and the plan it speaks of."""

    key: EngineKey
    #: name of the ONNX file
    network: str
    #: of the plan, hexadecimal
    plan_sha256: str
    #: size of the plan
    plan_nbytes: int
    #: of the side-car
    path: Path
    #: of engine_origin.py, hexadecimal; "" for none
    origin: str = ""

    @property
    def statement(self) -> bytes:
        """All that is read of a side-car to choose and load an engine."""
        values = [FORMAT, VERSION, self.network, asdict(self.key)]
        return json.dumps([*values, self.plan_sha256, self.plan_nbytes]).encode()

    @property
    def plan(self) -> Path:
        """Where the plan lies."""
        return self.path.with_suffix(PLAN_SUFFIX)

    @property
    def compiled(self) -> Path:
        """Where tensorrt_rtx keeps what it compiled for this very GPU: not in the bundle."""
        return cache_folder() / f"{self.plan_sha256}{COMPILED_SUFFIX}"

    def remove(self) -> None:
        """The side-car, its plan, and what was compiled of it."""
        for path in (self.plan, self.compiled, self.path):
            path.unlink(missing_ok=True)

    @property
    def whole(self) -> bool:
        """Whether the plan is there in its full length."""
        return self.plan.is_file() and self.plan.stat().st_size == self.plan_nbytes


def read_sidecar(path: Path) -> EngineRecord:
    """The side-car of an engine; EngineError when it is damaged or from elsewhere."""
    cure = "remove it and build the engine again with 'edge-reloc export engine'"
    if not path.is_file() or path.stat().st_size > LARGEST_SIDECAR:
        raise EngineError(
            f"{path}: not an engine side-car (expected a file of {LARGEST_SIDECAR >> 20} MiB at "
            f"most); {cure}"
        )
    try:
        values: Any = read_json(path.read_bytes(), MOST_ITEMS)
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: not a readable engine side-car ({error}); {cure}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise EngineError(f'{path}: not an engine side-car (expected "format": "{FORMAT}"); {cure}')
    if values.get("version") != VERSION:
        raise EngineError(
            f"{path}: side-car version {values.get('version')}, expected {VERSION}; {cure}"
        )
    try:
        record = _record(values, path)
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{path}: the side-car lacks or garbles {error}; {cure}") from error
    if record.key.flavour not in FLAVOURS:
        raise EngineError(
            f"{path}: names the package '{record.key.flavour}', expected one of "
            f"{', '.join(FLAVOURS)}; {cure}"
        )
    return record


def _record(values: dict[str, Any], path: Path) -> EngineRecord:
    """Raises KeyError, TypeError or ValueError."""
    plan, stated = values["plan"], values["key"]
    key = EngineKey(**{**stated, "options": tuple(stated["options"])})
    record = EngineRecord(
        key=key,
        network=values["network"],
        plan_sha256=plan["sha256"],
        plan_nbytes=plan["nbytes"],
        path=path,
        origin=values.get("origin", ""),
    )
    texts = {**vars(key), "network": record.network, "origin": record.origin}
    del texts["options"]
    for name, text in [*texts.items(), *(("options", option) for option in key.options)]:
        if not isinstance(text, str) or not text.isprintable():
            raise ValueError(f"'{name}'")
    if type(record.plan_nbytes) is not int or record.plan_nbytes < 0:
        raise ValueError("'nbytes'")
    if not re.fullmatch("[0-9a-f]{64}", record.plan_sha256):  # it becomes the name of a file
        raise ValueError("'sha256'")
    return record


def find_sidecars(folder: Path, network: str) -> list[EngineRecord]:
    """Side-cars of the engines of one ONNX file (by its name), whatever became of the plans."""
    records = (
        read_sidecar(p) for p in sorted(folder.glob(f"{Path(network).stem}.*{SIDECAR_SUFFIX}"))
    )
    return [record for record in records if record.network == Path(network).name]


def find_engines(folder: Path, network: str) -> list[EngineRecord]:
    """Those that have a whole plan."""
    return [record for record in find_sidecars(folder, network) if record.whole]


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
