"""
The check of a use case, specified: each mistake is found where it was made.

Every test makes one mistake in a use case that is right.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from local.sandbox import opened
from offline.usecases import check
from propensity import usecases
from propensity.errors import RequestError
from tests.offline.usecases.conftest import NAME

pytestmark = pytest.mark.runs

# What those who sign up within the horizon paid by it: one row for each of them.
AMOUNTS = """\
-- One row per user with label 1 and as-of date, with what the user paid.
-- Parameters: those of labels.sql.
-- Source: view ga_events.
SELECT
  as_of,
  user_id,
  SUM(paid) AS amount
FROM
  (
    SELECT
      as_of,
      IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) AS user_id,
      e.event_timestamp,
      e.event_value_in_usd AS paid
    FROM
      UNNEST(@as_ofs) AS as_of
    INNER JOIN
      ga_events AS e
      ON
        e.event_time >= TIMESTAMP(as_of)
        AND e.event_time < TIMESTAMP(DATE_ADD(as_of, INTERVAL @horizon_days DAY))
    WHERE
      e.table_suffix BETWEEN @first_label_suffix AND @last_label_suffix
      AND e.event_name = @converting_event
      AND IF(@user_column = 'user_id', e.user_id, e.user_pseudo_id) IS NOT NULL
  ) AS events
GROUP BY
  as_of,
  user_id
"""

# Scores of the stream, of a use case without features that change.
SERVED = """\
-- One row per user: the features now, and until when the user is scored.
-- Parameters: @user_ids ARRAY<STRING>.
SELECT
  user_id,
  {features},
  CURRENT_TIMESTAMP() AS scored_until
FROM
  UNNEST(@user_ids) AS user_id
