"""The TensorRT packages, and all that differs between them and their versions.

`tensorrt` 10 types networks strongly only when it is asked to; 11 knows nothing
else and ignores the question. `tensorrt_rtx` builds ahead of time for compute
capabilities that are not here, keeps no timing cache, and makes neither version-
nor hardware-compatible plans.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from edge_reloc.errors import ConfigError, EngineError, MissingPackageError
from edge_reloc.inference.engine_key import FLAVOURS

OLDEST = (10, 3)  # JetPack 6
ON_THE_DEVICE = {"sm87": "Orin", "sm110": "Thor", "sm72": "Xavier"}


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """One package."""

    name: str  #: of FLAVOURS
    module: Any  #: the package itself

    @property
    def version(self) -> str:
        """For example 10.3.0."""
        return str(self.module.__version__)

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds for GPUs that are not here."""
        return self.name == "tensorrt_rtx"

    @property
    def keeps_timings(self) -> bool:
        """Whether a timing cache saves time; tensorrt_rtx accepts one and ignores it."""
        return self.name == "tensorrt"

    def targets(self) -> dict[str, Any]:
        """Compute capabilities to build ahead of time for, by names like sm86."""
        if not self.ahead_of_time:
            return {}
        members = self.module.ComputeCapability.__members__
        return {name.lower(): value for name, value in members.items() if name.startswith("SM")}

    def target(self, name: str) -> Any:
        """The package's own name of a target; ConfigError lists the known ones."""
        known = self.targets()
        if name in known:
            return known[name]
        board = ON_THE_DEVICE.get(name)
        reason = (
            f"{board} builds its engines itself: run 'edge-reloc export engine' on the device"
            if board
            else f"expected one of {', '.join(known)}"
        )
        raise ConfigError(f"--target {name}: {self.name} {self.version} cannot build it; {reason}")

    def create_network(self, builder: Any) -> Any:
        """An empty, strongly typed network."""
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return builder.create_network(0 if flag is None else 1 << int(flag))


def open_flavour(name: str = "auto", *, ahead_of_time: bool = False) -> Flavour:
    """A package by name; "auto" takes the one that fits and is installed.

    ahead_of_time: for targets that are not here. MissingPackageError says what to
    install, EngineError that a version is too old.
    """
    if name == "auto":
        wanted = ("tensorrt_rtx",) if ahead_of_time else tuple(FLAVOURS)
        name = next((n for n in wanted if importlib.util.find_spec(n)), wanted[0])
    if name not in FLAVOURS:
        raise ConfigError(f"--flavour: found '{name}', expected one of {', '.join(FLAVOURS)}")
    if ahead_of_time and name != "tensorrt_rtx":
        raise ConfigError(
            f"--target: {name} builds for the GPU of its own machine only; leave --target out "
            f"there, or build ahead of time with --flavour tensorrt_rtx"
        )
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(_cure(name, error)) from None
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if name == "tensorrt" and version < OLDEST:
        raise EngineError(
            f"tensorrt {module.__version__}: older than {OLDEST[0]}.{OLDEST[1]}, the oldest that "
            f"reads these networks; upgrade JetPack or TensorRT"
        )
    return Flavour(name=name, module=module)


def _cure(name: str, error: ImportError) -> str:
    if name == "tensorrt_rtx":
        return (
            f"building ahead of time needs the package 'tensorrt_rtx' ({error}): "
            f"pip install 'edge-reloc[rtx]'"
        )
    return (
        f"building engines needs TensorRT ({error}): on a Jetson make the virtual environment "
        f"with --system-site-packages so that it sees JetPack's, elsewhere 'pip install tensorrt'; "
        f"'edge-reloc doctor' tells which"
    )
