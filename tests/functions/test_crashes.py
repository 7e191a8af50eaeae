"""
Runs that crash, specified: a half-done run is invisible, and the next one completes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.records import find_promoted
from propensity.registry.versions import Registry
from propensity.runs import evaluate, predict, report, train, uplifts
from propensity.tables.export import DIGESTED_DAYS
from tests.functions.audiences import join
from tests.functions.conftest import MONDAY
from tests.support.deployment import Deployment
from tests.support.rows import publish, put
from tests.support.shop import WEEK
from tests.support.shops import LATER, TRAINED

WRITES = [
    (Warehouse, "execute"),
    (Warehouse, "write"),
    (Artifacts, "create_from"),
    (Artifacts, "overwrite"),
]


class Crash(Exception):
    """Ends a run after one of its steps."""


class Killed(BaseException):
    """What no code of the run catches."""


@contextlib.contextmanager
def after_writes(then: Callable[[str], None]) -> Iterator[None]:
    """Do something after each write that happens from now on."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in WRITES:
            original = getattr(owner, name)

            def called(self, *arguments, _original=original, _name=name, **named):
                result = _original(self, *arguments, **named)
                # A digested day stands by itself, and is no half of a run.
                if DIGESTED_DAYS.name not in str(arguments):
                    then(_name)
                return result

            patch.setattr(owner, name, called)
        yield


def crashed(
    deployment: Deployment, target: str, as_of: Any, published: Callable[[], Any]
) -> list[str]:
    """
    Crash a run after its first write, the next one after its second, and so on.

    Each leaves what was published before, until one leaves the whole of the new; this
    stays with every write of the run that is let through. Returns the writes up to the
    one that publishes.
    """
    old = published()
    calls = list[str]()
    states = list[Any]()

    def crash(name: str) -> None:
        calls.append(name)
        if len(calls) > len(steps):
            raise Crash(name)

    steps = list[str]()
    while published() == old:
        calls.clear()
        with after_writes(crash):
            answer = deployment.post(target, {"as_of": as_of})
        assert (answer.status_code, answer.json["error"]) == (500, "internal")
        # A run that fails removes what it wrote, by further calls.
        steps.append(calls[len(steps)])
    with after_writes(lambda _: states.append(published())):
        states.insert(0, published())
        deployment.run(target, as_of)

    assert len(states) > len(steps)
    assert all(state == states[-1] for state in states)
    return steps


def test_a_prediction_that_crashes_leaves_whole_tables(champion_deployment):
    """One transaction publishes; a repeated run changes nothing."""
    deployment = champion_deployment.with_constants(maximum_score_shift=inf)
    put(deployment.warehouse, "user.001", as_of=TRAINED)
    publish(deployment.warehouse, TRAINED, {"user.001": 0.25})

    assert crashed(deployment, "predictions", LATER, deployment.published) == [
        "write",
        "execute",
    ]


def test_an_evaluation_that_crashes_leaves_whole_tables(monday):
    """One append publishes; a repeated run changes no row that readers see."""
    changing = {"run_id", "evaluated_at", "bytes_billed"}

    def evaluations() -> list[dict[str, Any]]:
        return [
            {name: value for name, value in row.items() if name not in changing}
            for row in monday.evaluations()
        ]

    steps = crashed(monday, "model_evaluation", MONDAY + WEEK, evaluations)

    assert steps == ["write"]
    assert monday.registry.artifacts.names("reports/") == [
        f"reports/ga4_purchase/{MONDAY}.html"
    ]


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
    """Before its record nothing is seen of it but a number that is not given again.

    Defect: the record said "promoted" where the pointer had not moved, and no process
    was left to correct it. Where it had, reruns of that week know it by the pointer,
    and the next run says what the one that was killed could not."""
    for step in ("claim", "publish"):
        killed(shop_deployment, Registry, step, is_after=True)
        assert (shop_deployment.versions(), shop_deployment.registry.champion()) == (
            [],
            None,
        )
    killed(shop_deployment, Registry, "promote")
    assert shop_deployment.registry.champion() is None
    assert find_promoted(shop_deployment.warehouse, "ga4_purchase") is None
    killed(shop_deployment, train, "announce")
    recorded = shop_deployment.versions()
    known = find_promoted(shop_deployment.warehouse, "ga4_purchase", champions=(3,))

    assert [row["model_version"] for row in recorded] == [2, 3]
    assert {row["promoted"] for row in recorded} == {None}
    assert all(row["verdict"].startswith("interrupted before") for row in recorded)
    assert find_promoted(shop_deployment.warehouse, "ga4_purchase") is None
    assert shop_deployment.registry.champion().version == known == 3

    announced: list[int] = []
    monkeypatch.setattr(
        train, "announce", lambda *words, **_: announced.append(words[3].version)
    )
    answer = shop_deployment.run("model_training", LATER)
    assert (answer["model_version"], announced) == (4, [3, 4])


def versions(deployment: Deployment) -> list[Any]:
    return [*deployment.versions(), *deployment.registry.artifacts.names("models/")]


def champion(deployment: Deployment) -> Any:
    return deployment.registry.champion()


def lifts(deployment: Deployment) -> list[Any]:
    return deployment.rows("SELECT * FROM ma_audience_lift")


def reports(deployment: Deployment) -> list[str]:
    return list(deployment.registry.artifacts.names("reports/"))


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        (
            "train",
            [
                (train, "train", versions),
                (Registry, "claim", Deployment.versions),
                (Warehouse, "write", champion),
            ],
        ),
        ("predict", [(predict, "score", Deployment.published)]),
        (
            "evaluate",
            [
                (evaluate, "evaluations", Deployment.evaluations),
                (uplifts, "add_sums_of_weeks", lifts),
                (report, "pages_of_weeks", reports),
            ],
        ),
    ],
    ids=["train", "predict", "evaluate"],
)
def test_a_run_whose_lease_was_taken_over_writes_nothing(request, kind, steps):
    """It was too slow, and another has its place. Defect: a training looked at its
    lease before it stored its files, and recorded and promoted a version after them."""
    fixture, target, as_of = {
        "train": ("shop_deployment", "model_training", TRAINED),
        "predict": ("champion_deployment", "predictions", LATER),
        "evaluate": ("monday", "model_evaluation", MONDAY + WEEK),
    }[kind]
    deployment: Deployment = request.getfixturevalue(fixture)
    lease = f"runs/ga4_purchase/{kind}/{as_of}.json"
    join(deployment, MONDAY, ["u0", "u1"], ["u2", "u3"])
    for owner, step, written in steps:
        before = written(deployment)
        original = getattr(owner, step)

        def slow(*words: Any, _original: Any = original, **named: Any) -> Any:
            result = _original(*words, **named)
            deployment.registry.artifacts.overwrite(lease, b'{"run_id": "another"}')
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, step, slow)
            answer = deployment.post(target, {"as_of": as_of})

        assert (answer.status_code, answer.json["error"]) == (409, "conflict")
        assert "took over because this one was too slow" in answer.json["message"]
        assert written(deployment) == before
        deployment.registry.artifacts.delete(lease)
