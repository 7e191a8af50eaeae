"""
Online scoring: features in, a probability or an anomaly score out, within milliseconds.

``Online`` is the state of one instance of the function. Requests that wait at the same
time are scored by one call of the model. The scores are logged behind the answer, so
that an answer does not wait for the table.

Belongs to one event loop. No user and no feature is ever in a log line.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from msgspec import UNSET, structs
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from propensity import usecases
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
from propensity.gcp.http import (
    PUBLIC,
    failure_of,
    keep_modules,
    object_of,
)
from propensity.gcp.log import Counts, log
from propensity.gcp.queries import Queries
from propensity.gcp.writes import Appends, RowsRefused

# Not used here: versions are loaded with it, and its import takes seconds, which no
# request is to wait for.
from propensity.models import scoring  # noqa: F401
from propensity.online.score_request import Instance, Layout, Question, Reader
from propensity.privacy import suppression
from propensity.privacy.suppression import Suppressed, suppressed_now, suppressed_users
from propensity.registry.inference_log import (
    ONLINE,
    Events,
    Row,
    batch_of,
    columns,
    latency_ms,
)
from propensity.registry.loading import Serving
from propensity.registry.serving import Champions, ServingState
from propensity.settings import Settings
from propensity.tables.inference import INFERENCE_LOG
from propensity.usecases import UseCase

FUNCTION = "score"
_encode = msgspec.json.Encoder().encode
MAXIMUM_BODY_BYTES = 16 * 1024**2

# Instances of one call of the model, unless a single request has more; the pause
# between two calls, in which more come; and instances that may wait.
GROUP_INSTANCES = 256
PAUSE_S = 0.002
WAITING_INSTANCES = 20_000
# Queries for features of users under way at once; each bills 10 MB or more.
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
WAITING_USERS = 20_000
# Rows of one append to the log; with more that wait, requests are refused.
APPEND_ROWS = 500
WAITING_ROWS = 20_000
# Pause after a failed append.
RETRY_S = 1.0


class Waiting(NamedTuple):
    """Instances that wait for their scores."""

    layout: Layout
    serving: Serving
    instances: Sequence[Instance]


class Online:
    """Answers requests for scores; an instance of the function has one."""

    def __init__(
        self,
        settings: Settings,
        *,
        champions: Champions,
        warehouse: Queries,
        append: Callable[[pa.RecordBatch], Awaitable[None]],
        use_cases: Sequence[UseCase],
        clock: Clock,
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
            suppressed: Users without an answer; None if there is no list.
        """
        self._settings = settings
        self._champions = champions
        self._warehouse = warehouse
        self._clock = clock
        self._suppressed = suppressed
        self._counts = Counts(FUNCTION)
        self._reader = Reader(use_cases, default=settings.use_case)
        self._scores: GroupCommit[Waiting, Any] = GroupCommit(
            self._score_group,
            writers=1,
            size=GROUP_INSTANCES,
            waiting=WAITING_INSTANCES,
            pause_s=PAUSE_S,
        )
        self._users: GroupCommit[tuple[UseCase, str], Mapping[str, Any] | None] = (
            GroupCommit(
                self._features_of,
                writers=CONCURRENT_QUERIES,
                size=QUERY_USERS,
                waiting=WAITING_USERS,
            )
        )
        self._log: GroupCommit[Sequence[Row], None] = GroupCommit(
            partial(append_all, append, self._counts),
            writers=1,
            size=APPEND_ROWS,
            waiting=WAITING_ROWS,
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Online:
        """Open the clients; nothing is sent yet."""
        warehouse = Queries.open(settings)
        artifacts = Artifacts.open(settings)
        online = cls(
            settings,
            champions=Champions(artifacts, warehouse, clock=clock, function=FUNCTION),
            warehouse=warehouse,
            append=partial(Appends(settings).append, INFERENCE_LOG),
            use_cases=[usecases.load(name) for name in usecases.names()],
            clock=clock,
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
        if request.scope["path"] != "/":
            raise NoSuchPath("only / is served here")
        if request.method != "POST":
            raise MethodNotAllowed(request.method, allowed=("POST",))
        fields = await object_of(request, maximum=MAXIMUM_BODY_BYTES)
        question = self._reader.question(fields, latest=self._clock.now() + CLOCK_SKEW)
        use_case, instances = question.layout.use_case, question.instances
        state = await self._state(use_case, question.version)
        assert state.champion is not None
        suppressed = await suppressed_now(self._suppressed)
        if question.user_id is not None:
            features = await self._user(use_case, question.user_id, suppressed)
            if features is None:
                return _unknown_user(use_case, question.user_id)
            instances = [structs.replace(instances[0], features=features)]
        waiting = Waiting(question.layout, state.champion, instances)
        values = await self._scores.submit(waiting, size=len(instances))
        if isinstance(values, Exception):
            raise values
        at = self._clock.now()
        request_ms = (self._clock.monotonic() - began) * 1e3
        events = _events(question, instances, at=at, request_ms=request_ms)
        ids = events.inference_ids(use_case, state.champion.version)
        rows = zip(
            *columns(use_case, state, state.champion, events, values, ids=ids, at=at),
            strict=True,
        )
        # An instance's identity may be the id of a user on the list.
        kept = [row for row in rows if not suppressed.covers(row[3], row[0])]
        logged = self._log.submit(kept, size=len(kept))
        self._counts.add(requests=1, scored=len(instances))
        answer = _answer(
            question, state.champion, values, events, ids=ids, request_ms=request_ms
        )
        # Behind the answer: the server ends only after its last request. A caller who
        # leaves does not cancel the append.
        return JSONResponse(answer, background=BackgroundTask(asyncio.wait, [logged]))

    async def _state(self, use_case: UseCase, version: int | None) -> ServingState:
        """Return what scores; its champion is the requested version."""
        try:
            state = await self._champions.state(use_case)
        except (ArtifactError, SchemaError):
            if version is None:
                raise
            state = ServingState(champion=None, epoch=-1)
        champion = state.champion
        if version is not None and (champion is None or champion.version != version):
            champion = await self._champions.version(use_case, version)
        if champion is None:
            raise NoChampion(
                f"no version of {use_case.name} has been promoted yet: run "
                "00-ModelTraining, or propensity load model"
            )
        return ServingState(champion=champion, epoch=state.epoch)

    # Features of users

    async def _user(
        self, use_case: UseCase, user_id: str, suppressed: Suppressed
    ) -> Mapping[str, Any] | None:
        """Return the features of a user as of now, None without features."""
        if use_case.scores_events or not use_case.has_statement("stream_rows"):
            raise RequestError(
                f"{use_case.name} has no features of users on the stream: send the "
                "features themselves",
                field="user_id",
            )
        if suppressed.covers(user_id, use_case.name):
            return None
        return await self._users.submit((use_case, user_id), size=1)

    async def _features_of(
        self, users: Sequence[tuple[UseCase, str]]
    ) -> list[Mapping[str, Any] | None]:
        """Read features of users, by one query for each use case."""
        users_of: dict[str, set[str]] = defaultdict(set)
        for use_case, user_id in users:
            users_of[use_case.name].add(user_id)
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for name, user_ids in users_of.items():
            now = self._clock.now()
            for row in await asyncio.to_thread(self._query, name, user_ids, now):
                # From this moment on the use case does not score the user.
                if now < row["scored_until"]:
                    found[name, row["user_id"]] = _floats(usecases.load(name), row)
        return [found.get((use_case.name, user_id)) for use_case, user_id in users]

    def _query(self, name: str, user_ids: set[str], now: datetime) -> list[Any]:
        use_case = usecases.load(name)
        return self._warehouse.lookup(
            use_case.statement("stream_rows"),
            use_case.serving(self._settings, user_ids, first_event_day=now.date()),
        )[0]

    async def _score_group(self, group: Sequence[Waiting]) -> list[Any]:
        self._counts.add(groups=1)
        # Not in a thread, where scikit-learn waits for the event loop again and again.
        return scores_of(group)


def _floats(use_case: UseCase, row: Any) -> dict[str, float | str | None]:
    """Return the features in a row of BigQuery, whose numbers may be decimals."""
    return {
        name: float(row[name])
        if kind == usecases.NUMBER and row[name] is not None
        else row[name]
        for name, kind in use_case.features.items()
    }


def scores_of(group: Sequence[Waiting]) -> list[Any]:
    """
    Score a group by one call for each version.

    Returns:
        For each request its scores, NaN while the version is not warm; or its error.
    """
    results: list[Any] = [None] * len(group)
    positions_of: dict[int, list[int]] = defaultdict(list)
    for position, waiting in enumerate(group):
        positions_of[id(waiting.serving)].append(position)
    for positions in positions_of.values():
        every = [each for position in positions for each in group[position].instances]
        try:
            scores = iter(_scores(group[positions[0]], every))
            for position in positions:
                results[position] = [next(scores) for _ in group[position].instances]
        except Exception:  # a bad request must not fail the others
            for position in positions:
                results[position] = _scores_or_error(group[position])
    return results


def _scores(waiting: Waiting, instances: Sequence[Instance]) -> list[float]:
    rows = waiting.layout.rows(instances)
    scores: list[float] = waiting.serving.scorer.probabilities(rows).tolist()
    return scores


def _scores_or_error(waiting: Waiting) -> Any:
    """Score the instances of a request one by one, to name the one that is refused."""
    scores = []
    for instance in waiting.instances:
        try:
            scores += _scores(waiting, [instance])
        except ValueError:
            return _refusal(waiting.serving, instance)
        except Exception as error:  # every waiting request must get an answer
            return error.with_traceback(None)
    return scores


def _refusal(serving: Serving, instance: Instance) -> RequestError:
    """Return why a version cannot score an instance, by its field."""
    features, version = instance.features, serving.version
    for name in serving.scorer.unfilled:
        if features[name] is None:
            return RequestError(
                f"{instance.prefix}{name} may not be null: version {version} has "
                "nothing to put in its place",
                field=instance.prefix + name,
            )
    numbers = {name: abs(v) for name, v in features.items() if isinstance(v, float)}
    field = instance.prefix + max(numbers, key=lambda name: numbers[name], default="")
    return RequestError(
        f"version {version} cannot compute with these values; {field} is the farthest "
        "from 0",
        field=field,
    )


async def append_all(
    append: Callable[[pa.RecordBatch], Awaitable[None]],
    counts: Counts,
    group: Sequence[Sequence[Row]],
) -> list[None]:
    """Append rows of ``inference_log``, and repeat until they are durable."""
    rows = [row for each in group for row in each]
    while rows:
        try:
            await append(batch_of(rows))
        except RowsRefused as error:
            # The table will never take these rows; the append had none of the rest.
            message = f"lost: the table refuses {len(error.rows)} rows for good"
            log("ERROR", message, function=FUNCTION, outcome=error.code)
            rows = [row for at, row in enumerate(rows) if at not in error.rows]
        except Exception as error:  # no error may lose a row that waits
            why = failure_of(error, PUBLIC).log_message
            message = f"inferences not logged yet: {why}"
            log("ERROR", message, function=FUNCTION, waiting=len(rows))
            await asyncio.sleep(RETRY_S)
        else:
            counts.add(logged=len(rows))
            break
    return [None] * len(group)


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
        instance.event_id or (unique if question.is_single else f"{unique}-{position}")
        for position, instance in enumerate(instances)
    ]
    moments = [instance.ingested_at for instance in instances]
    return Events(
        source=ONLINE,
        event_ids=event_ids,
        user_ids=event_ids if user_id is None else [user_id],
        times=[moment if isinstance(moment, datetime) else at for moment in moments],
        features=[_encode(instance.features).decode() for instance in instances],
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


def _unknown_user(use_case: UseCase, user_id: str) -> Response:
    """Return the 404 for a user without features."""
    body = {
        "use_case": use_case.name,
        "user_id": user_id,
        **dict.fromkeys(("model_version", "is_warm", "probability", "anomaly_score")),
        **dict.fromkeys(("event_id", "inference_id")),
        "error": "unknown_user",
        "message": "the stream has no features of this user now",
        "retryable": False,
    }
    return JSONResponse(body, 404)
