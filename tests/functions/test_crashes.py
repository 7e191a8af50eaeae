"""
Runs that are killed or too slow: a half-done run is invisible, and the next ends it.

``tests/audit`` kills runs at any step.
"""

from __future__ import annotations

from typing import Any

import pytest

from propensity.registry.records import find_promoted
from propensity.registry.versions import Registry
from propensity.runs import evaluate, predict, train
from tests.functions.conftest import MONDAY
from tests.support.deployment import Deployment
from tests.support.shop import WEEK
from tests.support.shops import LATER, TRAINED


class Killed(BaseException):
    """What no code of the run catches."""


def killed(
    deployment: Deployment, owner: Any, step: str, *, is_after: bool = False
) -> None:
    """Have a training killed at one of its steps; its lease ends by itself."""
    original = getattr(owner, step)

    def kill(*arguments: Any, **named: Any) -> None:
        if is_after:
            original(*arguments, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, step, kill)
        with pytest.raises(Killed):
            deployment.post("model_training", {"as_of": TRAINED})
    deployment.registry.artifacts.delete(f"runs/ga4_purchase/train/{TRAINED}.json")


def test_a_training_that_is_killed_is_not_recorded_as_promoted(
    shop_deployment, monkeypatch
):
    """
    Before its record nothing is seen of it but a number that is not given again.

    The record says "promoted" only where the pointer has moved. Reruns of that week
    know it by the pointer, and the next run says what the one that was killed could
    not.
    """
    killed(shop_deployment, Registry, "publish", is_after=True)
    assert shop_deployment.versions() == []
    assert shop_deployment.registry.champion() is None
    killed(shop_deployment, Registry, "promote")
    assert shop_deployment.registry.champion() is None
    killed(shop_deployment, train, "announce")
    recorded = shop_deployment.versions()
    known = find_promoted(shop_deployment.warehouse, "ga4_purchase", champions=(2,))

    assert [row["model_version"] for row in recorded] == [1, 2]
    assert {row["promoted"] for row in recorded} == {None}
    assert find_promoted(shop_deployment.warehouse, "ga4_purchase") is None
    assert shop_deployment.registry.champion().version == known == 2

    announced: list[int] = []
    monkeypatch.setattr(
        train, "announce", lambda *words, **_: announced.append(words[3].version)
    )
    shop_deployment.run("model_training", LATER)
    assert announced == [2, 3]


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
