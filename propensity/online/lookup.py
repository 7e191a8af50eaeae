"""
Lookups: the newest probability of a user, from an index, a cache or one shared query.

``Lookups`` answers a ``Question`` from the index of its use case where that is in
memory. Else it answers from its cache, and users that the cache lacks are read from a
``Source``, many at a time: requests that wait while reads run share the next one, and
each user is in it once. Everything but ``Source.read`` runs in the event loop's one
thread, so nothing here needs a lock.

No user id is ever logged: they are personal data.
"""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import date
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from starlette.responses import Response

from propensity.clock import SYSTEM, Clock
from propensity.edges.asgi import Json
from propensity.edges.failures import Policy
from propensity.edges.log import log
from propensity.edges.objects import Objects
from propensity.errors import MissingTable, Unavailable
from propensity.index.reader import Index
from propensity.online.indexed import Indexes, prediction_of
from propensity.online.question import MAXIMUM_USERS, Question
from propensity.online.sources import (
    FUNCTION,
    Prediction,
    PredictionsTable,
    Reading,
    Source,
)
from propensity.online.values import Values
from propensity.privacy import suppression
from propensity.privacy.published import PublishedList
from propensity.privacy.suppression import Suppressed, suppressed_now
from propensity.settings import Settings
from propensity.waiting.refreshed import Refreshed
from propensity.waiting.threads import DaemonThreads, in_thread

if TYPE_CHECKING:
    from propensity.edges.warehouse import Warehouse

# Each query bills 10 MB or more, so few at a time; more than one, so that a slow query
# does not hold up everybody.
# Users whose predictions are kept, where there is no index.
CACHE_USERS = 100_000
# Older predictions are marked: a week, and a day for the run.
STALE_AFTER_DAYS = 8
CONCURRENT_QUERIES = 4
# Beyond this BigQuery is far behind, and waiting would end in a timeout anyway.
MAXIMUM_WAITING_USERS = 20 * MAXIMUM_USERS

Key = tuple[str, str]