"""


@pytest.fixture
def with_amounts(folder) -> Path:
    """Give the use case amounts; return their statement."""
    file = folder / "converter_amounts.sql"
    file.write_text(AMOUNTS)
    return file


def _slowly(*mistake: str) -> object:
    """Mark a mistake that is found in rows; another one of these stays quick."""
    return pytest.param(mistake, marks=pytest.mark.long)


class TestCheck:
    def test_finds_nothing_in_a_new_use_case(
        self, folder, checked, sandbox, monkeypatch
    ):
        """It says what it looked at, and warns of nothing. The view's columns are the
        same for all statements, and asked for once."""
        statements = []
        types = type(sandbox.warehouse).column_types

        def counted(self, sql, parameters=None):
            statements.append(sql)
            return types(self, sql, parameters)

        monkeypatch.setattr(type(sandbox.warehouse), "column_types", counted)
        report = checked()

        assert statements.count("SELECT * FROM ga_events") == 1
        assert (report.problems, report.warnings) == ([], [])
        assert len(report.passed) == 8
        assert str(report).endswith(f"{NAME}: nothing is wrong")

    def test_says_what_bigquery_refuses_and_the_emulator_takes(self, edit, checked):
        """By Google's own analyzer, with the line of the file that it stands in."""
        line = edit(
            "labels.sql",
            "AND event_name = @converting_event",
            "AND event_name = @converting_event AND event_time >= DATE '2020-01-01'",
        )
        [problem] = checked().problems

        assert (problem.file, problem.line) == ("labels.sql", line)
        assert "operator >= for argument types: TIMESTAMP, DATE" in problem.message

    @pytest.mark.long
    def test_takes_values_of_the_export_that_are_named(self, edit, checked):
        """A parameter and a property are columns for the statements."""
        edit("usecase.toml", "# search_term", "search_term")
        edit("usecase.toml", "# plan", "plan")
        edit(
            "features.sql",
            "          country,\n",
            "          CONCAT(param_search_term, property_plan) AS country,\n",
        )

        assert checked().problems == []

    @pytest.mark.long
    def test_finds_every_leak_at_once(self, edit, checked):
        """Each at its line: of the future, of the past, of other dates, and a label's
        beyond its horizon."""
        edit("features.sql", "d.day < as_of", "d.day <= as_of")
        edit("features.sql", "INTERVAL @lookback_days DAY", "INTERVAL 99 DAY")
        dates = edit(
            "features.sql",
            "COUNT(*) AS active_days",
            "ARRAY_LENGTH(@as_ofs) AS active_days",
        )
        label = edit("labels.sql", "@horizon_days DAY", "@horizon_days + 1 DAY")
        lines = (usecases.FOLDER / NAME / "features.sql").read_text().splitlines()
        recency = lines.index(next(line for line in lines if "AS recency_days" in line))
        problems = {
            (problem.file, problem.line, kind)
            for problem in checked().problems
            for kind in ("at or after", "before its lookback", "further", "horizon")
            if kind in problem.message
        }

        assert {
            ("features.sql", recency + 1, "at or after"),
            ("features.sql", dates, "further"),
            ("labels.sql", label, "horizon"),
        } <= problems
        assert "before its lookback" in {kind for _, _, kind in problems}

    @pytest.mark.long
    def test_finds_a_feature_of_days_of_another_time(self, edit, checked):
        """Days of the property's own time are not those of UTC: it sees the future."""
        day = "TIMESTAMP(PARSE_DATE('%Y%m%d', table_suffix)) AS event_time"
        edit("features.sql", "          event_time,\n", f"          {day},\n")
        leaks = [
            (problem.file, problem.message.partition(" ")[0])
            for problem in checked().problems
            if "at or after" in problem.message
        ]

        assert ("features.sql", "recency_days") in leaks
        assert {file for file, _ in leaks} == {"features.sql"}

    @pytest.mark.long
    def test_finds_one_feature_alone_that_sees_the_future(self, edit, checked):
        """The others are not blamed."""
        line = edit(
            "features.sql",
            "COUNT(*) AS active_days",
            "(SELECT COUNT(*) FROM user_days AS x WHERE x.user_id = d.user_id) "
            "AS active_days",
        )
        places = {
            (problem.file, problem.line)
            for problem in checked().problems
            if "at or after" in problem.message
        }

        assert places == {("features.sql", line)}

    @pytest.mark.parametrize(
        "mistake",
        [
            ("features.sql", "SUM(d.sessions) AS", "SUM(d.visits) AS", "visits"),
            ("features.sql", "SUM(d.sessions) AS", "SUM(d.sessions AS", "is no SQL"),
            ("features.sql", "= @converting_event", "= @label", "gives @label"),
            ("features.sql", "          ga_events\n", "          `p.ga.events_*`\n",
             "only ga_events"),
            ("features.sql", "CAST(IFNULL(MAX(t.revenue), 0) AS FLOAT64) AS revenue",
             "MAX(t.revenue) AS revenue", "NUMERIC, which a model does not read"),
            _slowly("features.sql", "SUM(d.sessions) AS sessions",
             "CAST(SUM(d.sessions) AS STRING) AS sessions", "says a number"),
            ("features.sql", "  as_of,\n  d.user_id\n", "  as_of,\n  d.user_id;\n",
             "semicolon"),
            ("labels.sql", "FROM\n", "FROM\n-- include: nothing.sql\n",
             "there is no nothing.sql"),
            ("usecase.toml", '"LogisticRegression"', '"LogisticRegresion"',
             "unknown algorithm"),
            ("usecase.toml", "\nC = 0.1", "\nc = 0.1", "Invalid parameter 'c'"),
            ("usecase.toml", "\nC = 0.1", "\nC = -1", "'C' parameter"),
            ("usecase.toml", 'country = "category"', 'country = "text"',
             "a number or a category"),
            _slowly("usecase.toml", 'country = "category"', 'city = "category"',
             "gives no column city"),
            ("usecase.toml", "# plan", '"pl-an"', "can be no name"),
        ],
    )  # fmt: skip
    def test_finds_a_mistake_at_its_line(self, edit, checked, mistake):
        """Before anything is run where the files say it, else by running them."""
        file, old, new_, words = mistake
        line = edit(file, old, new_) - new_.endswith("\n")
        problems = checked().problems

        assert any(
            words in problem.message and (problem.file, problem.line) == (file, line)
            for problem in problems
        ), (problems, line)

    @pytest.mark.parametrize(
        ("old", "new_", "words"),
        [
            ("SELECT DISTINCT", "SELECT", "more than one row of an as-of date"),
            pytest.param(
                *("  user_id\n", "  user_id AS visitor\n", "gives no column user_id"),
                marks=pytest.mark.long,
            ),
            pytest.param(
                *(
                    "\n  as_of,\n  user_id",
                    "\n  CAST(as_of AS STRING) AS as_of,\n  user_id",
                    "instead of DATE",
                ),
                marks=pytest.mark.long,
            ),
        ],
    )
    def test_finds_labels_of_another_shape(self, edit, checked, old, new_, words):
        """Each user once by as-of date, in columns of their names."""
        edit("labels.sql", old, new_)

        assert {
            (problem.file, words in problem.message) for problem in checked().problems
        } == {("labels.sql", True)}

    def test_finds_a_label_that_sees_what_was_before(self, edit, checked):
        """Whoever had the outcome before the as-of date is a row of label 0."""
        line = edit(
            "labels.sql",
            "      as_of AS since,",
            "      DATE_SUB(as_of, INTERVAL 1 DAY) AS since,",
        )

        [problem] = checked().problems
        assert problem.message == "the label sees an event before its as-of date"
        # Where the window is bounded, on both sides.
        assert (problem.file, problem.line) == ("labels.sql", line + 1)

    @pytest.mark.parametrize("name", usecases.STATEMENTS)
    def test_finds_a_statement_that_is_missing(self, folder, checked, name):
        """By the file that is not there; nothing is run."""
        (folder / f"{name}.sql").unlink()
        report = checked()

        assert [problem.file for problem in report.problems] == [f"{name}.sql"]
        assert report.skipped

    def test_finds_what_is_wrong_with_a_model(self, folder, monkeypatch):
        """The line of model.py that failed."""
        (folder / "model.py").write_text(
            "\n\ndef preprocessor(use_case):\n  return 1\n"
        )
        monkeypatch.syspath_prepend(str(folder))
        import model

        monkeypatch.setattr(usecases.UseCase, "model", model)
        [problem] = check.declared(NAME).problems

        assert problem.file == "model.py"
        assert "ColumnTransformer" in problem.message

    def test_warns_of_events_that_the_stream_does_not_take(self, folder, edit):
        """They would be refused, and nobody would be scored."""
        (folder / "stream_rows.sql").write_text(SERVED.format(features="1 AS one"))
        line = edit(
            "usecase.toml", "[features]", '[events.deposit]\ngiven = "text"\n[features]'
        )
        report = check.declared(NAME)

        assert report.problems == []
        assert [(warning.file, warning.line) for warning in report.warnings] == [
            ("usecase.toml", line - 2),
            ("stream_rows.sql", 1),
        ]

    def test_warns_of_a_parameter_that_nothing_reads(self, edit):
        """It may be a slip of the pen, and breaks nothing."""
        line = edit("usecase.toml", "[parameters]", "[parameters]\nwindow = 3")
        report = check.declared(NAME)

        assert report.problems == []
        assert [(warning.line, warning.message) for warning in report.warnings] == [
            (line, "no statement has @window")
        ]

    def test_finds_no_use_case_of_another_name(self):
        """And says which there are."""
        with pytest.raises(RequestError, match="ga4_purchase"):
            check.declared("no_such_case")

    def test_says_it_to_a_program_as_well(self, edit, checked):
        """Files by their paths, lines as numbers."""
        line = edit("usecase.toml", "horizon_days = 7", "horizon_days = 0")
        [problem] = checked().fields()["problems"]

        assert problem["file"] == f"propensity/usecases/{NAME}/usecase.toml"
        assert problem["line"] == line


