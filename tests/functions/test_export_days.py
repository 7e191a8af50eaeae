"""
Days of the GA4 export that are missing, half loaded, streamed, or in another project.

The shop has visits every day, the last of them yesterday: a run of today finds out
whether yesterday's table is there, and may wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from local.exports import ga4_export
from propensity.tables import every as tables
from tests import shop
from tests.conftest import Workplace, new_workplace
from tests.functions.conftest import Place
from tests.shop import DAY, event, purchase

USERS = 12
# Enough to predict on, and each weekday several times, to compare with.
DAYS = 30


def today() -> date:
    return datetime.now(UTC).date()


def visits(day: date) -> list[shop.Row]:
    """Everybody looks in every day, at noon; one of them buys on each."""
    noon = shop.microseconds(day) + 12 * 3600 * 1_000_000
    rows = [event(f"user.{n}", noon + n) for n in range(USERS)]
    return [*rows, purchase(f"user.{day.toordinal() % USERS}", noon + 60_000_000)]


@pytest.fixture(scope="module")
def as_of() -> date:
    """Today: a test that runs over midnight keeps the day that it began on."""
    return today()


def shop_of(days: Iterable[date], *, streamed: bool = False) -> list[Any]:
    """Return the shop's tables of days: daily ones, or those that are streamed."""
    shards = shop.shards([row for day in days for row in visits(day)])
    kind = "events_intraday_" if streamed else "events_"
    return [(name.replace("events_", kind), rows) for name, rows in shards]


@pytest.fixture(scope="module")
def days(as_of) -> list[date]:
    """The days of the shop before today, the newest first."""
    return [as_of - n * DAY for n in range(1, DAYS + 1)]


@pytest.fixture(scope="module")
def daily(emulators, bigquery_emulator, days) -> Workplace:
    """The shop's export as it is before yesterday's table has come."""
    workplace = new_workplace(emulators, bigquery_emulator)
    shop.load_shards(workplace, shop_of(days[1:]))
    return workplace


@pytest.fixture
def export(daily, days) -> Iterator[str]:
    """The same, for a test that changes it: it is as before afterwards."""
    yield daily.ga4_dataset
    expected = dict(shop_of(days[1:]))
    with daily.bigquery.client() as client:
        existing = {table.table_id for table in client.list_tables(daily.ga4_dataset)}
        for name in existing - {*expected}:
            client.delete_table(f"{daily.ga4_dataset}.{name}")
    missing = [(name, rows) for name, rows in expected.items() if name not in existing]
    if missing:
        shop.load_shards(daily, missing)


def dropped(place: Place, *days: date, kind: str = "events_") -> None:
    """Remove tables of days."""
    client = place.warehouse.client
    for day in days:
        client.delete_table(f"{place.settings.export}.{kind}{day:%Y%m%d}")


def loaded(place: Place, day: date, rows: list[shop.Row]) -> None:
    """Load a day's table anew."""
    [(name, table)] = shop.shards(rows)
    assert name == f"events_{day:%Y%m%d}"
    shop.load_shards(place.workplace, [(name, table)])


@pytest.fixture
def late(export, borrow, with_champion) -> Place:
    """A place with a champion, over an export that lacks yesterday."""
    return with_champion(borrow(export))


def days_of(place: Place, name: str) -> set[tuple[Any, Any]]:
    return {
        (row["as_of"], row["data_until"])
        for row in place.rows(f"SELECT DISTINCT as_of, data_until FROM {name}")
    }


PUBLISHED = (tables.PREDICTIONS.name, tables.PREDICTIONS_HISTORY)


class TestTheNewestDay:
    def test_is_waited_for(self, late, as_of, log_lines):
        """503 with Retry-After, a warning and no error in the log, nothing written."""
        answer = late.post("predictions", {"as_of": as_of})

        assert answer.status_code == 503
        assert 1 <= int(answer.headers["Retry-After"]) <= 600
        assert answer.json["error"] == "export_late"
        assert answer.json["retryable"]
        assert answer.json["detail"] == {"late_days": [str(as_of - DAY)]}
        assert str(as_of - DAY) in answer.json["message"]
        [line] = [line for line in log_lines() if "outcome" in line]
        assert line["severity"] == "WARNING"
        assert line["outcome"] == "export_late"
        assert not any(late.rows(f"SELECT 1 AS x FROM {name}") for name in PUBLISHED)

    def test_is_given_up_after_a_while_counted_from_the_first_attempt(
        self, late, as_of, log_lines
    ):
        """Then the run goes on as of the newest date whose days are there, and says so
        in answer, log and rows."""
        assert late.post("predictions", {"as_of": as_of}).status_code == 503
        assert late.post("predictions", {"as_of": as_of}).status_code == 503
        began_earlier(late, "predict", as_of, by=timedelta(minutes=121))
        log_lines()
        answer = late.run("predictions", as_of)
        before = as_of - DAY

        assert answer["as_of"] == str(as_of)
        assert answer["data_until"] == str(before)
        assert answer["late_days"] == [str(before)]
        assert answer["users"] == USERS
        [warning, *_, line] = log_lines()
        assert warning["severity"] == "WARNING"
        assert f"lacks {before}" in warning["message"]
        assert line["data_until"] == str(before)
        assert all(days_of(late, name) == {(before, before)} for name in PUBLISHED)

    @pytest.mark.long
    def test_leaves_no_trace_once_it_has_come(self, late, as_of):
        """A run of the date then has all days, and its own rows."""
        late.with_settings(PROPENSITY_EXPORT_WAIT_MINUTES="0").run("predictions", as_of)
        loaded(late, as_of - DAY, visits(as_of - DAY))
        answer = late.run("predictions", as_of)

        assert answer["data_until"] == str(as_of)
        assert "late_days" not in answer
        assert days_of(late, PUBLISHED[0]) == {(as_of, as_of)}
        assert days_of(late, PUBLISHED[1]) == {
            (as_of, as_of),
            (as_of - DAY, as_of - DAY),
        }

    def test_is_waited_for_by_an_evaluation(self, late, as_of):
        """It goes on without the week that ends with the date: six days are no week."""
        assert late.post("model_evaluation", {"as_of": as_of}).status_code == 503
        went_on = late.run("model_evaluation", as_of, force=True)
        loaded(late, as_of - DAY, visits(as_of - DAY))
        whole = late.run("model_evaluation", as_of)

        assert went_on["weeks"] == []
        assert went_on["data_until"] == str(as_of - DAY)
        assert [week["week"] for week in whole["weeks"]] == [str(as_of - 7 * DAY)]
        assert whole["weeks"][0]["data_until"] == str(as_of)

    @pytest.mark.long
    def test_of_a_past_date_is_not_waited_for(self, late, as_of):
        """A date whose days are all there runs at once, and so does one that lacks a
        day; an older day that never came is a warning in answer and log."""
        past, gap = as_of - 10 * DAY, as_of - 20 * DAY
        whole = late.run("predictions", past)
        dropped(late, past - DAY, gap)
        cut = late.run("predictions", past)

        assert whole["data_until"] == str(past)
        assert "missing_days" not in whole
        assert cut["data_until"] == str(past - DAY)
        assert cut["missing_days"] == [str(gap)]


