"""
The gate: whether a new version becomes the champion, and why.

One metric decides: ROC AUC, or of events with amounts the cost of their alerts. A
challenger stays out if it is worse by more than chance. A person can overrule it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from propensity.learning import alerts, intervals, season
from propensity.learning.intervals import Difference
from propensity.learning.trained import Trained
from propensity.pages.words import plural

Floats = NDArray[np.float64]

# The advice for a version that training did not promote.
BY_HAND = "promote it by hand: propensity promote VERSION --force"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    Whether the challenger becomes champion, and why.

    ``level_difference`` is the shift of the champion's log-odds that gives the
    challenger's mean probability; None where one of them gives none. ``differences``
    are of ``roc_auc`` and ``cost``.
    """

    promoted: bool
    reason: str
    compared_version: int | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    level_difference: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rival:
    """
    The champion, as a challenger is compared with it.

    Attributes:
        score: Of the challenger's holdout rows, (rows,); None where it cannot score
            today's features.
        alert_threshold: Of its training; above 1 without alerts.
        learned_roc_auc: Its training's ROC AUC, where it has learned from these rows:
            its scores of them would look better than they are. None where it has not.
    """

    version: int
    score: Floats | None
    alert_threshold: float = alerts.NO_ALERTS
    learned_roc_auc: float | None = None


def compare(trained: Trained, champion: Rival | None, *, seed: int) -> Verdict:
    """
    Decide whether a challenger becomes champion.

    Both are compared on the same rows, since some weeks are easier than others. A
    difference within chance goes to the challenger, which knows newer data. With fewer
    positives than an interval takes, it is worse if it is worse whichever of them is
    left out: no single row refuses it. If all rows are of one class, the champion
    stays. A champion that cannot score loses to any challenger that can.
    """
    if champion is None:
        return first_verdict(trained, seed=seed)
    held, other = trained.holdout, f"version {champion.version}"
    verdict = Verdict(promoted=False, reason="", compared_version=champion.version)
    if not trained.is_warm:
        reason = "it is not warm: its rows fill no window of its trees"
        return replace(verdict, reason=reason)
    if champion.score is None:
        reason = f"{other} cannot score today's features"
        return replace(verdict, promoted=True, reason=reason)
    if not held.rows.has_both_classes:
        reason = (
            f"the {len(held.rows)} known rows held out are of one class: nothing to "
            f"compare with {other} by"
        )
        return replace(verdict, reason=reason)
    rows = f"on the same {len(held.rows)} rows"
    if champion.learned_roc_auc is None:
        compared = {"roc_auc": _roc_auc(trained, champion.score, seed=seed)}
    else:
        compared = {"roc_auc": _against_record(trained, champion.learned_roc_auc)}
        rows = (
            "as its own training measured it, which has learned from these rows since"
        )
    is_worse = compared["roc_auc"].is_below()
    words = f"ROC AUC {compared['roc_auc'].written()}"
    if held.savings is not None and held.stakes is not None:
        cost = compared["cost"] = alerts.cost_difference(
            held.probability >= held.savings.alert_threshold,
            champion.score >= champion.alert_threshold,
            held.stakes,
            seed=seed,
        )
        is_worse, words = cost.is_above(), f"cost {cost.written('+,.2f')}, {words}"
    level = None
    if not trained.is_anomaly:
        level = season.level_difference(
            held.served, champion.score, weight=held.rows.weight
        )
    return replace(
        verdict,
        promoted=not is_worse,
        reason=f"{'worse' if is_worse else 'not worse'}: {words} against {other} "
        f"{rows}{_saved(trained)}",
        differences=compared,
        level_difference=level,
    )


def _roc_auc(trained: Trained, other: Floats, *, seed: int) -> Difference:
    """Return the challenger's ROC AUC less that of another score of its holdout."""
    rows = trained.holdout.rows
    return intervals.difference(
        trained.holdout.probability,
        other,
        label=rows.label,
        weight=rows.weight,
        user=rows.users,
        seed=seed,
    )


def _against_record(trained: Trained, recorded: float) -> Difference:
    """Return the ROC AUC less the one that the champion's own training measured."""
    own = trained.holdout.metrics
    low, high = (
        None if end is None else end - recorded
        for end in (own.roc_auc_low, own.roc_auc_high)
    )
    return Difference((own.roc_auc or 0.0) - recorded, low, high)


def first_verdict(trained: Trained, *, seed: int) -> Verdict:
    """
    Decide whether the first model of a use case serves.

    It must rank better than chance and than the use case's baseline, beyond chance, and
    its alerts must not cost more than none. Half-Space Trees need no labels, so they
    can serve before there are enough to measure by.
    """
    held = trained.holdout
    if not trained.is_warm:
        reason = "the first model of this use case; it is not warm yet: no scores"
        return Verdict(promoted=True, reason=reason)
    known = (
        f"{held.rows.conversions} of the {len(held.rows)} rows held out whose truth is "
        "known are label 1"
    )
    if trained.is_anomaly and held.metrics.roc_auc_low is None:
        reason = (
            "the first model of this use case; it has learned without truths, and too "
            f"few are known to measure it: {known}{_saved(trained)}"
        )
        return Verdict(promoted=True, reason=reason)
    if not held.rows.has_both_classes:
        reason = (
            f"not shown to be better than chance: {known}, which measures nothing. "
            f"Nothing serves before a model is: wait for more truths, or {BY_HAND}"
        )
        return Verdict(promoted=False, reason=reason)
    compared = {
        name: _roc_auc(trained, score, seed=seed)
        for name, score in (
            ("chance", np.full(len(held.rows), 0.5)),
            ("the baseline", held.baseline),
        )
    }
    written = [f"{area.written()} against {name}" for name, area in compared.items()]
    measured = f"ROC AUC {', '.join(written)}, on {len(held.rows)} rows held out"
    unbeaten = [name for name, area in compared.items() if not area.is_above()]
    if unbeaten:
        reason = (
            f"not shown to be better than {' and '.join(unbeaten)}: {measured}. "
            "Nothing serves before a model is: wait for more data, give it features "
            f"that tell more, or {BY_HAND}"
        )
    elif held.savings is not None and held.savings.saved < 0:
        reason = (
            f"its alerts cost more than none would{_saved(trained)}. Is "
            "PROPENSITY_ALERT_REVIEW_COST what a review costs? Else wait for more "
            f"truths, or {BY_HAND}"
        )
    else:
        reason = (
            "the first model of this use case, and better than chance and the "
            f"baseline: {measured}{_saved(trained)}"
        )
        return Verdict(promoted=True, reason=reason)
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
