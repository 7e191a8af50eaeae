"""Streams that are compacted, and what their features must be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.deployment import Deployment
from tests.events import bet
from tests.exact import expected_features
from tests.functions.streaming import emptied, new_site

NOW = datetime(2026, 3, 20, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

REGISTERED = (
    "age",
    "city",
    "country",
    "affiliate_url",
    "campaign",
    "socioeconomic_idx",
)
# Open for ever: these tests are about tiles, and exports take time.
FIRST = date(1971, 1, 1)


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Deployment]:
    """Tables that are emptied before each test."""
    with new_site(emulators) as site:
        yield site


@pytest.fixture
def empty(shared) -> Deployment:
    """Tables without a row."""
    return emptied(shared)


def expected(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the features must be, by the textbook."""
    features = expected_features(events)
    for user, row in features.items():
        row.update(
            use_case="first_day_churn",
            user_id=user,
            **dict.fromkeys(("registration_time", *REGISTERED)),
        )
    registrations = [
        event for event in events if event["event_type"] == "new_registration"
    ]
    for event in sorted(registrations, key=_text, reverse=True):
        moment = datetime.fromisoformat(event["event_time"])
        row = features[event["user_id"]]
        if row["registration_time"] is None or moment <= row["registration_time"]:
            row["registration_time"] = moment
            row.update({name: event.get(name) for name in REGISTERED})
    return features


def _text(event: Mapping[str, Any]) -> str:
    """Return what tells which of two registrations at one moment is taken."""
    fields = {name: event.get(name) for name in REGISTERED}
    return json.dumps(fields, separators=(",", ":"))


def of(user: str, event_id: str, day: str, **fields: Any) -> dict[str, Any]:
    """Return a bet of a user at noon of a day."""
    return bet(user_id=user, event_id=event_id, event_time=f"{day}T12:00:00Z", **fields)
