"""
Champions, specified against the emulators: one model serves until another is proven.

Tiny models are published as training publishes them. A proxy before the bucket counts
what is read of it, and can hold it or make it fail.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from propensity.errors import (
    ArtifactError,
    SchemaError,
    Unavailable,
    UnknownVersion,
)
from propensity.gcp.artifacts import sha256
from propensity.models.anomaly import AnomalyModel
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.champion import ANYTHING
from propensity.registry.loading import Serving, find_recorded, loaded, recorded
from propensity.registry.serving import KEPT_VERSIONS, ServingState
from tests.propensity.registry.serving import (
    FEATURES,
    NOW,
    PLAYERS,
    TTL_S,
    USE_CASE,
    after_a_while,
    labels_of,
    probabilities,
)


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
    async def test_are_none_before_a_promotion(self, place):
        """Nothing serves, and that is no error; once there is one it is found."""
        champions = place.champions()

        assert await champions.state(USE_CASE) == ServingState(champion=None, epoch=-1)
        place.enthrone()
        assert (await champions.state(USE_CASE)).champion is None
        assert (await after_a_while(place, champions)).champion.version == 0

    async def test_are_kept_while_they_are_young(self, place):
        """In the time to live the bucket is not asked; then the pointer is, on the
        condition that it has changed, and nothing is loaded again."""
        place.enthrone()
        champions = place.champions()
        first = await champions.state(USE_CASE)
        reads = len(place.proxy.asked)
        place.clock.advance(TTL_S - 0.001)
        assert await champions.state(USE_CASE) is first
        assert len(place.proxy.asked) == reads

        assert await after_a_while(place, champions) is first
        [path] = [request.path for request in place.proxy.asked[reads:]]
        assert "champion.json" in path
        assert "ifGenerationNotMatch=" in path

    async def test_give_way_to_a_new_one(self, place):
        """A promotion is seen after the time to live, and changes the scores; whoever
        took what served before still has it whole."""
        place.enthrone()
        champions = place.champions()
        before = await champions.state(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        assert await champions.state(USE_CASE) is before
        after = await after_a_while(place, champions)

        assert (before.champion.version, before.epoch) == (0, 0)
        assert (after.champion.version, after.epoch) == (1, 1)
        assert labels_of(before.champion) == [0, 0, 1, 1]
        assert labels_of(after.champion) == [1, 1, 0, 0]

    async def test_go_on_when_the_new_one_is_corrupt(self, place, capsys):
        """Bytes that are not those recorded take nobody's place. It is told once,
        however often it is tried, and what is put right serves after another while."""
        place.enthrone()
        champions = place.champions()
        before = (await champions.state(USE_CASE)).champion
        version = place.enthrone(labels=(1, 1, 0, 0))
        right = place.corrupt(version)
        reads = place.asked_of(place.model(version))
        after = [await after_a_while(place, champions) for _ in range(3)]

        assert all(state.champion is before for state in after)
        assert place.asked_of(place.model(version)) == reads + 3
        [error] = capsys.readouterr().out.splitlines()
        assert f"/{version}/" in error
        place.overwrite(place.model(version), right)
        after = await after_a_while(place, champions)
        assert after.champion.version == version

    async def test_of_which_one_cannot_be_read_today_go_on(self, place, capsys):
        """Bytes that are those recorded, and that today's libraries cannot read, are
        refused like others."""
        place.enthrone()
        champions = place.champions()
        before = (await champions.state(USE_CASE)).champion
        version = place.publish()
        place.overwrite(place.model(version), b"as recorded, but no pickle")
        place.warehouse.execute(
            "UPDATE ma_model_training_metadata_runs SET model_sha256 = @sha "
            "WHERE model_version = @version",
            {"sha": sha256(b"as recorded, but no pickle"), "version": version},
        )
        place.promote(version)

        assert (await after_a_while(place, champions)).champion is before
        assert "libraries" in capsys.readouterr().out

    @pytest.mark.parametrize("pointer", [b"", b"[]", b'{"version": "0 OR TRUE"}'])
    async def test_go_on_when_the_pointer_is_damaged(self, place, pointer, capsys):
        """Whoever writes nonsense there stops nothing."""
        place.enthrone()
        champions = place.champions()
        before = await champions.state(USE_CASE)
        place.overwrite(place.registry.pointer, pointer)

        assert await after_a_while(place, champions) is before
        assert "champion.json" in capsys.readouterr().out

    async def test_follow_no_pointer_of_a_lower_epoch(self, place, capsys):
        """An old pointer, put back by whatever means, or none at all, changes nothing
        until there is one of a higher epoch."""
        place.enthrone()
        pointer = place.registry.pointer
        old = place.artifacts.read(pointer).data
        place.enthrone()
        champions = place.champions()
        before = await champions.state(USE_CASE)
        place.overwrite(pointer, old)
        assert await after_a_while(place, champions) is before
        assert "has epoch 0" in capsys.readouterr().out
        place.artifacts.delete(pointer)
        assert await after_a_while(place, champions) is before
        assert "is gone" in capsys.readouterr().out
        place.overwrite(pointer, old)
        place.registry.promote(
            1, model_sha256="0" * 64, at=NOW, instead_of=ANYTHING, epoch=9
        )

        assert (await after_a_while(place, champions)).epoch == 9

    async def test_go_on_when_the_bucket_fails(self, place, hasty):
        """A service that is down does not stop who has a model; neither after a pause,
        and nobody waits for it again."""
        place.enthrone()
        champions = place.champions(hasty)
        before = await champions.state(USE_CASE)
        place.proxy.rule = lambda _: 503
        assert await after_a_while(place, champions) is before
        place.clock.advance(60 * TTL_S)
        assert await champions.state(USE_CASE) is before
        reads = len(place.proxy.asked)
        assert await champions.state(USE_CASE) is before
        assert len(place.proxy.asked) == reads

    async def test_that_cannot_be_loaded_at_first_are_an_error(self, place):
        """With none to go on with the caller is told, until it can be loaded."""
        version = place.enthrone()
        right = place.corrupt(version)
        champions = place.champions()
        for _ in range(2):
            with pytest.raises(ArtifactError, match="not what was recorded"):
                await champions.state(USE_CASE)
        place.overwrite(place.model(version), right)
        place.grow_old()

        assert (await champions.state(USE_CASE)).champion.version == version

    async def test_of_use_cases_are_apart(self, place):
        """One use case's champion is none of another's."""
        place.enthrone()
        champions = place.champions()

        other = await champions.state(replace(USE_CASE, name="other"))
        assert other.champion is None
        assert (await champions.state(USE_CASE)).champion.version == 0

    async def test_are_loaded_once_by_many(self, place):
        """Sixteen callers at once wait for one load, and get the same model."""
        version = place.enthrone()
        champions = place.champions()
        states = await asyncio.gather(*(champions.state(USE_CASE) for _ in range(16)))

        assert len({id(state.champion) for state in states}) == 1
        assert place.asked_of(place.model(version)) == 1

    async def test_are_those_promoted_during_a_pause(self, place):
        """Defect: an instance that nobody had called for an hour answered the next
        calls by the champion of an hour ago, though it had been rolled back."""
        place.enthrone()
        champions = place.champions()
        await champions.state(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        place.clock.advance(60 * TTL_S)

        assert (await champions.state(USE_CASE)).champion.version == 1


class TestVersion:
    async def test_is_any_that_was_recorded(self, place):
        """Also one that never served; asked for again, it is still loaded."""
        place.enthrone()
        version = place.publish(labels=(1, 1, 0, 0))
        champions = place.champions()
        serving, again = await asyncio.gather(
            champions.version(USE_CASE, version), champions.version(USE_CASE, version)
        )

        assert labels_of(serving) == [1, 1, 0, 0]
        assert again is serving
        assert place.asked_of(place.model(version)) == 1

    @pytest.mark.parametrize("number", [7, -1, 2**63, 10**30])
    async def test_that_was_never_recorded_is_unknown(self, place, number):
        """A clear 404 that names the field, and no try of BigQuery's patience."""
        place.publish()

        with pytest.raises(UnknownVersion, match=f"version {number} .* never") as error:
            await place.champions().version(USE_CASE, number)

        assert (error.value.status, error.value.field) == (404, "version")

    async def test_is_forgotten_when_others_are_asked_for(self, place):
        """Only the few that were asked for last are kept."""
        for _ in range(KEPT_VERSIONS + 1):
            place.publish()
        champions = place.champions()
        for number in (*range(KEPT_VERSIONS), 0, KEPT_VERSIONS, 0, 1):
            await champions.version(USE_CASE, number)

        loads = [place.asked_of(place.model(n)) for n in range(KEPT_VERSIONS + 1)]
        assert loads == [1, 2, 1, 1, 1]

    async def test_is_one_of_a_few_that_are_loaded_at_once(self, place):
        """Each load is a query; who comes while they run is to come again, and one who
        leaves leaves the load to the others."""
        version = place.publish()
        champions = place.champions()
        loads = [
            asyncio.create_task(champions.version(USE_CASE, number))
            for number in (version, *range(100, 103))
        ]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="too many versions"):
            await champions.version(USE_CASE, 200)
        loads[0].cancel()
        assert (await champions.version(USE_CASE, version)).version == version
        await asyncio.gather(*loads, return_exceptions=True)
