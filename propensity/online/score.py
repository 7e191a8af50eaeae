"""
Online scoring: features in, a probability or an anomaly score out, within milliseconds.

Requests that wait at the same time are scored by one call of the model
(``MicroBatches``), and what was scored is logged behind the answer (``InferenceLog``):
an answer waits for no table, and the function ends only when all is logged.

Belongs to one event loop. No user and no feature is ever in a line of the log.
"""

from __future__ import annotations

import asyncio
import gc
import math
import time
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from propensity import tables, usecases
from propensity.edges.appends import Appends, RowsRefused
from propensity.edges.artifacts import Artifacts
from propensity.edges.asgi import Json, body_of
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
    Unavailable,
    UnsupportedType,
)
from propensity.online import instances
from propensity.online.instances import Instance, Layout, Question, Reader, Scored
from propensity.privacy.suppression import Suppressed, suppressed_now, suppressed_users
from propensity.registry.inference_log import Row, batch_of, size_of
from propensity.registry.serving import Champions, Serving, Standing
from propensity.settings import Settings
from propensity.usecases import UseCase
from propensity.waiting.groups import GroupCommit
from propensity.waiting.refreshed import Refreshed

FUNCTION = "score"
MAXIMUM_BODY_BYTES = 16 * 1024**2

# Instances scored by one call, unless a single request has more.
GROUP_INSTANCES = 256
# More than these are scored in a thread, so that others are not held up meanwhile.
# Fewer are not: a thread that needs the interpreter back again and again, as
# scikit-learn does, waits for the event loop each time.
THREAD_INSTANCES = 128

# Queries for features of users under way at once; each bills 10 MB or more.
CONCURRENT_QUERIES = 4
QUERY_USERS = 1_000
WAITING_USERS = 20_000

# Rows of the log that one append takes, and for how long the first waits for others.
LOG_ROWS = 500
LOG_BYTES = 4 * 1024**2
LOG_LINGER_S = 0.1
# What may wait in an instance of the function. Beyond, requests are refused.
LOG_WAITING_ROWS = 50_000
LOG_WAITING_BYTES = 64 * 1024**2
# An append that failed is tried again after this, then twice as long, up to the most.
RETRY_S = 0.2
LONGEST_RETRY_S = 5.0

# Counts are logged this often: a line a request would cost more than the request.
COUNTS_EVERY_S = 10.0

# New objects after which the garbage collector looks through them.
COLLECT_AFTER = 50_000

_JSON_TYPE = b"application/json"
_encode = msgspec.json.Encoder().encode


class Counts:
    """Counts of an instance of the function, logged as one line every so often."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._is_waiting = False

    def add(self, **counts: int) -> None:
        """Add to the counts; they are logged within ``COUNTS_EVERY_S``."""
        self._counts.update(counts)
        if not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_later(COUNTS_EVERY_S, self._write)

    def _write(self) -> None:
        self._is_waiting = False
        log("INFO", "counts", function=FUNCTION, outcome="ok", **self._counts)
        self._counts.clear()


# -- scoring ---------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Waiting:
    """A question that waits for its scores."""

    layout: Layout
    standing: Standing
    instances: Sequence[Instance]
    prefixes: Sequence[str]
    done: asyncio.Future[Scored]


class MicroBatches:
    """
    Scores what waits at the same time by one call for each version.

    A group begins as soon as it is as large as the last one was, or when its first
    question has waited ``linger_s``. So a question that comes alone waits for nobody,
    and those of many callers go together.
    """

    def __init__(self, counts: Counts, *, linger_s: float) -> None:
        self._counts = counts
        self._linger_s = linger_s
        self._queue: deque[_Waiting] = deque()
        self._since = 0.0
        self._expected = 1
        self._is_woken = False
        self._is_busy = False
        self._timer: asyncio.TimerHandle | None = None

    async def score(
        self,
        layout: Layout,
        standing: Standing,
        asked: Sequence[Instance],
        prefixes: Sequence[str],
    ) -> Scored:
        """
        Return the scores of instances by what serves.

        Args:
            layout: Of their use case.
            standing: With a champion.
            asked: One at least.
            prefixes: Of the fields of each, for errors.

        Raises:
            RequestError: The model does not take one of them.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(layout, standing, asked, prefixes, loop.create_future())
        if not self._queue:
            self._since = loop.time()
        self._queue.append(waiting)
        if not self._is_woken:
            # Not at once: requests that arrived together go together.
            self._is_woken = True
            loop.call_soon(self._wake)
        return await waiting.done

    def _wake(self) -> None:
        self._is_woken = False
        if self._is_busy or not self._queue:
            return
        if len(self._queue) < self._expected:
            loop = asyncio.get_running_loop()
            rest = self._since + self._linger_s - loop.time()
            if rest > 0:
                if self._timer is None:
                    self._timer = loop.call_later(rest, self._ring)
                return
        self._begin()

    def _ring(self) -> None:
        self._timer = None
        self._wake()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group: list[_Waiting] = []
        count = 0
        while self._queue:
            oldest = self._queue[0]
            if group and count + len(oldest.instances) > GROUP_INSTANCES:
                break
            self._queue.popleft()
            # Nobody waits for one whose request has gone.
            if not oldest.done.cancelled():
                group.append(oldest)
                count += len(oldest.instances)
        self._expected = len(group)
        self._counts.add(groups=1)
        if count <= THREAD_INSTANCES:
            self._told(group, _scored(group))
        else:
            self._is_busy = True
            task = asyncio.get_running_loop().create_task(self._in_thread(group))
            task.add_done_callback(self._freed)
        self._again()

    async def _in_thread(self, group: Sequence[_Waiting]) -> None:
        self._told(group, await asyncio.to_thread(_scored, group))

    def _freed(self, _: asyncio.Task[None]) -> None:
        self._is_busy = False
        self._again()

    def _again(self) -> None:
        if self._queue and not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _told(
        self, group: Sequence[_Waiting], found: Sequence[Scored | Exception]
    ) -> None:
        for waiting, one in zip(group, found, strict=True):
            if waiting.done.done():
                continue
            if isinstance(one, Exception):
                waiting.done.set_exception(one)
            else:
                waiting.done.set_result(one)


