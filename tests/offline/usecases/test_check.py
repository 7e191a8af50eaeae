"""
The check of a use case, specified: each mistake is found where it was made.

Every test makes one mistake in a use case that is right.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

import pytest

from offline.usecases import check
from propensity import folders, usecases
from tests.offline.usecases.conftest import NAME

PREPROCESSOR = """\
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def preprocessor(use_case):
    steps = make_pipeline(SimpleImputer(), {function})
    return ColumnTransformer([("numbers", steps, ["sessions"])])
"""


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
        report = check.check(name, lambda: contextlib.nullcontext(sandbox))

        assert (report.problems, report.warnings) == ([], [])
        assert bool(report.skipped) == (not usecases.load(name).reads_export)

    def test_a_view_of_the_deployment_is_read_by_its_columns(self, folder, edit):
        """The probabilities of an evaluation come from one."""
        shared = Path(usecases.__file__).parents[1] / "runs"
        for name in ("evaluation_rows", "published_probabilities"):
            text = (shared / f"{name}.sql").read_text()
            (folder / f"{name}.sql").write_text(text)
        line = edit("published_probabilities.sql", "expected_value", "worth")

        report = check.check(NAME, contextlib.nullcontext)

        where = f"published_probabilities.sql:{line}: Unrecognized name: worth"
        assert report.problems[0].endswith(where), report.problems

    @pytest.mark.parametrize(
        "error",
        [
            "Unrecognized name: n_add_to_wishlists",
            "Unrecognized name: n_view_item; Did you mean n_view_items?",
            "Name n_sign_ups not found inside days",
            "Unrecognized name: days.n_shares",
        ],
    )
    def test_a_check_says_what_to_count_by(self, error):
        """Defect: of a count that the digest lacks it said that it is not known."""
        advice = check.advice(error)

        assert "n_view_items, n_add_to_carts" in advice
        assert "ga_conversions. Count other events from ga_events" in advice
        assert check.advice("Unrecognized name: named") == ""

    def test_a_check_warns_of_a_shared_copy(self, use_cases, monkeypatch):
        """Its statements are right."""
        monkeypatch.setattr(check, "faults_of_statements", lambda _: [])
        shutil.copytree(folders.place("first_day_churn"), use_cases / "second_churn")
        file = use_cases / "second_churn/days.sql"
        text = file.read_text().replace("@use_case\n", "'first_day_churn'\n")
        file.write_text(text)
        report = check.check("second_churn", contextlib.nullcontext)

        assert report.problems == []
        shared, other = report.warnings
        assert shared.startswith("first_day_churn also takes new_bet, new_purchases, ")
        assert other.startswith(
            "second_churn/days.sql names 'first_day_churn', so a copy"
        )

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
            ("labels.sql", "FROM transactions\n", "-- include: nothing.sql\n",
             "labels.sql: there is no file nothing.sql"),
            ("labels.sql", "  user_id\n", "  user_id AS visitor\n",
             "labels.sql does not return the column user_id; add it"),
            ("labels.sql", "FROM transactions", "FROM transaction",
             "labels.sql reads transaction, which a deployment does not have"),
            ("usecase.toml", '"LogisticRegression"', '"LogisticRegresion"',
             "candidates[0].algorithm is 'LogisticRegresion'; use LogisticR"),
            ("usecase.toml", "\nC = 0.1", "\nc = 0.1",
             "usecase.toml: candidate logistic_regression cannot be fitted"),
            ("usecase.toml", 'country = "category"', 'city = "category"',
             "features.sql does not return the column city; add it"),
        ],
    )  # fmt: skip
    def test_a_check_names_the_line_of_a_mistake(self, edit, checked, mistake):
        """Before anything is run."""
        file, old, new_, words = mistake
        line = edit(file, old, new_)
        problems = checked().problems

        assert any(words.format(line=line) in problem for problem in problems), problems
        assert all(problem.startswith(f"{NAME}/") for problem in problems)


class TestFile:
    @pytest.mark.parametrize("file", ["usecase.toml", "features.sql"])
    def test_a_file_is_utf_8(self, folder, file, checked):
        text = (folder / file).read_bytes()
        (folder / file).write_bytes(text.replace(b"\n", b"\n# f\xfcr\n", 1))

        [problem] = checked().problems
        assert problem.startswith(f"{NAME}/{file}")
        assert problem.endswith("is not UTF-8; save the file in that encoding")
        assert problem.count(file) == 1

    def test_a_file_of_a_use_case_is_there(self, folder):
        """A folder without its usecase.toml is none, and says so; so is one without
        labels.sql."""
        (folder / "labels.sql").unlink()
        assert [*check.files(NAME)] == [
            f"{NAME}/labels.sql is missing; every use case of users needs one"
        ]
        (folder / "usecase.toml").unlink()
        assert [*check.files(NAME)] == [f"{NAME}/usecase.toml is missing"]

    def test_a_file_takes_events_that_are_declared(self, folder):
        """Of the stream, here or in events.toml."""
        with (folder / "usecase.toml").open("a") as file:
            file.write('[stream]\nevents = ["spin"]\n')

        [problem] = check.files(NAME)
        assert "names spin, which no usecase.toml declares" in problem


class TestModel:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (PREPROCESSOR.format(function="FunctionTransformer(abs)"), ""),
            (PREPROCESSOR.format(function="FunctionTransformer(lambda x: x)"), "ickl"),
            ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
            ("def preprocess(_):\n    return None\n", "no attribute 'preprocessor'"),
        ],
    )
    def test_a_preprocessor_can_be_stored(
        self, folder: Path, monkeypatch, text: str, message: str
    ):
        """With what training keeps, and without ending the check; and it is there:
        training would take the default for one by another name."""
        module = f"{usecases.__name__}.{NAME}"
        monkeypatch.setattr(usecases, "__path__", [str(folder.parent)])
        for name in (module, f"{module}.model"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        (folder / "model.py").write_text(text)
        found = [*check.files(NAME)]

        assert len(found) == bool(message)
        assert all(f"{NAME}/model.py cannot" in one and message in one for one in found)


class TestLeaks:
    """Features as of a day are those of the events before it."""

    @pytest.fixture
    def with_amounts(self, folder) -> None:
        """Have training read its labels with what each user has paid."""
        labels = (folder / "labels.sql").read_text()
        amount = "SELECT DISTINCT\n  CAST(1 AS NUMERIC) AS amount,"
        amounts = labels.replace("SELECT DISTINCT", amount)
        (folder / "converter_amounts.sql").write_text(amounts)

    @pytest.mark.usefixtures("with_amounts")
    def test_leaks_are_found(self, edit, leaks):
        """Whatever the window of a statement is, an event at or after the day shows; an
        event after the horizon is no outcome."""
        edit("features.sql", "AND d.day < s.as_of", "AND d.day <= s.as_of")
        edit("labels.sql", "@horizon_days DAY", "@horizon_days + 1 DAY")
        edit("converter_amounts.sql", "@horizon_days DAY", "@horizon_days + 1 DAY")
        *features, labels, amounts = leaks()

        start = f"{NAME}/features.sql: events reads events from the prediction date on"
        assert any(problem.startswith(start) for problem in features), features
        assert [labels, amounts] == [
            f"{NAME}/{file} sees an event after its horizon; end before as_of plus "
            "@horizon_days"
            for file in ("labels.sql", "converter_amounts.sql")
        ]

    @pytest.mark.usefixtures("with_amounts")
    def test_labels_that_no_training_reads_are_found(self, folder, edit, leaks):
        """Where there are amounts, a change of labels.sql alone changes nothing."""
        edit("labels.sql", "SELECT DISTINCT", "SELECT DISTINCT * FROM (SELECT")
        (folder / "labels.sql").write_text(
            (folder / "labels.sql").read_text().rstrip().rstrip(";")
            + "\n) WHERE user_id < 'user.03'\n"
        )
        [problem] = leaks()

        assert "converter_amounts.sql and labels.sql differ" in problem

    def test_a_leak_blames_no_other_feature(self, edit, leaks):
        edit(
            "features.sql",
            "COUNT(d.day) AS active_days",
            "(SELECT COUNT(*) FROM user_days) AS active_days",
        )
        [feature] = leaks()

        assert feature.startswith(f"{NAME}/features.sql: active_days reads")

    def test_what_bigquery_alone_runs_is_named(self, edit, checked, monkeypatch):
        """It is no mistake; the check says what it has not tried."""
        monkeypatch.setattr(check, "faults_of_statements", lambda _: [])
        counted = "COUNT(SOUNDEX(CAST(d.day AS STRING))) AS active_days"
        edit("features.sql", "COUNT(d.day) AS active_days", counted)
        report = checked()

        assert report.problems == []
        assert f"{NAME}/features.sql needs BigQuery" in report.skipped
        assert "soundex" in report.skipped.lower()

    def test_a_user_of_several_rows_is_named(self, edit, leaks):
        edit("labels.sql", "SELECT DISTINCT", "SELECT")
        [labels] = leaks()

        assert "labels.sql returns several rows for a user and date" in labels
