"""
A first look at a table, specified: types, leaks, splits by time, and what it refuses.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from propensity import try_table
from propensity.errors import PropensityError
from propensity.first_look import columns

MONTHS = [f"2025-{month:02}" for month in range(1, 9)]
NAMES = {"user": "customer", "time": "month", "label": "churned"}


def customers(rows: int = 150) -> pd.DataFrame:
    """Customers of eight months; who pays few visits, or is new, churns more often."""
    random = np.random.default_rng(0)
    count = rows * len(MONTHS)
    visits = random.poisson(4, count)
    plan = random.choice(["basic", "plus"], count)
    tenure = random.integers(9, 900, count)
    odds = 3.5 - visits - tenure / 200 + (plan == "basic")
    churned = random.random(count) < 1 / (1 + np.exp(-odds))
    days = pd.to_datetime(np.repeat(MONTHS, rows), format="%Y-%m")
    return pd.DataFrame(
        {
            "customer": [f"c{n % rows}" for n in range(count)],
            "month": np.repeat(MONTHS, rows),
            "visits": visits,
            "plan": plan,
            "since": (days - pd.to_timedelta(tenure, "D")).date,
            "postcode": [f"0{n}" for n in random.integers(100, 150, count)],
            "note": [f"note {n}" for n in range(count)],
            "country": "NL",
            "churned": np.where(churned, "yes", "no"),
        }
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


def test_each_column_has_a_type_or_a_reason_why_it_is_none(look):
    assert look.kinds == {
        "visits": "number",
        "plan": "category",
        "since": "date",
        "postcode": "category",
    }
    assert look.left_out == {
        "note": "text with 1,200 values",
        "country": "empty, or the same in every row",
    }
    assert look.leaks == {}


def test_the_newest_month_tests_a_model_of_older_ones(look):
    """By the code of every training: candidates, baseline and report."""
    parts = look.trained.parts
    held = set(parts.holdout.rows["as_of"].to_pylist())

    assert {str(day) for day in held} == {"2025-08-01"}
    assert max(parts.fitting.rows["as_of"].to_pylist()) < min(held)
    assert len(look.trained.judged) >= 3
    assert "tested on 2025-08, 150 rows" in look.lines[0]
    assert "ranks the test set better than visits alone" in look.lines[3]
    assert "Test set:" in look.page()
    assert "2025-08" in look.page()


def test_neither_order_nor_names_nor_an_index_change_anything(look):
    """The user and the time may be the index of a data frame, and columns have names
    that a training uses itself."""
    names = {"visits": "weight", "plan": "label", "postcode": "weight_"}
    shuffled = customers().sample(frac=1, random_state=1).rename(columns=names)
    other = try_table(shuffled.set_index(["customer", "month"]), **NAMES)

    assert other.card["metrics"] == look.card["metrics"]
    assert [*other.kinds.values()] == [*look.kinds.values()]


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (["Feb", "June", "Sept", "dec"], [2, 6, 9, 12]),
        (["2025-01", "2024-12"], ["2025-01-01", "2024-12-01"]),
        (
            ["2025-02-01 00:00:00+02:00", "2025-01-31T23:59:59.5Z", "2025-02-01"],
            ["2025-02-01", "2025-01-31 23:59:59.5", "2025-02-01"],
        ),
        ([pd.Timestamp("2025-04-01", tz="Europe/Berlin")], ["2025-04-01"]),
        (["31.01.2025", "01.02.2025"], ["2025-01-31", "2025-02-01"]),
        (["2025-Q4", "2026 Q1"], [202504, 202601]),
        ([20250131, 20250201], [20250131, 20250201]),
        (["12", "7"], [12, 7]),
    ],
    ids=str,
)
def test_times_are_read_as_people_write_them(values, order):
    read = columns.times_of(pd.Series(values))

    if isinstance(order[0], str):
        order = [pd.Timestamp(one, tz="UTC") for one in order]
    assert read.tolist() == order


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, None, 3], "number"),
        (["1", "NA", "2.5"], "number"),
        (["01234", "98765"], "category"),
        (["NA", "DE", None], "category"),
        (["2024-01-01", None, "2024-02-01"], "date"),
        ([None, None], None),
        ([7, 7], None),
        ([1, 2, 3, 4], None),
        ([["a"], ["b"]], "category"),
    ],
    ids=str,
)
def test_the_type_of_a_column_is_that_of_its_values(values, kind):
    """Numbers in texts are numbers, unless they begin with a zero; a date becomes the
    days since it; what is empty, constant or counts the rows is no feature."""
    times = pd.Series(pd.to_datetime(["2025-01-01"] * len(values), utc=True))
    feature = columns.feature_of(pd.Series(values), times)

    assert feature.kind == kind


def test_a_date_that_stands_for_never_is_after_times_of_any_precision():
    """Nanoseconds do not reach the year 9999."""
    written = pd.Series(pd.to_datetime(["2025-01-01"] * 2)).dt.as_unit("ns")
    times = columns.times_of(written)
    feature = columns.feature_of(pd.Series(["9999-12-31", None]), times)

    assert feature.leak == "holds days after the row's time, first in row 1"


@pytest.mark.parametrize(
    ("column", "row", "value", "problem"),
    [
        ("visits", 7, "many", "'many' is not a number, but most of the column is"),
        ("visits", 9, "1,200", "'1,200' is not a number, but most of the column is"),
        ("visits", 8, np.inf, "'inf' is infinite"),
        ("month", 5, "soon", "'soon' is not a time"),
        ("customer", 2, "", "'' is not a user"),
        ("customer", 1_200, "c148", "'c148' has another row at 2025-08"),
        ("churned", 11, "Maybe", "'Maybe' is neither 1 nor 0"),
        ("churned", 12, None, "'' is missing, but later rows have a label"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_its_column_and_row(column, row, value, problem):
    """In one line, with what to do."""
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


def known_of_one_class() -> pd.DataFrame:
    """The customers; nobody churned before a month of which a label is missing."""
    frame = customers()
    churned = frame["churned"].where(frame["month"] == "2025-08", "no")
    return frame.assign(churned=churned.mask(frame.index == 1_199))


@pytest.mark.parametrize(
    ("frame", "changed", "problem"),
    [
        (customers(), {"time": "date"}, "there is no column 'date'"),
        (customers(), {"outcome": "gone"}, "churned is no, yes from row 1 to the last"),
        (customers(), {"label": "country"}, "row 1: 'NL' is neither 1 nor 0"),
        (customers(), {"horizon_days": 400}, "churned is known too late: 400 days"),
        (customers().assign(month=7), {"horizon_days": 9, "user": None}, "has '7'"),
        (customers().assign(churned="no"), {}, "churned is no from row 1 to the last"),
        (customers().iloc[:0], {}, "churned is empty from row 1"),
        (without_outcome("2025-02"), {}, "not enough data: 0 of the "),
        (
            without_outcome("2025-08"),
            {},
            "76.3% of the older ones: it is not known yet",
        ),
        (known_of_one_class(), {}, "not enough data: 0 of the 750 rows to train on"),
        (customers().query("month > '2025-06'"), {}, "column month has 2 times"),
        (customers(2), {}, "not enough data: "),
    ],
)
def test_a_table_that_cannot_be_tried_is_refused_with_what_to_do(
    frame, changed, problem
):
    error = refused(frame, **changed)

    assert problem in error.problem
    assert error.hint


def test_rows_whose_label_is_not_known_yet_are_left_out_with_all_later_ones():
    """Who churns is known at once, and who stays only at the month's end."""
    frame = customers()
    is_newest = (frame["month"] == "2025-08") & (frame["churned"] == "no")
    look = try_table(frame.assign(churned=frame["churned"].mask(is_newest)), **NAMES)

    assert "tested on 2025-07, 150 rows; 150 rows have no churned yet" in look.lines[0]


