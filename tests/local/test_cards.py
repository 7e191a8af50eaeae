"""
Card transactions: the generated ones, their truths and what is sent; real ones.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from pyarrow import parquet as pq
from sklearn.metrics import roc_auc_score

from local.generators.card_files import CardsError, checked, read_cards
from local.generators.cards import COLUMNS, FAULTS, TRUTH_FAULTS, Transactions
from local.generators.cards import cards as drawn
from local.generators.drawing import moment, texts_of
from propensity import usecases
from propensity.events.messages import Message
from propensity.events.rows import accept
from propensity.events.types import Catalogue

DAY = timedelta(days=1)
END = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def cards() -> Transactions:
    return drawn(transactions=1_000, fraud_rate=0.03)


class TestTransactions:
    def test_are_in_order_of_time_with_an_exact_rate_of_frauds(self):
        some = drawn(transactions=1_000, fraud_rate=0.0017, days=3, end=END)

        assert some.is_fraud.sum() == 2
        assert (np.diff(some.time_ms) >= 0).all()
        assert END - 3 * DAY <= moment(int(some.time_ms[0])) < END - 2 * DAY
        assert END - DAY < moment(int(some.time_ms[-1])) < END

    def test_have_true_probabilities(self):
        """
        In every tenth of them as many are fraud as they say, to 4 standard errors, and
        all over the days. Some frauds look as their victims do.
        """
        many = drawn(transactions=60_000, fraud_rate=0.5, days=10)
        p, y = many.true_probabilities, many.is_fraud
        by_odds = np.array_split(np.argsort(p, kind="stable"), 10)

        for rows in (*by_odds, *np.array_split(np.arange(len(p)), 10)):
            error = math.sqrt((p[rows] * (1 - p[rows])).sum()) + 1
            assert abs(p[rows].sum() - y[rows].sum()) < 4 * error
        assert 0.96 < roc_auc_score(y, p) < 0.99


class TestDeliveries:
    def test_are_the_same_for_the_same_seed(self, cards):
        again = drawn(transactions=1_000, fraud_rate=0.03)

        assert again.deliveries() == cards.deliveries()
        assert again.truth_deliveries() == cards.truth_deliveries()

    def test_have_every_transaction_once_but_for_repetitions(self, cards):
        sent = [one.event for one in cards.deliveries() if one.event]

        assert {event["transaction_id"] for event in sent} == {*cards.ids}
        assert len(sent) == 1_050

    def test_are_refused_for_their_faults_alone(self, cards):
        """By the stream itself; truths among them."""
        sent = [*cards.deliveries(), *cards.truth_deliveries()]
        messages = [Message(one.data, str(place)) for place, one in enumerate(sent)]
        accepted = accept(
            messages,
            Catalogue([usecases.load("card_fraud")]),
            None,
            received_at=datetime(2026, 8, 1, tzinfo=UTC),
        )

        assert {place: one.reason for place, one in accepted.refused.items()} == {
            place: one.reason for place, one in enumerate(sent) if one.event is None
        }
        reasons = {one.reason for one in sent if one.event is None}
        assert reasons == {*FAULTS, *TRUTH_FAULTS}


class TestTruths:
    def test_are_found_out_of_most_and_the_latest_is_true(self, cards):
        """Of one in twenty nobody ever learns; some are wrong first."""
        truths = cards.truths()
        times = dict(zip(cards.ids, texts_of(cards.time_ms), strict=True))
        latest = {}
        for event in truths:
            finding = (event["truth_time"], event["is_fraud"])
            which = event["transaction_id"]
            latest[which] = max(finding, latest.get(which, ("", False)))
            assert event["truth_time"] > times[which]
        labels = dict(zip(cards.ids, cards.is_fraud.tolist(), strict=True))

        assert len(latest) == 950 < len(truths)
        assert all(labels[which] == is_fraud for which, (_, is_fraud) in latest.items())


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
    def test_are_read_from_parquet_and_csv(self, cards, table, tmp_path, ending):
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

    def test_may_have_everything_in_quotes(self, table, tmp_path):
        """As the public data set has its classes and the names of its columns."""
        lines = [",".join(f'"{name}"' for name in COLUMNS)]
        for row in table.slice(0, 19).to_pylist():
            *values, label = row.values()
            lines.append(",".join(map(repr, values)) + f',"{label}"')
        (tmp_path / "creditcard.csv").write_text("\n".join(lines) + "\n")

        assert len(checked(tmp_path / "creditcard.csv")) == 19

    def test_are_used_without_the_frauds_at_their_end(self, table, tmp_path):
        frauds = table.filter(pa.compute.equal(table["Class"], 1)).slice(0, 1)
        whole = pa.concat_tables([table, *[frauds] * 40])
        pq.write_table(whole, tmp_path / "cards.parquet")

        assert checked(tmp_path / "cards.parquet").equals(
            table.cast(pa.schema([(name, pa.float64()) for name in COLUMNS]))
        )

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda t: t.drop_columns(["V7", "Class"]), "V7, Class"),
            (lambda t: t.slice(0, 0), "holds no genuine transaction"),
            (lambda t: pa.concat_tables([t, t]), "row 201: Time goes back"),
            (column("V3", ["high"]), "columns that are not numbers"),
            (column("V4", [math.nan]), "without a finite number in V4"),
            (column("Class", [2]), "other values than 0 and 1"),
            (column("Class", [1]), "holds no genuine transaction"),
        ],
    )
    def test_of_something_else_are_refused(self, table, tmp_path, change, says):
        pq.write_table(change(table), tmp_path / "cards.parquet")

        with pytest.raises(CardsError, match=says):
            checked(tmp_path / "cards.parquet")

    def test_that_are_no_tables_are_refused(self, tmp_path):
        (tmp_path / "cards.parquet").write_text("Time")

        with pytest.raises(CardsError, match="cards.parquet"):
            checked(tmp_path / "cards.parquet")
        with pytest.raises(CardsError, match="nothing.csv"):
            checked(tmp_path / "nothing.csv")

    def test_of_real_transactions_are_used(self, data_folder):
        """6,942 transactions with 25 frauds, and not the 256 frauds after them."""
        file = data_folder / "creditcard_day1.parquet"
        read = read_cards(file, start=END - DAY, end=END)

        assert (len(read), read.is_fraud.sum()) == (6_942, 25)
        assert read.events()[0]["Amount"] == 149.62
