"""A use case on a table of events of one's own: as it is written, declared, checked."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from propensity import usecases
from propensity.trying import new_use_case as new
from propensity.usecases.declaration import Events
from tests.offline.usecases.conftest import NAME

SHOP = Events(
    table="shop.events", user_id="customer", time="at", name="type", amount="total"
)
CHOSEN = {"lookback_days": 30, "horizon_days": 7, "events": SHOP}
AS_OF = date(2026, 3, 2)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def folder(use_cases, request) -> Path:
    """A use case that ``usecase new --events`` has written, with some options."""
    new.write_use_case(
        NAME, **{**CHOSEN, "label_event": "cancel", **getattr(request, "param", {})}
    )
    return use_cases / NAME


def rows(sandbox, statement, *as_ofs):
    use_case = usecases.load(NAME)
    window = use_case.window(sandbox.warehouse.settings, as_ofs or [AS_OF])
    return sandbox.warehouse.rows(use_case.statement(statement), window)


def load(sandbox, *events):
    """Load events: user, time, and if need be name and total."""
    columns = ("customer", "at", "type", "total")
    made = [
        dict(zip(columns, (*one, "login", None)[:4], strict=True)) for one in events
    ]
    sandbox.load_source(SHOP, made)


@pytest.mark.parametrize(
    "folder",
    [
        {"label": "churn", "label_event": None},
        {"events": replace(SHOP, name=None, amount=None), "label_event": None},
    ],
    indirect=True,
)
def test_a_new_use_case_leaks_nothing(folder, checked):
    report = checked()

    assert (report.problems, report.skipped) == ([], "")


def test_features_end_where_labels_begin(folder, sandbox):
    """Many dates at once give the rows that each has alone."""
    load(
        sandbox,
        ("early", MIDNIGHT - 30 * DAY),
        ("older", MIDNIGHT - 30 * DAY - TICK),
        ("last", MIDNIGHT - TICK),
        ("last", MIDNIGHT, "cancel", 5),
        ("late", MIDNIGHT + 7 * DAY - TICK, "cancel", 7),
        ("later", MIDNIGHT + 7 * DAY, "cancel", 7),
        ("other", MIDNIGHT + DAY),
    )
    week = [AS_OF, AS_OF + 7 * DAY]

    assert {row["user_id"] for row in rows(sandbox, "features")} == {"early", "last"}
    labels = {
        (row["user_id"], row["amount"]) for row in rows(sandbox, "converter_amounts")
    }
    assert labels == {("last", 5), ("late", 7)}
    for statement in ("features", "labels", "converter_amounts"):
        alone = [row for day in week for row in rows(sandbox, statement, day)]
        together = rows(sandbox, statement, *week)
        assert sorted(map(repr, together)) == sorted(map(repr, alone))


def test_features_know_the_purchases_of_two_years(folder, sandbox):
    """By the event that is predicted or by an amount; a day counts once. Who was away
    for longer than the lookback is a user by them, and by nothing else."""
    load(
        sandbox,
        ("away", MIDNIGHT - 99 * DAY, "cancel", None),
        ("away", MIDNIGHT - 39 * DAY, "payment", 5),
        ("away", MIDNIGHT - 39 * DAY + TICK, "payment", 7),
        ("away", MIDNIGHT + DAY, "payment", 100),
        ("longer", MIDNIGHT - 731 * DAY, "payment", 5),
        ("visitor", MIDNIGHT - 31 * DAY),
        ("active", MIDNIGHT - 3 * DAY),
        # A refund is no purchase.
        ("back", MIDNIGHT - 300 * DAY, "refund", -20),
    )
    users = {row["user_id"]: row for row in rows(sandbox, "features")}

    assert users.keys() == {"away", "active"}
    away = users["away"]
    assert (away["presence"], users["active"]["presence"]) == ("away", "active")
    assert (away["recency_days"], away["active_days"], away["events"]) == (39, 0, 0)
    assert away["history_days_since_first"] == 1.5 * 30
    assert away["history_mean_gap_days"] == 60
    assert away["history_recency_in_gaps"] == 39 / 60
    assert away["history_purchase_rate"] == 2 / (99 + 30 / 2)
    assert away["history_revenue_per_day"] == 6
    fading = math.exp(-39 / 20) + math.exp(-99 / 20)
    assert away["purchase_days_fading_20d"] == pytest.approx(fading)
    assert users["active"]["history_purchase_rate"] == 0


@pytest.mark.parametrize(
    "folder", [{"label": "churn", "label_event": "login"}], indirect=True
)
def test_a_user_who_stays_away_in_the_horizon_has_churned(folder, sandbox):
    """From the event that is named, whatever else there is."""
    load(
        sandbox,
        ("gone", MIDNIGHT - 20 * DAY),
        ("back", MIDNIGHT - DAY),
        ("back", MIDNIGHT + 7 * DAY - TICK),
        ("too late", MIDNIGHT - DAY),
        ("too late", MIDNIGHT + 7 * DAY),
        ("complains", MIDNIGHT - DAY),
        ("complains", MIDNIGHT, "ticket", 1),
        ("new", MIDNIGHT, "ticket", 1),
        ("", MIDNIGHT - DAY),
    )

    churned = {"gone", "too late", "complains"}
    assert {row["user_id"] for row in rows(sandbox, "labels")} == churned


@pytest.mark.parametrize(
    "folder", [{"events": replace(SHOP, table="shop.typed")}], indirect=True
)
def test_days_may_be_times(folder, sandbox):
    """An event of a day is known when the day is over."""
    sandbox.warehouse.client.query(
        "CREATE OR REPLACE TABLE `shop.typed` AS SELECT 12 AS customer, "
        "DATE '2026-03-01' AS at, 'cancel' AS type, 2.5 AS total "
        "UNION ALL SELECT 13, DATE '2026-03-02', 'cancel', 4.5"
    ).result()
    assert [row["user_id"] for row in rows(sandbox, "features")] == ["12"]
    assert [row["user_id"] for row in rows(sandbox, "labels")] == ["13"]
    [day, _] = rows(sandbox, "days")
    assert day["n_events"] == 1
