"""
Online scoring: features in, a probability or an anomaly score out, within milliseconds.

``Online`` is the state of one instance of the function. Requests that wait at the same
time are scored by one call of the model (``batches``). The scores are logged behind the
answer (``inference_queue``), so that an answer does not wait for the table.

Belongs to one event loop. No user and no feature is ever in a log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import UNSET, structs
from starlette.requests import Request
from starlette.responses import Response

from propensity import tables, usecases
from propensity.clock import Clock
from propensity.edges.appends import Appends
from propensity.edges.artifacts import Artifacts
from propensity.edges.asgi import Json, body_of, check_is_json
from propensity.edges.counts import Counts
from propensity.edges.log import log
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    ArtifactError,
    MethodNotAllowed,
    NoChampion,
    NoSuchPath,
    PropensityError,
    RequestError,
    SchemaError,
)
from propensity.events.values import CLOCK_SKEW

# Not used here: versions are loaded with it, and its import takes seconds, which no
# request is to wait for.
from propensity.models import scoring  # noqa: F401
from propensity.online import score_answers as answers
from propensity.online.batches import MicroBatches
from propensity.online.inference_queue import InferenceQueue
from propensity.online.instances import FUNCTION, Instance, Layout
from propensity.online.named_versions import NamedVersions
from propensity.online.score_request import Question, Reader
from propensity.privacy import suppression
from propensity.privacy.suppression import Suppressed, suppressed_now, suppressed_users
from propensity.registry.serving import Champions, ServingState
from propensity.settings import Settings
from propensity.usecases import UseCase
from propensity.waiting.groups import GroupCommit
from propensity.waiting.refreshed import Refreshed
from propensity.waiting.threads import DaemonThreads

MAXIMUM_BODY_BYTES = 16 * 1024**2

# Queries for features of users under way at once; each bills 10 MB or more.
# Instances of a request.
MAXIMUM_INSTANCES = 1_000
# A request waits so long for others to be scored with.
LINGER_S = 0.002
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
WAITING_USERS = 20_000

_encode = msgspec.json.Encoder().encode


class Online:
    """Answers requests for scores; an instance of the function has one."""

    def __init__(
        self,
        settings: Settings,
        *,
        champions: Champions,
        warehouse: Warehouse,
        append: Callable[[pa.RecordBatch], Awaitable[None]],
        use_cases: Sequence[UseCase],
        clock: Clock,
        threads: DaemonThreads,
        suppressed: Refreshed[Suppressed] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._suppressed = suppressed
        self._champions = champions
        self._named = NamedVersions(champions, threads)
        self._warehouse = warehouse
        self._counts = Counts(FUNCTION)
        self._batches = MicroBatches(
            self._counts,
            clock=clock,
            linger_s=LINGER_S,
            threads=threads,
        )
        self.log = InferenceQueue(append, self._counts)
        self._skew = CLOCK_SKEW
        self._reader = Reader(
            use_cases,
            default=settings.use_case,
            maximum_instances=MAXIMUM_INSTANCES,
        )
        self._users: GroupCommit[tuple[UseCase, str], Mapping[str, Any] | None] = (
            GroupCommit(
                self._features_of,
                writers=CONCURRENT_QUERIES,
                items=QUERY_USERS,
                size=QUERY_USERS,
                waiting=WAITING_USERS,
                waiting_size=WAITING_USERS,
            )
        )

    @classmethod
    def open(
        cls, settings: Settings, clock: Clock, *, threads: DaemonThreads
    ) -> Online:
        """
        Open the clients; nothing is sent yet.

        Args:
            settings: Of the deployment.
            clock: Tells the time.
            threads: For loads of models behind the answers, and for large groups.
        """
        warehouse = Warehouse.open(settings)
        appends = Appends(settings)

        async def append(rows: pa.RecordBatch) -> None:
            await appends.append(tables.INFERENCE_LOG, rows)

        return cls(
            settings,
            champions=Champions(
                Artifacts.open(settings),
                warehouse,
                ttl_s=settings.refresh_s,
                clock=clock,
                threads=threads,
                tell=_tell,
            ),
            warehouse=warehouse,
            append=append,
            clock=clock,
            threads=threads,
            use_cases=[usecases.load(name) for name in usecases.names()],
            suppressed=suppressed_users(
                settings,
                partial(suppression.read, warehouse),
                function=FUNCTION,
                clock=clock.monotonic,
            ),
        )

    async def take(self, request: Request) -> Response:
        """
        Answer a request.

        Raises:
            NoSuchPath, MethodNotAllowed, UnsupportedType, RequestError, TooLarge: The
                request is wrong.
            UnknownVersion, NoChampion: There is no version to score by.
            Unavailable: A queue is full, or a service did not answer.
        """
        began = self._clock.monotonic()
        _check(request)
        body = await body_of(request, maximum=MAXIMUM_BODY_BYTES)
        latest = self._clock.now() + self._skew
        question = self._reader.question(body, latest=latest)
        del body
        state = await self._state(question)
        layout = self._reader.layouts[question.use_case.name]
        instances, prefixes = question.instances, question.prefixes
        suppressed = await suppressed_now(self._suppressed)
        if question.user_id is not None:
            name = question.use_case.name
            is_suppressed = suppressed and suppressed.covers(question.user_id, name)
            instance = None if is_suppressed else await self._user(question, layout)
            if instance is None:
                return answers.unknown_user(question)
            timed = structs.replace(instance, ingested_at=question.ingested_at)
            instances, prefixes = (timed,), ("",)
        self.log.reserve(len(instances))
        try:
            scored = await self._batches.score(layout, state, instances, prefixes)
        finally:
            self.log.release(len(instances))
        event_ids = answers.event_ids_of(question, instances)
        request_ms = (self._clock.monotonic() - began) * 1e3
        latencies = [
            request_ms if (since := instance.latency_ms(scored.at)) is UNSET else since
            for instance in instances
        ]
        events = answers.events_of(
            question,
            layout,
            instances,
            event_ids=event_ids,
            latencies_ms=latencies,
            at=scored.at,
        )
        assert scored.state.champion is not None
        ids = events.inference_ids(question.use_case, scored.state.champion.version)
        log_rows = answers.log_rows(question.use_case, events, scored, ids=ids)
        if suppressed:
            # An instance's identity may be the id of a user on the list.
            log_rows = [
                row
                for row in log_rows
                if not suppressed.covers(row[_USER], row[_USE_CASE])
            ]
        self.log.add(log_rows)
        self._counts.add(requests=1, scored=len(instances))
        content = answers.answer(
            question,
            scored,
            event_ids=event_ids,
            ids=ids,
            latencies_ms=latencies,
            request_ms=request_ms,
        )
        answer = Json(_encode(content))
        # Starlette starts it after it has sent the answer.
        answer.background = self.log.background()  # type: ignore[assignment]
        return answer

    async def _state(self, question: Question) -> ServingState:
        """Return what scores; its champion is the requested version."""
        use_case, version = question.use_case, question.version
        try:
            state = await self._champions.ready(use_case)
        except (ArtifactError, SchemaError):
            if version is None:
                raise
            state = ServingState(champion=None, epoch=-1)
        champion = state.champion
        if version is None:
            if champion is None:
                raise NoChampion(
                    f"no version of {use_case.name} has been promoted yet: run "
                    "00-ModelTraining, or propensity load-model"
                )
            return state
        if champion is not None and champion.version == version:
            return state
        serving = await self._named.find(use_case, version)
        return ServingState(champion=serving, epoch=state.epoch)

    async def _user(self, question: Question, layout: Layout) -> Instance | None:
        """Return the features of a user as of now, None without features."""
        use_case = question.use_case
        if use_case.scores_events or not use_case.has_statement("stream_rows"):
            raise RequestError(
                f"{use_case.name} has no features of users on the stream: send the "
                "features themselves",
                field="user_id",
            )
        assert question.user_id is not None
        row = await self._users.submit((use_case, question.user_id), size=1)
        return None if row is None else layout.of_user(row)

    async def _features_of(
        self, users: Sequence[tuple[UseCase, str]]
    ) -> list[Mapping[str, Any] | None]:
        """Read features of users, by one query for each use case."""
        users_of: dict[str, set[str]] = {}
        for use_case, user_id in users:
            users_of.setdefault(use_case.name, set()).add(user_id)
        features: dict[tuple[str, str], Mapping[str, Any]] = {}
        for name, user_ids in users_of.items():
            use_case = usecases.load(name)
            now = self._clock.now()
            rows = await asyncio.to_thread(self._query, use_case, user_ids, now)
            for row in rows:
                # From this moment on the use case does not score the user.
                if now < row["scored_until"]:
                    features[name, row["user_id"]] = row
        return [features.get((use_case.name, user_id)) for use_case, user_id in users]

    def _query(
        self, use_case: UseCase, user_ids: set[str], now: datetime
    ) -> Sequence[Mapping[str, Any]]:
        rows, _ = self._warehouse.for_run().lookup(
            use_case.statement("stream_rows"),
            use_case.serving(self._settings, user_ids, first_event_day=now.date()),
        )
        return [dict(row.items()) for row in rows]


def _tell(error: PropensityError) -> None:
    log("ERROR", error.message, function=FUNCTION, outcome=error.code)


_USE_CASE, _USER = map(
    tables.INFERENCE_LOG.arrow_schema().get_field_index, ("use_case", "user_id")
)


def _check(request: Request) -> None:
    """Refuse a request that is not a POST of JSON to the root."""
    scope = request.scope
    if scope["path"] != "/":
        raise NoSuchPath("only / is served here")
    if scope["method"] != "POST":
        raise MethodNotAllowed(scope["method"], allowed=("POST",))
    check_is_json(request)
