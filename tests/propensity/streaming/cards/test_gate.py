"""Whether a new version of events goes live, specified: by what its alerts cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from msgspec import structs

from propensity.learning import gate
from propensity.learning.gate import Verdict
from propensity.learning.trained import Rival
from tests.propensity.streaming.cards.fitted_cards import (
    trained,
)


def test_the_first_of_events_must_not_cost_more_than_no_alerts():
    model = trained()
    loss = structs.replace(model.holdout.savings, saved=-model.holdout.savings.saved)
    costly = replace(model, holdout=replace(model.holdout, savings=loss))

    assert gate.compare(model, None).promoted
    assert "save" in gate.compare(model, None).reason
    assert not gate.compare(costly, None).promoted
    assert "PROPENSITY_ALERT_REVIEW_COST" in gate.compare(costly, None).reason


def test_few_frauds_are_not_decided_by_one_of_them():
    """But by the cost of alerts: a challenger that misses one or two frauds more
    than a perfect champion goes live, and one that misses most of them does not."""
    model = trained()
    held = model.holdout
    frauds = np.flatnonzero(held.rows.label)
    assert 8 < len(frauds) < 20
    perfect = held.rows.label.astype(float)
    stakes = replace(held.stakes, amount=np.full(len(perfect), 50.0))

    def verdict(missed: int) -> Verdict:
        score = perfect.copy()
        score[frauds[:missed]] = 0.0
        saved = structs.replace(held.savings, alert_threshold=0.5)
        spoilt = replace(held, probability=score, stakes=stakes, savings=saved)
        rival = Rival(version=3, score=perfect, alert_threshold=0.5)
        return gate.compare(replace(model, holdout=spoilt), rival)

    promoted = [verdict(missed).promoted for missed in (0, 1, 2, 8)]
    assert promoted == [True, True, True, False]
    assert set(verdict(8).differences) == {"cost", "roc_auc"}
    assert verdict(8).differences["cost"].low > 0