def began_earlier(place: Place, kind: str, as_of: date, *, by: timedelta) -> None:
    """Have the first attempt of a date have been longer ago."""
    artifacts, name = place.registry.artifacts, f"runs/ga4_purchase/{kind}/{as_of}.json"
    stored = artifacts.find(name)
    note = json.loads(stored.data)
    since = datetime.fromisoformat(note["waiting_since"]) - by
    note["waiting_since"] = since.isoformat(timespec="microseconds")
    artifacts.replace(name, json.dumps(note).encode(), stored)


class TestStreamedDays:
    @pytest.mark.long
    def test_are_read_where_there_is_no_daily_table(
        self, daily, days, workplace, places, with_champion
    ):
        """A property that only streams has the rows, the users and the probabilities
        of one that has the same events in daily tables."""
        streamed, [before] = shop_of(days[1:], streamed=True), shop_of(days[-1:])
        # What loads an export wants a daily table; this one goes again.
        shop.load_shards(workplace, [*streamed, before])
        with workplace.bigquery.client() as client:
            client.delete_table(f"{workplace.ga4_dataset}.{before[0]}")
        place = with_champion(places.new(workplace.ga4_dataset))
        other = with_champion(places.new(daily.ga4_dataset))
        past = days[2]
        answer = place.run("predictions", past)
        other.run("predictions", past)
        sql = "SELECT user_id, probability FROM ma_predictions_table ORDER BY user_id"

        assert answer["data_until"] == str(past)
        # From the oldest to the one before the date, which is the third.
        assert len(answer["streamed_days"]) == len(days[3:])
        assert place.rows(sql) == other.rows(sql)

    def test_are_never_read_beside_the_daily_table(self, export, borrow, as_of):
        """While both are there, each event of the day is there once."""
        place = borrow(export)
        day = as_of - 5 * DAY
        client = place.warehouse.client
        # A streamed day stays: a wildcard that matches no table is an error.
        for kind, of in (("intraday_", day), ("fresh_", day), ("intraday_", day - DAY)):
            client.query_and_wait(
                f"CREATE TABLE `{place.settings.export}.events_{kind}{of:%Y%m%d}` AS "
                f"SELECT * FROM `{place.settings.export}.events_{of:%Y%m%d}`"
            )
        place.prepare()
        sql = "SELECT COUNT(*) AS n FROM ga_events WHERE table_suffix = @suffix"
        suffix = f"{day:%Y%m%d}"
        [both] = place.rows(sql, suffix=suffix)
        dropped(place, day)
        [streamed] = place.rows(sql, suffix=suffix)
        dropped(place, day, kind="events_intraday_")
        [neither] = place.rows(sql, suffix=suffix)

        assert (both["n"], streamed["n"], neither["n"]) == (USERS + 1, USERS + 1, 0)


class TestAnotherProject:
    @pytest.mark.long
    def test_holds_the_export(self, workplace, days, places, with_champion):
        """Training's statements, predictions and evaluation read it there."""
        name = workplace.ga4_dataset
        with workplace.bigquery.client("their-project") as client:
            ga4_export.load_tables(client, name, shop_of(days[1:15]))
        place = with_champion(places.new(f"their-project.{name}"))
        past = days[2]
        answer = place.run("predictions", past)
        evaluated = place.run("model_evaluation", past)

        assert place.settings.export == f"their-project.{name}"
        assert answer["users"] == USERS
        assert answer["data_until"] == str(past)
        assert evaluated["weeks"][0]["outcome"] == "no_predictions"
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
    def test_that_cannot_be_read_is_refused(
        self, borrow, daily, as_of, settings, message
    ):
        """By name, before a query."""
        place = borrow(daily.ga4_dataset).with_settings(**settings)
        answer = place.post("predictions", {"as_of": as_of, "use_case": "ga4_purchase"})

        assert answer.status_code in (424, 500)
        assert message in answer.json["message"]
