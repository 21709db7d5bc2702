"""YAML in, numbers out, with one line for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_reloc.arrays import F64, finite_numbers
from edge_reloc.errors import CameraError, ConfigError
from edge_reloc.geometry.camera import Camera

LONGEST_YAML = 1 << 17  # characters: cameras have a few thousand, PyYAML reads 100,000 a second


def load_yaml(text: str, where: str) -> Any:
    """The first document. Raises CameraError, and ConfigError where PyYAML is missing."""
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{where}: YAML is read by PyYAML, which is not installed: "
            f"pip install 'edge-reloc[calibration]'"
        ) from None
    if len(text) > LONGEST_YAML:
        raise CameraError(
            f"{where}: {len(text)} characters of YAML, expected {LONGEST_YAML} at most; keep only "
            f"the cameras in it"
        )
    if "&" in text and "*" in text:  # aliases can make a small file a huge value
        raise CameraError(f"{where}: YAML with anchors and aliases is not read")
    try:
        return next(iter(yaml.safe_load_all(text)), None)
    except Exception as error:  # what a tag makes of a wrong value raises unrelated classes
        problem = " ".join(str(error).split())[:160]
        raise CameraError(f"{where}: not YAML ({problem})") from None


def numbers(value: Any, count: int | Sequence[int], what: str, where: str) -> F64:
    """A flat list, or rows, of so many finite numbers; CameraError for anything else."""
    counts = [count] if isinstance(count, int) else list(count)
    found = finite_numbers(value)
    flat = None if found is None else found.ravel()
    if flat is None or len(flat) not in counts:
        expected = " or ".join(str(n) for n in counts)
        raise CameraError(f"{where}: {what} is {str(value)[:80]}, expected {expected} numbers")
    return flat


def entry(values: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    """The first of several spellings of a key; CameraError where there is none."""
    for name in names:
        if name in values:
            return values[name]
    raise CameraError(f"{where}: found no {names[0]}; it is needed")


def row(values: Sequence[float]) -> str:
    """A list as YAML has it, every digit kept."""
    return "[" + ", ".join(f"{float(value)!r}" for value in values) + "]"


def camera(where: str, **parts: Any) -> Camera:
    """`Camera(**parts)` whose errors name the file."""
    try:
        return Camera(**parts)
    except (TypeError, ValueError, OverflowError, CameraError) as error:
        raise CameraError(f"{where}: {error}") from None
