"""Revenue of a quarter: predictions each day, evaluated each week once it is over."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from propensity.runs import predict
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
def played(borrow_deployment) -> tuple[Deployment, list[dict[str, Any]]]:
    """Two weeks of predictions, and the answers of evaluations a week apart."""
    users = [f"u{n}" for n in range(USERS)]
    # The shop is open on Sundays alone, which spares a table for each other day.
    rows = [event("u1", MONDAY + n * WEEK - DAY) for n in range(16)]
    # Buyers come once, when all quarters have begun and none is over.
    rows += [
        purchase(user, MONDAY + (3 + n % 5) * WEEK - DAY, 10.0 + n % 5)
        for n, user in enumerate(users[:BUYERS])
    ]
    deployment = borrow_deployment(rows)
    values = {user: round(30.0 - n / 10, 1) for n, user in enumerate(users)}
    scores = {user: (USERS - n) / (USERS + 1) for n, user in enumerate(users)}
    for day in DAYS:
        publish(deployment.warehouse, day, scores, values=values, use_case=NAME)
    answers = [
        deployment.run("model_evaluation", MONDAY + QUARTER + n * WEEK, use_case=NAME)
        for n in range(2)
    ]
    return deployment, answers


def test_predictions_of_each_day_are_evaluated_a_week_apart(played):
    """Each when its quarter is over; final when that has settled. Far more was expected
    than was paid, which is a drift warning."""
    _, (first, second) = played
    weeks = [
        [(row["week"], row["status"]) for row in one["weeks"]] for one in played[1]
    ]
    row = second["weeks"][0]
    alarms = {alarm["cause"]: alarm["name"] for alarm in first["drift"]["alarms"]}

    assert weeks[0] == [(str(MONDAY), "provisional")]
    assert weeks[1] == [(str(MONDAY), "final"), (str(MONDAY + WEEK), "provisional")]
    paid = sum(10.0 + n % 5 for n in range(BUYERS))
    assert row["value_observed"] == pytest.approx(paid)
    assert row["value_error"] == pytest.approx(row["value_promised"] / paid - 1)
    assert alarms["value"] == "expected_value"


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


@pytest.mark.parametrize(("horizon", "days"), [(91, 7), (7, 7), (1, 1)])
def test_an_evaluation_is_missing_when_none_was_of_the_last_week(horizon, days):
    """Predictions may come each day, and evaluations once a week."""
    asked = []
    timeframe = Timeframe(lookback_days=60, horizon_days=horizon, settle_days=3)
    run: Any = SimpleNamespace(
        as_of=MONDAY,
        timeframe=timeframe,
        rows=lambda _, *, since, until: asked.append((since, until)),
    )
    newest = MONDAY - horizon * DAY

    assert not predict.is_evaluated(run)
    assert asked == [(newest - (days - 1) * DAY, newest)]
