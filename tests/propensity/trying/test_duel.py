"""try --against: the model's list beside the one that somebody makes today."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from commands.cli import main
from propensity.errors import RequestError
from propensity.learning.rows import Slice
from propensity.table_files.column import Feature
from propensity.trying.duel import (
    Duel,
    Rule,
    TodaysList,
    compare_lists,
    compare_look,
    read_todays_list,
)
from propensity.trying.first_look.reading import ReadTable, read_table
from propensity.trying.first_look.table import look_at_table
from tests.docs.pages import blocks
from tests.propensity.trying.first_look.tables import NAMES, QUICK, customers, leaky

USERS = 400
DATES = np.array(["2026-01-05", "2026-01-12", "2026-01-19"], "datetime64[D]")


def drawn_duel(seed: int, *, better: float, users: int = USERS) -> tuple[Duel, float]:
    """
    Draw a duel of users who do the same on each date, and how many more are expected.

    Args:
        better: How much less noise the model's list has than today's.
    """
    random = np.random.default_rng(seed)
    odds = random.normal(-1.5, 1, users)
    probability = 1 / (1 + np.exp(-odds))
    score = odds + random.normal(0, 1.5 - better, users)
    todays = odds + random.normal(0, 1.5, users)
    bought = random.random(users) < probability
    rows = pa.table(
        {
            "as_of": pa.array(np.repeat(DATES, users)),
            "user_id": [f"u{n}" for n in range(users)] * len(DATES),
            "label": pa.array(np.tile(bought, len(DATES)).astype("int8")),
            "weight": np.ones(users * len(DATES)),
            "todays": np.tile(todays, len(DATES)),
        }
    )
    edge = float(np.quantile(todays, 0.8))
    number = Feature(kind="number")
    rule = Rule(column="todays", name="todays", feature=number, sign=">", value=edge)
    scores = np.tile(score, len(DATES))
    paid = 10.0 * np.tile(bought, len(DATES))
    duel = compare_lists(Slice(rows=rows), scores, rule, outcome="bought", amounts=paid)
    is_best = np.zeros(users, bool)
    is_best[np.argsort(-score, kind="stable")[: users // 5]] = True
    expected = probability[is_best].sum() - probability[todays > edge].sum()
    return duel, len(DATES) * expected


def test_of_two_equally_good_lists_hardly_any_is_called_better():
    """400 duels: at 5% there are 20, and 28 in one of twenty times. A user of three
    dates is one draw: by rows, 100 of them would be decided."""
    duels = [drawn_duel(seed, better=0)[0] for seed in range(400)]

    decided = [duel for duel in duels if duel.more.is_above() or duel.more.is_below()]
    assert len(decided) <= 28
    assert {duel.listed for duel in duels} == {3 * USERS // 5}


def test_the_interval_of_a_better_list_has_the_true_difference():
    duels = [drawn_duel(seed, better=1.2) for seed in range(400)]

    held = [duel.more.low <= true <= duel.more.high for duel, true in duels]
    assert sum(held) >= 372
    assert sum(duel.more.is_above() for duel, _ in duels) > 200


@pytest.fixture(scope="module")
def look():
    """A table with a column whose name has blanks and a sign, and decimal commas."""
    table = customers()
    commas = [f"{n},5" for n in table["visits"]]
    table["spent < net"] = pd.Series(commas, dtype="object")
    table["spent"] = 1
    return look_at_table(read_table(table, **QUICK))


def todays_list(text: str, table: ReadTable) -> TodaysList:
    return read_todays_list(
        text, table.features, table.columns, user=table.user, time=table.time
    )


def listed_by(look, text: str) -> pd.DataFrame:
    """Return the tested rows of a list, with the columns of the table."""
    todays = todays_list(text, look.table)
    rows, _, _ = look.trained.judged_forward()
    listed = rows.where(todays.is_listed(rows)).rows.to_pandas()
    months = listed["as_of"].astype("str").str[:7]
    keys = pd.DataFrame({"customer": listed["user_id"], "month": months})
    return keys.merge(customers(), on=["customer", "month"], validate="one_to_one")


@pytest.mark.parametrize(
    ("text", "is_listed"),
    [
        ("visits < 3", lambda rows: rows["visits"] < 3),
        ("visits<=3", lambda rows: rows["visits"] <= 3),
        ("visits = 2", lambda rows: rows["visits"] == 2),
        ("spent < net < 2,5", lambda rows: rows["visits"] < 2),
        ("postcode = 0101", lambda rows: rows["postcode"] == "0101"),
        ("since >= 2025-03-01", lambda rows: rows["since"].astype("str") >= "2025-03"),
    ],
)
def test_a_rule_lists_who_is_so_on_the_rows_own_date(look, text, is_listed):
    """By the longest column that begins it, and values as the column has them."""
    rows, _, _ = look.trained.judged_forward()
    months = set(rows.rows["as_of"].cast(pa.string()).to_pylist())
    tested = customers()[lambda all_rows: (all_rows["month"] + "-01").isin(months)]

    listed = listed_by(look, text)

    assert len(listed) == is_listed(tested).sum() > 0
    assert is_listed(listed).all()


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("visit < 3", "there is no column 'visit'. Did you mean 'visits'?"),
        ("visits", "'visits' is neither a file nor a rule. Quote a rule"),
        ("visits < many", "'many' is no value of visits"),
        ("since < soon", "'soon' is no value of since"),
        ("plan < basic", "plan has names of something, which have no order"),
        ("note = note 1", "note is no feature: text with 1,200 values"),
        ("visits < 0", "nobody of the tested rows is on your list"),
        ("visits < 99", "100% of the tested rows are on your list"),
        ("undated.csv", "undated.csv has no day for each row: a list that was made"),
    ],
)
def test_a_list_that_can_not_be_compared_is_refused(
    look, rule, problem, tmp_path, monkeypatch
):
    """A file without days also where it has who churned: it knows the future."""
    monkeypatch.chdir(tmp_path)
    churned = customers()[lambda rows: rows["churned"] == "yes"]
    churned[["customer"]].to_csv("undated.csv", index=False)

    with pytest.raises(RequestError) as refused:
        compare_look(look, todays_list(rule, look.table))

    told = f"{refused.value.problem}. {refused.value.hint}"
    assert problem in told


def test_a_column_that_may_know_the_outcome_is_no_list(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leaky().to_csv("leaky.csv", index=False)
    options = [f"--{name}={column}" for name, column in NAMES.items()]

    assert main(["try", "leaky.csv", *options, "--against=status = gone"]) == 1
    assert "may know the outcome" in capsys.readouterr().err


def test_dated_lists_count_on_the_next_tested_date(look, tmp_path, monkeypatch):
    """The newest before it; a list that is newer than the last test counts nowhere."""
    monkeypatch.chdir(tmp_path)
    rows = [
        ("c1", "2025-07-10"),
        ("c2", "2025-07-20"),
        ("c3", "2025-07-20"),
        ("c4", "2025-08-02"),
    ]
    pd.DataFrame(rows, columns=["customer", "day"]).to_csv("lists.csv", index=False)

    listed = listed_by(look, "lists.csv")

    assert [*zip(listed["customer"], listed["month"], strict=True)] == [
        ("c2", "2025-08"),
        ("c3", "2025-08"),
    ]


def test_a_duel_is_told_in_a_sentence_and_drawn_in_the_report(
    capsys, tmp_path, monkeypatch
):
    """With what it does not say."""
    monkeypatch.chdir(tmp_path)
    customers().to_csv("churn.csv", index=False)
    options = [f"--{name}={column}" for name, column in NAMES.items()]

    assert main(["try", "churn.csv", *options, "--against=visits < 3"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    page = (tmp_path / "try-churn.csv.html").read_text()

    [printed] = blocks("docs/first-look.md", "text")[1:]
    assert told.startswith(printed.strip())
    assert "only a control group tells" in told
    assert "Both lists have 77" in page
    assert "only today" in page
