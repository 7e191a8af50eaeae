"""
The gate: whether a new version goes live, and why.

A first version must rank beyond chance better than a coin and than the use case's
baseline, by all rows that it was judged on, and its probabilities must be nearer to the
outcomes than one probability for all. A challenger must not be worse than the champion
beyond chance, by ROC AUC and log loss; by the cost of its alerts where the use case
names an amount. Half-Space Trees give no probability, so only their ranking counts. A
person can overrule it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from propensity.learning.rows import Slice
from propensity.learning.trained import Rival, Trained
from propensity.measures import metrics
from propensity.measures.intervals import FEW, Difference, in_columns
from propensity.measures.metric_intervals import difference
from propensity.measures.metrics import roc_auc_slopes
from propensity.models.encoding import Floats
from propensity.pages.words import plural

# The advice for a version that training did not promote.
BY_HAND = "promote it by hand: propensity promote VERSION --force"

FIRST = "the first model of this use case"

# Share of the champion's log loss by which a challenger's may be higher, whatever the
# interval says: odds that are off by less than a half, as the weeks of a year differ.
# The season's shift makes up for that.
_SAME_LEVEL = 0.02


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    Whether the challenger becomes champion, and why.

    ``differences`` are of ``roc_auc``, ``log_loss`` and ``cost``.
    """

    promoted: bool
    reason: str
    compared_version: int | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)

    def entry(self) -> dict[str, object]:
        entry: dict[str, object] = {
            "promoted": self.promoted,
            "reason": self.reason,
            "compared_version": self.compared_version,
        }
        for name, measured in self.differences.items():
            entry |= in_columns(f"{name}_difference", measured)
        return entry


def compare(trained: Trained, champion: Rival | None) -> Verdict:
    """Decide whether a challenger goes live; the reason names suspicious features."""
    verdict = _compared(trained, champion)
    suspicions = trained.holdout.suspicions()
    warnings = [f"; WARNING: {suspicion}" for suspicion in suspicions]
    return replace(verdict, reason=verdict.reason + "".join(warnings))


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
    verdict = Verdict(promoted=False, reason="", compared_version=champion.version)
    alerts = trained.alerts
    if alerts and not alerts.is_warm:
        reason = "it is not warm yet: it has seen too few events to score"
        return replace(verdict, reason=reason)
    if champion.score is None:
        first = first_verdict(trained)
        why = f"version {champion.version} cannot score today's features"
        reason = f"{why}; {first.reason}"
        return replace(verdict, promoted=first.promoted, reason=reason)
    holdout = trained.holdout
    is_new = champion.new_rows(holdout)
    rows = holdout.rows.where(is_new)
    if not rows.has_both_classes:
        reason = _incomparable(champion.version, holdout.rows, rows)
        return replace(verdict, reason=reason)
    mine = holdout.probability[is_new]
    theirs = champion.score[is_new]
    area = roc_auc_difference(rows, mine, theirs)
    differences = {"roc_auc": area}
    is_worse = area.is_below()
    words = f"ROC AUC {area.format()}"
    cost = alerts.cost_difference(champion) if alerts else None
    if cost is not None:
        differences["cost"] = cost
        is_worse = cost.is_above()
        words = f"cost {cost.format('+,.2f')}, {words}"
    elif not (alerts and alerts.only_rank):
        loss, minimum = log_loss_difference(rows, mine, theirs)
        differences["log_loss"] = loss
        is_worse = is_worse or (loss.is_above() and loss.estimate > minimum)
        words = f"{words}, log loss {loss.format()}"
        if loss.is_above() and not is_worse:
            words += f", which may be up to {minimum:.4f} (2%) higher,"
    how = "worse" if is_worse else "not worse"
    return replace(
        verdict,
        promoted=not is_worse,
        reason=f"{how}: {words} against version {champion.version} on the same "
        f"{len(rows)} rows{alerts.words if alerts else ''}",
        differences=differences,
    )


def _incomparable(version: int, held: Slice, new: Slice) -> str:
    """Say why a challenger cannot be compared with a champion on new rows."""
    why = f"the {plural(len(new), 'known row')} of the test set have one label"
    if len(held) and not len(new):
        learned = plural(len(held), "row")
        why = f"version {version} has learned from all {learned} of the test set"
    return (
        f"it cannot be compared with version {version}: {why}. Wait for newer rows, or "
        "promote it by hand: propensity promote VERSION"
    )


