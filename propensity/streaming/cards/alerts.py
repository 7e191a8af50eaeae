"""
Alerts: which events they are, and what they save.

A person reviews an alert. A review has one cost whatever it finds, and stops a fraud; a
fraud without an alert costs its amount. So an event is an alert where its probability
times its amount reaches the cost of a review. An anomaly score is no probability: there
an event is an alert from the cheapest threshold on, if its amount reaches that cost.
Where the amount is unknown nothing is known to be lost, and there is no alert.

No alerts at all cost the amounts of all frauds, and the difference is what alerts save:
negative where reviews cost more than they brought.

Source:
    Bahnsen, Stojanovic, Aouada and Ottersten, "Cost Sensitive Credit Card Fraud
    Detection Using Bayes Minimum Risk", ICMLA 2013: the costs, and probability times
    amount. Sheng and Ling, "Thresholding for Making Classifiers Cost-sensitive", AAAI
    2006: the threshold of anomaly scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.measures.intervals import FEW, NORMAL, Difference
from propensity.measures.metric_intervals import difference
from propensity.measures.metrics import summed
from propensity.measures.money import exact_money
from propensity.measures.revenue import amounts, total
from propensity.models.encoding import Flags, Floats, floats_of
from propensity.tables.models import Savings

# Scores are at most 1, so none reaches it.
NO_ALERTS = 2.0


@dataclass(frozen=True, kw_only=True)
class Stakes:
    """
    Events of known truth, and what they cost, in arrays of (rows,).

    ``amount``, as ``revenue.amounts``, is lost with a fraud that is missed. A row
    stands for ``weight`` events.
    """

    is_fraud: Flags
    amount: Floats
    weight: Floats
    review_cost: float

    @property
    def gain(self) -> Floats:
        """What a row saves if it is an alert, and costs if negative, (rows,)."""
        lost = np.where(self.is_fraud, self.amount, 0.0)
        return np.asarray(self.weight * (lost - self.review_cost), dtype=np.float64)

    def alerts(self, score: Floats, threshold: float | None) -> Flags:
        """Return which rows are alerts; only anomaly scores have a threshold."""
        if threshold is None:
            return np.asarray(score * self.amount >= self.review_cost)
        return (score >= threshold) & (self.amount >= self.review_cost)


def cheapest_threshold(score: Floats, stakes: Stakes) -> float:
    """
    Return the score from which alerts are cheapest on these rows, (rows,) in [0, 1].

    No row is an alert whose amount does not reach the cost of a review. It lies halfway
    between the last score that is an alert and the next one. Of two that cost the same
    the higher counts. NO_ALERTS if no alert pays.
    """
    gain = np.where(stakes.amount >= stakes.review_cost, stakes.gain, 0.0)
    distinct, group = np.unique(score, return_inverse=True)
    saved = np.cumsum(summed(group, gain, len(distinct))[::-1])
    if not saved.max(initial=0.0) > 0:
        return NO_ALERTS
    best = int(np.argmax(saved))
    descending = distinct[::-1]
    following = descending[min(best + 1, len(distinct) - 1)]
    return float((descending[best] + following) / 2)


def savings(alerted: Flags, stakes: Stakes, *, threshold: float | None) -> Savings:
    """Return what alerts, (rows,), save, with a 95% interval of FEW frauds."""
    lost = total((stakes.amount * stakes.weight)[stakes.is_fraud])
    gain = np.where(alerted, stakes.gain, 0.0)
    saved = total(gain)
    # A row may have come more or less often: a Poisson count's variance is its mean.
    half = NORMAL * math.sqrt(float((gain**2).sum()))
    has_interval = stakes.is_fraud.sum() >= FEW
    caught = alerted & stakes.is_fraud
    return Savings(
        review_cost=exact_money(stakes.review_cost),
        alert_threshold=threshold,
        alerted=round(float(stakes.weight[alerted].sum())),
        alerted_conversions=round(float(stakes.weight[caught].sum())),
        cost=lost - saved,
        cost_without=lost,
        saved=saved,
        saved_low=exact_money(float(saved) - half) if has_interval else None,
        saved_high=exact_money(float(saved) + half) if has_interval else None,
        saved_share=float(saved / lost) if lost else None,
    )


def saved_by_groups(groups: pa.Table, review_cost: float) -> Savings | None:
    """Return what a day's alerts save; None for a version without alerts."""
    rows = groups.filter(pc.is_valid(groups["probability"])).sort_by("probability")
    if not len(rows) or rows["is_alert"].null_count:
        return None
    events = floats_of(rows["users"])
    is_fraud = rows["conversions"].to_numpy() > 0
    # Each fraud is drawn by itself for the interval, others by their group.
    rows_of_group = np.where(is_fraud, events, 1).astype(int)
    group_of_row = np.repeat(np.arange(len(events)), rows_of_group)
    stakes = Stakes(
        is_fraud=is_fraud[group_of_row],
        amount=amounts(floats_of(rows["lost"]))[group_of_row],
        weight=np.where(is_fraud, 1.0, events)[group_of_row],
        review_cost=review_cost,
    )
    is_alert = rows["is_alert"].to_numpy()[group_of_row]
    return savings(is_alert, stakes, threshold=rows["alert_threshold"][0].as_py())


def cost_difference(
    challenger: Flags, champion: Flags, stakes: Stakes, *, user: NDArray[np.int64]
) -> Difference:
    """Return the cost of a challenger's alerts less a champion's, drawn by user."""
    gain = np.where(champion, stakes.gain, 0.0) - np.where(challenger, stakes.gain, 0.0)
    return difference(float(total(gain)), gain, stakes.is_fraud, user)
