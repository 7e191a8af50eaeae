"""
The gate: whether a new version goes live, and why.

A first version must rank beyond chance better than a coin and than the use case's
baseline, by all rows that it was judged on, and its probabilities must be nearer to the
outcomes than one probability for all. A challenger must not be worse than the champion
beyond chance: by ROC AUC and log loss, or of events with amounts by the cost of their
alerts. A person can overrule it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from propensity import fraud
from propensity.learning import season
from propensity.learning.rows import Slice
from propensity.learning.trained import Trained
from propensity.measures import metrics
from propensity.measures.intervals import FEW, Difference, difference
from propensity.measures.metrics import roc_auc_slopes
from propensity.models.encoding import Flags, Floats
from propensity.pages.words import plural

# The advice for a version that training did not promote.
BY_HAND = "promote it by hand: propensity promote VERSION --force"

# Share of the champion's log loss by which a challenger's may be higher, whatever the
# interval says: odds that are off by less than a half, as the weeks of a year differ.
# The season's shift makes up for that.
_SAME_LEVEL = 0.02


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    Whether the challenger becomes champion, and why.

    ``level_difference`` is the shift of the champion's log-odds that gives the
    challenger's mean probability; None where one of them gives none. ``differences``
    are of ``roc_auc``, ``log_loss`` and ``cost``.
    """

    promoted: bool
    reason: str
    compared_version: int | None = None
    level_difference: float | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)

    def entry(self) -> dict[str, object]:
        """Return what a card has of it."""
        entry: dict[str, object] = {**vars(self)}
        del entry["differences"]
        for name, apart in self.differences.items():
            entry |= {
                f"{name}_difference": apart.estimate,
                f"{name}_difference_low": apart.low,
                f"{name}_difference_high": apart.high,
            }
        return entry


@dataclass(frozen=True, kw_only=True)
class Rival:
    """
    The champion, as a challenger is compared with it.

    Attributes:
        score: Of the challenger's holdout rows, (rows,); None where it cannot score
            today's features.
        is_new: Which of these rows it has not learned from, (rows,); None for all.
        alert_threshold: Of its training; above 1 without alerts, None where they are
            by probability and amount.
    """

    version: int
    score: Floats | None
    is_new: Flags | None = None
    alert_threshold: float | None = fraud.NO_ALERTS


def compare(trained: Trained, champion: Rival | None) -> Verdict:
    """Decide whether a challenger goes live; the reason names suspicious features."""
    verdict = _compared(trained, champion)
    warnings = [f"; WARNING: {one}" for one in trained.holdout.suspicions()]
    return replace(verdict, reason="".join([verdict.reason, *warnings]))


def _compared(trained: Trained, champion: Rival | None) -> Verdict:
    """
    Compare a challenger with the champion, or judge it as a first version.

    Both are compared on the same rows, since some weeks are easier than others, and on
    rows that neither has learned from. A difference within chance goes to the
    challenger, which knows newer data; where it knows none, or all rows are of one
    class, the champion stays. Where the champion cannot score, the challenger is judged
    as a first version is.
    """
    if champion is None:
        return first_verdict(trained)
    other, held = f"version {champion.version}", trained.holdout
    verdict = Verdict(promoted=False, reason="", compared_version=champion.version)
    if not trained.is_warm:
        reason = "it is not warm yet: it has seen too few events to score"
        return replace(verdict, reason=reason)
    if champion.score is None:
        first = first_verdict(trained)
        reason = f"{other} cannot score today's features; {first.reason}"
        return replace(verdict, promoted=first.promoted, reason=reason)
    if not trained.is_anomaly:
        weight = held.rows.weight
        level = season.level_difference(held.live, champion.score, weight=weight)
        verdict = replace(verdict, level_difference=level)
    is_new = champion.is_new
    if is_new is None:
        is_new = np.ones(len(held.rows), np.bool_)
    rows = held.rows.where(is_new)
    if not rows.has_both_classes:
        why = f"the {plural(len(rows), 'known row')} of the test set have one label"
        if len(held.rows) and not len(rows):
            known = plural(len(held.rows), "row")
            why = f"{other} has learned from all {known} of the test set"
        reason = (
            f"it cannot be compared with {other}: {why}. Wait for newer rows, or "
            "promote it by hand: propensity promote VERSION"
        )
        return replace(verdict, reason=reason)
    mine, theirs = held.probability[is_new], champion.score[is_new]
    area = _roc_auc(rows, mine, theirs)
    compared, words = {"roc_auc": area}, f"ROC AUC {area.format()}"
    is_worse = area.is_below()
    if held.savings is not None and held.stakes is not None:
        cost = fraud.cost_difference(
            held.stakes.alerts(held.probability, held.savings.alert_threshold),
            held.stakes.alerts(champion.score, champion.alert_threshold),
            held.stakes,
            user=held.rows.users,
        )
        compared["cost"], is_worse = cost, cost.is_above()
        words = f"cost {cost.format('+,.2f')}, {words}"
    elif not trained.is_anomaly:
        loss, least = _log_loss(rows, mine, theirs)
        compared["log_loss"] = loss
        is_worse = is_worse or (loss.is_above() and loss.estimate > least)
        words = f"{words}, log loss {loss.format()}"
    return replace(
        verdict,
        promoted=not is_worse,
        reason=f"{'worse' if is_worse else 'not worse'}: {words} against {other} on "
        f"the same {len(rows)} rows{_saved(trained)}",
        differences=compared,
    )