def leaky() -> pd.DataFrame:
    """The customers, with columns that were written after the outcome."""
    frame = customers()
    random = np.random.default_rng(1)
    is_churn = frame["churned"] == "yes"
    half = is_churn & (random.random(len(frame)) < 0.5)
    month = pd.to_datetime(frame["month"], format="%Y-%m")
    return frame.assign(
        cancelled=(month + pd.Timedelta(days=45)).where(half).dt.date,
        reason=pd.Series("price", index=frame.index).where(half),
        refund=np.where(half, random.random(len(frame)), 0.0),
        status=np.where(is_churn, "gone", "there"),
        survey=pd.Series(random.random(len(frame))).mask(frame["month"] > "2025-07"),
    )


def test_columns_that_know_the_outcome_are_named_as_likely_leaks():
    """A date after the row's time; a value that only those with the outcome have; a
    column that decides the label; one that is filled in later."""
    look = try_table(leaky(), **NAMES)

    assert set(look.leaks) == {"cancelled", "reason", "refund", "status", "survey"}
    assert "cancelled" in look.left_out
    assert "first in row" in look.leaks["cancelled"]
    assert "LIKELY LEAK: status alone ranks at ROC AUC 1.000" in look.page()


def test_columns_can_be_left_out_and_numbers_be_names():
    look = try_table(
        leaky(),
        **NAMES,
        without=["cancelled", "reason", "refund", "status", "survey"],
        categories=["visits"],
    )

    assert look.leaks == {}
    assert look.kinds["visits"] == "category"
    assert look.card["baseline"]["name"] == "visits (rate) alone"


def test_a_table_without_users_whose_times_are_seconds_is_put_into_blocks():
    """Rows of one time stay together; the block of the newest rows is the test."""
    frame = customers().drop(columns=["customer", "month", "since"])
    frame["seconds"] = np.arange(len(frame)) // 2
    look = try_table(frame, time="seconds", label="churned")

    assert "tested on 540 to 599, 120 rows" in look.lines[0]


def test_a_rare_outcome_without_natural_steps_leaves_enough_of_it_to_each_part():
    """In ten blocks of equal size one would have too few."""
    random, seconds = np.random.default_rng(0), np.arange(3_000)
    frame = pd.DataFrame({"second": seconds, "amount": random.random(3_000)})
    is_rare = np.isin(seconds, [*range(0, 1_000, 40), 1_500, 1_600, 2_950])
    look = try_table(frame.assign(fraud=is_rare), time="second", label="fraud")

    assert look.card["metrics"]["users"] > 100
