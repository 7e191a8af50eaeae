"""
Online scoring: features in, a probability or an anomaly score out, within milliseconds.

``Online`` is the state of one instance of the function. Requests that wait at the same
time are scored by one call of the model. The scores are logged behind the answer
(``inference_queue``), so that an answer does not wait for the table.

Belongs to one event loop. No user and no feature is ever in a log line.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
from msgspec import UNSET, structs
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from propensity import tables, usecases
from propensity.clock import Clock
from propensity.concurrency import GroupCommit, Refreshed
from propensity.errors import (
    ArtifactError,
    MethodNotAllowed,
    NoChampion,
    NoSuchPath,
    RequestError,
    SchemaError,
)
from propensity.events.values import CLOCK_SKEW
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.http import body_of, check_is_json, keep_modules
from propensity.gcp.log import Counts
from propensity.gcp.warehouse import Warehouse
from propensity.gcp.writes import Appends

# Not used here: versions are loaded with it, and its import takes seconds, which no
# request is to wait for.
from propensity.models import scoring  # noqa: F401
from propensity.online.inference_queue import FUNCTION, InferenceQueue
from propensity.online.score_request import Instance, Layout, Question, Reader
from propensity.privacy import suppression
from propensity.privacy.suppression import Suppressed, suppressed_now, suppressed_users
from propensity.registry.inference_log import ONLINE, Events, columns, latency_ms
from propensity.registry.loading import Serving
from propensity.registry.serving import Champions, ServingState
from propensity.settings import Settings
from propensity.usecases import UseCase

MAXIMUM_BODY_BYTES = 16 * 1024**2

# Instances scored by one call, unless a single request has more, and how long the first
# of a group waits for others.
GROUP_INSTANCES = 256
LINGER_S = 0.002
# A larger group is scored in a thread, so that it does not hold up other requests. A
# smaller one is not: in a thread scikit-learn waits for the event loop again and again.
THREAD_INSTANCES = 128
# Queries for features of users under way at once; each bills 10 MB or more.
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
WAITING_USERS = 20_000


class Waiting(NamedTuple):
    """Instances that wait for their scores."""

    layout: Layout
    serving: Serving
    instances: Sequence[Instance]


# The scores of each request of a group, NaN while the version is not warm; or an error.
Results = list[Any]


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
        threads: Executor,
        suppressed: Refreshed[Suppressed] | None = None,
    ) -> None:
        """
        Args:
            settings: Of the deployment.
            champions: Score.
            warehouse: Has the features of users.
            append: Makes rows of ``inference_log`` durable.
            use_cases: Of this deploy.
            clock: Tells the time.
            threads: Score large groups. Others than those of the event loop: all of
                these may wait for services, and no service is needed to score.
            suppressed: Users without an answer; None if there is no list.
        """
        self._settings = settings
        self._champions = champions
        self._warehouse = warehouse
        self._clock = clock
        self._threads = threads
        self._suppressed = suppressed
        self._counts = Counts(FUNCTION)
        self._reader = Reader(use_cases, default=settings.use_case)
        self.log = InferenceQueue(append, self._counts)
        self._scores: GroupCommit[Waiting, Any] = GroupCommit(
            self._score,
            writers=1,
            size=GROUP_INSTANCES,
            linger_s=LINGER_S,
        )
        self._users: GroupCommit[tuple[UseCase, str], Mapping[str, Any] | None] = (
            GroupCommit(
                self._features_of,
                writers=CONCURRENT_QUERIES,
                size=QUERY_USERS,
                waiting=WAITING_USERS,
            )
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock, *, threads: Executor) -> Online:
        """Open the clients; nothing is sent yet. ``threads`` score large groups."""
        warehouse = Warehouse.open(settings)
        artifacts = Artifacts.open(settings)
        online = cls(
            settings,
            champions=Champions(artifacts, warehouse, clock=clock, function=FUNCTION),
            warehouse=warehouse,
            append=partial(Appends(settings).append, tables.INFERENCE_LOG),
            use_cases=[usecases.load(name) for name in usecases.names()],
            clock=clock,
            threads=threads,
            suppressed=suppressed_users(
                settings,
                partial(suppression.read, warehouse),
                function=FUNCTION,
                clock=clock.monotonic,
            ),
        )
        keep_modules()
        return online

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
        question = self._reader.question(body, latest=self._clock.now() + CLOCK_SKEW)
        state = await self._state(question)
        suppressed = await suppressed_now(self._suppressed)
        instances = question.instances
        if question.user_id is not None:
            instance = await self._user(question, suppressed)
            if instance is None:
                return _unknown_user(question)
            instances = [instance]
        self.log.check_room()
        assert state.champion is not None
        waiting = Waiting(question.layout, state.champion, instances)
        values = await self._scores.submit(waiting, size=len(instances))
        if isinstance(values, Exception):
            raise values
        at = self._clock.now()
        request_ms = (self._clock.monotonic() - began) * 1e3
        events = _events(question, instances, at=at, request_ms=request_ms)
        use_case = question.layout.use_case
        ids = events.inference_ids(use_case, state.champion.version)
        rows = zip(
            *columns(use_case, state, state.champion, events, values, ids=ids, at=at),
            strict=True,
        )
        # An instance's identity may be the id of a user on the list.
        self.log.add([row for row in rows if not suppressed.covers(row[3], row[0])])
        self._counts.add(requests=1, scored=len(instances))
        return JSONResponse(
            _answer(
                question, state.champion, values, events, ids=ids, request_ms=request_ms
            ),
            background=BackgroundTask(self.log.settle),
        )

    async def _state(self, question: Question) -> ServingState:
        """Return what scores; its champion is the requested version."""
        use_case, version = question.layout.use_case, question.version
        try:
            state = await self._champions.state(use_case)
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
        if champion is None or champion.version != version:
            champion = await self._champions.version(use_case, version)
        return ServingState(champion=champion, epoch=state.epoch)

    # Features of users

    async def _user(
        self, question: Question, suppressed: Suppressed
    ) -> Instance | None:
        """Return the features of a user as of now, None without features."""
        use_case, user_id = question.layout.use_case, question.user_id
        if use_case.scores_events or not use_case.has_statement("stream_rows"):
            raise RequestError(
                f"{use_case.name} has no features of users on the stream: send the "
                "features themselves",
                field="user_id",
            )
        assert user_id is not None
        if suppressed.covers(user_id, use_case.name):
            return None
        row = await self._users.submit((use_case, user_id), size=1)
        if row is None:
            return None
        instance = question.layout.of_user(row)
        return structs.replace(
            instance, event_id=question.event_id, ingested_at=question.ingested_at
        )

    async def _features_of(
        self, users: Sequence[tuple[UseCase, str]]
    ) -> list[Mapping[str, Any] | None]:
        """Read features of users, by one query for each use case."""
        users_of: dict[str, set[str]] = defaultdict(set)
        for use_case, user_id in users:
            users_of[use_case.name].add(user_id)
        features: dict[tuple[str, str], Mapping[str, Any]] = {}
        for name, user_ids in users_of.items():
            now = self._clock.now()
            for row in await asyncio.to_thread(self._query, name, user_ids, now):
                # From this moment on the use case does not score the user.
                if now < row["scored_until"]:
                    features[name, row["user_id"]] = row
        return [features.get((use_case.name, user_id)) for use_case, user_id in users]

    def _query(
        self, name: str, user_ids: set[str], now: datetime
    ) -> Sequence[Mapping[str, Any]]:
        use_case = usecases.load(name)
        rows, _ = self._warehouse.for_run().lookup(
            use_case.statement("stream_rows"),
            use_case.serving(self._settings, user_ids, first_event_day=now.date()),
        )
        return [dict(row.items()) for row in rows]

    # Scores

    def _score(
        self, group: Sequence[Waiting]
    ) -> Results | Coroutine[Any, Any, Results]:
        self._counts.add(groups=1)
        if sum(len(waiting.instances) for waiting in group) <= THREAD_INSTANCES:
            return scores_of(group)
        return self._score_in_thread(group)

    async def _score_in_thread(self, group: Sequence[Waiting]) -> Results:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, scores_of, group)


def scores_of(group: Sequence[Waiting]) -> Results:
    """Score a group by one call for each version; return results in its order."""
    places_of: dict[int, list[int]] = defaultdict(list)
    for place, waiting in enumerate(group):
        places_of[id(waiting.serving)].append(place)
    results: Results = [None] * len(group)
    for places in places_of.values():
        of_version = _scores_of_version([group[place] for place in places])
        for place, result in zip(places, of_version, strict=True):
            results[place] = result
    return results


def _scores_of_version(group: Sequence[Waiting]) -> Results:
    instances = [instance for waiting in group for instance in waiting.instances]
    try:
        values = _probabilities(group[0].layout, group[0].serving, instances)
    except Exception as error:  # every waiting request must get an answer
        # A bad request must not fail the others: score each alone.
        if len(group) > 1:
            return [_scores_of_version([waiting])[0] for waiting in group]
        return [error.with_traceback(None)]
    results, start = [], 0
    for waiting in group:
        stop = start + len(waiting.instances)
        results.append(values[start:stop])
        start = stop
    return results


def _probabilities(
    layout: Layout, serving: Serving, instances: Sequence[Instance]
) -> list[float]:
    """
    Score instances by a version.

    Raises:
        RequestError: It cannot compute with one of them; its field is named.
    """
    unfilled = serving.scorer.unfilled
    for instance in instances if unfilled else ():
        for name, value in zip(layout.numbers, instance.numbers, strict=True):
            if math.isnan(value) and name in unfilled:
                field = instance.prefix + name
                raise RequestError(
                    f"{field} may not be null: version {serving.version} has nothing "
                    "to put in its place",
                    field=field,
                )
    try:
        values: list[float] = serving.scorer.probabilities(
            layout.rows(instances)
        ).tolist()
    except ValueError:
        if len(instances) > 1:
            for instance in instances:
                _probabilities(layout, serving, [instance])
            raise
        [instance] = instances
        sizes = [0.0 if math.isnan(value) else abs(value) for value in instance.numbers]
        field = instance.prefix + layout.numbers[sizes.index(max(sizes))]
        raise RequestError(
            f"version {serving.version} cannot compute with these values; {field} is "
            "the farthest from 0",
            field=field,
        ) from None
    return values


def _events(
    question: Question,
    instances: Sequence[Instance],
    *,
    at: datetime,
    request_ms: float,
) -> Events:
    """Return the events of a question, scored at a time, for log and answer."""
    unique, user_id = uuid.uuid4().hex, question.user_id
    event_ids = [
        instance.event_id or (unique if question.is_single else f"{unique}-{place}")
        for place, instance in enumerate(instances)
    ]
    moments = [instance.ingested_at for instance in instances]
    return Events(
        source=ONLINE,
        event_ids=event_ids,
        user_ids=event_ids if user_id is None else [user_id],
        times=[moment if isinstance(moment, datetime) else at for moment in moments],
        features=[question.layout.features_json(instance) for instance in instances],
        latencies_ms=[
            request_ms if moment is UNSET else latency_ms(moment, at)
            for moment in moments
        ],
        has_users=user_id is not None,
    )


def _answer(
    question: Question,
    serving: Serving,
    values: Sequence[float],
    events: Events,
    *,
    ids: Sequence[str],
    request_ms: float,
) -> dict[str, Any]:
    """Return the answer to a question."""
    scores = []
    for value, event_id, inference_id, latency in zip(
        values, events.event_ids, ids, events.latencies_ms, strict=True
    ):
        score = None if math.isnan(value) else value
        scores.append(
            {
                "probability": None if serving.is_anomaly else score,
                "anomaly_score": score if serving.is_anomaly else None,
                "event_id": event_id,
                "inference_id": inference_id,
                "latency_ms": None if latency is None else round(latency, 3),
            }
        )
    use_case = {"use_case": question.layout.use_case.name}
    model = {"model_version": serving.version, "is_warm": serving.is_warm}
    request = {"request_ms": round(request_ms, 3)}
    if not question.is_single:
        return {**use_case, **model, **request, "predictions": scores}
    user = {} if question.user_id is None else {"user_id": question.user_id}
    return {**use_case, **user, **model, **scores[0], **request}


def _unknown_user(question: Question) -> Response:
    """Return the 404 for a user without features."""
    body = {
        "use_case": question.layout.use_case.name,
        "user_id": question.user_id,
        **dict.fromkeys(("model_version", "is_warm", "probability", "anomaly_score")),
        **dict.fromkeys(("event_id", "inference_id")),
        "error": "unknown_user",
        "message": "the stream has no features of this user now",
        "retryable": False,
    }
    return JSONResponse(body, 404)


def _check(request: Request) -> None:
    """Refuse a request that is not a POST of JSON to the root."""
    if request.scope["path"] != "/":
        raise NoSuchPath("only / is served here")
    if request.method != "POST":
        raise MethodNotAllowed(request.method, allowed=("POST",))
    check_is_json(request)
