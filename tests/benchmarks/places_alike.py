"""Places that resemble each other by a known amount: one place's vectors, turned.

A turn is an orthogonal matrix c I + s J with J^T = -J and J^2 = -I, so that every vector of
a turned place has the cosine c with its original exactly, and products within a place stay what
they were: c is how much places are alike, and matching within one is as hard as before. J is a
permutation with signs, so that a network can undo the turn by one gather. Two turned places
are alike by about c^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F32, I64


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Of C places, of vectors of N numbers; place 0 is as it was."""

    #: (C,N): J x = sign * x[partner]
    partner: I64
    #: (C,N)
    sign: F32
    #: (C,), c and s
    cosine: F32
    sine: F32

    def turned(self, place: int, rows: F32) -> F32:
        """Rows (...,N) as the place has them."""
        across = self.sign[place] * rows[..., self.partner[place]]
        return np.asarray(self.cosine[place] * rows + self.sine[place] * across)


def turns(places: int, length: int, aliasing: float, seed: int) -> Turns:
    """The same for the same arguments; of more places the first ones are the same.

    aliasing: c of the places after the first, 0 to 1. length is even.
    """
    partner, sign = np.empty((places, length), np.int64), np.ones((places, length), np.float32)
    for place in range(places):
        generator = np.random.default_rng([seed, place, length])
        left, right = generator.permutation(length).reshape(2, -1)
        partner[place, left], partner[place, right] = right, left
        sign[place, left] = -1.0
    cosine = np.full(places, aliasing, np.float32)
    cosine[0] = 1.0
    sine = np.sqrt(1.0 - cosine**2)
    return Turns(partner=partner, sign=sign, cosine=cosine, sine=sine)
