"""
Lookups: the newest probability of a user, from an index in memory or from the table.

The index of each use case is followed by its pointer and loaded whole. Without one the
table is read, by one query for all who wait.

No user id is ever logged: they are personal data.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from propensity import errors, folders, suppression
from propensity.clock import Clock
from propensity.concurrency import GroupCommit, Refreshed
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.asgi import Json, object_of
from propensity.gcp.http import reject_duplicates
from propensity.gcp.log import log
from propensity.ids import NAME, NAME_RULE, problem_of
from propensity.online.indexes import FUNCTION, Indexes, warn
from propensity.registry.index import IndexedPrediction
from propensity.settings import Settings
from propensity.statements import statement
from propensity.suggestions import instead
from propensity.suppression import Suppressed, suppressed_list
from propensity.suppression.refreshed import suppressed_users

if TYPE_CHECKING:
    from propensity.gcp.queries import Queries

# Each query bills 10 MB or more, so few at a time; more than one, so that a slow query
# does not hold up all other requests.
CONCURRENT_QUERIES = 4
# A request has at most so many users, and so has a query.
MAXIMUM_USERS = 1_000
# Beyond this BigQuery is far behind, and waiting would end in a timeout anyway.
MAXIMUM_WAITING_USERS = 20 * MAXIMUM_USERS

# A use case and a user.
Key = tuple[str, str]

# Older predictions are marked: a week, and a day for the run.
STALE_AFTER = timedelta(days=8)

_UNKNOWN_USER = {
    "error": "unknown_user",
    "message": "no probability has been published for this user in this use case",
    "retryable": False,
}
# Most requests look like this; to parse one in full takes a tenth of a lookup.
_PLAIN = re.compile(rb"user_id=([A-Za-z0-9._-]{1,256})")

_encode = msgspec.json.Encoder().encode


class Question(NamedTuple):
    """
    A parsed request.

    With ``is_single`` the answer is one object, not a list; with ``values`` it has the
    expected value and its decile's mean as well.
    """

    user_ids: Sequence[str]
    use_case: str | None
    is_single: bool
    values: bool = False


def _take_error(read: asyncio.Future[IndexedPrediction | None]) -> None:
    """Ask a read for its error: asyncio logs one that no caller waits for any more."""
    if not read.cancelled():
        read.exception()


class PredictionsTable:
    """``ma_predictions_table``. Belongs to one event loop."""

    def __init__(self, queries: Callable[[], Queries], settings: Settings) -> None:
        """``queries`` opens BigQuery, in a thread."""
        self._queries = queries
        self._settings = settings
        self._reads: GroupCommit[Key, IndexedPrediction | None] = GroupCommit(
            self._read,
            writers=CONCURRENT_QUERIES,
            size=MAXIMUM_USERS,
            waiting=MAXIMUM_WAITING_USERS,
        )

    async def find(
        self, use_case: str, user_ids: Sequence[str]
    ) -> Mapping[str, IndexedPrediction | None]:
        """Return users' predictions, None for a user without one."""
        reads: dict[str, asyncio.Future[IndexedPrediction | None]] = {}
        for user_id in dict.fromkeys(user_ids):
            read = self._reads.submit((use_case, user_id), size=1)
            read.add_done_callback(_take_error)
            reads[user_id] = read
        if reads:
            limit = self._settings.deadline_s
            _, late = await asyncio.wait(reads.values(), timeout=limit)
            if late:
                raise errors.Unavailable(f"no answer within {limit} s")
        return {user_id: read.result() for user_id, read in reads.items()}

    async def _read(self, keys: Sequence[Key]) -> list[IndexedPrediction | None]:
        """Read predictions by one query for each use case."""
        users_of: dict[str, set[str]] = defaultdict(set)
        for use_case, user_id in keys:
            users_of[use_case].add(user_id)
        predictions: dict[Key, IndexedPrediction] = {}
        for use_case, users in users_of.items():
            predictions |= await asyncio.to_thread(self._query, use_case, sorted(users))
        return [predictions.get(key) for key in keys]

    def _query(
        self, use_case: str, user_ids: Sequence[str]
    ) -> dict[Key, IndexedPrediction]:
        queries = self._queries().for_run()
        parameters = {"use_case": use_case, "user_ids": user_ids}
        rows = queries.lookup(statement("lookup"), parameters)
        log(
            "INFO",
            "read predictions",
            function=FUNCTION,
            use_case=use_case,
            outcome="read",
            rows_in=len(user_ids),
            rows_out=len(rows),
            bytes_billed=queries.bytes_billed,
        )
        return {(use_case, row.user_id): IndexedPrediction.of(row) for row in rows}


