"""
Past transactions as the first data to train on, specified on files and the emulator.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from offline.load_transactions import read_transactions
from propensity import usecases
from propensity.errors import SchemaError

USE_CASE = usecases.load("card_fraud")
START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)
N = 30
IDS = [f"a{n}" for n in range(N - 1)]


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


def read(folder: Path, table: pa.Table) -> pd.DataFrame:
    file = written(table, folder / "cards.parquet")
    return read_transactions(file, USE_CASE, now=NOW)


def test_a_file_is_read(tmp_path):
    """With its ids and moments; a truth is found when it says. What is not known is
    not 0."""
    later = [None if n % 2 else START + timedelta(days=2) for n in range(N)]
    known = pa.array([None if n % 3 else n == 3 for n in range(N)], pa.bool_())
    table = transactions(truth_time=later, is_fraud=known)
    rows = read(tmp_path, table)

    assert rows["event_id"].tolist() == [f"t{n}" for n in range(N)]
    assert rows["event_time"].tolist() == table["event_time"].to_pylist()
    labels = {n: int(n == 3) for n in range(0, N, 3)}
    assert rows["label"].dropna().to_dict() == labels
    assert rows["truth_time"][1] == rows["event_time"][1]
    assert rows["truth_time"][0] == START + timedelta(days=2)
    assert rows["V1"].to_numpy() == pytest.approx(table["V1"].to_numpy())
    assert read(tmp_path, transactions(is_fraud=None))["label"].isna().all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"event_time": None}, "lacks the columns event_time"),
        ({"V2": [*[1.0] * (N - 1), np.inf]}, "column V2, row 30: "),
        ({"transaction_id": ["a"] * N}, "several rows"),
        ({"transaction_id": ["(not set)", *IDS]}, r"row 1: .*\(not set\)"),
        ({"event_time": ["2199-01-01"] * N}, "event_time, row 1: .* until now"),
    ],
    ids=str,
)
def test_a_file_that_is_wrong_says_where(tmp_path, changed, message):
    """Column and row are named, and nothing is loaded."""
    with pytest.raises(SchemaError, match=message):
        read(tmp_path, transactions(**changed))


def test_a_load_logs_each_once_however_often_it_is_loaded(prepared, tmp_path, capsys):
    """As history that nothing has scored, with a truth of each; of a longer file
    only what is new counts, as a training reads it."""
    short = written(transactions().slice(0, 12), tmp_path / "a.parquet")
    whole = written(transactions(), tmp_path / "b.csv")
    as_of = {"as_of": date(2026, 3, 4), "since": date(2026, 2, 1)}
    limits = {"truth_delay_days": 30, "maximum_rows": 1_000}
    parameters = {"use_case": USE_CASE.name, **as_of, **limits}
    sql = USE_CASE.statement("event_training_rows")
    trained = []
    for path in (short, short, whole):
        assert prepared.command("load", "transactions", str(path)) == 0
        table = prepared.warehouse.table(sql, parameters)
        trained.append(table.sort_by("event_id"))

    assert "2026-03-03" in capsys.readouterr().out
    assert trained[0].equals(trained[1])
    assert [len(table) for table in trained] == [12, 12, N]
    log = prepared.rows("SELECT * FROM inference_log")
    truths = prepared.rows("SELECT * FROM truth_events")
    assert len({row["inference_id"] for row in log}) == N
    assert len({row["message_id"] for row in truths}) == N
    for row in log:
        assert (row["source"], row["model_version"]) == ("loaded", -1)
        assert row["probability"] is None
    found_at = {row["event_id"]: row["truth_time"] for row in truths}
    assert {row["event_id"]: row["event_time"] for row in log} == found_at
    assert {row["event_id"] for row in truths if row["label"]} == {"t4"}
