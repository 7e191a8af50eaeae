"""
Features are exact, whatever came twice, late or in disorder, was compacted or killed.

Rows are stored as the stream stores them, in the BigQuery emulator, at moments of a
clock of the tests' own; compactions run in between, and some die. At any moment the
view must say what the independent computation of ``tests/support/exact.py`` says of
the events so far, and what one clean SQL computation says.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.generators.streams import encode
from propensity.errors import Conflict
from propensity.gcp.warehouse import Warehouse
from propensity.streaming.features.compact import IN_FLIGHT
from tests.functions.streaming import (
    Died,
    changed,
    clean_features,
    compact_at,
    dying,
    emptied,
    prepare_stream,
    rows_of,
    streamed_features,
    tiles,
)
from tests.support.deployment import OF_A_STREAM, Deployment
from tests.support.events import bet, registration
from tests.support.exact import expected

NOW = datetime(2026, 3, 20, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

# Open for ever: these tests are about tiles, and exports take time.
FIRST = date(1971, 1, 1)


@pytest.fixture(scope="module")
def shared() -> Deployment:
    """Tables that are emptied before each test."""
    site = Deployment(**OF_A_STREAM)
    prepare_stream(site)
    return site


@pytest.fixture
def empty(shared) -> Deployment:
    """Tables without a row."""
    return emptied(shared)


def test_sums_stay_when_they_are_counted(empty):
    """Of an event that is sent again with another amount counts what was received
    first; of two registrations at a moment the one whose text comes first, of
    others the first; and what was on its way when the last run began counts."""
    twins = [
        registration(user_id="twins", event_id=city, city=city)
        for city in ("Aberdeen", "Zwolle")
    ]
    evening = "2026-03-01T18:00:00Z"
    later = registration(user_id="first", event_id="r2", event_time=evening)
    earlier = registration(user_id="first", city="Zwolle")
    empty.store(rows_of([twins[1], later], received_at=NOW - HOUR))
    compact_at(empty, NOW, as_of=FIRST)
    for amount, received_at in ((99, NOW + 2 * HOUR), (10, NOW + HOUR)):
        differs = bet(user_id="differs", bet_amount=amount)
        empty.store(rows_of([differs], received_at=received_at))
    empty.store(rows_of([twins[0], earlier], received_at=NOW + HOUR))
    way = bet(user_id="on its way")
    empty.store(rows_of([way], received_at=NOW - MINUTE))

    before = streamed_features(empty)
    compact_at(empty, NOW + DAY, as_of=FIRST)

    assert before == streamed_features(empty) == clean_features(empty)
    assert before["differs"]["bet_sum"] == 10
    assert before["on its way"]["bet_count"] == 1
    cities = [before[user]["city"] for user in ("twins", "first")]
    assert cities == ["Aberdeen", "Zwolle"]


def test_days_keep_their_sums(empty):
    """What comes of a day whose events are not kept changes nothing: the others
    of its events would be lost."""
    old = bet(event_time="2026-01-15T12:00:00Z")
    empty.store(rows_of([old], received_at=NOW - 50 * DAY))
    compact_at(empty, NOW - 49 * DAY)
    empty.warehouse.execute(
        "DELETE FROM stream_events WHERE received_on < @day",
        {"day": (NOW - 20 * DAY).date()},
    )
    kept = {"PROPENSITY_RETENTION_DAYS": "stream_events=20"}
    with changed(empty, **kept) as site:
        late = {**old, "event_id": "late", "bet_amount": 99}
        site.store(rows_of([late], received_at=NOW, lateness=DAY))
        compact_at(site, NOW + HOUR, as_of=NOW.date())

        assert streamed_features(site) == expected([old])


def test_a_compaction_writes_nothing_once_another_has_its_place(empty, monkeypatch):
    """It was held up until its lease ended."""
    compact_at(empty, NOW)
    empty.store(rows_of([bet()], received_at=NOW))
    rows = Warehouse.rows

    def taken_over(*arguments: Any) -> list[Any]:
        lease = "runs/stream/compact/1970-01-01.json"
        empty.artifacts.overwrite(lease, b'{"run_id": "another"}')
        return rows(*arguments)

    monkeypatch.setattr(Warehouse, "rows", taken_over)
    with pytest.raises(Conflict, match="took over"):
        compact_at(empty, NOW + HOUR, as_of=FIRST)

    assert tiles(empty) == []


# A lease outlives a run that died; the next run may begin then.
LEASE = timedelta(minutes=66)

BOUND = 30 * DAY
BOUNDED = {"PROPENSITY_MAXIMUM_LATENESS_DAYS": "30"}


@pytest.fixture
def strict(empty) -> Iterator[Deployment]:
    """Tables where an event may be thirty days late."""
    with changed(empty, **BOUNDED) as site:
        yield site


FIELDS = {"new_purchases": "amount", "new_bet": "bet_amount", "new_win": "win_amount"}
# Close together and large: floating sums of squares lose all of their variance.
CENTS = (0, 1, 1_250, 99_999_999_995, 99_999_999_997, 99_999_999_999, 10**11)
# Days before receipt: within the bound, its last, the first beyond, and longer ago than
# anybody plays.
AGES = (0, 1, 29, 30, 31, 32, 400, 20_000)


def event_of(user: str, number: int, day: date) -> dict[str, Any]:
    """Return a user's event of a number and day: one of all types and amounts."""
    chance = random.Random(f"{user[-1]} {number} {day}")
    # Clocks may differ by so much, also on the day of the receipt.
    second = chance.choice([0, 1, 540])
    own: dict[str, Any] = {
        "event_type": "new_registration",
        "age": chance.randint(18, 20),
        "city": chance.choice(["Ambermouth", "Dúnbeg"]),
        "country": "England",
        "postcode": "QA1 2BD",
        "affiliate_url": chance.choice([None, "https://a.example/?r=1"]),
        "campaign": chance.choice([None, "derby_day"]),
    }
    if kind := chance.choice(["", *FIELDS]):
        amount = Decimal(chance.choice(CENTS)).scaleb(-2)
        own = {"event_type": kind, FIELDS[kind]: amount}
    return {
        # Ids are of a user's day: those of others may be the same.
        "event_id": f"e{number}",
        "use_case": "first_day_churn",
        "user_id": user,
        "event_time": f"{day}T{timedelta(seconds=second)!s:0>8}Z",
        **own,
    }


