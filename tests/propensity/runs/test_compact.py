"""
Features are exact, whatever came twice, late or in disorder, and compacted when.

Rows are stored as the stream stores them, in the BigQuery emulator, at moments of a
clock of the tests' own; compactions run in between. At any moment the view must say
what the independent computation of ``synthesize_games`` says of the events so far, and
what one clean SQL computation says.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.generators.games.features import expected_features
from local.generators.games.messages import encode
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.errors import Conflict, RunInProgress
from propensity.runs import compact
from propensity.runs.watermark import WATERMARK, read_watermark
from propensity.statements import statement
from tests.events import bet, registration
from tests.functions.streaming import (
    Died,
    Life,
    Site,
    changed,
    emptied,
    mortal_run,
    new_site,
    rows_of,
)

NOW = datetime(2026, 3, 20, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# A lease outlives a run that died; the next run may begin then.
LEASE = timedelta(minutes=66)
REGISTERED = (
    *("age", "city", "country", "affiliate_url", "campaign", "socioeconomic_idx"),
)
# Open for ever: these tests are about tiles, and exports take time.
LONG_AGO = date(1971, 1, 1)


BOUND = 30 * DAY
BOUNDED = {"PROPENSITY_MAXIMUM_LATENESS_DAYS": "30"}


@pytest.fixture(scope="module")
def shared(emulators) -> Iterator[Site]:
    """Tables that are emptied before each test."""
    with new_site(emulators) as made:
        yield made


@pytest.fixture
def empty(shared) -> Site:
    """Tables without a row; the examples of a property have users of their own."""
    return emptied(shared)


@pytest.fixture
def strict(empty) -> Iterator[Site]:
    """The same, where an event may be thirty days late."""
    with changed(empty, **BOUNDED) as made:
        yield made


def expected(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the features must be, by the textbook."""
    found = expected_features(events)
    for user, row in found.items():
        row.update(
            use_case="first_day_churn",
            user_id=user,
            **dict.fromkeys(("registration_time", *REGISTERED)),
        )
    registrations = [one for one in events if one["event_type"] == "new_registration"]
    for one in sorted(registrations, key=_text, reverse=True):
        moment = datetime.fromisoformat(one["event_time"])
        row = found[one["user_id"]]
        if row["registration_time"] is None or moment <= row["registration_time"]:
            row["registration_time"] = moment
            row.update({name: one.get(name) for name in REGISTERED})
    return found


def _text(one: Mapping[str, Any]) -> str:
    """Return what tells which of two registrations at one moment is taken."""
    fields = {name: one.get(name) for name in REGISTERED}
    return json.dumps(fields, separators=(",", ":"))