@dataclass(frozen=True)
class Lookups:
    """Answers requests; an instance of the function has one, for its event loop."""

    table: PredictionsTable
    settings: Settings
    indexes: Indexes
    suppressed: Refreshed[Suppressed]
    use_cases: frozenset[str]

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Lookups:
        """Open the clients; BigQuery's is opened at its first read."""

        @functools.cache
        def queries() -> Queries:
            from propensity.gcp.queries import Queries

            return Queries.open(settings)

        def listed() -> Suppressed:
            return suppressed_list.read_published(
                bucket, settings, table=lambda: suppression.read_suppressed(queries())
            )

        # The table can still be read in time instead.
        limit = max(1, settings.deadline_s // 4)
        bucket = Artifacts.open(replace(settings, deadline_s=limit))
        return cls(
            PredictionsTable(queries, settings),
            settings,
            indexes=Indexes(bucket, settings, clock=clock.monotonic),
            suppressed=suppressed_users(
                settings, listed, function=FUNCTION, clock=clock.monotonic
            ),
            use_cases=frozenset(folders.names()).union([settings.use_case]),
        )

    async def answer(self, question: Question, *, today: date) -> Response:
        """Answer a question as of ``today``."""
        use_case = question.use_case
        if not use_case:
            use_case = self.settings.use_case
        if use_case not in self.use_cases:
            raise errors.UnknownUseCase(
                f"there is no use case {use_case!r}",
                hint=instead(use_case, sorted(self.use_cases), kind="Use cases"),
                field="use_case",
            )
        user_ids = question.user_ids
        suppressed = await self.suppressed.current()
        if suppressed:
            user_ids = [u for u in user_ids if not suppressed.covers(u, use_case)]
        predictions = await self._find(use_case, user_ids)
        oldest = (today - STALE_AFTER).isoformat()
        answers = [_fields(u, predictions.get(u), oldest) for u in question.user_ids]
        if not question.is_single:
            return Json(_encode({"predictions": answers}))
        answer = answers[0]
        prediction = predictions.get(question.user_ids[0])
        if prediction is None:
            return Json(_encode(answer | _UNKNOWN_USER), status=404)
        if question.values:
            answer["expected_value"] = prediction.expected_value
            answer["decile_value"] = prediction.decile_value
        return Json(_encode(answer))

    async def _find(
        self, use_case: str, user_ids: Sequence[str]
    ) -> Mapping[str, IndexedPrediction | None]:
        """Return users' predictions, from the index, or where it has none the table."""
        if not user_ids:
            return {}
        index = await self.indexes.current(use_case)
        if index is not None:
            try:
                return {user_id: index.find(user_id) for user_id in user_ids}
            except errors.ArtifactError as error:
                warn(use_case, f"a lookup reads the table instead: {error}")
        return await self.table.find(use_case, user_ids)


def _fields(
    user_id: str, prediction: IndexedPrediction | None, oldest: str
) -> dict[str, object]:
    """Return a user's answer; predictions of before ``oldest`` are stale."""
    probability = percentile = as_of = version = is_stale = None
    if prediction is not None:
        probability = prediction.probability
        percentile = prediction.percentile
        as_of = prediction.as_of
        version = prediction.model_version
        is_stale = as_of < oldest
    return {
        "user_id": user_id,
        "probability": probability,
        "prediction_date": as_of,
        "model_version": version,
        "percentile": percentile,
        "stale": is_stale,
    }


async def read_question(request: Request) -> Question:
    """Read a request: a user in the query string, or users in a body."""
    scope = request.scope
    if scope["path"] != "/":
        raise errors.NoSuchPath("the path must be /")
    if scope["method"] in {"GET", "HEAD"}:
        return _in_query_string(scope["query_string"])
    if scope["method"] != "POST":
        raise errors.MethodNotAllowed(scope["method"], allowed=("GET", "HEAD", "POST"))
    if scope["query_string"]:
        raise errors.RequestError(
            "a POST takes no query parameters; put them in the body"
        )
    return _in_body(await object_of(request))


def _in_query_string(encoded: bytes) -> Question:
    plain = _PLAIN.fullmatch(encoded)
    if plain:
        return Question((plain[1].decode(),), None, is_single=True)
    try:
        pairs = parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise errors.RequestError(
            "the query string must be percent-encoded UTF-8", field="user_id"
        ) from None
    parameters: dict[str, object] = reject_duplicates(list(pairs))
    names = ("user_id", "use_case", "value")
    _check_known(parameters, names, kind="parameter")
    if "user_id" not in parameters:
        raise errors.RequestError(
            "user_id is missing: GET /?user_id=...", field="user_id"
        )
    user_id = _user(parameters["user_id"], field="user_id")
    value = parameters.get("value", "0")
    if value not in {"0", "1"}:
        raise errors.RequestError("value must be 1 or 0", field="value")
    return Question((user_id,), _use_case(parameters), True, values=value == "1")


def _in_body(fields: dict[str, object]) -> Question:
    _check_known(fields, ("user_ids", "use_case"), kind="field")
    user_ids = fields.get("user_ids")
    if not isinstance(user_ids, list) or not 1 <= len(user_ids) <= MAXIMUM_USERS:
        raise errors.RequestError(
            f"user_ids must be a list of 1 to {MAXIMUM_USERS} strings", field="user_ids"
        )
    for position, user_id in enumerate(user_ids):
        _user(user_id, field=f"user_ids[{position}]")
    return Question(user_ids, _use_case(fields), is_single=False)


def _check_known(
    fields: dict[str, object], names: tuple[str, ...], *, kind: str
) -> None:
    unknown = fields.keys() - set(names)
    if unknown:
        # Its name is beside the message, which may stand in a log.
        others = ", ".join(names[:-1])
        message = f"there is no such {kind}. Use {others} or {names[-1]}"
        raise errors.RequestError(message, field=min(unknown)[:64])


def _user(user_id: Any, *, field: str) -> str:
    problem = problem_of(user_id)
    if problem:
        raise errors.RequestError(f"{field} {problem}", field=field)
    return str(user_id)


def _use_case(fields: dict[str, object]) -> str | None:
    if "use_case" not in fields:
        return None
    use_case = fields["use_case"]
    if not isinstance(use_case, str) or not NAME.fullmatch(use_case):
        raise errors.RequestError(
            f"use_case is not a valid name: use {NAME_RULE}", field="use_case"
        )
    return use_case
