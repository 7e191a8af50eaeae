"""The check of what a use case's statements give, specified: beyond their columns."""

from __future__ import annotations

import pytest

NOT_NULL = "  AND IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) IS NOT NULL"

# File, text, what stands there instead, and what is said of it.
MISTAKES = [
    ("labels.sql", NOT_NULL, "", "gives rows without a user"),
    (
        "labels.sql",
        "@first_label_suffix AND @last_label_suffix",
        "@first_suffix AND @last_suffix",
        "the label is another where a further as-of date is read",
    ),
    ("first_day.sql", "MIN(table_suffix)", "table_suffix", "rows instead of one"),
    ("first_day.sql", "MIN(", "MIN(NULL || ", "although there are events"),
    (
        "features.sql",
        "SUM(d.sessions) AS",
        "CAST('inf' AS FLOAT64) AS",
        "sessions is infinite",
    ),
    (
        "features.sql",
        "SUM(d.sessions) AS",
        "ARRAY_AGG(d.sessions) AS",
        "sessions is ARRAY",
    ),
]


class TestRows:
    @pytest.mark.parametrize(
        "mistake",
        [
            MISTAKES[0],
            *(
                pytest.param(mistake, marks=pytest.mark.long)
                for mistake in MISTAKES[1:]
            ),
        ],
    )
    def test_are_those_that_runs_read(self, edit, checked, mistake):
        """Of users, one day, finite numbers, and the same beside other dates."""
        file, old, new, message = mistake
        edit(file, old, new)
        problems = checked().problems

        assert [problem.file for problem in problems] == [file]
        assert message in problems[0].message

    @pytest.mark.long
    def test_of_users_without_features_are_a_warning(self, edit, checked):
        """Labels of other users than features: no conversion would be learned from."""
        edit("labels.sql", "e.user_pseudo_id) AS", "'of ' || e.user_pseudo_id) AS")
        report = checked()

        assert report.problems == []
        assert "no made-up user with label 1 has features" in str(report.warnings)
