"""
A run: its request, its lease, its answer and its log line.

The decorator ``run`` turns the body of a ``main.py`` into an HTTP function. The body
does the run; the decorator does the rest. The date comes from the entry point's clock.
"""

from __future__ import annotations

import functools
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import flask
import functions_framework
from werkzeug.exceptions import HTTPException

from propensity import usecases
from propensity.clock import SYSTEM, Clock
from propensity.errors import (
    NoSuchPath,
    PropensityError,
    RequestError,
)
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.http import OPERATORS, disable_worker_timeout, failure_of
from propensity.gcp.log import log, trace_of
from propensity.gcp.warehouse import Warehouse
from propensity.registry.leases import Lease, leased
from propensity.registry.versions import Registry
from propensity.runs.request import parse
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import TRUTH_DELAY_DAYS

if TYPE_CHECKING:
    from propensity.freshness import Freshness
    from propensity.timeframe import Timeframe
    from propensity.usecases import UseCase

Answer = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    A run of a scheduled function: its request and its clients.

    Attributes:
        as_of: The request's date, or an earlier one if the export ends before it.
        export: How far the run reads the GA4 export; None if it reads none.
        is_cut_short: Whether the export ends before the days that the run would read.
        log_fields: For the run's log line, such as rows in and out.
    """

    function: str
    run_id: str
    settings: Settings
    use_case: UseCase
    as_of: date
    force: bool
    began_at: datetime
    warehouse: Warehouse
    registry: Registry
    lease: Lease | None = None
    export: Freshness | None = None
    is_cut_short: bool = False
    log_fields: dict[str, Any] = field(default_factory=dict)
    clock: Clock = SYSTEM

    @property
    def timeframe(self) -> Timeframe:
        """The use case's lookback, horizon and settle days."""
        return self.use_case.timeframe(self.settings)

    @property
    def data_until(self) -> date | None:
        """The day before which the export is read; None if it is not."""
        return self.export.data_until if self.export else None

    @property
    def missing_days(self) -> Sequence[date]:
        """Earlier days of the export (local, by tables' names) that never came."""
        return self.export.missing if self.export else ()

    @property
    def key(self) -> dict[str, Any]:
        """The columns that identify what this run has scored."""
        return {
            "use_case": self.use_case.name,
            "as_of": self.as_of,
            "run_id": self.run_id,
        }

    def now(self) -> datetime:
        """Return the time; leases and waits depend on it, and no result."""
        return self.clock.now()

    def elapsed_s(self) -> float:
        """Return the seconds since the run began."""
        return (self.now() - self.began_at).total_seconds()

    def rows(self, name: str, **parameters: object) -> Sequence[Any]:
        """Return the rows of a statement about the run's use case, named by columns."""
        named = {"use_case": self.use_case.name, **parameters}
        return self.warehouse.rows(statement(name), named)

    def event_window(self) -> dict[str, Any]:
        """Return the parameters of the statements that join events and truths."""
        return {
            "use_case": self.use_case.name,
            "as_of": self.as_of,
            "since": self.as_of - timedelta(days=self.use_case.lookback_days),
            "truth_delay_days": TRUTH_DELAY_DAYS,
        }

    def say(self, message: str, **fields: object) -> None:
        """Write a log line beside the run's own."""
        log("INFO", message, function=self.function, **fields)

    def warn(self, message: str, **fields: object) -> None:
        """Write a line about what went wrong, and does not stop the run."""
        log("WARNING", message, function=self.function, **fields)

    def check_lease(self) -> None:
        """Raise Conflict if another run has taken over the lease."""
        if self.lease is not None:
            self.lease.check()


@dataclass(frozen=True)
class Clients:
    """The clients of an instance, opened on its first request."""

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts


@cache
def clients() -> Clients:
    """Read the settings and open the clients; a warm instance keeps them."""
    settings = Settings.from_environment()
    return Clients(settings, Warehouse.open(settings), Artifacts.open(settings))


