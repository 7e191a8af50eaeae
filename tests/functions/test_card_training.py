"""Card fraud through 00-ModelTraining: without truths and with them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from propensity.registry.versions import Registry
from tests.support import scored_cards
from tests.support.deployment import Deployment
from tests.support.scored_cards import DAY, START, Cards, store, stored, truth

NAME = "card_fraud"
TRAINED = date(2026, 3, 14)


def train(
    deployment: Deployment, as_of: date = TRAINED, **body: object
) -> dict[str, Any]:
    return deployment.run("model_training", as_of, use_case=NAME, **body)


def champion(deployment: Deployment) -> int | None:
    live = Registry(deployment.artifacts, NAME).champion()
    return live and live.version


@pytest.fixture(scope="module")
def cards() -> Cards:
    return scored_cards.drawn(1_500)


@pytest.fixture(scope="module")
def unlabelled(borrow_deployment, cards) -> tuple[Deployment, dict[str, Any]]:
    """A deployment where no truth is known yet, and the first answer."""
    deployment = borrow_deployment(dataset="")
    deployment.fits_all = True
    stored(deployment.warehouse, cards, known=())
    return deployment, train(deployment)


def test_a_training_without_truths_trains_what_needs_none(unlabelled):
    """Version 0 learns what is usual; nothing is measured, and it is live."""
    deployment, answer = unlabelled
    row = deployment.versions()[0]

    assert answer["algorithm"] == "HalfSpaceTrees"
    assert (answer["model_version"], answer["promoted"]) == (0, True)
    assert answer["is_warm"]
    assert "too few are known to measure it" in answer["verdict"]
    assert (row["roc_auc"], row["users"]) == (None, 0)
    # Seven days on, the oldest can be told to stay unknown; none is taken for 0.
    assert answer["outcomes"]["known"] == 0
    assert answer["outcomes"]["unknown"] > 0
    assert answer["outcomes"]["pending"] > 0


def test_a_training_with_truths_takes_over_and_says_what_it_saves(unlabelled, cards):
    """The row, the card and the answer say how good, by how many alerts. Fewer than
    twenty frauds are too few for an interval."""
    deployment, _ = unlabelled
    found = START + 11 * DAY
    pairs = zip(cards.ids, cards.is_fraud, strict=True)
    store(
        deployment.warehouse,
        truths=[truth(of, found, int(one)) for of, one in pairs],
    )
    answer = train(deployment, force=True)
    row = deployment.versions()[1]
    savings = row["card"]["savings"]

    assert (row["use_case"], row["model_version"]) == (NAME, 1)
    assert row["users"] == answer["rows"]["holdout"] == 300
    assert row["roc_auc"] > 0.95
    spared = savings["cost_without"] - savings["cost"]
    assert answer["cost"]["saved"] == float(row["saved"]) == pytest.approx(spared)
    assert (savings["saved_low"], savings["saved_high"]) == (None, None)
    assert answer["cost"]["alert_threshold"] == row["alert_threshold"]
    assert "Alerts" in deployment.page(f"models/{NAME}/1/report.html")
    assert answer["outcomes"]["known"] == 1_500
    assert {candidate["name"] for candidate in row["card"]["candidates"]} == {
        "half_space_trees", "logistic_regression", "hist_gradient_boosting",
    }  # fmt: skip
    # The first version saw no truth, and has no alerts.
    assert answer["promoted"]
    assert champion(deployment) == 1
    assert row["compared_version"] == 0
    assert answer["verdict"].startswith("not worse: cost -")


def test_a_model_that_is_not_warm_gives_way_to_a_warm_one(shop_deployment):
    """Without any transaction there is nothing to learn: 422. A hundred rows fill no
    window: the version is recorded and live, and its verdict says so."""
    refused = shop_deployment.post(
        "model_training", {"use_case": NAME, "as_of": TRAINED}
    )
    stored(shop_deployment.warehouse, scored_cards.drawn(100), known=())
    cold = train(shop_deployment)
    more = scored_cards.drawn(400, start=START + 12 * DAY, days=1, prefix="u")
    stored(shop_deployment.warehouse, more, known=())
    warm = train(shop_deployment, TRAINED + 2 * DAY)

    assert refused.status_code == 422
    assert "propensity load transactions" in refused.json["message"]
    assert [row["is_warm"] for row in shop_deployment.versions()] == [False, True]
    assert (cold["is_warm"], cold["promoted"]) == (False, True)
    assert "not warm" in cold["verdict"]
    assert "not warm yet" in shop_deployment.page(f"models/{NAME}/0/report.html")
    assert warm["promoted"]
    assert champion(shop_deployment) == 1
