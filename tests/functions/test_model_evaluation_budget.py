"""
The budget of 03-ModelEvaluation, specified: which users are acted on, and what comes.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import numpy as np
import pytest

from propensity import usecases
from tests.functions.conftest import MONDAY, USERS
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.rows import publish
from tests.support.shop import DAY, WEEK, event, purchase

NAME = "ga4_purchase"
PARAMETERS = dict(usecases.load(NAME).parameters)
WEEKS = tuple(MONDAY + n * WEEK for n in range(6))


def labels(scores: dict[str, float], week: date) -> np.ndarray:
    """Who buys in a week, about as often as foretold."""
    generator = np.random.default_rng(week.toordinal())
    return np.array([generator.random() < p for p in scores.values()])


def outcomes(scores: dict[str, float], week: date) -> np.ndarray:
    """The same, and in the second week those who buy late; after the last, nobody."""
    is_late = np.arange(USERS) < 90
    return (labels(scores, week) & (week in WEEKS)) | (is_late & (week == WEEKS[1]))


def bought(scores: dict[str, float], *weeks: date) -> list[shop.Row]:
    return [
        purchase(user, week + DAY)
        for week in weeks
        for user, buys in zip(scores, labels(scores, week), strict=True)
        if buys
    ]


@pytest.fixture(scope="module")
def weeks(borrow_module_deployment, scores) -> tuple[Deployment, list[dict[str, Any]]]:
    """Six weeks of one publication each: two are evaluated, more buy in the second
    late, and the others are caught up with. Their rows, and the newest one's once
    it is final."""
    rows = [*bought(scores, *WEEKS), event("u0", WEEKS[-1] + WEEK + DAY)]
    deployment = borrow_module_deployment(rows, PROPENSITY_BUDGET="20")
    for week in WEEKS:
        publish(deployment.warehouse, week, scores)
    second = WEEKS[1]
    deployment.run("model_evaluation", second + WEEK)
    late = [purchase(user, second + DAY) for user in [*scores][:90]]
    shop.load(deployment, [*bought(scores, second), *late])
    for weeks in (1, 2):
        deployment.run("model_evaluation", WEEKS[-1] + weeks * WEEK)
    return deployment, deployment.evaluations()[: len(WEEKS)]


def test_the_budget_has_the_users_who_are_most_likely_to_buy(weeks, scores):
    _, rows = weeks
    row = rows[2]
    probability = np.array(list(scores.values()))
    label = labels(scores, row["week"])
    above = probability > np.sort(probability)[-20]
    hits = row["true_positives_at_budget"]

    assert (row["budget"], row["users_at_budget"]) == ("20", 20)
    assert label[above].sum() <= hits <= label[above].sum() + 20 - above.sum()
    assert row["precision_at_budget"] == pytest.approx(hits / 20)
    assert row["recall_at_budget"] == pytest.approx(hits / label.sum())
    assert row["lift_at_budget"] == pytest.approx(hits / 20 / label.mean())


def test_a_page_shows_its_week_beside_the_weeks_before(weeks):
    """A week's page has no later one."""
    deployment, _ = weeks
    page = deployment.read(f"reports/{NAME}/{WEEKS[1]}.html").decode()
    shown = re.findall(r'<th scope="row"[^>]*>(\d+\s+Mar\s+2026)</th>', page)

    assert [" ".join(name.split()) for name in shown] == ["9 Mar 2026", "2 Mar 2026"]