def _scored(group: Sequence[_Waiting]) -> list[Scored | Exception]:
    """Score a group, the questions of each version by one call; in their order."""
    parts: dict[tuple[int, int], list[int]] = {}
    for place, one in enumerate(group):
        key = (id(one.standing.champion), id(one.standing.shadow))
        parts.setdefault(key, []).append(place)
    found: list[Any] = [None] * len(group)
    for places in parts.values():
        part = [group[place] for place in places]
        try:
            scored = _of_one_version(part)
        except Exception as error:  # whoever waits must be told
            scored = [error for _ in part]
        for place, result in zip(places, scored, strict=True):
            found[place] = result
    return found


def _of_one_version(group: Sequence[_Waiting]) -> list[Scored | Exception]:
    layout, standing = group[0].layout, group[0].standing
    champion, shadow = standing.champion, standing.shadow
    assert champion is not None
    every = [one for waiting in group for one in waiting.instances]
    try:
        if any(one.nulls for one in every):
            for waiting in group:
                _refuse_nulls(waiting, champion)
        values = champion.scorer.probabilities(layout.rows(every)).tolist()
    except (RequestError, ValueError) as error:
        # One that the model does not take must not touch another.
        if len(group) > 1:
            return [_of_one_version([waiting])[0] for waiting in group]
        if isinstance(error, RequestError) or len(every) > 1:
            return [_culprit(group[0], error)]
        return [_out_of_range(group[0])]
    beside = None if shadow is None else _beside(layout, shadow, every)
    at = datetime.now(UTC)
    found: list[Scored | Exception] = []
    start = 0
    for waiting in group:
        stop = start + len(waiting.instances)
        found.append(
            Scored(
                waiting.standing,
                values[start:stop],
                None if beside is None else beside[start:stop],
                at,
            )
        )
        start = stop
    return found


def _refuse_nulls(waiting: _Waiting, serving: Serving) -> None:
    """
    Refuse a null where training did not fill gaps.

    Raises:
        RequestError: A number is null that may not be.
    """
    unfilled = serving.scorer.unfilled
    for one, prefix in zip(waiting.instances, waiting.prefixes, strict=True):
        for name in one.nulls:
            if name in unfilled:
                raise RequestError(
                    f"{prefix}{name} may not be null: version {serving.version} has "
                    "nothing to put in its place",
                    field=prefix + name,
                )


def _culprit(waiting: _Waiting, error: Exception) -> Exception:
    """Return the error of the first instance that the model does not take."""
    if isinstance(error, RequestError):
        return error
    for one, prefix in zip(waiting.instances, waiting.prefixes, strict=True):
        alone = _Waiting(
            waiting.layout, waiting.standing, (one,), (prefix,), waiting.done
        )
        found = _of_one_version([alone])[0]
        if isinstance(found, Exception):
            return found
    return error


