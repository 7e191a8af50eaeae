"""
Thresholds of 03-ModelEvaluation, specified: which users are acted on, and what comes.
"""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from propensity import usecases
from propensity.tables import every as tables
from tests import shop
from tests.deployment import Deployment
from tests.docs.pages import blocks
from tests.functions.conftest import MONDAY, USERS
from tests.rows import CARD, append_rows, publish
from tests.shop import DAY, WEEK, event, purchase

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


def best_of(scores: dict[str, float], *weeks: date) -> float:
    """The threshold with the highest F1 on weeks, by scikit-learn, tried one by one;
    the highest of those that are equal."""
    probability = np.tile(list(scores.values()), len(weeks))
    label = np.concatenate([labels(scores, week) for week in weeks])
    return max(
        sorted(set(probability), reverse=True),
        key=lambda threshold: round(
            metrics.f1_score(label, probability >= threshold), 12
        ),
    )


@pytest.fixture(scope="module")
def weeks(borrow_module_deployment, scores) -> tuple[Deployment, list[dict[str, Any]]]:
    """Six weeks of one publication each: two are evaluated, more buy in the second
    late, and the others are caught up with. Their rows, and the newest one's once
    it is final."""
    rows = [*bought(scores, *WEEKS), event("u0", WEEKS[-1] + WEEK + DAY)]
    place = borrow_module_deployment(rows, PROPENSITY_BUDGET="20")
    for week in WEEKS:
        publish(place.warehouse, week, scores)
    second = WEEKS[1]
    place.run("model_evaluation", second + WEEK)
    late = [purchase(user, second + DAY) for user in [*scores][:90]]
    shop.load(place, [*bought(scores, second), *late])
    for weeks in (1, 2):
        place.run("model_evaluation", WEEKS[-1] + weeks * WEEK)
    return place, place.evaluations()[: len(WEEKS)]


def test_thresholds_are_the_best_on_the_weeks_before(weeks, scores):
    """Of the weeks whose outcomes ended in the 28 days before, as they were known
    when the week began: rows that come late change figures, and no threshold."""
    _, rows = weeks
    probability = np.array(list(scores.values()))

    assert [row["status"] for row in rows] == ["final"] * 6
    assert rows[1]["conversions"] > labels(scores, WEEKS[1]).sum()
    assert rows[0]["best_threshold"] is None
    for number, row in enumerate(rows[1:], start=1):
        before = WEEKS[max(0, number - 4) : number]
        label = outcomes(scores, row["week"])
        called = probability >= row["best_threshold"]

        assert row["best_threshold"] == best_of(scores, *before)
        assert row["users_at_best"] == called.sum()
        assert row["true_positives_at_best"] == (called & label).sum()
        for name in ("precision", "recall", "f1"):
            score = getattr(metrics, f"{name}_score")(label, called)
            assert row[f"{name}_at_best"] == pytest.approx(score)


def test_thresholds_have_a_budget_beside_them(weeks, scores):
    """The users who are most likely to buy, so many as somebody can act on."""
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


def test_thresholds_are_all_in_the_table(weeks, scores):
    """The README's statement gives a week's figures at each threshold, and none where
    nobody has bought: there is nothing to recall."""
    place, _ = weeks
    [statement] = blocks("03-ModelEvaluation/README.md", "sql")
    rows = place.rows(statement.replace("propensity.ma_", "ma_"))
    probability = np.array(list(scores.values()))

    assert {row["week"] for row in rows} == {*WEEKS, WEEKS[-1] + WEEK}
    for row in rows:
        label = outcomes(scores, row["week"])
        called = probability >= row["threshold"]
        recall = label[called].sum() / label.sum() if label.any() else None
        assert row["users"] == called.sum()
        assert row["precision"] == pytest.approx(label[called].mean())
        assert row["recall"] == pytest.approx(recall)


def test_thresholds_are_shown_beside_the_weeks_before(weeks):
    """A week's page has no later one."""
    place, _ = weeks
    page = place.read(f"reports/{NAME}/{WEEKS[1]}.html").decode()
    shown = re.findall(r'<th scope="row"[^>]*>(2026-\S+?)</th>', page)

    assert shown == [str(WEEKS[1]), str(MONDAY)]


def test_thresholds_are_the_training_s_where_no_week_is_known(
    borrow_deployment, scores
):
    """Outcomes that end after a week begins are none, nor are too few."""
    weeks = MONDAY + 3 * DAY, MONDAY + WEEK, MONDAY + 2 * WEEK
    place = borrow_deployment(bought(scores, *weeks))
    for week in weeks:
        publish(place.warehouse, week, scores)
    row = {
        "use_case": NAME,
        "model_version": 0,
        "training_date": MONDAY,
        "best_threshold": 0.25,
        "card": json.dumps({**CARD, "statement_parameters": PARAMETERS}),
    }
    append_rows(place.warehouse, tables.TRAINING_METADATA, [row])
    unsure = place.with_constants(minimum_conversions=1000)
    place.run("model_evaluation", weeks[1] + WEEK)
    unsure.run("model_evaluation", weeks[2] + WEEK)

    assert [row["best_threshold"] for row in place.evaluations()] == [0.25] * 3
