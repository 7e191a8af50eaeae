"""
Whether a first look's model ranks rows better than by chance, perhaps, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from propensity.learning import gate
from propensity.learning.trained import Trained
from propensity.measures.intervals import NORMAL, POWER, Difference

# A ranking is taken for one that tells something, and is none, once in so many tables.
_BY_CHANCE = 0.001


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """
    How a model ranks rows: known, perhaps, or not at all.

    Attributes:
        is_known: Whether it, or its best column, ranks better than by chance.
        more: Its ROC AUC above 0.5 on the rows that were judged.
        chance: How often a table without anything in it looks so; None unless it seems
            to rank, and is not known to.
        times_rows: How many times as many rows would probably make it known.
    """

    is_known: bool
    more: Difference
    chance: float | None = None
    times_rows: float = 1.0

    @property
    def is_too_few(self) -> bool:
        """Whether more rows may show that it ranks."""
        return self.chance is not None

    def claim(self, rows: str, outcome: str) -> str:
        """Say on top of a page what it can't tell of rows; "" if it is known."""
        if self.is_known:
            return ""
        if self.is_too_few:
            return f"Too few rows to say which {rows} {outcome}."
        return f"These columns don't tell which {rows} {outcome}."


def ranking_of(trained: Trained) -> Ranking:
    """
    Tell whether the model or its best column ranks better than by chance.

    By all rows that a model of older ones scored. The best of many columns ranks better
    than one by chance, so that the chance of each is a part of that of all.
    """
    rows, score, baseline = trained.judged_forward()
    features = len(trained.measured.preprocessor.feature_names_in_)
    guessed = np.full(len(rows), 0.5)
    more = gate.roc_auc_difference(rows, score, guessed)
    is_known = _is_beyond(more, _BY_CHANCE)
    if not is_known:
        of_column = gate.roc_auc_difference(rows, baseline, guessed)
        is_known = _is_beyond(of_column, _BY_CHANCE / features)
    if is_known or more.low is None or more.low <= 0:
        return Ranking(is_known=is_known, more=more)
    errors = more.estimate / (more.estimate - more.low) * NORMAL
    needed = stats.norm.isf(_BY_CHANCE) + POWER
    return Ranking(
        is_known=False,
        more=more,
        chance=float(stats.norm.sf(errors)),
        times_rows=float((needed / errors) ** 2),
    )


def _is_beyond(area: Difference, chance: float) -> bool:
    if area.low is None:
        return False
    error = (area.estimate - area.low) / NORMAL
    return bool(area.estimate > error * stats.norm.isf(chance))


def compared(
    trained: Trained,
    baseline: str,
    *,
    ranking: Ranking,
    is_better: bool,
    is_later: bool,
) -> str:
    """Say how the model and its best column rank rows that were judged."""
    rows, score, ranks = trained.judged_forward()
    judged = f"{len(rows):,} {'rows of later times' if is_later else 'further rows'}"
    if ranking.chance is not None:
        needed = float(f"{len(trained.parts.every) * ranking.times_rows:.2g}")
        return (
            "too few rows to say: the model seems to rank (ROC AUC "
            f"{ranking.more.format('+.3f')} above guessing on {judged}); one table in "
            f"{1 / ranking.chance:,.0f} looks so by chance. With about {needed:,.0f} "
            "rows it would be known"
        )
    if not ranking.is_known:
        areas = [trained.holdout.metrics.roc_auc, trained.holdout.baseline_roc_auc]
        shown = " and ".join(f"{area:.3f}" for area in areas)
        return (
            f"neither the model nor {baseline} tells one row from another: ROC AUC "
            f"{shown} on the test set, where 0.5 is guessing; on {judged} the model "
            f"has {ranking.more.format('+.3f')} more than that"
        )
    more = gate.roc_auc_difference(rows, score, ranks)
    goes = "would" if is_better else "would not"
    return (
        f"{gate.beside_baseline(trained, baseline)}; on {judged} "
        f"{more.format('+.3f')}: as a use case it {goes} go live"
    )
