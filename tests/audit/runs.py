"""
A deployment with one small use case, on which weeks of 00, 01 and 03 are played.

It is asked from outside alone: functions by requests, commands by their words; what
they did is read from tables and objects. A call of BigQuery or the bucket may be the
last one of a process, may fail, or may take so long that something happens meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.queries import Queries
from propensity.gcp.warehouse import Warehouse
from propensity.registry.index import Index
from tests.audit.faults import Killed
from tests.support.clocks import ManualClock
from tests.support.deployment import Deployment

NAME = "tiny"
FILES = {
    "usecase.toml": """\
title = "Who will buy?"
outcome = "buy"
lookback_days = 14
horizon_days = 7
threshold = 0.5

[parameters]
user_column = "user_pseudo_id"
label_event = "purchase"

[features]
purchases = "number"
minute = "number"

[baseline]
feature = "minute"
ascending = true

[[candidates]]
name = "logistic_regression"
algorithm = "LogisticRegression"
[candidates.parameters]
C = 0.1
""",
    "features.sql": """\
SELECT
  as_of,
  user_pseudo_id AS user_id,
  COUNTIF(event_name = 'purchase') AS purchases,
  EXTRACT(MINUTE FROM MAX(event_time)) AS minute
FROM UNNEST(@as_ofs) AS as_of
INNER JOIN ga_events
  ON
    table_suffix BETWEEN @first_suffix AND @last_suffix
    AND event_time >= TIMESTAMP(DATE_SUB(as_of, INTERVAL @lookback_days DAY))
    AND event_time < TIMESTAMP(as_of)
GROUP BY as_of, user_pseudo_id
""",
    "labels.sql": """\
SELECT DISTINCT
  as_of,
  user_pseudo_id AS user_id
FROM UNNEST(@as_ofs) AS as_of
INNER JOIN ga_events
  ON
    table_suffix BETWEEN @first_suffix AND @last_label_suffix
    AND event_time >= TIMESTAMP(as_of)
    AND event_time < TIMESTAMP(DATE_ADD(as_of, INTERVAL @horizon_days DAY))
