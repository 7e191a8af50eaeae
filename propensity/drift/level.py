"""
Level: whether a single number, such as the mean probability, has moved.

What counts as noise is learned: the number's own errors when each earlier week is
expected from those before it, and until there are many, what sampling and an ordinary
week are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

# Weeks in which the weight of an earlier week halves: a season is not left behind.
_HALF_LIFE = 1.0
# What is thought before any week is known counts as so many weeks.
_PRIOR_WEEKS = 12


@dataclass(frozen=True, kw_only=True)
class Level:
    """A number with its standard error."""

    value: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Move:
    """
    A number beside what was expected of it.

    Attributes:
        noise: What chance and ordinary weeks may add, at the chance that was allowed.
    """

    expected: float
    moved: float
    noise: float

    def is_beyond(self, matters: float) -> bool:
        """Tell whether the true move is larger than one that matters."""
        return abs(self.moved) - self.noise > matters


def move(
    now: Level,
    earlier: Sequence[Level],
    *,
    ordinary: float,
    chance: float,
    target: float | None = None,
) -> Move:
    """
    Compare a number with what earlier weeks let expect.

    Args:
        earlier: Of the weeks before, newest first; at least one without a target.
        ordinary: Standard deviation of an ordinary week, before any is known.
        chance: Of noise beyond the bound, in one comparison, both sides together.
        target: What is expected, whatever came before; None for the recent mean.
    """
    expected = _expected(earlier, target)
    variance = ordinary**2 + now.error**2 + expected.error**2
    known = earlier if target is not None else earlier[:-1]
    errors = [
        level.value - _expected(earlier[place + 1 :], target).value
        for place, level in enumerate(known)
    ]
    freedom = _PRIOR_WEEKS + len(errors)
    total = _PRIOR_WEEKS * variance + sum(error**2 for error in errors)
    return Move(
        expected=expected.value,
        moved=now.value - expected.value,
        noise=_student(chance / 2, freedom) * sqrt(total / freedom),
    )


def _expected(earlier: Sequence[Level], target: float | None) -> Level:
    """Return the mean of earlier numbers, newer ones with more weight."""
    if target is not None:
        return Level(value=target, error=0.0)
    weight = [0.5 ** (place / _HALF_LIFE) for place in range(len(earlier))]
    total = sum(weight)
    pairs = list(zip(weight, earlier, strict=True))
    return Level(
        value=sum(part * level.value for part, level in pairs) / total,
        error=sqrt(sum((part * level.error) ** 2 for part, level in pairs)) / total,
    )


def _student(chance: float, freedom: int) -> float:
    """
    Return the upper quantile of Student's distribution, without a library.

    Source:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.5.
    """
    x = NormalDist().inv_cdf(1 - chance)
    return (
        x
        + (x**3 + x) / (4 * freedom)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * freedom**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * freedom**3)
    )
