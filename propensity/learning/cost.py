"""
The cost of alerts: their reviews, and the frauds that none of them stopped.

An event whose score reaches a threshold is an alert, and somebody reviews it. A review
costs the same whatever it finds, and stops a fraud; a fraud without an alert costs its
amount. So a policy costs reviews and missed amounts, no alerts at all cost the amounts
of all frauds, and the difference is what the policy saves: negative where reviews cost
more than they brought. Pure functions on arrays; sums of money are exact.

Source:
    Bahnsen, Stojanovic, Aouada and Ottersten, "Cost Sensitive Credit Card Fraud
    Detection Using Bayes Minimum Risk", ICMLA 2013: the costs. Bahnsen, Aouada and
    Ottersten, "Example-dependent cost-sensitive decision trees", Expert Systems with
    Applications 42, 2015: savings. Theirs are over the cheaper of no alerts and alerts
    alone; here always over no alerts, since nobody reviews every event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from propensity.learning.bootstrap import LEVEL, Difference, rows_per_row
from propensity.learning.metrics import summed

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Scores are at most 1, so none reaches it: the threshold of no alerts.
NEVER = 2.0

# A larger amount is a mistake: so sums stay within BigQuery's NUMERIC.
MAXIMUM_AMOUNT = 1e15

RESAMPLES = 1_000

FOLDS = 5

# Bounds the memory of resampling many frauds.
_DRAWN_AT_ONCE = 1_000_000

# Decimals of BigQuery's NUMERIC.
_NUMERIC = Decimal("1e-9")
_DIGITS = 60


@dataclass(frozen=True, kw_only=True)
class Stakes:
    """
    Events of known truth, and what they cost.

    Attributes:
        is_fraud: (rows,).
        amount: Lost with a fraud that is missed, (rows,), from 0 to MAXIMUM_AMOUNT.
        weight: Events that a row stands for, (rows,), positive.
        review_cost: Of an alert.
    """

    is_fraud: Flags
    amount: Floats
    weight: Floats
    review_cost: float

    @property
    def frauds(self) -> int:
        """Rows that are fraud."""
        return int(self.is_fraud.sum())


def floats(column: pa.ChunkedArray) -> Floats:
    """
    Return numbers as the nearest floats, NaN for null, (rows,).

    Arrow's own cast of money is off in the last place for two amounts of five.
    """
    if pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.string())
    values: Floats = pc.cast(column, pa.float64()).to_numpy()
    return values


def amounts(values: Floats) -> Floats:
    """Return amounts as they can be lost: nothing where missing or negative."""
    return np.clip(np.nan_to_num(values, posinf=MAXIMUM_AMOUNT), 0.0, MAXIMUM_AMOUNT)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    What a policy of alerts does to some events.

    Attributes:
        amount, weight: Of every fraud, (frauds,).
        is_caught: Whether it is an alert, (frauds,).
        false_alerts: Alerts that are not frauds; a fraction where rows have weights.
        expansion: Events per row of these, on average.
        review_cost: Of an alert.
    """

    amount: Floats
    weight: Floats
    is_caught: Flags
    false_alerts: float
    review_cost: float
    expansion: float = 1.0

    @property
    def frauds(self) -> int:
        """Rows that are fraud."""
        return len(self.amount)

    @property
    def caught(self) -> float:
        """Frauds among the alerts."""
        return float(self.weight[self.is_caught].sum())

    @property
    def alerts(self) -> float:
        """Events that are reviewed."""
        return self.caught + self.false_alerts

    @property
    def cost(self) -> Decimal:
        """Reviews, and amounts of missed frauds."""
        missed = ~self.is_caught
        reviews = exact([self.review_cost], [self.alerts])
        return reviews + exact(self.amount[missed], self.weight[missed])

    @property
    def cost_without(self) -> Decimal:
        """Amounts of all frauds: the cost without any alert."""
        return exact(self.amount, self.weight)

    @property
    def saved(self) -> Decimal:
        """The cost without any alert less the cost."""
        return self.cost_without - self.cost

    @property
    def saved_share(self) -> float | None:
        """The share of ``cost_without`` that is saved; None where nothing was lost."""
        without = self.cost_without
        return float(self.saved / without) if without else None

    def interval(self, *, seed: int) -> tuple[Decimal, Decimal] | None:
        """
        Return the 95% interval of ``saved``; None without a fraud.

        Few frauds say little, and resampling only what was seen would hide it: of three
        that were missed it never draws one that is caught. So half a fraud is added
        that is caught, and half a one that is missed, each of an amount drawn from the
        others (Jeffreys' prior of the share that is caught), and all are resampled by
        the Bayesian bootstrap. No resample knows a larger amount than those seen: where
        amounts spread widely, few frauds make too narrow an interval all the same.

        Source:
            Rubin, "The Bayesian Bootstrap", Annals of Statistics 9, 1981. Brown, Cai
            and DasGupta, "Interval Estimation for a Binomial Proportion", Statistical
            Science 16, 2001: Jeffreys' interval.
        """
        if not self.frauds:
            return None
        if not self.alerts:
            return Decimal(0), Decimal(0)
        generator = np.random.default_rng(seed)
        gain = self.amount - self.review_cost
        drawn = _resampled(
            np.where(self.is_caught, gain, 0.0), self.weight, gain, (1, 0), generator
        )
        drawn -= self.review_cost * _counted(
            self.false_alerts, self.expansion, generator
        )
        low, high = _ends(drawn)
        return money(low), money(high)


