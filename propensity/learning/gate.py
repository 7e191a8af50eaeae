"""
The gate: whether a new version becomes the champion, and why.

Only the gate decides it; a person can overrule it by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from propensity.learning import of_events, season
from propensity.learning.bootstrap import Difference

if TYPE_CHECKING:
    from propensity.learning.fit import Trained

Floats = NDArray[np.float64]

# A larger fall of ROC AUC counts as worse even with too few rows to prove it.
_TOLERATED = 0.01

# The advice for a version that training did not promote.
BY_HAND = "promote it by hand: propensity promote VERSION --force"


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


def compare(
    trained: Trained,
    champion: Floats | None,
    *,
    version: int | None,
    seed: int,
    earlier: Floats | None = None,
) -> Verdict:
    """
    Decide whether a challenger becomes champion.

    Without a champion ``first_verdict`` decides. A model of events is judged by its
    cost: ``of_events.judge``. Of users, the challenger wins unless it is worse: the 95%
    interval of the difference in ROC AUC or in log loss lies wholly on the wrong side,
    or ROC AUC falls by more than a hundredth, however wide the interval. A difference
    within the noise goes to the challenger, which knows newer data. Both are compared
    on the same rows, since some weeks are easier than others. If these are of one
    class, nothing can be compared and the champion stays. A champion that cannot score
    loses to any challenger that can.

    Args:
        champion: The champion's scores of the challenger's holdout rows; None without
            a champion, or for one that cannot score today's features.
        version: Of the champion; None without one.
        earlier: The champion's scores of the rows that the challenger was chosen on;
            of events only.
    """
    if version is None:
        return first_verdict(trained, seed=seed)
    verdict = partial(Verdict, compared_version=version)
    if not trained.is_warm:
        count = trained.rows["train"]
        return verdict(
            promoted=False,
            reason=f"it is not warm: {count} rows fill no window of its trees",
        )
    if champion is None:
        return verdict(
            promoted=True,
            reason=f"version {version} {trained.kind.unusable} today's features",
        )
    holdout = trained.holdout
    if not holdout.has_both_classes:
        of = f"label {1 if holdout.conversions else 0}" if len(holdout) else "no label"
        return verdict(
            promoted=False,
            reason=f"the {len(holdout)} known rows held out are of {of} alone: nothing "
            f"to compare with version {version} by",
        )
    if trained.kind.has_alerts:
        return _compare_costs(trained, champion, earlier, version=version, seed=seed)
    return _compare_ranking(trained, champion, version=version, seed=seed)


def _compare_costs(
    trained: Trained,
    champion: Floats,
    earlier: Floats | None,
    *,
    version: int,
    seed: int,
) -> Verdict:
    """Decide by what the alerts of a model of events cost."""
    judged = of_events.judge(
        trained.costed,
        trained.probability,
        champion,
        earlier,
        trained.holdout,
        version=version,
        is_measured=trained.is_measured,
        seed=seed,
    )
    return Verdict(
        promoted=not judged.is_worse,
        reason=("worse: " if judged.is_worse else "not worse: ") + judged.words,
        compared_version=version,
        differences=judged.differences,
    )


def _compare_ranking(
    trained: Trained, champion: Floats, *, version: int, seed: int
) -> Verdict:
    """Decide between models of users, by ROC AUC and log loss."""
    holdout, served = trained.holdout, trained.served_probability
    differences = holdout.differences(trained.probability, champion, seed=seed)
    area, loss = differences["roc_auc"], differences["log_loss"]
    is_worse = area.high < 0 or area.estimate < -_TOLERATED or loss.low > 0
    return Verdict(
        promoted=not is_worse,
        reason=f"{'worse' if is_worse else 'not worse'}: "
        f"ROC AUC {of_events.signed(area)}, log loss {of_events.signed(loss)} "
        f"against version {version} on the same {len(holdout)} rows",
        compared_version=version,
        differences={"roc_auc": area, "log_loss": loss},
        level_difference=season.level_difference(
            trained.probability if served is None else served,
            champion,
            weight=holdout.weight,
        ),
    )


def first_verdict(trained: Trained, *, seed: int) -> Verdict:
    """
    Decide whether the first model of a use case serves.

    It must be better than chance and than the use case's baseline, where that can be
    measured. Half-Space Trees need no labels, so they can serve before there are any:
    they do if the holdout rows have fewer of label 1 than
    ``minimum_conversions``, and the reason says that nothing is proved yet.
    A model that learns from labels does not serve unproved.

    Alerts of the first model must not cost more than no alerts. Of trees that serve
    unproved, that has to be shown: by the whole 95% interval.
    """
    verdict = _first_by_ranking(trained, seed=seed)
    costed = trained.costed
    if costed is None:
        return verdict
    worth = of_events.worth(costed)
    is_proved = trained.is_anomaly and not trained.is_measured
    if verdict.promoted and of_events.is_loss(costed, is_proved=is_proved):
        return Verdict(
            promoted=False,
            reason=f"{worth}. Nothing serves whose alerts cost more than none: is "
            "PROPENSITY_ALERT_REVIEW_COST what a review costs? Else wait for more "
            f"truths, or {BY_HAND} ({verdict.reason})",
        )
    return replace(verdict, reason=f"{verdict.reason}; {worth}")


def _first_by_ranking(trained: Trained, *, seed: int) -> Verdict:
    """Decide by the ranking alone."""
    if not trained.is_warm:
        return Verdict(
            promoted=True,
            reason="the first model of this use case; it is not warm yet, and gives no "
            "scores",
        )
    holdout = trained.holdout
    if holdout.has_both_classes and (trained.is_measured or not trained.is_anomaly):
        return _better_than_chance(trained, seed=seed)
    known = (
        f"{holdout.conversions} of the {len(holdout)} rows held out whose truth is "
        "known are label 1"
    )
    if not trained.is_anomaly:
        return Verdict(
            promoted=False,
            reason=f"not shown to be better than chance: {known}, which measures "
            f"nothing. Nothing serves before a model is: wait for more truths, or "
            f"{BY_HAND}",
        )
    return Verdict(
        promoted=True,
        reason="the first model of this use case; it has learned without truths, and "
        f"too few are known to say what it is worth: {known}",
    )


def _better_than_chance(trained: Trained, *, seed: int) -> Verdict:
    """
    Require that a model ranks better than chance, and better than the baseline.

    The 95% intervals of both differences in ROC AUC must lie above zero, on the holdout
    rows, which have both classes. Log loss does not count: a baseline gives no
    probability.
    """
    holdout = trained.holdout
    [baseline] = trained.baselines
    rivals = {"chance": np.full(len(holdout), 0.5), baseline: trained.baseline_score}
    compared, unbeaten = [], []
    for name, rival in rivals.items():
        differences = holdout.differences(trained.probability, rival, seed=seed)
        area = differences["roc_auc"]
        compared.append(f"{of_events.signed(area)} against {name}")
        if area.low <= 0:
            unbeaten.append(name)
    figures = f"ROC AUC {', '.join(compared)}, on {len(holdout)} rows held out"
    if unbeaten:
        return Verdict(
            promoted=False,
            reason=f"not shown to be better than {' and '.join(unbeaten)}: {figures}. "
            "Nothing serves before a model is: wait for more data, give it features "
            f"that tell more, or {BY_HAND}",
        )
    return Verdict(
        promoted=True,
        reason=f"the first model of this use case, and better than chance and "
        f"{baseline}: {figures}",
    )
