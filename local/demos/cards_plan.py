"""What the fraud part plays: transactions and truths, in the order of sending."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.generators.cards.transactions import Transactions
from local.generators.delivery import Delivery
from local.generators.drawing import moment

TRANSACTIONS = 8_000
# The real rate is a sixth of a percent: measured, it would take far more transactions.
FRAUD_RATE = 0.03
# Of a real file the demo takes so many.
MAXIMUM_TRANSACTIONS = 12_000
DAYS = 8
DAY = timedelta(days=1)
# Days from the last transaction to now: by then truths are in, or never come.
SINCE_LAST = 8
PARTS = 4
PACED_SHARE = 0.5


@dataclass(frozen=True)
class Plan:
    """
    Transactions and truths as a producer sends them, in parts.

    ``parts`` are in the order of sending: what is sent before each stop of the clock,
    and the rest. ``stops`` are those moments.
    """

    transactions: Transactions
    parts: Sequence[Sequence[Delivery]]
    stops: Sequence[datetime]

    @property
    def deliveries(self) -> Iterator[Delivery]:
        """Everything that is sent."""
        return itertools.chain.from_iterable(self.parts)


def planned(transactions: Transactions, *, now: datetime) -> Plan:
    """
    Lay deliveries out in parts of as many transactions each.

    Args:
        transactions: In order of time.
        now: Truths that are found out later are not sent.
    """
    stops = [
        moment_of(transactions, len(transactions) * part // PARTS)
        for part in range(1, PARTS)
    ]
    truths = transactions.truths().deliveries()
    sent = [
        *transactions.deliveries(),
        *(truth for truth in truths if truth.sent_time < now),
    ]
    sent.sort(key=lambda delivery: delivery.sent_time)
    bounds = [
        0,
        *(sum(delivery.sent_time < stop for delivery in sent) for stop in stops),
    ]
    parts = [
        sent[first:last]
        for first, last in zip(bounds, [*bounds[1:], len(sent)], strict=True)
    ]
    return Plan(transactions, parts, stops)


def moment_of(transactions: Transactions, row: int) -> datetime:
    """Return when a transaction happened."""
    return moment(int(transactions.time_ms[row]))


def is_truth(delivery: Delivery) -> bool:
    """Whether a message is the truth of a transaction; False for a broken one."""
    return delivery.event is not None and "is_fraud" in delivery.event
