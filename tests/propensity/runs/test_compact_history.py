"""
Features are exact in any history of a stream: late, repeated, compacted, killed.

Events of all types come in batches, and each batch may be followed by a compaction, a
forced one, or one that dies. What the view must say then is computed in fractions by
``tests/exact.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.generators.messages import encode
from propensity.gcp.warehouse import Warehouse
from propensity.runs import compact
from propensity.statements import statement
from tests.events import bet
from tests.functions.streaming import Died, Life, Site, changed, mortal_run, rows_of
from tests.propensity.runs.compacted import (
    DAY,
    HOUR,
    LONG_AGO,
    MINUTE,
    NOW,
    PROPERTY,
    expected,
    of,
    of_users,
)

# A lease outlives a run that died; the next run may begin then.
LEASE = timedelta(minutes=66)

BOUND = 30 * DAY
BOUNDED = {"PROPENSITY_MAXIMUM_LATENESS_DAYS": "30"}


@pytest.fixture
def strict(empty) -> Iterator[Site]:
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


@st.composite
def histories(draw) -> tuple[list[Any], int]:
    """
    Draw what happens: events that are new or sent before, and what follows each batch.

    A step is events by user, number and age, how long ago they were received, how long
    after the step before, and what follows: nothing, a compaction, a forced one, or one
    that dies before one of its requests. The number seeds the rest.
    """
    events = st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from(AGES))
    steps = draw(
        st.lists(
            st.tuples(
                st.lists(events, max_size=12),
                # As long as an append can be on its way, and no longer.
                st.sampled_from([0 * MINUTE, 15 * MINUTE]),
                st.sampled_from([MINUTE, HOUR, DAY, 20 * DAY, 45 * DAY]),
                st.sampled_from(["", "", "compact", "compact", "force", "die"]),
            ),
            min_size=2,
            max_size=6,
        )
    )
    return steps, draw(st.integers(0, 2**32))


class TestAnyHistory:
    clock = NOW
    numbers = itertools.count()

    def test_gives_exact_features_at_any_moment(self, strict):
        """Within the bound, beyond it, sent again, and with a run that dies."""
        steps = [
            ([(0, n, 0) for n in range(6)], 15 * MINUTE, MINUTE, "compact"),
            ([(0, 1, 31), (1, 0, 400), (3, 0, 1)], 0 * MINUTE, MINUTE, "compact"),
            ([(0, 1, 31), (1, 1, 30), (2, 0, 32)], 15 * MINUTE, DAY, "die"),
            ([(1, 2, 29), (2, 1, 20_000)], 0 * MINUTE, 20 * DAY, ""),
            ([(n, n, 1) for n in range(4)], 0 * MINUTE, MINUTE, "force"),
        ]
        self.follow(strict, steps, 7)

    @pytest.mark.long
    @pytest.mark.timeout(3600)
    @settings(PROPERTY, max_examples=25)
    @given(drawn=histories())
    def test_gives_exact_features_in_any_history(self, strict, drawn):
        """
        Whatever is late, early, repeated, replayed, compacted or killed, and when.

        After every step the view has all events that came within the bound at any time,
        and of the others those that a compaction has seen; each once, exactly. In the
        end it has every event, and so has a clean computation; and another compaction,
        forced or not, changes neither it nor a single sum.
        """
        self.follow(strict, *drawn)

    def follow(self, site: Site, steps: list[Any], seed: int) -> None:
        """Do what was drawn, for users of its own."""
        cls, prefix = type(self), f"{next(self.numbers)}/"
        chance = random.Random(seed)
        sent: dict[Any, dict[str, Any]] = {}
        counted: set[Any] = set()
        unsure: set[str] = set()
        for batch, ago, wait, follows in steps:
            cls.clock += wait
            received_at = cls.clock - ago
            events = [self.event(prefix, *drawn, received_at) for drawn in batch]
            # Some of what was sent before comes again, however old it is by now.
            events += chance.sample(list(sent.values()), min(3, len(sent)))
            for event in events:
                key = (event["user_id"], event["event_time"][:10], event["event_id"])
                sent.setdefault(key, event)
                if date.fromisoformat(key[1]) >= received_at.date() - BOUND:
                    counted.add(key)
            if events:
                lines = [encode(event) for event in events]
                site.append(rows_of(lines, received_at=received_at, lateness=BOUND))
            if follows == "die":
                life = Life(chance.randint(3, 12))
                run = mortal_run(site, cls.clock, life, as_of=LONG_AGO)
                with contextlib.suppress(Died):
                    compact.compact(run)
                # Whether it has counted what was late depends on when it died.
                unsure = {key[0] for key in set(sent) - counted}
                cls.clock += LEASE
            elif follows:
                force = follows == "force"
                site.compact(cls.clock, as_of=LONG_AGO, force=force)
                counted, unsure = set(sent), set()
            sure = {k: event for k, event in sent.items() if k[0] not in unsure}
            must = [event for key, event in sure.items() if key in counted]
            features = of_users(site.features(), list(sure.values()))
            assert features == expected(must)
        site.compact(cls.clock, as_of=LONG_AGO)
        every, tiles = list(sent.values()), site.tiles(when=False)
        site.compact(cls.clock + HOUR, as_of=LONG_AGO, force=True)
        assert site.tiles(when=False) == tiles
        assert of_users(site.features(), every) == expected(every)
        assert of_users(site.clean_features(), every) == expected(every)
        cls.clock += DAY

    @staticmethod
    def event(
        prefix: str, user: int, number: int, age: int, at: datetime
    ) -> dict[str, Any]:
        """Return an event of a user, as old as a number of days."""
        day = max(date(1971, 1, 1), at.date() - age * DAY)
        return event_of(f"{prefix}{user}", number, day)


class TestLateEvents:
    def test_are_counted_by_a_compaction_at_the_cost_of_their_days(self, strict):
        """The bound is so many days before the day of receipt, whatever the hour. Of a
        clock of 1971 that day is computed, and none between."""
        events = [
            of("beyond", "e", "2026-02-17"),
            bet(user_id="last day", event_time="2026-02-18T00:00:00Z"),
            of("last day", "e2", "1971-05-06"),
        ]
        strict.append(rows_of(events, received_at=NOW, lateness=BOUND))
        before = strict.features()
        asked: list[Any] = []

        class Watched(Warehouse):
            def rows(self, sql: str, parameters: Any = None) -> list[Any]:
                if sql == statement("compact_days"):
                    asked.append(parameters)
                return super().rows(sql, parameters)

        watched = Watched(strict.settings, client=strict.warehouse.client)
        strict.compact(NOW + HOUR, as_of=LONG_AGO, warehouse=watched)

        counts = {user: row["bet_count"] for user, row in before.items()}
        assert counts == {"last day": 1}
        days = [date(1971, 5, 6), date(2026, 2, 17), date(2026, 2, 18)]
        assert [parameters["days"] for parameters in asked] == [days]
        assert asked[0]["months"] == [date(1971, 5, 1), date(2026, 2, 1)]
        assert sorted(row["day"] for row in strict.tiles()) == days
        after = {user: row["bet_count"] for user, row in strict.features().items()}
        assert after == {"beyond": 1, "last day": 2}

    def test_count_once_where_the_bound_was_another_before(self, strict):
        """A row of an instance that has an older, larger bound is left to a run."""
        old = bet(event_time="2025-12-24T12:00:00Z")
        for received in (NOW - 60 * DAY, NOW):
            strict.append(rows_of([old], received_at=received, lateness=90 * DAY))
            strict.compact(received + HOUR)
        again = rows_of([old], received_at=NOW + DAY, lateness=90 * DAY)
        strict.append(again)

        assert strict.features() == expected([old])
