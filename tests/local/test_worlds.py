"""
The generated worlds: the same to the last bit, with known truth and real data's faults.

What is statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from local.exports.ga4_schema import ARROW_SCHEMA
from local.generators.cards import FAULTS, TRUTH_FAULTS, Transactions, cards
from local.generators.games import FAULTS as GAME_FAULTS
from local.generators.games import Games
from local.generators.shop import LATEST_ARRIVAL_DAYS, Shop
from propensity import usecases
from propensity.events.messages import Message
from propensity.events.rows import accept
from propensity.events.types import Catalogue

DAY = timedelta(days=1)


def digest(things: Iterable[Any]) -> str:
    return hashlib.sha256("\n".join(map(repr, things)).encode()).hexdigest()[:12]


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(users=800, days=150, seed=3)


@pytest.fixture(scope="module")
def rows(shop) -> list[dict[str, Any]]:
    whole = pa.concat_tables(map(shop.shard, shop.dates))
    assert whole.schema.equals(ARROW_SCHEMA)
    return whole.to_pylist()


@pytest.fixture(scope="module")
def transactions() -> Transactions:
    return cards(transactions=1_000, fraud_rate=0.03)


def test_a_world_is_the_same_each_time_and_another_by_another_seed():
    """So that the figures of the demo are."""

    def worlds(seed: int) -> list[str]:
        shop = Shop(users=200, days=10, seed=seed)
        games = Games(users=20, maximum_events=20, seed=seed)
        cards_of = cards(transactions=100, fraud_rate=0.03, seed=seed)
        return [
            digest(pa.concat_tables(map(shop.shard, shop.dates)).to_pylist()),
            digest(shop.loyalty().to_pylist()),
            digest(games.deliveries()),
            digest(cards_of.deliveries()),
        ]

    first, again, other = map(worlds, (3, 3, 4))

    assert first == again
    assert not {*first} & {*other}


class TestShop:
    def test_the_shop_grows_for_three_days_by_rows_that_come_late(self, shop):
        """No row is taken from a day or changed."""
        day = shop.dates[11]
        seen = [
            Counter(map(str, shop.shard(day, seen_on=day + n * DAY).to_pylist()))
            for n in range(LATEST_ARRIVAL_DAYS + 1)
        ]

        assert all(a <= b for a, b in zip(seen, seen[1:], strict=False))
        assert seen[0] < seen[-1] == Counter(map(str, shop.shard(day).to_pylist()))

    @pytest.mark.parametrize(
        ("column", "inner", "marks"),
        [
            ("geo", "country", {"(not set)"}),
            ("device", "operating_system", {"<Other>"}),
            ("traffic_source", "source", {"<Other>", "(data deleted)"}),
            ("ecommerce", "transaction_id", {"(not set)", None}),
            ("privacy_info", "analytics_storage", {"Yes", "No", None}),
        ],
    )
    def test_the_shop_has_marks_where_values_are_missing(
        self, rows, column, inner, marks
    ):
        assert marks <= {row[column][inner] for row in rows}

    @pytest.mark.parametrize("key", ["engagement_time_msec", "value"])
    def test_the_shop_has_parameters_of_several_types(self, rows, key):
        found = values(rows, key)
        kinds = {k for value in found for k in value if value[k] is not None}

        assert kinds == {"int_value", "double_value", "float_value", "string_value"}

    def test_the_shop_has_rows_without_items_and_rows_exported_twice(self, rows):
        twice = sum(n == 2 for n in Counter(map(str, rows)).values())

        assert any(r["event_name"] == "view_item" and not r["items"] for r in rows)
        assert 0.002 * len(rows) < twice < 0.01 * len(rows)


def values(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Every value of one event parameter, as its four typed fields."""
    return [p["value"] for row in rows for p in row["event_params"] if p["key"] == key]


class TestGames:
    def test_games_are_sent_with_repeated_late_and_broken_messages(self):
        """One in ten again, byte for byte; one in twenty late by days; one in a hundred
        broken, under an id of its own, with every reason among them."""
        games = Games(users=200, maximum_events=60)
        events, once, late = [*games.events()], {}, 0
        sent = games.deliveries()
        for one in sent:
            if one.event and one.event["event_id"] not in once:
                once[one.event["event_id"]] = one.data
                happened = datetime.fromisoformat(one.event["event_time"])
                late += one.sent_time - happened >= DAY
            assert not one.event or once[one.event["event_id"]] == one.data
        broken = [one for one in sent if one.event is None]
        ids = {one.attributes["event_id"] for one in broken}

        assert sorted(once) == sorted(event["event_id"] for event in events)
        assert len(sent) - len(once) - len(broken) == round(0.10 * len(events))
        assert late == round(0.05 * len(events))
        assert len(broken) == round(0.01 * len(events)) == len(ids - {*once})
        assert {one.reason for one in broken} == {*GAME_FAULTS}


class TestCards:
    def test_cards_have_true_probabilities(self):
        """In every tenth as many are fraud as they say, to 4 standard errors, and all
        over the days. Some frauds look as their victims do."""
        many = cards(transactions=60_000, fraud_rate=0.5, days=10)
        p, y = many.true_probabilities, many.is_fraud
        by_odds = np.array_split(np.argsort(p, kind="stable"), 10)

        for rows in (*by_odds, *np.array_split(np.arange(len(p)), 10)):
            error = math.sqrt((p[rows] * (1 - p[rows])).sum()) + 1
            assert abs(p[rows].sum() - y[rows].sum()) < 4 * error
        assert 0.96 < roc_auc_score(y, p) < 0.99

    def test_cards_are_refused_for_their_faults_alone(self, transactions):
        """By the stream itself; truths among them."""
        sent = transactions.deliveries()
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
        assert {one.reason for one in sent if not one.event} == {*FAULTS, *TRUTH_FAULTS}
