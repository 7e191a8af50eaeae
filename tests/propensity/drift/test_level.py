"""Levels: single numbers beside what the weeks before let expect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from propensity.drift.level import Level, _student, move

CHANCE = 1e-5


def levels(*values, error=0.01):
    """Numbers of weeks, newest first, with one standard error."""
    return [Level(value=value, error=error) for value in values]


def moved(value, earlier, *, error=0.01, **options):
    """The move of a number, an ordinary week being worth 0.01."""
    options = {"ordinary": 0.01, "chance": CHANCE} | options
    return move(Level(value=value, error=error), earlier, **options)


def test_the_newest_weeks_count_most():
    """A season that goes on is no break: each week counts half of the next."""
    change = moved(1.0, levels(1.0, 0.0, 0.0))

    assert change.expected == pytest.approx(1 / 1.75)


def test_noise_is_learned_from_the_weeks():
    """A number that jumps by itself has to jump further."""
    calm = moved(0.0, levels(*[0.0] * 9))
    odd = moved(0.0, levels(*[0.5, -0.5] * 5))

    assert calm.noise < 0.2 < odd.noise
    assert moved(0.3, levels(*[0.0] * 9)).is_beyond(0.05)
    assert not moved(0.3, levels(*[0.5, -0.5] * 5)).is_beyond(0.05)


def test_a_target_is_expected_whatever_came_before():
    """What probabilities lack is expected to be nothing, not what it was."""
    change = moved(0.2, levels(0.2, 0.2, 0.2), target=0.0)

    assert (change.expected, change.moved) == (0.0, 0.2)


def test_a_move_within_its_noise_matters_to_nobody():
    """However large the number of weeks."""
    assert not moved(0.04, levels(*[0.0] * 8), error=1e-6).is_beyond(0.05)


@pytest.mark.parametrize("freedom", [8, 16, 60])
@pytest.mark.parametrize("chance", [1e-3, 1e-6])
def test_the_quantile_is_student_s(freedom, chance):
    """Without the library that has it, within five percent."""
    exact = stats.t.ppf(1 - chance, freedom)

    assert _student(chance, freedom) == pytest.approx(exact, rel=0.05)


@pytest.mark.long
def test_calm_weeks_raise_nothing():
    """Of a thousand shops over two years, by chance alone."""
    random = np.random.default_rng(5)
    raised = 0
    for _ in range(200):
        values = random.normal(0, 0.014, 112)
        for week in range(8, 112):
            earlier = levels(*values[week - 8 : week][::-1])
            raised += moved(values[week], earlier).is_beyond(0.0)

    assert raised <= 2
