"""
The list of a first look, specified: whom it has, by which model, and what it refuses.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from propensity import try_table
from propensity.errors import SchemaError
from propensity.trying.first_look.reading import read_table
from propensity.trying.first_look.scores import RowsToScore
from propensity.usecases import Candidate
from tests.propensity.trying.first_look.tables import (
    NAMES,
    NEWEST,
    QUICK,
    as_people_write,
    customers,
    leaky,
    still_open,
)


@pytest.fixture(scope="module")
def look():
    return try_table(as_people_write(still_open(customers())), **NAMES)


def test_the_list_has_everybody_whose_outcome_is_open(look):
    """By a calibrated model of all rows whose outcome is known: of the newest month too
    few are expected to churn, or too many, in one case of a thousand."""
    listed = look.scores()
    frame = customers()
    churned = frame[frame["month"] == NEWEST].set_index("customer")["churned"] == "yes"
    spread = np.sqrt((listed["probability"] * (1 - listed["probability"])).sum())

    assert "2025-07, 150 rows; 150 rows have no churned yet" in look.lines[0]
    assert [*listed.columns] == ["customer", "probability", "percentile", "reasons"]
    assert {*listed["customer"]} == {f"c{n}" for n in range(150)}
    assert listed["probability"].is_monotonic_decreasing
    assert listed["percentile"].iloc[[0, -1]].tolist() == [100, 1]
    assert abs(listed["probability"].sum() - churned.sum()) < 3.3 * spread
    assert churned[listed["customer"].head(15)].mean() > 2 * churned.mean()


def test_leaks_are_named_and_left_out_of_the_list():
    """A date after the row's time, a column that decides the label, and one that is
    filled once the outcome is known, which is empty in each row to score."""
    frame = still_open(leaky())
    random = np.random.default_rng(3)
    is_known = frame["churned"].notna()
    frame["call"] = pd.Series(random.choice(["short", "long"], len(frame)))
    for column in ("call", "reason", "status"):
        frame[column] = frame[column].where(is_known)
    look = try_table(frame, **QUICK)
    clean = look.without_leaks

    assert {*look.leaks} == {"cancelled", "reason", "status", "call"}
    assert "first in row" in look.leaks["cancelled"]
    assert look.leaks["call"].startswith("is filled in 100.0% of the rows with churned")
    assert {*look.leaks}.isdisjoint(clean.kinds)
    assert look.scores().equals(clean.scores())


def test_a_value_that_open_rows_have_as_well_is_no_leak():
    """Such as the number of orders, though those with most nearly all buy."""
    frame = customers(400)
    is_sure = (frame["churned"] == "yes") & (np.arange(len(frame)) % 5 == 0)
    known = np.where(is_sure, "gold", "none")
    frame = still_open(frame).assign(tier=known, note=known)
    frame["note"] = frame["note"].where(frame["churned"].notna(), "none")
    look = try_table(frame, **QUICK)

    assert set(look.leaks) == {"note"}
    assert 'note is "gold" in ' in look.lines[2]
    assert "left out" not in look.lines[2]


def test_rows_that_cannot_be_scored_are_refused():
    read = read_table(still_open(customers()), **NAMES)
    rows = customers().tail(2).reset_index(drop=True)
    for wrong, problem in (
        (rows.drop(columns="customer"), "lack the column 'customer'"),
        (rows.assign(visits=[1, "many"]), "column visits, row 2: 'many' is not a"),
        (rows.assign(since="2026-01-01"), "is after the row's time, 2025-08-01"),
        (rows.assign(customer="c1"), "row 2: 'c1' has another row at 2025-08"),
    ):
        with pytest.raises(SchemaError) as caught:
            RowsToScore.of(read, wrong)

        assert problem in caught.value.problem
        assert caught.value.hint


def test_a_row_says_what_moved_it_most(look):
    """Of a logistic regression exactly: with the usual row, all features add up to the
    log-odds. Of another model they are approximate, and say so."""
    other = look
    frame = still_open(customers())
    logistic = Candidate("lr", "LogisticRegression", {"C": 0.1})
    look = try_table(frame, **NAMES, candidates=[logistic])
    newest = frame[frame["month"] == NEWEST].reset_index(drop=True)
    found = look.reasons(newest)
    strongest = found.moved.abs().idxmax(axis=1)
    listed = look.scores(newest).set_index("customer")["reasons"]
    probability = look.scores(newest).set_index("customer")["probability"]

    assert found.is_exact
    assert np.allclose(found.usual + found.moved.sum(axis=1), found.total)
    assert np.allclose(probability[newest["customer"]], 1 / (1 + np.exp(-found.total)))
    assert listed["c7"].startswith(f"{strongest[7]} ")
    assert other.scores()["reasons"].str.startswith("about: ").all()
    assert listed.str.count(r"\(").max() == 3
