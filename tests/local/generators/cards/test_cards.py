"""
The generated card transactions, specified: the process, and the scores by its own laws.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from local.generators.cards.cards import COMMON, Cards
from local.generators.cards.transactions import FEATURES, Transactions
from tests.local.generators.cards.conftest import (
    DAY,
    instant,
    instant_of,
    small,
)

GOLDEN = "9b0afc26ef3abba48328c408bcd2b0e0e894ac4393bf504c4f81e55f2686a7f2"


def digest(transactions: Transactions) -> str:
    """Of all that is sent, and so of all that is drawn."""
    sha256 = hashlib.sha256()
    for sent in (transactions.deliveries(), transactions.truths().deliveries()):
        for delivery in sent:
            sha256.update(delivery.data)
            sha256.update(delivery.sent_time.isoformat().encode())
    return sha256.hexdigest()


@pytest.fixture(scope="module")
def process() -> Cards:
    """Enough transactions to measure with, half of them fraud."""
    return Cards(transactions=60_000, fraud_rate=0.5, days=10)


@pytest.fixture(scope="module")
def many(process) -> Transactions:
    return process.drawn


def covariance(process: Cards, since: np.ndarray) -> np.ndarray:
    """The covariance matrix of usual transactions, at a time."""
    common, scale = process.loadings(since)[0], process.scales(since)[0]
    correlation = COMMON * common @ common.T + (1 - COMMON) * np.eye(len(scale))
    return scale[:, None] * correlation * scale


class TestSeed:
    def test_the_same_arguments_give_the_same_bytes(self, cards):
        """In one process as in any other: the digest is of an earlier one."""
        assert digest(cards) == digest(small().drawn) == GOLDEN

    @pytest.mark.parametrize(
        "wrong",
        [
            {"seed": -1},
            {"transactions": 0},
            {"fraud_rate": 1.5},
            {"fraud_rate": -0.1},
            {"days": 0},
            {"drift": 2.0},
            {"end": datetime(2026, 1, 1)},  # noqa: DTZ001 - what is refused
        ],
    )
    def test_what_leaves_nothing_to_draw_is_refused(self, wrong):
        """With words for what is wanted."""
        with pytest.raises(ValueError, match="wanted"):
            small(**wrong)


class TestTransactions:
    @pytest.mark.parametrize(
        ("rate", "count", "frauds"),
        [(0.01, 6_000, 60), (0.0017, 6_000, 10), (0.0, 500, 0), (1.0, 50, 50)],
    )
    def test_the_base_rate_is_exact(self, rate, count, frauds):
        """To the next whole transaction, that of the public data set included."""
        assert small(transactions=count, fraud_rate=rate).drawn.is_fraud.sum() == frauds

    def test_are_in_order_of_time_and_before_the_end(self, cards):
        """Within the days asked for, in whichever zone the end is given."""
        zone = timezone(timedelta(hours=-5))
        ends = datetime(2026, 3, 1, tzinfo=zone)
        transactions = small(end=ends, days=3).drawn
        first, last = (instant_of(transactions, row) for row in (0, -1))

        assert (np.diff(transactions.time_ms) >= 0).all()
        assert ends - 3 * DAY <= first < ends - 2 * DAY
        assert ends - DAY < last < ends

    def test_are_events_of_all_fields(self, cards):
        """Bare: no type, no use case and no user is among them."""
        events = list(cards.events())
        first = events[0]

        assert len(events) == len(cards)
        assert list(first) == ["transaction_id", *FEATURES, "event_time", "ingest_ts"]
        assert instant(first["event_time"]) == instant_of(cards, 0)
        assert instant(first["ingest_ts"]) > instant(first["event_time"])
        assert [event["Amount"] for event in events] == cards.amounts.tolist()

    def test_can_be_cut_stretched_and_named(self, cards):
        """Each leaves the rest as it was."""
        start, end = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 3, tzinfo=UTC)
        played = cards.first(300).stretched(start, end).named("t-")

        assert len(played) == 300
        assert played.ids[-1] == "t-0000300"
        assert instant_of(played, 0) == start
        assert end - timedelta(seconds=1) < instant_of(played, -1) < end
        assert (played.components == cards.components[:300]).all()
        assert (
            list(played.labels().values()) == cards.is_fraud[:300].astype(int).tolist()
        )


class TestTruth:
    def test_the_true_probabilities_are_true(self, many):
        """
        In every tenth of them as many are fraud as they say, to 4 standard errors.

        And all over the days.
        """
        p, y = many.true_probabilities, many.is_fraud
        by_odds = np.array_split(np.argsort(p, kind="stable"), 10)

        for rows in (*by_odds, *np.array_split(np.arange(len(p)), 10)):
            error = math.sqrt((p[rows] * (1 - p[rows])).sum()) + 1
            assert abs(p[rows].sum() - y[rows].sum()) < 4 * error

    def test_the_optimum_is_what_the_probabilities_reach(self, many):
        """
        High, and not 1: some frauds look as their victims do.

        From the probabilities alone follows the same, since they are those of the
        labels: the expected ROC AUC weighs each row by them.
        """
        p = many.true_probabilities
        order = np.argsort(p, kind="stable")
        below = np.cumsum((1 - p)[order]) - (1 - p)[order] / 2
        expected = (p[order] * below).sum() / (p.sum() * (1 - p).sum())

        assert many.optimum_roc_auc() == roc_auc_score(many.is_fraud, p)
        assert many.optimum_roc_auc() == pytest.approx(expected, abs=0.003)
        assert 0.96 < many.optimum_roc_auc() < 0.99
