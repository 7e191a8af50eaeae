"""A site that compact_features works in: what is scored, exported and served there."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
import requests

from propensity import tables
from tests.exact import expected_features
from tests.functions.instances import Instance
from tests.functions.streaming import DEADLINE_S, Site, emptied
from tests.propensity.runs.compacted import DAY, HOUR, MINUTE, NOW, shared
from tests.rows import append_rows

# The fixture and the times of all compactions.
__all__ = ["DAY", "HOUR", "MINUTE", "NOW", "shared"]


@pytest.fixture
def site(shared) -> Site:
    """Tables and a bucket with nothing in them."""
    return emptied(shared)


def run(instance: Instance, **body: object) -> dict[str, Any]:
    """Ask for a compaction that must succeed, and return its answer."""
    answer = requests.post(instance.url, json=body, timeout=DEADLINE_S)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def features(events: list[dict[str, Any]]) -> dict[str, tuple[int, Any, Any]]:
    """Return count, sum and variance of each user's bets, as they must be."""
    return {
        user: (row["bet_count"], row["bet_sum"], row["bet_var"])
        for user, row in expected_features(events).items()
    }


def view(site: Site) -> dict[str, tuple[int, Any, Any]]:
    """Return the same as the view has it."""
    return {
        user: (row["bet_count"], row["bet_sum"], row["bet_var"])
        for user, row in site.features().items()
    }


def identities(events: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Return users and event ids of each day, in order, as its folder has them."""
    by_day: dict[str, set[tuple[str, str]]] = {}
    for event in events:
        folder = f"date={event['event_time'][:10]}"
        by_day.setdefault(folder, set()).add((event["user_id"], event["event_id"]))
    return {folder: sorted(each) for folder, each in by_day.items()}


def exported(site: Site, table: str = "stream_events") -> dict[str, list[Any]]:
    """Return users and event ids that the bucket has of each day."""
    return {
        folder: sorted((row["user_id"], row["event_id"]) for row in rows)
        for folder, rows in site.exported(table).items()
    }


def score(site: Site, user: str, event_id: str, day: str, at: datetime) -> None:
    """Log a score of an event."""
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
        "latency_ms": 1.0,
    }
    append_rows(site.warehouse, tables.INFERENCE_LOG, [row])