class TestAmounts:
    """``converter_amounts.sql``, which a use case may have."""

    @pytest.mark.long
    def test_that_are_right_are_no_problem(self, with_amounts, checked):
        """And no other warning than without them."""
        report = checked()

        assert (report.problems, report.warnings) == ([], [])

    @pytest.mark.parametrize(
        "mistake",
        [
            ("SUM(paid) AS amount", "SUM(money) AS amount", "money", True),
            _slowly("SUM(paid) AS amount", "SUM(paid) AS revenue",
             "gives no column amount", False),
            ("SUM(paid) AS amount", "CAST(SUM(paid) AS FLOAT64) AS amount",
             "amount is FLOAT64 instead of NUMERIC", True),
            _slowly("SELECT\n  as_of,", "SELECT\n  CAST(as_of AS STRING) AS as_of,",
             "as_of is STRING instead of DATE", False),
            ("GROUP BY\n  as_of,", "GROUP BY\n  event_timestamp,\n  as_of,",
             "more than one row of an as-of date", False),
            ("e.event_name = @converting_event", "e.event_name = 'purchase'",
             "gives other users than labels.sql", False),
            _slowly("@horizon_days DAY", "@horizon_days + 1 DAY",
             "an amount sees an event after its horizon", True),
        ],
    )  # fmt: skip
    def test_that_are_wrong_are_found(self, with_amounts, edit, checked, mistake):
        """By file and line: what BigQuery refuses, a column or its type, a user twice
        or too many, and what was paid after the horizon."""
        old, new_, words, is_at_line = mistake
        line = edit(with_amounts.name, old, new_)
        problems = checked().problems

        assert {problem.file for problem in problems} == {with_amounts.name}
        assert any(words in problem.message for problem in problems), problems
        assert not is_at_line or line in {problem.line for problem in problems}

    def test_that_are_wrong_are_found_of_another_source(
        self, folder, sandbox, monkeypatch
    ):
        """A use case of the stream has no made-up events, and the same columns."""
        file = usecases.FOLDER / "first_day_churn" / "converter_amounts.sql"
        file.write_text(
            "-- One row per user of label 1.\n"
            "SELECT as_of, user_id, 1.5 AS amount FROM (\n"
            "-- include: labels.sql\n)\n"
        )
        usecases.load.cache_clear()
        report = check.check("first_day_churn", lambda: contextlib.nullcontext(sandbox))

        assert [
            (problem.file, problem.line, problem.message) for problem in report.problems
        ] == [(file.name, 2, "amount is FLOAT64 instead of NUMERIC")]


