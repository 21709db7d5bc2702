"""Camera relocalisation in fixed memory: frames in, metric poses out.

    import edge_reloc

    with edge_reloc.open("maps/office", camera="camera.json") as localizer:
        for frame in edge_reloc.open_source("v4l2:///dev/video0", localizer.camera):
            result = localizer.localize(frame)  # also a path or an array
            if result.ok:
                print(result.cam_from_world, result.covariance, result.inliers)

open         a Localizer for a map, with any of Settings as keywords
open_source  frames of a camera, photos, a video, a stream
open_sink    a file of poses, .jsonl or .tum

`localize` returns a Localization: a pose that takes world points to the camera (x right,
y down, z forward), how sure it is, or a Status and a reason. What can go wrong when something
is opened is an EdgeRelocError, whose text says what, where and the cure.

The guide is docs/api.md; what each field means stands in docs/reference, and as comments over
the fields. What `__all__` names is stable: a change of it is told in CHANGELOG.md. Everything
else may move. Nothing is loaded before it is asked for, and nothing here needs PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import (
        BundleError,
        CameraError,
        ConfigError,
        DiskError,
        EdgeRelocError,
        EngineError,
        MappingError,
        MissingPackageError,
        SinkError,
        SourceError,
        StaleViewError,
    )
    from .geometry.camera import Camera
    from .localizer import Localizer
    from .methods import Settings
    from .reasons import Fault, Reason
    from .sinks import open_sink
    from .sources import open_source
    from .sources.options import CameraOptions
    from .structs import Frame, Localization, PoseEstimate, State, Status
    from .tiles.any_map import open_localizer as open

__version__ = "0.2.0"

_HOMES = {
    "open": "tiles.any_map:open_localizer",
    "open_source": "sources",
    "open_sink": "sinks",
    "Localizer": "localizer",
    "Camera": "geometry.camera",
    "CameraOptions": "sources.options",
    "Fault": "reasons",
    "Frame": "structs",
    "Localization": "structs",
    "PoseEstimate": "structs",
    "Reason": "reasons",
    "Status": "structs",
    "State": "structs",
    "Settings": "methods",
    "EdgeRelocError": "errors",
    "BundleError": "errors",
    "CameraError": "errors",
    "ConfigError": "errors",
    "DiskError": "errors",
    "EngineError": "errors",
    "MappingError": "errors",
    "MissingPackageError": "errors",
    "SinkError": "errors",
    "SourceError": "errors",
    "StaleViewError": "errors",
}

__all__ = [
    "BundleError",
    "Camera",
    "CameraError",
    "CameraOptions",
    "ConfigError",
    "DiskError",
    "EdgeRelocError",
    "EngineError",
    "Fault",
    "Frame",
    "Localization",
    "Localizer",
    "MappingError",
    "MissingPackageError",
    "PoseEstimate",
    "Reason",
    "Settings",
    "SinkError",
    "SourceError",
    "StaleViewError",
    "State",
    "Status",
    "__version__",
    "open",
    "open_sink",
    "open_source",
]


def __getattr__(name: str) -> object:
    """Load what is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    home, _, other = _HOMES[name].partition(":")
    value: object = getattr(importlib.import_module(f".{home}", __name__), other or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
