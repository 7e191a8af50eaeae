"""
The check of a use case's files, specified: what is found before any statement runs.

Every test makes one mistake in a use case that is right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offline.usecases import check
from propensity import usecases
from propensity.errors import UseCaseError
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


def problems() -> list[tuple[str, int, str]]:
    """Return file, line and message of each problem of the use case."""
    return [
        (problem.file, problem.line, problem.message)
        for problem in check.declared(NAME).problems
    ]


class TestText:
    @pytest.mark.parametrize("file", ["usecase.toml", "labels.sql"])
    def test_is_utf_8(self, folder, file):
        """The line of the first byte that is not; loading and running say the same."""
        text = (folder / file).read_bytes()
        (folder / file).write_bytes(text.replace(b"\n", b"\n# f\xfcr\n", 1))

        assert problems() == [(file, 2, "is not UTF-8 text: save the file in that "
                               "encoding")]  # fmt: skip
        with pytest.raises(UseCaseError, match=f"{file}:2: is not UTF-8 text"):
            usecases.load(NAME).statement("labels")

    def test_may_begin_with_a_byte_order_mark(self, folder):
        """Editors on Windows write one, which BigQuery would not read."""
        for file in ("usecase.toml", "features.sql", "labels.sql", "days.sql"):
            (folder / file).write_bytes(b"\xef\xbb\xbf" + (folder / file).read_bytes())

        assert problems() == []
        assert usecases.load(NAME).statement("labels").startswith("-- One row")

    @pytest.mark.parametrize("text", ["", "-- One row per user.\n/* nothing */\n"])
    def test_of_a_statement_holds_one(self, folder, text):
        """BigQuery would be asked for nothing."""
        (folder / "labels.sql").write_text(text)

        assert problems() == [("labels.sql", 1, "has no statement")]

    def test_of_a_use_case_is_there(self, folder):
        """A folder without its usecase.toml is none, and says so."""
        (folder / "usecase.toml").unlink()

        assert problems() == [("usecase.toml", 1, "is missing")]

    def test_is_a_file(self, folder):
        """A folder of this name is no statement."""
        (folder / "labels.sql").unlink()
        (folder / "labels.sql").mkdir()

        assert problems()[0][2].startswith("is missing")


class TestStatement:
    @pytest.mark.parametrize(
        ("file", "old", "new", "message"),
        [
            ("features.sql", "FROM\n", "FROM\n-- include: features.sql\n",
             "features.sql includes itself"),
            ("days.sql", "'%Y%m%d'", "'%Y%m%d",
             "is no SQL: what begins with ' has no end"),
            ("features.sql", "'user_id'", "/* 'user_id'",
             "is no SQL: a comment /* has no end"),
            ("labels.sql", "  as_of,\n", "  CURRENT_DATE() AS as_of,\n",
             "CURRENT_DATE is another in each run"),
            ("labels.sql", "@first_suffix AND @last_label_suffix",
             "'20260101' AND @last_label_suffix", "bounds table_suffix by a day"),
            ("features.sql", "  SUM(d.sessions) AS sessions,\n",
             "  SUM(d.sessions) AS sessions, 1 AS sessions,\n",
             "gives 2 columns sessions"),
            ("labels.sql", "FROM\n", "FROM WHERE\n",
             "is no SQL: Expected table name but got WHERE"),
            ("features.sql", "  SUM(d.sessions) AS sessions,\n",
             "  SUM(d.sessions) AS sessions\n  SUM(d.view_items) AS x,\n",
             "is no SQL: SUM is not expected here: see whether a comma is missing"),
            ("features.sql", "WITH\n", "DECLARE days INT64; WITH\n",
             "has a semicolon"),
            ("features.sql", "  as_of,\n  d.user_id\n",
             "  as_of,\n  d.user_id\nLIMIT 10\n",
             "LIMIT without ORDER BY leaves rows out"),
            ("labels.sql", "  as_of,\n", "  as_of::DATE AS as_of,\n",
             "BigQuery has no ::"),
            ("labels.sql", "  ga_events\n", "  crm.buyers\n",
             "reads crm.buyers, which the functions have no right to"),
        ],
    )  # fmt: skip
    def test_is_wrong_where_it_is_said(self, folder, file, old, new, message):
        """By its own line, in words that are not the parser's."""
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace(old, new, 1))
        line = (text[: text.index(old)] + new.rstrip()).count("\n") + 1

        [(found, number, said)] = problems()
        assert (found, number) == (file, line)
        assert said.startswith(message)

    def test_may_take_the_first_of_what_is_in_order(self, folder):
        """The same rows each time."""
        text = (folder / "features.sql").read_text()
        (folder / "features.sql").write_text(f"{text}ORDER BY\n  d.user_id\nLIMIT 10\n")

        assert problems() == []

    def test_may_have_any_text_and_comment(self, folder):
        """What stands there is no parameter."""
        text = (folder / "labels.sql").read_text()
        quoted = "/* @a */ # @b\n  AND event_name != 'c@d.e' AND event_name"
        (folder / "labels.sql").write_text(text.replace("AND event_name", quoted))

        assert problems() == []


class TestDeclared:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("\nC = 0.1", '\npenalty = "l1"', "supports only 'l2'"),
            ("min_samples_leaf = 30", "monotonic_cst = [1, 0]", "monotonic_cst"),
            ("[parameters]\n", "[parameters]\nproject = 7\n",
             "the setting project would override it"),
        ],
    )  # fmt: skip
    def test_is_what_a_run_can_do(
        self, edit: Callable[[str, str, str], int], old: str, new: str, message: str
    ):
        """Parameters that go together, and that no setting makes another type."""
        edit("usecase.toml", old, new)

        [(file, _, said)] = problems()
        assert file == "usecase.toml"
        assert message in said

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (PREPROCESSOR.format(function="FunctionTransformer(abs)"), ""),
            (PREPROCESSOR.format(function="FunctionTransformer(lambda x: x)"), "ickl"),
            ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
            ("def preprocess(use_case):\n    return None\n", "has no preprocessor("),
        ],
    )
    def test_preprocessor_can_be_stored(
        self, folder: Path, monkeypatch, text: str, message: str
    ):
        """With what training keeps, and without ending the check; and it is there:
        training would take the default for one by another name."""
        module = f"{usecases.__name__}.{NAME}"
        monkeypatch.setattr(usecases, "__path__", [str(folder.parent)])
        for name in (module, f"{module}.model"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        (folder / "model.py").write_text(text)
        found = problems()

        assert [file for file, _, _ in found] == ["model.py"] * bool(message)
        assert message in str(found)
