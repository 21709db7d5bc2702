"""Is a point still there? A likelihood ratio from where it should have been found and was not.

Of a point that is there, k of n looks succeed as its own record in mapping says: beta-binomial,
since looks from nearby share their luck, with the mean scaled to how well the new photos are
matched at all. Of one that is gone, only accidents succeed: binomial at the rate that looks
beside the point succeed. How likely it is beforehand that a point is gone is learnt by
expectation maximisation, shared by neighbours in space and drawn towards the whole map:
changes come in pieces, and where most neighbours are gone a few looks suffice. docs/updating.md
has what that is worth: with one prior for the whole map, or one a cell, fewer are found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F64, I64, Bool

GONE = 0.95  # posterior from which on a point is retired
FEWEST_LOOKS = 2
MOST_ALIKE = 12.0  # looks that a record counts for at most: new looks are not drawn like old ones
NEIGHBOURS, MAP_WEIGHT = 16, 4.0  # that share a prior; points that the whole map counts for in it
ROUNDS = 40
RATE_AT_FIRST, LEAST_RATE = 0.1, 1e-4


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Of P points: looks that could have found them, and those that did."""

    tried: I64  #: (P,)
    found: I64  #: (P,)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the looks say."""

    probability: F64  #: (P,), of being gone
    retired: Bool  #: (P,)
    gone_rate: float  #: of the whole map
    detection: float  #: how often new looks find what is there, relative to mapping's


def judge(old: Looks, new: Looks, accident: float, xyz: F64) -> Verdict:
    """Which points (P,3) are gone.

    old: looks of mapping photos. accident: rate at which looks beside a point succeed.
    """
    prior = _beta(old)
    weight = prior + old.tried
    record = (prior * _rate(old) + old.found) / weight
    weight = np.minimum(weight, MOST_ALIKE)
    accident = float(np.clip(accident, LEAST_RATE, 0.5))
    gone = new.found * np.log(accident) + (new.tried - new.found) * np.log1p(-accident)
    looked = new.tried > 0
    nobody = np.zeros(len(xyz))
    if not looked.any():
        return Verdict(probability=nobody, retired=nobody > 0, gone_rate=0.0, detection=1.0)
    near = _neighbours(xyz, looked)
    share, scale, odds = np.full(len(xyz), RATE_AT_FIRST), 1.0, nobody
    for _ in range(ROUNDS):
        mean = np.clip(scale * record, 0.02, 0.98)
        there = _beta_binomial(new, weight * mean, weight * (1 - mean))
        before = np.clip(share, LEAST_RATE, 1 - LEAST_RATE)
        odds = np.log(before) - np.log1p(-before) + gone - there
        stays = 1.0 / (1.0 + np.exp(np.clip(odds, -500, 500)))
        expected = float((stays * new.tried * record)[looked].sum())
        scale = float((stays * new.found)[looked].sum()) / max(expected, 1e-9)
        rate = float(1.0 - stays[looked].mean())
        share = ((1.0 - stays)[near].sum(axis=1) + MAP_WEIGHT * rate) / (near.shape[1] + MAP_WEIGHT)
    probability = np.where(looked, 1.0 / (1.0 + np.exp(np.clip(-odds, -500, 500))), 0.0)
    return Verdict(
        probability=probability,
        retired=(probability >= GONE) & (new.tried >= FEWEST_LOOKS),
        gone_rate=rate,
        detection=scale,
    )


def _neighbours(xyz: F64, looked: Bool) -> I64:
    """(P,K): of each point the nearest of those that were looked for, itself among them."""
    rows = np.flatnonzero(looked)
    tree = KDTree(np.ascontiguousarray(xyz[rows]))
    found = tree.query(np.ascontiguousarray(xyz), k=min(NEIGHBOURS, len(rows)))[1]
    return np.asarray(rows[found.astype(np.int64)].reshape(len(xyz), -1))


def _rate(looks: Looks) -> float:
    return float(looks.found.sum() / max(int(looks.tried.sum()), 1))


def _beta(looks: Looks) -> float:
    """Looks that the mean of all points counts for in the record of one: by moments."""
    many = looks.tried >= 3
    if many.sum() < 10:
        return 4.0
    share = looks.found[many] / looks.tried[many]
    mean = float(share.mean())
    spread = max(mean * (1 - mean), 1e-6)
    noise = spread * float((1.0 / looks.tried[many]).mean())
    own = max(float(share.var()) - noise, 1e-3 * spread)
    return float(np.clip(spread / own - 1.0, 1.0, 50.0))


def _beta_binomial(looks: Looks, a: F64, b: F64) -> F64:
    """Logarithm (P,) of the probability of one order of successes and failures."""
    out = np.zeros(len(a))
    missed = looks.tried - looks.found
    for step in range(int(looks.found.max(initial=0))):
        out += np.where(step < looks.found, np.log(a + step), 0.0)
    for step in range(int(missed.max(initial=0))):
        out += np.where(step < missed, np.log(b + step), 0.0)
    for step in range(int(looks.tried.max(initial=0))):
        out -= np.where(step < looks.tried, np.log(a + b + step), 0.0)
    return out
