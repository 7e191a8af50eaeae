"""A use case that reads a table of one's own: as it is written, declared, checked."""

from __future__ import annotations

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
    def test_a_leak_of_a_column_that_is_filled_after_the_purchase_is_found(
        self, folder, edit, checked
    ):
        """The row is of before, and tells of the purchase all the same. It is none
        where the moment is compared, or planned, such as the end of a contract."""
        tier, moments = 'tier = "STRING"', ("ordered_at", "ends_at")
        declared = "".join(f'\n{name} = "TIMESTAMP"' for name in moments)
        edit("usecase.toml", tier, f"{tier}{declared}")
        edit("usecase.toml", "valid_from =", 'plans = ["ends_at"]\nvalid_from =')
        read = "      points,\n"
        edit("features.sql", read, f"{read}      ordered_at,\n      ends_at,\n")
        edit("features.sql", POINTS, "COUNT(loyalty.ordered_at) AS loyalty_points")
        compared = "COUNTIF(loyalty.ordered_at < TIMESTAMP(as_of))"
        edit(
            "features.sql",
            "COUNT(*) AS active_days",
            f"{compared} + COUNT(loyalty.ends_at) AS active_days",
        )

        [problem] = checked().problems
        assert "loyalty_points sees an event at or after" in problem

    def test_a_leak_by_the_table_itself_is_refused(self, folder, edit, checked):
        """It has rows of after the as-of date; the source's name has none."""
        edit("features.sql", "    FROM loyalty\n", f"    FROM `{TABLE}`\n")

        assert "Unrecognized name: as_of" in str(checked())
