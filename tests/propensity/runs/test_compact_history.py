"""Compactions of any history, specified: what is added up late is what there was."""

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
from tests.events import bet, registration
from tests.functions.streaming import Died, Life, Site, changed, mortal_run, rows_of
from tests.propensity.runs.compacted import (
    DAY,
    HOUR,
    LONG_AGO,
    MINUTE,
    NOW,
    PROPERTY,
    cents,
    days,
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
    """The same, where an event may be thirty days late."""
    with changed(empty, **BOUNDED) as site:
        yield site


kinds = st.sampled_from(["new_purchases", "new_bet", "new_win"])
FIELDS = {"new_purchases": "amount", "new_bet": "bet_amount", "new_win": "win_amount"}

seconds = st.sampled_from([0, 1, 43_200, 86_399])


@st.composite
def plays(draw) -> dict[str, Any]:
    """Draw a purchase, bet or win."""
    kind = draw(kinds)
    amount = Decimal(draw(cents)).scaleb(-2)
    return {"event_type": kind, FIELDS[kind]: amount}


@st.composite
def registered(draw) -> dict[str, Any]:
    """Draw a registration."""
    return {
        "event_type": "new_registration",
        "age": draw(st.integers(18, 20)),
        "city": draw(st.sampled_from(["Ambermouth", "Dúnbeg"])),
        "country": "England",
        "postcode": "QA1 2BD",
        "affiliate_url": draw(st.none() | st.just("https://a.example/?r=1")),
        "campaign": draw(st.none() | st.just("derby_day")),
        "socioeconomic_idx": draw(st.none() | st.sampled_from([1.0, 2.5])),
        "label": draw(st.none() | st.integers(0, 1)),
    }


@st.composite
def histories(draw) -> list[dict[str, Any]]:
    """Draw the events of some users, each event once."""
    events = []
    for user in range(draw(st.integers(2, 6))):
        count = itertools.count()
        for play in draw(st.lists(plays() | registered(), min_size=1, max_size=12)):
            moment = date(2026, 2, 27) + draw(days) * DAY
            clock = timedelta(seconds=draw(seconds))
            events.append(
                {
                    # Ids are of a user's day: those of others may be the same.
                    "event_id": f"e{next(count)}",
                    "use_case": "first_day_churn",
                    "user_id": f"user {user}",
                    "event_time": f"{moment}T{clock!s:0>8}Z",
                    **play,
                }
            )
    return events


@st.composite
def deliveries(draw) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """
    Draw events, and what happens: each event at least once, in batches.

    A step is events to be stored together, how long ago they were received, how long
    after the step before, and whether a compaction follows, perhaps a forced one.
    """
    events = draw(histories())
    chance = random.Random(draw(st.integers(0, 2**32)))
    copies = [event for event in events for _ in range(chance.choice([1, 1, 2, 3]))]
    chance.shuffle(copies)
    steps = []
    parts = draw(st.integers(1, 4))
    for part in range(parts):
        steps.append(
            (
                copies[part::parts],
                # As long as an append can be on its way, and no longer.
                draw(st.sampled_from([0 * MINUTE, 7 * MINUTE, 15 * MINUTE])),
                draw(st.sampled_from([0 * MINUTE, MINUTE, HOUR, 3 * DAY])),
                draw(st.sampled_from(["", "compact", "compact", "force"])),
            )
        )
    return events, steps


class TestAnyHistory:
    clock = NOW
    numbers = itertools.count()

    def test_gives_exact_features_at_any_moment(self, empty):
        """Duplicates, disorder and two compactions, one of them forced."""
        absent = dict.fromkeys(("name", "date_of_birth", "street_address"), ...)
        nameless = {**absent, "age": 19, "postcode": "QA1 2BD"}
        events = [
            registration(event_id="r", user_id="user 0", **nameless),
            bet(event_id="e0", user_id="user 0", bet_amount=Decimal("999999999.99")),
            bet(event_id="e1", user_id="user 0", bet_amount=Decimal("999999999.97")),
            bet(event_id="e0", user_id="user 1", event_time="2026-02-28T23:59:59Z"),
            registration(event_id="s", user_id="user 1", campaign=None, **nameless),
        ]
        first, *others = events
        steps = [
            ([events[1], first, events[1]], 15 * MINUTE, MINUTE, "compact"),
            ([*others, others[-1]], 7 * MINUTE, MINUTE, ""),
            ([events[3], first], 0 * MINUTE, 3 * DAY, "force"),
        ]
        self.follow(empty, events, steps)

    @pytest.mark.long
    @pytest.mark.timeout(3600)
    @settings(PROPERTY, max_examples=10)
    @given(drawn=deliveries())
    def test_gives_exact_features_in_any_history(self, empty, drawn):
        """
        Any duplication, order and batches of any events, compacted at any points.

        After every step the view is what the events so far come to, in fractions; in
        the end also what one SQL computation makes of all rows, and another compaction,
        forced or not, changes neither it nor a single sum.
        """
        self.follow(empty, *drawn)

    def follow(
        self, site: Site, events: list[dict[str, Any]], steps: list[Any]
    ) -> None:
        """Do what was drawn, for users of its own."""
        cls, prefix = type(self), f"{next(self.numbers)}/"
        seen: dict[tuple[str, str], dict[str, Any]] = {}
        for batch, ago, wait, follows in steps:
            cls.clock += wait
            mine = [{**event, "user_id": prefix + event["user_id"]} for event in batch]
            seen |= {(event["user_id"], event["event_id"]): event for event in mine}
            if mine:
                lines = [encode(event) for event in mine]
                site.append(rows_of(lines, received_at=cls.clock - ago))
            if follows:
                force = follows == "force"
                site.compact(cls.clock, as_of=LONG_AGO, force=force)
            so_far = list(seen.values())
            assert of_users(site.features(), so_far) == expected(so_far)

        every = list(seen.values())
        assert len(every) == len(events)
        clean = of_users(site.clean_features(), every)
        assert clean == expected(every)

        site.compact(cls.clock, as_of=LONG_AGO)
        tiles = site.tiles(when=False)
        site.compact(cls.clock + HOUR, as_of=LONG_AGO)
        site.compact(cls.clock + HOUR, as_of=LONG_AGO, force=True)
        assert site.tiles(when=False) == tiles
        assert of_users(site.features(), every) == clean
        cls.clock += 2 * HOUR

    @pytest.mark.long
    def test_is_exact_for_hundreds_of_events_of_one_user(self, empty):
        """Three hundred amounts next to the bound keep the variance of their cents."""
        amounts = [Decimal(99_999_999_990 + n % 10).scaleb(-2) for n in range(300)]
        events = [
            {
                **bet(event_id=f"e{n}", event_time=f"2026-03-0{1 + n % 5}T12:00:00Z"),
                "bet_amount": amount,
            }
            for n, amount in enumerate(amounts)
        ]
        lines = [encode(event) for event in events]
        empty.append(rows_of(lines[:200], received_at=NOW))
        empty.compact(NOW + HOUR)
        empty.append(rows_of(lines[100:], received_at=NOW + 2 * HOUR))

        before = empty.features()
        empty.compact(NOW + 3 * HOUR)

        assert before == empty.features() == expected(events)
        assert before["u1"]["bet_var"] == Decimal("0.000827759")
        assert before["u1"]["bet_count"] == 300


# Days before receipt: within the bound, its last, the first beyond, and longer ago than
# anybody plays.
AGES = (0, 1, 29, 30, 31, 32, 400, 20_000)


@st.composite
def late_deliveries(draw) -> tuple[list[Any], int]:
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
                st.lists(events, max_size=8),
                st.sampled_from([0 * MINUTE, 15 * MINUTE]),
                st.sampled_from([MINUTE, DAY, 20 * DAY, 45 * DAY]),
                st.sampled_from(["", "", "compact", "compact", "force", "die"]),
            ),
            min_size=2,
            max_size=6,
        )
    )
    return steps, draw(st.integers(0, 2**32))