class TestFurther:
    """What else a use case may have."""

    @pytest.mark.parametrize(
        "mistake",
        [
            ("AS scored_until", "AS until", "stream_rows.sql",
             "gives no column scored_until"),
            ("1.0 AS revenue", "NUMERIC '1' AS revenue", "stream_rows.sql",
             "revenue is NUMERIC, which a model does not read"),
            ("  1.0 AS revenue,\n", "", "usecase.toml",
             "stream_rows.sql gives no column revenue"),
            ("UNNEST(@user_ids)", "UNNEST(@users)", "stream_rows.sql",
             "no run gives @users"),
        ],
    )  # fmt: skip
    def test_finds_mistakes_of_it(self, folder, edit, checked, mistake):
        """Features that training has and serving lacks would be found by a failure."""
        old, new_, file, words = mistake
        self.serve(folder)
        edit("stream_rows.sql", old, new_)
        [problem] = checked().problems

        assert (problem.file, words in problem.message) == (file, True), problem

    def serve(self, folder: Path) -> None:
        values = {"number": "1.0", "category": "'a'"}
        features = ",\n  ".join(
            f"{values[kind]} AS {name}"
            for name, kind in usecases.load(NAME).features.items()
        )
        (folder / "stream_rows.sql").write_text(SERVED.format(features=features))

    def test_finds_nothing_in_the_churn_of_players(self, folder, sandbox):
        """With its statements in the place of shared ones, and that of the stream."""
        report = check.check("first_day_churn", lambda: contextlib.nullcontext(sandbox))

        assert report.problems == []

    @pytest.mark.long
    def test_finds_nothing_in_purchases(self):
        """With their amounts, and features of days that are kept; over an emulated
        BigQuery of its own, as the command starts it."""
        report = check.check("ga4_purchase", opened)

        assert report.problems == []
        assert len(report.passed) == 8


class TestDeclared:
    @pytest.mark.parametrize("name", usecases.names())
    def test_finds_nothing_in_those_that_come_along(self, name):
        """Their files are right."""
        report = check.declared(name)

        assert (report.problems, report.warnings) == ([], [])
