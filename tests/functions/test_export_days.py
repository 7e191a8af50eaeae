"""
Days of the GA4 export that are missing, only streamed, or in another project.

The shop has visits every day, the last of them yesterday: a run of today finds out
whether yesterday's table is there, and may wait for it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from local.exports import ga4_export
from propensity.gcp.warehouse import Warehouse
from propensity.runs import setup
from tests import shop
from tests.deployment import Deployment
from tests.shop import DAY, event, purchase

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


def stream(place: Deployment, day: date, *kinds: str) -> None:
    """Copy a day's table to those that Google streams."""
    export = place.settings.export
    for kind in kinds:
        place.warehouse.execute(
            f"CREATE TABLE `{export}.events_{kind}_{day:%Y%m%d}` AS "
            f"SELECT * FROM `{export}.events_{day:%Y%m%d}`"
        )


def drop(place: Deployment, day: date) -> None:
    place.warehouse.client.delete_table(f"{place.settings.export}.events_{day:%Y%m%d}")


def wait(place: Deployment) -> None:
    """Have the first attempt of today's predictions have been two hours ago."""
    artifacts = place.registry.artifacts
    name = f"runs/ga4_purchase/predict/{TODAY}.json"
    stored = artifacts.find(name)
    lease = json.loads(stored.data)
    since = datetime.fromisoformat(lease["waiting_since"]) - timedelta(minutes=121)
    lease["waiting_since"] = since.isoformat(timespec="microseconds")
    artifacts.replace(name, json.dumps(lease).encode(), stored)


def days_of(place: Deployment) -> list[set[tuple[date, date]]]:
    """Return as-of dates that are published, and up to when each read the export."""
    return [
        {
            (row["as_of"], row["data_until"])
            for row in place.rows(f"SELECT DISTINCT as_of, data_until FROM {name}")
        }
        for name in ("ma_predictions_table", "ma_predictions_history")
    ]


def test_a_late_export_is_waited_for(borrow_deployment, log_lines):
    """While it may come runs end with 503 and Retry-After, a warning and no error in
    the log, and nothing is written. After a while, counted from the first attempt, they
    go on as of the newest date whose days are there, and say so in answer, log and
    rows. Once it has come, a run of the date has all days, and its own rows."""
    place = borrow_deployment(
        visits(*(TODAY - n * DAY for n in range(2, DAYS + 1))), champion=True
    )
    stream(place, STREAMED, "intraday")
    drop(place, STREAMED)
    setup.prepare_export(place.warehouse, place.settings)
    log_lines()  # those of a champion's training

    awaited = place.post("predictions", {"as_of": TODAY})
    [line] = [line for line in log_lines() if "outcome" in line]
    again = place.post("predictions", {"as_of": TODAY})

    assert awaited.status_code == again.status_code == 503
    assert 1 <= int(awaited.headers["Retry-After"]) <= 600
    assert (awaited.json["error"], awaited.json["retryable"]) == ("export_late", True)
    assert awaited.json["detail"] == {"late_days": [str(BEFORE)]}
    assert str(BEFORE) in awaited.json["message"]
    assert (line["severity"], line["outcome"]) == ("WARNING", "export_late")
    assert days_of(place) == [set(), set()]

    log_lines()
    wait(place)
    cut = place.run("predictions", TODAY)
    [warning, *_, line] = log_lines()

    assert cut["as_of"] == line["as_of"] == str(BEFORE)
    assert cut["data_until"] == line["data_until"] == str(BEFORE)
    assert cut["late_days"] == [str(BEFORE)]
    assert cut["streamed_days"] == [str(STREAMED)]
    assert cut["users"] == USERS
    assert warning["severity"] == "WARNING"
    assert f"lacks {BEFORE}" in warning["message"]
    assert days_of(place) == [{(BEFORE, BEFORE)}] * 2

    # An evaluation waits as well. It goes on without the week that ends with the date:
    # six days are no week.
    awaited = place.post("model_evaluation", {"as_of": TODAY})
    evaluation = place.run("model_evaluation", TODAY, force=True)

    assert awaited.status_code == 503
    assert evaluation["weeks"] == []
    assert evaluation["data_until"] == str(BEFORE)

    shop.load(place, visits(BEFORE))
    whole = place.run("predictions", TODAY)
    [week] = place.run("model_evaluation", TODAY)["weeks"]

    assert whole["data_until"] == week["data_until"] == str(TODAY)
    assert "late_days" not in whole
    assert days_of(place) == [{(TODAY, TODAY)}, {(TODAY, TODAY), (BEFORE, BEFORE)}]
    assert week["week"] == str(TODAY - 7 * DAY)


def test_a_day_is_read_from_one_table_alone(borrow_deployment):
    """Each event of a day is there once while the daily table and others are there, or
    the fresh one and the streamed ones, or both of these, or the fresh streamed one."""
    days = [TODAY - n * DAY for n in range(2, 6)]
    kinds = ("fresh", "intraday", "fresh_intraday")
    place = borrow_deployment(visits(*days))
    for gone, day in enumerate(days):
        stream(place, day, *kinds[max(gone - 1, 0) :])
        if gone:
            drop(place, day)
    setup.prepare_export(place.warehouse, place.settings)
    rows = place.rows(
        "SELECT table_suffix, COUNT(*) AS n FROM ga_events "
        "WHERE table_suffix >= @first GROUP BY table_suffix",
        first=f"{days[-1]:%Y%m%d}",
    )

    assert {row["table_suffix"]: row["n"] for row in rows} == {
        f"{day:%Y%m%d}": USERS + 1 for day in days
    }


def test_an_export_that_is_only_streamed_is_read(borrow_deployment):
    """A property may have no daily tables at all."""
    days = [TODAY - n * DAY for n in (31, 30)]
    place = borrow_deployment(visits(*days), champion=True)
    for day in days:
        stream(place, day, "intraday")
        drop(place, day)
    setup.prepare_export(place.warehouse, place.settings)
    answer = place.run("predictions", TODAY - 29 * DAY)

    assert answer["users"] == USERS
    assert answer["streamed_days"] == [str(day) for day in days]


def test_an_export_in_another_project_is_read_there(borrow_deployment, deployment):
    """By predictions and evaluations, through the view."""
    name = deployment.ga4_dataset
    days = [TODAY - n * DAY for n in range(30, 32)]
    theirs = replace(deployment.settings, project="their-project")
    with contextlib.closing(Warehouse.open(theirs)) as warehouse:
        ga4_export.load_tables(warehouse.client, name, shop.shards(visits(*days)))
    place = borrow_deployment(dataset=f"their-project.{name}", champion=True)
    answer = place.run("predictions", TODAY - 29 * DAY)
    [week] = place.run("model_evaluation", TODAY - 29 * DAY)["weeks"]

    assert answer["users"] == USERS
    assert answer["data_until"] == str(TODAY - 29 * DAY)
    assert week["outcome"] == "no_predictions"
    view = place.warehouse.view_text("ga_events")
    assert f"`their-project.{name}.events_2*`" in view


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
def test_an_export_that_cannot_be_read_is_refused(place: Any, settings, message):
    """By name, before a query."""
    other = place.with_settings(**settings)
    answer = other.post("predictions", {"as_of": TODAY, "use_case": "ga4_purchase"})

    assert answer.status_code in (424, 500)
    assert message in answer.json["message"]
