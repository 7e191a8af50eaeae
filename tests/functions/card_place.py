"""A place that takes transactions, and all that becomes of them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer

from propensity import usecases
from propensity.models.encoding import to_frame
from propensity.registry.versions import Registry, pickled
from tests.events import FEATURES, enriched_card
from tests.functions.instances import Instance, together
from tests.functions.outages import WriteProxy
from tests.functions.streaming import Site, eventually, new_site
from tests.propensity.registry.versions import promote

USE_CASE = usecases.load("card_fraud")
KINDS: dict[str, Any] = dict(USE_CASE.features)
NOW = datetime.now(UTC)
ROWS = np.random.default_rng(5).normal(size=(400, len(FEATURES)))


@dataclass
class Place:
    """A site, the two functions, what is between them and BigQuery, and models."""

    site: Site
    intake: Instance
    scoring: Instance
    writes: WriteProxy

    @property
    def registry(self) -> Registry:
        return Registry(self.site.artifacts, USE_CASE.name)

    def publish(self, model: Any) -> int:
        """Store and record a fitted model, as training does; return its version."""
        passing = ColumnTransformer([("numbers", "passthrough", [*FEATURES])])
        passing.fit(to_frame(batch_of(ROWS), KINDS))
        return self.site.publish_version(
            USE_CASE.name,
            model=pickled(model),
            preprocessor=pickled(passing),
            features=KINDS,
        )

    def promote(self, version: int) -> int:
        """Let a version serve, wait until it does, and return the epoch."""
        return self.followed(promote(self.registry, version).epoch)

    def letters(self) -> Counter[tuple[str, str]]:
        """Count the dead letters, by reason and field."""
        rows = self.site.rows("SELECT reason, field FROM dead_letters")
        return Counter((row["reason"], row["field"]) for row in rows)

    def followed(self, epoch: int) -> int:
        """Wait until the function follows the pointer of an epoch; return it."""

        def is_followed() -> bool:
            name = f"probe-{uuid.uuid4().hex}"
            assert self.scoring.post(enriched(name)).status_code == 200
            return {row["epoch"] for row in self.logged(name)} == {epoch}

        eventually(is_followed, f"epoch {epoch} is followed")
        return epoch

    def logged(self, *names: str) -> list[dict[str, Any]]:
        """Return what was inferred of transactions."""
        return self.site.rows(
            "SELECT * FROM inference_log WHERE event_id IN UNNEST(@names) "
            "ORDER BY event_id, scored_at",
            names=[*names],
        )


def batch_of(rows: np.ndarray) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(column) for column in rows.T], names=[*FEATURES]
    )


def features_of(place: int) -> dict[str, float]:
    """Return the features of a row as a transaction has them."""
    return dict(zip(FEATURES, ROWS[place].tolist(), strict=True))


def enriched(name: str, **fields: Any) -> dict[str, Any]:
    """Return a transaction as stream_features publishes it."""
    ingested = (NOW - timedelta(seconds=1)).timestamp()
    own = {"event_time": NOW.isoformat(), "ingest_ts": ingested, **features_of(0)}
    return enriched_card(name, **own | fields)


@pytest.fixture(scope="module")
def place(emulators, tmp_path_factory) -> Iterator[Place]:
    """Both functions as they are deployed; tests let serve what they need."""
    with (
        new_site(emulators, PROPENSITY_REFRESH_S="1") as site,
        WriteProxy(emulators.address("bigquery_storage")) as writes,
    ):
        environment = {
            **site.environment,
            "BIGQUERY_STORAGE_EMULATOR_HOST": writes.address,
        }
        instances = [
            Instance(target, environment, tmp_path_factory.mktemp(target))
            for target in ("stream_features", "score_stream")
        ]
        with together(instances):
            yield Place(site, *instances, writes)


@pytest.fixture
def name() -> str:
    """An identity of one test alone."""
    return f"t-{uuid.uuid4().hex[:8]}"


def of_event(site: Site, table: str, names: Sequence[str]) -> list[Mapping[str, Any]]:
    return site.rows(
        f"SELECT * FROM {table} WHERE event_id IN UNNEST(@names) ORDER BY event_id",
        names=[*names],
    )
