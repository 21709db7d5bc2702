"""Small matrix products that stay on the calling thread.

OpenBLAS splits larger ones over its threads, and these spin when they are
done. On cores that others use too, a product of a tenth of a millisecond then
takes tens of them: 64 small products a frame are 64 chances to wait.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SINGLE_THREADED = 1 << 18  # multiplications up to which OpenBLAS starts no thread


def small_product(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """a (N,K) @ b (K,M) in blocks of rows, each below OpenBLAS's threshold."""
    out = np.empty((len(a), b.shape[1]), np.float32)
    rows = max(SINGLE_THREADED // max(b.size, 1), 1)
    for start in range(0, len(a), rows):
        block = slice(start, start + rows)
        np.matmul(a[block], b, out=out[block])
    return out
