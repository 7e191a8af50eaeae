"""
Past transactions as the first data to train on, specified on files and the emulator.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from commands.cli import main
from offline.load_transactions import read
from propensity import usecases
from propensity.errors import SchemaError
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from tests.partitions import of_all_days

USE_CASE = usecases.load("card_fraud")
START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)
N = 30


def transactions(n: int = N, **changed: Any) -> pa.Table:
    """Return transactions in the fields of their events; None leaves one out."""
    generator = np.random.default_rng(2)
    columns = {
        "transaction_id": [f"t{number}" for number in range(n)],
        "event_time": [START + timedelta(hours=number) for number in range(n)],
        **{name: generator.normal(size=n).round(3) for name in USE_CASE.features},
        "is_fraud": [number == 4 for number in range(n)],
        **changed,
    }
    return pa.table({key: one for key, one in columns.items() if one is not None})


def written(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


@pytest.fixture
def found(tmp_path):
    """Read a table, by way of a file."""

    def reading(table: pa.Table, ending="parquet"):
        return read(written(table, tmp_path / f"cards.{ending}"), USE_CASE, now=NOW)

    return reading


class TestFile:
    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_is_read(self, found, ending):
        """With its ids and moments; a truth is found when it says."""
        later = [None if n % 2 else START + timedelta(days=2) for n in range(N)]
        table = transactions(truth_time=later)
        rows = found(table, ending)

        assert rows["event_id"].tolist() == [f"t{n}" for n in range(N)]
        assert rows["event_time"].tolist() == table["event_time"].to_pylist()
        assert rows["label"].tolist() == [int(n == 4) for n in range(N)]
        assert rows["truth_time"][1] == rows["event_time"][1]
        assert rows["truth_time"][0] == START + timedelta(days=2)
        assert rows["V1"].to_numpy() == pytest.approx(table["V1"].to_numpy())

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-03-02T10:00:00+02:00", datetime(2026, 3, 2, 8, tzinfo=UTC)),
            ("2026-03-02 08:00:00", datetime(2026, 3, 2, 8, tzinfo=UTC)),
            # Defect: this, of BigQuery's CSV, was refused.
            ("2026-03-02 10:00:00 UTC", datetime(2026, 3, 2, 10, tzinfo=UTC)),
            ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ],
    )
    def test_may_write_moments_as_texts(self, found, ending, text, moment):
        """In ISO 8601; without a zone they are UTC, and a day is its midnight."""
        rows = found(transactions(event_time=[text] * N, truth_time=[text] * N), ending)

        assert {*rows["event_time"], *rows["truth_time"]} == {moment}

    def test_has_its_ids_as_they_are_written(self, tmp_path):
        """One that looks like a number is none: the stream's is the same text."""
        table = transactions(transaction_id=None)
        path = written(table, tmp_path / "cards.csv")
        header, *rows = path.read_text().splitlines()
        ids = [f"{n:03}" for n in range(N - 1)] + ["12345678901234567890"]
        lines = [f"{row},{given}" for row, given in zip(rows, ids, strict=True)]
        path.write_text("\n".join([f"{header},transaction_id", *lines]))

        assert read(path, USE_CASE, now=NOW)["event_id"].tolist() == ids

    def test_may_lack_outcomes(self, found):
        """Of all rows, or of some: what is not known is not 0."""
        some = pa.array([None if n % 2 else 0 for n in range(N)], pa.int64())

        assert found(transactions(is_fraud=None))["label"].isna().all()
        labels = found(transactions(is_fraud=some))["label"]
        assert (labels.isna().sum(), labels.sum()) == (N // 2, 0)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"event_time": None}, "lacks the columns event_time"),
            ({"transaction_id": None}, "lacks the columns transaction_id"),
            ({"V2": [np.nan, *[1.0] * (N - 1)]}, "row 1.*V2"),
            ({"V2": [*[1.0] * (N - 1), np.inf]}, "row 30.*V2"),
            ({"Amount": ["a"] * N}, "Amount"),
            ({"is_fraud": [2] * N}, "row 1.*is_fraud"),
            ({"transaction_id": ["a"] * N}, "several rows"),
            (
                {"transaction_id": [f"a{n}" for n in range(N - 1)] + ["a\nb"]},
                f"row {N}: transaction_id has no control characters",
            ),
            ({"transaction_id": [None, *["a"] * (N - 1)]}, "row 1"),
            ({"transaction_id": [1.5] * N}, "transaction_id is the number 1.5"),
            ({"transaction_id": [2**53] * N}, "write the column as text"),
            ({"event_time": ["soon"] * N}, "row 1: .*event_time"),
            ({"event_time": ["2199-01-01"] * N}, "row 1: .*until now, .*event_time"),
            ({"event_time": ["1960-01-01"] * N}, "row 1: .*from 1971 .*event_time"),
            ({"truth_time": ["2199-01-01"] * N}, "row 1: .*until now, .*truth_time"),
            ({"truth_time": ["0001-01-01"] * N}, "row 1: .*from 1971 .*truth_time"),
        ],
        ids=str,
    )
    def test_that_is_wrong_says_where(self, found, changed, message):
        """Column and row are named, and nothing is loaded."""
        with pytest.raises(SchemaError, match=message):
            found(transactions(**changed))

    def test_holds_transactions(self, found, tmp_path):
        """A use case that scores users has none."""
        with pytest.raises(SchemaError, match="no transaction"):
            found(transactions(0))
        with pytest.raises(SchemaError, match="scores users"):
            read(tmp_path / "x", usecases.load("ga4_purchase"), now=NOW)


