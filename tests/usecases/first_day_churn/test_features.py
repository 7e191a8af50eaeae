"""
Churn after the first day, specified: what counts, what is known when, and no leak.

Players who are one trap each are loaded once. A generated stream goes through the
consumers themselves, and what they gave the model is compared with what training reads.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.constants import set_parameter
from tests.support.exact import expected_features
from tests.usecases.first_day_churn.conftest import (
    AS_OF,
    DAY,
    ELAPSED,
    EVERYTHING,
    GAMES,
    HOME,
    HOUR,
    LATER,
    MICROSECOND,
    MIDNIGHT,
    POSTCODES,
    REGISTERED,
    TWELVE,
    USE_CASE,
    WEEK,
    WEEKS,
    Row,
    Stream,
    accepted,
    as_numbers,
    event,
    opened,
    registration,
)

SOON = timedelta(seconds=1)
LATE = 5 * DAY

# Events with when they came; the user is the one whose trap they are.
Came = list[tuple[Row, datetime]]


def came(*events: Row, after: timedelta = SOON) -> Came:
    return [(row, datetime.fromisoformat(row["event_time"]) + after) for row in events]


def joined(at: datetime = REGISTERED, **fields: Any) -> Came:
    return came(registration("", at, **fields))


def played(since: timedelta, *, after: timedelta = SOON, **fields: Any) -> Came:
    """Return a bet so long after the registration."""
    return came(event("", REGISTERED + since, **fields), after=after)


def known_of(postcode: str | None) -> Row:
    return {"socioeconomic_idx": postcode and POSTCODES.find(postcode)}


UNSAID = registration("", REGISTERED)
MIDDAY = REGISTERED + 12 * HOUR
del UNSAID["label"]
NO_TIME = timedelta()
# Whoever is of the cohort: what happened, and what the first day comes to.
TRAPS: dict[str, tuple[Came, Row]] = {
    # The first day ends in the lookback, (as_of - 7 days, as_of], to the microsecond.
    "ends at as_of": (joined(MIDNIGHT - DAY), {}),
    "first of the week": (joined(MIDNIGHT - 8 * DAY + MICROSECOND), {}),
    # Nothing played is zero and no mean; nothing is left out.
    "silent": (joined(), {
        **{name: 0 if name.endswith(("count", "sum")) else None for name in TWELVE},
        **known_of(HOME),
        "age": 35, "country": "England", "campaign": "derby_day", "affiliate_url": None,
        "registration_hour": 0,
    }),
    "plain": (
        joined() + played(HOUR, amount="2.50"), {"bet_mean": 2.5, "bet_var": None},
    ),
    # It begins with the registration, and ends a day later, however late events come.
    **{
        user: (joined() + played(since), {"bet_count": count})
        for user, since, count in (
            ("before", -MICROSECOND, 0), ("at registration", NO_TIME, 1),
            ("at the last moment", DAY - MICROSECOND, 1), ("a day later", DAY, 0),
        )
    },
    "late": (joined() + played(HOUR, amount="7.25", after=LATE), {"bet_sum": 7.25}),
    # An id names one event of a user's day, however often it came.
    "sent twice": (
        joined() + played(HOUR, amount=3, event_id="twice")
        + played(HOUR, amount=3, event_id="twice", after=2 * DAY),
        {"bet_sum": 3},
    ),
    # The first registration counts.
    "registers twice": (
        joined(campaign="first", label=1) + played(HOUR)
        + joined(MIDDAY, campaign="second") + played(DAY + HOUR, amount=99),
        {"campaign": "first", "bet_sum": 1},
    ),
    # An unknown postcode has no index.
    "nowhere": (joined(postcode="ZZ99 9ZZ"), known_of(None)),
    "label not known": (joined(label=None), {}),
    "label not said": (came(UNSAID), {}),
    "label comes later": (
        joined(label=None, event_id="r")
        + came(registration("", REGISTERED, label=1, event_id="r"), after=LATE),
        {},
    ),
}  # fmt: skip
# Whoever is not of the cohort.
OTHERS: dict[str, Came] = {
    "ends after as_of": joined(MIDNIGHT - DAY + MICROSECOND),
    "ended the week before": joined(MIDNIGHT - 8 * DAY),
    "comes back": joined(REGISTERED - WEEK) + joined(),
    "never registered": came(*(event("", REGISTERED, kind) for kind in EVERYTHING)),
}


@pytest.fixture(scope="module")
def trapped() -> Stream:
    """Everybody's events, each as it came."""
    events = {user: rows for user, (rows, _) in TRAPS.items()} | OTHERS
    deployment = opened()
    deployment.store(
        *(
            accepted([row | {"user_id": user}], received_at=received)
            for user, rows in events.items()
            for row, received in rows
        ),
    )
    return deployment