# Events by user, number and age; how long ago they were received, how long after the
# step before; and what follows: nothing, a compaction, or one that dies in between.
STORY = [
    ([(0, n, 0) for n in range(6)], 15 * MINUTE, MINUTE, "compact"),
    ([(0, 1, 31), (1, 0, 400), (3, 0, 1)], 0 * MINUTE, MINUTE, "compact"),
    ([(0, 1, 31), (1, 1, 30), (2, 0, 32)], 15 * MINUTE, DAY, "die"),
    ([(1, 2, 29), (2, 1, 20_000)], 0 * MINUTE, 20 * DAY, ""),
    ([(n, n, 1) for n in range(4)], 0 * MINUTE, MINUTE, "force"),
]


def drawn(chance: random.Random) -> list[Any]:
    """Draw steps of a story."""
    draw = chance.choice
    return [
        (
            [
                (draw(range(4)), draw(range(6)), draw(AGES))
                for _ in range(draw(range(13)))
            ],
            # An append can be on its way for so long.
            draw([0 * MINUTE, 15 * MINUTE]),
            draw([MINUTE, HOUR, DAY, 20 * DAY, 45 * DAY]),
            draw(["", "", "compact", "compact", "force", "die"]),
        )
        for _ in range(draw(range(2, 7)))
    ]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 11))]
)
def test_features_are_exact_in_any_history(strict, seed):
    """
    Whatever is late, early, repeated, replayed, compacted or killed, and when.

    After every step the view has all events that came within the bound at any time,
    and of the others those that a compaction has seen, and those of a user's day that
    is computed anew because another event of it came in time; each once, exactly. In
    the end it has every event, and so has a clean computation; a forced compaction
    counts all days again, and changes neither it nor a single sum.
    """
    chance = random.Random(seed)
    clock = NOW
    sent: dict[Any, dict[str, Any]] = {}
    counted: set[Any] = set()
    unsure: set[str] = set()
    # Users' days that are computed anew, by their last event that came in time; and
    # those of which that is not known.
    anew: dict[Any, datetime] = {}
    perhaps: set[Any] = set()
    for batch, ago, wait, follows in drawn(chance) if seed else STORY:
        clock += wait
        received_at = clock - ago
        events = [
            event_of(f"u{user}", number, max(FIRST, received_at.date() - age * DAY))
            for user, number, age in batch
        ]
        # Some of what was sent before comes again, however old it is by now.
        events += chance.sample(list(sent.values()), min(3, len(sent)))
        for event in events:
            key = (event["user_id"], event["event_time"][:10], event["event_id"])
            sent.setdefault(key, event)
            if date.fromisoformat(key[1]) >= received_at.date() - BOUND:
                anew[key[:2]] = received_at
        counted |= {key for key in sent if key[:2] in anew}
        unsure |= {key[0] for key in set(sent) - counted if key[:2] in perhaps}
        if events:
            lines = [encode(event) for event in events]
            strict.store(rows_of(lines, received_at=received_at, lateness=BOUND))
        began = clock
        if follows == "die":
            with dying(chance.randint(3, 12)), contextlib.suppress(Died):
                compact_at(strict, clock, as_of=FIRST)
            # Whether it has counted what was late depends on when it died.
            unsure = {key[0] for key in set(sent) - counted}
            perhaps |= anew.keys()
            clock += LEASE
        elif follows:
            compact_at(strict, clock, as_of=FIRST, force=follows == "force")
            counted = set(sent)
            unsure = set()
            perhaps = set()
        if follows:
            # Rows of just before it began may not have been there yet.
            anew = {day: at for day, at in anew.items() if at >= began - IN_FLIGHT}
        sure = {user for user, _, _ in sent} - unsure
        must = [sent[key] for key in sent if key in counted and key[0] in sure]
        features = streamed_features(strict)
        assert {u: features[u] for u in features.keys() & sure} == expected(must)
    compact_at(strict, clock, as_of=FIRST)
    counted = tiles(strict, when=False)
    forced = compact_at(strict, clock + HOUR, as_of=FIRST, force=True)
    assert forced["days"] == sorted({date.fromisoformat(day) for _, day, _ in sent})
    assert tiles(strict, when=False) == counted
    assert streamed_features(strict) == expected([*sent.values()])
    assert clean_features(strict) == streamed_features(strict)
