"""Card fraud through 00-ModelTraining: without truths and with them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from propensity.registry.versions import Registry
from tests import scored_cards
from tests.deployment import Deployment
from tests.scored_cards import DAY, START, Cards, store, stored, truth

NAME = "card_fraud"
TRAINED = date(2026, 3, 14)


def train(place: Deployment, as_of: date = TRAINED, **body: object) -> dict[str, Any]:
    return place.run("model_training", as_of, use_case=NAME, **body)


def champion(place: Deployment) -> int | None:
    serving = Registry(place.registry.artifacts, NAME).champion()
    return serving and serving.version


@pytest.fixture(scope="module")
def cards() -> Cards:
    return scored_cards.drawn(1_500)


@pytest.fixture(scope="module")
def unlabelled(borrow_module_deployment, cards) -> tuple[Deployment, dict[str, Any]]:
    """A place where no truth is known yet, and what the first training answered."""
    place = borrow_module_deployment(dataset="")
    place.fits_all = True
    stored(place.warehouse, cards, known=())
    return place, train(place)


@pytest.fixture(scope="module")
def labelled(unlabelled, cards) -> tuple[Deployment, dict[str, Any]]:
    """The same once all truths are known, and what another training answered."""
    place, _ = unlabelled
    found = START + 11 * DAY
    pairs = zip(cards.ids, cards.is_fraud, strict=True)
    store(
        place.warehouse,
        truths=[truth(of, found, int(one)) for of, one in pairs],
    )
    return place, train(place, force=True)


class TestWithoutTruths:
    def test_a_training_without_truths_trains_what_needs_none(self, unlabelled):
        """Version 0 learns what is usual; nothing is measured, and it serves."""
        place, answer = unlabelled
        row = place.versions()[0]

        assert answer["algorithm"] == "HalfSpaceTrees"
        assert (answer["model_version"], answer["promoted"]) == (0, True)
        assert answer["is_warm"]
        assert "too few are known to measure it" in answer["verdict"]
        assert (row["roc_auc"], row["users"]) == (None, 0)
        # Seven days on, the oldest can be told to stay unknown; none is taken for 0.
        assert answer["outcomes"]["known"] == 0
        assert answer["outcomes"]["unknown"] > 0
        assert answer["outcomes"]["pending"] > 0

    def test_a_model_without_truths_gives_way_to_the_first_that_is_warm(self, place):
        """A hundred rows fill no window: the version is recorded and serves, and its
        verdict says so. A champion without scores is worth less than any scores."""
        stored(place.warehouse, scored_cards.drawn(100), known=())
        cold = train(place)
        more = scored_cards.drawn(400, start=START + 12 * DAY, days=1, prefix="u")
        stored(place.warehouse, more, known=())
        warm = train(place, TRAINED + 2 * DAY)

        assert [row["is_warm"] for row in place.versions()] == [False, True]
        assert (cold["is_warm"], cold["promoted"]) == (False, True)
        assert "not warm" in cold["verdict"]
        assert "not warm yet" in place.page(f"models/{NAME}/0/report.html")
        assert warm["promoted"]
        assert champion(place) == 1

    def test_a_model_without_truths_needs_a_transaction(self, place):
        """Without any there is nothing to learn: 422, and the lease is free."""
        refused = place.post("model_training", {"use_case": NAME, "as_of": TRAINED})

        assert refused.status_code == 422
        assert "propensity load transactions" in refused.json["message"]


class TestWithTruths:
    def test_a_model_with_truths_is_recorded_with_what_was_known(self, labelled):
        """The row, the card, the answer and the page say how good, by how many
        alerts."""
        place, answer = labelled
        row = place.versions()[1]
        card = row["card"]
        savings = row["card"]["savings"]
        spared = savings["cost_without"] - savings["cost"]

        assert (row["use_case"], row["model_version"]) == (NAME, 1)
        assert row["is_warm"]
        assert row["users"] == answer["rows"]["holdout"] == 300
        assert row["roc_auc"] > 0.95
        assert float(row["saved"]) == pytest.approx(spared)
        # Fewer than twenty frauds are too few for an interval.
        assert (savings["saved_low"], savings["saved_high"]) == (None, None)
        assert answer["cost"]["saved"] == float(row["saved"])
        assert answer["cost"]["alert_threshold"] == row["alert_threshold"]
        assert savings["baseline_saved"] is not None
        assert "Alerts" in place.page(f"models/{NAME}/1/report.html")
        assert answer["outcomes"] == {
            "known": 1_500, "unknown": 0, "pending": 0, "conflicting": 0,
        }  # fmt: skip
        assert {candidate["name"] for candidate in card["candidates"]} == {
            "half_space_trees", "logistic_regression", "hist_gradient_boosting",
        }  # fmt: skip

    def test_a_model_with_truths_takes_over_what_learned_from_none(self, labelled):
        """The first version saw no truth, and has no alerts."""
        place, answer = labelled
        row = place.versions()[1]

        assert answer["promoted"]
        assert champion(place) == 1
        assert row["compared_version"] == 0
        assert row["card"]["verdict"]["roc_auc_difference"] is not None
        assert answer["verdict"].startswith("not worse: cost -")


def test_nothing_after_the_as_of_date_is_read(place, cards):
    """A transaction, a score or a truth of later is in no training row."""
    stored(place.warehouse, cards)
    halfway = START + 5 * DAY
    answer = train(place, halfway.date())

    before = sum(at < halfway for at in cards.at)
    known = sum(at + DAY < halfway for at in cards.at)
    assert answer["outcomes"]["known"] == known
    assert answer["outcomes"]["pending"] == before - known
    assert answer["as_of"] == str(halfway.date())
