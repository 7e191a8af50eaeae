"""
Revenue of a quarter, specified on emulators: predictions each day, evaluated each week
once their 91 days are over.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from propensity.runs import predict, report
from propensity.statements import statement
from propensity.timeframe import Timeframe
from tests.functions.conftest import MONDAY
from tests.support.deployment import Deployment
from tests.support.rows import publish
from tests.support.shop import DAY, WEEK, event, purchase

NAME = "ga4_value"
QUARTER = 91 * DAY
BUYERS = 40
USERS = 200
# Published on each of these days.
DAYS = [MONDAY + n * DAY for n in range(14)]


@pytest.fixture(scope="module")
def played(borrow_module_deployment) -> tuple[Deployment, list[dict[str, Any]]]:
    """Two weeks of predictions, and the answers of evaluations a week apart."""
    users = [f"u{n}" for n in range(USERS)]
    # The shop is open on Sundays alone, which spares a table for each other day.
    rows = [event("u1", MONDAY + n * WEEK - DAY) for n in range(16)]
    # Buyers come once, when all quarters have begun and none is over.
    rows += [
        purchase(user, MONDAY + (3 + n % 5) * WEEK - DAY, 10.0 + n % 5)
        for n, user in enumerate(users[:BUYERS])
    ]
    deployment = borrow_module_deployment(rows)
    values = {user: round(30.0 - n / 10, 1) for n, user in enumerate(users)}
    for day in DAYS:
        publish(
            deployment.warehouse,
            day,
            {user: (USERS - n) / (USERS + 1) for n, user in enumerate(users)},
            values=values,
            use_case=NAME,
        )
    answers = [
        deployment.run("model_evaluation", MONDAY + QUARTER + n * WEEK, use_case=NAME)
        for n in range(2)
    ]
    return deployment, answers


def weeks(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["week"], row["status"]) for row in answer["weeks"]]


def test_predictions_of_each_day_are_evaluated_a_week_apart(played):
    """Each when its quarter is over; final when that has settled."""
    first = str(MONDAY)
    second = str(MONDAY + WEEK)

    assert weeks(played[1][0]) == [(first, "provisional")]
    assert weeks(played[1][1]) == [(first, "final"), (second, "provisional")]


@pytest.mark.parametrize("horizon", [1, 3, 7, 13, 30])
@pytest.mark.parametrize("newest", [DAYS[7], DAYS[10], DAYS[13]])
def test_dates_to_evaluate_lie_a_horizon_or_a_week_apart(played, horizon, newest):
    """Of predictions each day, whatever the day on which the evaluation runs."""
    asked = {"since": DAYS[0], "until": newest, "horizon_days": horizon}
    found = played[0].warehouse.rows(
        statement("weeks_to_evaluate"),
        {**asked, "use_case": NAME, "lookback_days": 180, "with_newest": True},
    )
    dates = [row["week"] for row in found]

    assert dates
    for one, other in pairwise(dates):
        assert (other - one).days >= min(horizon, 7)


def test_a_quarter_has_its_revenue(played):
    """The best by expected value are those who bought, in another order."""
    row = played[1][1]["weeks"][0]
    paid = sum(10.0 + n % 5 for n in range(BUYERS))
    best = sum(10.0 + n % 5 for n in range(20))

    assert row["value_observed"] == pytest.approx(paid)
    assert row["value_observed_low"] < paid < row["value_observed_high"]
    assert row["value_error"] == pytest.approx(row["value_promised"] / paid - 1)
    assert row["value_error_low"] < row["value_error"] < row["value_error_high"]
    assert row["value_top_share"] == pytest.approx(best / paid)
    assert row["value_deciles"][0]["paid"] == pytest.approx(best)
    assert 0.9 < row["value_gini"] < 1


def test_sums_far_off_raise_a_drift_warning(played):
    """Far more was expected than was paid, whatever chance did."""
    alarms = {alarm["cause"]: alarm for alarm in played[1][0]["drift"]["alarms"]}

    assert alarms["value"]["name"] == "expected_value"
    assert "times what they paid" in alarms["value"]["message"]


def test_the_report_of_a_quarter_shows_its_revenue(played):
    deployment, answers = played
    page = deployment.page(answers[1]["reports"][0])

    assert "Quarter by quarter" in page
    assert "Ten groups of equal size by expected value" in page
    assert f"{answers[1]['weeks'][0]['value_gini']:.3f}: 0 is random" in page


@pytest.mark.parametrize(("horizon", "days"), [(91, 7), (7, 7), (1, 1)])
def test_an_evaluation_is_missing_when_none_was_of_the_last_week(horizon, days):
    """Predictions may come each day, and evaluations once a week."""
    asked = []

    def rows(_name: str, *, since: date, until: date) -> list[object]:
        asked.append((since, until))
        return []

    timeframe = Timeframe(lookback_days=60, horizon_days=horizon, settle_days=3)
    run = SimpleNamespace(as_of=MONDAY, timeframe=timeframe, rows=rows)
    newest = MONDAY - timedelta(days=horizon)

    assert not predict.is_evaluated(run)
    assert asked == [(newest - (days - 1) * DAY, newest)]


def test_a_page_shows_twelve_evaluations():
    """Quarters are evaluated each week, so that twelve quarters have 156 of them."""
    rows = [SimpleNamespace(week=MONDAY + n * WEEK) for n in range(160)]
    shown = report.up_to(rows[158].week, rows, first=MONDAY)

    assert shown == rows[146:159]
