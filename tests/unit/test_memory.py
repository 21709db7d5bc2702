"""One mapping, exactly as large as planned; and a C library that keeps what it is given back."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_reloc.errors import EdgeRelocError
from edge_reloc.memory.arena import ALIGNMENT_BYTES, Arena

WANTED = (("a", (3, 5), np.float32), ("b", (1,), np.uint8), ("c", (7, 2), np.float64))


def planned_bytes() -> int:
    arena = Arena()
    for name, shape, dtype in WANTED:
        arena.take(name, shape, dtype)
    return arena.nbytes


def test_buffers_are_zero_aligned_apart_and_in_one_mapping() -> None:
    arena = Arena(planned_bytes())
    arrays = [arena.take(name, shape, dtype) for name, shape, dtype in WANTED]
    starts = [array.ctypes.data for array in arrays]
    assert all(start % ALIGNMENT_BYTES == 0 for start in starts)
    assert starts[-1] + arrays[-1].nbytes - starts[0] <= arena.nbytes == planned_bytes()
    assert all(not array.any() for array in arrays)
    for value, array in enumerate(arrays):
        array.fill(value + 1)
    assert [np.unique(array).tolist() for array in arrays] == [[1], [2], [3]]
    assert [entry.nbytes for entry in arena.ledger] == [array.nbytes for array in arrays]


def test_more_than_planned_is_refused() -> None:
    arena = Arena(planned_bytes() - ALIGNMENT_BYTES)
    arena.take(*WANTED[0])
    arena.take(*WANTED[1])
    with pytest.raises(EdgeRelocError, match="'c' takes 112 bytes, 64 of the planned"):
        arena.take(*WANTED[2])


def test_nothing_is_taken_after_the_seal() -> None:
    arena = Arena()
    arena.seal()
    with pytest.raises(EdgeRelocError, match="'late' was asked for after the arena was sealed"):
        arena.take("late", (1,), np.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="page faults as Linux counts them")
def test_kept_memory_is_not_mapped_again() -> None:
    """In a process of its own, since the setting is the process's."""
    code = """
import resource, numpy as np
from edge_reloc.memory.arena import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(3 << 20)  # 24 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
keep_freed_memory()
faults()
print(given_back, faults())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    if given_back < 1000:
        pytest.skip("huge pages, or a C library that keeps memory by itself")
    assert kept < given_back / 20
