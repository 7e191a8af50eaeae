"""
Online scoring: features in, a probability or an anomaly score out, within milliseconds.

``Online`` is the state of one instance of the function. Requests that wait at the same
time are scored by one call of the model. The scores are logged behind the answer, so
that an answer does not wait for the table.

Belongs to one event loop. No user and no feature is ever in a log line.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import pyarrow as pa
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from propensity import errors, suppression, usecases
from propensity.clock import Clock
from propensity.concurrency import GroupCommit
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.asgi import freeze_gc, object_of
from propensity.gcp.http import Callers, failure_of
from propensity.gcp.log import Counts, log
from propensity.gcp.queries import Queries
from propensity.gcp.writes import Appends, RowsRefused, parts

# Its import takes seconds, which no request is to wait for.
from propensity.models.scoring import each_score
from propensity.registry.serving import (
    Champions,
    Serving,
    ServingState,
)
from propensity.settings import Settings
from propensity.streaming.events.values import CLOCK_SKEW
from propensity.streaming.features.user_features import users_on_the_stream
from propensity.streaming.scores import inference_log
from propensity.streaming.scores.score_request import (
    Instance,
    ScoreQuestion,
    question_of,
)
from propensity.suppression import Suppressed
from propensity.suppression.refreshed import suppressed_users
from propensity.tables.stream import INFERENCE_LOG, Inference
from propensity.usecases import Features, UseCase

FUNCTION = "score"

# Instances of one call of the model, unless a single request has more; the pause
# between two calls, in which more come; and instances that may wait.
GROUP_INSTANCES = 256
PAUSE_S = 0.002
WAITING_INSTANCES = 20_000
# Queries for features of a use case's users at once; each bills 10 MB or more.
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
WAITING_USERS = 20_000
# Bytes of one append to the log; with more that wait, requests are refused.
APPEND_BYTES = 1024**2
WAITING_BYTES = 64 * 1024**2
# A row takes this many bytes beside its features.
ROW_BYTES = 512
# A failed append is repeated after this pause.
RETRY_S = 1.0


class WaitingInstances(NamedTuple):
    """Instances that wait for their scores."""

    use_case: UseCase
    serving: Serving
    instances: Sequence[Instance]


# Scores of a request's instances, NaN while the version is not warm; or why it failed.
Result = list[float] | Exception


class Online:
    """Answers requests for scores; an instance of the function has one."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Open the clients; nothing is sent yet."""
        self._settings = settings
        self._clock = clock
        self._counts = Counts(FUNCTION)
        self._warehouse = Queries.open(settings)
        self._champions = Champions(
            Artifacts.open(settings), self._warehouse, clock=clock, function=FUNCTION
        )
        self._suppressed = suppressed_users(
            settings,
            partial(suppression.read_suppressed, self._warehouse),
            function=FUNCTION,
            clock=clock.monotonic,
        )
        # A folder that is wrong refuses its own requests, and no others.
        self._use_cases, wrong = usecases.load_all()
        for error in wrong:
            log("ERROR", f"left out: {error.message}", outcome=error.code)
        self._scores: GroupCommit[WaitingInstances, Result] = GroupCommit(
            self._score_group,
            writers=1,
            size=GROUP_INSTANCES,
            waiting=WAITING_INSTANCES,
            pause_s=PAUSE_S,
        )
        self._users: dict[str, GroupCommit[str, Features | None]] = {
            name: GroupCommit(
                partial(self._features_of, use_case),
                writers=CONCURRENT_QUERIES,
                size=QUERY_USERS,
                waiting=WAITING_USERS,
            )
            for name, use_case in self._use_cases.items()
            if use_case.has_statement("stream_rows") and not use_case.scores_events
        }
        append = partial(Appends(settings).append, INFERENCE_LOG)
        self._log: GroupCommit[Sequence[Inference], None] = GroupCommit(
            partial(append_all, append, self._counts),
            writers=1,
            size=APPEND_BYTES,
            waiting=WAITING_BYTES,
        )
        freeze_gc()

    async def take(self, request: Request) -> Response:
        """Answer a request."""
        began = self._clock.monotonic()
        if request.scope["path"] != "/":
            raise errors.NoSuchPath("the path must be /")
        if request.method != "POST":
            raise errors.MethodNotAllowed(request.method, allowed=("POST",))
        fields = await object_of(request)
        question = question_of(
            fields,
            self._use_cases,
            default=self._settings.use_case,
            latest=self._clock.now() + CLOCK_SKEW,
        )
        use_case = question.use_case
        instances = question.instances
        state = await self._state(use_case, question.version)
        assert state.champion is not None
        suppressed = await self._suppressed.current()
        if question.user_id is not None:
            features = await self._user(use_case, question.user_id, suppressed)
            if features is None:
                return _unknown_user(use_case, question.user_id)
            instances = [instances[0]._replace(features=features)]
        scores = await self._scores.submit(
            WaitingInstances(use_case, state.champion, instances), size=len(instances)
        )
        if isinstance(scores, Exception):
            raise scores
        at = self._clock.now()
        request_ms = round((self._clock.monotonic() - began) * 1e3, 3)
        events = _events(question, instances, at=at, request_ms=request_ms)
        rows = list[Inference]()
        logged_rows = list[Inference]()
        for event, score in zip(events, scores, strict=True):
            row = inference_log.row_of(
                use_case, state, event, score, source=inference_log.ONLINE, at=at
            )
            rows.append(row)
            # An instance's identity may be the id of a user on the list.
            if not suppressed.covers(row.user_id, use_case.name):
                logged_rows.append(row)
        size = sum(ROW_BYTES + len(row.features) for row in logged_rows)
        logged = self._log.submit(logged_rows, size=size)
        self._counts.add(requests=1, scored=len(instances))
        answer = _answer(question, state.champion, rows, request_ms=request_ms)
        # Behind the answer: the server ends only after its last request. A caller who
        # leaves does not cancel the append.
        return JSONResponse(answer, background=BackgroundTask(asyncio.wait, [logged]))

    async def _state(self, use_case: UseCase, version: int | None) -> ServingState:
        """Return what scores; its champion is the requested version."""
        try:
            state = await self._champions.state(use_case)
        except (errors.ArtifactError, errors.SchemaError):
            if version is None:
                raise
            state = ServingState(champion=None, epoch=-1)
        champion = state.champion
        if version is not None and (champion is None or champion.version != version):
            champion = await self._champions.version(use_case, version)
        if champion is None:
            raise errors.NoChampion(
                f"{use_case.name} has no live version yet",
                hint="Call 00-ModelTraining, or run `propensity load model`",
            )
        return ServingState(champion=champion, epoch=state.epoch)

    async def _user(
        self, use_case: UseCase, user_id: str, suppressed: Suppressed
    ) -> Features | None:
        """Return the features of a user as of now, None without features."""
        if use_case.name not in self._users:
            raise errors.RequestError(
                f"{use_case.name} has no features of users in the stream; send the "
                "features themselves",
                field="user_id",
            )
        if suppressed.covers(user_id, use_case.name):
            return None
        return await self._users[use_case.name].submit(user_id, size=1)

    async def _features_of(
        self, use_case: UseCase, user_ids: Sequence[str]
    ) -> list[Features | None]:
        now = self._clock.now()
        users = await asyncio.to_thread(
            users_on_the_stream,
            self._warehouse,
            use_case,
            set(user_ids),
            first_event_day=now.date(),
        )
        features = list[Features | None]()
        for user_id in user_ids:
            user = users.get(user_id)
            features.append(None if user is None else user.at(now))
        return features

    async def _score_group(self, group: Sequence[WaitingInstances]) -> list[Result]:
        self._counts.add(groups=1)
        # In a thread scikit-learn would wait for the event loop again and again.
        return scores_of(group)