def _out_of_range(waiting: _Waiting) -> RequestError:
    """Name the number that a model most likely could not compute with."""
    [one], [prefix] = waiting.instances, waiting.prefixes
    sizes = [0.0 if math.isnan(value) else abs(value) for value in one.numbers]
    name = waiting.layout.numbers[sizes.index(max(sizes))]
    assert waiting.standing.champion is not None
    return RequestError(
        f"version {waiting.standing.champion.version} cannot compute with these "
        f"values; {prefix}{name} is the farthest from 0",
        field=prefix + name,
    )


def _beside(
    layout: Layout, shadow: Serving, asked: Sequence[Instance]
) -> list[float] | None:
    """Return the scores of a shadow; None where it fails, which nobody waits for."""
    try:
        found: list[float] = shadow.scorer.probabilities(layout.rows(asked)).tolist()
    except Exception as error:  # an answer does not depend on it
        log(
            "ERROR",
            f"version {shadow.version} did not score as shadow: {type(error).__name__}",
            function=FUNCTION,
            use_case=layout.use_case.name,
        )
        return None
    return found


# -- the log ---------------------------------------------------------------------------


class InferenceLog:
    """
    Appends what was scored to ``inference_log``, behind the answers.

    What waits is bounded: while BigQuery takes nothing, appends are tried again, and
    beyond the bound there is no room for further questions. Nothing is let go.
    """

    def __init__(
        self, append: Callable[[pa.RecordBatch], Awaitable[None]], counts: Counts
    ) -> None:
        """
        Args:
            append: Makes rows durable, or raises.
            counts: Of rows that were.
        """
        self._append = append
        self._counts = counts
        self._rows: deque[Row] = deque()
        self._size = 0
        self._reserved = 0
        self._under_way = 0
        self._writing: asyncio.Task[None] | None = None
        self._is_held = False

    @property
    def waiting(self) -> int:
        """Rows that are not durable yet, with those that there will be."""
        return len(self._rows) + self._under_way + self._reserved

    def reserve(self, rows: int) -> None:
        """
        Make sure that there will be room for rows; ``release`` gives it back.

        Raises:
            Unavailable: There is none.
        """
        is_full = self.waiting and self.waiting + rows > LOG_WAITING_ROWS
        if is_full or self._size > LOG_WAITING_BYTES:
            raise Unavailable("too much waits to be logged; try again")
        self._reserved += rows

    def release(self, rows: int) -> None:
        """Give back what was reserved."""
        self._reserved -= rows

    def add(self, rows: Sequence[Row]) -> None:
        """Log rows of ``instances.logged``, soon."""
        self._rows.extend(rows)
        self._size += sum(map(size_of, rows))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    def held(self) -> Callable[[], Awaitable[None]] | None:
        """
        Return what an answer is to be followed by, so that the server waits for it.

        When it is told to end it ends once its requests have: one of them, long
        answered, stays until nothing waits. None where another one does.
        """
        return None if self._is_held else self.settle

    async def settle(self) -> None:
        """Wait until nothing waits."""
        self._is_held = True
        try:
            while self._writing is not None:
                await asyncio.wait([self._writing])
        finally:
            self._is_held = False

    async def _write(self) -> None:
        while self._rows:
            if len(self._rows) < LOG_ROWS:
                await asyncio.sleep(LOG_LINGER_S)
            group, size = self._next()
            self._under_way = len(group)
            await self._persist(group)
            self._under_way = 0
            self._size -= size
        self._writing = None

    def _next(self) -> tuple[list[Row], int]:
        """Take the oldest rows that fit in an append, and their size."""
        group = [self._rows.popleft()]
        size = size_of(group[0])
        while self._rows and len(group) < LOG_ROWS:
            more = size_of(self._rows[0])
            if size + more > LOG_BYTES:
                break
            group.append(self._rows.popleft())
            size += more
        return group, size

    async def _persist(self, group: list[Row]) -> None:
        """Append a group, however long that takes."""
        pause = RETRY_S
        while group:
            try:
                await self._append(batch_of(group))
            except RowsRefused as error:
                # The table will never take them, and none came with them.
                told = f"lost: the table refuses {len(error.rows)} rows for good"
                log("ERROR", told, function=FUNCTION, outcome=error.code)
                group = [one for at, one in enumerate(group) if at not in error.rows]
                continue
            except Exception as error:  # whatever it is: what waits must not be lost
                told = f"inferences not logged yet: {type(error).__name__}: {error}"
                if not isinstance(error, PropensityError):
                    told += f"\n{traceback.format_exc()}"
                severity = "WARNING" if isinstance(error, Unavailable) else "ERROR"
                log(severity, told, function=FUNCTION, waiting=self.waiting)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_S)
            else:
                self._counts.add(logged=len(group))
                return


