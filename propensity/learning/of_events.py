"""
Models of events: chosen, measured and judged by what their alerts cost.

Beside the cost stands PR AUC, which tells of the ranking where frauds are rare. Without
amounts, or without a fraud to choose a threshold by, it decides alone. ROC AUC is
recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from propensity.learning import cost, metrics
from propensity.learning.bootstrap import Difference
from propensity.learning.cost import NEVER, Flags, Policy, Stakes
from propensity.learning.data import Parts, Slice
from propensity.learning.importance import baseline_score
from propensity.settings import Settings
from propensity.usecases import UseCase

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Costed:
    """
    What alerts cost on the rows held out, by the threshold of the rows to choose on.

    Attributes:
        choosing, holdout: The rows' amounts and truths.
        threshold: Score from which an event is an alert; NEVER if none pays, as where
            no row to choose on is fraud.
        policy: These alerts on the rows held out.
        figures: By column name, with what alerts by the baseline save.
    """

    choosing: Stakes
    holdout: Stakes
    threshold: float
    policy: Policy
    figures: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether a challenger is worse than the champion, in words and differences."""

    is_worse: bool
    words: str
    differences: Mapping[str, Difference]


def stakes(part: Slice, use_case: UseCase, settings: Settings) -> Stakes | None:
    """Return what labelled rows cost; None if the use case names no amount."""
    if not use_case.amount:
        return None
    return Stakes(
        is_fraud=part.label == 1,
        amount=cost.amounts(cost.floats(part.rows[use_case.amount])),
        weight=part.weight,
        review_cost=settings.alert_review_cost,
    )


def threshold_rows(parts: Parts, *, is_anomaly: bool) -> Slice:
    """
    Return the labelled rows to choose a threshold of alerts on.

    They are the rows that the model was chosen on. Where these have no fraud, trees get
    all labelled rows before those held out: they learned no label of any.
    """
    if is_anomaly and not parts.choosing.conversions:
        return _joined(parts.fitting, parts.choosing)
    return parts.choosing


def costed(
    choosing: Slice,
    holdout: Slice,
    scores: tuple[Floats, Floats],
    use_case: UseCase,
    settings: Settings,
) -> Costed | None:
    """
    Return what a model's alerts cost; None if the use case names no amount.

    Args:
        choosing, holdout: Labelled rows.
        scores: The model's, of either.
        use_case: Its amount and its baseline.
        settings: The cost of a review, and the seed.
    """
    earlier = stakes(choosing, use_case, settings)
    later = stakes(holdout, use_case, settings)
    if earlier is None or later is None:
        return None
    threshold, policy = _measured(scores, earlier, later)
    ranks = baseline_score(use_case, _joined(choosing, holdout))
    split = (ranks[: len(choosing)], ranks[len(choosing) :])
    _, baseline = _measured(split, earlier, later)
    return Costed(
        choosing=earlier,
        holdout=later,
        threshold=threshold,
        policy=policy,
        figures={
            **cost.figures(policy, threshold, seed=settings.seed),
            "baseline_saved": baseline.saved,
        },
    )


def _joined(earlier: Slice, later: Slice) -> Slice:
    return Slice(
        rows=pa.concat_tables([earlier.rows, later.rows]),
        label=np.concatenate([earlier.label, later.label]),
        weight=np.concatenate([earlier.weight, later.weight]),
    )


def _measured(
    scores: tuple[Floats, Floats], earlier: Stakes, later: Stakes
) -> tuple[float, Policy]:
    """Choose a threshold on earlier rows, and measure it on later ones."""
    before, after = scores
    threshold = cost.cheapest_threshold(before, earlier)
    return threshold, cost.policy(after >= threshold, later)


