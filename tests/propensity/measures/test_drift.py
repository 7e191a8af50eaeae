"""Drift: publications beside the training of their model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from propensity.measures import drift
from propensity.tables.models import Signal

FEATURES = {"spend": "number", "sessions": "number", "source": "category"}
USERS = 2_000


def shop(seed: int, users: int = USERS) -> pa.Table:
    """Users of a week; three in ten have spent something."""
    random = np.random.default_rng(seed)
    spend = np.where(random.random(users) < 0.3, random.lognormal(3, 1, users), 0.0)
    sources = random.choice(["google", "news", "direct", "mail"], users, p=SHARES)
    return pa.table(
        {
            "user_id": [f"u{n}" for n in range(users)],
            "weight": np.ones(users),
            "spend": spend,
            "sessions": random.poisson(3, users).astype(float),
            "source": pa.array(sources, pa.string()),
        }
    )


SHARES = [0.5, 0.3, 0.195, 0.005]


def scores(seed: int, users: int = USERS) -> np.ndarray:
    return np.random.default_rng(seed).beta(1, 9, users)


def summarised(*weeks: pa.Table) -> drift.Reference:
    """Summarise a training of these snapshots, the newest last."""
    dated = [
        week.append_column("as_of", pa.array([number] * len(week)))
        for number, week in enumerate(weeks)
    ]
    score = scores(1, len(weeks[-1]))
    return drift.reference(pa.concat_tables(dated), FEATURES, score=score, snapshots=1)


@pytest.fixture(scope="module")
def summary() -> drift.Reference:
    return summarised(shop(1))


def signals(
    summary: drift.Reference | None, rows: pa.Table, score: np.ndarray | None = None
) -> dict[str, Signal]:
    observed = drift.Observed(summary)
    score = scores(2, len(rows)) if score is None else score
    for batch in rows.combine_chunks().to_batches():
        list(observed.count([(batch, score)]))
    return {signal.name: signal for signal in observed.signals()}


def alarms(*of: Any) -> dict[str, tuple[str, str]]:
    found = signals(*of).values()
    return {one.name: (one.cause, one.message) for one in found if one.is_alarm}


def with_column(name: str, change: Any, seed: int = 2) -> pa.Table:
    rows = shop(seed)
    index = rows.column_names.index(name)
    return rows.set_column(index, name, change(rows[name]))


# A column's new values, the cause of the alarm, and a part of its message.
ALARMS = [
    (
        "spend",
        lambda column: pc.multiply(column, 0.0),
        "feature",
        "spend is 0 or less for 100.0% of users",
    ),
    (
        "sessions",
        lambda column: pa.nulls(len(column), column.type),
        "missing values",
        "sessions is missing for 100.0% of users (0.0% in the training)",
    ),
    (
        "source",
        lambda column: pc.replace_substring(column, "google", "Google"),
        "feature",
        "source is another value for ",
    ),
]


class TestAnAlarm:
    @pytest.mark.parametrize(("name", "change", "cause", "said"), ALARMS)
    def test_an_alarm_says_what_has_changed(self, summary, name, change, cause, said):
        """Also if it broke before the newest five of eight snapshots."""
        broken = with_column(name, change)
        [(found, (why, text))] = alarms(summary, broken).items()

        assert (found, why) == (name, cause)
        assert text.startswith(said)
        sound = [shop(seed) for seed in range(10, 13)]
        dead = [with_column(name, change, seed) for seed in range(20, 25)]
        [(found, (why, _))] = alarms(summarised(*sound, *dead), broken).items()
        assert (found, why) == (name, cause)

    def test_an_alarm_is_raised_by_scores_that_moved_and_by_half_of_the_users(
        self, summary
    ):
        text = "900 users have features, and 2,000 had in a snapshot of the training"

        assert alarms(summary, shop(2), scores(2) ** 0.5)["probability"][0] == "score"
        assert alarms(summary, shop(2, 900)) == {"users": ("users", text)}


class TestNoAlarm:
    def test_no_alarm_names_a_value_that_one_user_has(self):
        """However many rows are of that user: it may be a person."""
        rows = shop(1, 400)
        owner = ["one" if n < 40 else f"u{n}" for n in range(400)]
        source = ["home of one" if n < 40 else "google" for n in range(400)]
        rows = rows.set_column(0, "user_id", pa.array(owner))
        rows = rows.set_column(4, "source", pa.array(source))
        known = str(summarised(rows))

        assert "home of one" not in known
        assert "google" in known

    @pytest.mark.parametrize("users", [100, 10_000_000])
    def test_no_alarm_is_raised_in_two_years_of_weeks(self, users):
        """Forty features, whose shares wobble and follow a season by a tenth."""
        random = np.random.default_rng(users)
        raised = 0
        for _ in range(40):
            logs = random.normal(0, 1.2, 12)
            height = random.normal(0, 0.1, 12)
            signal = drift.WatchedSignal(
                kind="feature",
                name="f",
                edges=range(10),
                shares=random.multinomial(users, _shares(logs)) / users,
            )
            known = drift.Reference(users=users, distinct_users=users, signals=[signal])
            for week in range(104):
                moved = logs + height * np.sin(week / 8) + random.normal(0, 0.05, 12)
                counts = random.multinomial(users, _shares(moved)).astype(float)
                found = drift.compare_signal(signal, counts, summary=known)
                raised += found.is_alarm

        assert raised <= 1


def _shares(logs: np.ndarray) -> np.ndarray:
    return np.exp(logs) / np.exp(logs).sum()


def test_no_alarm_is_raised_of_what_grows_with_the_age_of_the_table():
    """Days since the first purchase grow with each snapshot, whatever users do."""
    weeks = [with_age(shop(seed), 10.0 + 7 * seed) for seed in range(4)]
    later = with_age(shop(9), 80.0)

    assert not signals(summarised(*weeks), later)["sessions"].is_alarm


def with_age(week: pa.Table, days: float) -> pa.Table:
    """Return users with days since the first purchase in the place of sessions."""
    age = np.random.default_rng(3).uniform(0.9 * days, days, len(week))
    return week.set_column(week.column_names.index("sessions"), "sessions", [age])
