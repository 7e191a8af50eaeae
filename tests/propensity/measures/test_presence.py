"""Active users and customers who were away, specified: each kind is measured alone."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.budget import Budget
from propensity.measures.presence import by_presence

TENTH = Budget(share=0.1)


def test_each_kind_is_measured_by_itself():
    """Ranked at random within each kind, both together look well ranked."""
    presence = ["active", "active", "away", "away", None]
    probability = np.array([0.5, 0.4, 0.02, 0.01, np.nan])
    users = np.array([100.0, 100.0, 1_000.0, 1_000.0, 7.0])
    conversions = np.array([50.0, 50.0, 10.0, 20.0, 7.0])

    active, away = by_presence(presence, probability, users, conversions, budget=TENTH)

    assert (active.category, active.value, away.value) == ("presence", "active", "away")
    assert (active.users, active.conversions, active.roc_auc) == (200, 100, 0.5)
    assert active.mean_probability == pytest.approx(0.45)
    assert (away.users, away.conversions, away.base_rate) == (2_000, 30, 0.015)
    assert away.mean_probability == pytest.approx(0.015)
    assert away.roc_auc < 0.5