@pytest.fixture
def warehouse(environment):
    opened = Warehouse.open(Settings.from_environment())
    yield opened
    opened.close()


def rows(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    found_ = warehouse.rows(of_all_days(f"SELECT * FROM {name} ORDER BY event_id"))
    return [dict(row.items()) for row in found_]


LOADED = ("inference_log", "truth_events")


def load(path: Path, *options: str) -> int:
    return main(["load", "transactions", str(path), *options])


class TestLoad:
    def test_logs_what_nothing_has_scored(self, warehouse, tmp_path, capsys):
        """As history: source loaded, version -1, and a truth of each."""
        status = load(written(transactions(), tmp_path / "cards.csv"))
        log, truths = (rows(warehouse, table) for table in LOADED)
        said = capsys.readouterr().out

        assert status == 0
        assert (len(log), len(truths)) == (N, N)
        assert {row["source"] for row in log} == {"loaded"}
        assert {row["model_version"] for row in log} == {-1}
        assert {row["probability"] for row in log} == {None}
        assert {row["event_id"] for row in truths} == {row["event_id"] for row in log}
        assert sum(row["label"] for row in truths) == 1
        assert {(r["event_id"], r["event_time"]) for r in log} == {
            (r["event_id"], r["truth_time"]) for r in truths
        }
        assert "2026-03-03" in said

    def test_twice_counts_once(self, warehouse, tmp_path):
        """And of a longer file only what is new, as a training reads it."""
        short = written(transactions().slice(0, 12), tmp_path / "a.parquet")
        whole = written(transactions(), tmp_path / "b.csv")
        as_of = {"as_of": date(2026, 3, 4), "since": date(2026, 2, 1)}
        limits = {"truth_delay_days": 30, "maximum_rows": 1_000}
        parameters = {"use_case": USE_CASE.name, **as_of, **limits}
        sql, trained = USE_CASE.statement("event_training_rows"), []
        for path in (short, short, whole):
            load(path)
            trained.append(warehouse.table(sql, parameters).sort_by("event_id"))

        assert trained[0].equals(trained[1])
        assert [len(table) for table in trained] == [12, 12, N]
        log, truths = (rows(warehouse, table) for table in LOADED)
        assert len({row["inference_id"] for row in log}) == N
        assert len({row["message_id"] for row in truths}) == N

    def test_dry_run_needs_no_deployment(self, tmp_path, capsys):
        """It reads and checks, and writes nothing."""
        path = written(transactions(), tmp_path / "cards.csv")

        assert load(path, "--dry-run") == 0
        output = capsys.readouterr().out
        assert re.search(rf"transactions +{N}$", output, re.MULTILINE)
        assert re.search(r"is dry +yes$", output, re.MULTILINE)
