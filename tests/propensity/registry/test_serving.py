"""
Champions, specified: one model serves until another is proven.

Tiny models are published as training publishes them.
"""

from __future__ import annotations

import asyncio
from functools import cache

import pyarrow as pa
import pytest
from msgspec import structs
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.errors import SchemaError
from propensity.models.encoding import to_frame
from propensity.registry.records import recorded
from propensity.registry.serving import Champions, ServingState, loaded
from propensity.registry.versions import pickled
from propensity.tables.models import TRAINING_METADATA
from tests.propensity.registry.versions import promote
from tests.support.clocks import ManualClock
from tests.support.deployment import Deployment

TTL_S = 60.0
FEATURES = {"bet_count": "number", "country": "category"}
USE_CASE = structs.replace(usecases.load("first_day_churn"), features=FEATURES)
PLAYERS = pa.RecordBatch.from_pydict(
    {"bet_count": [1.0, 2.0, 8.0, 9.0], "country": ["GB", "MT", "GB", "MT"]}
)


@cache
def files() -> dict[str, bytes]:
    """Return the bytes of a model that tells the players apart."""
    preprocessor = make_column_transformer(
        (StandardScaler(), ["bet_count"]), (OneHotEncoder(), ["country"])
    )
    encoded = preprocessor.fit_transform(to_frame(PLAYERS, FEATURES))
    model = LogisticRegression().fit(encoded, [0, 0, 1, 1])
    return {"model": pickled(model), "preprocessor": pickled(preprocessor)}


def publish(deployment: Deployment) -> int:
    """Store a model as training does; return its version."""
    return deployment.publish_version(USE_CASE.name, **files(), features=FEATURES)


def promote_new(deployment: Deployment) -> str:
    """Publish a model and make it the champion; return the name of its object."""
    version = publish(deployment)
    promote(deployment.registry, version)
    return f"models/{USE_CASE.name}/{version}/model.joblib"


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
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def champions(deployment, clock) -> Champions:
    return Champions(
        deployment.artifacts, deployment.warehouse, clock=clock, function="score"
    )


async def after_a_while(clock: ManualClock, champions: Champions) -> ServingState:
    """Return what serves once the pointer was too old, and was read again behind."""
    clock.advance(TTL_S)
    await champions.state(USE_CASE)
    async with asyncio.timeout(60):
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    return await champions.state(USE_CASE)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"features": {**FEATURES, "bet_count": "category"}}, "bet_count"),
        ({"parameters": {"days": 3}}, "days None, which is 3 today"),
    ],
)
def test_a_model_of_other_features_would_score_nonsense(deployment, changed, name):
    """It is refused, and what has changed is named; features are in any order."""
    row = recorded(deployment.warehouse, USE_CASE.name, publish(deployment))
    turned = structs.replace(USE_CASE, features=dict(reversed(FEATURES.items())))
    serving = loaded(deployment.registry, turned, row, settings=deployment.settings)
    assert serving.scorer.probabilities(PLAYERS).round().tolist() == [0, 0, 1, 1]

    other = structs.replace(USE_CASE, **changed)
    with pytest.raises(SchemaError, match=name):
        loaded(deployment.registry, other, row, settings=deployment.settings)


async def test_champions_follow_the_pointer_behind_the_answers(
    deployment, champions, clock
):
    """Nothing serves before a promotion, and that is no error. In the time to live the
    bucket is not asked; then the pointer is, and nothing is loaded again. Whoever took
    what served before has it whole."""
    nothing = ServingState(champion=None, epoch=-1)
    assert await champions.state(USE_CASE) == nothing
    promote_new(deployment)
    clock.advance(TTL_S - 0.001)
    assert await champions.state(USE_CASE) == nothing
    before = await after_a_while(clock, champions)
    again = await after_a_while(clock, champions)
    promote_new(deployment)
    assert await champions.state(USE_CASE) is again
    after = await after_a_while(clock, champions)

    assert again.champion is before.champion
    assert (before.champion.version, before.epoch) == (0, 0)
    assert (after.champion.version, after.epoch) == (1, 1)
    assert await champions.state(structs.replace(USE_CASE, name="other")) == nothing


@pytest.mark.parametrize(
    ("broken", "why"),
    [("model", "has changed since it was recorded"), ("pointer", "champion.json")],
)
async def test_champions_go_on_where_a_new_one_cannot_be_loaded(
    deployment, champions, clock, *, broken, why, capsys
):
    """Bytes that are not those recorded take nobody's place, and whoever writes
    nonsense stops nothing. It is told each time; what is put right serves."""
    promote_new(deployment)
    before = (await champions.state(USE_CASE)).champion
    model = promote_new(deployment)
    name = model if broken == "model" else deployment.registry.pointer
    right = deployment.artifacts.read(name).data
    deployment.artifacts.overwrite(name, b"[]")
    after = [await after_a_while(clock, champions) for _ in range(2)]

    assert all(state.champion is before for state in after)
    assert capsys.readouterr().err.count(why) == 2
    deployment.artifacts.overwrite(name, right)
    assert (await after_a_while(clock, champions)).champion.version == 1


async def test_champions_are_those_promoted_during_a_pause(
    deployment, champions, clock
):
    """Also in an instance that nobody has called for an hour."""
    promote_new(deployment)
    await champions.state(USE_CASE)
    promote_new(deployment)
    clock.advance(60 * TTL_S)

    assert (await champions.state(USE_CASE)).champion.version == 1
