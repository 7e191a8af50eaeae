"""
The generated worlds: the same to the last bit, with known truth and real data's faults;
and files of card transactions of the user's own.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyarrow import csv
from pyarrow import parquet as pq

from local.generators.cards import (
    COLUMNS,
    Transactions,
    cards,
    checked,
    read_cards,
)
from local.generators.streams import moment
from propensity.errors import SchemaError

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def transactions() -> Transactions:
    return cards(transactions=1_000, fraud_rate=0.03)


END = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def table(transactions) -> pa.Table:
    """Two hundred transactions in the public data set's columns."""
    seconds = (transactions.time_ms - transactions.time_ms[0]) / 1_000
    values = [
        seconds,
        *transactions.components.T,
        transactions.amounts,
        transactions.is_fraud.astype(int),
    ]
    return pa.table(dict(zip(COLUMNS, values, strict=True))).slice(0, 200)


def column(name: str, values: list[object]):
    """Return a change of a table: other values of one column."""
    index = COLUMNS.index(name)
    return lambda table: table.set_column(index, name, pa.array(values * 200)[:200])


class TestCardFiles:
    def test_card_files_are_stretched_between_two_times(
        self, transactions, table, tmp_path
    ):
        """The public data set has quotes."""
        file = tmp_path / "cards.csv"
        csv.write_csv(table, file, csv.WriteOptions(quoting_style="all_valid"))
        read = read_cards(file, start=END - DAY, end=END)
        times = transactions.time_ms[:200] - transactions.time_ms[0]

        assert (read.components == transactions.components[:200]).all()
        assert (read.amounts == transactions.amounts[:200]).all()
        assert (read.is_fraud == transactions.is_fraud[:200]).all()
        assert moment(int(read.time_ms[0])) == END - DAY
        assert moment(int(read.time_ms[-1]) + 1) == END
        shares = (read.time_ms - read.time_ms[0]) / 86_400_000
        assert shares == pytest.approx(times / times[-1], abs=1e-6)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda t: t.drop_columns(["V7", "Class"]), "V7, Class"),
            (lambda t: pa.concat_tables([t, t]), "row 201: Time is earlier than"),
            (column("V3", ["high"]), "column V3, row 1: 'high' is not a number"),
            (column("V4", [1.0, math.nan]), "row 2: V4 is not a finite number"),
            (column("Class", [1]), "has no genuine transactions"),
        ],
    )
    def test_card_files_of_something_else_are_refused(
        self, table, tmp_path, change, says
    ):
        pq.write_table(change(table), tmp_path / "cards.parquet")

        with pytest.raises(SchemaError, match=says):
            checked(tmp_path / "cards.parquet")

    def test_card_files_of_real_transactions_are_used(self, data_folder):
        """6,942 transactions with 25 frauds, and not the 256 frauds after them."""
        file = data_folder / "creditcard_day1.parquet"
        read = read_cards(file, start=END - DAY, end=END)

        assert (len(read), read.is_fraud.sum()) == (6_942, 25)
        assert read.events()[0]["Amount"] == 149.62
