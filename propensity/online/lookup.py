"""
Lookups: the newest probability of a user, from an index in memory or from the table.

No user id is ever logged: they are personal data.
"""

from __future__ import annotations

import functools
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from propensity.clock import Clock
from propensity.errors import MissingTable, Unavailable
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.http import Json, Policy
from propensity.online.indexes import FUNCTION, Indexes
from propensity.online.question import Question
from propensity.online.table import Table
from propensity.privacy import suppression
from propensity.privacy.suppression import Suppressed, suppressed_now
from propensity.registry.index import Prediction
from propensity.settings import Settings
from propensity.waiting.refreshed import Refreshed

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse

# Older predictions are marked: a week, and a day for the run.
STALE_AFTER = timedelta(days=8)

FAILURES = Policy(
    message="the lookup failed; its log says why",
    messages={
        MissingTable: "no predictions have been published yet",
        Unavailable: "the predictions cannot be read at the moment; try again",
    },
    retry_after_s=1,
)

_UNKNOWN_USER = {
    "error": "unknown_user",
    "message": "no probability has been published for this user in this use case",
    "retryable": False,
}


class Lookups:
    """Answers questions; an instance of the function has one, for its event loop."""

    def __init__(
        self,
        table: Table,
        settings: Settings,
        *,
        indexes: Indexes | None = None,
        suppressed: Refreshed[Suppressed] | None = None,
    ) -> None:
        """
        Args:
            table: Where predictions are read that no index has.
            settings: Of the deployment.
            indexes: Answer before the table does; None to read the table alone.
            suppressed: Users without an answer; None if there is no list.
        """
        self._table = table
        self._default = settings.use_case
        self._indexes = indexes
        self._suppressed = suppressed

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Lookups:
        """Open what is needed; BigQuery's client waits for the first read of it."""

        @functools.cache
        def warehouse() -> Warehouse:
            from propensity.gcp.warehouse import Warehouse

            return Warehouse.open(settings)

        def listed() -> Suppressed:
            return suppression.read(warehouse())

        read, indexes, monotonic = listed, None, clock.monotonic
        if settings.bucket:
            # The table can still be read in time instead.
            limit = settings.deadline_s / 4
            bucket = Artifacts.open(settings, deadline_s=limit)
            indexes = Indexes(bucket, settings, clock=monotonic)
            read = functools.partial(
                suppression.read_published, bucket, settings, table=listed
            )
        return cls(
            Table(warehouse, settings, clock=monotonic),
            settings,
            indexes=indexes,
            suppressed=suppression.suppressed_users(
                settings, read, function=FUNCTION, clock=monotonic
            ),
        )

    async def answer(self, question: Question, *, today: date) -> Response:
        """
        Answer a question as of ``today``.

        Raises:
            PropensityError: The predictions could not be read.
        """
        use_case = question.use_case or self._default
        suppressed = await suppressed_now(self._suppressed)
        user_ids = question.user_ids
        if suppressed:
            user_ids = [u for u in user_ids if not suppressed.covers(u, use_case)]
        index = await self._indexes.current(use_case) if self._indexes else None
        found = (
            await self._table.find(use_case, user_ids)
            if index is None
            else {user_id: index.find(user_id) for user_id in user_ids}
        )
        oldest = (today - STALE_AFTER).isoformat()
        answers = [
            _fields(user_id, found.get(user_id), oldest=oldest)
            for user_id in question.user_ids
        ]
        if not question.is_single:
            return _json({"predictions": answers})
        prediction = found.get(question.user_ids[0])
        if prediction is None:
            return _json({**answers[0], **_UNKNOWN_USER}, status=404)
        if question.values:
            answers[0]["expected_value"] = prediction.expected_value
        return _json(answers[0])


# Starlette's makes an encoder for each answer, a tenth of a lookup's time.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _json(content: dict[str, Any], *, status: int = 200) -> Response:
    return Json(_encode(content).encode(), status=status)


def _fields(
    user_id: str, prediction: Prediction | None, *, oldest: str
) -> dict[str, Any]:
    """Return a user's answer; predictions of before ``oldest`` are stale."""
    if prediction is None:
        probability = percentile = as_of = version = is_stale = None
    else:
        probability, percentile, as_of, version, _ = prediction
        is_stale = as_of < oldest
    return {
        "user_id": user_id,
        "probability": probability,
        "prediction_date": as_of,
        "model_version": version,
        "percentile": percentile,
        "stale": is_stale,
    }