# -- the function ----------------------------------------------------------------------


class Online:
    """Answers the questions of ``instances``; what an instance of the function has."""

    def __init__(
        self,
        settings: Settings,
        *,
        champions: Champions,
        warehouse: Warehouse,
        append: Callable[[pa.RecordBatch], Awaitable[None]],
        use_cases: Sequence[UseCase],
        suppressed: Refreshed[Suppressed] | None = None,
    ) -> None:
        self._settings = settings
        self._suppressed = suppressed
        self._champions = champions
        self._warehouse = warehouse
        self._counts = Counts()
        self._batches = MicroBatches(
            self._counts, linger_s=settings.score_linger_ms / 1e3
        )
        self.log = InferenceLog(append, self._counts)
        self._skew = timedelta(seconds=settings.maximum_clock_skew_s)
        self._reader = Reader(
            use_cases,
            default=settings.use_case,
            maximum_instances=settings.maximum_instances,
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
    def open(cls, settings: Settings) -> Online:
        """Open the clients; nothing is sent yet."""
        warehouse = Warehouse.open(settings)
        appends = Appends(settings)

        async def append(rows: pa.RecordBatch) -> None:
            await appends.append(tables.INFERENCE_LOG, rows)

        opened = cls(
            settings,
            champions=Champions(
                Artifacts.open(settings),
                warehouse,
                ttl_s=settings.champion_ttl_s,
                clock=time.monotonic,
                tell=_tell,
            ),
            warehouse=warehouse,
            append=append,
            use_cases=[usecases.load(name) for name in usecases.names()],
            suppressed=suppressed_users(
                warehouse, function=FUNCTION, clock=time.monotonic
            ),
        )
        # Garbage collection that walked through all that stays would halt requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, 10, 10)
        return opened

    async def take(self, request: Request) -> Response:
        """
        Answer a request.

        Raises:
            NoSuchPath, MethodNotAllowed, UnsupportedType, RequestError, TooLarge: It
                is no question.
            UnknownVersion, NoChampion: Nothing scores.
            Unavailable: Too much waits, or what it needs did not answer.
        """
        began = time.perf_counter()
        _check(request)
        body = await body_of(request, maximum=MAXIMUM_BODY_BYTES)
        latest = datetime.now(UTC) + self._skew
        question = self._reader.question(body, latest=latest)
        del body
        standing = await self._standing(question)
        layout = self._reader.layouts[question.use_case.name]
        asked, prefixes = question.instances, question.prefixes
        suppressed = await suppressed_now(self._suppressed)
        if question.user_id is not None:
            name = question.use_case.name
            is_suppressed = suppressed and suppressed.covers(question.user_id, name)
            found = None if is_suppressed else await self._user(question, layout)
            if found is None:
                return _unknown(question)
            timed = replace(found, ingested_at=question.ingested_at)
            asked, prefixes = (timed,), ("",)
        rows = len(asked) * (1 if standing.shadow is None else 2)
        self.log.reserve(rows)
        try:
            scored = await self._batches.score(layout, standing, asked, prefixes)
        finally:
            self.log.release(rows)
        event_ids = _event_ids(question, asked)
        request_ms = (time.perf_counter() - began) * 1e3
        latencies = [
            request_ms if (since := one.latency_ms(scored.at)) is UNSET else since
            for one in asked
        ]
        events = instances.events_of(
            question,
            layout,
            asked,
            event_ids=event_ids,
            latencies_ms=latencies,
            at=scored.at,
        )
        assert scored.standing.champion is not None
        ids = events.inference_ids(question.use_case, scored.standing.champion.version)
        logged = instances.logged(question.use_case, events, scored, ids=ids)
        if suppressed:
            # An instance's identity may be that of somebody on the list.
            logged = [row for row in logged if not _is_of(suppressed, row)]
        self.log.add(logged)
        self._counts.add(requests=1, scored=len(asked))
        told = _told(
            question,
            scored,
            event_ids=event_ids,
            ids=ids,
            latencies_ms=latencies,
            request_ms=request_ms,
        )
        answer = Json(_encode(told))
        # It has been sent before this begins.
        answer.background = self.log.held()  # type: ignore[assignment]
        return answer

    async def _standing(self, question: Question) -> Standing:
        """Return what scores, with a champion."""
        use_case, version = question.use_case, question.version
        try:
            standing = await self._champions.ready(use_case)
        except (ArtifactError, SchemaError):
            if version is None:
                raise
            standing = Standing(champion=None, shadow=None, epoch=-1)
        champion = standing.champion
        if version is None:
            if champion is None:
                raise NoChampion(
                    f"no version of {use_case.name} has been promoted yet: train it, "
                    "or load a shipped model"
                )
            return standing
        if champion is not None and champion.version == version:
            return standing
        serving = self._champions.kept(use_case, version) or await asyncio.to_thread(
            self._champions.version, use_case, version
        )
        return Standing(champion=serving, shadow=None, epoch=standing.epoch)

    async def _user(self, question: Question, layout: Layout) -> Instance | None:
        """Return the features of a user as they are now, None where there are none."""
        use_case = question.use_case
        if use_case.scores_events or not use_case.has_statement("stream_rows"):
            raise RequestError(
                f"{use_case.name} has no features of users on the stream; give them",
                field="user_id",
            )
        assert question.user_id is not None
        row = await self._users.submit((use_case, question.user_id), size=1)
        return None if row is None else layout.of_user(row)

    async def _features_of(
        self, asked: Sequence[tuple[UseCase, str]]
    ) -> list[Mapping[str, Any] | None]:
        """Read features of users, by one query for each use case."""
        wanted: dict[str, set[str]] = {}
        for use_case, user_id in asked:
            wanted.setdefault(use_case.name, set()).add(user_id)
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for name, user_ids in wanted.items():
            use_case = usecases.load(name)
            now = datetime.now(UTC)
            rows = await asyncio.to_thread(self._query, use_case, user_ids, now)
            for row in rows:
                # A use case's last moment of interest: from it on nobody is scored.
                if now < row["scored_until"]:
                    found[name, row["user_id"]] = row
        return [found.get((use_case.name, user_id)) for use_case, user_id in asked]

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


def _is_of(suppressed: Suppressed, row: Sequence[Any]) -> bool:
    return suppressed.covers(row[_USER], row[_USE_CASE])


def _check(request: Request) -> None:
    """Refuse what is no POST of JSON to the root."""
    scope = request.scope
    if scope["path"] != "/":
        raise NoSuchPath("only / is served here")
    if scope["method"] != "POST":
        raise MethodNotAllowed(scope["method"], allowed=("POST",))
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value.partition(b";")[0].strip().lower() == _JSON_TYPE:
                return
            break
    raise UnsupportedType(
        "the body must be JSON, with the header Content-Type: application/json",
        field="Content-Type",
    )


def _event_ids(question: Question, asked: Sequence[Instance]) -> list[str]:
    """Return the identity of each instance: its own, or one that nobody else has."""
    given = [question.event_id or one.event_id for one in asked]
    if None not in given:
        return [one for one in given if one is not None]
    unique = uuid.uuid4().hex
    return [
        one or (unique if question.is_single else f"{unique}-{place}")
        for place, one in enumerate(given)
    ]


def _told(
    question: Question,
    scored: Scored,
    *,
    event_ids: Sequence[str],
    ids: Sequence[str],
    latencies_ms: Sequence[float | None],
    request_ms: float,
) -> dict[str, Any]:
    """Return the answer to a question."""
    serving, name = scored.standing.champion, question.use_case.name
    assert serving is not None
    scores = [
        {
            **instances.score_of(serving, value),
            "event_id": event_id,
            "inference_id": one,
            "latency_ms": None if latency is None else round(latency, 3),
        }
        for value, event_id, one, latency in zip(
            scored.values, event_ids, ids, latencies_ms, strict=True
        )
    ]
    model = {"model_version": serving.version, "is_warm": serving.is_warm}
    request = {"request_ms": round(request_ms, 3)}
    if not question.is_single:
        return {"use_case": name, **model, **request, "predictions": scores}
    user = {} if question.user_id is None else {"user_id": question.user_id}
    return {"use_case": name, **user, **model, **scores[0], **request}


def _unknown(question: Question) -> Json:
    """Answer that there are no features of a user now."""
    body = {
        "use_case": question.use_case.name,
        "user_id": question.user_id,
        "model_version": None,
        "is_warm": None,
        "probability": None,
        "anomaly_score": None,
        "event_id": None,
        "inference_id": None,
        "error": "unknown_user",
        "message": "the stream has no features of this user now",
        "retryable": False,
    }
    return Json(_encode(body), status=404)
