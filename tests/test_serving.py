"""
Champions, specified against the emulators: one model serves until another is proven.

Two tiny models are published as training publishes them. A proxy before the bucket
counts what is read of it, and can hold it or make it fail.
"""

from __future__ import annotations

import gc
import threading
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from propensity import usecases
from propensity.artifacts import Artifacts
from propensity.encoding import to_frame
from propensity.errors import ArtifactError, SchemaError, Unavailable
from propensity.registry import Registry, pickled
from propensity.serving import Champions, Serving, loaded, recorded
from propensity.settings import Settings
from propensity.tables import TRAINING_METADATA
from propensity.warehouse import Warehouse, record
from tests.proxy import Asked, Proxy

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
TTL_S = 60.0
FEATURES = {"bet_count": "number", "country": "category"}
USE_CASE = replace(usecases.load("first_day_churn"), features=FEATURES)
PLAYERS = pa.RecordBatch.from_pydict(
    {"bet_count": [1.0, 2.0, 8.0, 9.0], "country": ["GB", "MT", "GB", "MT"]}
)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A registry with its table, and champions that are read from there."""

    def __init__(self, proxy: Proxy, settings: Settings) -> None:
        self.proxy = proxy
        self.settings = settings
        self.artifacts = Artifacts.open(settings)
        self.warehouse = Warehouse.open(settings)
        self.warehouse.create(TRAINING_METADATA)
        self.registry = Registry(self.artifacts, USE_CASE.name)
        self.clock = Clock()

    def champions(self) -> Champions:
        return Champions(self.artifacts, self.warehouse, ttl_s=TTL_S, clock=self.clock)

    def publish(self, *, labels: tuple[int, ...] = (0, 0, 1, 1)) -> int:
        """Store a model as training does; return its version."""
        frame = to_frame(PLAYERS, FEATURES)
        preprocessor = make_column_transformer(
            (StandardScaler(), ["bet_count"]), (OneHotEncoder(), ["country"])
        )
        model = LogisticRegression().fit(preprocessor.fit_transform(frame), labels)
        version = self.registry.claim(run_id="r", at=NOW)
        published = self.registry.publish(
            version,
            {
                "model.joblib": (pickled(model), ""),
                "preprocessor.joblib": (pickled(preprocessor), ""),
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
        champion = self.registry.find_champion()
        self.registry.promote(
            version,
            model_sha256="0" * 64,
            at=NOW,
            instead_of=champion.version if champion else None,
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

    def corrupt(self, version: int) -> None:
        self.overwrite(f"models/{USE_CASE.name}/{version}/model.joblib", b"other bytes")

    def grow_old(self) -> None:
        """Let what is known of the champion be too old."""
        self.clock.now += TTL_S


@pytest.fixture
def place(environment, storage_emulator, monkeypatch) -> Iterator[Place]:
    with Proxy(storage_emulator.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        made = Place(proxy, Settings.from_environment())
        yield made
        made.warehouse.close()
        made.artifacts.close()
    # The client leaves failed downloads unread, and their connections to the collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def probabilities(serving: Serving | None) -> list[float]:
    assert serving is not None
    return serving.scorer.probabilities(PLAYERS).tolist()


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


class TestChampions:
    def test_are_none_before_a_promotion(self, place):
        """Nothing serves, and that is no error; once there is one it is found."""
        champions = place.champions()

        assert champions.current(USE_CASE) is None
        place.enthrone()
        assert champions.current(USE_CASE) is None
        place.grow_old()
        assert champions.current(USE_CASE).version == 0

    def test_are_kept_while_they_are_young(self, place):
        """In the time to live the bucket is not asked; then the pointer is, and a model
        that serves already is not loaded again."""
        place.enthrone()
        champions = place.champions()
        first = champions.current(USE_CASE)
        reads = len(place.proxy.asked)
        place.clock.now += TTL_S - 0.001
        assert champions.current(USE_CASE) is first
        assert len(place.proxy.asked) == reads
        place.clock.now += 0.001

        assert champions.current(USE_CASE) is first
        asked = [one.path for one in place.proxy.asked[reads:]]
        assert asked
        assert all("champion.json" in path for path in asked)

    def test_give_way_to_a_new_one(self, place):
        """A promotion is seen after the time to live, and changes the scores."""
        place.enthrone()
        champions = place.champions()
        before = champions.current(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        assert champions.current(USE_CASE) is before
        place.grow_old()
        after = champions.current(USE_CASE)

        assert after.version == 1
        assert [round(one) for one in probabilities(after)] == [1, 1, 0, 0]

    def test_go_on_when_the_new_one_is_corrupt(self, place):
        """Bytes that are not those recorded take nobody's place; the error is kept, and
        what is put right is found after another while."""
        place.enthrone()
        champions = place.champions()
        before = champions.current(USE_CASE)
        version = place.enthrone(labels=(1, 1, 0, 0))
        name = f"models/{USE_CASE.name}/{version}/model.joblib"
        right = place.artifacts.read(name).data
        place.corrupt(version)
        place.grow_old()

        assert champions.current(USE_CASE) is before
        assert isinstance(champions.last_error, ArtifactError)
        place.overwrite(name, right)
        assert champions.current(USE_CASE) is before
        place.grow_old()
        assert champions.current(USE_CASE).version == version

    @pytest.mark.parametrize("pointer", [b"", b"[]", b'{"version": "0 OR TRUE"}'])
    def test_go_on_when_the_pointer_is_damaged(self, place, pointer):
        """Whoever writes nonsense there stops nothing."""
        place.enthrone()
        champions = place.champions()
        before = champions.current(USE_CASE)
        place.overwrite(f"models/{USE_CASE.name}/champion.json", pointer)
        place.grow_old()

        assert champions.current(USE_CASE) is before

    def test_go_on_when_the_bucket_fails(self, place):
        """A service that is down does not stop who has a model."""
        place.enthrone()
        hasty = Artifacts.open(replace(place.settings, retry_deadline_s=1))
        champions = Champions(hasty, place.warehouse, ttl_s=TTL_S, clock=place.clock)
        before = champions.current(USE_CASE)
        place.proxy.rule = lambda _: 503
        place.grow_old()

        assert champions.current(USE_CASE) is before
        assert isinstance(champions.last_error, Unavailable)
        hasty.close()

    def test_that_cannot_be_loaded_at_first_are_an_error(self, place):
        """With none to go on with the caller is told, and told again; the next call
        may succeed."""
        version = place.enthrone()
        name = f"models/{USE_CASE.name}/{version}/model.joblib"
        right = place.artifacts.read(name).data
        place.corrupt(version)
        champions = place.champions()
        for _ in range(2):
            with pytest.raises(ArtifactError, match="not what was recorded"):
                champions.current(USE_CASE)
        place.overwrite(name, right)

        assert champions.current(USE_CASE).version == version

    def test_of_use_cases_are_apart(self, place):
        """One use case's champion is none of another's."""
        place.enthrone()
        champions = place.champions()

        assert champions.current(replace(USE_CASE, name="other")) is None
        assert champions.current(USE_CASE).version == 0

    def test_are_loaded_once_by_many(self, place):
        """Sixteen threads at once wait for one load, and get the same model."""
        place.enthrone()
        champions = place.champions()
        place.proxy.asked.clear()
        barrier = threading.Barrier(16)
        assert place.champions().current(USE_CASE)
        for_one = len(place.proxy.asked)

        def current(_: int) -> Serving | None:
            barrier.wait()
            return champions.current(USE_CASE)

        place.proxy.asked.clear()
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(current, range(16)))

        assert len({id(one) for one in found}) == 1
        assert len(place.proxy.asked) == for_one

    def test_are_looked_after_by_one_while_the_others_go_on(self, place):
        """A slow bucket holds up the one thread that asks it, and nobody else."""
        place.enthrone()
        champions = place.champions()
        before = champions.current(USE_CASE)
        place.enthrone(labels=(1, 1, 0, 0))
        asking, go_on = threading.Event(), threading.Event()

        def hold(_: Asked) -> None:
            asking.set()
            assert go_on.wait(20)

        place.proxy.rule = hold
        place.grow_old()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(champions.current, USE_CASE)
            assert asking.wait(20)
            assert [champions.current(USE_CASE) for _ in range(3)] == [before] * 3
            assert not slow.done()
            go_on.set()

            assert slow.result(20).version == 1
        assert champions.current(USE_CASE).version == 1
