"""Alarms: few, and with their cause."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from propensity.drift import alarms
from propensity.drift.alarms import Earlier, Thing
from propensity.drift.level import Level
from propensity.drift.sketch import Sketch

MONDAY = date(2026, 3, 2)
AMOUNTS = {0.0: 5_000, 4.0: 3_000, 16.0: 2_000}
SOURCES = {"google": 6_000, "mail": 3_000, None: 1_000}


def feature(name="amount", counts=AMOUNTS, *, missing=0, kind=None):
    """A feature of ten thousand users."""
    scale = (10_000 - missing) / 10_000
    scaled = {value: round(users * scale) for value, users in counts.items()}
    kind = kind or ("number" if 0.0 in counts else "category")
    sketch = Sketch(kind=kind, users=10_000, missing=missing, counts=scaled)
    return Thing(thing=alarms.FEATURE, name=name, sketch=sketch)


def mean(probability):
    """The mean probability of ten thousand users."""
    level = Level(value=float(np.log(probability)), error=0.01)
    return Thing(thing=alarms.SCORE, name=alarms.MEAN, level=level)


def before(*things, weeks=8, version=0):
    """Publications with the same things, newest first."""
    return [
        Earlier(
            as_of=MONDAY - timedelta(weeks=ago + 1),
            model_version=version,
            things={thing.key: thing for thing in things},
        )
        for ago in range(weeks)
    ]


def watched(now, earlier, **options):
    """The one thing that is watched now."""
    [thing] = alarms.watched([now], earlier, **{"model_version": 0} | options)
    return thing


class TestCauses:
    @pytest.mark.parametrize(
        ("now", "known", "cause", "message"),
        [
            (
                feature(missing=3_400),
                feature(),
                "missing values",
                "amount is missing for 34% of users (0% before)",
            ),
            (
                feature(counts={0.0: 10_000}),
                feature(),
                "feature",
                "amount is 0 for 100% of users (50% before)",
            ),
            (
                feature(counts={0.0: 1_000, 4_096.0: 9_000}),
                feature(counts={0.0: 1_000, 4.0: 9_000}),
                "feature",
                "the median of amount is 4096 (4 before)",
            ),
            (
                feature("source", {"mail": 9_000, None: 1_000}),
                feature("source", SOURCES),
                "source",
                "source is 'google' for 0% of users (60% before)",
            ),
            (
                feature(counts={0.0: 2_000, 4.0: 2_700, 4.5: 2_800, 400.0: 2_500}),
                feature(counts={0.0: 2_000, 4.0: 5_200, 4.5: 2_800}),
                "feature",
                "amount is about 400 for 25% of users (0% before)",
            ),
            (
                feature("source", {"mail": 10_000}, missing=5_900, kind="category"),
                feature("source", {"google": 6_000, "mail": 4_000}, kind="category"),
                "missing values",
                "source is missing for 59% of users (0% before)",
            ),
            (
                mean(0.05),
                mean(0.10),
                "score",
                "the mean probability has moved by -50%, the season aside",
            ),
            (
                alarms.count(4_000),
                alarms.count(10_000),
                "users",
                "the number of users has moved by -60%",
            ),
            (
                alarms.count(1_234_000),
                alarms.count(100),
                "users",
                "the number of users has moved to 12,340 times what was expected",
            ),
            (
                mean(0.5),
                mean(1e-300),
                "score",
                "the mean probability has moved to over 1,000,000 times what was "
                "expected, the season aside",
            ),
            (
                feature("source", {"x" * 1_000: 9_000, None: 1_000}),
                feature("source", {None: 10_000}),
                "source",
                f"source is '{'x' * 59}…' for 90% of users (0% before)",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_are_named(self, now, known, cause, message):
        """In a word to filter by, and a sentence with the figures."""
        thing = watched(now, before(known))

        assert (thing.is_alarm, thing.cause) == (True, cause)
        assert thing.message == message

    def test_a_calm_week_has_none(self):
        """The measured distance is there all the same."""
        thing = watched(feature(), before(feature()))

        assert (thing.is_alarm, thing.cause) == (False, "")
        assert thing.distance == pytest.approx(0.0, abs=1e-6)


class TestReference:
    def test_a_feature_of_another_kind_begins_anew(self):
        """A new version may count categories where the one before had numbers."""
        earlier, now = before(feature()), feature(counts={"a": 10_000})
        thing = watched(now, earlier)
        settled = watched(now, [*before(now, weeks=2), *earlier])

        assert (thing.is_alarm, thing.distance) == (False, None)
        assert (settled.is_alarm, settled.distance) == (False, pytest.approx(0.0))

    def test_a_first_publication_is_compared_with_nothing(self):
        """Nor is the second: one week may be an odd one."""
        for weeks in (0, 1):
            thing = watched(feature(missing=9_000), before(feature(), weeks=weeks))
            assert (thing.is_alarm, thing.distance) == (False, None)

    def test_what_is_always_so_becomes_what_is_expected(self):
        earlier = [*before(feature(missing=9_000)), *before(feature(), weeks=1)]

        assert not watched(feature(missing=9_000), earlier).is_alarm

    def test_scores_are_compared_within_a_version(self):
        """Another model has other probabilities; features are the same for both."""
        earlier = before(mean(0.10), feature(), version=1)

        assert not watched(mean(0.05), earlier, model_version=2).is_alarm
        assert watched(feature(missing=9_000), earlier, model_version=2).is_alarm

    def test_a_new_feature_is_compared_once_it_is_known(self):
        """Earlier publications did not have it."""
        assert not watched(feature("new"), before(feature())).is_alarm


def test_odds_beyond_the_shift_are_the_season():
    """Twice the odds of what was published, where weeks were calm."""
    calm = [alarms.outcome(Level(value=0.0, error=0.03), [])] * 8
    thing = alarms.outcome(Level(value=0.7, error=0.03), calm)

    assert (thing.is_alarm, thing.cause) == (True, "season")
    assert "+101%" in thing.message


def test_more_things_do_not_make_more_alarms():
    """All share one budget: each of a hundred is allowed less than one alone."""
    earlier = before(feature(), *(feature(f"f{n}") for n in range(99)))
    alone = watched(feature(missing=10), earlier)
    many = alarms.watched(
        [feature(missing=10), *(feature(f"f{n}") for n in range(99))],
        earlier,
        model_version=0,
    )

    assert many[0].noise > alone.noise
