"""A use case that reads a table of one's own: as it is written, declared, checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from offline.usecases import new
from propensity.errors import RequestError
from tests.offline.usecases.conftest import NAME

TABLE = "crm-project.crm.loyalty"
POINTS = "MAX(loyalty.points) AS loyalty_points"


@pytest.fixture
def folder(use_cases) -> Path:
    """A use case that ``usecase new --source`` has written."""
    new.write(
        NAME, label_event="sign_up", lookback_days=10, horizon_days=7, source=TABLE
    )
    return use_cases / NAME


class TestANewUseCaseWithASource:
    def test_a_new_use_case_with_a_source_is_right_as_it_is_written(
        self, folder, checked
    ):
        """Its statements run over made-up rows of the table, and nothing leaks."""
        report = checked()

        assert report.problems == []

    def test_a_new_use_case_with_a_source_names_a_table(self, use_cases):
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

    def test_a_leak_of_a_column_that_is_filled_after_the_purchase_is_found(
        self, folder, edit, checked
    ):
        """The row is of before, and tells of the purchase all the same."""
        self.fill(edit, "COUNT(loyalty.ordered_at)")

        assert "loyalty_points sees an event at or after" in str(checked())

    def test_a_leak_is_none_where_the_moment_is_compared_or_planned(
        self, folder, edit, checked
    ):
        """Such as the end of a contract, which is known ahead."""
        self.fill(
            edit,
            "COUNTIF(loyalty.ordered_at < TIMESTAMP(as_of)) + COUNT(loyalty.ends_at)",
        )
        edit(
            "usecase.toml",
            'ordered_at = "TIMESTAMP"',
            'ordered_at = "TIMESTAMP"\nends_at = "TIMESTAMP"',
        )
        edit(
            "features.sql", "      ordered_at,\n", "      ordered_at,\n      ends_at,\n"
        )
        edit("usecase.toml", "valid_from =", 'plans = ["ends_at"]\nvalid_from =')

        assert checked().problems == []

    def test_a_leak_by_the_table_itself_is_refused(self, folder, edit, checked):
        """It has rows of after the as-of date; the source's name has none."""
        edit("features.sql", "    FROM loyalty\n", f"    FROM `{TABLE}`\n")

        assert "Unrecognized name: as_of" in str(checked())
