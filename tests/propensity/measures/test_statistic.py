"""Statistics of groups, specified: by the users' own rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.measures.statistic import (
    adjusted,
)
from propensity.measures.uplift import amounts_of, conversions_of
from propensity.tables.audiences import GroupSums

ERRORS = 2.37


def drawn(random, users, *, effect=0.0, spread=0.1):
    """Return rows of a group: probabilities, labels and amounts."""
    chance = np.full(users, 0.2)
    if spread:
        size = 0.16 / spread**2 - 1
        chance = random.beta(0.2 * size, 0.8 * size, users)
    label = (random.random(users) < chance + effect).astype(float)
    return chance, label, label * random.lognormal(1, 0.5, users)


def group(chance, label, amount, *, is_control=False):
    return GroupSums(
        is_control=is_control,
        users=len(chance),
        conversions=int(label.sum()),
        revenue=amount.sum(),
        revenue_squares=amount @ amount,
        probability=chance.sum(),
        probability_squares=chance @ chance,
        probability_conversions=chance @ label,
        probability_revenue=chance @ amount,
    )


def regression(treated, control, column):
    """Return the effect by ordinary least squares of all users' rows, and the
    residuals' variance of each group: treatment, covariate and their product."""
    chance = np.concatenate([treated[0], control[0]])
    is_treated = np.repeat([1.0, 0.0], [len(treated[0]), len(control[0])])
    centred = chance - chance.mean()
    design = np.column_stack(
        [np.ones(len(chance)), is_treated, centred, is_treated * centred]
    )
    outcome = np.concatenate([treated[column], control[column]])
    fit, *_ = np.linalg.lstsq(design, outcome, rcond=None)
    residuals = outcome - design @ fit
    variances = []
    for value in (1, 0):
        of_group = residuals[is_treated == value]
        variances.append(of_group @ of_group / (len(of_group) - 2))
    return fit[1], variances


@given(
    seed=st.integers(0, 2**32 - 1),
    users=st.integers(400, 3_000),
    share=st.floats(0.1, 0.9),
    effect=st.floats(-0.05, 0.3),
)
def test_sums_say_what_the_regression_of_all_rows_says(seed, users, share, effect):
    """Of conversions as of money, whatever the sizes of the groups."""
    random = np.random.default_rng(seed)
    held_out = max(int(share * users), 250)
    rows = [drawn(random, users, effect=effect), drawn(random, held_out)]
    sums = [group(*each) for each in rows]
    for column, outcomes_of in ((1, conversions_of), (2, amounts_of)):
        treated, control = adjusted(*(outcomes_of([each]) for each in sums))
        expected, variances = regression(*rows, column)

        assert treated.mean - control.mean == pytest.approx(expected, abs=1e-8)
        for shown, variance in zip((treated, control), variances, strict=True):
            error = shown.plain.variance / shown.users
            of_rows = variance * (shown.plain.users - 1) / shown.plain.users**2
            assert error == pytest.approx(of_rows, rel=1e-6)
