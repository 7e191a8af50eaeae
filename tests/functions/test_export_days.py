"""
Days of the GA4 export that are late, only streamed, or over: what was published stays.

The shop of ``visits`` has them every day, the last of them yesterday: a run of today
finds out whether yesterday's table is there, and may wait for it.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta

import pytest

from local.exports import sources
from propensity.runs import setup
from propensity.timeframe import midnight
from propensity.trying import new_use_case as new
from propensity.usecases.declaration import Events
from tests.deploy.monitoring import raised
from tests.functions.conftest import MONDAY
from tests.support import own_use_cases, shop
from tests.support.deployment import Deployment
from tests.support.programs import ROOT
from tests.support.rows import publish
from tests.support.shop import DAY, WEEK, event, purchase
from tests.support.shops import FIRST, TRAINED, WEEKS

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


def stream(deployment: Deployment, day: date) -> None:
    """Have a day's table be one that Google streams."""
    export = deployment.settings.export
    deployment.warehouse.execute(
        f"CREATE TABLE `{export}.events_intraday_{day:%Y%m%d}` AS "
        f"SELECT * FROM `{export}.events_{day:%Y%m%d}`"
    )
    deployment.warehouse.client.delete_table(f"{export}.events_{day:%Y%m%d}")
    setup.prepare_export(deployment.warehouse, deployment.settings)


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
    found = []
    for name in ("ma_predictions_table", "ma_predictions_history"):
        rows = deployment.rows(f"SELECT DISTINCT as_of, data_until FROM {name}")
        found.append({(row["as_of"], row["data_until"]) for row in rows})
    return found


def test_a_late_export_is_waited_for(borrow_deployment, log_lines):
    """While it may come runs end with 503 and Retry-After, a warning and no error in
    the log, and nothing is written. After a while, counted from the first attempt, they
    go on as of the newest date whose days are there, and say so in answer, log and
    rows. Once it has come, a run of the date has all days, and its own rows."""
    days = [TODAY - n * DAY for n in range(2, DAYS + 1)]
    deployment = borrow_deployment(visits(*days), champion=True)
    stream(deployment, STREAMED)
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
    warning, *_ = log_lines()

    assert cut["as_of"] == cut["data_until"] == str(BEFORE)
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


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("their-project.gone", "does not find their-project.gone"),
        # A view of before does not say which days there are.
        ("", "PROPENSITY_GA4_DATASET is not set"),
    ],
)
def test_an_export_that_cannot_be_read_is_refused(shop_deployment, dataset, message):
    """By name, before a query."""
    other = shop_deployment.with_settings(PROPENSITY_GA4_DATASET=dataset)
    answer = other.post("predictions", {"as_of": TODAY, "use_case": "ga4_purchase"})

    assert answer.status_code in (424, 500)
    assert message in answer.json["message"]


# The export's last table is that of the last Wednesday.
ENDED = FIRST + (WEEKS - 1) * WEEK + DAY
# The lookback has no day any more, and customers who were away have their history.
LONG_AFTER = ENDED + 61 * DAY


@pytest.fixture(scope="module")
def ended(borrow_deployment) -> Deployment:
    """A deployment whose export ended after its newest publication."""
    deployment = borrow_deployment(champion=True)
    deployment.run("predictions", ENDED)
    return deployment


@pytest.mark.parametrize(
    ("kind", "as_of"),
    [("predictions", LONG_AFTER), ("model_evaluation", ENDED + 20 * WEEK)],
)
def test_an_export_that_has_ended_is_not_published_as_today_s(
    ended, log_lines, kind, as_of
):
    """One alert says what is there, and no retry follows. Customers who were away would
    get probabilities of today, each a low one."""
    before = ended.published()
    evaluated = ended.evaluations()
    log_lines()
    answer = ended.post(kind, {"as_of": as_of, "force": True})
    [line] = [line for line in log_lines() if "outcome" in line]

    assert answer.status_code == 424
    assert (answer.json["error"], answer.json["retryable"]) == ("no_data", False)
    assert f"Its newest day is {ENDED - DAY}" in answer.json["message"]
    assert raised(line) == {"run_failed_ga4_purchase"}
    assert ended.published() == before
    assert ended.evaluations() == evaluated


