"""
Champions, specified: one model serves until another is proven.

Tiny models are published as training publishes them.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from msgspec import structs
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.errors import ArtifactError, SchemaError
from propensity.models.encoding import to_frame
from propensity.registry.records import recorded
from propensity.registry.serving import (
    KEPT_VERSIONS,
    Champions,
    Serving,
    ServingState,
    loaded,
)
from propensity.registry.versions import pickled
from propensity.tables.models import TRAINING_METADATA
from tests.propensity.registry.versions import Bucket, promote
from tests.support.clocks import ManualClock
from tests.support.deployment import Deployment

TTL_S = 60.0
FEATURES = {"bet_count": "number", "country": "category"}
USE_CASE = structs.replace(usecases.load("first_day_churn"), features=FEATURES)
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


def model_of(version: int) -> str:
    return f"models/{USE_CASE.name}/{version}/model.joblib"


def publish(deployment: Deployment, labels: tuple[int, ...] = (0, 0, 1, 1)) -> int:
    """Store a model as training does; return its version."""
    preprocessor, _ = fitted_preprocessor()
    files = {"model": classifier(labels), "preprocessor": preprocessor}
    return deployment.publish_version(USE_CASE.name, **files, features=FEATURES)


def promote_new(deployment: Deployment, **model: Any) -> int:
    """Publish a model and make it the champion."""
    version = publish(deployment, **model)
    promote(deployment.registry, version)
    return version


@pytest.fixture(scope="module")
def shared() -> Deployment:
    settings = {"PROPENSITY_REFRESH_S": "60", "PROPENSITY_USE_CASE": USE_CASE.name}
    deployment = Deployment(**settings)
    deployment.warehouse.create(TRAINING_METADATA)
    return deployment


@pytest.fixture
def deployment(shared) -> Deployment:
    """A registry without a version."""
    shared.empty([TRAINING_METADATA])
    return shared


@pytest.fixture
def bucket(deployment) -> Bucket:
    return Bucket(deployment.bucket, deployment.settings)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def champions(bucket, deployment, clock) -> Champions:
    """What reads champions, from a bucket that was asked for nothing."""
    return Champions(bucket, deployment.warehouse, clock=clock, function="score")


def labels_of(serving: Serving) -> list[int]:
    """Return the likelier label of each player."""
    return serving.scorer.probabilities(PLAYERS).round().tolist()


async def after_a_while(clock: ManualClock, champions: Champions) -> ServingState:
    """Return what serves once the pointer was too old, and was read again behind."""
    clock.advance(TTL_S)
    await champions.state(USE_CASE)
    async with asyncio.timeout(60):
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    return await champions.state(USE_CASE)


class TestLoaded:
    def test_a_loaded_model_has_the_features_of_the_use_case(self, deployment):
        """In any order. A model of other features, or of others in the same columns,
        would score nonsense: it is refused, and what has changed is named."""
        row = recorded(deployment.warehouse, USE_CASE.name, publish(deployment))
        turned = structs.replace(USE_CASE, features=dict(reversed(FEATURES.items())))
        serving = loaded(deployment.registry, turned, row, settings=deployment.settings)
        assert labels_of(serving) == [0, 0, 1, 1]

        for changed, name in (
            ({"features": {**FEATURES, "bet_count": "category"}}, "bet_count"),
            ({"parameters": {"days": 3}}, "days None, which is 3 today"),
        ):
            other = structs.replace(USE_CASE, **changed)
            with pytest.raises(SchemaError, match=name):
                loaded(deployment.registry, other, row, settings=deployment.settings)


class TestChampions:
    async def test_champions_follow_the_pointer_behind_the_answers(
        self, deployment, champions, bucket, clock
    ):
        """Nothing serves before a promotion, and that is no error. In the time to live
        the bucket is not asked; then the pointer is, and nothing is loaded again. A
        promotion changes the scores; whoever took what served before has it whole."""
        nothing = ServingState(champion=None, epoch=-1)
        assert await champions.state(USE_CASE) == nothing
        version = promote_new(deployment)
        clock.advance(TTL_S - 0.001)
        assert await champions.state(USE_CASE) == nothing
        before = await after_a_while(clock, champions)
        again = await after_a_while(clock, champions)
        promote_new(deployment, labels=(1, 1, 0, 0))
        assert await champions.state(USE_CASE) is again
        after = await after_a_while(clock, champions)

        assert again.champion is before.champion
        assert bucket.asked[model_of(version)] == 1
        assert (before.champion.version, before.epoch) == (0, 0)
        assert (after.champion.version, after.epoch) == (1, 1)
        assert labels_of(before.champion) == [0, 0, 1, 1]
        assert labels_of(after.champion) == [1, 1, 0, 0]
        assert await champions.state(structs.replace(USE_CASE, name="other")) == nothing

    @pytest.mark.parametrize(
        ("broken", "why"),
        [
            ("model", "has changed since it was recorded"),
            ("pointer", "champion.json"),
        ],
    )
    async def test_champions_go_on_where_a_new_one_cannot_be_loaded(
        self, deployment, champions, *, clock, broken, why, capsys
    ):
        """Bytes that are not those recorded take nobody's place, and whoever writes
        nonsense stops nothing. It is told each time; what is put right serves."""
        promote_new(deployment)
        before = (await champions.state(USE_CASE)).champion
        version = promote_new(deployment, labels=(1, 1, 0, 0))
        name = model_of(version) if broken == "model" else deployment.registry.pointer
        artifacts = deployment.registry.artifacts
        right = artifacts.read(name).data
        artifacts.overwrite(name, b"[]")
        after = [await after_a_while(clock, champions) for _ in range(2)]

        assert all(state.champion is before for state in after)
        assert capsys.readouterr().err.count(why) == 2
        artifacts.overwrite(name, right)
        after = await after_a_while(clock, champions)
        assert after.champion.version == version

    async def test_champions_are_those_promoted_during_a_pause(
        self, deployment, champions, clock
    ):
        """Defect: an instance that nobody had called for an hour answered the next
        calls by the champion of an hour ago, though it had been rolled back."""
        promote_new(deployment)
        await champions.state(USE_CASE)
        promote_new(deployment, labels=(1, 1, 0, 0))
        clock.advance(60 * TTL_S)

        assert (await champions.state(USE_CASE)).champion.version == 1


class TestVersion:
    async def test_a_version_is_any_that_was_recorded(
        self, deployment, champions, bucket
    ):
        """Also one that never served; of that use case alone. The few that were asked
        for last are kept."""
        for _ in range(KEPT_VERSIONS):
            publish(deployment)
        version = publish(deployment, labels=(1, 1, 0, 0))
        serving, again = await asyncio.gather(
            champions.version(USE_CASE, version), champions.version(USE_CASE, version)
        )
        for number in (*range(KEPT_VERSIONS), 0, version, 0, 1):
            await champions.version(USE_CASE, number)

        assert labels_of(serving) == [1, 1, 0, 0]
        assert again is serving
        with pytest.raises(ArtifactError, match="version 0 of other is not recorded"):
            recorded(deployment.warehouse, "other", 0)
        loads = [bucket.asked[model_of(n)] for n in range(KEPT_VERSIONS + 1)]
        assert loads == [1, 2, 1, 1, 2]