def alerts(
    holdout: Slice, score: Floats, use_case: UseCase, settings: Settings
) -> list[dict[str, float | None]]:
    """Return recall and cost of reviewing the highest scores, by alert rate."""
    at = stakes(holdout, use_case, settings)
    return metrics.alerts(
        score,
        holdout.label,
        np.zeros(len(holdout)) if at is None else at.amount,
        review_cost=settings.alert_review_cost,
        weight=holdout.weight,
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The place of the candidate to take, and the cost of each; None if unknown."""

    place: int
    costs: Sequence[float | None]


def choose(
    scores: Sequence[Floats | None],
    choosing: Slice,
    at: Stakes | None,
    *,
    trees: Collection[int] = (),
    seed: int,
) -> Choice:
    """
    Choose among candidates, of which the simpler stand first.

    The cheapest is best, each alert by a threshold that was chosen on other rows; of
    equally cheap ones the one with the highest PR AUC. A simpler one is taken in its
    place unless it is worse: unless the 95% interval of the difference in cost, or in
    PR AUC, lies wholly on the wrong side.

    Args:
        scores: Of each candidate, (rows,); None for one that gives none.
        choosing: Labelled rows, none of which a candidate was fitted on.
        at: What they cost; None where nobody says.
        trees: Places of candidates that learned without truths. They count as the last,
            not the simplest: of two that are alike the one that knows truths is taken.
    """
    there = {place: score for place, score in enumerate(scores) if score is not None}
    if not there or not choosing.has_both_classes:
        return Choice(place=0, costs=[None] * len(scores))
    alerts: dict[int, Flags] = {}
    costs: dict[int, float] = {}
    if at is not None:
        alerts = {
            place: cost.alerts_held_back(score, at) for place, score in there.items()
        }
        costs = {
            place: float(cost.policy(alerted, at).cost)
            for place, alerted in alerts.items()
        }
    areas = {
        place: metrics.pr_auc(choosing.outcomes(score)) or 0.0
        for place, score in there.items()
    }
    best = min(there, key=lambda place: (costs.get(place, 0.0), -areas[place], place))

    def falls_behind(place: int) -> bool:
        if at is not None:
            dearer = cost.paired_difference(alerts[place], alerts[best], at, seed=seed)
            if dearer.low > 0:
                return True
        apart = choosing.differences(there[place], there[best], seed=seed)
        return apart["pr_auc"].high < 0

    order = sorted(there, key=lambda place: (place in trees, place))
    simplest = next(
        place for place in order if place == best or not falls_behind(place)
    )
    return Choice(place=simplest, costs=[costs.get(n) for n in range(len(scores))])


def judge(
    costed: Costed | None,
    challenger: Floats,
    champion: Floats,
    champion_earlier: Floats | None,
    holdout: Slice,
    *,
    version: int,
    is_measured: bool,
    seed: int,
) -> Judgement:
    """
    Judge a challenger by the champion, on the same rows held out.

    It is worse if any of these holds:

    - It costs more: the 95% interval of the difference in cost lies above zero.
    - It ranks worse: that of the difference in PR AUC lies below zero, unless it is
      shown to cost less.
    - Its alerts cost more than none would, and the champion's cost less than its own.
    - Both figures are worse, however wide the intervals. Of fewer frauds than
      ``minimum_conversions`` one of the two suffices: so few prove nothing,
      and the champion stays unless all speaks for the challenger.

    Both have the threshold that is cheapest on the rows to choose on. Any other
    difference goes to the challenger, which knows newer data.

    Args:
        costed: Of the challenger; None where nobody says what events cost.
        challenger, champion: Scores of the rows held out.
        champion_earlier: The champion's scores of the rows to choose on; None without.
        holdout: Of both classes.
        version: Of the champion.
        is_measured: Whether the frauds held out are enough to measure by.
    """
    areas = holdout.differences(challenger, champion, seed=seed)
    differences = {name: areas[name] for name in ("pr_auc", "roc_auc")}
    words = [f"PR AUC {signed(areas['pr_auc'])}", f"ROC AUC {signed(areas['roc_auc'])}"]
    against = _against(costed, challenger, champion, champion_earlier, seed=seed)
    if against is not None:
        differences = {"cost": against.difference, **differences}
        words = [f"cost {signed(against.difference, '+,.2f')}", *words]
    return Judgement(
        is_worse=is_worse(areas["pr_auc"], against, is_measured=is_measured),
        words=f"{', '.join(words)} against version {version} on the same "
        f"{len(holdout)} events with {_frauds(holdout.conversions)}"
        f"{'' if is_measured else ': that proves little'}"
        f"{f'; {worth(costed)}' if costed else ''}",
        differences=differences,
    )


@dataclass(frozen=True)
class Against:
    """Cost less the champion's; whether alerts are a loss, and a greater one."""

    difference: Difference
    is_greater_loss: bool


def _against(
    costed: Costed | None,
    challenger: Floats,
    champion: Floats,
    champion_earlier: Floats | None,
    *,
    seed: int,
) -> Against | None:
    """Compare two models by cost; None where nobody knows what alerts cost."""
    if costed is None or champion_earlier is None:
        return None
    threshold, rival = _measured(
        (champion_earlier, champion), costed.choosing, costed.holdout
    )
    difference = cost.paired_difference(
        challenger >= costed.threshold,
        champion >= threshold,
        costed.holdout,
        seed=seed,
    )
    own = costed.policy.saved
    return Against(difference, own < min(rival.saved, Decimal(0)))


def is_worse(
    ranking: Difference, against: Against | None, *, is_measured: bool
) -> bool:
    """Apply the rules of ``judge``; without a cost those of PR AUC alone."""
    if against is None:
        return ranking.high < 0 or (not is_measured and ranking.estimate < 0)
    dearer = against.difference
    looks_worse = (dearer.estimate > 0, ranking.estimate < 0)
    return (
        against.is_greater_loss
        or dearer.low > 0
        or ranking.high < 0 <= dearer.high
        or (all(looks_worse) if is_measured else any(looks_worse))
    )


def worth(costed: Costed) -> str:
    """Say what alerts save, how many frauds that rests on, and how sure it is."""
    if costed.threshold >= NEVER:
        return (
            f"with {_frauds(costed.choosing.frauds)} among the "
            f"{len(costed.choosing.is_fraud)} rows to choose a threshold on, no alert "
            f"paid its review of {written(costed.holdout.review_cost)}: so it has no "
            "alerts, and saves nothing"
        )
    figures = costed.figures
    return savings(costed.policy, figures["saved_low"], figures["saved_high"])


def savings(policy: Policy, low: Decimal | None, high: Decimal | None) -> str:
    """
    Say what a policy saves or loses, and how many frauds that rests on.

    Args:
        low, high: The 95% interval of ``saved``; None where there is none.
    """
    saved, without = policy.saved, written(policy.cost_without)
    frauds = _frauds(policy.frauds)
    if not policy.alerts:
        return f"on {frauds} it has no alerts, and saves nothing of {without}"
    claim = (
        f"its alerts save {written(saved)} of {without}"
        if saved >= 0
        else f"looking costs {written(-saved)} more than it brings"
    )
    if low is None or high is None:
        return f"on {frauds} {claim}"
    sure = f"between {written(low)} and {written(high)} saved"
    proof = ": that proves little" if low < 0 < high else ""
    return f"on {frauds} {claim}, {sure}{proof}"


def is_loss(costed: Costed, *, is_proved: bool) -> bool:
    """
    Tell whether a model's alerts cost more than none would.

    ``is_proved``: only the whole 95% interval counts, not the figure.
    """
    if not is_proved:
        return costed.policy.saved < 0
    high: Decimal | None = costed.figures["saved_high"]
    return high is not None and high < 0


def _frauds(count: int) -> str:
    return f"{count} fraud{'' if count == 1 else 's'}"


def written(money: float | Decimal) -> str:
    """Write a sum of money."""
    return f"{money:,.2f}"


def signed(difference: Difference, form: str = "+.4f") -> str:
    """Write a difference with its interval; in the form of areas if none is given."""
    low, high = difference.low, difference.high
    return f"{difference.estimate:{form}} ({low:{form}} to {high:{form}})"
