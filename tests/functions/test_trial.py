"""A trial: a training that changes nothing."""

from __future__ import annotations

import pytest
from msgspec import structs

from propensity import usecases
from tests.functions.conftest import LATER, TRAINED

USE_CASE = usecases.load("ga4_purchase")
# The lease of the digest of the export.
DIGEST = "runs/ga4_export/digest/1970-01-01.json"


def test_a_trial_changes_nothing_but_its_own_report(champion_deployment, monkeypatch):
    """No version is claimed or recorded, no pointer moves, no message is sent; and the
    training of that day is not answered by it. Days of the export are digested, as any
    run would digest them."""
    sent = []
    monkeypatch.setattr("propensity.gcp.pubsub.publish", lambda *a: sent.append(a))
    deployment = champion_deployment
    artifacts = champion_deployment.registry.artifacts
    before = {name: artifacts.read(name).data for name in artifacts.names("")}
    versions = deployment.versions()
    champion = deployment.registry.champion()

    answer = deployment.run("model_training", LATER, trial=True)
    after = {name: artifacts.read(name).data for name in artifacts.names("")}
    own = f"runs/ga4_purchase/trial/{LATER}"
    assert after.keys() - before.keys() == {f"{own}.html", f"{own}.json"}
    before.pop(DIGEST, None)
    assert before.items() <= after.items()
    assert (deployment.versions(), deployment.registry.champion()) == (
        versions,
        champion,
    )
    assert sent == []
    assert (answer["trial"], answer["promoted"]) == (True, False)
    assert (answer["model_version"], answer["would_go_live"]) == (None, True)
    assert "against version 0 on the same" in answer["verdict"]
    assert "Would go live" in deployment.page(answer["objects"]["report.html"])

    trained = deployment.run("model_training", LATER)
    assert (trained["model_version"], trained["repeated"]) == (1, False)


def test_a_trial_is_compared_by_its_features(champion_deployment, monkeypatch):
    """Of the day that the live version was trained on, whose training does not answer
    it, and with other features."""
    fewer = {"items": "number", "country": "category", "recency_days": "number"}
    less = structs.replace(USE_CASE, features=fewer)
    monkeypatch.setattr("propensity.usecases.load", lambda _: less)

    answer = champion_deployment.run("model_training", TRAINED, trial=True)

    assert "against version 0 on the same 160 rows" in answer["verdict"]
    assert "trained again on the rows of this trial" in answer["verdict"]


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_trial_is_true_or_false(shop_deployment, wrong):
    answer = shop_deployment.post("model_training", {"as_of": TRAINED, "trial": wrong})

    assert (answer.status_code, answer.json["field"]) == (400, "trial")


def test_a_prediction_run_takes_no_trial(shop_deployment):
    answer = shop_deployment.post("predictions", {"as_of": TRAINED, "trial": True})

    assert (answer.status_code, answer.json["field"]) == (400, "trial")
