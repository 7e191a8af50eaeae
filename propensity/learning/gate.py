"""
The gate: whether a new version goes live, and why.

A first version must rank beyond chance better than a coin and than the use case's
baseline, by all rows that it was judged on, and its probabilities must be nearer to the
outcomes than one probability for all. A challenger must not be worse than the champion
beyond chance, by ROC AUC and log loss. ``fraud.gate`` is the gate of events, whose
alerts have a cost. A person can overrule both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from propensity.learning.rows import Slice
from propensity.learning.trained import Holdout, Trained
from propensity.measures import metrics
from propensity.measures.intervals import Difference, difference, in_columns
from propensity.measures.metrics import roc_auc_slopes
from propensity.models.encoding import Flags, Floats
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


@dataclass(frozen=True, kw_only=True)
class Rival:
    """
    The champion, as a challenger is compared with it.

    Attributes:
        score: Of the challenger's holdout rows, (rows,); None where it cannot score
            today's features.
        is_new: Which of these rows it has not learned from, (rows,); None for all.
    """

    version: int
    score: Floats | None
    is_new: Flags | None = None

    def new_rows(self, holdout: Holdout) -> Flags:
        """Return which rows of a holdout it has not learned from, (rows,)."""
        if self.is_new is not None:
            return self.is_new
        return np.ones(len(holdout.rows), np.bool_)


def compare(trained: Trained, champion: Rival | None) -> Verdict:
    """Decide whether a challenger goes live; the reason names suspicious features."""
    return with_suspicions(_compared(trained, champion), trained.holdout)


def with_suspicions(verdict: Verdict, holdout: Holdout) -> Verdict:
    """Return a verdict whose reason names the features that may know the outcome."""
    warnings = [f"; WARNING: {suspicion}" for suspicion in holdout.suspicions()]
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
    if champion.score is None:
        return unrivalled(first_verdict(trained), champion.version)
    holdout = trained.holdout
    verdict = Verdict(promoted=False, reason="", compared_version=champion.version)
    is_new = champion.new_rows(holdout)
    rows = holdout.rows.where(is_new)
    if not rows.has_both_classes:
        reason = incomparable(champion.version, holdout.rows, rows)
        return replace(verdict, reason=reason)
    mine = holdout.probability[is_new]
    theirs = champion.score[is_new]
    area = roc_auc_difference(rows, mine, theirs)
    loss, minimum = log_loss_difference(rows, mine, theirs)
    is_worse = area.is_below() or is_worse_level(loss, minimum)
    return compared(
        verdict,
        {"roc_auc": area, "log_loss": loss},
        is_worse=is_worse,
        words=f"ROC AUC {area.format()}, log loss {loss.format()}",
        n_rows=len(rows),
    )


def unrivalled(first: Verdict, version: int) -> Verdict:
    """Return the verdict beside a champion that cannot score today's features."""
    reason = f"version {version} cannot score today's features; {first.reason}"
    return replace(first, compared_version=version, reason=reason)


def incomparable(version: int, held: Slice, new: Slice) -> str:
    """Say why a challenger cannot be compared with a champion on new rows."""
    why = f"the {plural(len(new), 'known row')} of the test set have one label"
    if len(held) and not len(new):
        learned = plural(len(held), "row")
        why = f"version {version} has learned from all {learned} of the test set"
    return (
        f"it cannot be compared with version {version}: {why}. Wait for newer rows, or "
        "promote it by hand: propensity promote VERSION"
    )


def compared(
    verdict: Verdict,
    differences: Mapping[str, Difference],
    *,
    is_worse: bool,
    words: str,
    n_rows: int,
) -> Verdict:
    how = "worse" if is_worse else "not worse"
    return replace(
        verdict,
        promoted=not is_worse,
        reason=f"{how}: {words} against version {verdict.compared_version} on the same "
        f"{n_rows} rows",
        differences=differences,
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


def is_worse_level(loss: Difference, minimum: float) -> bool:
    """Tell whether a log loss is higher beyond chance, and by enough to count."""
    return loss.is_above() and loss.estimate > minimum


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


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """
    How a first version ranked the rows of later weeks.

    Attributes:
        unbeaten: What it does not rank better than beyond chance.
        words: Its ROC AUC beside chance and the baseline.
    """

    unbeaten: Sequence[str]
    words: str


def ranking(rows: Slice, score: Floats, baseline: Floats) -> Ranking:
    """Compare scores, (rows,), with chance and with ranks by the baseline."""
    unbeaten = []
    areas = []
    chance = np.full(len(rows), 0.5)
    for name, other in (("chance", chance), ("the baseline", baseline)):
        area = roc_auc_difference(rows, score, other)
        areas.append(f"{area.format()} against {name}")
        if not area.is_above():
            unbeaten.append(name)
    words = f"ROC AUC {', '.join(areas)}, on {len(rows)} rows of later weeks"
    return Ranking(unbeaten=unbeaten, words=words)


def first_verdict(trained: Trained) -> Verdict:
    """
    Decide whether the first model of a use case goes live.

    All rows count that were scored by models of older ones: the rows candidates were
    judged on, and those held out.
    """
    rows, score, baseline = trained.judged_forward()
    if not rows.has_both_classes:
        return refused(one_class(rows))
    ranked = ranking(rows, score, baseline)
    if ranked.unbeaten:
        return refused(not_better(ranked))
    misses = misses_level(rows, score)
    if misses:
        return refused(misses)
    return Verdict(promoted=True, reason=better(ranked))


def refused(reason: str) -> Verdict:
    """Return the verdict on a first version that does not go live."""
    return Verdict(promoted=False, reason=reason)


def known_outcomes(rows: Slice) -> str:
    """Say how many rows of known outcomes are of label 1."""
    return (
        f"{rows.conversions} of the {len(rows)} rows that it was judged on, and whose "
        "truth is known, are label 1"
    )


def one_class(rows: Slice) -> str:
    """Say that rows of one class measure nothing."""
    return (
        f"not shown to be better than chance: {known_outcomes(rows)}, which measures "
        f"nothing. Wait for more truths, or {BY_HAND}"
    )


def not_better(ranked: Ranking) -> str:
    """Say what a first version does not rank better than."""
    return (
        f"not shown to be better than {' and '.join(ranked.unbeaten)}: {ranked.words}. "
        f"Wait for more data, add better features, or {BY_HAND}"
    )


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


def better(ranked: Ranking) -> str:
    """Say that a first version is better than chance and the baseline."""
    return f"{FIRST}, and better than chance and the baseline: {ranked.words}"
