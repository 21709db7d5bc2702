"""Untouched networks, opened once a process; what they said to an input is not computed again.

Most of a spoilt map's time went to networks that nobody had spoilt.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnxruntime

Buffers = dict[str, Any]


@contextmanager
def remembered(folder: Path) -> Iterator[None]:
    """Sessions of the networks below `folder`, and of hard links to them, are shared."""
    pristine = {path.stat().st_ino for path in folder.rglob("*.onnx")}
    sessions: dict[int, _Session] = {}
    opened = onnxruntime.InferenceSession

    def session(path: str, *arguments: Any, **named: Any) -> Any:
        inode = Path(path).stat().st_ino
        if inode not in pristine:
            return opened(path, *arguments, **named)
        if inode not in sessions:
            sessions[inode] = _Session(opened(path, *arguments, **named))
        return sessions[inode]

    with patch.object(onnxruntime, "InferenceSession", session):
        yield


class _Binding:
    """A session's buffers, and where they lie."""

    def __init__(self, binding: Any) -> None:
        self.real = binding
        self.inputs: Buffers = {}
        self.outputs: Buffers = {}

    def bind_input(self, name: str, *where: Any) -> None:
        self.real.bind_input(name, *where)
        self.inputs[name] = _bytes(*where)

    def bind_output(self, name: str, *where: Any) -> None:
        self.real.bind_output(name, *where)
        self.outputs[name] = _bytes(*where)


def _bytes(device: str, number: int, dtype: Any, shape: Any, address: int) -> Any:
    size = dtype.itemsize
    for length in shape:
        size *= length
    return (ctypes.c_char * size).from_address(address)


class _Session:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._said: dict[bytes, dict[str, bytes]] = {}
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def io_binding(self) -> _Binding:
        return _Binding(self._session.io_binding())

    def run_with_iobinding(self, binding: _Binding) -> None:
        digest = blake2b()
        for name, buffer in sorted(binding.inputs.items()):
            digest.update(name.encode())
            digest.update(buffer)
        key = digest.digest()
        if key not in self._said:
            self._session.run_with_iobinding(binding.real)
            if len(self._said) < 8:  # the frame, upright and turned, and zeros
                self._said[key] = {name: bytes(b) for name, b in binding.outputs.items()}
            return
        for name, said in self._said[key].items():
            ctypes.memmove(binding.outputs[name], said, len(said))
