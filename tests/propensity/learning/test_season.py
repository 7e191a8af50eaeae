"""
The season, specified: shifts of log-odds that keep ranks, and how far to trust weeks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from propensity.learning import metrics, season
from propensity.learning.metrics import grouped
from propensity.learning.season import EvaluatedWeek, LevelDifference

MONDAY = date(2026, 3, 2)
HORIZON = 7
WEEK = timedelta(days=HORIZON)

PROBABILITIES = st.lists(
    st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=30
).map(np.array)
SHIFTS = st.floats(-3, 3)


def drawn(users: int, *, shift: float, seed: int = 0) -> metrics.Outcomes:
    """Users whose true log-odds are a shift above their probabilities."""
    random = np.random.default_rng(seed)
    probability = np.maximum(np.round(random.beta(1, 12, users), 4), 1e-4)
    label = random.random(users) < season.apply(probability, shift)
    return metrics.outcomes(probability, label.astype(int))


def week(
    ago: int, log_odds: float, *, error: float = 0.05, version: int = 0, **more: int
) -> EvaluatedWeek:
    """An evaluated week, so many weeks before the one to predict."""
    counts = {"conversions": 400, "others": 4_000, **more}
    return EvaluatedWeek(
        week=MONDAY - timedelta(days=HORIZON * ago),
        model_version=version,
        log_odds=log_odds,
        standard_error=error,
        **counts,
    )


def shift(*weeks: EvaluatedWeek, minimum: int = 20) -> float | None:
    return season.shift(
        weeks, week=MONDAY, horizon_days=HORIZON, minimum_conversions=minimum
    )


class TestShifting:
    def test_adds_to_the_log_odds(self):
        """Odds of 1 to 9 times three are 3 to 9."""
        [shifted] = season.apply(np.array([0.1]), np.log(3))

        assert shifted == pytest.approx(0.25, abs=1e-15)

    @pytest.mark.parametrize("nothing", [None, 0.0, -0.0])
    @given(PROBABILITIES)
    def test_by_nothing_gives_the_same_bits(self, nothing, probability):
        """Where the season is off, what is published is what the model gave."""
        assert season.apply(probability, nothing).tobytes() == probability.tobytes()

    @given(PROBABILITIES, SHIFTS)
    def test_keeps_every_rank(self, probability, by):
        """All move one way, none overtakes another, equal ones stay equal, and 0 and 1
        stay."""
        probability = np.concatenate([np.sort(probability), probability, [0.0, 1.0]])
        shifted = season.apply(probability, by)
        ascending = shifted[: len(probability) // 2 - 1]

        assert np.all((shifted >= 0) & (shifted <= 1))
        assert np.all((shifted - probability) * by >= -1e-12)
        assert np.all(np.diff(ascending) >= 0)
        assert list(shifted[-2:]) == [0.0, 1.0]
        for same in probability:
            assert len(set(shifted[probability == same])) == 1

    @given(PROBABILITIES, SHIFTS)
    def test_back_gives_the_probabilities_again(self, probability, by):
        """Within 1e-12: so a publication says what its model had given."""
        back = season.apply(season.apply(probability, by), -by)

        assert back == pytest.approx(probability, abs=1e-12)


class TestResiduals:
    @given(st.integers(0, 2**32), st.integers(2, 80), st.floats(-3, 3))
    def test_make_the_expected_conversions_those_that_came(self, seed, users, by):
        """Exactly: shifted by the residual, the mean is the base rate."""
        random = np.random.default_rng(seed)
        probability = np.round(random.random(users), 3)
        label = random.random(users) < season.apply(probability, by)
        observed = metrics.outcomes(probability, label.astype(int))
        lacked = season.residual(observed)
        assume(lacked is not None)
        expected = season.apply(observed.probability, lacked.log_odds) @ observed.users

        assert expected == pytest.approx(observed.conversions.sum(), abs=1e-7)

    def test_have_the_error_of_a_logistic_regression(self):
        """With log-odds of weight 1 and an intercept: the inverse root of its
        information."""
        observed = drawn(4_000, shift=0.5)
        lacked = season.residual(observed)
        p = season.apply(observed.probability, lacked.log_odds)

        information = observed.users @ (p * (1 - p))
        assert lacked.standard_error == pytest.approx(information**-0.5, rel=1e-6)

    def test_far_away_are_found_too(self):
        """Probabilities of one in a billion, where half converted."""
        observed = grouped(np.array([1e-9]), np.array([1e6]), np.array([5e5]))

        assert season.residual(observed).log_odds == pytest.approx(
            np.log(1e9), abs=1e-6
        )

    @pytest.mark.parametrize(
        ("probability", "conversions"),
        [
            pytest.param([0.1, 0.2], [0.0, 0.0], id="nobody"),
            pytest.param([0.1, 0.2], [9.0, 9.0], id="everybody"),
            pytest.param([0.0, 1.0], [1.0, 4.0], id="certain probabilities"),
        ],
    )
    def test_need_both_classes(self, probability, conversions):
        """No shift makes a probability 0 or 1, or moves what is 0 or 1."""
        observed = grouped(
            np.array(probability), np.full(2, 9.0), np.array(conversions)
        )

        assert season.residual(observed) is None

    def test_leave_certain_probabilities_where_they_are(self):
        """0 and 1 can not be moved: the others make up for what they miss."""
        observed = grouped(
            np.array([0.0, 0.5, 1.0]), np.full(3, 10.0), np.array([1.0, 4.0, 10.0])
        )

        assert season.residual(observed).log_odds == pytest.approx(0.0, abs=1e-12)


class TestLevels:
    def test_differ_by_what_a_newer_model_has_learned(self):
        """Of the same rows, the shift that gives the champion the challenger's mean."""
        champion = np.random.default_rng(0).beta(1, 9, 500)
        weight = np.random.default_rng(1).choice([1.0, 3.0], 500)
        challenger = np.random.default_rng(2).permutation(season.apply(champion, 0.3))
        difference = season.level_difference(challenger, champion, weight=weight)
        shifted = season.apply(champion, difference)

        assert (shifted * weight).sum() == pytest.approx((challenger * weight).sum())
        assert season.level_difference(
            season.apply(champion, 0.3), champion, weight=weight
        ) == pytest.approx(0.3)

    def test_carry_weeks_from_one_version_to_another(self):
        """What version 0 lacked, less what version 1 has learned of it."""
        learned = LevelDifference(model_version=1, compared_version=0, log_odds=0.3)
        [carried] = season.of_version([week(1, 0.5)], [learned], version=1)

        assert carried.log_odds == pytest.approx(0.2)
        assert carried.model_version == 1

    def test_carry_weeks_back_and_over_several_versions(self):
        """A version that is served again, and one that was never promoted between."""
        differences = [
            LevelDifference(model_version=1, compared_version=0, log_odds=0.3),
            LevelDifference(model_version=2, compared_version=0, log_odds=-0.1),
        ]
        weeks = [week(1, 0.5, version=2), week(2, 0.1, version=1)]
        at_0 = season.of_version(weeks, differences, version=0)
        at_1 = season.of_version(weeks, differences, version=1)

        assert [carried.log_odds for carried in at_0] == pytest.approx([0.4, 0.4])
        assert [carried.log_odds for carried in at_1] == pytest.approx([0.1, 0.1])

    def test_leave_out_weeks_of_a_version_that_was_never_compared(self):
        """Nobody knows what it would have lacked."""
        kept = season.of_version([week(1, 0.5), week(2, 0.5, version=4)], [], version=0)

        assert [carried.model_version for carried in kept] == [0]


