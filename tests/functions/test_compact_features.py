"""
compact_features: a run can be repeated, exports whole days, and may die at any step.

What the sums hold is in ``tests/propensity/streaming/features/test_compact.py``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import functions_framework
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.stack.state import ROOT
from propensity.clock import SYSTEM
from propensity.registry.leases import leased
from propensity.streaming.features.compact import KIND, SCOPE
from propensity.tables.stream import INFERENCE_LOG
from tests.functions.streaming import (
    changed,
    compact_at,
    prepare_stream,
    rows_of,
    streamed_features,
    tiles,
)
from tests.support.deployment import OF_A_STREAM, Deployment, entered
from tests.support.events import bet, registration, transaction
from tests.support.rows import append_rows

NOW = datetime(2026, 3, 20, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def exported_rows(site: Deployment, table: str) -> dict[str, list[dict[str, Any]]]:
    """Return what is exported of a table, by its day's folder."""
    by_day: dict[str, list[dict[str, Any]]] = {}
    for name in site.artifacts.names(f"exports/{table}/"):
        day = name.split("/")[2]
        data = site.artifacts.read(name).data
        rows = pq.read_table(pa.BufferReader(data)).to_pylist()
        by_day.setdefault(day, []).extend(rows)
    return by_day


@pytest.fixture
def site() -> Deployment:
    """Tables and a bucket with nothing in them."""
    site = Deployment(**OF_A_STREAM)
    prepare_stream(site)
    return site


def identities(events: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Return users and event ids of each day, in order, as its folder has them."""
    by_day: dict[str, set[tuple[str, str]]] = {}
    for event in events:
        folder = f"date={event['event_time'][:10]}"
        by_day.setdefault(folder, set()).add((event["user_id"], event["event_id"]))
    return {folder: sorted(each) for folder, each in by_day.items()}


def exported(site: Deployment) -> dict[str, list[Any]]:
    """Return users and event ids that the bucket has of each day."""
    return {
        folder: sorted((row["user_id"], row["event_id"]) for row in rows)
        for folder, rows in exported_rows(site, "stream_events").items()
    }


def score(site: Deployment, user: str, event_id: str, day: str, at: datetime) -> None:
    row = {
        "use_case": "first_day_churn",
        "inference_id": f"{user} {event_id} {day}",
        "event_id": event_id,
        "user_id": user,
        "event_time": datetime.fromisoformat(f"{day}T12:00:00Z"),
        "event_date": date.fromisoformat(day),
        "model_version": 0,
        "probability": 0.5,
        "features": "{}",
        "scored_at": at,
        "scored_on": at.date(),
    }
    append_rows(site.warehouse, INFERENCE_LOG, [row])


def test_a_second_run_changes_nothing(site, log_lines):
    """A run over HTTP counts; another one comes to the same. The log names no user.
    Beside another one, of whatever date, none begins."""
    file = ROOT / "04-StreamFeatures" / "compact_features.py"
    client = functions_framework.create_app("compact_features", str(file)).test_client()
    events = [bet(user_id="somebody", event_id=f"e{n}") for n in range(3)]
    site.store(rows_of([*events, *events], received_at=datetime.now(UTC)))
    answers = []
    found = []
    for _ in range(2):
        with entered(site.environment):
            answers.append(client.post("/", json={}).json)
        found.append(tiles(site, when=False))
    with (
        leased(site.artifacts, SCOPE, KIND, clock=SYSTEM.now),
        entered(site.environment),
    ):
        refused = client.post("/", json={"as_of": "2026-03-01"})

    assert (refused.status_code, refused.json["error"]) == (409, "run_in_progress")
    assert "somebody" not in str(log_lines())
    assert answers[0]["days"] == ["2026-03-01"]
    assert [(one["tiles"], one["repeated"]) for one in answers] == [(1, False)] * 2
    assert found[0] == found[1]
    assert streamed_features(site)["somebody"]["bet_count"] == 3


def test_exports_hold_each_event_of_a_closed_day_once(site):
    """Money and moments are exact in the files, and they name nobody. Transactions are
    exported, and have no sums; a score that was logged twice is there as it was given
    first. Today's events are exported tomorrow."""
    exact = bet(user_id="exact", bet_amount=999_999_999.97)
    closed = [bet(), bet(event_time="2026-02-28T12:00:00Z"), exact, registration()]
    today = bet(user_id="today", event_time="2026-03-20T08:00:00Z")
    site.store(rows_of([*closed, today, *closed[::-1]], received_at=NOW))
    site.store(rows_of([transaction()], received_at=NOW))
    for user, at in (("u1", NOW), ("u1", NOW + HOUR), ("u2", NOW)):
        score(site, user, "e1", "2026-03-01", at)

    answer = compact_at(site, NOW)
    before = exported(site)
    days = exported_rows(site, "stream_events").values()
    [scores] = exported_rows(site, "inference_log").values()
    compact_at(site, NOW + DAY)

    assert answer["exported_days"] == {"stream_events": 2, "inference_log": 1}
    card = {"event_time": "2026-03-01", "user_id": "t1", "event_id": "t1"}
    assert before == identities([*closed, card])
    assert exported(site) == identities([*closed, card, today])
    assert {row["use_case"] for row in tiles(site)} == {"first_day_churn"}
    rows = {row["event_id"]: row for day in days for row in day}
    moment = datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC)
    [money] = [row for day in days for row in day if row["user_id"] == "exact"]
    assert str(money["amount"]).rstrip("0") == "999999999.97"
    assert money["event_time"] == moment
    assert rows["r1"]["age"] == 35
    assert "Muster" not in str(rows)
    assert {(row["user_id"], row["scored_at"]) for row in scores} == {
        ("u1", NOW),
        ("u2", NOW),
    }


def test_exports_are_made_anew_of_a_day_that_late_events_come_to(site):
    """A day's files are replaced as a whole; other days' stay as they are, but for a
    forced run, which writes all of them anew."""
    events = [
        bet(event_time=f"{day}T08:00:00Z") for day in ("2026-03-01", "2026-03-02")
    ]
    site.store(rows_of(events, received_at=NOW))
    compact_at(site, NOW + HOUR)
    names = site.artifacts.names("exports/")
    late = bet(event_id="late", event_time="2026-03-01T09:00:00Z")
    site.store(rows_of([late, events[0]], received_at=NOW + DAY))
    compact_at(site, NOW + DAY)
    kept = set(names) & set(site.artifacts.names("exports/"))
    answer = compact_at(site, NOW + 2 * DAY, force=True)

    assert [name for name in names if "date=2026-03-02" in name] == sorted(kept)
    assert answer["exported_days"]["stream_events"] == 2
    assert exported(site) == identities([*events, late])
    assert not kept & set(site.artifacts.names("exports/"))


def test_late_events_are_left_out_of_the_exports(site):
    """Those within the bound are exported by day; a bad clock exports nothing."""
    with changed(site, PROPENSITY_MAXIMUM_LATENESS_DAYS="30") as strict:
        days = ("1971-05-06", "2026-02-17", "2026-02-18", "2026-03-19")
        events = [bet(event_time=f"{day}T08:00:00Z") for day in days]
        bound = timedelta(days=30)
        strict.store(rows_of(events, received_at=NOW, lateness=bound))
        answer = compact_at(strict, NOW + HOUR)
        again = compact_at(strict, NOW + DAY)

        assert [str(day) for day in answer["days"]] == list(days)
        assert [*exported(strict)] == [f"date={day}" for day in days[2:]]
        assert streamed_features(strict)["u1"]["bet_count"] == 4
        assert again["exported_days"] == {"stream_events": 0, "inference_log": 0}
