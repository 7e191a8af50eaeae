"""What a shop's sum of expected values is held against."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from benchmarks import value
from benchmarks.report import Line
from propensity.learning import gini


def sum_line(*, users: int, promised: float) -> Line:
    """Return the line of the sum of a week, of which one user in ten pays 100."""
    amount = np.where(np.arange(users) % 10 == 0, 100.0, 0.0)
    paid = gini.Paid(np.full(users, promised), amount, np.ones(users))
    week = value.Week(
        day=date(2026, 1, 5),
        promised=users * promised,
        low=0.0,
        high=np.inf,
        paid=paid,
        plain=replace(paid, value=np.full(users, 10.0)),
        coverage=1.0,
    )
    return value.judged("shop", [week])[0]


@pytest.mark.parametrize(("promised", "is_met"), [(10.0, True), (9.0, False)])
def test_a_sum_is_gated_where_chance_moves_it_little(
    promised: float, is_met: bool
) -> None:
    line = sum_line(users=100_000, promised=promised)

    assert line.ours == [pytest.approx(10 / promised - 1)]
    assert line.is_met is is_met


def test_a_sum_that_chance_moves_by_more_than_the_target_informs() -> None:
    line = sum_line(users=1_000, promised=9.0)

    assert line.ours == [pytest.approx(1 / 9)]
    assert line.is_met is None