class TestFollowing:
    def test_of_few_weeks_or_conversions_is_no_shift(self):
        """Of none before the first evaluation; of one, which may be an odd one; of
        fewer conversions than the minimum in all remembered weeks, of either label."""
        few = week(1, 0.5, conversions=9), week(2, 0.5, conversions=10)
        many = week(1, 0.5, conversions=9_990, others=5)

        assert shift() is None
        assert shift(week(1, 0.9)) is None
        assert shift(*few, minimum=20) is None
        assert shift(*few, minimum=19) is not None
        assert shift(many, replace(many, week=many.week - WEEK), minimum=20) is None

    def test_chance_moves_next_to_nothing(self):
        """What noise explains is shrunk to less than a third."""
        for noise in (-0.15, 0.1, 0.15):
            weeks = week(1, noise, error=0.15), week(2, 0.0, error=0.15)
            assert abs(shift(*weeks)) < abs(noise) / 3

    @pytest.mark.parametrize("factor", [1.5, 2.0, 0.5])
    def test_a_step_is_followed_within_two_weeks(self, factor):
        """One odd week may be over with it; a second one says that the odds moved."""
        step = np.log(factor)
        before = [week(ago, 0.0) for ago in range(3, 11)]
        once = shift(week(1, step), week(2, 0.0), *before)
        twice = shift(week(1, step), week(2, step), *before)

        assert 0 < once / step < twice / step
        assert twice / step > 0.85

    def test_more_conversions_are_believed_more(self):
        """Of the same shift, the one of the larger week is followed further."""
        errors = (0.4, 0.2, 0.1, 0.02)
        by_size = [
            shift(week(1, 0.5, error=error), week(2, 0.0, error=0.4))
            for error in errors
        ]

        assert by_size == sorted(by_size)
        assert by_size[0] < 0.1

    def test_newer_weeks_count_more(self):
        """Of two weeks that contradict each other."""
        rising = shift(week(1, 0.4), week(2, 0.0))

        assert rising > shift(week(1, 0.0), week(2, 0.4))

    def test_expects_late_labels_as_they_came_before(self):
        """A week that is not final seems 0.1 lower; final ones have shown it."""
        steady = [replace(week(ago, 0.0), late=0.1) for ago in (2, 3, 4)]
        early = replace(week(1, -0.1), is_final=False)
        unknown = [week(ago, 0.0) for ago in (2, 3, 4)]

        assert shift(early, *steady) == pytest.approx(0.0, abs=1e-12)
        assert shift(early, *unknown) < 0

    def test_is_bounded(self):
        """However large the move, and in either direction."""
        high, low = (
            [week(ago, far, error=0.01) for ago in (1, 2)] for far in (2.5, -2.5)
        )

        assert shift(*high) == season.MAXIMUM_LOG_ODDS_SHIFT
        assert shift(*low) == -season.MAXIMUM_LOG_ODDS_SHIFT

    def test_counts_every_day_of_outcomes_once(self):
        """Evaluations on seven days of one week are not seven weeks."""
        newest, before = week(1, 0.3, error=0.2), week(2, 0.1, error=0.2)
        overlapping = [
            replace(newest, week=newest.week - timedelta(days=days))
            for days in range(1, 7)
        ]

        assert shift(newest, *overlapping, before) == shift(newest, before)

    def test_remembers_the_newest_weeks_alone(self):
        """Whatever was long ago."""
        recent = [week(ago, 0.2) for ago in range(1, season.MEMORY + 1)]
        older = [week(ago, -2.0) for ago in range(season.MEMORY + 1, 30)]

        assert shift(*recent, *older) == shift(*recent)

    @given(
        st.lists(
            st.tuples(st.floats(-2, 2), st.floats(0.01, 2)), min_size=2, max_size=4
        ),
        st.randoms(use_true_random=False),
    )
    def test_is_symmetric_bounded_and_in_no_order(self, figures, random):
        """Never beyond the largest week, the same for any order, and for both signs."""
        weeks = [week(n + 1, y, error=se) for n, (y, se) in enumerate(figures)]
        mirrored = [week(n + 1, -y, error=se) for n, (y, se) in enumerate(figures)]
        expected = shift(*weeks)
        shuffled = random.sample(weeks, len(weeks))

        assert abs(expected) <= max(abs(y) for y, _ in figures) + 1e-9
        assert shift(*shuffled) == pytest.approx(expected, abs=1e-12)
        assert shift(*mirrored) == pytest.approx(-expected, abs=1e-12)
