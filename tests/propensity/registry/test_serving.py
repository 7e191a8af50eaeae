"""
Champions, specified against the emulators: one model serves until another is proven.

Tiny models are published as training publishes them. A proxy before the bucket counts
what is read of it, and can hold it or make it fail.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest
from google.cloud import storage
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.edges.artifacts import Artifacts, sha256
from propensity.edges.columns import record
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    ArtifactError,
    OldEpoch,
    PropensityError,
    SchemaError,
    Unavailable,
    UnknownVersion,
)
from propensity.models.anomaly import AnomalyModel
from propensity.models.encoding import to_frame
from propensity.models.half_space_trees import HalfSpaceTrees
from propensity.registry.champion import ANYTHING
from propensity.registry.loading import Serving, find_recorded, loaded, recorded
from propensity.registry.serving import (
    KEPT_VERSIONS,
    REFUSED_S,
    Champions,
    ServingState,
)
from propensity.registry.versions import Registry, pickled
from propensity.settings import Settings
from propensity.tables import TRAINING_METADATA
from propensity.waiting.threads import DaemonThreads
from tests.clocks import ManualClock
from tests.functions.conftest import entered
from tests.proxy import Asked, Proxy, forward

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
    """A registry with its table, and champions that are read from there."""

    def __init__(
        self, proxy: Proxy, settings: Settings, client: storage.Client
    ) -> None:
        self.proxy = proxy
        self.settings = settings
        self.client = client
        self.warehouse = Warehouse.open(settings)
        self.warehouse.create(TRAINING_METADATA)
        self.buckets = 0

    def begin(self) -> None:
        """Have no version, and a bucket that was asked for nothing."""
        if self.buckets:
            self.warehouse.execute(f"DELETE FROM {TRAINING_METADATA.name} WHERE TRUE")
        # To make one takes a request, to empty one a request for each object.
        self.buckets += 1
        bucket = self.client.create_bucket(f"serving-{self.buckets}")
        self.settings = replace(self.settings, bucket=bucket.name)
        self.artifacts = Artifacts(bucket, deadline_s=self.settings.retry_deadline_s)
        self.registry = Registry(self.artifacts, USE_CASE.name)
        self.clock = ManualClock()
        self.proxy.asked.clear()

    def end(self) -> None:
        """Let nothing go on behind the next test."""
        settled()
        self.proxy.rule = forward

    def champions(self, **changed: Any) -> Champions:
        artifacts = changed.pop("artifacts", self.artifacts)
        return Champions(
            artifacts,
            self.warehouse,
            **{
                "ttl_s": TTL_S,
                "clock": self.clock,
                "threads": DaemonThreads("champion"),
                **changed,
            },
        )

    def publish(
        self, *, labels: tuple[int, ...] = (0, 0, 1, 1), model: Any = None
    ) -> int:
        """Store a model as training does; return its version."""
        preprocessor, encoded = fitted_preprocessor()
        given = pickled(model.fit(encoded, labels)) if model else classifier(labels)
        version = self.registry.claim(run_id="r", at=NOW)
        published = self.registry.publish(
            version,
            {
                "model.joblib": (given, ""),
                "preprocessor.joblib": (preprocessor, ""),
            },
        )
        row = {
            "use_case": USE_CASE.name,
            "model_version": version,
            "training_date": date(2026, 3, 2),
            "as_of": date(2026, 3, 2),
            "algorithm": "logistic_regression",
            "features": '{"bet_count": "number", "country": "category"}',
        }
        for part in ("model", "preprocessor"):
            row[f"{part}_object"] = published.objects[f"{part}.joblib"]
            row[f"{part}_sha256"] = published.checksums[f"{part}.joblib"]
        self.warehouse.append(
            TRAINING_METADATA, record(row, TRAINING_METADATA), job_id=uuid.uuid4().hex
        )
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
        found = self.artifacts.find(name)
        self.artifacts.replace(name, data, generation=found.generation if found else 0)

    def model(self, version: int) -> str:
        return f"models/{USE_CASE.name}/{version}/model.joblib"

    def corrupt(self, version: int) -> bytes:
        """Change the bytes of a version's model; return those that it had."""
        right = self.artifacts.read(self.model(version)).data
        self.overwrite(self.model(version), b"other bytes")
        return right

    def asked_of(self, name: str) -> int:
        """Return how often an object was asked for by name."""
        return sum(name in unquote(one.path) for one in self.proxy.asked)

    def grow_old(self) -> None:
        """Let what is known of the champion be too old."""
        self.clock.advance(TTL_S)


