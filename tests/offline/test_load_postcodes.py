"""
load_postcodes, specified: any table of postcodes becomes postcode_index, or nothing.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands.cli import main
from local.generators.players import postcodes
from offline import load_postcodes
from propensity import tables
from propensity.events.enrichment import PostcodeIndex, normalised, outward
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.statements import statement
from tests.offline.postcodes import CSV, LOADED, TODAY, written
from tests.proxy import Proxy


@pytest.fixture
def warehouse(environment) -> Iterator[Warehouse]:
    opened = Warehouse.open(Settings.from_environment())
    opened.create(tables.POSTCODE_INDEX)
    yield opened
    opened.close()


def stored(warehouse: Warehouse) -> pa.Table:
    return warehouse.table(statement("postcodes"))


def name_of_table(warehouse: Warehouse) -> str:
    settings = warehouse.settings
    return f"{settings.project}.{settings.dataset}.postcode_index"


class TestTheCommand:
    def test_loads_a_file(self, tmp_path, warehouse, capsys):
        """Postcodes in capitals without spaces, and outward codes with the median of
        their postcodes, are in the table; the output counts every row."""
        status = main(["load-postcodes", written(tmp_path, CSV)])

        output = capsys.readouterr().out
        assert status == 0
        assert {tuple(row.values()) for row in stored(warehouse).to_pylist()} == {
            (code, value) for code, value, _ in LOADED
        }
        assert "10 rows read: 5 postcodes and 2 outward codes" in output
        assert "1 rows without a postcode, 1 without an index, 2 repeated" in output
        assert "1 postcodes with several values" in output

    def test_makes_the_table_where_there_is_none(self, tmp_path, environment):
        """The command may come before the set-up."""
        assert main(["load-postcodes", written(tmp_path, CSV)]) == 0

    def test_replaces_the_table_as_a_whole(self, tmp_path, warehouse):
        """Nothing of what was loaded before is left, and twice equals once."""
        main(["load-postcodes", written(tmp_path, CSV)])
        for _ in range(2):
            main(
                [
                    "load-postcodes",
                    written(tmp_path, "postcode,socioeconomic_idx\nQA12BD,7\n"),
                ]
            )

        assert stored(warehouse).to_pylist() == [
            {"postcode": "QA12BD", "socioeconomic_idx": 7.0},
            {"postcode": "QA1", "socioeconomic_idx": 7.0},
        ]

    def test_keeps_partitions_and_clusters(self, tmp_path, warehouse):
        """The table that was replaced is still laid out as the tables are declared."""
        main(["load-postcodes", written(tmp_path, CSV)])

        table = warehouse.client.get_table(name_of_table(warehouse))
        assert table.time_partitioning.field == "loaded_on"
        assert table.clustering_fields == ["postcode"]

    def test_leaves_the_old_table_where_it_fails(
        self, tmp_path, warehouse, monkeypatch, capsys
    ):
        """A load that BigQuery refuses changes nothing."""
        main(["load-postcodes", written(tmp_path, CSV)])
        before = stored(warehouse)

        def refuse_uploads(request: Any) -> int | None:
            return 400 if request.path.startswith("/upload") else None

        with Proxy(warehouse.settings.bigquery_endpoint, refuse_uploads) as proxy:
            monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
            status = main(
                [
                    "load-postcodes",
                    written(tmp_path, "postcode,socioeconomic_idx\nQA12BD,7\n"),
                ]
            )
            assert any(request.path.startswith("/upload") for request in proxy.asked)

        assert status == 1
        assert "BigQuery refuses" in capsys.readouterr().err
        assert stored(warehouse).equals(before)

    def test_loads_nothing_on_a_dry_run(self, tmp_path, warehouse, capsys):
        """A dry run reads, tells, and leaves the table alone."""
        status = main(["load-postcodes", written(tmp_path, CSV), "--dry-run"])

        assert status == 0
        assert "Nothing was loaded" in capsys.readouterr().out
        assert stored(warehouse).num_rows == 0

    def test_needs_no_project_for_a_dry_run(self, tmp_path, monkeypatch):
        """A file can be checked where nothing is deployed."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

        assert main(["load-postcodes", written(tmp_path, CSV), "--dry-run"]) == 0

    def test_names_a_missing_setting(self, tmp_path, monkeypatch, capsys):
        """Without a project nothing is read, and the variable is named."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

        assert main(["load-postcodes", written(tmp_path, CSV)]) == 1
        assert "GOOGLE_CLOUD_PROJECT" in capsys.readouterr().err


class TestLoad:
    def test_takes_a_table_in_memory(self, warehouse):
        """Local mode loads the postcodes of the generator of events as they are, and
        every one is then found, those that the table lacks by their outward code."""
        summary = load_postcodes.load(warehouse, postcodes(), loaded_on=TODAY)

        index = PostcodeIndex(stored(warehouse))
        assert summary.postcodes == postcodes().num_rows
        assert len(index) == summary.postcodes + summary.outward_codes
        for row in random.Random(1).sample(postcodes().to_pylist(), 200):
            assert index.find(row["postcode"].lower()) == row["socioeconomic_idx"]
        assert index.find("QA1 9ZZ") is not None
        assert index.find("ZZ1 9ZZ") is None


@pytest.mark.long
class TestRealPostcodes:
    def test_are_loaded(self, data_folder, warehouse, capsys):
        """Every real postcode with an index is found by it, the others by the median
        of their outward code."""
        path = data_folder / "postcode_imd.parquet"
        real = pq.read_table(path).to_pylist()
        known = {
            row["postcode"]: row["UK_IMD_E_score"]
            for row in real
            if row["UK_IMD_E_score"] is not None
        }

        status = main(["load-postcodes", str(path), "--index-column", "UK_IMD_E_score"])

        output = capsys.readouterr().out
        loaded = stored(warehouse)
        index = PostcodeIndex(loaded)
        parts = {outward(code) for code in known} - {None}
        assert status == 0
        assert f"{len(real):,} rows read: {len(known):,} postcodes" in output
        assert f"{len(real) - len(known):,} without an index" in output
        assert loaded.num_rows == len(known) + len(parts)
        assert all(index.find(code) == value for code, value in known.items())
        assert index.find("b61 8sl") == known["B618SL"]
        for row in real:
            if row["postcode"] not in known:
                peers = [
                    value
                    for code, value in known.items()
                    if outward(code) == outward(row["postcode"])
                ]
                part = outward(row["postcode"])
                wanted = statistics.median_low(peers) if part and peers else None
                assert index.find(row["postcode"]) == wanted

    def test_have_outward_codes_as_the_file_says(self, data_folder):
        """What is taken for the outward code is what the real table calls so. Only
        the postcodes of Newport before 1984 (NPT 4JZ) are of another form."""
        real = pq.read_table(data_folder / "postcode_imd.parquet")

        assert {
            row["outward"]
            for row in real.select(["postcode", "outward"]).to_pylist()
            if outward(normalised(row["postcode"])) != row["outward"]
        } == {"NPT"}


def test_today_is_a_day_in_utc(tmp_path, warehouse):
    """The command writes the day that it is in UTC."""
    before = datetime.now(UTC).date()
    main(["load-postcodes", written(tmp_path, CSV)])

    rows = warehouse.client.list_rows(name_of_table(warehouse))
    (day,) = {row["loaded_on"] for row in rows}
    assert before <= day <= datetime.now(UTC).date()
