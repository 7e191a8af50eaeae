"""
Distance: how far a sketch is from earlier ones, beyond chance and habit.

The Jensen-Shannon distance is a metric, so by the triangle inequality the true distance
is at least the measured one less what chance may add on either side. Only such a lower
bound is compared with a threshold: at a hundred users chance explains nearly all, at
ten millions nothing, and both are right. The threshold is a distance that matters,
or more where a feature is in the habit of moving.

Source:
    Endres and Schindelin, "A New Metric for Probability Distributions", IEEE
    Transactions on Information Theory 49, 2003: the metric, and its second-order
    expansion, by which 8 n ln(2) times its square (in bits) is chi-square distributed
    under sampling of n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from propensity.drift.sketch import NUMBER, Sketch, Value
from propensity.learning.metrics import summed

Floats = NDArray[np.float64]

# As far as two normal distributions 0.3 standard deviations apart.
MATTERS = 0.13
# A feature that moved so far by itself may move that much again, and half as much more.
_HABIT = 1.5
# Weeks in which the weight of an earlier publication halves.
_HALF_LIFE = 2.0

# Chance makes a difference even of one and the same change.
_ABOUT = 0.8

# Shares of users in a bin, and users that a bin must have for chance to be known.
_BIN_SHARE, _SMALLEST_SHARE, _BIN_USERS = 0.1, 0.01, 5


@dataclass(frozen=True, kw_only=True)
class Bin:
    """
    A part of the users, and its share before and now.

    ``first`` and ``last`` are values of the sketch, equal for a single one; a bin of
    users without a value has neither and ``is_missing``.
    """

    first: Value = None
    last: Value = None
    is_missing: bool = False
    before: float
    now: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    A sketch beside the earlier ones.

    Attributes:
        distance: Jensen-Shannon distance, from 0 to 1.
        noise: What chance may add to it, at the chance that was allowed.
        bins: Of the comparison, the largest change of a share first.
    """

    distance: float
    noise: float
    threshold: float
    bins: Sequence[Bin]

    @property
    def is_beyond(self) -> bool:
        """Whether the true distance is beyond the threshold."""
        return self.distance - self.noise > self.threshold


def compare(now: Sketch, earlier: Sequence[Sketch], *, chance: float) -> Comparison:
    """
    Compare a sketch with those of earlier publications.

    Args:
        earlier: Of those before it, newest first; at least one.
        chance: Of noise beyond the bound, in one comparison.
    """
    values = sorted(
        {value for sketch in (now, *earlier) for value in sketch.counts},
        key=lambda value: (value is None, value),
    )
    shares = [_shares(sketch, values) for sketch in earlier]
    users = np.array([sketch.users for sketch in earlier], dtype=np.float64)
    share, reference_users = _mean(shares, users)
    current = _shares(now, values)
    effective = 1.0 / (1.0 / now.users + 1.0 / reference_users)
    group, counts = _bins(
        (share + current) / 2, is_number=now.kind == NUMBER, users=effective
    )
    before, after = (summed(group, part, counts) for part in (share, current))
    parts = _divergence(before, after)
    distance = float(np.sqrt(parts.sum()))
    noise = _noise(counts, effective, chance)
    threshold = MATTERS
    if distance - noise > MATTERS:
        binned = [summed(group, part, counts) for part in shares]
        threshold = max(MATTERS, _HABIT * _habit(binned, users))
    return Comparison(
        distance=distance,
        noise=noise,
        threshold=threshold,
        bins=_described(
            values,
            group,
            before,
            after,
            order=_order(before, after, parts, missing=int(group[-1])),
        ),
    )


def _noise(bins: int, users: float, chance: float) -> float:
    """Return the distance that chance gives two samples, but for a small chance."""
    if bins < 2:
        return 0.0
    freedom = bins - 1
    normal = NormalDist().inv_cdf(1 - chance)
    spread = 2 / (9 * freedom)
    # Wilson and Hilferty's cube, which needs no library: 1% off at the most.
    quantile = freedom * (1 - spread + normal * np.sqrt(spread)) ** 3
    return float(np.sqrt(quantile / (8 * np.log(2) * users)))