def policy(alerted: Flags, stakes: Stakes) -> Policy:
    """Return what alerts, (rows,), do to events."""
    fraud, false = stakes.is_fraud, alerted & ~stakes.is_fraud
    return Policy(
        amount=stakes.amount[fraud],
        weight=stakes.weight[fraud],
        is_caught=alerted[fraud],
        false_alerts=float(stakes.weight[false].sum()),
        expansion=rows_per_row(stakes.weight[false]),
        review_cost=stakes.review_cost,
    )


def cheapest_threshold(score: Floats, stakes: Stakes) -> float:
    """
    Return the score from which alerts are cheapest on these rows.

    It lies halfway between the last score that is an alert and the next one. Of two
    that cost the same the higher counts, with fewer alerts. It is NEVER if no alert
    pays, as where no row is fraud.

    Args:
        score: (rows,), in [0, 1].

    Source:
        Sheng and Ling, "Thresholding for Making Classifiers Cost-sensitive", AAAI 2006.
    """
    if not stakes.frauds:
        return NEVER
    distinct, group = np.unique(score, return_inverse=True)
    lost = np.where(stakes.is_fraud, stakes.amount, 0.0)
    worth = stakes.weight * (lost - stakes.review_cost)
    saved = np.cumsum(summed(group, worth, len(distinct))[::-1])
    best = int(np.argmax(saved))
    if saved[best] <= 0:
        return NEVER
    descending = distinct[::-1]
    following = descending[min(best + 1, len(distinct) - 1)]
    return float((descending[best] + following) / 2)


def alerts_held_back(score: Floats, stakes: Stakes) -> Flags:
    """
    Return alerts, (rows,), each by a threshold that was chosen without its row.

    Rows are dealt in their order to folds, frauds and others each, and a fold gets the
    threshold that is cheapest on the others.
    """
    fold = np.empty(len(score), np.int64)
    for part in (stakes.is_fraud, ~stakes.is_fraud):
        fold[part] = np.arange(part.sum()) % FOLDS
    alerted = np.zeros(len(score), bool)
    for number in range(FOLDS):
        here = fold == number
        others = Stakes(
            is_fraud=stakes.is_fraud[~here],
            amount=stakes.amount[~here],
            weight=stakes.weight[~here],
            review_cost=stakes.review_cost,
        )
        alerted[here] = score[here] >= cheapest_threshold(score[~here], others)
    return alerted


