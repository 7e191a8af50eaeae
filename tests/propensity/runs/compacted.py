"""
Streams that are compacted: a site of one test, and a story that several tests read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.events import bet, registration
from tests.exact import expected_features
from tests.functions.streaming import Site, emptied, new_site, rows_of

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
LONG_AGO = date(1971, 1, 1)


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Site]:
    """Tables that are emptied before each test."""
    with new_site(emulators) as site:
        yield site


@pytest.fixture
def empty(shared) -> Site:
    """Tables without a row; the examples of a property have users of their own."""
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


def of_users(
    features: Mapping[str, Any], events: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the rows of the users of some events."""
    users = {event["user_id"] for event in events}
    return {user: row for user, row in features.items() if user in users}


cents = st.one_of(
    st.integers(0, 10_000),
    st.sampled_from([0, 1, 10**11 - 1, 10**11]),
    # Close together and large: floating sums of squares lose all of their variance.
    st.integers(99_999_999_995, 99_999_999_999),
    st.integers(0, 10**11),
)

# Few days and few moments, so that they coincide.
days = st.integers(0, 3)

PROPERTY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def of(user: str, event_id: str, day: str, **fields: Any) -> dict[str, Any]:
    """Return a bet of a user at noon of a day."""
    return bet(user_id=user, event_id=event_id, event_time=f"{day}T12:00:00Z", **fields)


def twin(user: str, event_id: str) -> dict[str, Any]:
    """Return one of two registrations at the same moment."""
    city = {"r1": "Aberdeen", "r2": "Zwolle"}[event_id]
    return registration(user_id=user, event_id=event_id, city=city)


@dataclass(frozen=True)
class Story:
    """What two compactions made of users of whom each is a case of its own."""

    counted: Mapping[str, Any]
    tiles_before: Sequence[Mapping[str, Any]]
    before: Mapping[str, Any]
    answer: Mapping[str, Any]
    tiles: Sequence[Mapping[str, Any]]
    after: Mapping[str, Any]
    clean: Mapping[str, Any]
    earlier: Mapping[str, Any]

    def tiles_of(self, user: str) -> list[Mapping[str, Any]]:
        return [tile for tile in self.tiles if tile["user_id"] == user]


@pytest.fixture(scope="module")
def story(shared) -> Story:
    """Events, a compaction, later events, and another compaction."""
    site = emptied(shared)
    days = ("2026-02-28", "2026-03-01", "2026-03-02")
    played = [of(user, "e", day) for user in ("late", "in time") for day in days]
    first_two = [
        registration(
            user_id="months", event_time="2026-03-03T12:00:00Z", city="Zwolle"
        ),
        registration(
            user_id="months", event_id="r2", event_time="2026-02-03T12:00:00Z"
        ),
    ]
    months = of("months", "e1", "2026-02-04", bet_amount=1.25)
    noon, evening = "2026-03-01T12:00:00Z", "2026-03-01T18:00:00Z"
    site.append(
        rows_of(
            [
                *played,
                of("old month", "e", "2026-03-01"),
                *(of("repeated", f"e{n % 3}", "2026-03-01") for n in range(7)),
                twin("twins", "r1"),
                twin("turned twins", "r2"),
                registration(user_id="first", event_id="r2", event_time=evening),
                of("on its way", "e1", "2026-03-01"),
                *first_two,
                months,
            ],
            received_at=NOW - HOUR,
        )
    )
    counted = site.compact(NOW, as_of=LONG_AGO)
    tiles_before = site.tiles()
    old = of("old month", "old", "2025-11-30")
    differs = {"user_id": "differs", "event_time": noon}
    later = [
        bet(user_id="late", event_id="late", event_time="2026-02-28T23:59:59Z"),
        *played,
        old,
        old,
        twin("twins", "r2"),
        twin("turned twins", "r1"),
        registration(user_id="first", event_id="r1", event_time=noon, city="Zwolle"),
        bet(**differs, bet_amount=10),
        bet(user_id="differs", event_id="e2", event_time=evening, bet_amount=5),
        *(of(user, "same", day) for user in ("one", "two") for day in days),
        months,
        of("months", "e2", "2026-03-04", bet_amount=2.5),
    ]
    site.append(rows_of([bet(**differs, bet_amount=99)], received_at=NOW + 2 * HOUR))
    site.append(rows_of(later, received_at=NOW + HOUR))
    for event_id, ago in (("e2", 15 * MINUTE), ("e3", MINUTE)):
        way = of("on its way", event_id, "2026-03-01")
        site.append(rows_of([way], received_at=NOW - ago))
    before = site.features()
    answer = site.compact(NOW + DAY, as_of=LONG_AGO)
    return Story(
        counted=counted,
        tiles_before=tiles_before,
        before=before,
        answer=answer,
        tiles=site.tiles(),
        after=site.features(),
        clean=site.clean_features(),
        earlier=site.clean_features(as_of=datetime(2026, 3, 1, 18, tzinfo=UTC)),
    )
