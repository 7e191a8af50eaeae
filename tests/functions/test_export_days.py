"""
Days of the GA4 export that are missing, only streamed, or in another project.

The shop has visits every day, the last of them yesterday: a run of today finds out
whether yesterday's table is there, and may wait for it.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from propensity.runs import setup
from tests.support import shop
from tests.support.deployment import Deployment
from tests.support.shop import DAY, event, purchase

USERS = 12
# Enough to compare each weekday with another one.
DAYS = 16
# A run that goes on over midnight keeps the day that it began on.
TODAY = datetime.now(UTC).date()
BEFORE = TODAY - DAY
# This day has only been streamed.
STREAMED = TODAY - 5 * DAY


def visits(*days: date) -> list[shop.Row]:
    """Everybody looks in every day, at noon; one of them buys on each."""
    rows = []
    for day in days:
        noon = shop.microseconds(day) + 12 * 3600 * 1_000_000
        rows += [event(f"user.{n}", noon + n) for n in range(USERS)]
        rows.append(purchase(f"user.{day.toordinal() % USERS}", noon + 60_000_000))
    return rows


def stream(deployment: Deployment, day: date, *kinds: str) -> None:
    """Copy a day's table to those that Google streams."""
    export = deployment.settings.export
    for kind in kinds:
        deployment.warehouse.execute(
            f"CREATE TABLE `{export}.events_{kind}_{day:%Y%m%d}` AS "
            f"SELECT * FROM `{export}.events_{day:%Y%m%d}`"
        )


def drop(deployment: Deployment, day: date) -> None:
    deployment.warehouse.client.delete_table(
        f"{deployment.settings.export}.events_{day:%Y%m%d}"
    )


def wait(deployment: Deployment) -> None:
    """Have the first attempt of today's predictions have been two hours ago."""
    artifacts = deployment.registry.artifacts
    name = f"runs/ga4_purchase/predict/{TODAY}.json"
    stored = artifacts.find(name)
    lease = json.loads(stored.data)
    since = datetime.fromisoformat(lease["waiting_since"]) - timedelta(minutes=121)
    lease["waiting_since"] = since.isoformat(timespec="microseconds")
    artifacts.replace(name, json.dumps(lease).encode(), stored)


def days_of(deployment: Deployment) -> list[set[tuple[date, date]]]:
    """Return as-of dates that are published, and up to when each read the export."""
    return [
        {
            (row["as_of"], row["data_until"])
            for row in deployment.rows(f"SELECT DISTINCT as_of, data_until FROM {name}")
        }
        for name in ("ma_predictions_table", "ma_predictions_history")
    ]


def test_a_late_export_is_waited_for(borrow_deployment, log_lines):
    """While it may come runs end with 503 and Retry-After, a warning and no error in
    the log, and nothing is written. After a while, counted from the first attempt, they
    go on as of the newest date whose days are there, and say so in answer, log and
    rows. Once it has come, a run of the date has all days, and its own rows."""
    deployment = borrow_deployment(
        visits(*(TODAY - n * DAY for n in range(2, DAYS + 1))), champion=True
    )
    stream(deployment, STREAMED, "intraday")
    drop(deployment, STREAMED)
    setup.prepare_export(deployment.warehouse, deployment.settings)
    log_lines()  # those of a champion's training

    awaited = deployment.post("predictions", {"as_of": TODAY})
    [line] = [line for line in log_lines() if "outcome" in line]
    again = deployment.post("predictions", {"as_of": TODAY})

    assert awaited.status_code == again.status_code == 503
    assert 1 <= int(awaited.headers["Retry-After"]) <= 600
    assert (awaited.json["error"], awaited.json["retryable"]) == ("export_late", True)
    assert awaited.json["detail"] == {"late_days": [str(BEFORE)]}
    assert str(BEFORE) in awaited.json["message"]
    assert (line["severity"], line["outcome"]) == ("WARNING", "export_late")
    assert days_of(deployment) == [set(), set()]

    log_lines()
    wait(deployment)
    cut = deployment.run("predictions", TODAY)
    [warning, *_, line] = log_lines()

    assert cut["as_of"] == line["as_of"] == str(BEFORE)
    assert cut["data_until"] == line["data_until"] == str(BEFORE)
    assert cut["late_days"] == [str(BEFORE)]
    assert cut["streamed_days"] == [str(STREAMED)]
    assert cut["users"] == USERS
    assert warning["severity"] == "WARNING"
    assert f"lacks {BEFORE}" in warning["message"]
    assert days_of(deployment) == [{(BEFORE, BEFORE)}] * 2

    # An evaluation waits as well. It goes on without the week that ends with the date:
    # six days are no week.
    awaited = deployment.post("model_evaluation", {"as_of": TODAY})
    evaluation = deployment.run("model_evaluation", TODAY, force=True)

    assert awaited.status_code == 503
    assert evaluation["weeks"] == []
    assert evaluation["data_until"] == str(BEFORE)

    shop.load(deployment, visits(BEFORE))
    whole = deployment.run("predictions", TODAY)
    [week] = deployment.run("model_evaluation", TODAY)["weeks"]

    assert whole["data_until"] == week["data_until"] == str(TODAY)
    assert "late_days" not in whole
    assert days_of(deployment) == [{(TODAY, TODAY)}, {(TODAY, TODAY), (BEFORE, BEFORE)}]
    assert week["week"] == str(TODAY - 7 * DAY)


def test_a_day_is_read_from_one_table_alone(borrow_deployment):
    """Each event of a day is there once while the daily table and others are there, or
    the fresh one and the streamed ones, or both of these, or the fresh streamed one."""
    days = [TODAY - n * DAY for n in range(2, 6)]
    kinds = ("fresh", "intraday", "fresh_intraday")
    deployment = borrow_deployment(visits(*days))
    for gone, day in enumerate(days):
        stream(deployment, day, *kinds[max(gone - 1, 0) :])
        if gone:
            drop(deployment, day)
    setup.prepare_export(deployment.warehouse, deployment.settings)
    rows = deployment.rows(
        "SELECT table_suffix, COUNT(*) AS n FROM ga_events "
        "WHERE table_suffix >= @first GROUP BY table_suffix",
        first=f"{days[-1]:%Y%m%d}",
    )

    assert {row["table_suffix"]: row["n"] for row in rows} == {
        f"{day:%Y%m%d}": USERS + 1 for day in days
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"PROPENSITY_LOCATION": "europe-west2"},
            "is in US, and queries run in europe-west2 (PROPENSITY_LOCATION)",
        ),
        (
            {"PROPENSITY_GA4_DATASET": "their-project.gone"},
            "does not find their-project.gone",
        ),
        # Defect: a view of before was read without a look at which days it has.
        ({"PROPENSITY_GA4_DATASET": ""}, "PROPENSITY_GA4_DATASET is not set"),
        ({"PROPENSITY_REQUIRE_CONSENT": "true"}, "events without that consent"),
    ],
    ids=["another location", "no such dataset", "no dataset", "no consent"],
)
def test_an_export_that_cannot_be_read_is_refused(
    shop_deployment: Any, settings, message
):
    """By name, before a query."""
    other = shop_deployment.with_settings(**settings)
    answer = other.post("predictions", {"as_of": TODAY, "use_case": "ga4_purchase"})

    assert answer.status_code in (424, 500)
    assert message in answer.json["message"]
