"""What is sent of card transactions, specified: what comes late, twice and broken."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from local.generators.cards.__main__ import main
from local.generators.cards.files import read_cards
from local.generators.cards.transactions import FAULTS, TRUTH_FAULTS
from local.generators.delivery import Delivery
from propensity import usecases
from propensity.events.catalogue import Catalogue
from propensity.events.messages import Message
from propensity.events.rows import Rules, accept
from tests.local.generators.cards.conftest import small


@pytest.fixture(scope="module")
def sent(cards) -> list[Delivery]:
    return cards.deliveries()


@pytest.fixture(scope="module")
def truths(cards):
    return cards.truths()


@pytest.fixture(scope="module")
def truth_deliveries(truths) -> list[Delivery]:
    return truths.deliveries()


class TestDeliveries:
    def test_every_transaction_is_sent(self, cards, sent):
        """Once, but for the repetitions."""
        once = [
            delivery
            for delivery in sent
            if delivery.event and not delivery.is_duplicate
        ]

        assert sorted(delivery.event["transaction_id"] for delivery in once) == sorted(
            cards.ids
        )
        assert Counter(delivery.is_duplicate for delivery in sent)[True] == 50
        assert sum(delivery.is_late for delivery in once) == 20

    def test_every_fault_is_refused_for_its_reason(self, cards):
        """And nothing else is, by the stream itself; truths among them."""
        sent = [
            *cards.deliveries(broken=0.03),
            *cards.truths().deliveries(broken=0.02),
        ]
        messages = [
            Message(data=delivery.data, message_id=str(place))
            for place, delivery in enumerate(sent)
        ]
        accepted = accept(
            messages,
            Catalogue([usecases.load("card_fraud")]),
            None,
            received_at=datetime(2026, 8, 1, tzinfo=UTC),
            rules=Rules(
                maximum_bytes=2**18,
                clock_skew=timedelta(0),
                lateness=timedelta(days=36_500),
            ),
        )
        refused = {
            place: delivery.reason for place, delivery in accepted.refused.items()
        }

        assert refused == {
            place: delivery.reason
            for place, delivery in enumerate(sent)
            if delivery.event is None
        }
        assert {delivery.fault for delivery in sent if delivery.event is None} == {
            *FAULTS,
            *TRUTH_FAULTS,
        }


class TestTruths:
    def test_of_most_transactions_one_is_found_out(self, cards, truths):
        """Of one in twenty nobody ever learns."""
        assert len(set(truths.ids)) == 950
        assert len(truths) == 950 + truths.is_wrong.sum()

    def test_the_latest_is_true(self, cards, truths):
        """Whatever was said before."""
        labels = cards.labels()
        latest: dict[str, tuple[str, bool]] = {}
        for event in truths.events():
            finding = (event["truth_time"], event["is_fraud"])
            latest[event["transaction_id"]] = max(
                finding, latest.get(event["transaction_id"], ("", False))
            )

        assert all(labels[which] == is_fraud for which, (_, is_fraud) in latest.items())

    def test_come_after_their_transactions(self, cards, truths):
        """By the delay asked for, on average: 18 hours, to 5 standard errors."""
        wrong = np.isin(truths.row, truths.row[truths.is_wrong])
        waits = (truths.time_ms - cards.time_ms[truths.row])[~wrong] / 3.6e6

        assert waits.min() > 0
        assert abs(np.mean(waits) - 18) < 5 * 18 / math.sqrt(950)

    def test_are_sent_twice_late_and_out_of_order(self, cards, truth_deliveries):
        """A correction may come before what it corrects."""
        large = small(transactions=5_000, fraud_rate=0.3).drawn.truths()
        arrived: dict[str, list[str]] = {}
        for delivery in large.deliveries():
            if delivery.event and not delivery.is_duplicate:
                arrived.setdefault(delivery.event["transaction_id"], []).append(
                    delivery.event["truth_time"]
                )
        twice = [times for times in arrived.values() if len(times) == 2]

        assert sum(delivery.is_duplicate for delivery in truth_deliveries) == 48
        assert any(times != sorted(times) for times in twice)
        assert any(times == sorted(times) for times in twice)


class TestCommand:
    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_writes_the_public_columns(self, tmp_path, ending):
        """Which can be read again."""
        file = tmp_path / f"cards.{ending}"
        main([str(file), "--transactions", "300"])

        assert len(read_cards(file)) == 300