def paired_difference(
    challenger: Flags, champion: Flags, stakes: Stakes, *, seed: int
) -> Difference:
    """
    Return the cost of the challenger's alerts less the champion's, with its interval.

    Events that both treat alike cancel out. The interval is that of
    ``Policy.interval``, with half a fraud that only the challenger catches, half a one
    that only the champion does, and as much that both catch or miss.

    Args:
        challenger, champion: Alerts, (rows,).
        stakes: The same rows; at least one is fraud.
    """
    estimate = float(policy(challenger, stakes).cost - policy(champion, stakes).cost)
    if np.array_equal(challenger, champion):
        return Difference(0.0, 0.0, 0.0)
    generator = np.random.default_rng(seed)
    fraud, price = stakes.is_fraud, stakes.review_cost
    gain = stakes.amount[fraud] - price
    sign = champion[fraud].astype(float) - challenger[fraud]
    drawn = _resampled(
        sign * gain, stakes.weight[fraud], gain, (1, -1, 0, 0), generator
    )
    for factor, alone in ((1, challenger & ~champion), (-1, champion & ~challenger)):
        weight = stakes.weight[alone & ~fraud]
        drawn += (
            factor * price * _counted(weight.sum(), rows_per_row(weight), generator)
        )
    low, high = _ends(drawn)
    return Difference(estimate, low, high)


def money(value: float | Decimal) -> Decimal:
    """Return a sum of money with the decimals of BigQuery's NUMERIC."""
    with localcontext() as context:
        context.prec = _DIGITS
        exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
        return exact.quantize(_NUMERIC)


def plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures as JSON has them: money as floats."""
    return {
        name: float(figure) if isinstance(figure, Decimal) else figure
        for name, figure in figures.items()
    }


def exact(values: Iterable[float], weights: Iterable[float]) -> Decimal:
    """Return the sum of products, exact in decimals: 0.1 is a tenth."""
    with localcontext() as context:
        context.prec = _DIGITS
        total = sum(
            (
                Decimal(repr(float(value))) * Decimal(repr(float(weight)))
                for value, weight in zip(values, weights, strict=True)
                if value  # of most users it is nothing
            ),
            Decimal(0),
        )
        return money(total)


def _resampled(
    worth: Floats,
    weight: Floats,
    gain: Floats,
    added: tuple[int, ...],
    generator: np.random.Generator,
) -> Floats:
    """
    Return resamples of the sum of weighted worth, (RESAMPLES,).

    Args:
        worth: Of each fraud, (frauds,).
        weight: Of each, (frauds,).
        gain: Of each if it is caught, (frauds,).
        added: Half a fraud each, worth that many gains of a fraud that is drawn.
    """
    total, count = float(weight.sum()), len(worth)
    size = total**2 / float((weight**2).sum())
    kinds = np.array(added, dtype=float)
    at_once = max(1, _DRAWN_AT_ONCE // count)
    drawn = []
    for begin in range(0, RESAMPLES, at_once):
        n = min(at_once, RESAMPLES - begin)
        each = generator.standard_exponential((n, count)) * weight
        more = generator.standard_gamma(0.5, (n, len(kinds))) * total / count
        value = (each * worth).sum(axis=1)
        value += (more * kinds).sum(axis=1) * generator.choice(gain, n)
        # Nor is it known how many frauds there are elsewhere.
        frauds = generator.standard_gamma(size + 0.5, n) * total / size
        drawn.append(frauds * value / (each.sum(axis=1) + more.sum(axis=1)))
    return np.concatenate(drawn)


def _counted(events: float, expansion: float, generator: np.random.Generator) -> Floats:
    """Return resamples of a number of events, (RESAMPLES,), by Jeffreys' prior."""
    rows = events / expansion
    return expansion * generator.standard_gamma(rows + 0.5, RESAMPLES)


def _ends(drawn: Floats) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def figures(of: Policy, threshold: float, *, seed: int) -> dict[str, object]:
    """Return the figures of a policy, by column name."""
    interval = of.interval(seed=seed)
    low, high = interval or (None, None)
    return {
        "review_cost": money(of.review_cost),
        "alert_threshold": threshold,
        "alerted": round(of.alerts),
        "alerted_conversions": round(of.caught),
        "cost": of.cost,
        "cost_without": of.cost_without,
        "saved": of.saved,
        "saved_low": low,
        "saved_high": high,
        "saved_share": of.saved_share,
    }
