"""Errors a user can act on: one line that says what, where and the cure."""

from __future__ import annotations

LONGEST = 2000  # characters of a line: it may quote what a damaged file says


class EdgeRelocError(Exception):
    """A known failure; programs print it in one line and exit with 1."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class BundleError(EdgeRelocError):
    """A map bundle is missing, damaged, newer than we read, or unsuitable."""


class ConfigError(EdgeRelocError):
    """A setting is unknown or out of its range."""


class CameraError(EdgeRelocError):
    """A camera calibration is missing, malformed or does not fit the images."""


class SourceError(EdgeRelocError):
    """Frames cannot be had: no camera, no file, an empty folder."""


class SinkError(EdgeRelocError):
    """Poses cannot be passed on: no folder, disk full, a closed connection."""


class DiskError(EdgeRelocError):
    """A file cannot be written: disk full, no permission, no such folder."""


class MappingError(EdgeRelocError):
    """Photos cannot be turned into a map."""


class StaleViewError(EdgeRelocError):
    """What a frame left behind was read after the next frame took its place."""


class EngineError(EdgeRelocError):
    """A network cannot be loaded or run."""


class MissingPackageError(EdgeRelocError):
    """An optional package is not installed; the text says which and how."""


def one_line(text: str) -> str:
    """What a line of an error or a list may say: nothing that ends it or steers the terminal."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def missing_package(package: str, purpose: str, extra: str) -> MissingPackageError:
    """The one line about an optional package that is not installed."""
    return MissingPackageError(
        f"{purpose} needs the package '{package}', which is not installed: "
        f"pip install 'edge-reloc[{extra}]'"
    )
