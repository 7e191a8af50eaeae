"""Alarms: few, with their cause, and with what to do."""

from __future__ import annotations

from dataclasses import replace
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

    def test_a_season_that_was_so_a_year_ago_is_no_alarm(self):
        """It says so, and wakes nobody."""
        now = feature(counts={0.0: 1_000, 4.0: 9_000})
        [a_year_ago] = before(now, weeks=1)
        thing = watched(now, before(feature()), last_year=a_year_ago)

        assert (thing.is_alarm, thing.cause) == (False, "season")
        assert "as a year ago" in thing.message

    def test_a_season_that_was_an_alarm_a_year_ago_is_none_now(self):
        """Its first year has nothing to know it by, and it is the season all the same:
        else it would be an alarm in each year that comes."""
        calm, sale = feature(counts=SOURCES), feature(counts=SOURCES | {"mail": 12_000})
        weeks: list[Earlier] = []
        for week in range(60):
            now = sale if week % 52 in (4, 5) else calm
            as_of = MONDAY + timedelta(weeks=week)
            ago = [
                earlier
                for earlier in weeks
                if earlier.as_of == as_of - timedelta(weeks=52)
            ]
            thing = watched(now, weeks[::-1], last_year=ago[0] if ago else None)
            weeks.append(
                Earlier(as_of=as_of, model_version=0, things={thing.key: thing})
            )
        causes = {
            number: (thing.is_alarm, thing.cause)
            for number, earlier in enumerate(weeks)
            if (thing := earlier.things["feature", "amount"]).cause
        }

        assert causes == {
            4: (True, "source"),
            5: (True, "source"),
            56: (False, "season"),
        }

    @pytest.mark.parametrize(
        "lost", [feature(missing=9_000), feature(counts={0.0: 10_000})]
    )
    def test_what_was_lost_a_year_ago_is_no_season(self, lost):
        """What broke once may break again, and is repaired again."""
        [a_year_ago] = before(replace(lost, is_alarm=True), weeks=1)

        assert watched(lost, before(feature()), last_year=a_year_ago).is_alarm


class TestReference:
    def test_a_feature_of_another_kind_begins_anew(self):
        """A new version may count categories where the one before had numbers."""
        earlier, now = before(feature()), feature(counts={"a": 10_000})
        thing = watched(now, earlier, last_year=earlier[-1])
        settled = watched(now, [*before(now, weeks=2), *earlier], last_year=earlier[-1])

        assert (thing.is_alarm, thing.distance) == (False, None)
        assert (settled.is_alarm, settled.distance) == (False, pytest.approx(0.0))

    def test_a_first_publication_is_compared_with_nothing(self):
        """Nor is the second: one week may be an odd one."""
        for weeks in (0, 1):
            thing = watched(feature(missing=9_000), before(feature(), weeks=weeks))
            assert (thing.is_alarm, thing.distance) == (False, None)

    def test_an_alarm_goes_on_until_it_is_mended(self):
        """A broken week is none to compare with, and counts in ``weeks``."""
        broken = replace(feature(missing=9_000), is_alarm=True, weeks=2)
        earlier = [*before(broken, weeks=2), *before(feature())]

        thing = watched(feature(missing=9_000), earlier)
        mended = watched(feature(), earlier)

        assert (thing.is_alarm, thing.weeks) == (True, 3)
        assert not mended.is_alarm

    def test_what_is_always_so_becomes_what_is_expected(self):
        """Once hardly a publication is left without the alarm."""
        broken = replace(feature(missing=9_000), is_alarm=True)
        earlier = [*before(broken, weeks=12), *before(feature(), weeks=1)]

        assert not watched(feature(missing=9_000), earlier).is_alarm

    def test_scores_are_compared_within_a_version(self):
        """Another model has other probabilities; features are the same for both."""
        earlier = before(mean(0.10), feature(), version=1)

        assert not watched(mean(0.05), earlier, model_version=2).is_alarm
        assert watched(feature(missing=9_000), earlier, model_version=2).is_alarm

    def test_a_new_feature_is_compared_once_it_is_known(self):
        """Earlier publications did not have it."""
        assert not watched(feature("new"), before(feature())).is_alarm


