"""
Users who were active, and customers who were away, each measured by themselves.

Who was away rarely buys, so that a ranking of both together looks better than that of
those who were active.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from propensity.budget import Budget
from propensity.ids import PRESENCE
from propensity.measures import metrics, thresholds
from propensity.models.encoding import Floats
from propensity.tables.models import Category

KINDS = ("active", "away")
# Users of either class, from which a kind has a ROC AUC: as many as a training needs.
_FEWEST = 20


def by_presence(
    presence: Sequence[str | None],
    probability: Floats,
    users: Floats,
    conversions: Floats,
    *,
    budget: Budget,
    dates: int = 1,
) -> list[Category]:
    """
    Return what was expected of each kind of users, what came, and how it is ranked.

    A budget for all users is the same share of each kind. A kind with too few of a
    class has no ROC AUC.

    Args:
        presence: Of each group of users, of whom each kind has groups of its own.
        probability, users, conversions: Of the groups, (groups,).
        budget: How many of all users, or which share: a number is for each date.
    """
    kind_of_group = np.asarray(presence, dtype=object)
    total = float(users[np.isin(kind_of_group, KINDS)].sum())
    measured = []
    for kind in KINDS:
        of_kind = kind_of_group == kind
        size = float(users[of_kind].sum())
        if not size:
            continue
        converted = float(conversions[of_kind].sum())
        expected = float((probability[of_kind] * users[of_kind]).sum())
        observed = metrics.grouped(
            probability[of_kind], users[of_kind], conversions[of_kind]
        )
        share = budget.rows(total, dates=dates) / total
        best = thresholds.at_budget(observed, Budget(share=share))
        roc_auc = None
        if min(converted, size - converted) >= _FEWEST:
            roc_auc = metrics.roc_auc(observed)
        category = Category(
            category=PRESENCE,
            value=kind,
            users=round(size),
            conversions=round(converted),
            mean_probability=expected / size,
            base_rate=converted / size,
            roc_auc=roc_auc,
            lift_at_budget=best.lift_at_budget,
        )
        measured.append(category)
    return measured
