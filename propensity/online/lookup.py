"""
Lookups: the newest probability of a user, from a cache or from one shared query.

``Lookups`` answers a ``Question``. Between the cache and the table stands ``Source``,
which reads many users at a time: requests that wait while queries are under way go into
the next one together, and a user whom many look up is read once. Everything but
``Source.read`` runs in the event loop's one thread, so nothing here needs a lock.

No user id is ever logged: they are personal data.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from starlette.responses import Response

from propensity.clock import SYSTEM, Clock
from propensity.edges.asgi import Json
from propensity.edges.failures import Policy
from propensity.edges.log import log
from propensity.edges.warehouse import Warehouse
from propensity.errors import MissingTable, Unavailable
from propensity.online.question import MAXIMUM_USERS, Question
from propensity.privacy.suppression import Suppressed, suppressed_now, suppressed_users
from propensity.settings import Settings
from propensity.statements import statement
from propensity.waiting.refreshed import Refreshed

FUNCTION = "getProba"
# Each query bills 10 MB or more, so few at a time; more than one, so that a slow query
# does not hold up everybody.
CONCURRENT_QUERIES = 4
# Beyond this BigQuery is far behind, and waiting would end in a timeout anyway.
MAXIMUM_WAITING_USERS = 20 * MAXIMUM_USERS


@dataclass(frozen=True, slots=True)
class Prediction:
    """One user's newest probability, as published."""

    user_id: str
    probability: float
    as_of: date
    percentile: int | None
    model_version: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read found, in any order, and what it cost."""

    predictions: Sequence[Prediction]
    bytes_billed: int = 0


class Source(Protocol):
    """Where predictions are read; ``read`` is called in threads, several at a time."""

    def read(self, use_case: str, user_ids: Sequence[str]) -> Reading:
        """
        Read the predictions of 1 to ``MAXIMUM_USERS`` users, each named once.

        Raises:
            PropensityError: They could not be read: nobody is answered "has none".
        """


class PredictionsTable:
    """The table of newest predictions in BigQuery."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._sql = statement("lookup")

    def read(self, use_case: str, user_ids: Sequence[str]) -> Reading:
        """Read them by one query; see ``Source``."""
        rows, bytes_billed = self._warehouse.lookup(
            self._sql, {"use_case": use_case, "user_ids": list(user_ids)}
        )
        found = [
            Prediction(
                user_id=row.user_id,
                probability=row.probability,
                as_of=row.as_of,
                percentile=row.percentile,
                model_version=row.model_version,
            )
            for row in rows
        ]
        return Reading(found, bytes_billed)


# -- the answer -----------------------------------------------------------------------

Key = tuple[str, str]