def _habit(earlier: Sequence[Floats], users: Floats) -> float:
    """Return how far the earlier publications moved beyond chance, at the most."""
    moved = [0.0]
    for place in range(len(earlier) - 2):
        share, others = _mean(earlier[place + 1 :], users[place + 1 :])
        expected = (len(share) - 1) / (8 * np.log(2)) * (1 / users[place] + 1 / others)
        apart = _divergence(share, earlier[place]).sum() - expected
        moved.append(float(np.sqrt(max(apart, 0.0))))
    return max(moved)


def _shares(sketch: Sketch, values: Sequence[Value]) -> Floats:
    """Return the share of users with each value, and without any at the end."""
    counts = [*(sketch.counts.get(value, 0) for value in values), sketch.missing]
    return np.array(counts, dtype=np.float64) / max(sketch.users, 1)


def _mean(shares: Sequence[Floats], users: Floats) -> tuple[Floats, float]:
    """Return the mean shares, newer ones with more weight, and their users' worth."""
    weight = 0.5 ** (np.arange(len(shares)) / _HALF_LIFE)
    weight /= weight.sum()
    mean = (weight[:, None] * np.array(shares)).sum(axis=0)
    return mean, float(1.0 / (weight**2 / np.maximum(users, 1)).sum())


def _bins(
    share: Floats, *, is_number: bool, users: float
) -> tuple[NDArray[np.int64], int]:
    """
    Group values until each bin has users enough.

    Neighbours of numbers join; values of a category stay alone, and all rare ones join.
    Users without a value are a bin of their own.

    Args:
        share: Of each value and, at the end, of users without one; (values + 1,).
        is_number: Whether values are ordered.
        users: That the comparison is worth.

    Returns:
        The bin of each, (values + 1,), and how many bins there are.
    """
    smallest = max(_SMALLEST_SHARE, _BIN_USERS / users)
    group = np.zeros(len(share), dtype=np.int64)
    if is_number:
        bins, held = 0, 0.0
        for place, part in enumerate(share[:-1]):
            # A value that many users have, such as 0, is not mixed with its neighbours.
            if held >= smallest and (held >= _BIN_SHARE or part >= _BIN_SHARE):
                bins, held = bins + 1, 0.0
            group[place] = bins
            held += part
        if bins and held < smallest:
            group[group == bins] = bins - 1
            bins -= 1
    else:
        is_rare = share[:-1] < smallest
        group[:-1][is_rare] = 0
        group[:-1][~is_rare] = 1 + np.arange((~is_rare).sum())
        bins = int(group[:-1].max(initial=0))
    group[-1] = bins + 1
    distinct, group = np.unique(group, return_inverse=True)
    return group, len(distinct)


def _divergence(first: Floats, second: Floats) -> Floats:
    """Return each bin's part of the Jensen-Shannon divergence, in bits."""
    middle = (first + second) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(first > 0, first * np.log2(first / middle), 0.0)
        parts += np.where(second > 0, second * np.log2(second / middle), 0.0)
    return np.maximum(parts / 2, 0.0)


def _order(
    before: Floats, after: Floats, parts: Floats, *, missing: int
) -> NDArray[np.intp]:
    """
    Return bins, the largest change of a share first; of equal ones the rarer.

    Users without a value come before others whose share changed about as much: a value
    that was lost has lost its users to them.
    """
    change = np.abs(after - before)
    change[missing] /= _ABOUT
    return np.lexsort((-parts, -np.round(change, 3)))


def _described(
    values: Sequence[Value],
    group: NDArray[np.int64],
    before: Floats,
    after: Floats,
    *,
    order: NDArray[np.intp],
) -> list[Bin]:
    bins = []
    for number in order:
        places = np.flatnonzero(group == number)
        is_missing = int(places[0]) == len(values)
        bins.append(
            Bin(
                first=None if is_missing else values[places[0]],
                last=None if is_missing else values[places[-1]],
                is_missing=is_missing,
                before=float(before[number]),
                now=float(after[number]),
            )
        )
    return bins
