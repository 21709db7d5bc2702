"""A flight recording run again, in the map and with the settings it was made with."""

from __future__ import annotations

import logging
import platform
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .. import __version__
from ..bundle.reader import MapBundle
from ..errors import CameraError, ConfigError, SourceError
from ..localizer import Localizer
from ..methods import Settings
from ..recording.channels import FORMAT, VERSION
from ..settings import settings_from
from ..sources.recording_file import MapIdentity, RecordedSession, Recording
from ..structs import Frame

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A recording, and what of it is replaced by hand."""

    path: Path
    session: RecordedSession
    #: the user's, None: the recorded one
    map: Path | None
    #: by name, over the recorded ones
    settings: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, map: Path | None, settings: Mapping[str, Any]) -> Replay:
        """Raises SourceError, MissingPackageError."""
        return cls(path=path, session=Recording(path).session, map=map, settings=settings)

    def find_map(self) -> Path:
        """Folder of the map to run in. ConfigError where the recorded one is not there."""
        if self.map is not None:
            return self.map
        recorded = self.session.map
        if not recorded.path.is_dir():
            raise ConfigError(
                f"{self.path}: it was recorded in map '{recorded.name}' at {recorded.path}, which "
                f"is not there; name it with --map DIR"
            )
        return recorded.path

    def all_settings(self) -> Settings:
        """Raises ConfigError. What widens trust is never taken from a recording."""
        trusting = {e.name for e in fields(Settings) if not e.metadata["rule"].by_file}
        recorded = {k: v for k, v in self.session.settings.items() if k not in trusting}
        return settings_from(Settings, {**recorded, **self.settings}, str(self.path))

    def options(self, states: bool | None) -> dict[str, Any]:
        """What `SessionOptions` take from it; states: as the user asked for them."""
        return {
            "settings": self.all_settings(),
            "states": self.session.states if states is None else states,
            "filtered": self.session.filtered,
        }

    def check_map(self, bundle: MapBundle) -> None:
        """ConfigError for another map, unless it was named; then a warning says so."""
        recorded, found = self.session.map, identity_of(bundle)
        if found.manifest_sha256 == recorded.manifest_sha256:
            return
        text = (
            f"{self.path}: it was recorded in map '{recorded.name}' "
            f"({recorded.manifest_sha256[:12]}), and {bundle.directory} is '{found.name}' "
            f"({found.manifest_sha256[:12]})"
        )
        if self.map is None:
            raise ConfigError(f"{text}; name the map with --map DIR, this one to replay in it")
        log.warning("%s: poses will differ", text)

    def check_machine(self, localizer: Localizer) -> None:
        """Warn of what the last bits of poses hang on, where that is not as it was."""
        now = machine_of(localizer)
        changed = [
            f"{name} {self.session.machine.get(name)} then and {value} now"
            for name, value in now.items()
            if self.session.machine.get(name) != value
        ]
        changed += [f"{name} set to {value}" for name, value in self.settings.items()]
        if changed:
            log.warning("%s: poses may differ: %s", self.path, ", ".join(changed))


class Resumption:
    """Has a localiser remember what it remembered before frames of a recording.

    When it is a frame's turn and not when the frame is read: those before it may be in work.
    """

    def __init__(self, path: Path, resume: Callable[[dict[str, Any]], None]) -> None:
        self._path, self._resume = path, resume
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()  # by index of the frame

    def expect(self, frame: Frame, recalled: dict[str, Any]) -> None:
        """This frame was read, and that was remembered before it."""
        self._waiting.append((frame.index, recalled))

    def before(self, frame: Frame) -> None:
        """It is about to be localised. Raises SourceError for what fits no such localiser."""
        if not self._waiting or self._waiting[0][0] != frame.index:
            return
        _, recalled = self._waiting.popleft()
        try:
            self._resume(recalled)
        except (ValueError, TypeError, KeyError, ArithmeticError, CameraError) as error:
            raise SourceError(
                f"{self._path}: what was remembered before the recording does not fit "
                f"this map and these settings ({type(error).__name__}: {error})"
            ) from error


def session_message(localizer: Localizer, source: str) -> dict[str, Any]:
    """What is running, as a recording tells it; source: for people."""
    identity = identity_of(localizer.bundle)
    return {
        "format": FORMAT,
        "version": VERSION,
        "map": {
            "name": identity.name,
            "path": str(identity.path),
            "manifest_sha256": identity.manifest_sha256,
        },
        "camera": localizer.camera.to_dict(),
        "settings": vars(localizer.settings),
        "source": source,
        "machine": machine_of(localizer),
    }


def identity_of(bundle: MapBundle) -> MapIdentity:
    """Which map a bundle is. Raises BundleError."""
    return MapIdentity(
        name=bundle.manifest.name,
        path=bundle.directory.resolve(),
        manifest_sha256=bundle.fingerprint,
    )


def machine_of(localizer: Localizer) -> dict[str, Any]:
    """What the last bits of a pose may hang on."""
    return {
        "edge_reloc": __version__,
        "engine": localizer.engine_name,
        "threads": localizer.workers.count,
        "processor": platform.machine(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
