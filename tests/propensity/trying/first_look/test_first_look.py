"""
A first look at a table, specified: types, leaks, splits by time, and what it refuses.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from propensity import try_table
from propensity.errors import PropensityError
from propensity.trying.first_look import columns
from propensity.trying.first_look.reading import read_table
from propensity.trying.first_look.scores import RowsToScore
from tests.propensity.trying.first_look.tables import (
    MONTHS,
    NAMES,
    QUICK,
    customers,
    leaky,
)


@pytest.fixture(scope="module")
def look():
    return try_table(customers(), **NAMES)


def refused(frame: pd.DataFrame, **changed) -> PropensityError:
    """Return why a table is refused, before anything is trained on it."""
    with pytest.raises(PropensityError) as caught:
        try_table(frame, **{**NAMES, **changed})
    assert "\n" not in caught.value.message
    return caught.value


def test_the_newest_month_tests_a_model_of_older_ones(look):
    """Each column has a type, or a reason why it is none."""
    parts = look.trained.parts
    held = set(parts.holdout.rows["as_of"].to_pylist())

    assert {str(day) for day in held} == {"2025-08-01"}
    assert max(parts.fitting.rows["as_of"].to_pylist()) < min(held)
    assert {*look.kinds.items()} == {
        ("visits", "number"),
        ("plan", "category"),
        ("since", "date"),
        ("postcode", "category"),
    }
    assert look.left_out["note"] == "text with 1,200 values"
    assert look.left_out["country"] == "empty, or the same in every row"
    assert look.leaks == {}
    assert "tested on 2025-08, 150 rows" in look.lines[0]
    assert "ranks the test set better than visits alone" in look.lines[3]


@pytest.mark.parametrize(
    ("values", "outcome", "label", "positive"),
    [
        (["Yes", "No", "NA", "Yes"], "yes", [1, 0, None, 1], "Yes"),
        (["won", "lost", "unknown", "?"], "WON", [1, 0, None, None], "won"),
        (["yes", "Yes", "no"], "Yes", [1, 1, 0], "yes"),
        (["1,0", "0,0", "1,0"], None, [1, 0, 1], "1"),
    ],
    ids=str,
)
def test_a_label_has_one_reading(values, outcome, label, positive):
    """Neither case nor decimals count, and words for gaps are not known: they are no
    zeros."""
    known, shown = columns.label_of(pd.Series(values, dtype=object), outcome)

    assert [None if np.isnan(value) else value for value in known] == label
    assert shown == positive


def test_a_table_without_times_is_tried_on_users_drawn_at_random():
    """All rows of a user are on one side. The first line says what that cannot see."""
    frame = customers().drop(columns="month")
    frame.loc[5, "churned"] = "NA"
    look = try_table(frame, **{**QUICK, "time": None})
    parts = look.trained.parts
    tested = set(parts.holdout.rows["user_id"].to_pylist())

    assert len(tested) == 30
    assert tested.isdisjoint(parts.before.rows["user_id"].to_pylist())
    assert "drawn at random: without --time this cannot see" in look.lines[0]
    assert "1 row has no churned" in look.lines[0]
    assert "of later times" not in look.lines[3]
    assert "further rows" in look.lines[3]
    assert look.kinds["since"] == "date"


def test_a_word_for_a_missing_value_is_a_gap_here_and_in_rows_to_score():
    frame = customers().astype({"visits": object})
    frame.loc[frame.index % 2 == 0, "visits"] = "k.A."
    read = read_table(frame, **NAMES, missing=["k.a."])
    later = RowsToScore.of(read, frame.tail(2))

    assert read.features["visits"].kind == "number"
    assert read.rows["visits"].null_count == len(frame) // 2
    assert later.features["visits"].null_count == 1


@pytest.mark.parametrize("word", ["no", "c7", "2025-08"])
def test_a_word_for_a_missing_value_empties_neither_label_nor_user_nor_time(word):
    """Defect: ages that are 0 where nobody knows them took all labels of 0."""
    read = read_table(customers(), **NAMES, missing=[word])

    assert read.rows.sort_by("user_id") == read_table(
        customers(), **NAMES
    ).rows.sort_by("user_id")


def test_a_table_that_knows_the_outcome_says_so_first():
    """In its heading and in its last line, without a figure, and with the flag to
    paste."""
    look = try_table(leaky(), **NAMES)
    page = look.page()
    heading = page[page.index("<h1>") : page.index("</h1>")]

    assert look.lines[4] == (
        "Use      This table knows the outcome: reason, status. Leave them out and try "
        "again: --without reason,status"
    )
    assert "This table knows the outcome: reason, status." in heading
    assert "would not go live" in look.lines[3]
    assert "times the average" not in page[: page.index("<main>")]


def test_a_column_far_above_all_others_is_named():
    """It may be known in time, so it stays."""
    frame = customers()
    random = np.random.default_rng(3)
    is_churn = frame["churned"] == "yes"
    later = np.where(is_churn, 0.0, 2.2) + random.normal(0, 0.8, len(frame))
    look = try_table(frame.assign(later=later), **QUICK)

    assert not look.leaks
    assert "none found; but later alone ranks at 0.9" in look.lines[2]


def test_a_wrong_value_is_refused_with_its_row():
    """In one line, with what to do."""
    for column, row, value, problem in (
        ("visits", 7, "many", "'many' is not a number, but most of the column is"),
        ("customer", 1_200, "c148", "'c148' has another row at 2025-08"),
        ("churned", 12, None, "'' is missing, but later rows have a label"),
    ):
        frame = customers()
        frame[column] = frame[column].astype(object)
        frame.loc[row - 1, column] = value
        error = refused(frame)

        assert error.problem == f"column {column}, row {row}: {problem}"
        assert error.hint


def without_outcome(since: str) -> pd.DataFrame:
    """The customers, none of whom churns from a month on."""
    frame = customers()
    return frame.assign(churned=frame["churned"].mask(frame["month"] >= since, "no"))


@pytest.mark.parametrize(
    ("frame", "changed", "problem"),
    [
        (customers(), {"time": "date"}, "there is no column 'date'"),
        (customers(), {"outcome": "gone"}, "no row of churned is 'gone'"),
        (customers(), {"horizon_days": 400}, "churned is known too late: 400 days"),
        (customers().assign(churned="no"), {}, "churned has only the value 'no'"),
        (without_outcome("2025-02"), {}, "not enough data: 0 of the "),
        (
            without_outcome("2025-08"),
            {},
            "76.3% of the older ones: it is not known yet",
        ),
        (customers().query("month > '2025-06'"), {}, "column month has only 2 values"),
        # It named snapshots, by dates that no page shows.
        (customers(2), {"time": None}, "all rows are of 2 users"),
    ],
)
def test_a_table_that_cannot_be_tried_is_refused_with_what_to_do(
    frame, changed, problem
):
    error = refused(frame, **changed)

    assert problem in error.problem
    assert error.hint


def ending() -> pd.DataFrame:
    """Customers with contracts, most of whom churn when these end."""
    frame = customers()
    random = np.random.default_rng(4)
    month = pd.to_datetime(frame["month"], format="%Y-%m")
    days = random.integers(0, 400, len(frame))
    ends = month + pd.to_timedelta(days, "D")
    is_soon = (days < 60) & (random.random(len(frame)) < 0.8)
    churned = np.where(is_soon, "yes", frame["churned"])
    return frame.assign(contract_end=ends.dt.date, churned=churned)


def test_dates_that_are_known_in_advance_are_features():
    """They are left out unless somebody says so, and the line says how."""
    left_out = try_table(ending(), **QUICK)
    look = try_table(ending(), **QUICK, plans=["contract_end"])
    first = look.table.rows["contract_end"].to_pylist()

    assert "add --plans contract_end" in left_out.lines[2]
    assert look.kinds["contract_end"] == "date"
    assert look.leaks == {}
    assert min(first) >= 0
    assert look.card.metrics.roc_auc > left_out.card.metrics.roc_auc + 0.05


def test_several_times_can_be_the_test_set():
    look = try_table(customers(), **QUICK, test_times=3)
    tested = look.trained.parts.holdout.rows["as_of"].to_pylist()

    assert len({*tested}) == 3
    assert "tested on 2025-06 to 2025-08, 450 rows" in look.lines[0]
    assert "--test-times 7 leaves too few" in refused(customers(), test_times=7).problem


def of_leads(seed: int, rows: int = 304) -> pd.DataFrame:
    """Leads of which a few columns tell a little."""
    random = np.random.default_rng(seed)
    calls = random.poisson(3, rows)
    is_won = random.random(rows) < 1 / (1 + np.exp(1.6 - 0.25 * calls))
    return pd.DataFrame(
        {
            "month": np.sort(np.resize(MONTHS, rows)),
            "calls": calls,
            "size": random.gamma(2, 30, rows).round(1),
            "won": np.where(is_won, "yes", "no"),
        }
    )


def test_few_rows_that_seem_to_tell_something_are_no_third_of_a_verdict():
    """Defect: "tells not one row from another", beside an interval above 0."""
    names = {"time": "month", "label": "won", "candidates": QUICK["candidates"]}
    codes = set()
    for seed, rows in ((1, 304), (5, 304), (5, 1_600)):
        look = try_table(of_leads(seed, rows), **names)
        model = look.lines[3].removeprefix("Model    ")
        more = look.ranking.more
        if not look.ranking.is_too_few:
            codes.add("nothing" if look.tells_nothing else "known")
            assert look.ranking.is_known or more.low <= 0
            assert "too few rows" not in model
            continue
        codes.add("too few")
        assert 0.001 < look.ranking.chance <= 0.026
        assert model.startswith("too few rows to say: the model seems to rank (ROC AUC")
        assert f"({more.low:+.3f} to {more.high:+.3f})" in model
        assert "Too few rows to say which rows" in look.page()
        assert "times the average" not in repr(look)
        assert not look.who
        assert look.ranking.times_rows > 1

    assert codes == {"nothing", "too few", "known"}


def test_a_level_that_has_shifted_is_said_first():
    """Of probabilities that are as far off nobody would know."""
    frame = customers()
    random = np.random.default_rng(1)
    is_newest = frame["month"] >= "2025-08"
    is_more = is_newest & (random.random(len(frame)) < 0.4)
    look = try_table(
        frame.assign(churned=frame["churned"].mask(is_more, "yes")), **NAMES
    )

    assert look.lines[0].startswith("Level    the test set has another level")
    assert "23.7% expected, 46.7% actual" in look.lines[0]
    assert len(look.lines) == 6
