"""
00-ModelTraining of a use case that scores events, specified on emulators.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from propensity.registry.versions import Registry
from tests.functions.conftest import Place
from tests.scored_cards import DAY, START, Cards, drawn, store, stored, truth

FIRST = date(2026, 3, 14)
NAME = "card_fraud"


class Shop:
    """A place, and its registry of card fraud."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.warehouse = place.warehouse
        self.registry = Registry(place.registry.artifacts, NAME)

    def train(self, as_of: date = FIRST, **body: object) -> dict[str, Any]:
        return self.place.run("model_training", as_of, use_case=NAME, **body)

    def recorded(self) -> list[dict[str, Any]]:
        return self.place.rows(
            "SELECT * FROM ma_model_training_metadata ORDER BY model_version"
        )

    def champion(self) -> int:
        return self.registry.champion().version


@pytest.fixture
def shop(borrow) -> Shop:
    """A shop without an export: all it has is transactions."""
    return Shop(borrow(""))


@pytest.fixture(scope="module")
def cards() -> Cards:
    return drawn(1_500)


@pytest.fixture(scope="module")
def trained(places, cards) -> tuple[Shop, dict[str, Any]]:
    """A shop whose truths are known, and what the first training answered."""
    shop = Shop(places.new(""))
    stored(shop.warehouse, cards)
    return shop, shop.train()


class TestVersion:
    def test_is_recorded_with_what_was_known(self, trained, cards):
        """The row, the card and the answer say how good, by how many alerts."""
        shop, answer = trained
        [row] = shop.recorded()

        assert (row["use_case"], row["model_version"]) == (NAME, 0)
        assert row["is_warm"]
        assert row["promoted"]
        assert row["users"] == answer["rows"]["holdout"] == 300
        assert row["roc_auc"] > 0.95
        assert [entry["rate"] for entry in answer["alerts"]] == [
            0.001, 0.005, 0.01,
        ]  # fmt: skip
        card = json.loads(row["card"])
        savings = card["savings"]
        spared = savings["cost_without"] - savings["cost"]
        assert float(row["saved"]) == pytest.approx(spared)
        # Fewer than twenty frauds are too few for an interval.
        assert (savings["saved_low"], savings["saved_high"]) == (None, None)
        assert answer["cost"]["saved"] == float(row["saved"])
        assert answer["cost"]["alert_threshold"] == row["alert_threshold"]
        assert savings["baseline_saved"] is not None
        assert answer["outcomes"] == {
            "known": 1_500, "unknown": 0, "pending": 0, "conflicting": 0,
        }  # fmt: skip
        assert {candidate["name"] for candidate in card["candidates"]} == {
            "half_space_trees", "logistic_regression", "hist_gradient_boosting",
        }  # fmt: skip


class TestWithoutTruths:
    def test_trains_what_needs_none(self, shop, cards):
        """Version 0 learns what is usual; nothing is measured, and it serves."""
        stored(shop.warehouse, cards, known=())
        answer = shop.train()
        [row] = shop.recorded()

        assert answer["algorithm"] == "HalfSpaceTrees"
        assert answer["promoted"]
        assert answer["is_warm"]
        assert (row["roc_auc"], row["users"]) == (None, 0)
        assert shop.champion() == 0
        # Seven days on, the oldest can be told to stay unknown; none is taken for 0.
        assert answer["outcomes"]["known"] == 0
        assert answer["outcomes"]["unknown"] > 0
        assert answer["outcomes"]["pending"] > 0

    def test_gives_way_to_the_first_that_is_warm(self, shop):
        """A hundred rows fill no window: the version is recorded and serves, and its
        verdict says so. A champion without scores is worth less than any scores."""
        stored(shop.warehouse, drawn(100), known=())
        cold = shop.train()
        more = drawn(400, start=START + 12 * DAY, days=1, prefix="u")
        stored(shop.warehouse, more, known=())
        warm = shop.train(FIRST + 2 * DAY)

        assert [row["is_warm"] for row in shop.recorded()] == [False, True]
        assert (cold["is_warm"], cold["promoted"]) == (False, True)
        assert "not warm" in cold["verdict"]
        assert warm["promoted"]
        assert shop.champion() == 1

    def test_needs_a_transaction(self, shop):
        """Without any there is nothing to learn: 422, and the lease is free."""
        refused = shop.place.post(
            "model_training", {"use_case": NAME, "as_of": str(FIRST)}
        )

        assert refused.status_code == 422
        assert "propensity load transactions" in refused.json["message"]


class TestGate:
    def test_promotes_what_the_truths_taught(self, shop, cards):
        """Once frauds are known a version that learned from them takes over."""
        stored(shop.warehouse, cards, known=())
        shop.train()
        store(
            shop.warehouse,
            truths=[
                truth(event_id, START + 11 * DAY, int(label))
                for event_id, label in zip(cards.ids, cards.is_fraud, strict=True)
            ],
        )
        answer = shop.train(force=True)
        row = shop.recorded()[1]

        assert answer["promoted"]
        assert shop.champion() == 1
        assert row["compared_version"] == 0
        assert json.loads(row["card"])["verdict"]["roc_auc_difference"] is not None
        # The first version saw no truth, and has no alerts.
        assert answer["verdict"].startswith("not worse: cost -")


class TestPointInTime:
    def test_reads_nothing_after_the_as_of_date(self, shop, cards):
        """A transaction, a score or a truth of later is in no training row."""
        stored(shop.warehouse, cards)
        halfway = START + 5 * DAY
        answer = shop.train(halfway.date())

        before = sum(at < halfway for at in cards.at)
        known = sum(at + DAY < halfway for at in cards.at)
        assert answer["outcomes"]["known"] == known
        assert answer["outcomes"]["pending"] == before - known
        assert answer["as_of"] == str(halfway.date())
