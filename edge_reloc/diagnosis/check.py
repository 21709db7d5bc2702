"""One line of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """How much what was found matters."""

    OK = "ok"
    NOTE = "note"  # slower, or not of this machine
    MISSING = "missing"  # localisation does not work like this


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found of one subject."""

    #: What was looked at.
    subject: str
    state: State
    #: In words.
    found: str
    #: What to do, "" when nothing.
    cure: str = ""


def ok(subject: str, found: str) -> Check:
    """A check that needs no cure."""
    return Check(subject=subject, state=State.OK, found=found)


def note(subject: str, found: str, cure: str = "") -> Check:
    """A check of what could be better."""
    return Check(subject=subject, state=State.NOTE, found=found, cure=cure)


def missing(subject: str, found: str, cure: str) -> Check:
    """A check of what stops localisation."""
    return Check(subject=subject, state=State.MISSING, found=found, cure=cure)
