"""
Expected values against the amounts that came: ranking and sums, with their intervals.

Pure functions on arrays. Intervals are of the delta method: a figure is nearly a mean
of what each user adds to it, so its variance is that of this mean.

Source:
    Frees, Meyers and Cummings, "Summarizing Insurance Scores Using a Gini Index",
    Journal of the American Statistical Association 106, 2011: the Gini index of a score
    by the amounts that came, and its asymptotic variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propensity.learning import closed_form
from propensity.learning.bootstrap import Difference
from propensity.learning.cost import exact
from propensity.learning.metrics import summed
from propensity.models.value import Z

Floats = NDArray[np.float64]

# Of fewer buyers the index's own error holds the truth in less than 90 of 100 weeks.
_FEW = 50


@dataclass(frozen=True)
class Paid:
    """
    Users by expected value and amount; all of shape (groups,).

    Attributes:
        value: Expected of each user, from 0 on.
        amount: Paid by each, from 0 on.
        users: So many; fractions where rows carry weights.
        expansion: Users that a row stands for that was read, on average.
    """

    value: Floats
    amount: Floats
    users: Floats
    expansion: float = 1.0

    @property
    def promised(self) -> float:
        """The sum of the expected values."""
        return float((self.value * self.users).sum())

    @property
    def observed(self) -> float:
        """The sum of the amounts."""
        return float((self.amount * self.users).sum())

    def error(self, part: Floats) -> float:
        """Return the standard error of a sum over users of what each adds to it."""
        return float(np.sqrt(self.expansion * (self.users * part**2).sum()))

    @property
    def buyers(self) -> float:
        """
        Rows of one amount that would tell as much of their sum, at least 1.

        A single large amount counts for more than all the others, and so do its
        surprises. Only for amounts that are not all 0.

        Source:
            Kish, "Survey Sampling", 1965, section 11.7.
        """
        squares = float((self.users * self.amount**2).sum())
        return max(self.observed**2 / squares / self.expansion, 1.0)


def ratio(paid: Paid) -> Difference | None:
    """
    Return what came over what was promised, with its 95% interval.

    The interval is of the logarithm, so it is positive. It says what chance allows: of
    weeks whose promise is right, 95 of a hundred have 1 in it. Few buyers hardly tell
    how much amounts vary, so it has Student's quantile, of as many degrees of freedom.

    Returns:
        None where nothing was promised, or nothing came.

    Source:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.5: the
        quantile, of which three terms are within a tenth from two degrees on.
    """
    promised, observed = paid.promised, paid.observed
    if not (promised > 0 and observed > 0):
        return None
    share = observed / promised
    part = (paid.amount - share * paid.value) / observed
    degrees = paid.buyers
    student = Z + (Z**3 + Z) / (4 * degrees)
    student += (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * degrees**2)
    factor = float(np.exp(student * paid.error(part)))
    return Difference(share, share / factor, share * factor)


def normalised(paid: Paid) -> Difference | None:
    """
    Return the Gini index of the expected values over that of the amounts themselves.

    1 is a ranking that no other beats, 0 one by chance, below 0 one against the truth.
    Equal values are ranked as in all orders on average. Of few buyers the interval is
    at least that of an area under the ROC curve, to which the ranking of amounts comes.

    Returns:
        The index with its 95% interval; None where all paid the same, as nothing.
    """
    # Of equal amounts rounding alone would say which users are best.
    if not paid.observed > 0 or (paid.amount == paid.amount[0]).all():
        return None
    ranked, by_value = _concentration(paid, paid.value)
    best, by_amount = _concentration(paid, paid.amount)
    if best <= 0:
        return None
    index = ranked / best
    part = (by_value - index * by_amount) / best
    users = float(paid.users.sum())
    error = paid.error(part) / users
    low, high = index - Z * error, index + Z * error
    if paid.buyers < _FEW:
        others = max(users / paid.expansion - paid.buyers, 1.0)
        ends = closed_form.roc_auc((index + 1) / 2, paid.buyers, others)
        low, high = min(low, 2 * ends[0] - 1), max(high, 2 * ends[1] - 1)
    return Difference(index, max(low, -1.0), min(high, 1.0))


def _concentration(paid: Paid, score: Floats) -> tuple[float, Floats]:
    """
    Return the concentration of the amounts by a score, and each user's part in it.

    It is twice the mean of amount times rank, over the mean amount, less 1. The parts
    have a mean of zero: the influence of a user on the index.
    """
    n = float(paid.users.sum())
    distinct, group = np.unique(score, return_inverse=True)
    users = summed(group, paid.users, len(distinct))
    sums = summed(group, paid.users * paid.amount, len(distinct))
    # The share of users below, those with the same score counting half.
    rank = (np.cumsum(users) - users / 2) / n
    above = (sums[::-1].cumsum()[::-1] - sums / 2) / n
    mean = paid.observed / n
    middle = float((sums * rank).sum()) / n
    index = 2 * middle / mean - 1
    part = paid.amount * rank[group] + above[group] - 2 * middle
    part -= (middle / mean) * (paid.amount - mean)
    return index, 2 * part / mean


def figures(paid: Paid) -> dict[str, Any]:
    """Return the figures of expected values, by column name; money is exact."""
    columns: dict[str, Any] = {
        "value_promised": exact(paid.value, paid.users),
        "value_observed": exact(paid.amount, paid.users),
    }
    for name, figure in (
        ("value_ratio", ratio(paid)),
        ("value_gini", normalised(paid)),
    ):
        ends = (name, f"{name}_low", f"{name}_high")
        columns |= figure.columns(name) if figure else dict.fromkeys(ends)
    return columns
