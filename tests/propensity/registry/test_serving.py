"""
Champions, specified against the emulators: one model serves until another is proven.

Tiny models are published as training publishes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.cloud import storage
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.errors import (
    ArtifactError,
    SchemaError,
    Unavailable,
    UnknownVersion,
)
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.models.encoding import to_frame
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.loading import Serving, loaded, recorded
from propensity.registry.serving import KEPT_VERSIONS, Champions, ServingState
from propensity.registry.versions import Registry, pickled
from propensity.settings import Settings
from propensity.tables.every import TRAINING_METADATA
from tests.clocks import ManualClock
from tests.functions.conftest import entered
from tests.propensity.registry.versions import overwrite, promote, store

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
TTL_S = 60.0
FEATURES = {"bet_count": "number", "country": "category"}
USE_CASE = replace(usecases.load("first_day_churn"), features=FEATURES)
PLAYERS = pa.RecordBatch.from_pydict(
    {"bet_count": [1.0, 2.0, 8.0, 9.0], "country": ["GB", "MT", "GB", "MT"]}
)


@cache
def fitted_preprocessor() -> tuple[bytes, Any]:
    """Return the bytes of a preprocessor, and the players as it encodes them."""
    preprocessor = make_column_transformer(
        (StandardScaler(), ["bet_count"]), (OneHotEncoder(), ["country"])
    )
    encoded = preprocessor.fit_transform(to_frame(PLAYERS, FEATURES))
    return pickled(preprocessor), encoded


@cache
def classifier(labels: tuple[int, ...]) -> bytes:
    """Return the bytes of a model that tells the players apart by such labels."""
    _, encoded = fitted_preprocessor()
    return pickled(LogisticRegression().fit(encoded, labels))


class Bucket(Artifacts):
    """The bucket, which counts what is read and may not answer."""

    is_down = False

    def find(self, name: str, **named: Any) -> Any:
        self.asked = [*vars(self).get("asked", ()), name]
        if self.is_down:
            raise Unavailable("injected")
        return super().find(name, **named)


class Place:
    """A registry with its table, and champions that read its bucket."""

    def __init__(self, settings: Settings, client: storage.Client) -> None:
        self.settings = settings
        self.client = client
        self.warehouse = Warehouse.open(settings)
        self.warehouse.create(TRAINING_METADATA)
        self.buckets = 0

    def begin(self) -> None:
        """Have no version, and a bucket that was asked for nothing."""
        if self.buckets:
            self.warehouse.execute(f"DELETE FROM {TRAINING_METADATA.stored} WHERE TRUE")
        # To make one takes a request, to empty one a request for each object.
        self.buckets += 1
        bucket = self.client.create_bucket(f"{self.settings.dataset}-{self.buckets}")
        self.registry = Registry(Artifacts(bucket, self.settings), USE_CASE.name)
        self.artifacts = Bucket(bucket, self.settings)
        self.clock = ManualClock()

    def champions(self) -> Champions:
        """Return what reads champions."""
        return Champions(
            self.artifacts, self.warehouse, clock=self.clock, function="score"
        )

    def publish(
        self, *, labels: tuple[int, ...] = (0, 0, 1, 1), model: Any = None
    ) -> int:
        """Store a model as training does; return its version."""
        preprocessor, encoded = fitted_preprocessor()
        fitted = pickled(model.fit(encoded, labels)) if model else classifier(labels)
        version, row = store(
            self.registry, model=fitted, preprocessor=preprocessor, features=FEATURES
        )
        self.warehouse.write(TRAINING_METADATA, row)
        return version

    def enthrone(self, **model: Any) -> int:
        """Publish a model and make it the champion."""
        version = self.publish(**model)
        promote(self.registry, version)
        return version

    def overwrite(self, name: str, data: bytes) -> None:
        """Write an object as somebody would who can write to the bucket."""
        overwrite(self.registry, name, data)

    def model(self, version: int) -> str:
        return f"models/{USE_CASE.name}/{version}/model.joblib"

    def corrupt(self, version: int) -> bytes:
        """Change the bytes of a version's model; return those that it had."""
        right = self.registry.artifacts.read(self.model(version)).data
        self.overwrite(self.model(version), b"other bytes")
        return right

    def asked_of(self, name: str) -> int:
        """Return how often an object was read."""
        return vars(self.artifacts).get("asked", []).count(name)