def of_users(found: Mapping[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rows of the users of some events."""
    users = {one["user_id"] for one in events}
    return {user: row for user, row in found.items() if user in users}


# Any history --------------------------------------------------------------------------

cents = st.one_of(
    st.integers(0, 10_000),
    st.sampled_from([0, 1, 10**11 - 1, 10**11]),
    # Close together and large: floating sums of squares lose all of their variance.
    st.integers(99_999_999_995, 99_999_999_999),
    st.integers(0, 10**11),
)
kinds = st.sampled_from(["new_purchases", "new_bet", "new_win"])
FIELDS = {"new_purchases": "amount", "new_bet": "bet_amount", "new_win": "win_amount"}
# Few days and few moments, so that they coincide.
days = st.integers(0, 3)
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
        for one in draw(st.lists(plays() | registered(), min_size=1, max_size=12)):
            moment = date(2026, 2, 27) + draw(days) * DAY
            clock = timedelta(seconds=draw(seconds))
            events.append(
                {
                    # Ids are of a user's day: those of others may be the same.
                    "event_id": f"e{next(count)}",
                    "use_case": "first_day_churn",
                    "user_id": f"user {user}",
                    "event_time": f"{moment}T{clock!s:0>8}Z",
                    **one,
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
    copies = [one for one in events for _ in range(chance.choice([1, 1, 2, 3]))]
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


PROPERTY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


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
        forced or not, changes neither it nor a single tile.
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
            mine = [{**one, "user_id": prefix + one["user_id"]} for one in batch]
            seen |= {(one["user_id"], one["event_id"]): one for one in mine}
            if mine:
                lines = [encode(one) for one in mine]
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
        tiles = site.tiles()
        site.compact(cls.clock + HOUR, as_of=LONG_AGO)
        site.compact(cls.clock + HOUR, as_of=LONG_AGO, force=True)
        assert site.tiles() == tiles
        assert of_users(site.features(), every) == clean
        cls.clock += 2 * HOUR

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
        lines = [encode(one) for one in events]
        empty.append(rows_of(lines[:200], received_at=NOW))
        empty.compact(NOW + HOUR)
        empty.append(rows_of(lines[100:], received_at=NOW + 2 * HOUR))

        before = empty.features()
        empty.compact(NOW + 3 * HOUR)

        assert before == empty.features() == expected(events)
        assert before["u1"]["bet_var"] == Decimal("0.000827759")
        assert before["u1"]["bet_count"] == 300


# Events that are late -----------------------------------------------------------------

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
            events = [self.event(prefix, *one, received_at) for one in batch]
            # Some of what was sent before comes again, however old it is by now.
            events += chance.sample(list(sent.values()), min(3, len(sent)))
            for one in events:
                key = (one["user_id"], one["event_time"][:10], one["event_id"])
                sent.setdefault(key, one)
                day = date.fromisoformat(key[1])
                if day >= received_at.date() - BOUND:
                    counted.add(key)
            if events:
                rows = rows_of(
                    [encode(one) for one in events],
                    received_at=received_at,
                    lateness=BOUND,
                )
                site.append(rows)
            if follows == "die":
                life = Life(chance.randint(3, 14))
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
            sure = {k: one for k, one in sent.items() if k[0] not in unsure}
            must = [one for key, one in sure.items() if key in counted]
            found = of_users(site.features(), list(sure.values()))
            assert found == expected(must)
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

    def test_are_counted_by_a_compaction_at_the_cost_of_their_months(self, strict):
        """The view reads the tiles of a few months, where theirs may not be. The bound
        is so many days before the day of receipt, whatever the hour. One clock of 1971
        has BigQuery read that month and none between, and leaves the view as it is: two
        months of tiles, a moment of arrival, and a row a user, all constants."""
        events = [
            of("beyond", "e", "2026-02-17"),
            bet(user_id="last day", event_time="2026-02-18T00:00:00Z"),
            of("last day", "e2", "1971-05-06"),
        ]
        strict.append(rows_of(events, received_at=NOW, lateness=BOUND))
        before = strict.features()
        months: list[Any] = []

        class Watched(Warehouse):
            def rows(self, sql: str, parameters: Any = None) -> list[Any]:
                if sql == statement("compact_days"):
                    months.append(parameters["months"])
                return super().rows(sql, parameters)

        watched = Watched(strict.settings, client=strict.warehouse.client)
        strict.compact(NOW + HOUR, as_of=LONG_AGO, warehouse=watched)
        text = strict.warehouse.view_text("stream_features")

        assert {user: row["bet_count"] for user, row in before.items()} == {
            "last day": 1
        }
        assert months == [[date(1971, 5, 1), date(2026, 2, 1)]]
        assert [row["day"] for row in strict.tiles()] == [
            date(2026, 2, 17),
            date(1971, 5, 6),
            date(2026, 2, 18),
        ]
        after = strict.features()
        assert {user: row["bet_count"] for user, row in after.items()} == {
            "beyond": 1,
            "last day": 2,
        }
        assert "\n      month >= DATE '2026-02-01'\n" in text
        assert "AND event_date >= DATE '2026-02-01'\n" in text
        assert "received_on >= DATE '2026-03-20'\n" in text
        assert "1970" not in text

    def test_count_once_where_the_bound_was_another_before(self, strict):
        """A row of an instance that has an older, larger bound is left to a run."""
        old = bet(event_time="2025-12-24T12:00:00Z")
        for received in (NOW - 60 * DAY, NOW):
            strict.append(rows_of([old], received_at=received, lateness=90 * DAY))
            strict.compact(received + HOUR)
        again = rows_of([old], received_at=NOW + DAY, lateness=90 * DAY)
        strict.append(again)

        assert strict.features() == expected([old])


NAMES = ["ü", " ", "Zoë Ægir", "用户", "🂡", "'; DROP", "a" * 256, "\\x00"]


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
    users: Mapping[str, Mapping[str, Any]]
    watermark: datetime
    view: str
    view_of_watermark: str

    def tiles_of(self, user: str) -> list[Mapping[str, Any]]:
        return [one for one in self.tiles if one["user_id"] == user]


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
                *(of("listed", f"e{n % 3}", "2026-03-01") for n in range(7)),
                twin("twins", "r1"),
                twin("turned twins", "r2"),
                registration(user_id="first", event_id="r2", event_time=evening),
                *(of(user, "e", "2026-03-01") for user in NAMES),
                of("on its way", "e1", "2026-03-01"),
                *(*first_two, months),
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
        *(old, old),
        twin("twins", "r2"),
        twin("turned twins", "r1"),
        registration(user_id="first", event_id="r1", event_time=noon, city="Zwolle"),
        bet(**differs, bet_amount=10),
        bet(user_id="differs", event_id="e2", event_time=evening, bet_amount=5),
        *(of(user, "same", day) for user in ("one", "two") for day in days),
        *(months, of("months", "e2", "2026-03-04", bet_amount=2.5)),
    ]
    site.append(rows_of([bet(**differs, bet_amount=99)], received_at=NOW + 2 * HOUR))
    site.append(rows_of(later, received_at=NOW + HOUR))
    for event_id, ago in (("e2", 15 * MINUTE), ("e3", MINUTE)):
        way = of("on its way", event_id, "2026-03-01")
        site.append(rows_of([way], received_at=NOW - ago))
    before = site.features()
    answer = site.compact(NOW + DAY, as_of=LONG_AGO)
    watermark = read_watermark(site.artifacts).moment
    return Story(
        counted=counted,
        tiles_before=tiles_before,
        before=before,
        answer=answer,
        tiles=site.tiles(),
        after=site.features(),
        clean=site.clean_features(),
        earlier=site.clean_features(as_of=datetime(2026, 3, 1, 18, tzinfo=UTC)),
        users={one["user_id"]: one for one in site.users()},
        watermark=watermark,
        view=site.warehouse.view_text("stream_features"),
        view_of_watermark=compact.view_of(site.warehouse, watermark),
    )


class TestUsers:
    def test_have_a_row_each_of_all_their_tiles(self, story):
        """Sums and first registration are those of the days together."""
        row = story.users["months"]

        assert (row["bet_count"], row["bet_sum"]) == (2, Decimal("3.75"))
        assert row["bet_sum_squares"] == Decimal("7.8125")
        assert row["registration"]["city"] == "Aberdeen"
        assert story.users["late"]["bet_count"] == 4

    def test_are_in_the_bucket_that_python_says(self, story):
        """Whoever looks a user up passes the partition, which SQL has computed."""
        assert set(NAMES) < set(story.users)
        for user, row in story.users.items():
            assert row["user_bucket"] == tables.user_bucket(user)

    def test_are_made_anew_by_a_forced_run(self, empty):
        """Whatever has happened to their rows, they are what the tiles say."""
        events = [bet(user_id=f"u{n}") for n in range(3)]
        empty.append(rows_of(events, received_at=NOW))
        empty.compact(NOW)
        users = empty.users()
        empty.warehouse.execute("DELETE FROM stream_users WHERE user_id = 'u1'")
        empty.warehouse.execute("UPDATE stream_users SET bet_count = 9 WHERE TRUE")

        empty.compact(NOW + DAY, force=True)

        assert empty.users() == users
        assert empty.features() == expected(events)

    @pytest.mark.parametrize(
        "by", ["set-up", pytest.param("compaction", marks=pytest.mark.long)]
    )
    def test_are_made_of_the_tiles_of_an_earlier_version(self, empty, by):
        """A deployment that has compacted before there were such rows loses nothing."""
        events = [bet(user_id=f"u{n}") for n in range(3)]
        empty.append(rows_of(events, received_at=NOW))
        empty.compact(NOW)
        empty.warehouse.execute("DELETE FROM stream_users WHERE TRUE")
        found = empty.artifacts.read(WATERMARK)
        note = {"watermark": json.loads(found.data)["watermark"], "open_days": {}}
        empty.artifacts.replace(
            WATERMARK,
            json.dumps(note).encode(),
            generation=found.generation,
        )

        if by == "set-up":
            compact.prepare_view(empty.warehouse, empty.artifacts)
        else:
            empty.compact(NOW + DAY)

        assert empty.features() == expected(events)
        empty.compact(NOW + 2 * DAY)
        assert empty.features() == expected(events)

    def test_forget_what_tiles_are_not_kept_of(self, empty):
        """A month whose tiles have expired leaves the sums, and never comes back."""
        kept = {"PROPENSITY_RETENTION_DAYS": "stream_features_daily=60"}
        events = [
            bet(event_id=f"e{month}", event_time=f"2026-{month}-15T12:00:00Z")
            for month in ("01", "02", "03")
        ]
        with changed(empty, **kept) as site:
            site.append(rows_of(events, received_at=NOW))
            site.compact(NOW)
            first = site.features()["u1"]["bet_count"]

            site.append(rows_of(events, received_at=NOW + 20 * DAY))
            site.compact(NOW + 20 * DAY)
            then = site.features()["u1"]["bet_count"]

        assert first == 2  # January's have expired on the second of March
        assert then == 1

    def test_of_a_fresh_deployment_are_none(self, empty):
        """Set-up computes nothing where nothing was compacted."""
        compact.prepare_view(empty.warehouse, empty.artifacts)

        assert empty.users() == []
        assert empty.artifacts.find(WATERMARK) is None


class TestSteps:
    DAYS = [date(2026, 1, 1) + n * DAY for n in range(400)]

    def test_are_of_a_week_of_arrivals_each(self):
        """A pause of 400 days is counted in weeks, each with its months."""
        touched = [(day, day - n * DAY) for day in self.DAYS for n in (0, 30)]
        since = datetime(2026, 1, 1, 9, tzinfo=UTC)
        steps = compact.steps_of(touched, since=since, first_month=LONG_AGO)

        assert len(steps) == 58
        assert steps[0].since == since
        assert [one.until for one in steps[:-1]] == [one.since for one in steps[1:]]
        assert steps[-1].until == compact.FOREVER
        assert max(len(one.months) for one in steps) <= 3

    def test_are_of_half_a_year_of_tiles_each(self):
        """A clock that is anywhere costs small steps, and no large one."""
        arrived = date(2026, 3, 20)
        days = [date(1971 + n // 12, 1 + n % 12, 9) for n in range(100)]
        steps = compact.steps_of(
            [(arrived, day) for day in days], since=NOW, first_month=LONG_AGO
        )

        assert [len(one.months) for one in steps] == [6] * 16 + [4]
        assert {one.since for one in steps} == {NOW}
        assert {month for one in steps for month in one.months} == {
            day.replace(day=1) for day in days
        }

    def test_are_none_without_events(self):
        """Nor of months whose tiles are not kept."""
        touched = [(date(2026, 3, 20), date(2026, 1, 20))]
        march = date(2026, 3, 1)

        assert compact.steps_of([], since=NOW, first_month=march) == []
        assert compact.steps_of(touched, since=NOW, first_month=march) == []


class TestTiles:
    def test_change_where_late_events_belong_and_nowhere_else(self, story):
        """A late event changes the tile of its user's day; others are not written."""
        new = [one for one in story.tiles if one not in story.tiles_before]
        changed = [one for one in new if one["user_id"] in ("late", "in time")]

        assert [(row["user_id"], str(row["day"])) for row in changed] == [
            ("late", "2026-02-28")
        ]
        assert changed[0]["bet_count"] == 2
        assert changed[0]["event_ids"] == ["e", "late"]
        assert changed[0]["compacted_at"] == NOW + DAY
        assert story.answer["tiles"] == len(new)

    def test_are_written_of_a_new_day_of_an_old_month(self, story):
        """A first event of a month long past is a tile of that month."""
        months = [row["month"] for row in story.tiles_of("old month")]

        assert months == [date(2025, 11, 1), date(2026, 3, 1)]
        assert story.after["old month"]["bet_count"] == 2

    def test_list_what_they_have_counted(self, story):
        """A tile says which events it holds, each once."""
        [tile] = story.tiles_of("listed")

        assert tile["event_ids"] == ["e0", "e1", "e2"]
        assert tile["bet_count"] == 3
        assert tile["registration"] is None

    def test_come_to_what_the_events_come_to(self, story):
        """The view says the same before and after, and so does a computation of all
        events."""
        assert story.before == story.after == story.clean

    @pytest.mark.parametrize("user", ["twins", "turned twins"])
    def test_take_one_of_two_registrations_at_a_moment(self, story, user):
        """Which of them does not depend on which came first, or before a compaction."""
        assert story.before[user]["city"] == story.after[user]["city"] == "Aberdeen"

    def test_hold_the_first_registration(self, story):
        """One that comes later, but happened before, takes the place of the other."""
        [tile] = story.tiles_of("first")

        assert tile["registration"]["city"] == story.after["first"]["city"] == "Zwolle"

    def test_hold_of_an_event_that_differs_what_was_received_first(self, story):
        """Sent again with another amount, it is the same event; in the view, in the
        tile, and in what a moment's features are, whose events end before it."""
        assert story.before["differs"]["bet_sum"] == 15
        assert story.after["differs"] == story.clean["differs"]
        assert story.before["differs"] == story.clean["differs"]
        assert story.earlier["differs"]["bet_sum"] == 10

    def test_count_an_event_of_each_user_and_day_that_share_its_id(self, story):
        """An id names one event of one user on one day."""
        assert [story.after[user]["bet_count"] for user in ("one", "two")] == [3, 3]


class TestWatermark:
    def test_leaves_room_for_rows_on_their_way(self, story):
        """Rows that were received before a run, and appended after it, count."""
        assert story.before["on its way"]["bet_count"] == 3
        assert story.after["on its way"]["bet_count"] == 3

    def test_is_where_the_view_reads_from(self, story):
        """The view reads no event from before it: what it costs does not grow."""
        assert story.counted["watermark"] == (NOW - 15 * MINUTE).isoformat()
        assert story.watermark == NOW + DAY - 15 * MINUTE
        assert story.answer["watermark"] == story.watermark.isoformat()
        assert story.view == story.view_of_watermark
        assert (
            "received_at >= TIMESTAMP '2026-03-21 09:45:00.000000+00:00'" in story.view
        )

    def test_never_goes_back(self, empty):
        """A run whose clock is behind counts, and leaves the watermark where it is."""
        empty.compact(NOW)

        empty.compact(NOW - DAY)

        assert read_watermark(empty.artifacts).moment == NOW - 15 * MINUTE

    def test_lasts_when_the_view_is_made_again(self, empty):
        """Set-up gives the view this version's text, and its watermark stays."""
        empty.append(rows_of([bet()], received_at=NOW - DAY))
        empty.compact(NOW)
        before = empty.features()

        compact.prepare_view(empty.warehouse, empty.artifacts)

        assert empty.features() == before

    def test_is_one_run_s_to_move(self, empty):
        """Who finds it moved by another ends with a conflict, and loses nothing."""
        run = empty.run(NOW)
        empty.append(rows_of([bet()], received_at=NOW))

        class Meddled(Warehouse):
            def replace_view(self, name: str, sql: str) -> None:
                super().replace_view(name, sql)
                found = run.registry.artifacts.find(WATERMARK)
                run.registry.artifacts.replace(
                    WATERMARK,
                    b'{"watermark": "2026-03-20T00:00:00+00:00"}',
                    generation=found.generation if found else 0,
                )

        run.warehouse = Meddled(empty.settings, client=empty.warehouse.client)
        with pytest.raises(Conflict):
            compact.compact(run)

        assert empty.features() == empty.clean_features() == expected([bet()])


class TestRun:
    def test_leaves_to_the_next_what_comes_while_it_looks(self, empty):
        """
        An event of an older month than any that the run saw, just before it counts.

        Its month's tiles are not looked for by then, so that it would be counted twice
        if it had been counted before.
        """
        old = bet(event_time="2026-01-15T12:00:00Z")
        empty.append(rows_of([old], received_at=NOW))
        empty.compact(NOW + HOUR)
        empty.append(rows_of([bet()], received_at=NOW + DAY))
        run = empty.run(NOW + DAY)

        class Overtaken(Warehouse):
            def rows(self, sql: str, parameters: Any = None) -> list[Any]:
                if sql == statement("compact_days"):
                    received = rows_of(
                        [old, {**old, "event_id": "new"}], received_at=NOW + DAY
                    )
                    empty.append(received)
                return super().rows(sql, parameters)

        run.warehouse = Overtaken(empty.settings, client=empty.warehouse.client)
        compact.compact(run)
        between = empty.features()
        empty.compact(NOW + 2 * DAY)

        assert between == empty.features() == empty.clean_features()
        assert len(empty.tiles()) == 2
        assert between["u1"]["bet_count"] == 3

    def test_excludes_every_other_whatever_its_as_of_date(self, empty):
        """Of two at once BigQuery would take both their tiles of a new day; the other
        may have begun on the day after."""
        midnight = datetime(2026, 3, 21, tzinfo=UTC)
        empty.append(rows_of([bet()], received_at=NOW))
        first = empty.run(midnight - MINUTE)

        class Interrupted(Warehouse):
            def execute(self, sql: str, parameters: Any = None) -> int:
                with pytest.raises(RunInProgress):
                    empty.compact(midnight, as_of=date(2026, 3, 1))
                return super().execute(sql, parameters)

        first.warehouse = Interrupted(empty.settings, client=empty.warehouse.client)
        compact.compact(first)

        assert empty.compact(midnight + HOUR)["tiles"] == 0
        assert [row["bet_count"] for row in empty.tiles()] == [1]

    def test_may_begin_where_another_has_failed(self, empty):
        """A run that fails stands in nobody's way."""
        empty.append(rows_of([bet()], received_at=NOW))
        run = empty.run(NOW)

        class Broken(Warehouse):
            def execute(self, sql: str, parameters: Any = None) -> int:
                raise Conflict("BigQuery is busy")

        run.warehouse = Broken(empty.settings, client=empty.warehouse.client)
        with pytest.raises(Conflict, match="busy"):
            compact.compact(run)

        assert empty.compact(NOW)["tiles"] == 1

    def test_says_what_it_did(self, empty):
        """The answer names the days of the events, and counts tiles and exports."""
        events = [bet(), bet(event_id="e2", event_time="2026-03-20T08:00:00Z")]
        empty.append(rows_of(events, received_at=NOW))

        run = empty.run(NOW)
        answer = compact.compact(run)

        assert answer == {
            "days": [date(2026, 3, 1), date(2026, 3, 20)],
            "tiles": 2,
            "exported_days": {"stream_events": 1, "inference_log": 0},
            "watermark": (NOW - 15 * MINUTE).isoformat(),
        }
        assert run.log_fields == {"rows_out": 2}

    def test_finds_nothing_to_do_in_an_empty_stream(self, empty):
        """Without an event there is no tile, no export, and a watermark."""
        answer = empty.compact(NOW)

        assert (answer["days"], answer["tiles"]) == ([], 0)
        assert empty.tiles() == []
