"""
The season, specified: shifts of log-odds that keep ranks, and how far to trust weeks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from propensity.learning import season
from propensity.learning.season import EvaluatedWeek
from propensity.measures import metrics
from propensity.runs.predict import season_shift
from propensity.timeframe import Timeframe

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)

PROBABILITIES = st.lists(
    st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=30
).map(np.array)
SHIFTS = st.floats(-3, 3)


def week(
    ago: int, log_odds: float, *, error: float = 0.05, **more: int
) -> EvaluatedWeek:
    """An evaluated week, so many weeks before the one to predict."""
    counts = {"conversions": 400, "others": 4_000, **more}
    return EvaluatedWeek(
        week=MONDAY - ago * WEEK,
        log_odds=log_odds,
        standard_error=error,
        **counts,
    )


def shift(*weeks: EvaluatedWeek, minimum: int = 20) -> float | None:
    return season.shift(weeks, horizon_days=7, minimum_conversions=minimum)


@given(PROBABILITIES, SHIFTS)
def test_shifting_keeps_every_rank(probability, by):
    """All move one way, none overtakes another, 0 and 1 stay, and a shift back gives
    the probabilities again within 1e-12. No shift changes no bit."""
    probability = np.concatenate([[0.0], np.sort(probability), [1.0]])
    shifted = season.apply(probability, by)

    assert np.all((shifted - probability) * by >= -1e-12)
    assert np.all(np.diff(shifted) >= 0)
    assert (shifted[0], shifted[-1]) == (0.0, 1.0)
    assert season.apply(shifted, -by) == pytest.approx(probability, abs=1e-12)
    assert season.apply(np.array([0.1]), np.log(3)) == pytest.approx(0.25)
    for nothing in (None, 0.0):
        assert np.array_equal(season.apply(probability, nothing), probability)


@given(st.integers(0, 2**32), st.integers(2, 80), SHIFTS)
def test_residuals_make_the_expected_conversions_those_that_came(seed, users, by):
    """With the error of a logistic regression of this one coefficient."""
    random = np.random.default_rng(seed)
    probability = np.round(random.random(users), 3)
    label = random.random(users) < season.apply(probability, by)
    observed = metrics.outcomes(probability, label.astype(int))
    lacked = season.residual(observed)
    assume(lacked is not None)
    moved = season.apply(observed.probability, lacked[0])
    information = observed.users @ (moved * (1 - moved))

    assert moved @ observed.users == pytest.approx(observed.conversions.sum(), abs=1e-7)
    assert lacked[1] == pytest.approx(information**-0.5, rel=1e-6)


class TestFollowing:
    def test_the_shift_of_few_weeks_or_conversions_is_no_shift(self):
        """Of one week, which may be an odd one; of fewer conversions than the minimum
        in all remembered weeks."""
        few = week(1, 0.5, conversions=9), week(2, 0.5, conversions=10)

        assert shift() is shift(week(1, 0.9)) is None
        assert shift(*few, minimum=20) is None
        assert shift(*few, minimum=19) is not None

    @pytest.mark.parametrize("factor", [2.0, 0.5])
    def test_a_step_is_followed_within_two_weeks(self, factor):
        """One odd week may be over with it; a second one says that the odds moved."""
        step = np.log(factor)
        before = [week(ago, 0.0) for ago in range(3, 11)]
        once = shift(week(1, step), week(2, 0.0), *before)
        twice = shift(week(1, step), week(2, step), *before)

        assert 0 < once / step < twice / step
        assert twice / step > 0.85

    def test_the_shift_is_bounded_and_of_the_newest_weeks_alone(self):
        """Evaluations on seven days of one week are not seven weeks."""
        recent = [week(ago, 0.2) for ago in range(1, 14)]
        older = [week(ago, -2.0) for ago in range(14, 30)]
        newest = week(1, 0.3, error=0.2)
        overlapping = replace(newest, week=newest.week - timedelta(days=3))
        before = week(2, 0.1, error=0.2)
        far = [week(ago, -2.5, error=0.01) for ago in (1, 2, 3)]

        assert shift(*older, *recent[::-1]) == shift(*recent)
        assert shift(before, overlapping, newest) == shift(newest, before)
        assert shift(*far) == -1


def test_outcomes_of_a_quarter_have_no_season():
    """They are known too late to say how the next ones will be: nothing is read."""
    quarter = Timeframe(lookback_days=180, horizon_days=91, settle_days=3)

    assert season_shift(SimpleNamespace(timeframe=quarter)) is None