@pytest.fixture(scope="module")
def shared(module_workplace, storage_emulator) -> Iterator[Place]:
    with entered(module_workplace.environment), storage_emulator.client() as client:
        settings = replace(Settings.from_environment(), refresh_s=int(TTL_S))
        served = Place(settings, client)
        yield served
        served.warehouse.close()


@pytest.fixture
def place(shared) -> Place:
    """A registry without a version."""
    shared.begin()
    return shared


def probabilities(serving: Serving | None) -> list[float]:
    assert serving is not None
    return serving.scorer.probabilities(PLAYERS).tolist()


def labels_of(serving: Serving | None) -> list[int]:
    """Return the likelier label of each player."""
    return [round(probability) for probability in probabilities(serving)]


async def after_a_while(place: Place, champions: Champions) -> ServingState:
    """Return what serves once the pointer was too old, and was read again behind."""
    place.clock.advance(TTL_S)
    await champions.state(USE_CASE)
    async with asyncio.timeout(60):
        while champions._followed[USE_CASE.name]._reading:
            await asyncio.sleep(0.01)
    return await champions.state(USE_CASE)


def serving_of(place: Place, version: int) -> Serving:
    row = recorded(place.warehouse, USE_CASE.name, version)
    return loaded(place.registry, USE_CASE, row, settings=place.settings)


class TestLoaded:
    def test_is_what_training_recorded(self, place):
        """A probability for each row; what another use case recorded, or nobody, is
        not verified."""
        row = recorded(place.warehouse, USE_CASE.name, place.publish())
        serving = loaded(place.registry, USE_CASE, row, settings=place.settings)

        assert (serving.version, serving.metadata) == (0, row)
        assert labels_of(serving) == [0, 0, 1, 1]
        with pytest.raises(ArtifactError, match="version 7 .* is not recorded"):
            recorded(place.warehouse, USE_CASE.name, 7)
        with pytest.raises(ArtifactError, match="version 0 of other is not recorded"):
            recorded(place.warehouse, "other", 0)

    def test_has_the_features_of_the_use_case(self, place):
        """In any order. A model of other features, or of others in the same columns,
        would score nonsense: it is refused, and what has changed is named."""
        row = recorded(place.warehouse, USE_CASE.name, place.publish())
        turned = replace(USE_CASE, features=dict(reversed(FEATURES.items())))
        serving = loaded(place.registry, turned, row, settings=place.settings)
        assert labels_of(serving) == [0, 0, 1, 1]

        for changed, name in (
            ({"features": {"bet_count": "number"}}, "country"),
            ({"features": {**FEATURES, "bet_count": "category"}}, "bet_count"),
            ({"features": {**FEATURES, "age": "number"}}, "age"),
            ({"parameters": {"days": 3}}, "days None, which is 3 today"),
        ):
            other = replace(USE_CASE, **changed)
            with pytest.raises(SchemaError, match=name):
                loaded(place.registry, other, row, settings=place.settings)

    @pytest.mark.parametrize(("window", "is_warm"), [(100, False), (2, True)])
    def test_gives_anomaly_scores_once_it_is_warm(self, place, window, is_warm):
        """They are no probabilities, and none before the first window is full."""
        trees = HalfSpaceTrees(2, 2, window_size=window, random_state=1)
        serving = serving_of(place, place.publish(model=trees))

        assert (serving.is_anomaly, serving.is_warm) == (True, is_warm)
        assert np.isnan(probabilities(serving)).all() == (not is_warm)


