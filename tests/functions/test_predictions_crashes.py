"""
01-Predictions that crashes, specified: tables are whole, and the next run completes.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any

import pytest
import requests

from propensity import tables
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from tests.functions.conftest import LATER, TRAINED, Place, let_the_lease_end
from tests.functions.instances import Instance
from tests.functions.predicted import add, state
from tests.functions.streaming import DEADLINE_S, eventually
from tests.proxy import Proxy
from tests.published import publish

EDGES = [
    (Warehouse, "rows"),
    (Warehouse, "execute"),
    (Warehouse, "batches"),
    (Warehouse, "write"),
    (Artifacts, "find"),
    (Artifacts, "_write"),
]


class Crash(Exception):
    """Ends a run after one of its steps."""


@contextlib.contextmanager
def crashing(after: int):
    """Let the clients' n-th call from now happen, and the run crash behind it."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in EDGES:
            original = getattr(owner, name)

            def called(self, *arguments, _original=original, _name=name, **named):
                if len(calls) > after:
                    return _original(self, *arguments, **named)
                result = _original(self, *arguments, **named)
                calls.append(_name)
                if len(calls) == after + 1:
                    raise Crash(_name)
                return result

            patch.setattr(owner, name, called)
        yield calls


def published_before(place: Place) -> None:
    """Put one user's prediction of the week before into the tables."""
    place.constants = {**place.constants, "maximum_score_shift": inf}
    add(place, tables.PREDICTIONS, user_id="user.001", as_of=TRAINED)
    publish(place.warehouse, TRAINED, {"user.001": 0.25})


@pytest.mark.long
class TestCrashes:
    def test_between_any_two_steps_leave_whole_tables(self, champion_place):
        """After each call of an edge there are the old tables, or the new ones."""
        published_before(champion_place)
        old, crashes = state(champion_place), []
        while True:
            with crashing(after=len(crashes)) as calls:
                answer = champion_place.post("predictions", {"as_of": LATER})
            if answer.status_code == 200:
                break
            assert answer.status_code == 500
            assert answer.json["error"] == "internal"
            crashes.append((calls[-1], state(champion_place)))
            lease = champion_place.registry.artifacts.find(
                f"runs/ga4_purchase/predict/{LATER}.json"
            )
            if lease is not None and b"running" in lease.data:
                let_the_lease_end(champion_place, "predict", LATER)
        new = state(champion_place)

        assert new != old
        is_new = [tables_then == new for _, tables_then in crashes]
        steps = [call for call, _ in crashes[: is_new.index(True) + 1]]
        assert steps.count("write") == 1, "the scores; what is watched comes later"
        assert steps[-1] == "execute"
        assert all(tables_then in (old, new) for _, tables_then in crashes)
        assert is_new == sorted(is_new), "published once, it stays published"
        assert set(is_new) == {True, False}

    @pytest.mark.parametrize("published", [False, True], ids=["before", "after"])
    def test_of_the_process_leave_whole_tables(
        self, champion_place, published, tmp_path
    ):
        """Killed while it publishes; once its lease has ended the next run succeeds."""
        published_before(champion_place)
        old = state(champion_place)
        reached = threading.Event()

        def hold(request):
            if b"BEGIN TRANSACTION" not in request.body:
                return None
            if published:
                requests.post(
                    proxy.upstream + request.path,
                    data=request.body,
                    headers={"Content-Type": "application/json"},
                    timeout=60,
                )
            reached.set()
            time.sleep(2)
            return 500

        with Proxy(champion_place.environment["BIGQUERY_EMULATOR_HOST"], hold) as proxy:
            environment = {
                **champion_place.environment,
                "BIGQUERY_EMULATOR_HOST": proxy.url,
            }
            instance = Instance("predictions", environment, tmp_path)
            with instance, ThreadPoolExecutor(1) as pool:
                answer = pool.submit(
                    requests.post,
                    instance.url,
                    json={"as_of": str(LATER), "force": True},
                    timeout=DEADLINE_S,
                )
                assert reached.wait(30), instance.log()
                instance.kill()
                with pytest.raises(requests.ConnectionError):
                    answer.result()
        if published:
            eventually(lambda: state(champion_place) != old, "it is published")
        after_kill = state(champion_place)

        assert (after_kill == old) is not published
        blocked = champion_place.post("predictions", {"as_of": LATER})
        assert blocked.status_code == 409
        assert blocked.json["error"] == "run_in_progress"
        assert blocked.json["retryable"] is True
        let_the_lease_end(champion_place, "predict", LATER)
        champion_place.run("predictions", LATER)
        if published:
            assert short(state(champion_place)) == short(after_kill)
        [row] = champion_place.rows(
            "SELECT MAX(as_of) AS newest FROM ma_predictions_table"
        )
        assert row["newest"] == LATER


def short(tables_now: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Cut numbers off: the last bits of another process's may differ."""
    return {
        name: [
            tuple(re.sub(r"(\.\d{9})\d+", r"\1", value) for value in row)
            for row in rows
        ]
        for name, rows in tables_now.items()
    }