WHERE event_name = @label_event
""",
    "days.sql": "-- include: ga4_purchase/days.sql\n",
}
# The export's days begin on a Wednesday and end on another one; runs are on Mondays,
# on a day whose export is late, and on Mondays after it has ended.
FIRST, WEEKS = date(2026, 1, 7), 20
MONDAYS = [date(2026, 4, 20) + week * timedelta(days=7) for week in range(5)]
LATE = date(2026, 5, 22)
LAST_DAY = FIRST + timedelta(days=7 * (WEEKS - 1))
LOOKBACK = timedelta(days=14)
ENDED = [date(2026, 6, 8), date(2026, 9, 7)]
NOW = datetime(2026, 5, 22, 8, tzinfo=UTC)

# What a process does with BigQuery and the bucket.
STEPS = (
    (Queries, "rows"),
    (Queries, "table"),
    (Queries, "batches"),
    (Queries, "execute"),
    (Warehouse, "write"),
    (Warehouse, "tables_of"),
    (Artifacts, "find"),
    (Artifacts, "read"),
    (Artifacts, "create"),
    (Artifacts, "create_from"),
    (Artifacts, "replace"),
    (Artifacts, "overwrite"),
    (Artifacts, "delete"),
)


class Meanwhile:
    """
    Something that happens between two steps of a process.

    Args:
        at: How many steps the process does before it.
        happens: What; it may raise.
    """

    def __init__(self, at: int, happens: Callable[[], None]) -> None:
        self.at, self.happens = at, happens
        self.steps, self.is_over, self.looked = 0, False, False
        # Name of the step that it happens before.
        self.before = ""

    def step(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Count a step. Right after a look at a lease nothing happens."""
        self.steps += 1
        if self.steps > self.at and not self.is_over and not self.looked:
            self.is_over, self.before = True, name
            self.happens()
        is_lease = name == "find" and str(arguments[0]).startswith("runs/")
        self.looked = is_lease

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let it happen to the process that works within the block."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in STEPS:
                self._count(patch, owner, name)
            yield

    def _count(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        original = getattr(owner, name)

        def counted(client: Any, *arguments: Any, **named: Any) -> Any:
            is_within = self.is_within
            if not is_within:
                self.is_within = True
                try:
                    self.step(name, arguments)
                finally:
                    self.is_within = False
            return original(client, *arguments, **named)

        patch.setattr(owner, name, counted)

    # Whether that which happens is under way: its own steps are not counted.
    is_within = False


class Dead(Meanwhile):
    """A process that is killed does no further step, to clean up neither."""

    def step(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.steps += 1
        if self.steps > self.at:
            self.is_over = True
            raise Killed


@dataclass(frozen=True, kw_only=True)
class State:
    """What tables and bucket say; run times left out."""

    versions: list[dict[str, Any]]
    publications: list[dict[str, Any]]
    # Run ids of scores, by as-of date.
    scored: set[tuple[date, str]]
    history: list[tuple[Any, ...]]
    current: list[tuple[Any, ...]]
    evaluations: list[dict[str, Any]]
    champion: Mapping[str, Any]

    def published(self) -> tuple[Any, ...]:
        """Return what people and functions read."""
        return (
            self.versions,
            self.publications,
            self.history,
            self.current,
            self.evaluations,
            self.champion,
        )


class Site:
    def __init__(
        self, deployment: Deployment, clock: ManualClock, folder: Path
    ) -> None:
        self.deployment, self.clock, self.folder = deployment, clock, folder

    def begin(self) -> None:
        """Begin anew, with the export alone."""
        self.deployment.empty()
        self.clock.time = NOW

    def call(self, target: str, as_of: date, **fields: Any) -> tuple[int, Any]:
        """Call a function; return status and answer."""
        answer = self.deployment.post(target, {"as_of": as_of, **fields})
        return answer.status_code, answer.json

    def lease(self, kind: str, as_of: date) -> Mapping[str, Any]:
        return self._object(f"runs/{NAME}/{kind}/{as_of}.json")

    def _object(self, name: str) -> Mapping[str, Any]:
        stored = self.deployment.artifacts.find(name)
        return dict(json.loads(stored.data)) if stored else {}

    def state(self) -> State:
        """Return what is there now."""
        rows = self.deployment.rows
        versions = rows(
            "SELECT * EXCEPT (seconds, bytes_billed) "
            "FROM ma_model_training_metadata_runs ORDER BY model_version, promoted"
        )
        publications = rows("SELECT * FROM ma_publications_runs ORDER BY published_at")
        scored = rows("SELECT DISTINCT as_of, run_id FROM ma_predictions_runs")
        user = "user_id, as_of, model_version, probability"
        current = rows(f"SELECT {user} FROM ma_predictions_table ORDER BY user_id")
        history = rows(f"SELECT {user} FROM ma_predictions_history ORDER BY {user}")
        weeks = rows("SELECT * FROM ma_model_evaluation ORDER BY week, model_version")
        return State(
            versions=versions,
            publications=publications,
            scored={(row["as_of"], row["run_id"]) for row in scored},
            history=[tuple(row.values()) for row in history],
            current=[tuple(row.values()) for row in current],
            evaluations=weeks,
            champion=self._object(f"models/{NAME}/champion.json"),
        )

    def sha256(self, name: str) -> str:
        """Return an object's checksum; "" where there is none."""
        stored = self.deployment.artifacts.find(name)
        return hashlib.sha256(stored.data).hexdigest() if stored else ""

    def looked_up(self, users: list[str]) -> dict[str, Any]:
        """Return users' predictions, as the published index has them."""
        pointer = self._object(f"indexes/{NAME}/current.json")
        path = self.folder / "looked-up.sqlite"
        path.write_bytes(self.deployment.read(pointer["name"]))
        index = Index(path)
        return {user: index.find(user) for user in users}
