"""
Lookups with reasons: a user's newest probability, and what each feature adds to it; or
with the expected value.

The index has no reasons, which would make it thirty times as large, and no expected
values, which would double it. So each request is a query of the table: probability and
reasons, or value, are of the same row.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from propensity.edges.asgi import Json
from propensity.edges.log import log
from propensity.errors import RequestError, Unavailable, Unexplained
from propensity.online.question import Question
from propensity.online.sources import FUNCTION
from propensity.settings import Settings
from propensity.statements import statement
from propensity.waiting.threads import DaemonThreads, in_thread

if TYPE_CHECKING:
    from propensity.edges.warehouse import Warehouse

# Queries at once, beside those of other lookups, which they must not hold up.
CONCURRENT_QUERIES = 2
MAXIMUM_WAITING = 100


class Explanations:
    """
    Answers from the table's columns of reasons or values. Belongs to one event loop.

    Args:
        warehouse: Opens it, in a thread.
        settings: Of the deployment.
        threads: Gives a pool for its queries alone.
    """

    def __init__(
        self,
        warehouse: Callable[[], Warehouse],
        settings: Settings,
        *,
        threads: DaemonThreads,
    ) -> None:
        self._warehouse = warehouse
        self._timeout_s = settings.lookup_timeout_s
        self._threads = threads.pool(CONCURRENT_QUERIES, "explain")
        self._sql = {
            "reasons": statement("lookup_reasons"),
            "value": statement("lookup_value"),
        }
        self._waiting = 0

    async def answer(
        self, use_case: str, question: Question, *, oldest: int
    ) -> Response | None:
        """
        Return a user's probability and its reasons, or its expected value.

        Args:
            use_case: Of the user.
            question: About one user; says what is asked for.
            oldest: Day number of the oldest prediction date that is not stale.

        Returns:
            None for a user without a probability.

        Raises:
            Unexplained: The probability has no reasons, or the use case has none.
            PropensityError: The table could not be read.
        """
        if self._waiting >= MAXIMUM_WAITING:
            raise Unavailable(
                "too many lookups of reasons or values are waiting to be read"
            )
        self._waiting += 1
        [user_id] = question.user_ids
        what = "value" if question.values else "reasons"
        reading = in_thread(self._threads, self._read, what, use_case, user_id)
        try:
            row = await asyncio.wait_for(reading, self._timeout_s)
        except TimeoutError:
            raise Unavailable(f"no answer within {self._timeout_s} s") from None
        finally:
            self._waiting -= 1
        if row is None:
            if question.explains:
                _check_is_of_users(use_case)
            return None
        of_row = _value(row) if question.values else _reasons(row)
        return Json(_rendered(user_id, row, of_row, oldest=oldest).encode())

    def _read(self, what: str, use_case: str, user_id: str) -> Any | None:
        rows, bytes_billed = self._warehouse().lookup(
            self._sql[what], {"use_case": use_case, "user_id": user_id}
        )
        log(
            "INFO",
            f"read {what}",
            function=FUNCTION,
            use_case=use_case,
            outcome="read",
            rows_in=1,
            rows_out=len(rows),
            bytes_billed=bytes_billed,
        )
        return rows[0] if rows else None


def _check_is_of_users(use_case: str) -> None:
    """Raise Unexplained for a use case whose events are scored, and not its users."""
    from propensity import usecases  # reads files

    try:
        scores_events = usecases.load(use_case).scores_events
    except RequestError:  # an unknown one has no users
        return
    if scores_events:
        raise Unexplained(
            f"{use_case} scores events as they happen, and publishes no reasons; "
            "the anomaly scores of Half-Space Trees have none at all",
            field="use_case",
        )


def _reasons(row: Any) -> dict[str, Any]:
    """Return what explains a probability, the strongest first."""
    if not row.reasons:
        raise Unexplained(
            "this probability was published without reasons: set "
            "PROPENSITY_EXPLAIN_PREDICTIONS=true for 01-Predictions. If it is, the log "
            "of that run says why its model has none",
            field="explain",
        )
    reasons = sorted(
        (dict(reason) for reason in row.reasons),
        key=lambda reason: (-abs(reason["contribution"]), reason["feature"]),
    )
    return {"base_log_odds": row.base_log_odds, "reasons": reasons}


def _value(row: Any) -> dict[str, Any]:
    """Return the expected value with its interval; null without amounts."""
    return {
        name: None if row[name] is None else float(row[name])
        for name in ("expected_value", "expected_value_low", "expected_value_high")
    }


def _rendered(user_id: str, row: Any, more: Mapping[str, Any], *, oldest: int) -> str:
    return json.dumps(
        {
            "user_id": user_id,
            "probability": row.probability,
            "prediction_date": row.as_of.isoformat(),
            "model_version": row.model_version,
            "percentile": row.percentile,
            "stale": row.as_of.toordinal() < oldest,
            **more,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
