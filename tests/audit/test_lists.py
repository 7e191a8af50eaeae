"""
Relations that hold of any table and list: the same run again, and a table of the export
that is late.
"""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity import try_table
from propensity.trying.folder import WEEK, Bound, Lists, WeeklyList
from tests.audit import tables


@pytest.mark.parametrize("seed", range(3))
def test_the_same_run_again_lists_the_same(seed):
    drawn = tables.campaign(seed).drop(columns="mail")
    drawn["bought"] = drawn["bought"].astype("float").mask(drawn.index % 5 == 0)
    options = {"user": "user", "label": "bought", "candidates": tables.QUICK}
    first = try_table(drawn, **options).scores()

    pd.testing.assert_frame_equal(try_table(drawn, **options).scores(), first)


@given(
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.lists(st.integers(0, 1), min_size=2, max_size=60),
)
def test_a_table_that_is_a_day_late_loses_no_monday(monday, late):
    """Each Monday has a list, whichever of their tables are late, also the first."""
    state = Lists(bound=BOUND)
    for number, days in enumerate(late):
        as_of = monday + number * WEEK - timedelta(days=days)
        if state.weeks:
            before = state.number_of(state.weeks[-1].as_of)

            assert state.number_of(as_of) == before + 1
        week = WeeklyList(
            as_of=as_of, contacted=0, held_out=0, members=()
        )  # fmt: skip
        state = Lists(bound=BOUND, weeks=[*state.weeks, week])

    assert not state.without_list


BOUND = Bound(
    export="p.d", user_column="", label_event="purchase", horizon_days=7,
    require_consent="false", control_share=0.3, key="", listed=500,
)  # fmt: skip
