"""Simulated campaigns: visitors with a probability, and the lift of acting on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from propensity.learning import lift
from propensity.learning.lift import Sums

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

SHARE = 0.1

# Distinct probabilities. Log-odds are normal: with a spread of 1 the ROC AUC is 0.76,
# as in the demo's shop.
_GROUPS = 100
_SPREAD = 1.0
# Spread of the logarithm of what a converter pays.
_AMOUNTS = 0.8


@dataclass(frozen=True, kw_only=True)
class Population:
    """
    A population by probability, and by how much a treatment multiplies it.

    Attributes:
        name: What it is of.
        probabilities: The distinct ones, each of as many users.
        effect: Of the treatment; 0.1 adds a tenth.
    """

    name: str
    probabilities: Floats
    effect: float = 0.0

    @classmethod
    def of_shop(
        cls, base_rate: float, *, spread: float = _SPREAD, effect: float = 0.0
    ) -> Population:
        """Return visitors of a population, whose log-odds are normal."""
        at = norm.ppf((np.arange(_GROUPS) + 0.5) / _GROUPS) * spread
        low, high = -20.0, 20.0
        for _ in range(60):
            middle = (low + high) / 2
            is_more = _logistic(middle + at).mean() > base_rate
            low, high = (low, middle) if is_more else (middle, high)
        return cls(name="shop", probabilities=_logistic(low + at), effect=effect)


@dataclass(frozen=True)
class Sample:
    """Sums of users who became members: conversions, and amounts."""

    conversions: Sums
    revenue: Sums


def draw(
    generator: np.random.Generator,
    population: Population,
    users: int,
    *,
    count: int,
    share: float = SHARE,
) -> tuple[Sample, Sample]:
    """Return the treated and the control group of so many campaigns."""
    p = population.probabilities
    members = generator.multinomial(users, np.full(_GROUPS, 1 / _GROUPS), size=count)
    held_out = np.asarray(generator.binomial(members, share))
    treated = _played(generator, p, members - held_out, effect=population.effect)
    return treated, _played(generator, p, held_out, effect=0.0)


def _played(
    generator: np.random.Generator, p: Floats, members: Counts, *, effect: float
) -> Sample:
    conversions = generator.binomial(members, np.minimum(p * (1 + effect), 1))
    count = len(members)
    campaign, group = np.nonzero(conversions)
    counts = conversions[campaign, group]
    campaign, x = np.repeat(campaign, counts), np.repeat(p[group], counts)
    paid = generator.lognormal(3.0, _AMOUNTS, size=len(campaign))

    def total(weights: Floats) -> Floats:
        return np.bincount(campaign, weights, minlength=count).astype(np.float64)

    covariate = {
        "users": members.sum(1).astype(np.float64),
        "x": members @ p,
        "xx": members @ p**2,
    }
    y = conversions.sum(1).astype(np.float64)
    return Sample(
        Sums(**covariate, y=y, yy=y, xy=conversions @ p),
        Sums(**covariate, y=total(paid), yy=total(paid**2), xy=total(paid * x)),
    )


def true_effect(population: Population, outcome: str) -> float:
    """Return the true difference of an outcome's mean by user."""
    p = population.probabilities
    difference = float((np.minimum(p * (1 + population.effect), 1) - p).mean())
    return difference * (1 if outcome == "conversions" else np.exp(3 + _AMOUNTS**2 / 2))


@dataclass(frozen=True, kw_only=True)
class Looks:
    """
    Shares of campaigns.

    Attributes:
        covered: Whose interval held the truth, at every look.
        helps: Of which the verdict was, at some look, that acting helped.
        above: Whose interval for a single look was above 0.
        alarms: Whose groups' sizes raised an alarm.
        narrower: No share: by how much the covariate narrows the interval, median.
    """

    covered: float
    helps: float
    above: float = 0.0
    narrower: float = 0.0
    alarms: float = 0.0


def once(
    population: Population, users: int, outcome: str, *, count: int, seed: int
) -> Looks:
    """Look at campaigns once."""
    generator = np.random.default_rng(seed)
    groups = draw(generator, population, users, count=count)
    treated, control = (getattr(group, outcome) for group in groups)
    adjusted, plain = (
        lift.compare(
            treated,
            control,
            quantile=lift.once(),
            is_binary=outcome == "conversions",
            is_adjusted=is_adjusted,
        ).difference
        for is_adjusted in (True, False)
    )
    verdict = lift.compare(
        treated,
        control,
        quantile=lift.always(users, users),
        is_binary=outcome == "conversions",
    ).difference
    truth = true_effect(population, outcome)
    ratio = (adjusted.high - adjusted.low) / (plain.high - plain.low)
    return Looks(
        covered=float(np.mean((adjusted.low <= truth) & (truth <= adjusted.high))),
        helps=float(np.mean(verdict.low > 0)),
        above=float(np.mean(adjusted.low > 0)),
        narrower=float(1 - np.median(ratio)),
    )


def weekly(
    population: Population,
    sizes: Sequence[int],
    outcome: str,
    *,
    count: int,
    seed: int,
    share: float = SHARE,
) -> Looks:
    """
    Look at campaigns every week.

    Args:
        sizes: New members by week.
        share: That is truly held out; ``SHARE`` is meant to be.
    """
    generator = np.random.default_rng(seed)
    truth = true_effect(population, outcome)
    covered, helps = np.ones(count, bool), np.zeros(count, bool)
    totals: list[Sums] = []
    sizes_seen: list[tuple[Floats, Floats]] = []
    for users in sizes:
        groups = draw(generator, population, users, count=count, share=share)
        new = [getattr(group, outcome) for group in groups]
        totals = (
            [_added(*pair) for pair in zip(totals or new, new, strict=True)]
            if totals
            else new
        )
        treated, control = totals
        difference = lift.compare(
            treated,
            control,
            quantile=lift.always(treated.users + control.users, sizes[0]),
            is_binary=outcome == "conversions",
        ).difference
        covered &= (difference.low <= truth) & (truth <= difference.high)
        helps |= difference.low > 0
        sizes_seen.append((treated.users, control.users))
    counts = np.moveaxis(np.array(sizes_seen), 0, -1)
    p_values = lift.sample_ratio(counts[0], counts[1], share=SHARE)
    return Looks(
        covered=float(covered.mean()),
        helps=float(helps.mean()),
        alarms=float((p_values[:, -1] < lift.ALARM).mean()),
    )


def _added(a: Sums, b: Sums) -> Sums:
    return Sums(**{f.name: getattr(a, f.name) + getattr(b, f.name) for f in fields(a)})


def _logistic(x: Floats | float) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(x))))


# -- the report ------------------------------------------------------------------------