def scores_of(group: Sequence[WaitingInstances]) -> list[Result]:
    """
    Score a group by one call for each version.

    If a call breaks, its requests are scored one by one: a bad one must not fail the
    others.
    """
    positions_of: dict[int, list[int]] = defaultdict(list)
    for position, waiting in enumerate(group):
        positions_of[id(waiting.serving)].append(position)
    results = dict[int, Result]()
    for positions in positions_of.values():
        requests = [group[position] for position in positions]
        try:
            scored = _scored(requests)
        except Exception:
            scored = [_scored_alone(request) for request in requests]
        results.update(zip(positions, scored, strict=True))
    return [results[position] for position in range(len(group))]


def _scored_alone(request: WaitingInstances) -> Result:
    try:
        [result] = _scored([request])
    except Exception as error:  # every waiting request must get an answer
        return errors.without_frames(error)
    return result


def _scored(requests: Sequence[WaitingInstances]) -> list[Result]:
    """Score requests for the same version by one call."""
    features = list[Features]()
    for request in requests:
        features += [instance.features for instance in request.instances]
    schema = requests[0].use_case.feature_schema()
    rows = pa.RecordBatch.from_pylist(features, schema)
    scores = each_score(requests[0].serving.scorer, rows)
    return [_result(request.instances, scores) for request in requests]


