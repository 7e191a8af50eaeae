"""
compact_features: a run can be repeated, exports whole days, and may die at any step.

What the sums hold is in ``tests/propensity/runs/test_compact.py``.
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
from propensity.runs.compact import KIND, SCOPE
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
MINUTE = timedelta(minutes=1)
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


def exported(site: Deployment, table: str = "stream_events") -> dict[str, list[Any]]:
    """Return users and event ids that the bucket has of each day."""
    return {
        folder: sorted((row["user_id"], row["event_id"]) for row in rows)
        for folder, rows in exported_rows(site, table).items()
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
    """A run over HTTP counts; another one comes to the same. Each is one line of the
    log, which names no user. Beside another one, of whatever date, none begins."""
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
    lines = [line for line in log_lines() if "outcome" in line]
    with (
        leased(site.artifacts, SCOPE, KIND, clock=SYSTEM.now),
        entered(site.environment),
    ):
        refused = client.post("/", json={"as_of": "2026-03-01"})

    assert (refused.status_code, refused.json["error"]) == (409, "run_in_progress")
    assert [(line["function"], line["outcome"], line["tiles"]) for line in lines] == [
        ("compactFeatures", "ok", 1)
    ] * 2
    assert "somebody" not in str(lines)
    assert answers[0]["days"] == ["2026-03-01"]
    assert [(one["tiles"], one["repeated"]) for one in answers] == [(1, False)] * 2
    assert found[0] == found[1]
    prepared = {user: row["bet_count"] for user, row in streamed_features(site).items()}
    assert prepared == {"somebody": 3}


class TestExports:
    def test_exports_hold_each_event_of_a_closed_day_once(self, site):
        """Money and moments are exact in the files, and they name nobody. Today's
        events are exported tomorrow. Transactions are exported, and have no sums."""
        events = [
            bet(user_id=f"u{n % 2}", event_id=f"e{n}", event_time=f"{day}T12:00:00Z")
            for n in range(3)
            for day in ("2026-02-28", "2026-03-01")
        ]
        exact = bet(user_id="exact", bet_amount=999_999_999.97)
        closed = [*events, exact, registration(user_id="new")]
        today = bet(user_id="today", event_time="2026-03-20T08:00:00Z")
        site.store(rows_of([*closed, today, *closed[::-1]], received_at=NOW))
        site.store(rows_of([transaction()], received_at=NOW))

        answer = compact_at(site, NOW)

        assert answer["exported_days"]["stream_events"] == len(exported(site))
        card = {"event_time": "2026-03-01", "user_id": "t1", "event_id": "t1"}
        assert exported(site) == identities([*closed, card])
        assert {row["use_case"] for row in tiles(site)} == {"first_day_churn"}
        days = exported_rows(site, "stream_events").values()
        rows = {row["user_id"]: row for day in days for row in day}
        assert str(rows["exact"]["amount"]).rstrip("0") == "999999999.97"
        assert rows["exact"]["event_time"] == datetime(
            2026, 3, 1, 12, 0, 0, 250_000, UTC
        )
        assert rows["new"]["age"] == 35
        assert "Muster" not in str(rows)

    def test_exports_come_once_a_day_is_over(self, site):
        """A day that was open when it was last looked at is exported later."""
        event = bet(event_time="2026-03-20T08:00:00Z")
        site.store(rows_of([event], received_at=NOW))
        score(site, "u1", "e1", "2026-03-20", NOW)
        compact_at(site, NOW + HOUR)
        before = exported(site)

        compact_at(site, NOW + DAY)

        assert before == {}
        assert exported(site) == identities([event])
        assert list(exported(site, "inference_log")) == ["date=2026-03-20"]
        assert compact_at(site, NOW + 2 * DAY)["exported_days"]["stream_events"] == 0

    def test_exports_are_made_anew_of_a_day_that_late_events_come_to(self, site):
        """A day's files are replaced as a whole; other days' stay as they are, but for
        a forced run, which writes all of them anew."""
        events = [
            bet(event_time=f"{day}T08:00:00Z") for day in ("2026-03-01", "2026-03-02")
        ]
        site.store(rows_of(events, received_at=NOW))
        compact_at(site, NOW + HOUR)
        names = site.artifacts.names("exports/")
        late = bet(event_id="late", event_time="2026-03-01T09:00:00Z")

        site.store(rows_of([late, events[0]], received_at=NOW + DAY))
        compact_at(site, NOW + DAY)

        assert exported(site) == identities([*events, late])
        kept = set(names) & set(site.artifacts.names("exports/"))
        assert [name for name in names if "date=2026-03-02" in name] == sorted(kept)
        answer = compact_at(site, NOW + 2 * DAY, force=True)
        assert answer["exported_days"]["stream_events"] == 2
        assert exported(site) == identities([*events, late])
        assert not kept & set(site.artifacts.names("exports/"))

    def test_exports_hold_each_score_once(self, site):
        """A score that was logged twice is exported once, as it was given first."""
        score(site, "u1", "e1", "2026-03-01", NOW)
        score(site, "u1", "e1", "2026-03-01", NOW + MINUTE)
        score(site, "u2", "e1", "2026-03-01", NOW)

        answer = compact_at(site, NOW + HOUR)

        assert answer["exported_days"] == {"stream_events": 0, "inference_log": 1}
        [rows] = exported_rows(site, "inference_log").values()
        assert sorted((row["user_id"], row["scored_at"]) for row in rows) == [
            ("u1", NOW),
            ("u2", NOW),
        ]


def test_late_events_are_left_out_of_the_exports(site):
    """Those within the bound are exported by day; a bad clock exports nothing."""
    with changed(site, PROPENSITY_MAXIMUM_LATENESS_DAYS="30") as strict:
        days = ("1971-05-06", "2026-02-17", "2026-02-18", "2026-03-19")
        events = [bet(event_time=f"{day}T08:00:00Z") for day in days]
        bound = timedelta(days=30)
        strict.store(rows_of(events, received_at=NOW, lateness=bound))
        for day in days:
            score(strict, "u1", "e1", day, NOW)
        answer = compact_at(strict, NOW + HOUR)
        again = compact_at(strict, NOW + DAY)

        assert [str(day) for day in answer["days"]] == list(days)
        assert answer["exported_days"] == {"stream_events": 2, "inference_log": 2}
        for table in ("stream_events", "inference_log"):
            assert [*exported(strict, table)] == [f"date={day}" for day in days[2:]]
        assert streamed_features(strict)["u1"]["bet_count"] == 4
        marks = strict.rows("SELECT is_late FROM stream_events ORDER BY event_date")
        assert [row["is_late"] for row in marks] == [True, True, False, False]
        assert again["exported_days"] == {"stream_events": 0, "inference_log": 0}
