"""What a checkpoint or a cached result depends on, as one short text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np


def digest_of(*parts: object) -> str:
    """Hexadecimal digest of arrays, tensors, plain values, and dataclasses or lists of these.

    Every field of a dataclass counts, so that what is added to it later is not forgotten
    here; so do types and shapes. A Path is its file's content. Raises TypeError for a part
    whose content it does not know how to read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: Any, part: object) -> None:
    """Add one part; each piece says its kind and length first, so that no two run together."""
    if isinstance(part, np.ndarray):
        digest.update(f"array {part.dtype.str} {part.shape} ".encode())
        digest.update(np.ascontiguousarray(part).data)
    elif isinstance(part, bytes):
        digest.update(f"bytes {len(part)} ".encode() + part)
    elif part is None or isinstance(part, str | bool | int | float | np.generic):
        text = repr(part).encode()
        digest.update(f"value {len(text)} ".encode() + text)
    elif isinstance(part, Path):
        _feed(digest, part.read_bytes())
    elif is_dataclass(part) and not isinstance(part, type):
        digest.update(f"{type(part).__name__} {len(fields(part))} ".encode())
        for field in fields(part):
            _feed(digest, field.name)
            _feed(digest, getattr(part, field.name))
    elif isinstance(part, Mapping):
        digest.update(f"mapping {len(part)} ".encode())
        for key, value in part.items():
            _feed(digest, key)
            _feed(digest, value)
    elif isinstance(part, list | tuple):
        digest.update(f"list {len(part)} ".encode())
        for item in part:
            _feed(digest, item)
    elif hasattr(part, "detach"):  # a tensor, without importing torch for all who need no torch
        _feed(digest, part.detach().cpu().numpy())
    else:
        raise TypeError(f"cannot tell what identifies a {type(part).__name__}")
