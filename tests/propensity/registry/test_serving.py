"""
Champions, specified against the emulators: one model serves until another is proven.

Tiny models are published as training publishes them. A proxy before the bucket counts
what is read of it, and can hold it or make it fail.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from propensity.edges.artifacts import sha256
from propensity.errors import (
    ArtifactError,
    OldEpoch,
    SchemaError,
    Unavailable,
)
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.loading import Serving, find_recorded, loaded, recorded
from propensity.registry.serving import ServingState
from tests.propensity.registry.serving import (
    FEATURES,
    PLAYERS,
    TTL_S,
    USE_CASE,
    after_a_while,
    labels_of,
    probabilities,
    settled,
)
from tests.propensity.registry.versions import at_once
from tests.proxy import Asked


class TestRecorded:
    def test_is_what_training_wrote(self, place):
        """A version's row has where its bytes are, and what they were."""
        version = place.publish()
        row = recorded(place.warehouse, USE_CASE, version)

        assert row["model_version"] == version
        assert row["model_object"].endswith(f"/{version}/model.joblib")
        assert len(row["model_sha256"]) == 64

    def test_is_asked_of_the_use_case(self, place):
        """A version that another use case recorded, or nobody, is not verified."""
        place.publish()

        with pytest.raises(ArtifactError, match="version 7 .* is not recorded"):
            recorded(place.warehouse, USE_CASE, 7)
        with pytest.raises(ArtifactError, match="version 0 of other is not recorded"):
            recorded(place.warehouse, replace(USE_CASE, name="other"), 0)
        assert find_recorded(place.warehouse, USE_CASE, 7) is None


class TestLoaded:
    def test_scores(self, place):
        """The version, what was recorded of it, and a probability for each row."""
        row = recorded(place.warehouse, USE_CASE, place.publish())
        serving = loaded(place.registry, USE_CASE, row)

        assert (serving.version, serving.metadata) == (0, row)
        assert labels_of(serving) == [0, 0, 1, 1]

    @pytest.mark.parametrize(
        ("features", "name"),
        [
            ({"bet_count": "number"}, "country"),
            ({"bet_count": "category", "country": "category"}, "bet_count"),
            ({**FEATURES, "age": "number"}, "age"),
        ],
    )
    def test_has_the_features_of_the_use_case(self, place, features, name):
        """A model of other features would score nonsense: it is refused, and what has
        changed is named."""
        row = recorded(place.warehouse, USE_CASE, place.publish())

        with pytest.raises(SchemaError, match=name):
            loaded(place.registry, replace(USE_CASE, features=features), row)

    def test_has_them_in_any_order(self, place):
        """Features are taken by name, so that their order in a file says nothing."""
        row = recorded(place.warehouse, USE_CASE, place.publish())
        turned = replace(USE_CASE, features=dict(reversed(FEATURES.items())))
        columns = PLAYERS.select(["country", "bet_count"])
        serving = loaded(place.registry, turned, row)

        assert serving.scorer.probabilities(columns).tolist() == probabilities(serving)

    def test_gives_probabilities_or_anomaly_scores(self, place):
        """Half-Space Trees give scores that are no probabilities, and none before their
        first window is full; of a classifier neither can be said."""

        def serving(model: Any) -> Serving:
            version = place.publish(model=model)
            row = recorded(place.warehouse, USE_CASE, version)
            return loaded(place.registry, USE_CASE, row)

        small = {"n_trees": 2, "height": 2, "random_state": 1}
        classifier = serving(None)
        cold = serving(AnomalyModel(HalfSpaceTrees(window_size=100, **small)))
        warm = serving(AnomalyModel(HalfSpaceTrees(window_size=2, **small)))

        assert [
            (version.is_anomaly, version.is_warm)
            for version in (classifier, cold, warm)
        ] == [
            (False, True),
            (True, False),
            (True, True),
        ]
        assert np.isnan(probabilities(cold)).all()
        assert all(0 <= score <= 1 for score in probabilities(warm))