class TestLateEvents:
    clock = NOW
    numbers = itertools.count()

    def test_count_once_and_the_others_at_once(self, strict):
        """Within the bound, beyond it, sent again, and with a run that dies."""
        steps = [
            ([(0, 0, 0), (0, 1, 31), (1, 0, 400)], 0 * MINUTE, MINUTE, "compact"),
            ([(0, 1, 31), (1, 1, 30), (2, 0, 32)], 15 * MINUTE, DAY, "die"),
            ([(1, 2, 29), (2, 1, 20_000)], 0 * MINUTE, 20 * DAY, ""),
        ]
        self.follow(strict, steps, 7)

    @pytest.mark.long
    @pytest.mark.timeout(3600)
    @settings(PROPERTY, max_examples=15)
    @given(drawn=late_deliveries())
    def test_count_once_in_any_history(self, strict, drawn):
        """
        Whatever is late, early, repeated, replayed, compacted or killed, and when.

        After every step the view has all events that came within the bound at any time,
        and of the others those that a compaction has seen; each once, exactly. In the
        end it has every event, and so has a clean computation.
        """
        self.follow(strict, *drawn)

    def follow(self, site: Site, steps: list[Any], seed: int) -> None:
        """Do what was drawn, for users of its own."""
        cls, prefix = type(self), f"late {next(self.numbers)}/"
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
                day = date.fromisoformat(key[1])
                if day >= received_at.date() - BOUND:
                    counted.add(key)
            if events:
                rows = rows_of(
                    [encode(event) for event in events],
                    received_at=received_at,
                    lateness=BOUND,
                )
                site.append(rows)
            if follows == "die":
                life = Life(chance.randint(3, 12))
                changed = {"as_of": LONG_AGO}
                with contextlib.suppress(Died):
                    compact.compact(mortal_run(site, cls.clock, life, **changed))
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
        every = list(sent.values())
        assert of_users(site.features(), every) == expected(every)
        assert of_users(site.clean_features(), every) == expected(every)
        cls.clock += DAY

    @staticmethod
    def event(
        prefix: str, user: int, number: int, age: int, at: datetime
    ) -> dict[str, Any]:
        """Return an event of a user, as old as a number of days."""
        day = max(date(1971, 1, 1), at.date() - age * DAY)
        cents = 10 * user + number
        return {
            "event_id": f"e{number}",
            "use_case": "first_day_churn",
            "user_id": f"{prefix}{user}",
            "event_time": f"{day}T00:00:00Z",
            "event_type": "new_bet",
            "bet_amount": Decimal(cents).scaleb(-2),
        }

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

        assert {user: row["bet_count"] for user, row in before.items()} == {
            "last day": 1
        }
        days = [date(1971, 5, 6), date(2026, 2, 17), date(2026, 2, 18)]
        assert [parameters["days"] for parameters in asked] == [days]
        assert asked[0]["months"] == [date(1971, 5, 1), date(2026, 2, 1)]
        assert sorted(row["day"] for row in strict.tiles()) == days
        after = strict.features()
        assert {user: row["bet_count"] for user, row in after.items()} == {
            "beyond": 1,
            "last day": 2,
        }

    def test_count_once_where_the_bound_was_another_before(self, strict):
        """A row of an instance that has an older, larger bound is left to a run."""
        old = bet(event_time="2025-12-24T12:00:00Z")
        for received in (NOW - 60 * DAY, NOW):
            strict.append(rows_of([old], received_at=received, lateness=90 * DAY))
            strict.compact(received + HOUR)
        again = rows_of([old], received_at=NOW + DAY, lateness=90 * DAY)
        strict.append(again)

        assert strict.features() == expected([old])
