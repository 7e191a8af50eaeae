"""A registry whose versions serve, and models small enough to be made for a test."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from google.cloud import storage
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.models.encoding import to_frame
from propensity.registry.champion import ANYTHING
from propensity.registry.loading import Serving
from propensity.registry.serving import Champions, ServingState
from propensity.registry.versions import Registry, pickled
from propensity.settings import Settings
from propensity.tables import TRAINING_METADATA
from tests.clocks import ManualClock
from tests.functions.conftest import entered
from tests.propensity.registry.versions import overwrite, store
from tests.proxy import Proxy, forward

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


class Place:
    """
    A registry with its table, and champions that are read from there.

    Champions are read through a proxy; who publishes, promotes and damages writes to
    the bucket itself.
    """

    def __init__(
        self,
        proxy: Proxy,
        settings: Settings,
        *,
        direct: storage.Client,
        client: storage.Client,
    ) -> None:
        self.proxy = proxy
        self.settings = settings
        self.direct = direct
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
        bucket = self.direct.create_bucket(f"{self.settings.dataset}-{self.buckets}")
        self.settings = replace(self.settings, bucket=bucket.name)
        deadline_s = self.settings.deadline_s
        written = Artifacts(bucket, deadline_s=deadline_s)
        self.registry = Registry(written, USE_CASE.name)
        self.artifacts = Artifacts(
            self.client.get_bucket(bucket.name), deadline_s=deadline_s
        )
        self.clock = ManualClock()
        self.proxy.asked.clear()

    def end(self) -> None:
        """Let nothing of a test hold up the next one."""
        self.proxy.rule = forward

    def champions(self, artifacts: Artifacts | None = None) -> Champions:
        """Return what reads champions."""
        return Champions(
            artifacts or self.artifacts,
            self.warehouse,
            clock=self.clock,
            function="score",
        )

    def publish(
        self, *, labels: tuple[int, ...] = (0, 0, 1, 1), model: Any = None
    ) -> int:
        """Store a model as training does; return its version."""
        preprocessor, encoded = fitted_preprocessor()
        fitted = pickled(model.fit(encoded, labels)) if model else classifier(labels)
        version, row = store(
            self.registry,
            model=fitted,
            preprocessor=preprocessor,
            features={"bet_count": "number", "country": "category"},
        )
        self.warehouse.append(TRAINING_METADATA, row, job_id=uuid.uuid4().hex)
        return version

    def promote(self, version: int) -> None:
        self.registry.promote(
            version, model_sha256="0" * 64, at=NOW, instead_of=ANYTHING
        )

    def enthrone(self, **model: Any) -> int:
        """Publish a model and make it the champion."""
        version = self.publish(**model)
        self.promote(version)
        return version

    def overwrite(self, name: str, data: bytes) -> None:
        """Write an object as somebody would who can write to the bucket."""
        overwrite(self.registry, name, data)

    def model(self, version: int) -> str:
        return f"models/{USE_CASE.name}/{version}/model.joblib"

    def corrupt(self, version: int) -> bytes:
        """Change the bytes of a version's model; return those that it had."""
        right = self.artifacts.read(self.model(version)).data
        self.overwrite(self.model(version), b"other bytes")
        return right

    def asked_of(self, name: str) -> int:
        """Return how often an object was asked for by name."""
        return sum(name in unquote(request.path) for request in self.proxy.asked)

    def grow_old(self) -> None:
        """Let what is known of the champion be too old."""
        self.clock.advance(TTL_S)


@pytest.fixture(scope="module")
def shared(module_workplace, storage_emulator) -> Iterator[Place]:
    with Proxy(storage_emulator.url) as proxy:
        through = {"STORAGE_EMULATOR_HOST": proxy.url}
        with entered({**module_workplace.environment, **through}):
            settings = replace(Settings.from_environment(), refresh_s=int(TTL_S))
            with (
                storage_emulator.client() as direct,
                replace(storage_emulator, url=proxy.url).client() as client,
            ):
                served = Place(proxy, settings, direct=direct, client=client)
                yield served
        served.warehouse.close()


@pytest.fixture
def place(shared) -> Iterator[Place]:
    """A registry without a version."""
    shared.begin()
    yield shared
    shared.end()


@pytest.fixture
def hasty(place) -> Iterator[Artifacts]:
    """The bucket for whoever gives up after a second."""
    artifacts = Artifacts.open(replace(place.settings, deadline_s=1))
    yield artifacts
    artifacts.close()


def probabilities(serving: Serving | None) -> list[float]:
    assert serving is not None
    return serving.scorer.probabilities(PLAYERS).tolist()


def labels_of(serving: Serving | None) -> list[int]:
    """Return the likelier label of each player."""
    return [round(probability) for probability in probabilities(serving)]


async def after_a_while(place: Place, champions: Champions) -> ServingState:
    """Return what serves once the pointer was too old, and was read again behind."""
    place.grow_old()
    asked = len(place.proxy.asked)
    await champions.state(USE_CASE)
    async with asyncio.timeout(60):
        while len(place.proxy.asked) == asked:
            await asyncio.sleep(0.01)
        while champions._followed[USE_CASE.name]._reading:
            await asyncio.sleep(0.01)
    return await champions.state(USE_CASE)