def _roc_auc(rows: Slice, mine: Floats, other: Floats) -> Difference:
    """Return the ROC AUC of a score minus another's on the same rows."""
    apart = (rows.roc_auc(mine) or 0.0) - (rows.roc_auc(other) or 0.0)
    slopes = rows.slopes(mine, roc_auc_slopes) - rows.slopes(other, roc_auc_slopes)
    return difference(apart, slopes, rows.label, rows.users)


def beside_baseline(trained: Trained, name: str) -> str:
    """Say whether a model or its baseline ranked the test set better, and by what."""
    held = trained.holdout
    area = held.metrics.roc_auc
    if area is None or held.baseline_roc_auc is None:
        return ""
    baseline = held.baseline[len(trained.parts.choosing) :]
    apart = _roc_auc(held.rows, held.probability, baseline)
    which = "no better than"
    if apart.is_above() or apart.is_below():
        which = "better than" if apart.is_above() else "worse than"
    return (
        f"the model ranks the test set {which} {name}: ROC AUC {area:.3f} against "
        f"{held.baseline_roc_auc:.3f}, {apart.format('+.3f')}"
    )


def _log_loss(rows: Slice, mine: Floats, other: Floats) -> tuple[Difference, float]:
    """Return the log loss minus another score's, and the least that counts."""
    share = rows.weight / rows.weight.sum()
    losses = [metrics.losses(score, rows.label) for score in (mine, other)]
    apart = losses[0] - losses[1]
    estimate = float(share @ apart)
    slopes = share * (apart - estimate)
    least = _SAME_LEVEL * float(share @ losses[1])
    return difference(estimate, slopes, rows.label, rows.users), least


def first_verdict(trained: Trained) -> Verdict:
    """
    Decide whether the first model of a use case goes live.

    All rows count that were scored by models of older ones: the rows candidates were
    judged on, and those held out. Half-Space Trees need no labels, so they can go live
    before there are enough to measure by.
    """
    first = "the first model of this use case"
    if not trained.is_warm:
        reason = f"{first}; it is not warm yet: no scores"
        return Verdict(promoted=True, reason=reason)
    rows, score, baseline = trained.judged_forward()
    positives, saved = rows.conversions, trained.holdout.savings
    known = (
        f"{positives} of the {len(rows)} rows that it was judged on, and whose "
        "truth is known, are label 1"
    )
    if trained.is_anomaly and min(positives, len(rows) - positives) < FEW:
        reason = (
            f"{first}; it has learned without truths, and too few are known to measure "
            f"it: {known}{_saved(trained)}"
        )
        return Verdict(promoted=True, reason=reason)
    if not rows.has_both_classes:
        reason = (
            f"not shown to be better than chance: {known}, which measures nothing. "
            f"Wait for more truths, or {BY_HAND}"
        )
        return Verdict(promoted=False, reason=reason)
    unbeaten, written = [], []
    chance = np.full(len(rows), 0.5)
    for name, other in (("chance", chance), ("the baseline", baseline)):
        area = _roc_auc(rows, score, other)
        written.append(f"{area.format()} against {name}")
        if not area.is_above():
            unbeaten.append(name)
    measured = f"ROC AUC {', '.join(written)}, on {len(rows)} rows of later weeks"
    rate = np.average(rows.label, weights=rows.weight)
    loss, _ = _log_loss(rows, score, np.full(len(rows), rate))
    if unbeaten:
        reason = (
            f"not shown to be better than {' and '.join(unbeaten)}: {measured}. "
            f"Wait for more data, add better features, or {BY_HAND}"
        )
    elif not trained.is_anomaly and loss.estimate > 0:
        mean = np.average(score, weights=rows.weight)
        reason = (
            "its probabilities are farther from the outcomes than the share of label "
            f"1, {rate:.4f}, for all: their mean is {mean:.4f}, log loss "
            f"{loss.format()}. If a candidate weighs the classes, remove the weights; "
            f"otherwise wait for more data, or {BY_HAND}"
        )
    elif saved is not None and saved.saved < 0:
        reason = (
            f"its alerts cost more than none would{_saved(trained)}. Check "
            "PROPENSITY_ALERT_REVIEW_COST, the cost of a review, wait for more truths, "
            f"or {BY_HAND}"
        )
    else:
        reason = f"{first}, and better than chance and the baseline: {measured}"
        return Verdict(promoted=True, reason=f"{reason}{_saved(trained)}")
    return Verdict(promoted=False, reason=reason)


def _saved(trained: Trained) -> str:
    """Say what the alerts save, and on how many frauds; nothing of users."""
    saved, frauds = trained.holdout.savings, trained.holdout.rows.conversions
    if saved is None:
        return ""
    known, lost = f"; on {plural(frauds, 'fraud')}", f"{saved.cost_without:,.2f}"
    if not saved.alerted:
        return f"{known} it has no alerts, and saves nothing of {lost}"
    low, high = saved.saved_low, saved.saved_high
    interval = "too few for an interval"
    if low is not None:
        interval = f"{low:,.2f} to {high:,.2f}"
    return f"{known} its alerts save {saved.saved:,.2f} of {lost} ({interval})"
