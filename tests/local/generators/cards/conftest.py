"""A small stream of generated transactions, and what is sent of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.generators.cards.cards import Cards
from local.generators.cards.transactions import Transactions
from local.generators.drawing import moment

DAY = timedelta(days=1)


def small(**parameters: Any) -> Cards:
    return Cards(**{"transactions": 1_000, "fraud_rate": 0.03} | parameters)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def cards() -> Transactions:
    return small().drawn


def instant_of(cards: Transactions, row: int) -> datetime:
    return moment(int(cards.time_ms[row]))


def cards_end() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)