@pytest.mark.parametrize("kind", ["predictions", "model_evaluation", "audiences"])
@pytest.mark.parametrize("days", [10, 52])
def test_each_run_of_an_export_that_has_stopped_says_so(ended, log_lines, kind, days):
    """It is done with the days before, and one alert names the cause."""
    as_of = ENDED + days * DAY
    log_lines()
    answer = ended.run(kind, as_of, force=True)
    lines = log_lines()
    policies = set[str]()
    for line in lines:
        policies |= raised(line)

    # Wednesdays alone are usual here, and the first one missing is six days later.
    assert answer["export_age_days"] == days - 6
    assert policies - {"evaluation_missing_ga4_purchase"} == {
        "export_stopped_ga4_purchase"
    }
    assert any("has stopped: its last whole day is" in row["message"] for row in lines)


def test_an_export_without_an_end_has_no_age(ended):
    """Days on which nothing is usual are none that it lacks."""
    answer = ended.run("predictions", ENDED + 2 * DAY, force=True)

    assert answer["export_age_days"] == 0


def test_a_week_before_the_export_began_is_never_final(borrow_deployment):
    """As of one that was linked anew: its days may have had purchases."""
    days = [MONDAY + n * DAY for n in range(5, 20)]
    visits = [event("user.1", day) for day in days]
    deployment = borrow_deployment([*visits, purchase("user.1", days[0])])
    publish(deployment.warehouse, MONDAY, {"user.1": 0.1, "user.2": 0.2})
    answer = deployment.run("model_evaluation", days[-1] + DAY, force=True)
    first = answer["weeks"][0]

    assert (first["week"], first["status"]) == (str(MONDAY), "provisional")


def test_a_table_of_ones_own_that_nobody_fills_is_not_published(
    borrow_deployment, shop_rows, tmp_path
):
    """Neither long after its last event, nor is a week final that has none."""
    events = Events(table="shop.events", user_id="user", time="at", name="type")
    spans = {"lookback_days": 60, "horizon_days": 7}
    with own_use_cases.in_folder(tmp_path / "own"):
        new.write_use_case("own", label_event="purchase", events=events, **spans)
        owning = borrow_deployment(dataset="", PROPENSITY_USE_CASE="own")
        rows = []
        for row in shop_rows:
            at = midnight(date.fromisoformat(row["event_date"]))
            name = row["event_name"]
            rows.append({"user": row["user_pseudo_id"], "at": at, "type": name})
        sources.load(owning.warehouse.client, events, sources.table_of(events, rows))
        owning.run("model_training", TRAINED)
        owning.run("predictions", ENDED)
        before = owning.published()
        answer = owning.post("predictions", {"as_of": LONG_AFTER, "force": True})
        evaluated = owning.run("model_evaluation", ENDED + 3 * WEEK)

    [week] = [row for row in evaluated["weeks"] if row["week"] == str(ENDED)]
    assert (answer.status_code, answer.json["error"]) == (424, "no_data")
    assert owning.published() == before
    assert week["status"] == "provisional"


def test_a_sample_begins_with_the_days_of_a_training_and_copies_none_twice(ended):
    """By the page's statement; a table that is late comes another day."""
    statement = (ROOT / "docs/sample.sql").read_text()
    names = re.search(r"FOR day IN \(\n(.*)\n\) DO\n", statement, re.DOTALL)[1]
    days = [TODAY - n * DAY for n in (1, 3, 4, 119, 121)]
    exported = [f"events_{day:%Y%m%d}" for day in days] + ["events_intraday_20260101"]
    copied = [exported[2]]
    for source, listed in (("my-project", exported), ("my-test-project", copied)):
        rows = f"(SELECT table_name FROM UNNEST({listed}) AS table_name)"
        names = re.sub(rf"`{source}\..*?TABLES`", rows, names)

    sampled = {row["name"] for row in ended.warehouse.rows(names)}
    assert sampled == {exported[1], exported[3]}
