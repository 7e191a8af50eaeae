"""
How far expected values are from what users pay, measured forward in time, less chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from propensity.learning.amounts import paid
from propensity.learning.data import Slice
from propensity.models.value import Uncertainty, Z, chance

Floats = NDArray[np.float64]

# How far the amounts of some weeks are from those before, in log: the standard
# deviation that is expected before these weeks are seen.
_LEVEL_PRIOR = 0.05

# Users of a week by expected value, in so many groups of one size.
GROUPS = 20

_CONFIDENCE = 0.9

# Standard deviation of a promise's error before a week is seen, and how many degrees of
# freedom that counts for.
_ERROR_PRIOR, _PRIOR_FREEDOM = 0.15, 4.0


def level(rows: Slice, probability: Floats, amount: Floats) -> tuple[float, float]:
    """
    Return the factor that makes sums of expected values equal to what was paid.

    It is amounts paid over amounts promised, divided by the same ratio of conversions,
    since the season takes care of the level of probabilities. As far as chance may
    explain it, it is shrunk towards 1.

    Returns:
        The factor, and the standard deviation of its logarithm: the posterior mean and
        deviation of a normal.
    """
    weight, amounts = rows.weight, paid(rows)
    terms = [amounts, rows.label.astype(np.float64), probability * amount, probability]
    sums = [float((weight * term).sum()) for term in terms]
    if min(sums) <= 0:
        return 1.0, _LEVEL_PRIOR
    signs = (1.0, -1.0, -1.0, 1.0)
    log_ratio, part = 0.0, np.zeros(len(rows))
    for sign, term, total in zip(signs, terms, sums, strict=True):
        log_ratio += sign * float(np.log(total))
        part += sign * weight * term / total
    # Rows of one user are alike, so the error is of the users' sums.
    variance = float((np.bincount(rows.users, part) ** 2).sum())
    kept = _LEVEL_PRIOR**2 / (_LEVEL_PRIOR**2 + variance)
    return float(np.exp(kept * log_ratio)), float(np.sqrt(kept * variance))


def uncertainty(
    rows: Slice, probability: Floats, amount: Floats, *, unsure: float
) -> Uncertainty:
    """
    Return how far amounts and sums were from what was expected of them.

    Args:
        rows: Scored forward in time.
        probability, amount: Of these, (rows,).
        unsure: Standard deviation of the logarithm of the level.
    """
    weight, is_buyer = rows.weight, rows.label == 1
    squares = weight[is_buyer] * (paid(rows) - amount)[is_buyer] ** 2
    expected = weight[is_buyer] * amount[is_buyer] ** 2
    spread = float(squares.sum() / expected.sum()) if expected.sum() > 0 else 0.0
    error, week_error = (
        relative_error(grouped(rows, probability, amount, spread, count))
        for count in (GROUPS, 1)
    )
    # A week's error is in all of its groups, which tell it less well than their sum.
    return Uncertainty(
        spread=spread,
        error=float(np.hypot(max(error, week_error), unsure)),
        week_error=float(np.hypot(week_error, unsure)),
    )


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Sums of users of a week with like expected values; all (groups,)."""

    promised: Floats
    observed: Floats
    variance: Floats


def grouped(
    rows: Slice, probability: Floats, amount: Floats, spread: float, count: int
) -> Groups:
    """Return sums of each week's users, in so many groups by expected value."""
    value, amounts, weight = probability * amount, paid(rows), rows.weight
    by_chance = weight**2 * chance(probability, amount, spread)
    as_of = rows.rows["as_of"].to_numpy()
    sums: list[tuple[float, float, float]] = []
    for week in np.unique(as_of):
        places = np.flatnonzero(as_of == week)
        places = places[np.argsort(value[places], kind="stable")]
        for part in np.array_split(places, count):
            promised = float((weight[part] * value[part]).sum())
            if promised > 0:
                observed = float((weight[part] * amounts[part]).sum())
                sums.append((promised, observed, float(by_chance[part].sum())))
    table = np.array(sums).reshape(len(sums), 3)
    return Groups(promised=table[:, 0], observed=table[:, 1], variance=table[:, 2])


def relative_error(groups: Groups) -> float:
    """
    Return the standard deviation of promises' errors, as a share of them.

    That is what is left of the differences when chance is taken out, a group counting
    for as much as it tells. Amounts have a heavy tail, so few buyers tell it badly: one
    large purchase may make it look large, and in every other group chance as too large
    an excuse. So it is shrunk towards what is expected before any week is seen, the
    more so the less is known, and its upper end is taken: of a scaled inverse
    chi-square distribution, the one-sided 90% interval.

    Source:
        DerSimonian and Kacker, "Random-effects model for meta-analysis of clinical
        trials: An update", Contemporary Clinical Trials 28, 2007: the moments. Gelman
        et al., "Bayesian Data Analysis", 2013, section 2.6: the distribution.
    """
    if not len(groups.promised):
        return 0.0
    prior = _ERROR_PRIOR**2
    by_chance = groups.variance / groups.promised**2
    excess = (groups.observed / groups.promised - 1) ** 2 - by_chance
    weight = (by_chance + prior) ** -2
    weight /= weight.sum()
    variance = max(float((weight * excess).sum()), 0.0)
    # As large as chance makes it, and at least as the groups themselves are apart.
    noise = max(
        2 * float((weight**2 * (by_chance + variance) ** 2).sum()),
        float((weight**2 * (excess - variance) ** 2).sum()),
    )
    # What the groups tell of the variance, in degrees of freedom. Of its square as much
    # is noise: a single purchase that is all there is tells nothing.
    freedom = 2 * max(variance**2 - noise, prior**2) / max(noise, 1e-12)
    total = _PRIOR_FREEDOM * prior + freedom * variance
    return float(np.sqrt(total / chdtri(_PRIOR_FREEDOM + freedom, _CONFIDENCE)))


def coverage(
    rows: Slice, probability: Floats, amount: Floats, *, errors: Uncertainty
) -> float | None:
    """Return the share of groups whose sums were within interval and chance."""
    groups = grouped(rows, probability, amount, errors.spread, GROUPS)
    if not len(groups.promised):
        return None
    whole = groups.variance + (errors.error * groups.promised) ** 2
    inside = np.abs(groups.observed - groups.promised) <= Z * np.sqrt(whole)
    return float(inside.mean())