class TestChampions:
    async def test_are_none_before_a_promotion(self, place):
        """Nothing serves, and that is no error; once there is one it is found, and is
        none of another use case."""
        champions = place.champions()
        nothing = ServingState(champion=None, epoch=-1)

        assert await champions.state(USE_CASE) == nothing
        place.enthrone()
        assert await champions.state(USE_CASE) == nothing
        assert (await after_a_while(place, champions)).champion.version == 0
        assert await champions.state(replace(USE_CASE, name="other")) == nothing

    async def test_are_kept_while_they_are_young(self, place):
        """In the time to live the bucket is not asked; then the pointer is, and nothing
        is loaded again."""
        version = place.enthrone()
        champions = place.champions()
        first = await champions.state(USE_CASE)
        place.clock.advance(TTL_S - 0.001)
        assert await champions.state(USE_CASE) is first
        assert place.asked_of(place.registry.pointer) == 1

        assert (await after_a_while(place, champions)).champion is first.champion
        assert place.asked_of(place.registry.pointer) == 2
        assert place.asked_of(place.model(version)) == 1

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
        """Bytes that are not those recorded take nobody's place. It is told each time,
        and what is put right serves after another while."""
        place.enthrone()
        champions = place.champions()
        before = (await champions.state(USE_CASE)).champion
        version = place.enthrone(labels=(1, 1, 0, 0))
        right = place.corrupt(version)
        after = [await after_a_while(place, champions) for _ in range(2)]

        assert all(state.champion is before for state in after)
        assert capsys.readouterr().err.count(f"/{version}/") == 2
        place.overwrite(place.model(version), right)
        after = await after_a_while(place, champions)
        assert after.champion.version == version

    @pytest.mark.parametrize("pointer", [b"", b"[]", b'{"version": "0 OR TRUE"}'])
    async def test_go_on_when_the_pointer_is_damaged(self, place, pointer, capsys):
        """Whoever writes nonsense there stops nothing."""
        place.enthrone()
        champions = place.champions()
        before = await champions.state(USE_CASE)
        place.overwrite(place.registry.pointer, pointer)

        assert await after_a_while(place, champions) is before
        assert "champion.json" in capsys.readouterr().err

    async def test_go_on_when_the_pointer_is_gone(self, place, capsys):
        """Until there is one again, such as an older one from a backup."""
        place.enthrone()
        pointer = place.registry.pointer
        old = place.registry.artifacts.read(pointer).data
        place.enthrone()
        champions = place.champions()
        before = await champions.state(USE_CASE)
        place.registry.artifacts.delete(pointer)
        assert await after_a_while(place, champions) is before
        assert "is gone" in capsys.readouterr().err
        place.overwrite(pointer, old)

        assert (await after_a_while(place, champions)).champion.version == 0

    async def test_go_on_when_the_bucket_fails(self, place):
        """A service that is down does not stop who has a model."""
        place.enthrone()
        champions = place.champions()
        before = await champions.state(USE_CASE)
        place.artifacts.is_down = True
        assert await after_a_while(place, champions) is before
        place.clock.advance(60 * TTL_S)
        assert await champions.state(USE_CASE) is before

    async def test_that_cannot_be_loaded_at_first_are_an_error(self, place):
        """With none to go on with the caller is told, until it can be loaded."""
        version = place.enthrone()
        right = place.corrupt(version)
        champions = place.champions()
        for _ in range(2):
            with pytest.raises(ArtifactError, match="not what was recorded"):
                await champions.state(USE_CASE)
        place.overwrite(place.model(version), right)
        place.clock.advance(TTL_S)

        assert (await champions.state(USE_CASE)).champion.version == version

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
        """Only the few that were loaded last are kept."""
        for _ in range(KEPT_VERSIONS + 1):
            place.publish()
        champions = place.champions()
        for number in (*range(KEPT_VERSIONS), 0, KEPT_VERSIONS, 0, 1):
            await champions.version(USE_CASE, number)

        loads = [place.asked_of(place.model(n)) for n in range(KEPT_VERSIONS + 1)]
        assert loads == [2, 2, 1, 1, 1]