def run(
    function: str, *, kind: str, once: bool, clock: Clock, scope: str | None = None
) -> Callable[[Callable[[Run], Answer]], Callable[[flask.Request], flask.Response]]:
    """
    Turn the body of a run into an HTTP function.

    Args:
        function: Its name in the log.
        kind: Of its lease: runs of the same kind, use case and as-of date exclude each
            other.
        once: Whether a finished run is answered from its lease, unless forced. If
            false it runs again, and must have the same result.
        clock: The time for the run.
        scope: Folder of its lease, for a run about all use cases; None for the use
            case's.
    """
    disable_worker_timeout()

    def decorate(body: Callable[[Run], Answer]) -> Callable[..., flask.Response]:
        @functools.wraps(body)
        def respond(request: flask.Request) -> flask.Response:
            line: dict[str, Any] = {
                "function": function,
                # Fields of every line, also of a run that fails before it knows them.
                **dict.fromkeys(("use_case", "as_of", "model_version")),
                **dict.fromkeys(("rows_in", "rows_out", "bytes_billed"), 0),
                **trace_of(request.headers.get("traceparent", "")),
            }
            began = time.perf_counter()
            headers: Mapping[str, str] = {}
            try:
                current = _run_of(request, function, clock=clock, scope=scope)
                as_of = current.as_of.isoformat()
                line.update(use_case=current.use_case.name, as_of=as_of)
                again = current.force or not once
                answer = _under_lease(current, body, line, kind=kind, again=again)
                line |= {"outcome": "ok", "status": 200}
            except Exception as raised:  # the last place before the caller
                failure = failure_of(raised, OPERATORS)
                answer, headers = failure.body, failure.headers
                line |= failure.line
            seconds = round(time.perf_counter() - began, 3)
            severity = line.pop("severity", "INFO")
            message = line.pop("message", line["outcome"])
            log(severity, message, **line, seconds=seconds)
            return _json_response(answer, line["status"], headers)

        functions_framework.errorhandler(HTTPException)(_framework_failure)
        functions_framework.errorhandler(500)(_framework_failure)
        return respond

    return decorate


def _run_of(
    request: flask.Request, function: str, *, clock: Clock, scope: str | None
) -> Run:
    """Return the run that a request is for."""
    opened, now = clients(), clock.now()
    settings = opened.settings
    parsed = parse(request, default_use_case=settings.use_case, today=now.date())
    if parsed.use_case == settings.use_case:
        usecases.require_default(settings)
    use_case = usecases.load(parsed.use_case).titled(settings)
    return Run(
        function=function,
        run_id=uuid.uuid4().hex,
        settings=settings,
        use_case=use_case,
        as_of=parsed.as_of,
        force=parsed.force,
        began_at=now,
        warehouse=opened.warehouse.for_run(),
        clock=clock,
        registry=Registry(opened.artifacts, scope or use_case.name),
    )


def _under_lease(
    current: Run,
    body: Callable[[Run], Answer],
    line: dict[str, Any],
    *,
    kind: str,
    again: bool,
) -> Answer:
    """Do a run while it has its lease; ``again`` repeats a finished one."""
    registry = current.registry
    with leased(
        registry.artifacts,
        registry.use_case,
        kind,
        current.as_of,
        run_id=current.run_id,
        clock=current.now,
        again=again,
    ) as lease:
        if lease.is_finished:
            line["message"] = "done before; answered from its lease"
            line["model_version"] = lease.answer.get("model_version")
            return {**lease.answer, "repeated": True}
        try:
            result = body(replace(current, lease=lease))
        finally:
            line.update(current.log_fields, bytes_billed=current.warehouse.bytes_billed)
        lease.answer = plain(
            {
                "use_case": current.use_case.name,
                "as_of": current.as_of,
                **result,
                "bytes_billed": current.warehouse.bytes_billed,
            }
        )
    return {**lease.answer, "repeated": False}


def _framework_failure(error: HTTPException) -> flask.Response:
    """Answer in JSON where the framework refuses a request before the function."""
    status = error.code or PropensityError.status
    failure = PropensityError("unexpected error; the log has its trace")
    if status == NoSuchPath.status:
        failure = NoSuchPath("nothing is served at this path")
    elif status < PropensityError.status:
        failure = RequestError(error.name)
    return _json_response(failure.body(), status)


def plain(answer: Answer) -> dict[str, Any]:
    """Return an answer for JSON: times as ISO 8601 texts, money as numbers."""
    content: dict[str, Any] = json.loads(json.dumps(answer, default=_plain))
    return content


def _plain(value: object) -> str | float:
    return value.isoformat() if isinstance(value, date) else float(value)  # type: ignore[arg-type]


def _json_response(
    body: Answer, status: int, headers: Mapping[str, str] | None = None
) -> flask.Response:
    text = json.dumps(body) + "\n"
    return flask.Response(text, status, headers, mimetype="application/json")