class TestChampions:
    def test_are_none_before_a_promotion(self, place):
        """Nothing serves, and that is no error; once there is one it is found."""
        champions = place.champions()

        assert champions.state(USE_CASE) == ServingState(champion=None, epoch=-1)
        assert champions.state(USE_CASE).champion is None
        place.enthrone()
        assert champions.state(USE_CASE).champion is None
        assert after_a_while(place, champions).champion.version == 0

    def test_are_kept_while_they_are_young(self, place):
        """In the time to live the bucket is not asked; then the pointer is, on the
        condition that it has changed, and nothing is loaded again."""
        place.enthrone()
        champions = place.champions()
        first = champions.state(USE_CASE)
        reads = len(place.proxy.asked)
        place.clock.advance(TTL_S - 0.001)
        assert champions.state(USE_CASE) is first
        settled()
        assert len(place.proxy.asked) == reads
        place.clock.advance(0.001)
        champions.state(USE_CASE)
        settled()

        assert champions.state(USE_CASE) is first
        [path] = [request.path for request in place.proxy.asked[reads:]]
        assert "champion.json" in path
        assert "ifGenerationNotMatch=" in path

    def test_give_way_to_a_new_one(self, place):
        """A promotion is seen after the time to live, and changes the scores; whoever
        took what served before still has it whole."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        assert champions.state(USE_CASE) is before
        after = after_a_while(place, champions)

        assert (before.champion.version, before.epoch) == (0, 0)
        assert (after.champion.version, after.epoch) == (1, 1)
        assert labels_of(before.champion) == [0, 0, 1, 1]
        assert labels_of(after.champion) == [1, 1, 0, 0]

    def test_never_wait_once_something_is_known(self, place):
        """A bucket that hangs holds up nobody: one thread asks it behind the others,
        which go on with what serves until the new one is loaded whole."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        asking, go_on = place.hold()
        place.grow_old()
        reads = len(place.proxy.asked)
        assert champions.state(USE_CASE) is before
        assert asking.wait(60)
        assert [champions.state(USE_CASE) for _ in range(50)] == [before] * 50
        assert len(place.proxy.asked) == reads + 1
        go_on.set()
        settled()

        assert champions.state(USE_CASE).champion.version == 1

    def test_can_be_waited_for_off_the_event_loop(self, place):
        """A first load runs in a thread: the loop goes on. Later nothing is awaited."""
        place.enthrone()
        champions = place.champions()
        asking, go_on = place.hold()

        async def first() -> ServingState:
            waiting = asyncio.create_task(champions.ready(USE_CASE))
            while not asking.is_set():
                await asyncio.sleep(0.01)
            assert not waiting.done()
            go_on.set()
            return await waiting

        assert asyncio.run(first()).champion.version == 0
        with pytest.raises(StopIteration):
            champions.ready(USE_CASE).send(None)

    def test_go_on_when_the_new_one_is_corrupt(self, place):
        """Bytes that are not those recorded take nobody's place. It is told once,
        however often it is tried, and what is put right serves after another while."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE).champion
        version = place.enthrone(labels=(1, 1, 0, 0))
        right = place.corrupt(version)
        reads = place.asked_of(place.model(version))
        after = [after_a_while(place, champions) for _ in range(3)]

        assert all(state.champion is before for state in after)
        assert place.asked_of(place.model(version)) == reads + 3
        [error] = place.errors
        assert isinstance(error, ArtifactError)
        assert f"/{version}/" in error.message
        place.overwrite(place.model(version), right)
        assert after_a_while(place, champions).champion.version == version

    def test_of_which_one_cannot_be_read_today_go_on(self, place):
        """Bytes that are those recorded, and that today's libraries cannot read, are
        refused like others."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE).champion
        version = place.publish()
        place.overwrite(place.model(version), b"as recorded, but no pickle")
        place.warehouse.execute(
            "UPDATE ma_model_training_metadata SET model_sha256 = @sha "
            "WHERE model_version = @version",
            {"sha": sha256(b"as recorded, but no pickle"), "version": version},
        )
        place.promote(version)

        assert after_a_while(place, champions).champion is before
        [error] = place.errors
        assert "libraries" in error.message

    @pytest.mark.parametrize("pointer", [b"", b"[]", b'{"version": "0 OR TRUE"}'])
    def test_go_on_when_the_pointer_is_damaged(self, place, pointer):
        """Whoever writes nonsense there stops nothing."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE)
        place.overwrite(place.registry.pointer, pointer)

        assert after_a_while(place, champions) is before
        [error] = place.errors
        assert isinstance(error, ArtifactError)

    def test_follow_no_pointer_of_a_lower_epoch(self, place):
        """An old pointer, put back by whatever means, or none at all, changes nothing
        until there is one of a higher epoch."""
        place.enthrone()
        pointer = place.registry.pointer
        old = place.artifacts.read(pointer).data
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE)
        newest = place.artifacts.read(pointer).data
        place.overwrite(pointer, old)
        assert [after_a_while(place, champions) for _ in range(2)] == [before] * 2
        place.artifacts.delete(pointer)
        assert [after_a_while(place, champions) for _ in range(2)] == [before] * 2
        assert [type(error) for error in place.errors] == [OldEpoch, OldEpoch]
        place.overwrite(pointer, newest)
        assert after_a_while(place, champions).champion is before.champion
        place.promote(0)

        assert after_a_while(place, champions).champion.version == 0

    def test_go_on_when_the_bucket_fails(self, place, hasty):
        """A service that is down does not stop who has a model."""
        place.enthrone()
        champions = place.champions(artifacts=hasty)
        before = champions.state(USE_CASE)
        place.proxy.rule = lambda _: 503

        assert after_a_while(place, champions) is before
        [error] = place.errors
        assert isinstance(error, Unavailable)

    def test_that_cannot_be_loaded_at_first_are_an_error(self, place):
        """With none to go on with the caller is told, until it can be loaded."""
        version = place.enthrone()
        right = place.corrupt(version)
        champions = place.champions()
        for _ in range(2):
            with pytest.raises(ArtifactError, match="not what was recorded"):
                champions.state(USE_CASE)
        place.overwrite(place.model(version), right)

        assert champions.state(USE_CASE).champion.version == version

    def test_that_cannot_be_loaded_at_first_leave_no_bytes_in_memory(self, place):
        """The error that later callers are told has none of what was read."""
        place.corrupt(place.enthrone())
        champions = place.champions()
        with pytest.raises(ArtifactError) as caught:
            champions.state(USE_CASE)

        raised = weakref.ref(caught.value)
        del caught
        gc.collect()

        assert raised() is None

    def test_fail_while_a_service_does(self, place, hasty):
        """Where BigQuery or the bucket is down callers are told to try again, by one
        load for all who wait."""
        versions = [place.enthrone() for _ in range(2)]
        champions = place.champions(artifacts=hasty)
        place.proxy.rule = lambda request: 503 if "joblib" in request.path else None
        place.proxy.asked.clear()
        with ThreadPoolExecutor(4) as callers:
            calls = [callers.submit(champions.state, USE_CASE) for _ in range(4)]
        assert {type(call.exception()) for call in calls} == {Unavailable}
        [_] = [
            request for request in place.proxy.asked if "champion.json" in request.path
        ]
        place.proxy.rule = lambda _: None
        assert champions.state(USE_CASE).champion.version == versions[-1]

    def test_of_use_cases_are_apart(self, place):
        """One use case's champion is none of another's."""
        place.enthrone()
        champions = place.champions()

        assert champions.state(replace(USE_CASE, name="other")).champion is None
        assert champions.state(USE_CASE).champion.version == 0

    def test_are_loaded_once_by_many(self, place):
        """Sixteen threads at once wait for one load, and get the same model."""
        place.enthrone()
        champions = place.champions()
        place.proxy.asked.clear()
        assert place.champions().state(USE_CASE).champion
        for_one = len(place.proxy.asked)

        place.proxy.asked.clear()
        servings = at_once(lambda _: champions.state(USE_CASE).champion)

        assert len({id(serving) for serving in servings}) == 1
        assert len(place.proxy.asked) == for_one

    def test_fail_once_for_many(self, place):
        """Of those that wait for one load that fails none tries it again in turn."""
        version = place.enthrone()
        place.corrupt(version)
        champions = place.champions()
        waiting = threading.Semaphore(0)
        place.proxy.asked.clear()

        def hold(request: Asked) -> None:
            if request.number == 0:
                for _ in range(16):
                    assert waiting.acquire(timeout=60)

        place.proxy.rule = hold

        def current(_: int) -> str:
            waiting.release()
            try:
                champions.state(USE_CASE)
            except ArtifactError as error:
                return error.message
            return ""

        with ThreadPoolExecutor(16) as pool:
            [message] = set(pool.map(current, range(16)))

        assert "not what was recorded" in message
        # One that had not begun to wait when the load failed may have tried again.
        assert place.asked_of("champion.json") < 8
