"""One line of the doctor, and how files of a machine are read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class State(str, Enum):
    """MISSING stops localisation, NOTE does not: slower, or not of this machine."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Check:
    """subject: what was looked at; found: in words; cure: what to do, "" when nothing."""

    subject: str
    state: State
    found: str
    cure: str = ""


def ok(subject: str, found: str) -> Check:
    """All is well."""
    return Check(subject=subject, state=State.OK, found=found)


def note(subject: str, found: str, cure: str = "") -> Check:
    """It works without, or could be better."""
    return Check(subject=subject, state=State.NOTE, found=found, cure=cure)


def missing(subject: str, found: str, cure: str) -> Check:
    """Localisation does not work like this."""
    return Check(subject=subject, state=State.MISSING, found=found, cure=cure)


def read_text(root: Path, path: str) -> str | None:
    """A small file of the machine, stripped; None when it cannot be read.

    root: where the machine's file system lies, "/" for this one. Device-tree texts
    end in a zero byte.
    """
    try:
        return (root / path.lstrip("/")).read_bytes().decode(errors="replace").strip("\0 \n\t")
    except OSError:
        return None


def read_number(root: Path, path: str) -> int | None:
    """The same as a whole number; None when it is none."""
    text = read_text(root, path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
