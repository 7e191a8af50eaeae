"""The check of what a use case's statements give, specified: beyond their columns."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.runs

# File, text, what stands there instead, and what is said of it.
SESSIONS = "SUM(d.sessions) AS"
MISTAKES = [
    ("labels.sql", "  user_id\n", "  NULLIF(user_id, user_id) AS user_id\n",
     "gives rows without a user"),
    ("features.sql", SESSIONS, "SUM(d.events) / SUM(d.sessions) AS",
     "division by zero"),
    ("labels.sql", "@first_suffix AND @last_label_suffix",
     "@first_suffix AND @last_suffix",
     "the label is another where a further as-of date is read"),
    ("days.sql", "  day\n", "  day,\n  event_name\n", "more than once"),
    ("days.sql", "table_suffix)", "CAST(NULL AS STRING))",
     "although there are events"),
    ("features.sql", SESSIONS, "CAST('inf' AS FLOAT64) AS", "sessions is infinite"),
    ("features.sql", SESSIONS, "ARRAY_AGG(d.sessions) AS", "sessions is ARRAY"),
]  # fmt: skip


PRUNED = "table_suffix BETWEEN @first_suffix AND @last_suffix"
BEYOND = "reads daily tables that hold no event of its window"
# The same of a statement that is not bounded as it should be.
UNPRUNED = [
    ("features.sql", PRUNED, "table_suffix >= @first_suffix", BEYOND),
    ("features.sql", PRUNED, "table_suffix <= @last_suffix", BEYOND),
    ("features.sql", "AND @last_suffix", "AND @last_label_suffix", BEYOND),
]
# And of features that others change.
CHANGED = "is another for a user because of what others do"
ACTIVE = "COUNT(*) AS active_days"
OF_ALL = "OVER (PARTITION BY as_of)"
RANK = "PERCENT_RANK() OVER (PARTITION BY as_of ORDER BY SUM(d.events))"
SHARED = [
    ("features.sql", ACTIVE, f"COUNT(*) / MAX(COUNT(*)) {OF_ALL} {ACTIVE[9:]}",
     CHANGED),
    ("features.sql", ACTIVE, f"{RANK} {ACTIVE[9:]}", CHANGED),
    ("features.sql", "/ 86400e6 AS recency_days",
     f"/ MAX(UNIX_MICROS(TIMESTAMP(as_of)) - MAX(d.last_event)) {OF_ALL} "
     "AS recency_days", CHANGED),
]  # fmt: skip


class TestRows:
    @pytest.mark.parametrize(
        "mistake",
        [
            *MISTAKES[:2],
            SHARED[0],
            *(
                pytest.param(mistake, marks=pytest.mark.long)
                for mistake in MISTAKES[2:] + UNPRUNED + SHARED[1:]
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
        edit("labels.sql", "  user_id\n", "  CONCAT('of ', user_id) AS user_id\n")
        report = checked()

        assert report.problems == []
        assert "no made-up user with label 1 has features" in str(report.warnings)

    @pytest.mark.long
    def test_of_some_events_alone_are_a_warning(self, edit, checked):
        """A cohort of buyers leaves everybody else without a probability."""
        edit("features.sql", PRUNED, f"event_name = 'purchase' AND {PRUNED}")
        report = checked()

        [warning] = [
            warning for warning in report.warnings if "have a row" in warning.message
        ]
        assert warning.message.startswith("only users with purchase have a row")

    @pytest.mark.long
    def test_may_have_a_number_that_is_none(self, edit, checked):
        """A NaN is missing, as a null is, and the same in every run."""
        edit("features.sql", ACTIVE, f"CAST('nan' AS FLOAT64) {ACTIVE[9:]}")

        assert checked().problems == []

    @pytest.mark.parametrize(
        ("column", "has_zeros"),
        [("as_of < @today", True), ("1", False)],
    )
    @pytest.mark.long
    def test_of_labels_are_of_label_1(self, edit, checked, column, has_zeros):
        """Everybody with a column of zeros and ones would be everybody with label 1."""
        line = edit(
            "labels.sql",
            "\n  as_of,\n  user_id",
            f"\n  as_of,\n  CAST({column} AS INT64) AS label,\n  user_id",
        )
        found = [
            (problem.file, problem.line)
            for problem in checked().problems
            if "rows with label 0" in problem.message
        ]

        assert found == [("labels.sql", line - 1)] * has_zeros
