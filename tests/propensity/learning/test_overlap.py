"""
Outcomes longer than the stride, specified: those of rows that a model learns from have
ended before those that it is judged and measured by.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning.rows import Parts, Slice
from propensity.learning.split import split_users
from propensity.timeframe import Timeframe
from propensity.usecases.use_case import limits_of
from tests.propensity.learning.shops import SETTINGS, SHOP, WEEK, snapshots

# Outcomes of five weeks, a date each week.
LONG = replace(WEEK, horizon_days=35, stride_days=7)
WEEK_ONE = date(2026, 1, 5)


def parts(weeks: int, timeframe: Timeframe = LONG) -> Parts:
    """The rows of so many dates, a stride apart, split."""
    rows = snapshots(weeks, 120)
    index = rows.column_names.index("as_of")
    days = [WEEK_ONE + n * timeframe.stride for n in range(weeks)]
    rows = rows.set_column(index, "as_of", pa.array(np.repeat(days, 120), pa.date32()))
    return split_users(rows, SHOP.task(SETTINGS), timeframe, limits=limits_of(SETTINGS))


def ends(part: Slice) -> list:
    """First and last day of the rows' dates."""
    days = part.rows["as_of"].to_pylist()
    return [min(days), max(days)]


@pytest.mark.parametrize(
    ("weeks", "stride", "horizon"),
    [(11, 7, 35), (40, 1, 7)],
)
def test_no_model_is_judged_by_outcomes_it_learned(weeks, stride, horizon):
    """Neither in a block nor on the test set, whose outcomes choose no candidate."""
    timeframe = replace(LONG, stride_days=stride, horizon_days=horizon)
    split = parts(weeks, timeframe)
    held = ends(split.holdout)[0]

    assert ends(split.fitting)[1] + timeframe.horizon <= held
    assert ends(split.choosing)[1] + timeframe.horizon <= held
    for block in split.blocks:
        judged = ends(split.before.between(block.first, block.end))[0]
        known = ends(split.before.between(0, block.fit_end))[1]
        assert known + timeframe.horizon <= judged
