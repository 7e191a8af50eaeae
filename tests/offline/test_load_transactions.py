"""
Past transactions as the first data to train on, specified on files and the emulator.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from commands.cli import main
from offline import load_transactions
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


def public(n: int = N, **replaced: Any) -> pa.Table:
    """Return transactions in the public data set's columns; None leaves one out."""
    generator = np.random.default_rng(2)
    columns = {
        "Time": np.arange(n) * 3_600,
        **{name: generator.normal(size=n).round(3) for name in USE_CASE.features},
        "Class": (np.arange(n) % 10 == 3).astype(np.int64),
        **replaced,
    }
    return pa.table({key: one for key, one in columns.items() if one is not None})


def own(**changed: Any) -> pa.Table:
    """Return transactions in the columns of their events."""
    return public(
        **{
            "Time": None,
            "Class": None,
            "transaction_id": [f"t{n}" for n in range(N)],
            "event_time": [START + timedelta(hours=n) for n in range(N)],
            "is_fraud": [n == 4 for n in range(N)],
            **changed,
        }
    )


def written(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


@pytest.fixture
def found(tmp_path):
    """Read a table, by way of a file."""

    def reading(table: pa.Table, start: datetime | None = START, ending="parquet"):
        path = written(table, tmp_path / f"cards.{ending}")
        return read(path, USE_CASE, start=start, now=NOW)

    return reading


class TestFile:
    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_of_the_public_data_set_is_read(self, found, ending):
        """Time counts from the start, Class says what is fraud."""
        rows = found(public(), ending=ending)

        assert rows["event_time"].tolist() == [
            START + timedelta(hours=n) for n in range(N)
        ]
        assert rows["label"].tolist() == public()["Class"].to_pylist()
        assert rows["V1"].to_numpy() == pytest.approx(public()["V1"].to_numpy())

    def test_of_our_own_events_is_read(self, found):
        """With their ids and moments; a truth is found when it says."""
        later = [None if n % 2 else START + timedelta(days=2) for n in range(N)]
        rows = found(own(truth_time=later), None)

        assert rows["event_id"].tolist() == [f"t{n}" for n in range(N)]
        assert rows["label"].tolist() == [int(n == 4) for n in range(N)]
        assert rows["truth_time"][1] == rows["event_time"][1]
        assert rows["truth_time"][0] == START + timedelta(days=2)

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
        rows = found(own(event_time=[text] * N, truth_time=[text] * N), None, ending)

        assert {*rows["event_time"], *rows["truth_time"]} == {moment}

    def test_may_have_an_empty_column_of_moments(self, found):
        rows = found(own(truth_time=pa.nulls(N)), None, "csv")

        assert (rows["truth_time"] == rows["event_time"]).all()

    def test_has_its_ids_as_they_are_written(self, tmp_path):
        """One that looks like a number is none: the stream's is the same text."""
        path = written(own().drop_columns("transaction_id"), tmp_path / "cards.csv")
        header, *rows = path.read_text().splitlines()
        ids = [f"{n:03}" for n in range(N - 1)] + ["12345678901234567890"]
        lines = [f"{row},{given}" for row, given in zip(rows, ids, strict=True)]
        path.write_text("\n".join([f"{header},transaction_id", *lines]))

        assert read(path, USE_CASE, now=NOW)["event_id"].tolist() == ids

    def test_may_lack_outcomes(self, found):
        """Of all rows, or of some: what is not known is not 0."""
        some = pa.array([None if n % 2 else 0 for n in range(N)], pa.int64())

        assert found(public(Class=None))["label"].isna().all()
        labels = found(public(Class=some))["label"]
        assert (labels.isna().sum(), labels.sum()) == (N // 2, 0)

    def test_names_a_transaction_by_what_it_holds(self, found):
        """Wherever it stands; of equal rows each is one."""
        first, shorter = found(public()), found(public().slice(5))
        equal = found(pa.concat_tables([public(1), public(1)]))

        assert first["event_id"][5:].tolist() == shorter["event_id"].tolist()
        assert first["event_id"].nunique() == N
        assert equal["event_id"].nunique() == 2

    @pytest.mark.parametrize(
        ("table", "start", "message"),
        [
            (public(0), START, "no transaction"),
            (public(Time=None), START, "neither"),
            (public(), None, "--start"),
            (public(), NOW, "still to come"),
            (public(V2=[np.nan, *[1.0] * (N - 1)]), START, "row 1.*V2"),
            (public(V2=[*[1.0] * (N - 1), np.inf]), START, "row 30.*V2"),
            (public(Amount=["a"] * N), START, "Amount"),
            (public(Class=[2] * N), START, "row 1.*Class"),
            (public(Class=[-1] * N), START, "row 1.*Class"),
            (public(Time=[-1.0] * N), START, "row 1: wanted seconds"),
            (public(Time=[*[1.0] * (N - 1), 1e300]), START, "row 30: wanted seconds"),
            (public(), datetime(1960, 1, 1, tzinfo=UTC), "row 1 .*before 1971"),
            (own().append_column("Class", [[1] * N]), None, "both Class and is_fraud"),
            (own(transaction_id=["a"] * N), START, "several rows"),
            (
                own(transaction_id=[f"a{n}" for n in range(N - 1)] + ["a\nb"]),
                START,
                f"row {N}: transaction_id has no control characters",
            ),
            (own(transaction_id=[None, *["a"] * (N - 1)]), START, "row 1"),
            (own(event_time=["soon"] * N), START, "row 1: .*event_time"),
            (own(transaction_id=[1.5] * N), None, "transaction_id is the number 1.5"),
            (own(transaction_id=[2**53] * N), None, "write the column as text"),
            (own(truth_time=["2199-01-01"] * N), None, "row 1 .*truth_time.*to come"),
            (own(truth_time=["0001-01-01"] * N), None, "row 1 .*truth_time.*before"),
            (own(event_time=["2199-01-01"] * N), None, "row 1 .*still to come"),
        ],
        ids=str,
    )
    def test_that_is_wrong_says_where(self, found, table, start, message):
        """Column and row are named, and nothing is loaded."""
        with pytest.raises(SchemaError, match=message):
            found(table, start)

    def test_is_of_events_only(self, tmp_path):
        """A use case that scores users has no transactions."""
        with pytest.raises(SchemaError, match="scores users"):
            read(tmp_path / "x", usecases.load("ga4_purchase"), start=START, now=NOW)


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
    return main(["load", "transactions", str(path), "--start", "2026-03-01", *options])


class TestLoad:
    def test_logs_what_nothing_has_scored(self, warehouse, tmp_path, capsys):
        """As history: source loaded, version -1, and a truth of each."""
        status = load(written(public(), tmp_path / "cards.csv"))
        log, truths = (rows(warehouse, table) for table in LOADED)
        said = capsys.readouterr().out

        assert status == 0
        assert (len(log), len(truths)) == (N, N)
        assert {row["source"] for row in log} == {"loaded"}
        assert {row["model_version"] for row in log} == {-1}
        assert {row["probability"] for row in log} == {None}
        assert {row["event_id"] for row in truths} == {row["event_id"] for row in log}
        assert sum(row["label"] for row in truths) == 3
        assert {(r["event_id"], r["event_time"]) for r in log} == {
            (r["event_id"], r["truth_time"]) for r in truths
        }
        assert "2026-03-03" in said

    def test_adds_nothing_the_second_time(self, warehouse, tmp_path):
        """And of a longer file only what is new."""
        short = written(public().slice(0, 12), tmp_path / "a.parquet")
        whole = written(public(), tmp_path / "b.csv")
        stored = []
        for path in (short, short, whole):
            load(path)
            stored.append(
                [rows(warehouse, t) for t in ("inference_log", "truth_events")]
            )
        before, after, at_last = stored

        assert after == before
        assert [len(table) for table in before] == [12, 12]
        assert [len(table) for table in at_last] == [N, N]

    def test_loads_in_pieces(self, warehouse, found, monkeypatch):
        """As many as fit in a job, and no row is lost between two."""
        monkeypatch.setattr(load_transactions, "PIECE", 7)
        added = load_transactions.load(warehouse, USE_CASE, found(public()))

        assert added == {"transactions": N, "outcomes": N}
        assert len({row["event_id"] for row in rows(warehouse, "inference_log")}) == N

    def test_dry_run_needs_no_deployment(self, tmp_path, capsys):
        """It reads and checks, and writes nothing."""
        path = written(public(), tmp_path / "cards.csv")

        assert load(path, "--dry-run", "--limit", "9") == 0
        output = capsys.readouterr().out
        assert re.search(r"transactions +9$", output, re.MULTILINE)
        assert re.search(r"added +-$", output, re.MULTILINE)


class TestRealCards:
    def test_are_read(self, data_folder):
        """The first day's first transactions, 25 of them fraud, each with its id."""
        path = data_folder / "creditcard_day1.parquet"
        rows = read(path, USE_CASE, start=START, limit=6_942, now=NOW)

        assert (len(rows), rows["label"].sum()) == (6_942, 25)
        assert rows["event_id"].nunique() == 6_942
