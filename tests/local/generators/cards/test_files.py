"""
Real transactions from a file, specified: moved in time, and sent as generated ones.
"""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from pyarrow import parquet as pq

from local.generators.cards.files import CardsError, read_cards
from local.generators.cards.transactions import COLUMNS
from tests.local.generators.cards.conftest import cards_end, instant_of


@pytest.fixture
def table(cards) -> pa.Table:
    return cards.first(200).table()


class TestRealTransactions:
    @pytest.mark.parametrize("ending", ["parquet", "csv"])
    def test_are_read_from_parquet_and_csv(self, cards, table, tmp_path, ending):
        """With the values that were written, and times as far apart."""
        file = tmp_path / f"cards.{ending}"
        (pq.write_table if ending == "parquet" else csv.write_csv)(table, file)
        read = read_cards(file)

        assert (read.components == cards.components[:200]).all()
        assert (read.amounts == cards.amounts[:200]).all()
        assert (read.is_fraud == cards.is_fraud[:200]).all()
        assert (np.diff(read.time_ms) == np.diff(cards.time_ms[:200])).all()
        assert read.optimum_roc_auc() is None
        assert read.notes == (f"200 transactions of cards.{ending}, 7 frauds",)

    def test_end_before_the_moment_asked_for(self, table, tmp_path):
        """By a millisecond."""
        pq.write_table(table, tmp_path / "cards.parquet")
        read = read_cards(tmp_path / "cards.parquet", end=cards_end())

        assert instant_of(read, -1) == cards_end() - timedelta(milliseconds=1)

    def test_are_sent_as_the_generated_are(self, table, tmp_path):
        """With truths, repetitions and all."""
        pq.write_table(table, tmp_path / "cards.parquet")
        read = read_cards(tmp_path / "cards.parquet")

        assert len(read.deliveries()) == 200 + 10 + 2
        assert len(set(read.truths().ids)) == 190

    def test_classes_in_quotes_are_read(self, table, tmp_path):
        """As the public data set has them, its columns' names in quotes too."""
        lines = [",".join(f'"{name}"' for name in COLUMNS)]
        for row in table.slice(0, 20).to_pylist():
            *values, label = row.values()
            lines.append(",".join(map(repr, values)) + f',"{label}"')
        (tmp_path / "creditcard.csv").write_text("\n".join(lines) + "\n")

        assert len(read_cards(tmp_path / "creditcard.csv")) == 20

    def test_a_tail_of_frauds_is_left_out(self, table, tmp_path):
        """And that is said."""
        frauds = table.filter(pa.compute.equal(table["Class"], 1)).slice(0, 1)
        later = frauds.set_column(0, "Time", pa.array([table["Time"][-1].as_py() + 9]))
        pq.write_table(
            pa.concat_tables([table, *[later] * 40]), tmp_path / "cards.parquet"
        )
        read = read_cards(tmp_path / "cards.parquet")

        assert len(read) == 200
        assert read.notes[1] == (
            "40 more of the file are left out: the last 40 are frauds only"
        )

    def test_two_frauds_at_the_end_are_no_tail(self, table, tmp_path):
        """That may happen."""
        label = pa.array([0] * 198 + [1, 1])
        pq.write_table(table.set_column(30, "Class", label), tmp_path / "cards.parquet")

        assert len(read_cards(tmp_path / "cards.parquet")) == 200

    def test_what_goes_back_in_time_is_left_out(self, table, tmp_path):
        """With all that comes after it."""
        again = pa.concat_tables([table, table])
        pq.write_table(again, tmp_path / "cards.parquet")
        read = read_cards(tmp_path / "cards.parquet")

        assert len(read) == 200
        assert read.notes[1] == (
            "200 more of the file are left out: Time goes back after them"
        )

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda t: t.drop_columns(["V7", "Class"]), "lacks V7, Class"),
            (
                lambda t: t.rename_columns([c.lower() for c in COLUMNS]),
                "lacks Time, V1",
            ),
            (lambda t: t.slice(0, 0), "holds no transactions"),
            (
                lambda t: t.set_column(3, "V3", pa.array(["high"] * 200)),
                "columns that are not numbers",
            ),
            (
                lambda t: t.set_column(4, "V4", pa.array([math.nan] * 200)),
                "without a finite number in V4",
            ),
            (
                lambda t: t.set_column(4, "V4", pa.array([None] * 200, pa.float64())),
                "without a finite number in V4",
            ),
            (
                lambda t: t.set_column(30, "Class", pa.array([2] * 200)),
                "other values than 0 and 1",
            ),
            (
                lambda t: t.set_column(30, "Class", pa.array([1] * 200)),
                "holds frauds only",
            ),
        ],
    )
    def test_another_file_is_refused(self, table, tmp_path, change, says):
        """In words that name what is wrong."""
        pq.write_table(change(table), tmp_path / "cards.parquet")

        with pytest.raises(CardsError, match=says):
            read_cards(tmp_path / "cards.parquet")

    def test_what_is_no_table_is_refused(self, tmp_path):
        """Nor is a file that is not there one."""
        (tmp_path / "cards.parquet").write_text("Time")

        with pytest.raises(CardsError, match="first line is .Time.: it lacks V1"):
            read_cards(tmp_path / "cards.parquet")
        with pytest.raises(CardsError, match="can not be read"):
            read_cards(tmp_path / "nothing.csv")

    def test_the_first_day_is_used_as_far_as_it_is_a_stream(self, data_folder):
        """6,942 transactions with 25 frauds, and not the 256 frauds after them."""
        read = read_cards(data_folder / "creditcard_day1.parquet")

        assert (len(read), read.is_fraud.sum()) == (6_942, 25)
        assert read.notes[1] == (
            "256 more of the file are left out: the last 256 are frauds only"
        )
        assert list(read.events())[0]["Amount"] == 149.62

    def test_the_first_transactions_are_used_whole(self, data_folder):
        """2 frauds in 3,972."""
        read = read_cards(data_folder / "creditcard_first3972.parquet")

        assert (len(read), read.is_fraud.sum(), len(read.notes)) == (3_972, 2, 1)
