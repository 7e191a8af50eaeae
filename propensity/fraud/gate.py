"""
The gate of events: a challenger is compared by the cost of its alerts, where the use
case names an amount, and otherwise as one of users. Half-Space Trees give no
probability, so only their ranking counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from propensity.fraud.alerts import NO_ALERTS, cost_difference
from propensity.fraud.trained import EventTrained
from propensity.learning import gate
from propensity.learning.gate import Rival, Verdict
from propensity.measures.intervals import FEW, Difference
from propensity.pages.words import plural


@dataclass(frozen=True, kw_only=True)
class EventRival(Rival):
    """
    The champion of a use case of events.

    Attributes:
        alert_threshold: Of its training; above 1 without alerts, None where they are
            by probability and amount.
    """

    alert_threshold: float | None = NO_ALERTS


def compare(trained: EventTrained, champion: EventRival | None) -> Verdict:
    """Decide whether a challenger goes live; the reason names suspicious features."""
    return gate.with_suspicions(_compared(trained, champion), trained.holdout)


def _compared(trained: EventTrained, champion: EventRival | None) -> Verdict:
    if champion is None:
        return first_verdict(trained)
    if not trained.is_warm:
        return Verdict(
            promoted=False,
            reason="it is not warm yet: it has seen too few events to score",
            compared_version=champion.version,
        )
    if champion.score is None:
        return gate.unrivalled(first_verdict(trained), champion.version)
    holdout = trained.holdout
    verdict = Verdict(promoted=False, reason="", compared_version=champion.version)
    is_new = champion.new_rows(holdout)
    rows = holdout.rows.where(is_new)
    if not rows.has_both_classes:
        reason = gate.incomparable(champion.version, holdout.rows, rows)
        return replace(verdict, reason=reason)
    mine = holdout.probability[is_new]
    theirs = champion.score[is_new]
    area = gate.roc_auc_difference(rows, mine, theirs)
    differences = {"roc_auc": area}
    is_worse = area.is_below()
    words = f"ROC AUC {area.format()}"
    if holdout.savings is not None:
        cost = _cost_difference(trained, champion)
        differences["cost"] = cost
        is_worse = cost.is_above()
        words = f"cost {cost.format('+,.2f')}, {words}"
    elif not trained.is_anomaly:
        loss, minimum = gate.log_loss_difference(rows, mine, theirs)
        differences["log_loss"] = loss
        is_worse = is_worse or gate.is_worse_level(loss, minimum)
        words = f"{words}, log loss {loss.format()}"
    verdict = gate.compared(
        verdict, differences, is_worse=is_worse, words=words, n_rows=len(rows)
    )
    return replace(verdict, reason=verdict.reason + saved_in_words(trained))


def _cost_difference(trained: EventTrained, champion: EventRival) -> Difference:
    """Return the cost of a challenger's alerts on the holdout less a champion's."""
    holdout = trained.holdout
    assert holdout.savings is not None
    assert holdout.stakes is not None
    assert champion.score is not None
    threshold = holdout.savings.alert_threshold
    return cost_difference(
        holdout.stakes.alerts(holdout.probability, threshold),
        holdout.stakes.alerts(champion.score, champion.alert_threshold),
        holdout.stakes,
        user=holdout.rows.users,
    )


def first_verdict(trained: EventTrained) -> Verdict:
    """
    Decide whether the first model of a use case goes live.

    Half-Space Trees need no labels, so they can go live before there are enough to
    measure by. Alerts must not cost more than none would.
    """
    if not trained.is_warm:
        reason = f"{gate.FIRST}; it is not warm yet: no scores"
        return Verdict(promoted=True, reason=reason)
    rows, score, baseline = trained.judged_forward()
    fewest = min(rows.conversions, len(rows) - rows.conversions)
    if trained.is_anomaly and fewest < FEW:
        reason = (
            f"{gate.FIRST}; it has learned without truths, and too few are known to "
            f"measure it: {gate.known_outcomes(rows)}{saved_in_words(trained)}"
        )
        return Verdict(promoted=True, reason=reason)
    if not rows.has_both_classes:
        return gate.refused(gate.one_class(rows))
    ranked = gate.ranking(rows, score, baseline)
    if ranked.unbeaten:
        return gate.refused(gate.not_better(ranked))
    fault = "" if trained.is_anomaly else gate.misses_level(rows, score)
    savings = trained.holdout.savings
    if not fault and savings is not None and savings.saved < 0:
        fault = (
            f"its alerts cost more than none would{saved_in_words(trained)}. Check "
            "PROPENSITY_ALERT_REVIEW_COST, the cost of a review, wait for more truths, "
            f"or {gate.BY_HAND}"
        )
    if fault:
        return gate.refused(fault)
    reason = gate.better(ranked) + saved_in_words(trained)
    return Verdict(promoted=True, reason=reason)


def saved_in_words(trained: EventTrained) -> str:
    """Say what the alerts save, and on how many frauds; "" without amounts."""
    savings = trained.holdout.savings
    if savings is None:
        return ""
    basis = f"; on {plural(trained.holdout.rows.conversions, 'fraud')}"
    lost = f"{savings.cost_without:,.2f}"
    if not savings.alerted:
        return f"{basis} it has no alerts, and saves nothing of {lost}"
    interval = "too few for an interval"
    if savings.saved_low is not None:
        interval = f"{savings.saved_low:,.2f} to {savings.saved_high:,.2f}"
    return f"{basis} its alerts save {savings.saved:,.2f} of {lost} ({interval})"
