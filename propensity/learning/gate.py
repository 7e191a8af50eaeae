"""
The gate: whether a new version becomes the champion, and why.

One metric decides: ROC AUC, or of events with amounts the cost of their alerts. A
challenger stays out if it is worse by more than chance. Only the gate decides it; a
person can overrule it by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from propensity.learning import alerts, metrics, season
from propensity.learning.fit import Trained
from propensity.learning.intervals import Difference, differences

Floats = NDArray[np.float64]

# The advice for a version that training did not promote.
BY_HAND = "promote it by hand: propensity promote VERSION --force"

_NAMES = {
    "cost": "cost",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "log loss",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    Whether the challenger becomes champion, and why.

    ``level_difference`` is the shift of the champion's log-odds that gives the
    challenger's mean probability; None where one of them gives none.
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

    Without a champion ``first_verdict`` decides. A difference within the noise goes to
    the challenger, which knows newer data; with fewer positives than an interval takes,
    the estimate itself decides. Both are compared on the same rows, since some weeks
    are easier than others. If these are of one class, nothing can be compared and the
    champion stays. A champion that cannot score loses to any challenger that can.
    """
    if champion is None:
        return first_verdict(trained, seed=seed)
    verdict = Verdict(promoted=False, reason="", compared_version=champion.version)
    held = trained.holdout
    if not trained.is_warm:
        return replace(
            verdict, reason="it is not warm: its rows fill no window of its trees"
        )
    if champion.score is None:
        return replace(
            verdict,
            promoted=True,
            reason=f"version {champion.version} cannot score today's features",
        )
    if not held.rows.has_both_classes:
        return replace(
            verdict,
            reason=f"the {len(held.rows)} known rows held out are of one class: "
            f"nothing to compare with version {champion.version} by",
        )
    if champion.learned_roc_auc is None:
        compared = _differences(trained, champion, seed=seed)
        rows = f"on the same {len(held.rows)} rows"
    else:
        compared = _against_record(trained, champion.learned_roc_auc)
        rows = (
            "as its own training measured it, which has learned from these rows since"
        )
    deciding = next(iter(compared))
    difference = compared[deciding]
    is_worse = difference.is_above() if deciding == "cost" else difference.is_below()
    words = ", ".join(
        f"{_NAMES[name]} {apart.written('+,.2f' if name == 'cost' else '+.4f')}"
        for name, apart in compared.items()
    )
    level = None
    if not trained.is_anomaly:
        weight = held.rows.weight
        level = season.level_difference(held.served, champion.score, weight=weight)
    return replace(
        verdict,
        promoted=not is_worse,
        reason=f"{'worse' if is_worse else 'not worse'}: {words} against version "
        f"{champion.version} {rows}{_saved(trained)}",
        differences=compared,
        level_difference=level,
    )


def _differences(
    trained: Trained, champion: Rival, *, seed: int
) -> dict[str, Difference]:
    """Return the challenger's metrics less the champion's, the deciding one first."""
    assert champion.score is not None
    held, is_of_events = trained.holdout, trained.parts.unlabelled is not None
    measures = {"roc_auc": metrics.roc_auc, "log_loss": metrics.log_loss}
    if is_of_events:
        measures = {"pr_auc": metrics.pr_auc, "roc_auc": metrics.roc_auc}
    compared = differences(
        held.probability,
        champion.score,
        measures,
        label=held.rows.label,
        weight=held.rows.weight,
        user=held.rows.users,
        seed=seed,
    )
    if held.savings is None or held.stakes is None:
        return compared
    cost = alerts.cost_difference(
        held.probability >= held.savings.alert_threshold,
        champion.score >= champion.alert_threshold,
        held.stakes,
        seed=seed,
    )
    return {"cost": cost, **compared}


def _against_record(trained: Trained, recorded: float) -> dict[str, Difference]:
    """Return the ROC AUC less the one that the champion's own training measured."""
    own = trained.holdout.metrics
    low, high = (
        None if end is None else end - recorded
        for end in (own.roc_auc_low, own.roc_auc_high)
    )
    return {"roc_auc": Difference((own.roc_auc or 0.0) - recorded, low, high)}


def first_verdict(trained: Trained, *, seed: int) -> Verdict:
    """
    Decide whether the first model of a use case serves.

    It must rank better than chance and than the use case's baseline: the 95% intervals
    of both differences in ROC AUC lie above zero. Its alerts must not cost more than
    none. Half-Space Trees need no labels, so they can serve before there are enough to
    measure by, and the reason says so. A model that learns from labels does not serve
    unproved.
    """
    held = trained.holdout
    if not trained.is_warm:
        return Verdict(
            promoted=True,
            reason="the first model of this use case; it is not warm yet, and gives no "
            "scores",
        )
    known = (
        f"{held.rows.conversions} of the {len(held.rows)} rows held out whose truth is "
        "known are label 1"
    )
    if trained.is_anomaly and not held.is_enough:
        return Verdict(
            promoted=True,
            reason="the first model of this use case; it has learned without truths, "
            f"and too few are known to measure it: {known}{_saved(trained)}",
        )
    if not held.rows.has_both_classes:
        return Verdict(
            promoted=False,
            reason=f"not shown to be better than chance: {known}, which measures "
            "nothing. Nothing serves before a model is: wait for more truths, or "
            f"{BY_HAND}",
        )
    verdict = _better_than_chance(trained, seed=seed)
    saved = held.savings
    if verdict.promoted and saved is not None and saved.saved < 0:
        return Verdict(
            promoted=False,
            reason=f"its alerts cost more than none would{_saved(trained)}. Is "
            "PROPENSITY_ALERT_REVIEW_COST what a review costs? Else wait for more "
            f"truths, or {BY_HAND}",
        )
    return verdict


def _better_than_chance(trained: Trained, *, seed: int) -> Verdict:
    """Require that a model ranks better than chance, and better than the baseline."""
    held = trained.holdout
    rivals = {"chance": np.full(len(held.rows), 0.5), "the baseline": held.baseline}
    compared, unbeaten = [], []
    for name, rival in rivals.items():
        area = differences(
            held.probability,
            rival,
            {"roc_auc": metrics.roc_auc},
            label=held.rows.label,
            weight=held.rows.weight,
            user=held.rows.users,
            seed=seed,
        )["roc_auc"]
        compared.append(f"{area.written()} against {name}")
        if not area.is_above():
            unbeaten.append(name)
    measured = f"ROC AUC {', '.join(compared)}, on {len(held.rows)} rows held out"
    if unbeaten:
        return Verdict(
            promoted=False,
            reason=f"not shown to be better than {' and '.join(unbeaten)}: {measured}. "
            "Nothing serves before a model is: wait for more data, give it features "
            f"that tell more, or {BY_HAND}",
        )
    return Verdict(
        promoted=True,
        reason="the first model of this use case, and better than chance and the "
        f"baseline: {measured}{_saved(trained)}",
    )


def _saved(trained: Trained) -> str:
    """Say what the alerts save; nothing of users."""
    saved = trained.holdout.savings
    if saved is None:
        return ""
    frauds = trained.holdout.rows.conversions
    return f"; {alerts.described(saved.columns(), frauds=frauds)}"
