"""A use case that reads a table of one's own: as it is written, declared, checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from offline.usecases import check, new
from offline.usecases.check import Report
from propensity import usecases
from propensity.errors import RequestError

NAME = "shop_loyal"
TABLE = "crm-project.crm.loyalty"
POINTS = "MAX(loyalty.points) AS loyalty_points"


@pytest.fixture
def folder(use_cases) -> Path:
    """A use case that ``new-usecase --source`` has written."""
    new.write(
        NAME, label_event="sign_up", lookback_days=10, horizon_days=7, source=TABLE
    )
    return use_cases / NAME


@pytest.fixture
def edit(folder) -> Callable[[str, str, str], None]:
    """Replace a text in a file of the use case."""

    def replace(file: str, old: str, new_: str) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new_))
        usecases.load.cache_clear()

    return replace


@pytest.fixture
def checked(sandbox) -> Callable[[], Report]:
    return lambda: check.check(NAME, lambda: contextlib.nullcontext(sandbox))


def files() -> Report:
    """What is wrong with the files."""
    return Report(NAME, [*check.files(NAME)])


def messages(report: Report) -> str:
    return "\n".join(problem.located(NAME) for problem in report.problems)


class TestANewUseCaseWithASource:
    def test_is_right_as_it_is_written(self, folder, checked):
        """Its statements run over made-up rows of the table, and nothing leaks."""
        report = checked()

        assert report.problems == []

    def test_names_a_table(self, use_cases):
        with pytest.raises(
            RequestError, match="project.dataset.table or dataset.table"
        ):
            new.write(
                NAME, label_event="x", lookback_days=1, horizon_days=1, source="loyalty"
            )


class TestALeak:
    def fill(self, edit: Callable[[str, str, str], None], column: str) -> None:
        """Let a feature read a column that somebody fills after the purchase."""
        edit(
            "usecase.toml",
            'tier = "STRING"',
            'tier = "STRING"\nordered_at = "TIMESTAMP"',
        )
        edit("features.sql", "      points,\n", "      points,\n      ordered_at,\n")
        edit("features.sql", POINTS, f"{column} AS loyalty_points")

    def test_of_a_column_that_is_filled_after_the_purchase_is_found(
        self, folder, edit, checked
    ):
        """The row is of before, and tells of the purchase all the same."""
        self.fill(edit, "COUNT(loyalty.ordered_at)")

        assert "loyalty_points sees an event at or after" in messages(checked())

    def test_is_none_where_the_moment_is_compared_or_planned(
        self, folder, edit, checked
    ):
        """Such as the end of a contract, which is known ahead."""
        self.fill(edit, "COUNTIF(loyalty.ordered_at < TIMESTAMP(as_of))")
        compared = checked()
        edit(
            "features.sql",
            "COUNTIF(loyalty.ordered_at < TIMESTAMP(as_of))",
            "COUNT(loyalty.ordered_at)",
        )
        edit("usecase.toml", "valid_from =", 'plans = ["ordered_at"]\nvalid_from =')

        assert compared.problems == []
        assert checked().problems == []

    def test_by_the_table_itself_is_refused(self, folder, edit, checked):
        """It has rows of after the as-of date; the source's name has none."""
        edit("features.sql", "      loyalty\n", f"      `{TABLE}`\n")

        assert "Unrecognized name: as_of" in messages(checked())


class TestADeclaration:
    @pytest.mark.parametrize(
        ("old", "new_", "message"),
        [
            (TABLE, "loyalty", "table is project.dataset.table or dataset.table"),
            (TABLE, "crm.events_*", "table is project.dataset.table or dataset.table"),
            ("valid_from", "valid", "valid is unknown; known are table, user_id"),
            ("valid_from =", "snapshot = true\nvalid_from =", "either valid_from"),
            ('valid_from = "changed_at"', "", "either valid_from, the column"),
            ('"changed_at"', '"changed at"', "valid_from is a column, not"),
            ('points = "INT64"', 'points = "JSON"', "points is one of STRING, INT64"),
            ('points = "INT64"', 'as_of = "DATE"', "'as_of' can be no column"),
            ("valid_from =", 'plans = ["ends"]\nvalid_from =', "plans are some of its"),
            ("sources.loyalty", "sources.ga_events", "'ga_events' is the name of"),
            ("[sources.loyalty.columns]", "", "points is unknown; known are table"),
        ],
    )  # fmt: skip
    def test_is_refused_with_its_line(self, folder, edit, old, new_, message):
        edit("usecase.toml", old, new_)

        assert message in messages(files())

    def test_without_columns_runs_and_is_not_checked(self, folder, edit):
        """A run reads all columns of the table; a check cannot make them up."""
        edit("usecase.toml", "[sources.loyalty.columns]", "[parameters.unused]")
        text = (folder / "usecase.toml").read_text()
        kept = text.partition("[parameters.unused]")
        (folder / "usecase.toml").write_text(
            kept[0] + kept[2].partition('tier = "STRING"\n')[2]
        )
        [problem] = files().problems

        assert "names no columns" in problem.message
        assert "* EXCEPT (`user_id`)" in usecases.load(NAME).statement("features")
