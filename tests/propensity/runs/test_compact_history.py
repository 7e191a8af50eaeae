"""
Features are exact in any history of a stream: late, repeated, compacted, killed.

Events of all types come in batches, and each batch may be followed by a compaction, a
forced one, or one that dies. What the view must say then is computed in fractions by
``tests/exact.py``.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.generators.streams import encode
from propensity.runs.compact import IN_FLIGHT
from tests.deployment import Deployment
from tests.events import bet
from tests.functions.streaming import Died, changed, dying, rows_of
from tests.propensity.runs.compacted import (
    DAY,
    FIRST,
    HOUR,
    MINUTE,
    NOW,
    expected,
    of,
)

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
    # No later than clocks may differ, of the day of its receipt, too.
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
            # As long as an append can be on its way, and no longer.
            draw([0 * MINUTE, 15 * MINUTE]),
            draw([MINUTE, HOUR, DAY, 20 * DAY, 45 * DAY]),
            draw(["", "", "compact", "compact", "force", "die"]),
        )
        for _ in range(draw(range(2, 7)))
    ]


@pytest.mark.parametrize(
    "seed",
    [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 26))],
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
    chance, clock = random.Random(seed), NOW
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
                strict.compact(clock, as_of=FIRST)
            # Whether it has counted what was late depends on when it died.
            unsure = {key[0] for key in set(sent) - counted}
            perhaps |= anew.keys()
            clock += LEASE
        elif follows:
            strict.compact(clock, as_of=FIRST, force=follows == "force")
            counted, unsure, perhaps = set(sent), set(), set()
        if follows:
            # What came just before it began may not have been there yet.
            anew = {day: at for day, at in anew.items() if at >= began - IN_FLIGHT}
        sure = {user for user, _, _ in sent} - unsure
        must = [sent[key] for key in sent if key in counted and key[0] in sure]
        features = strict.features()
        assert {u: features[u] for u in features.keys() & sure} == expected(must)
    strict.compact(clock, as_of=FIRST)
    tiles = strict.tiles(when=False)
    forced = strict.compact(clock + HOUR, as_of=FIRST, force=True)
    assert forced["days"] == sorted({date.fromisoformat(day) for _, day, _ in sent})
    assert strict.tiles(when=False) == tiles
    assert strict.features() == expected([*sent.values()])
    assert strict.clean_features() == strict.features()


class TestLateEvents:
    def test_late_events_are_counted_by_a_compaction_that_computes_their_days(
        self, strict
    ):
        """The bound is so many days before the day of receipt, whatever the hour. Of a
        clock of 1971 that day is computed, and none between."""
        events = [
            of("beyond", "e", "2026-02-17"),
            bet(user_id="last day", event_time="2026-02-18T00:00:00Z"),
            of("last day", "e2", "1971-05-06"),
        ]
        strict.store(rows_of(events, received_at=NOW, lateness=BOUND))
        before = strict.features()
        summary = strict.compact(NOW + HOUR, as_of=FIRST)

        counts = {user: row["bet_count"] for user, row in before.items()}
        assert counts == {"last day": 1}
        days = [date(1971, 5, 6), date(2026, 2, 17), date(2026, 2, 18)]
        assert summary["days"] == days
        assert sorted(row["day"] for row in strict.tiles()) == days
        assert strict.features() == expected(events)

    def test_late_events_count_once_where_the_bound_was_another_before(self, strict):
        """A row of an instance that has an older, larger bound is left to a run."""
        old = bet(event_time="2025-12-24T12:00:00Z")
        for received in (NOW - 60 * DAY, NOW):
            strict.store(rows_of([old], received_at=received, lateness=90 * DAY))
            strict.compact(received + HOUR)
        again = rows_of([old], received_at=NOW + DAY, lateness=90 * DAY)
        strict.store(again)

        assert strict.features() == expected([old])
