"""Card transactions of the user's own: what is read, and what is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyarrow import csv
from pyarrow import parquet as pq

from local.generators.cards import COLUMNS, Transactions, checked, read_cards
from local.generators.cards import cards as drawn
from local.generators.streams import moment
from propensity.errors import SchemaError

DAY = timedelta(days=1)
END = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def cards() -> Transactions:
    return drawn(transactions=1_000, fraud_rate=0.03)


@pytest.fixture
def table(cards) -> pa.Table:
    """Two hundred transactions in the public data set's columns."""
    seconds = (cards.time_ms - cards.time_ms[0]) / 1_000
    values = [seconds, *cards.components.T, cards.amounts, cards.is_fraud.astype(int)]
    return pa.table(dict(zip(COLUMNS, values, strict=True))).slice(0, 200)


def column(name: str, values: list[object]):
    """Return a change of a table: other values of one column."""
    place = COLUMNS.index(name)
    return lambda table: table.set_column(place, name, pa.array(values * 200)[:200])


class TestFiles:
    @pytest.mark.parametrize("ending", ["parquet", "csv"])
    def test_files_are_read_from_parquet_and_csv(self, cards, table, tmp_path, ending):
        """Stretched between two times."""
        file = tmp_path / f"cards.{ending}"
        (pq.write_table if ending == "parquet" else csv.write_csv)(table, file)
        read = read_cards(file, start=END - DAY, end=END)
        times = cards.time_ms[:200] - cards.time_ms[0]

        assert (read.components == cards.components[:200]).all()
        assert (read.amounts == cards.amounts[:200]).all()
        assert (read.is_fraud == cards.is_fraud[:200]).all()
        assert moment(int(read.time_ms[0])) == END - DAY
        assert moment(int(read.time_ms[-1]) + 1) == END
        shares = (read.time_ms - read.time_ms[0]) / 86_400_000
        assert shares == pytest.approx(times / times[-1], abs=1e-6)

    def test_files_may_have_everything_in_quotes(self, table, tmp_path):
        """As the public data set has its classes and the names of its columns."""
        lines = [",".join(f'"{name}"' for name in COLUMNS)]
        for row in table.slice(0, 19).to_pylist():
            *values, label = row.values()
            lines.append(",".join(map(repr, values)) + f',"{label}"')
        (tmp_path / "creditcard.csv").write_text("\n".join(lines) + "\n")

        assert len(checked(tmp_path / "creditcard.csv")) == 19

    def test_files_are_used_without_the_frauds_at_their_end(self, table, tmp_path):
        frauds = table.filter(pa.compute.equal(table["Class"], 1)).slice(0, 1)
        whole = pa.concat_tables([table, *[frauds] * 40])
        pq.write_table(whole, tmp_path / "cards.parquet")

        expected = table.to_pandas().astype(float)
        assert checked(tmp_path / "cards.parquet").equals(expected)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda t: t.drop_columns(["V7", "Class"]), "V7, Class"),
            (lambda t: t.slice(0, 0), "has no genuine transactions"),
            (
                lambda t: pa.concat_tables([t, t]),
                "row 201: Time is earlier than",
            ),
            (column("V3", ["high"]), "row 1: expected a finite number in column V3"),
            (column("V4", [1.0, math.nan]), "row 2: V4 is not a finite number"),
            (column("Class", [2]), "values other than 0 and 1"),
            (column("Class", [1]), "has no genuine transactions"),
        ],
    )
    def test_files_of_something_else_are_refused(self, table, tmp_path, change, says):
        pq.write_table(change(table), tmp_path / "cards.parquet")
        (tmp_path / "text.parquet").write_text("Time")

        with pytest.raises(SchemaError, match=says):
            checked(tmp_path / "cards.parquet")
        for name in ("text.parquet", "nothing.csv"):
            with pytest.raises(SchemaError, match=name):
                checked(tmp_path / name)

    def test_files_of_real_transactions_are_used(self, data_folder):
        """6,942 transactions with 25 frauds, and not the 256 frauds after them."""
        file = data_folder / "creditcard_day1.parquet"
        read = read_cards(file, start=END - DAY, end=END)

        assert (len(read), read.is_fraud.sum()) == (6_942, 25)
        assert read.events()[0]["Amount"] == 149.62
