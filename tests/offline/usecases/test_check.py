"""
The check of a use case, specified: each mistake is found where it was made.

Every test makes one mistake in a use case that is right.
"""

from __future__ import annotations

import contextlib

import pytest

from offline.usecases import check
from propensity import usecases
from tests.offline.usecases.conftest import NAME


class TestCheck:
    def test_a_check_finds_nothing_in_a_new_use_case(self, folder, checked):
        """And checks all of it."""
        report = checked()

        assert (report.problems, report.skipped) == ([], "")

    @pytest.mark.parametrize(
        "name",
        [
            # Each of the shop's is the largest of its kind, and takes a quarter minute.
            pytest.param(name, marks=[pytest.mark.long] * name.startswith("ga4_"))
            for name in usecases.names()
        ],
    )
    def test_a_check_finds_nothing_in_those_that_come_along(self, name, sandbox):
        """Over made-up events where they are of the export."""
        report = check.check_use_case(name, lambda: contextlib.nullcontext(sandbox))

        assert report.problems == []
        assert bool(report.skipped) == (not usecases.load(name).reads_export)

    @pytest.mark.parametrize(
        "mistake",
        [
            ("features.sql", "SUM(d.add_to_carts)", "SUM(d.visits)",
             "features.sql:{line}: Name visits not found"),
            ("features.sql", "    FROM ga_user_days\n", "    FROM `ga.events_*`\n",
             "features.sql reads ga.events_*, which a deployment does not have"),
            ("features.sql", "CAST(IFNULL(MAX(t.revenue), 0) AS FLOAT64) AS revenue",
             "MAX(t.revenue) AS revenue",
             "features.sql returns revenue as NUMERIC; make it FLOAT64 or INT64"),
            ("labels.sql", "  user_id\n", "  user_id AS visitor\n",
             "labels.sql does not return the column user_id; add it"),
            ("usecase.toml", "\nC = 0.1", "\nc = 0.1",
             "usecase.toml: candidate logistic_regression cannot be fitted"),
        ],
    )  # fmt: skip
    def test_a_check_names_the_line_of_a_mistake(self, edit, checked, mistake):
        """Before anything is run."""
        file, old, new_, words = mistake
        line = edit(file, old, new_)
        problems = checked().problems

        assert any(words.format(line=line) in problem for problem in problems), problems
        assert all(problem.startswith(f"{NAME}/") for problem in problems)

    def test_a_check_says_the_first_row_that_google_has_otherwise(self, edit, checked):
        """Two STRUCTs of other names are the same there, and not on this machine."""
        same = "SUM(IF(STRUCT(1 AS a) = STRUCT(1 AS b), d.add_to_carts, 0))"
        edit("features.sql", "SUM(d.add_to_carts)", same)
        [problem] = checked().problems

        start = f"{NAME}/features.sql returns other rows in BigQuery than on this machi"
        assert problem.startswith(start)
        assert "user_id" in problem
        assert "Google (" in problem


def test_a_count_that_the_digest_lacks_is_answered_with_those_that_it_has():
    for error in ("Unrecognized name: n_shares", "Name d.n_view_item not found"):
        advice = check.advice(error)

        assert "n_view_items, n_add_to_carts" in advice
        assert "ga_conversions. Count other events from ga_events" in advice
    assert check.advice("Unrecognized name: named") == ""


class TestLeaks:
    def test_leaks_are_found(self, folder, edit, leaks):
        """Whatever the window of a statement is, an event at or after the day shows; an
        event after the horizon is no outcome, of labels or of amounts."""
        labels = (folder / "labels.sql").read_text()
        amount = "SELECT DISTINCT\n  CAST(1 AS NUMERIC) AS amount,"
        amounts = labels.replace("SELECT DISTINCT", amount)
        (folder / "converter_amounts.sql").write_text(amounts)
        edit("features.sql", "AND d.day < s.as_of", "AND d.day <= s.as_of")
        edit("labels.sql", "@horizon_days DAY", "@horizon_days + 1 DAY")
        edit("converter_amounts.sql", "@horizon_days DAY", "@horizon_days + 1 DAY")
        *features, labels, amounts = leaks()

        start = f"{NAME}/features.sql: events reads events from the prediction date on"
        assert any(problem.startswith(start) for problem in features), features
        late = "sees an event after its horizon; end before as_of plus @horizon_days"
        assert labels == f"{NAME}/labels.sql {late}"
        assert amounts == f"{NAME}/converter_amounts.sql {late}"

    def test_a_user_of_several_rows_is_named(self, edit, leaks):
        edit("labels.sql", "SELECT DISTINCT", "SELECT")
        [labels] = leaks()

        assert "labels.sql returns several rows for a user and date" in labels

    def test_keys_of_other_users_are_found(self, folder, edit, leaks):
        """A training would draw its rows from these, and lose some."""
        features = (folder / "features.sql").read_text()
        keys = "SELECT as_of, user_id, CAST([] AS ARRAY<STRING>) AS browsers\nFROM (\n"
        (folder / "keys.sql").write_text(f"{keys}{features.rstrip()}\n)\n")
        assert leaks() == []

        (folder / "keys.sql").write_text(f"{keys}{features.rstrip()}\n)\nLIMIT 3\n")
        [problem] = leaks()

        assert "keys.sql returns other users than features.sql" in problem
