"""Tables of one's own beside an export, in a folder ``sources/``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.exports import ga4_rows, sources
from propensity import usecases
from propensity.errors import SchemaError
from propensity.usecases.sources import Source

LOYALTY = Source(
    name="loyalty",
    table="crm-project.crm.loyalty",
    user_id="customer_id",
    valid_from="changed_at",
    columns={"points": "INT64"},
)
USE_CASE = replace(usecases.load("ga4_purchase"), sources=[LOYALTY])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sources").mkdir()
    return tmp_path


class TestAFolder:
    @pytest.mark.runs
    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_is_loaded_by_the_names_of_sources(self, folder, workplace, kind):
        """A day is its midnight, and an id of digits a text."""
        path = folder / "sources" / f"loyalty.{kind}"
        if kind == "csv":
            path.write_text("customer_id,changed_at,points,more\n17,2026-03-01,5,x\n")
        else:
            rows = {"customer_id": [17], "changed_at": [datetime(2026, 3, 1)]}  # noqa: DTZ001
            pq.write_table(pa.table(rows | {"points": [5], "more": ["x"]}), path)
        with workplace.bigquery.client() as client:
            sources.load_folder(client, folder, USE_CASE)
            [row] = client.query_and_wait(
                "SELECT customer_id, changed_at, points FROM `crm-project.crm.loyalty`"
            )

        assert tuple(row) == ("17", datetime(2026, 3, 1, tzinfo=UTC), 5)

    def test_is_no_part_of_the_export(self, folder):
        (folder / "events.json").touch()
        (folder / "sources" / "loyalty.parquet").touch()

        assert ga4_rows.export_files(folder) == [folder / "events.json"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("points.csv", "", "has points, and the sources .* are loyalty"),
            ("loyalty.txt", "", "has nothing, and the sources of ga4_purchase are"),
            ("loyalty.csv", "customer_id,points\na,1\n", "it lacks changed_at"),
            (
                "loyalty.csv",
                "customer_id,changed_at,points\na,2026-03-01,many\n",
                "many",
            ),
            (
                "loyalty.csv",
                "customer_id,changed_at,points\n1.0,2026-03-01,1\n",
                "customer_id is the number 1.0",
            ),
        ],
    )
    def test_that_does_not_fit_is_refused(self, folder, name, content, message):
        """With the file, what was wanted and what was found."""
        (folder / "sources" / name).write_text(content)

        with pytest.raises(SchemaError, match=message):
            sources.load_folder(None, folder, USE_CASE)