@pytest.fixture(scope="module")
def features(trapped) -> dict[str, Row]:
    """Everybody's features at the as-of date."""
    return trapped.first_days()


@pytest.mark.parametrize("user", TRAPS)
def test_the_first_day_comes_to_what_happened_in_it(features, user):
    """The postcode is known, or nothing would be compared."""
    expected = TRAPS[user][1]

    assert POSTCODES.find(HOME) is not None
    assert {name: features[user][name] for name in expected} == expected


class TestCohort:
    def test_the_cohort_is_of_first_days_in_the_lookback(self, trapped, features):
        """Who plays without a registration has none. Who registers anew a week later
        had the first day then."""
        assert not OTHERS.keys() & features.keys()
        assert "comes back" in trapped.first_days(AS_OF - WEEK)

    def test_the_cohort_has_everyone_once_over_all_snapshots(self, trapped):
        """Weekly as-of dates share nobody, and leave nobody out."""
        weeks = [AS_OF + week * WEEK for week in range(-3, 3)]
        everyone = {*TRAPS, *OTHERS} - {"never registered"}
        alone = [trapped.first_days(week) for week in weeks]

        assert set(trapped.first_days(*weeks)) == everyone
        assert sum(map(len, alone)) == len(everyone)


def test_a_model_learns_from_moments_of_the_first_day(generated):
    """Its ends and three random ones, the same in each run: each row has what had
    happened by then, and how many hours had passed."""
    rows = generated.moments(*WEEKS)
    hours: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        hours[row["user_id"]].append(row[ELAPSED])
    events = defaultdict(list)
    for one in GAMES.events():
        events[one["user_id"]].append(one)

    assert sorted(rows, key=repr) == sorted(generated.moments(*WEEKS), key=repr)
    for of in hours.values():
        beginning, *random, end = sorted(of)
        assert beginning < 1e-6
        assert end == 24
        assert len(set(random)) == 3
    assert {row["weight"] for row in rows} == {0.2}
    for row in rows:
        passed = timedelta(microseconds=round(row[ELAPSED] * 3.6e9))
        exact = expected_features(events[row["user_id"]], cut_off=passed)
        assert {name: row[name] for name in TWELVE} == as_numbers(exact[row["user_id"]])


def test_what_had_not_happened_is_left_out(empty, generated):
    """
    No event at or after an as-of date changes a feature at that date: neither the
    generated rest of the stream, nor whatever else may come at that very moment.
    """
    as_of = AS_OF - WEEK
    moment = MIDNIGHT - WEEK
    deployment = empty
    known = [row for row in GAMES.events() if row["event_time"] < moment.isoformat()]
    deployment.add(*known, received_at=moment)
    then = deployment.first_days(as_of)
    for user in then:
        late = [event(user, moment, kind, 1e9) for kind in EVERYTHING]
        deployment.add(registration(user, moment, campaign="later", label=1), *late)

    assert len(then) > 20
    assert deployment.first_days(as_of) == then
    assert generated.first_days(as_of) == then


class TestLabel:
    def test_the_label_is_known_some_days_after_the_registration(
        self, trapped, monkeypatch
    ):
        """Not on the day before, whatever the stream has said by then."""
        days = 30
        set_parameter(monkeypatch, USE_CASE, label_known_days=days)
        known_on = REGISTERED.date() + days * DAY

        assert "plain" not in trapped.training(today=known_on - DAY)
        assert trapped.training(today=known_on)["plain"]["label"] == 0

    def test_the_label_is_of_those_only_of_whom_it_is_known(self, trapped, features):
        """Null or absent, a label leaves its user out of training, not of scoring. It
        is that of the first registration; sent again with the label it is the same
        one."""
        unknown = {"label not known", "label not said"}
        trained = trapped.training()

        assert set(trained) == set(features) - unknown
        assert unknown < set(features)
        for user in ("label comes later", "registers twice"):
            assert trained[user]["label"] == 1

    def test_the_label_of_churn_is_what_labels_sql_returns(self, trapped):
        window = USE_CASE.window(trapped.settings, [AS_OF], today=LATER)
        rows = trapped.warehouse.rows(USE_CASE.statement("labels"), window)

        assert sorted(row["user_id"] for row in rows) == sorted(
            user for user, row in trapped.training().items() if row["label"]
        )
        assert {row["as_of"] for row in rows} == {AS_OF}