def roc_auc_difference(rows: Slice, mine: Floats, other: Floats) -> Difference:
    """Return the ROC AUC of a score minus another's on the same rows."""
    area = rows.roc_auc(mine)
    other_area = rows.roc_auc(other)
    # Of rows of one class there is none; then the difference is 0.
    estimate = 0.0
    if area is not None and other_area is not None:
        estimate = area - other_area
    slopes = rows.slopes(mine, roc_auc_slopes) - rows.slopes(other, roc_auc_slopes)
    return difference(estimate, slopes, rows.label, rows.users)


def log_loss_difference(
    rows: Slice, mine: Floats, other: Floats
) -> tuple[Difference, float]:
    """Return the log loss minus another score's, and the least that counts."""
    share = rows.weight / rows.weight.sum()
    own_losses = metrics.losses(mine, rows.label)
    other_losses = metrics.losses(other, rows.label)
    losses = own_losses - other_losses
    estimate = float(share @ losses)
    slopes = share * (losses - estimate)
    minimum = _SAME_LEVEL * float(share @ other_losses)
    return difference(estimate, slopes, rows.label, rows.users), minimum


def beside_baseline(trained: Trained, name: str) -> str:
    """Say whether a model or its baseline ranked the test set better, and by what."""
    holdout = trained.holdout
    area = holdout.metrics.roc_auc
    if area is None or holdout.baseline_roc_auc is None:
        return ""
    baseline = holdout.baseline[len(trained.parts.choosing) :]
    measured = roc_auc_difference(holdout.rows, holdout.probability, baseline)
    which = "no better than"
    if measured.is_above():
        which = "better than"
    elif measured.is_below():
        which = "worse than"
    return (
        f"the model ranks the test set {which} {name}: ROC AUC {area:.3f} against "
        f"{holdout.baseline_roc_auc:.3f}, {measured.format('+.3f')}"
    )


def first_verdict(trained: Trained) -> Verdict:
    """
    Decide whether the first model of a use case goes live.

    All rows count that were scored by models of older ones: the rows candidates were
    judged on, and those held out. Half-Space Trees need no labels, so they can go live
    before there are enough to measure by.
    """
    alerts = trained.alerts
    if alerts and not alerts.is_warm:
        return Verdict(promoted=True, reason=f"{FIRST}; it is not warm yet: no scores")
    rows, score, baseline = trained.judged_forward()
    saved = alerts.words if alerts else ""
    outcomes = (
        f"{rows.conversions} of the {len(rows)} rows that it was judged on, and whose "
        "truth is known, are label 1"
    )
    fewest = min(rows.conversions, len(rows) - rows.conversions)
    if alerts and alerts.only_rank and fewest < FEW:
        reason = (
            f"{FIRST}; it has learned without truths, and too few are known to "
            f"measure it: {outcomes}{saved}"
        )
        return Verdict(promoted=True, reason=reason)
    if not rows.has_both_classes:
        reason = (
            f"not shown to be better than chance: {outcomes}, which measures nothing. "
            f"Wait for more truths, or {BY_HAND}"
        )
        return Verdict(promoted=False, reason=reason)
    unbeaten = []
    areas = []
    chance = np.full(len(rows), 0.5)
    for name, other in (("chance", chance), ("the baseline", baseline)):
        area = roc_auc_difference(rows, score, other)
        areas.append(f"{area.format()} against {name}")
        if not area.is_above():
            unbeaten.append(name)
    words = f"ROC AUC {', '.join(areas)}, on {len(rows)} rows of later weeks"
    fault = ""
    if unbeaten:
        fault = (
            f"not shown to be better than {' and '.join(unbeaten)}: {words}. Wait for "
            f"more data, add better features, or {BY_HAND}"
        )
    elif not (alerts and alerts.only_rank):
        fault = misses_level(rows, score)
    if not fault and alerts and alerts.cost_more_than_none:
        fault = (
            f"its alerts cost more than none would{saved}. Check "
            "PROPENSITY_ALERT_REVIEW_COST, the cost of a review, wait for more truths, "
            f"or {BY_HAND}"
        )
    if fault:
        return Verdict(promoted=False, reason=fault)
    reason = f"{FIRST}, and better than chance and the baseline: {words}{saved}"
    return Verdict(promoted=True, reason=reason)


def misses_level(rows: Slice, score: Floats) -> str:
    """Say that one probability for all would be nearer to the outcomes; "" if not."""
    rate = np.average(rows.label, weights=rows.weight)
    loss, _ = log_loss_difference(rows, score, np.full(len(rows), rate))
    if loss.estimate <= 0:
        return ""
    mean = np.average(score, weights=rows.weight)
    return (
        "its probabilities are farther from the outcomes than the share of label "
        f"1, {rate:.4f}, for all: their mean is {mean:.4f}, log loss "
        f"{loss.format()}. If a candidate weighs the classes, remove the weights; "
        f"otherwise wait for more data, or {BY_HAND}"
    )