def _result(
    instances: Sequence[Instance], scores: Iterator[float | errors.SchemaError]
) -> Result:
    """Take a request's scores; the error names the first instance that is refused."""
    values = list[float]()
    refused = None
    for instance in instances:
        score = next(scores)
        if not isinstance(score, errors.SchemaError):
            values.append(score)
        elif refused is None:
            # The model may refuse a row as a whole, such as an unknown category.
            field = instance.field(score.field)
            refused = errors.RequestError(f"{field}: {score.message}", field=field)
    return values if refused is None else refused


async def append_all(
    append: Callable[[pa.RecordBatch], Awaitable[Mapping[int, str]]],
    counts: Counts,
    group: Sequence[Sequence[Inference]],
) -> list[None]:
    """Append rows of ``inference_log``, and repeat until they are durable."""
    rows = inference_log.batch_of([row for each in group for row in each])
    for part in parts(rows):
        try:
            refused = len(await _append_durably(append, part))
            outcome = RowsRefused.code
        except errors.PropensityError as error:
            refused = part.num_rows
            outcome = error.code
        counts.add(logged=part.num_rows - refused)
        if refused:
            message = f"lost: the table refuses {refused} rows for good"
            log("ERROR", message, function=FUNCTION, outcome=outcome)
    return [None] * len(group)


async def _append_durably(
    append: Callable[[pa.RecordBatch], Awaitable[Mapping[int, str]]],
    rows: pa.RecordBatch,
) -> Mapping[int, str]:
    while True:
        try:
            return await append(rows)
        except Exception as error:  # no error may lose a row that waits
            if type(error) is errors.PropensityError:
                # BigQuery refuses the request itself, and would do so again.
                raise
            why = failure_of(error, Callers.PUBLIC).message
            message = f"inferences not logged yet: {why}"
            log("ERROR", message, function=FUNCTION, waiting=rows.num_rows)
            await asyncio.sleep(RETRY_S)


def _events(
    question: ScoreQuestion,
    instances: Sequence[Instance],
    *,
    at: datetime,
    request_ms: float,
) -> list[inference_log.Scored]:
    unique = uuid.uuid4().hex
    events = list[inference_log.Scored]()
    for position, instance in enumerate(instances):
        event_id = unique if question.is_single else f"{unique}-{position}"
        latency: float | None = request_ms
        if instance.has_time:
            latency = inference_log.latency_ms(instance.ingested_at, at)
        event = inference_log.Scored(
            event_id=instance.event_id if instance.event_id else event_id,
            user_id=question.user_id,
            time=at if instance.ingested_at is None else instance.ingested_at,
            features=instance.features,
            latency_ms=latency,
        )
        events.append(event)
    return events


def _answer(
    question: ScoreQuestion,
    serving: Serving,
    rows: Sequence[Inference],
    *,
    request_ms: float,
) -> dict[str, object]:
    scores = list[dict[str, object]]()
    for row in rows:
        scores.append({name: getattr(row, name) for name in _OF_INSTANCES})
    use_case = {"use_case": question.use_case.name}
    model = {"model_version": serving.version, "is_warm": serving.is_warm}
    request = {"request_ms": request_ms}
    if not question.is_single:
        return {**use_case, **model, **request, "predictions": scores}
    user = {} if question.user_id is None else {"user_id": question.user_id}
    return {**use_case, **user, **model, **scores[0], **request}


_IN_ANSWERS = ("probability", "anomaly_score", "event_id", "inference_id")
_OF_INSTANCES = _IN_ANSWERS + ("latency_ms",)


def _why_unknown(use_case: UseCase) -> str:
    """Say which event a user lacks: the first that the use case reads begins a user."""
    message = "the stream has no features of this user now"
    if use_case.stream.events:
        message += (
            f": a {use_case.stream.events[0]} never came, or the time in which its "
            "user is scored is over"
        )
    return message


def _unknown_user(use_case: UseCase, user_id: str) -> Response:
    body = {
        "use_case": use_case.name,
        "user_id": user_id,
        **dict.fromkeys(("model_version", "is_warm") + _IN_ANSWERS),
        "error": "unknown_user",
        "message": _why_unknown(use_case),
        "retryable": False,
    }
    return JSONResponse(body, 404)
