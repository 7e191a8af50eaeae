"""BigQuery against the emulator: statements in, rows out."""

from __future__ import annotations

import pyarrow as pa
import pytest

from propensity.errors import SchemaError
from propensity.tables.stream import POSTCODE_INDEX
from tests.propensity.gcp.conftest import SCORES, staged


class TestRows:
    def test_jobs_are_labelled_for_the_bill(self, warehouse):
        """Whoever looks at costs finds the application's, statements and loads."""
        assert warehouse.rows("SELECT 1 AS one")
        warehouse.create(POSTCODE_INDEX)
        warehouse.replace(POSTCODE_INDEX, POSTCODE_INDEX.arrow([]))
        found = {
            job.job_type: job.labels
            for job in warehouse.client.list_jobs()
            if warehouse.settings.dataset in str(job.to_api_repr())
        }

        assert found == dict.fromkeys(["query", "load"], {"application": "propensity"})

    @pytest.mark.parametrize(
        "rows",
        [
            staged("a").drop_columns("run_id"),
            staged("a").append_column("extra", pa.array([1])),
            [{"user_id": "a", "extra": 1}],
        ],
        ids=["missing", "extra", "extra in values"],
    )
    def test_rows_of_other_columns_are_refused(self, warehouse, rows):
        """Tables are contracts: what does not fit is not written."""
        with pytest.raises(SchemaError, match="ma_predictions_runs"):
            warehouse.write(SCORES, rows)

    def test_rows_of_any_number_are_held_a_few_thousand_at_once(self):
        """The members of a large audience would fill the memory of a function."""
        held = 0
        most = 0

        class Values(dict):
            def __init__(self, user: str) -> None:
                nonlocal held, most
                super().__init__(use_case="ga4_purchase", user_id=user)
                held += 1
                most = max(most, held)

            def __del__(self) -> None:
                nonlocal held
                held -= 1

        users = [f"u{number}" for number in range(30_000)]
        written = SCORES.arrow(Values(user) for user in users)

        assert written["user_id"].to_pylist() == users
        assert most < 15_000
