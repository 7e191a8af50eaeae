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
from propensity.registry.serving import find_promoted
from propensity.registry.versions import Registry
from propensity.runs import evaluate, predict, report, train
from tests.deployment import Deployment
from tests.functions.conftest import LATER, MONDAY, TRAINED
from tests.functions.test_audience_lift import join
from tests.rows import publish, put
from tests.shop import WEEK

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
def crashing(after: int) -> Iterator[list[str]]:
    """Let the n-th write from now happen, and the run crash behind it."""
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in WRITES:
            original = getattr(owner, name)

            def called(self, *arguments, _original=original, _name=name, **named):
                result = _original(self, *arguments, **named)
                calls.append(_name)
                if len(calls) == after:
                    raise Crash(_name)
                return result

            patch.setattr(owner, name, called)
        yield calls


def crashed(
    place: Deployment, target: str, as_of: Any, published: Callable[[], Any]
) -> list[str]:
    """
    Crash a run after each of its writes, until one is done.

    Each crash leaves what was published before or the whole of the new, and once that
    is published it stays. Returns the writes up to the one that publishes.
    """
    old, crashes = published(), list[tuple[str, Any]]()
    while True:
        with crashing(after=len(crashes) + 1) as calls:
            answer = place.post(target, {"as_of": as_of})
        if answer.status_code == 200:
            break
        assert (answer.status_code, answer.json["error"]) == (500, "internal")
        crashes.append((calls[-1], published()))
    new = published()
    is_new = [then == new for _, then in crashes]

    assert new != old
    assert all(then in (old, new) for _, then in crashes)
    assert is_new == sorted(is_new)
    return [call for call, _ in crashes[: is_new.index(True) + 1]]


def test_a_prediction_that_crashes_leaves_whole_tables(champion_place):
    """One transaction publishes; a repeated run changes nothing."""
    place = champion_place.with_constants(maximum_score_shift=inf)
    put(place.warehouse, "user.001", as_of=TRAINED)
    publish(place.warehouse, TRAINED, {"user.001": 0.25})

    assert crashed(place, "predictions", LATER, place.published) == ["write", "execute"]


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


@pytest.mark.parametrize(
    ("owner", "step", "serves"),
    [(Registry, "promote", None), (train, "announce", 0)],
    ids=["promoting", "announcing"],
)
def test_a_training_that_is_killed_is_not_recorded_as_promoted(
    place, monkeypatch, owner, step, serves
):
    """Defect: the record said "promoted" where the pointer had not moved, and no
    process was left to correct it. Where it had, reruns of that week know it by the
    pointer."""

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(owner, step, kill)
    with pytest.raises(Killed):
        place.post("model_training", {"as_of": TRAINED})
    monkeypatch.undo()
    [row] = place.versions()
    champion = place.registry.champion()
    champions = () if serves is None else (serves,)

    assert row["promoted"] is None
    assert row["verdict"].startswith("interrupted before")
    assert (champion and champion.version) == serves
    assert find_promoted(place.warehouse, "ga4_purchase") is None
    assert find_promoted(place.warehouse, "ga4_purchase", champions=champions) == serves

    # The next run says what the one that was killed could not.
    announced: list[int] = []

    def announce(*words: Any, **_: Any) -> None:
        announced.append(words[3].version)

    monkeypatch.setattr(train, "announce", announce)
    place.post("model_training", {"as_of": LATER})
    assert announced[:1] == ([1] if serves is None else [serves])


def test_a_training_that_is_killed_before_its_record_leaves_no_version(
    place, monkeypatch
):
    """Its number and files stay, unseen. The next training has a number of its own."""
    for step in ("claim", "publish"):
        original = getattr(Registry, step)

        def killed(*arguments: Any, _original=original, **named: Any) -> None:
            _original(*arguments, **named)
            raise Killed

        monkeypatch.setattr(Registry, step, killed)
        with pytest.raises(Killed):
            place.post("model_training", {"as_of": TRAINED})
        monkeypatch.undo()
        assert (place.versions(), place.registry.champion()) == ([], None)
        place.registry.artifacts.delete(f"runs/ga4_purchase/train/{TRAINED}.json")
    answer = place.run("model_training", TRAINED + WEEK)

    assert (answer["model_version"], answer["promoted"]) == (2, True)


def versions(place: Deployment) -> list[Any]:
    return [*place.versions(), *place.registry.artifacts.names("models/")]


def lifts(place: Deployment) -> list[Any]:
    return place.rows("SELECT * FROM ma_audience_lift")


def reports(place: Deployment) -> list[str]:
    return list(place.registry.artifacts.names("reports/"))


@pytest.mark.parametrize(
    ("kind", "owner", "step", "written"),
    [
        ("train", train, "train", versions),
        ("predict", predict, "score", Deployment.published),
        ("evaluate", evaluate, "evaluations", Deployment.evaluations),
        ("evaluate", report, "_sums_of", lifts),
        ("evaluate", report, "_pages", reports),
    ],
    ids=["train", "predict", "evaluate", "lift", "report"],
)
def test_a_run_whose_lease_was_taken_over_writes_nothing(
    request, kind, owner, step, written
):
    """It was too slow, and another has its place."""
    fixture, target, as_of = {
        "train": ("place", "model_training", TRAINED),
        "predict": ("champion_place", "predictions", LATER),
        "evaluate": ("monday", "model_evaluation", MONDAY + WEEK),
    }[kind]
    place: Deployment = request.getfixturevalue(fixture)
    join(place, MONDAY, ["u0", "u1"], ["u2", "u3"])
    before, original = written(place), getattr(owner, step)

    def slow(*arguments: Any) -> Any:
        result = original(*arguments)
        name = f"runs/ga4_purchase/{kind}/{as_of}.json"
        place.registry.artifacts.overwrite(name, b'{"run_id": "another"}')
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, step, slow)
        answer = place.post(target, {"as_of": as_of})

    assert (answer.status_code, answer.json["error"]) == (409, "conflict")
    assert "took over because this one was too slow" in answer.json["message"]
    assert written(place) == before