class Cache:
    """
    Predictions by use case and user, each for a limited time; None for no prediction.

    A full cache drops its oldest entries. All entries live equally long, so the oldest
    are also the next to expire.
    """

    def __init__(self, *, ttl_s: float, users: int) -> None:
        self._ttl_s = ttl_s
        self._users = users if ttl_s > 0 else 0
        self._entries: OrderedDict[Key, tuple[float, Prediction | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Key, *, now: float) -> tuple[bool, Prediction | None]:
        """Return whether the cache has an entry, and its prediction."""
        entry = self._entries.get(key)
        if entry is None or entry[0] <= now:
            return False, None
        return True, entry[1]

    def store(self, key: Key, prediction: Prediction | None, *, read_at: float) -> None:
        """Store a prediction that was read at that time, in place of an older one."""
        if not self._users:
            return
        self._entries[key] = (read_at + self._ttl_s, prediction)
        self._entries.move_to_end(key)
        if len(self._entries) > self._users:
            self._entries.popitem(last=False)


class _Batch:
    """The users of one read, which is under way or has yet to start."""

    __slots__ = ("answer", "source", "use_case", "user_ids")

    def __init__(self, use_case: str, source: Source) -> None:
        self.use_case = use_case
        self.source = source
        self.user_ids: list[str] = []
        self.answer: asyncio.Future[Mapping[str, Prediction]] = (
            asyncio.get_running_loop().create_future()
        )


class Lookups:
    """
    Answers questions from the cache, and the rest from as few reads as possible.

    Belongs to one event loop.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        indexes: Indexes | None = None,
        suppressed: Refreshed[Suppressed] | None = None,
        values: Values | None = None,
        threads: Executor,
        clock: Clock = SYSTEM,
    ) -> None:
        """
        Args:
            source: Where predictions are read that no index has.
            settings: Of the deployment.
            indexes: Answer before the source does; None to read the source alone.
            suppressed: Users without an answer; None if there is no list.
            values: Answer with the expected value; None for none.
            threads: ``Source.read`` runs in them.
            clock: Measures the age of cache entries and the time of reads.
        """
        self._source = source
        self._indexes = indexes
        self._suppressed = suppressed
        self._values = values
        self._settings = settings
        self._clock = clock.monotonic
        self._cache = Cache(ttl_s=settings.refresh_s, users=CACHE_USERS)
        self._threads = threads
        self._batches: deque[_Batch] = deque()
        self._pending: dict[Key, _Batch] = {}
        self._running = 0

    @classmethod
    def open(
        cls, settings: Settings, clock: Clock, *, threads: DaemonThreads
    ) -> Lookups:
        """Open what is needed; BigQuery's client waits for the first read of it."""

        @functools.cache
        def warehouse() -> Warehouse:
            from propensity.edges.warehouse import Warehouse

            return Warehouse.open(settings)

        def listed() -> Suppressed:
            return suppression.read(warehouse())

        table, indexes = PredictionsTable(warehouse), None
        if settings.lookup_source == "index" and settings.bucket:
            objects = Objects.open(settings)
            indexes = Indexes(
                objects,
                settings,
                instead=table,
                clock=clock.monotonic,
                threads=threads,
            )
            key = settings.suppression_key
            listed = PublishedList(objects, key, FUNCTION, table=listed).read
        return cls(
            table,
            settings,
            indexes=indexes,
            suppressed=suppression.kept_fresh(
                listed, settings, function=FUNCTION, clock=clock.monotonic
            ),
            values=Values(warehouse, settings, threads=threads),
            threads=threads.pool(CONCURRENT_QUERIES, FUNCTION),
            clock=clock,
        )

    async def answer(self, question: Question, *, today: date) -> Response:
        """
        Answer a question as of ``today``.

        Raises:
            PropensityError: The predictions could not be read.
        """
        use_case = question.use_case or self._settings.use_case
        oldest = today.toordinal() - STALE_AFTER_DAYS
        if question.values:
            return await self._with_value(use_case, question, oldest=oldest)
        predictions = await self._predictions(use_case, question.user_ids)
        if question.is_single:
            return _answer_of_one(question.user_ids[0], predictions[0], oldest=oldest)
        texts = [
            rendered(user_id, prediction, oldest=oldest)
            for user_id, prediction in zip(question.user_ids, predictions, strict=True)
        ]
        return Json(f'{{"predictions":[{",".join(texts)}]}}'.encode())

    async def _with_value(
        self, use_case: str, question: Question, *, oldest: int
    ) -> Response:
        """Answer for one user with the expected value."""
        suppressed = await suppressed_now(self._suppressed)
        [user_id], answer = question.user_ids, None
        is_suppressed = suppressed and suppressed.covers(user_id, use_case)
        if self._values and not is_suppressed:
            answer = await self._values.answer(use_case, question, oldest=oldest)
        return answer or _answer_of_one(user_id, None, oldest=oldest)

    def answer_at_once(self, user_id: str, *, today: date) -> Response | None:
        """
        Answer for one user of the default use case, if its index is in memory.

        Most lookups end here, without waiting. None means that ``answer`` has to
        answer: there is no fresh index, the user is not in it, or is suppressed.
        """
        if self._indexes is None:
            return None
        settings = self._settings
        index = self._indexes.fresh(settings.use_case)
        if index is None:
            return None
        if self._suppressed is not None:
            suppressed = self._suppressed.fresh()
            if suppressed is None or suppressed.covers(user_id, settings.use_case):
                return None
        entry = index.find(user_id)
        if entry is None:
            return None
        probability, percentile, (as_of, version) = entry
        oldest = today.toordinal() - STALE_AFTER_DAYS
        rest = _rendered_rest(as_of, percentile or None, version, oldest)
        name = encode_basestring(user_id)
        text = f'{{"user_id":{name},"probability":{probability!r},{rest}'
        return Json(text.encode())

    async def _predictions(
        self, use_case: str, user_ids: Sequence[str]
    ) -> Sequence[Prediction | None]:
        """Return each user's prediction, all from the index or all from a source."""
        indexes = self._indexes
        index = None if indexes is None else await indexes.current(use_case)
        if isinstance(index, Index):
            suppressed = await suppressed_now(self._suppressed)
            return [
                None
                if suppressed and suppressed.covers(user_id, use_case)
                else prediction_of(user_id, index.find(user_id))
                for user_id in user_ids
            ]
        if len(user_ids) == 1 and not await suppressed_now(self._suppressed):
            key = (use_case, user_ids[0])
            is_cached, prediction = self._cache.find(key, now=self._clock())
            if is_cached:
                return [prediction]
        by_user = await self.find(use_case, user_ids, source=index)
        return [by_user[user_id] for user_id in user_ids]

    async def find(
        self, use_case: str, user_ids: Iterable[str], *, source: Source | None = None
    ) -> Mapping[str, Prediction | None]:
        """
        Return every user's prediction from cache or source, None for users without one.

        Args:
            use_case: Of the users.
            user_ids: In any order.
            source: Where to read what the cache lacks; None for the table.

        Raises:
            PropensityError: The predictions could not be read.
        """
        suppressed = await suppressed_now(self._suppressed)
        now = self._clock()
        by_user: dict[str, Prediction | None] = {}
        missing: dict[str, None] = {}
        for user_id in user_ids:
            if suppressed and suppressed.covers(user_id, use_case):
                by_user[user_id] = None
                continue
            is_cached, prediction = self._cache.find((use_case, user_id), now=now)
            if is_cached:
                by_user[user_id] = prediction
            else:
                missing[user_id] = None
        if missing:
            batches = self._batches_of(use_case, missing, source or self._source)
            # Cancelling a wait leaves the futures alone: others may wait for them too.
            _, late = await asyncio.wait(
                {batch.answer for batch in batches.values()},
                timeout=self._settings.deadline_s,
            )
            if late:
                raise Unavailable(f"no answer within {self._settings.deadline_s} s")
            for user_id, batch in batches.items():
                by_user[user_id] = batch.answer.result().get(user_id)
        return by_user

    def _batches_of(
        self, use_case: str, user_ids: Iterable[str], source: Source
    ) -> dict[str, _Batch]:
        """Return each user's batch: one that has the user already, or a new one."""
        batches = {}
        new = []
        for user_id in user_ids:
            batch = self._pending.get((use_case, user_id))
            if batch is None:
                new.append(user_id)
            else:
                batches[user_id] = batch
        if new:
            if len(self._pending) + len(new) > MAXIMUM_WAITING_USERS:
                raise Unavailable("too many lookups are waiting to be read")
            batch = self._batch_with_room(use_case, source, len(new))
            batch.user_ids.extend(new)
            for user_id in new:
                batches[user_id] = self._pending[use_case, user_id] = batch
            # After this turn of the loop, so that requests of one turn share a query.
            asyncio.get_running_loop().call_soon(self._start)
        return batches

    def _batch_with_room(self, use_case: str, source: Source, users: int) -> _Batch:
        for batch in self._batches:
            has_room = len(batch.user_ids) + users <= MAXIMUM_USERS
            is_same_read = batch.use_case == use_case and batch.source is source
            if is_same_read and has_room:
                return batch
        batch = _Batch(use_case, source)
        self._batches.append(batch)
        return batch

    def _start(self) -> None:
        while self._batches and self._running < CONCURRENT_QUERIES:
            batch = self._batches.popleft()
            self._running += 1
            reading = in_thread(
                self._threads, batch.source.read, batch.use_case, batch.user_ids
            )
            reading.add_done_callback(
                functools.partial(self._finish, batch, self._clock())
            )

    def _finish(
        self, batch: _Batch, began: float, reading: asyncio.Future[Reading]
    ) -> None:
        """Give a batch its answer, and let the next one start."""
        self._running -= 1
        for user_id in batch.user_ids:
            del self._pending[batch.use_case, user_id]
        error = reading.exception()
        if error is not None:
            batch.answer.set_exception(error)
            # Reading the error keeps asyncio from warning if no request waits any more.
            batch.answer.exception()
        else:
            by_user = {entry.user_id: entry for entry in reading.result().predictions}
            for user_id in batch.user_ids:
                # The answer dates from the start of the query, and so does its age.
                self._cache.store(
                    (batch.use_case, user_id), by_user.get(user_id), read_at=began
                )
            batch.answer.set_result(by_user)
            log(
                "INFO",
                "read predictions",
                function=FUNCTION,
                use_case=batch.use_case,
                outcome="read",
                rows_in=len(batch.user_ids),
                rows_out=len(by_user),
                seconds=self._clock() - began,
                bytes_billed=reading.result().bytes_billed,
            )
        self._start()


_UNKNOWN_USER = (
    '"error":"unknown_user","message":"no probability has been published for this '
    'user in this use case","retryable":false'
)


def _answer_of_one(
    user_id: str, prediction: Prediction | None, *, oldest: int
) -> Response:
    body = rendered(user_id, prediction, oldest=oldest)
    if prediction is None:
        return Json(f"{body[:-1]},{_UNKNOWN_USER}}}".encode(), status=404)
    return Json(body.encode())


def rendered(user_id: str, prediction: Prediction | None, *, oldest: int) -> str:
    """
    Return one user's answer as JSON.

    Args:
        user_id: As in the request.
        prediction: None for a user without one.
        oldest: Day number of the oldest prediction date that is not stale.
    """
    name = encode_basestring(user_id)
    if prediction is None:
        return (
            f'{{"user_id":{name},"probability":null,"prediction_date":null,'
            '"model_version":null,"percentile":null,"stale":null}'
        )
    _, probability, as_of, percentile, version = prediction
    rest = _rendered_rest(as_of, percentile, version, oldest)
    return f'{{"user_id":{name},"probability":{probability!r},{rest}'


@functools.lru_cache(maxsize=10_000)
def _rendered_rest(
    as_of: date, percentile: int | None, version: int, oldest: int
) -> str:
    """Return the end of an answer, which many users have in common."""
    rank = "null" if percentile is None else percentile
    stale = "true" if as_of.toordinal() < oldest else "false"
    return (
        f'"prediction_date":"{as_of.isoformat()}","model_version":{version},'
        f'"percentile":{rank},"stale":{stale}}}'
    )


FAILURES = Policy(
    message="the lookup failed; its log says why",
    messages={
        MissingTable: "no predictions have been published yet",
        Unavailable: "the predictions cannot be read at the moment; try again",
    },
    retry_after_s=1,
)
