"""Runs that are too slow: another one has their place, and what they found is lost."""

from __future__ import annotations

from typing import Any

import pytest

from propensity.registry.versions import Registry
from propensity.runs import evaluate, predict
from tests.functions.conftest import MONDAY
from tests.support.deployment import Deployment
from tests.support.shop import WEEK
from tests.support.shops import LATER, TRAINED


def written(deployment: Deployment) -> list[Any]:
    """Return what runs publish."""
    live = deployment.registry.champion()
    shown = [deployment.versions(), deployment.published(), deployment.evaluations()]
    return [live] + shown


@pytest.mark.parametrize(
    ("kind", "owner", "step"),
    [
        ("train", Registry, "claim"),
        ("predict", predict, "score"),
        ("evaluate", evaluate, "evaluations"),
    ],
)
def test_a_run_whose_lease_was_taken_over_writes_nothing(request, kind, owner, step):
    """It was too slow, and another has its place: it stores, records and promotes
    nothing."""
    fixture, target, as_of = {
        "train": ("shop_deployment", "model_training", TRAINED),
        "predict": ("champion_deployment", "predictions", LATER),
        "evaluate": ("monday", "model_evaluation", MONDAY + WEEK),
    }[kind]
    deployment: Deployment = request.getfixturevalue(fixture)
    lease = f"runs/ga4_purchase/{kind}/{as_of}.json"
    before = written(deployment)
    original = getattr(owner, step)

    def slow(*words: Any, **named: Any) -> Any:
        result = original(*words, **named)
        deployment.registry.artifacts.overwrite(lease, b'{"run_id": "another"}')
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, step, slow)
        answer = deployment.post(target, {"as_of": as_of})

    assert (answer.status_code, answer.json["error"]) == (409, "conflict")
    assert "took over because this one was too slow" in answer.json["message"]
    assert written(deployment) == before