@pytest.fixture(scope="module")
def shared(module_workplace, storage_emulator) -> Iterator[Place]:
    with Proxy(storage_emulator.url) as proxy:
        through = {"STORAGE_EMULATOR_HOST": proxy.url}
        with entered({**module_workplace.environment, **through}):
            settings = Settings.from_environment()
            with replace(storage_emulator, url=proxy.url).client() as client:
                made = Place(proxy, settings, client)
                yield made
        made.warehouse.close()


@pytest.fixture
def place(shared) -> Iterator[Place]:
    """A registry without a version."""
    shared.begin()
    yield shared
    shared.end()


def probabilities(serving: Serving | None) -> list[float]:
    assert serving is not None
    return serving.scorer.probabilities(PLAYERS).tolist()


def settled() -> None:
    """Wait until nothing is read in the background."""
    for thread in threading.enumerate():
        if thread.name == "champion":
            thread.join(60)
            assert not thread.is_alive()


def after_a_while(place: Place, champions: Champions) -> ServingState:
    """Return what serves once the pointer was too old, and was read again behind."""
    place.grow_old()
    champions.state(USE_CASE)
    settled()
    return champions.state(USE_CASE)


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
        assert [round(one) for one in probabilities(serving)] == [0, 0, 1, 1]

    @pytest.mark.parametrize(
        ("features", "told"),
        [
            ({"bet_count": "number"}, "country"),
            ({"bet_count": "category", "country": "category"}, "bet_count"),
            ({**FEATURES, "age": "number"}, "age"),
        ],
    )
    def test_has_the_features_of_the_use_case(self, place, features, told):
        """A model of other features would score nonsense: it is refused, and what has
        changed is named."""
        row = recorded(place.warehouse, USE_CASE, place.publish())

        with pytest.raises(SchemaError, match=told):
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

        assert [(one.is_anomaly, one.is_warm) for one in (classifier, cold, warm)] == [
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

        assert champions.state(USE_CASE) == ServingState(
            champion=None, shadow=None, epoch=-1
        )
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
        [asked] = [one.path for one in place.proxy.asked[reads:]]
        assert "champion.json" in asked
        assert "ifGenerationNotMatch=" in asked

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
        assert [round(one) for one in probabilities(before.champion)] == [0, 0, 1, 1]
        assert [round(one) for one in probabilities(after.champion)] == [1, 1, 0, 0]

    def test_never_wait_once_something_is_known(self, place):
        """A bucket that hangs holds up nobody: one thread asks it behind the others,
        which go on with what serves until the new one is loaded whole."""
        place.enthrone()
        champions = place.champions()
        before = champions.state(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        asking, go_on = threading.Event(), threading.Event()

        def hold(_: Asked) -> None:
            asking.set()
            assert go_on.wait(60)

        place.proxy.rule = hold
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
        asking, go_on = threading.Event(), threading.Event()

        def hold(_: Asked) -> None:
            asking.set()
            assert go_on.wait(60)

        place.proxy.rule = hold

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
        told: list[PropensityError] = []
        place.enthrone()
        champions = place.champions(tell=told.append)
        before = champions.state(USE_CASE).champion
        version = place.enthrone(labels=(1, 1, 0, 0))
        right = place.corrupt(version)
        reads = place.asked_of(place.model(version))
        after = [after_a_while(place, champions) for _ in range(3)]

        assert all(one.champion is before for one in after)
        assert [one.refused for one in after] == [version] * 3
        assert place.asked_of(place.model(version)) == reads + 3
        [error] = told
        assert isinstance(error, ArtifactError)
        assert "version 1 is refused" in error.message
        assert "version 0 serves in its place" in error.message
        place.overwrite(place.model(version), right)
        put_right = after_a_while(place, champions)
        assert (put_right.champion.version, put_right.refused) == (version, None)

    def test_of_which_one_cannot_be_read_today_go_on(self, place):
        """Bytes that are those recorded, and that today's libraries cannot read, are
        refused like others."""
        told: list[PropensityError] = []
        place.enthrone()
        champions = place.champions(tell=told.append)
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
        [error] = told
        assert "libraries" in error.message

    @pytest.mark.parametrize("pointer", [b"", b"[]", b'{"version": "0 OR TRUE"}'])
    def test_go_on_when_the_pointer_is_damaged(self, place, pointer):
        """Whoever writes nonsense there stops nothing."""
        told: list[PropensityError] = []
        place.enthrone()
        champions = place.champions(tell=told.append)
        before = champions.state(USE_CASE)
        place.overwrite(f"models/{USE_CASE.name}/champion.json", pointer)

        assert after_a_while(place, champions) is before
        [error] = told
        assert isinstance(error, ArtifactError)

    def test_follow_no_pointer_of_a_lower_epoch(self, place):
        """An old pointer, put back by whatever means, or none at all, changes nothing
        until there is one of a higher epoch."""
        told: list[PropensityError] = []
        place.enthrone()
        pointer = f"models/{USE_CASE.name}/champion.json"
        old = place.artifacts.read(pointer).data
        place.enthrone()
        champions = place.champions(tell=told.append)
        before = champions.state(USE_CASE)
        newest = place.artifacts.read(pointer).data
        place.overwrite(pointer, old)
        assert [after_a_while(place, champions) for _ in range(2)] == [before] * 2
        place.artifacts.delete(pointer)
        assert [after_a_while(place, champions) for _ in range(2)] == [before] * 2
        assert [type(one) for one in told] == [OldEpoch, OldEpoch]
        place.overwrite(pointer, newest)
        assert after_a_while(place, champions).champion is before.champion
        place.promote(0)

        assert after_a_while(place, champions).champion.version == 0

    def test_go_on_when_the_bucket_fails(self, place):
        """A service that is down does not stop who has a model."""
        told: list[PropensityError] = []
        place.enthrone()
        hasty = Artifacts.open(replace(place.settings, retry_deadline_s=1))
        champions = place.champions(artifacts=hasty, tell=told.append)
        before = champions.state(USE_CASE)
        place.proxy.rule = lambda _: 503

        assert after_a_while(place, champions) is before
        [error] = told
        assert isinstance(error, Unavailable)
        hasty.close()

    def test_that_cannot_be_loaded_at_first_are_an_error(self, place):
        """With none to go on with the caller is told, and told again; the next call
        may succeed."""
        version = place.enthrone()
        right = place.corrupt(version)
        champions = place.champions()
        for _ in range(2):
            with pytest.raises(ArtifactError, match="not what was recorded"):
                champions.state(USE_CASE)
        place.overwrite(place.model(version), right)

        assert champions.state(USE_CASE).champion.version == version

    def test_fall_back_at_first_to_what_served_before(self, place):
        """A fresh instance whose champion is corrupt serves the newest version that
        served before and is sound, and says so; it goes on to try."""
        told: list[PropensityError] = []
        for _ in range(4):
            place.enthrone()
        right = place.corrupt(3)
        place.corrupt(2)
        champions = place.champions(tell=told.append)
        first = champions.state(USE_CASE)

        assert (first.champion.version, first.refused, first.epoch) == (1, 3, 3)
        [error] = told
        assert "version 3 is refused as champion" in error.message
        assert "version 1 serves in its place" in error.message
        place.overwrite(place.model(3), right)
        assert after_a_while(place, champions).champion.version == 3

    def test_do_not_fall_back_while_a_service_fails(self, place):
        """Where BigQuery or the bucket is down the champion may be sound: the caller is
        told to try again, and is not served by an old version."""
        place.enthrone()
        place.enthrone()
        hasty = Artifacts.open(replace(place.settings, retry_deadline_s=1))
        champions = place.champions(artifacts=hasty)
        place.proxy.rule = lambda asked: 503 if "joblib" in asked.path else None

        with pytest.raises(Unavailable):
            champions.state(USE_CASE)
        place.proxy.rule = lambda _: None
        assert champions.state(USE_CASE).champion.version == 1
        hasty.close()

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
        barrier = threading.Barrier(16)
        assert place.champions().state(USE_CASE).champion
        for_one = len(place.proxy.asked)

        def current(_: int) -> Serving | None:
            barrier.wait()
            return champions.state(USE_CASE).champion

        place.proxy.asked.clear()
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(current, range(16)))

        assert len({id(one) for one in found}) == 1
        assert len(place.proxy.asked) == for_one

    def test_fail_once_for_many(self, place):
        """Of those that wait for one load that fails none tries it again in turn."""
        version = place.enthrone()
        place.corrupt(version)
        champions = place.champions()
        waiting = threading.Semaphore(0)
        place.proxy.asked.clear()

        def hold(asked: Asked) -> None:
            if asked.number == 0:
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


class TestShadow:
    def test_scores_beside_the_champion(self, place):
        """Both are there in one value; the end of a shadow is followed as well."""
        place.enthrone()
        champions = place.champions()
        first = champions.state(USE_CASE)
        version = place.publish(labels=(1, 1, 0, 0))
        place.registry.shadow(version)
        both = after_a_while(place, champions)
        place.registry.unshadow()
        alone = after_a_while(place, champions)

        assert (first.shadow, alone.shadow) == (None, None)
        assert both.champion is first.champion is alone.champion
        assert both.shadow.version == version
        assert [one.epoch for one in (first, both, alone)] == [0, 1, 2]

    def test_becomes_the_champion_as_it_is(self, place):
        """A shadow that is promoted need not be loaded again, and shadows nobody."""
        place.enthrone()
        version = place.publish()
        place.registry.shadow(version)
        champions = place.champions()
        before = champions.state(USE_CASE)
        reads = place.asked_of(place.model(version))
        place.promote(version)
        after = after_a_while(place, champions)

        assert after.champion is before.shadow
        assert after.shadow is None
        assert place.asked_of(place.model(version)) == reads

    def test_that_is_corrupt_stops_nobody(self, place):
        """The champion serves and none scores beside it; it is told once, and tried
        again, also by an instance that has just begun."""
        told: list[PropensityError] = []
        place.enthrone()
        version = place.publish()
        right = place.corrupt(version)
        place.registry.shadow(version)
        champions = place.champions(tell=told.append)
        first = champions.state(USE_CASE)
        again = after_a_while(place, champions)

        assert first.champion.version == again.champion.version == 0
        assert (first.shadow, again.shadow, again.refused) == (None, None, None)
        [error] = told
        assert "version 1 is refused as shadow" in error.message
        place.overwrite(place.model(version), right)
        assert after_a_while(place, champions).shadow.version == version


class TestVersion:
    def test_is_any_that_was_recorded(self, place):
        """Also one that never served; asked for again, it is still loaded."""
        place.enthrone()
        version = place.publish(labels=(1, 1, 0, 0))
        champions = place.champions()
        found = champions.version(USE_CASE, version)

        assert [round(one) for one in probabilities(found)] == [1, 1, 0, 0]
        assert champions.version(USE_CASE, version) is found
        assert champions.find_loaded(USE_CASE, version) is found

    def test_that_serves_is_that_very_one(self, place):
        """Champion and shadow are not loaded a second time."""
        place.enthrone()
        shadow = place.publish()
        place.registry.shadow(shadow)
        champions = place.champions()
        state = champions.state(USE_CASE)

        assert champions.version(USE_CASE, 0) is state.champion
        assert champions.version(USE_CASE, shadow) is state.shadow

    def test_that_was_kept_serves_as_it_is(self, place):
        """A version that was asked for and is then promoted is not loaded again."""
        place.enthrone()
        champions = place.champions()
        champions.state(USE_CASE)
        version = place.publish()
        found = champions.version(USE_CASE, version)
        place.promote(version)

        assert after_a_while(place, champions).champion is found

    @pytest.mark.parametrize("number", [7, -1, 2**63, 10**30])
    def test_that_was_never_recorded_is_unknown(self, place, number):
        """A clear 404 that names the field, and no try of BigQuery's patience."""
        place.publish()

        with pytest.raises(UnknownVersion, match=f"version {number} .* never") as error:
            place.champions().version(USE_CASE, number)

        assert (error.value.status, error.value.field) == (404, "version")

    def test_that_is_unknown_is_not_asked_for_at_each_call(self, place):
        """What is missing is remembered for a moment; then it may have been recorded
        meanwhile."""
        champions = place.champions()
        with pytest.raises(UnknownVersion) as first:
            champions.version(USE_CASE, 0)
        assert place.publish() == 0
        for ask in (champions.version, champions.find_loaded):
            with pytest.raises(UnknownVersion) as again:
                ask(USE_CASE, 0)
            assert again.value is first.value
        place.clock.advance(REFUSED_S)

        assert champions.find_loaded(USE_CASE, 0) is None
        assert champions.version(USE_CASE, 0).version == 0

    def test_that_is_corrupt_is_refused(self, place):
        """Its bytes are verified like a champion's."""
        place.enthrone()
        version = place.publish()
        place.corrupt(version)

        with pytest.raises(ArtifactError, match="not what was recorded"):
            place.champions().version(USE_CASE, version)

    def test_is_forgotten_when_others_are_asked_for(self, place):
        """Only the few that were asked for last are kept."""
        for _ in range(KEPT_VERSIONS + 1):
            place.publish()
        champions = place.champions()
        for number in range(KEPT_VERSIONS):
            champions.version(USE_CASE, number)
        champions.version(USE_CASE, 0)
        champions.version(USE_CASE, KEPT_VERSIONS)
        kept = [
            number
            for number in range(KEPT_VERSIONS + 1)
            if champions.find_loaded(USE_CASE, number) is not None
        ]

        assert kept == [0, 2, 3, 4]

    def test_is_loaded_once_by_many(self, place):
        """Sixteen threads at once wait for one load."""
        version = place.publish()
        champions = place.champions()
        barrier = threading.Barrier(16)
        place.proxy.asked.clear()

        def ask(_: int) -> Serving:
            barrier.wait()
            return champions.version(USE_CASE, version)

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(ask, range(16)))

        assert len({id(one) for one in found}) == 1
        assert place.asked_of(place.model(version)) == 1


class TestPointerOfAnEarlierDeploy:
    def test_is_followed(self, place):
        """One without pin, shadow and earlier versions serves, and falls back to its
        previous version."""
        place.enthrone()
        place.enthrone()
        old = {
            "version": 1,
            "epoch": 1,
            "model_sha256": "0" * 64,
            "promoted_at": NOW.isoformat(),
            "previous": 0,
        }
        pointer = f"models/{USE_CASE.name}/champion.json"
        place.overwrite(pointer, json.dumps(old).encode())

        assert place.champions().state(USE_CASE).champion.version == 1
        place.corrupt(1)
        assert place.champions().state(USE_CASE).champion.version == 0