class TestOutcomes:
    def test_odds_beyond_the_shift_are_the_season(self):
        """Twice the odds of what was published, where weeks were calm."""
        calm = [alarms.outcome("calibration", Level(value=0.0, error=0.03), [])] * 8
        thing = alarms.outcome("calibration", Level(value=0.7, error=0.03), calm)

        assert (thing.is_alarm, thing.cause) == (True, "season")
        assert "+101%" in thing.message

    @pytest.mark.parametrize(("off", "is_alarm"), [(-0.06, True), (0.06, False)])
    def test_ranks_below_their_estimate_are_a_new_relation(self, off, is_alarm):
        """Better ones are no reason to wake anybody."""
        calm = [alarms.outcome("roc_auc", Level(value=0.0, error=0.004), [])] * 8
        thing = alarms.outcome(
            "roc_auc", Level(value=off, error=0.004), calm, estimated=0.78
        )

        assert thing.is_alarm == is_alarm
        assert thing.cause == ("relation" if is_alarm else "")
        assert alarms.advice([thing]).action == ("retrain" if is_alarm else "nothing")

    @pytest.mark.parametrize(
        ("name", "off"), [("calibration", 0.7), ("roc_auc", -0.06)]
    )
    def test_what_goes_on_is_said_as_long_as_it_does(self, name, off):
        """Defect: the first week that was off counted as noise in the second, so that
        an alarm came once, though nobody had trained. Weeks are counted from its first
        one on, and the alarm ends with what it is about."""
        weeks = [alarms.outcome(name, Level(value=0.0, error=0.004), [])] * 8
        counted = []
        for value in (*[off] * 12, 0.0):
            thing = alarms.outcome(name, Level(value=value, error=0.004), weeks)
            weeks = [thing, *weeks][: alarms.MEMORY]
            counted.append(thing.weeks)

        assert counted == [*range(1, 13), 0]

    def test_an_odd_week_that_has_passed_is_noise(self):
        """A shop whose single weeks are odd is not asked to train after each."""
        weeks = [alarms.outcome("calibration", Level(value=0.0, error=0.03), [])] * 8
        odd = []
        for value in (0.6, 0.0, -0.6, 0.0, 0.6, 0.0):
            thing = alarms.outcome("calibration", Level(value=value, error=0.03), weeks)
            weeks = [thing, *weeks][: alarms.MEMORY]
            odd.append(thing.is_alarm)

        assert odd == [True, False, False, False, False, False]


class TestAdvice:
    def test_a_new_break_is_repaired_and_not_learned(self):
        """A model that is trained on it has to be trained again."""
        thing = watched(feature(missing=9_000), before(feature()))
        advice = alarms.advice([thing])

        assert (advice.action, advice.reason) == ("repair", thing.message)

    def test_a_change_that_lasts_is_learned(self):
        """With its reason, and since when."""
        thing = watched(feature(missing=9_000), before(feature()))
        advice = alarms.advice([replace(thing, weeks=3)])

        assert advice.action == "retrain"
        assert advice.reason.startswith(
            "for 3 publications in a row amount is missing for 90%"
        )

    def test_nothing_is_learned_beside_a_new_break(self):
        """Whatever has lasted, and whatever outcomes say: they may be its doing."""
        new = watched(feature(missing=9_000), before(feature()))
        lasting = replace(feature("source", SOURCES), is_alarm=True, weeks=5)
        calm = [alarms.outcome("roc_auc", Level(value=0.0, error=0.004), [])] * 8
        worse = alarms.outcome("roc_auc", Level(value=-0.1, error=0.004), calm)

        assert worse.is_alarm
        for others in ([lasting], [worse], [lasting, worse]):
            advice = alarms.advice([*others, new])
            assert (advice.action, advice.reason) == ("repair", new.message)

    def test_without_an_alarm_there_is_nothing_to_do(self):
        """Also where something moved."""
        calm = watched(feature(), before(feature()))

        assert alarms.advice([calm]).action == "nothing"


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