class Cache:
    """
    Predictions by use case and user, each for a limited time; None is "has none".

    The oldest go first when it is full. All live equally long, so those are also the
    next to expire.
    """

    def __init__(self, *, ttl_s: float, users: int) -> None:
        self._ttl_s = ttl_s
        self._users = users if ttl_s > 0 else 0
        self._entries: OrderedDict[Key, tuple[float, Prediction | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Key, *, now: float) -> tuple[bool, Prediction | None]:
        """Return whether the cache knows, and what."""
        entry = self._entries.get(key)
        if entry is None or entry[0] <= now:
            return False, None
        return True, entry[1]

    def store(self, key: Key, prediction: Prediction | None, *, read_at: float) -> None:
        """Keep what was read at that time, in place of what was known before."""
        if not self._users:
            return
        self._entries[key] = (read_at + self._ttl_s, prediction)
        self._entries.move_to_end(key)
        if len(self._entries) > self._users:
            self._entries.popitem(last=False)


class _Batch:
    """Users who are, or will be, read by one query."""

    __slots__ = ("answered", "use_case", "user_ids")

    def __init__(self, use_case: str) -> None:
        self.use_case = use_case
        self.user_ids: list[str] = []
        self.answered: asyncio.Future[Mapping[str, Prediction]] = (
            asyncio.get_running_loop().create_future()
        )


class Lookups:
    """
    Answers questions from the cache, and the rest from as few reads as possible.

    Belongs to one event loop. ``threads`` are those that ``Source.read`` runs in.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        suppressed: Refreshed[Suppressed] | None = None,
        threads: Executor,
        clock: Clock = SYSTEM,
    ) -> None:
        """
        Args:
            source: Where predictions are read.
            settings: Of the deployment.
            suppressed: Whom nothing is said of; None where there is no list.
            clock: Monotonic, in seconds.
        """
        self._source = source
        self._suppressed = suppressed
        self._settings = settings
        self._clock = clock.monotonic
        self._cache = Cache(
            ttl_s=settings.lookup_ttl_s, users=settings.lookup_cache_users
        )
        self._threads = threads
        self._batches: deque[_Batch] = deque()
        self._asked: dict[Key, _Batch] = {}
        self._running = 0

    @classmethod
    def open(cls, settings: Settings, *, clock: Clock = SYSTEM) -> Lookups:
        """Open the BigQuery client; nothing is sent yet."""
        warehouse = Warehouse.open(settings)
        return cls(
            PredictionsTable(warehouse),
            settings,
            suppressed=suppressed_users(
                warehouse, function=FUNCTION, clock=clock.monotonic
            ),
            threads=ThreadPoolExecutor(CONCURRENT_QUERIES, FUNCTION),
            clock=clock,
        )

    async def answer(self, question: Question, *, today: date) -> Response:
        """
        Answer a question as of ``today``.

        Raises:
            PropensityError: The predictions could not be read.
        """
        use_case = question.use_case or self._settings.use_case
        oldest = today.toordinal() - self._settings.stale_after_days
        if not question.is_single:
            found = await self.find(use_case, question.user_ids)
            predictions = ",".join(
                [
                    rendered(user, found[user], oldest=oldest)
                    for user in question.user_ids
                ]
            )
            return Json(f'{{"predictions":[{predictions}]}}'.encode())
        user_id = question.user_ids[0]
        is_known, prediction = self._cache.find((use_case, user_id), now=self._clock())
        if not is_known or (self._suppressed and await self._suppressed.current()):
            prediction = (await self.find(use_case, question.user_ids))[user_id]
        body = rendered(user_id, prediction, oldest=oldest)
        if prediction is None:
            return Json(f"{body[:-1]},{_UNKNOWN_USER}}}".encode(), status=404)
        return Json(body.encode())

    async def find(
        self, use_case: str, user_ids: Iterable[str]
    ) -> Mapping[str, Prediction | None]:
        """
        Return every user's prediction, None for users without one.

        Raises:
            PropensityError: The predictions could not be read.
        """
        suppressed = await suppressed_now(self._suppressed)
        now = self._clock()
        found: dict[str, Prediction | None] = {}
        unknown: dict[str, None] = {}
        for user_id in user_ids:
            if suppressed and suppressed.covers(user_id, use_case):
                found[user_id] = None
                continue
            is_known, prediction = self._cache.find((use_case, user_id), now=now)
            if is_known:
                found[user_id] = prediction
            else:
                unknown[user_id] = None
        if unknown:
            batches = self._ask(use_case, unknown)
            # Cancelling a wait leaves the futures alone: others may wait for them too.
            _, late = await asyncio.wait(
                {batch.answered for batch in batches.values()},
                timeout=self._settings.lookup_timeout_s,
            )
            if late:
                raise Unavailable(
                    f"no answer within {self._settings.lookup_timeout_s} s"
                )
            for user_id, batch in batches.items():
                found[user_id] = batch.answered.result().get(user_id)
        return found

    def _ask(self, use_case: str, user_ids: Iterable[str]) -> dict[str, _Batch]:
        """Return the batch of each user: one that is under way or one to come."""
        batches = {}
        new = []
        for user_id in user_ids:
            batch = self._asked.get((use_case, user_id))
            if batch is None:
                new.append(user_id)
            else:
                batches[user_id] = batch
        if new:
            if len(self._asked) + len(new) > MAXIMUM_WAITING_USERS:
                raise Unavailable("too many lookups are waiting for BigQuery")
            batch = self._batch_with_room(use_case, len(new))
            batch.user_ids.extend(new)
            for user_id in new:
                batches[user_id] = self._asked[use_case, user_id] = batch
            # Not at once: requests that arrive together go together.
            asyncio.get_running_loop().call_soon(self._start)
        return batches

    def _batch_with_room(self, use_case: str, users: int) -> _Batch:
        for batch in self._batches:
            has_room = len(batch.user_ids) + users <= MAXIMUM_USERS
            if batch.use_case == use_case and has_room:
                return batch
        batch = _Batch(use_case)
        self._batches.append(batch)
        return batch

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._batches and self._running < CONCURRENT_QUERIES:
            batch = self._batches.popleft()
            self._running += 1
            reading = loop.run_in_executor(
                self._threads, self._source.read, batch.use_case, batch.user_ids
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
            del self._asked[batch.use_case, user_id]
        error = reading.exception()
        if error is not None:
            batch.answered.set_exception(error)
            # Waiting requests get it; asyncio need not warn where none waits any more.
            batch.answered.exception()
        else:
            found = {entry.user_id: entry for entry in reading.result().predictions}
            for user_id in batch.user_ids:
                # It was true when the query began, which is what its age counts from.
                self._cache.store(
                    (batch.use_case, user_id), found.get(user_id), read_at=began
                )
            batch.answered.set_result(found)
            log(
                "INFO",
                "read predictions",
                function=FUNCTION,
                use_case=batch.use_case,
                outcome="read",
                rows_in=len(batch.user_ids),
                rows_out=len(found),
                seconds=self._clock() - began,
                bytes_billed=reading.result().bytes_billed,
            )
        self._start()


_encoded = json.JSONEncoder(ensure_ascii=False).encode
_UNKNOWN_USER = (
    '"error":"unknown_user","message":"no probability has been published for this '
    'user in this use case","retryable":false'
)


def rendered(user_id: str, prediction: Prediction | None, *, oldest: int) -> str:
    """
    Return one user's answer as JSON.

    Args:
        user_id: As the request has it.
        prediction: None where the user has none.
        oldest: Day number of the oldest prediction date that is not stale.
    """
    name = _encoded(user_id)
    if prediction is None:
        return (
            f'{{"user_id":{name},"probability":null,"prediction_date":null,'
            '"model_version":null,"percentile":null,"stale":null}'
        )
    day = prediction.as_of
    percentile = "null" if prediction.percentile is None else prediction.percentile
    stale = "true" if day.toordinal() < oldest else "false"
    return (
        f'{{"user_id":{name},"probability":{prediction.probability!r},'
        f'"prediction_date":"{day.isoformat()}",'
        f'"model_version":{prediction.model_version},'
        f'"percentile":{percentile},"stale":{stale}}}'
    )


# -- failures -------------------------------------------------------------------------

FAILURES = Policy(
    message="the lookup failed; its log says why",
    messages={
        MissingTable: "no predictions have been published yet",
        Unavailable: "the predictions cannot be read at the moment; try again",
    },
    retry_after_s=1,
)
