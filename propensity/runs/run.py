"""
A run: its request, its lease, its answer and its log line.

``Endpoint`` turns the body of a ``main.py`` into an HTTP function. The body does the
run; the endpoint does the rest. The date is the request's, by default the day
on which the scheduler's call was due, and else today by the entry point's clock.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple

import flask
import functions_framework
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from propensity import errors, usecases
from propensity.clock import SYSTEM, Clock
from propensity.ga4.freshness import Freshness
from propensity.gcp import http, log
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry.deployment import Deployment, of_use_case
from propensity.registry.leases import ANY_DATE, Lease, leased
from propensity.schema import Row, Table
from propensity.settings import Settings
from propensity.timeframe import DAY, Timeframe, day_of, moment_of

Answer = Mapping[str, object]

MAXIMUM_BODY = 64 * 1024

# Event time counts from 1970, and windows reach back from an as-of date by months.
EARLIEST = date(1971, 1, 1)

# When a call of Cloud Scheduler was due, however often it is repeated.
DUE = "X-CloudScheduler-ScheduleTime"


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """
    What a request may ask for against a rule; all of it with ``"force": true``.

    Attributes:
        is_repeated: A run that is done runs again.
        lacks_days: It does not wait for days of the export that may still come.
        shifts_scores: It publishes scores however far they moved.
        compacts_again: It compacts days that are compacted, too.
        sends_today: It sends audiences that are due on another day.
        tells_again: It sends the week's message once more.
    """

    is_repeated: bool = False
    lacks_days: bool = False
    shifts_scores: bool = False
    compacts_again: bool = False
    sends_today: bool = False
    tells_again: bool = False

    @classmethod
    def of(cls, *, force: bool, trial: bool = False) -> Overrides:
        """Return what a request asks for; a trial waits for no day."""
        return cls(
            is_repeated=force or trial,
            lacks_days=force or trial,
            shifts_scores=force,
            compacts_again=force,
            sends_today=force,
            tells_again=force,
        )


@dataclass(frozen=True, kw_only=True)
class Run(Deployment):
    """
    A run of a scheduled function: its request and its clients.

    Attributes:
        as_of: The request's date, or an earlier one if the export ends before it.
        export: How far the run reads the GA4 export; None if it reads none.
        missing_days: Earlier days of the source that never arrived, or came before it
            began. Those of the GA4 export are local, by tables' names.
        trial: Whether it changes nothing of the deployment. Only a training can.
    """

    function: str
    run_id: str
    as_of: date
    overrides: Overrides
    began_at: datetime
    lease: Lease | None = None
    export: Freshness | None = None
    missing_days: Sequence[date] = ()
    clock: Clock = SYSTEM
    trial: bool = False

    @property
    def timeframe(self) -> Timeframe:
        """The use case's lookback, horizon and settle days."""
        return self.use_case.timeframe(self.settings)

    @property
    def data_until(self) -> date | None:
        """The day before which the export is read; None if it is not."""
        return self.export.data_until if self.export else None

    def now(self) -> datetime:
        """Return the time; leases and waits depend on it, and no result."""
        return self.clock.now()

    def elapsed_s(self) -> float:
        """Return the seconds since the run began."""
        return (self.now() - self.began_at).total_seconds()

    def log(self, severity: str, message: str, **fields: object) -> None:
        """Write a log line beside the run's own; a WARNING does not stop the run."""
        context = {"use_case": self.use_case.name, "as_of": self.as_of}
        log.log(severity, message, function=self.function, **{**context, **fields})

    def check_lease(self) -> None:
        """Raise Conflict if another run has taken over the lease."""
        if self.lease is not None:
            self.lease.check()

    def append(self, table: Table, rows: Sequence[Row]) -> None:
        """Append rows of this run; readers see those of the newest run."""
        if rows:
            self.check_lease()
            self.warehouse.write(table, rows)


class RunRequest(NamedTuple):
    """A parsed request to a scheduled function."""

    use_case: str
    as_of: date
    overrides: Overrides
    trial: bool = False


Body = Callable[[Run], Answer]


@cache
def clients() -> tuple[Settings, Warehouse, Artifacts]:
    """Read the settings and open the clients; a warm instance keeps them."""
    settings = Settings.from_environment()
    return settings, Warehouse.open(settings), Artifacts.open(settings)


@dataclass(frozen=True)
class Endpoint:
    """
    Turns the body of a run into an HTTP function.

    Its log line has the answer's plain values: numbers, texts and dates, no lists.

    Attributes:
        function: Its name in the log.
        kind: Of its lease: runs of the same kind, use case and as-of date exclude each
            other.
        once: Whether a finished run is answered from its lease, unless forced. If
            false it runs again, and must have the same result.
        clock: The time for the run.
        scope: Folder of its lease, for a run about all use cases, of which one works
            at a time, whatever its date; None for the use case's.
        has_trials: Whether a request may be for a trial. Trials have leases of their
            own, so that none is answered in the place of a run, or keeps one waiting.
    """

    function: str
    _: KW_ONLY
    kind: str
    once: bool
    clock: Clock
    scope: str | None = None
    has_trials: bool = False

    def __call__(self, body: Body) -> Callable[[flask.Request], flask.Response]:
        http.disable_worker_timeout()

        @functools.wraps(body)
        def respond(request: flask.Request) -> flask.Response:
            return self.respond(request, body)

        functions_framework.errorhandler(HTTPException)(_framework_failure)
        functions_framework.errorhandler(500)(_framework_failure)
        return respond

    def respond(self, request: flask.Request, body: Body) -> flask.Response:
        """Do the run that a request is for, answer it, and write its log line."""
        began = time.perf_counter()
        line = self._line(request)
        try:
            answer = self._answer(request, body, line)
        except Exception as raised:  # the last place before the caller
            callers = http.Callers.OPERATORS
            if request.headers.get("X-CloudScheduler") == "true":
                callers = http.Callers.SCHEDULER
            failure = http.failure_of(raised, callers)
            line.update(_plain_fields(failure.body.get("detail")))
            line.update(failure.fields)
            _write(failure.severity, failure.message, line, began=began)
            return _json_response(failure.body, failure.status, failure.headers)
        _write("INFO", "ok", line, began=began)
        return _json_response(answer, 200)

    def _line(self, request: flask.Request) -> dict[str, object]:
        """Return what each log line has, also of a run that fails at once."""
        return {
            **dict.fromkeys(("use_case", "as_of", "model_version")),
            "function": self.function,
            "outcome": "ok",
            "status": 200,
            # The same at each repetition of a call, if Cloud Scheduler keeps its word.
            "due": request.headers.get(DUE),
            "waited_s": _waited_s(request.headers.get(DUE, ""), self.clock.now()),
            "bytes_billed": 0,
            **log.trace_of(request.headers.get("traceparent", "")),
        }

    def _answer(
        self, request: flask.Request, body: Body, line: dict[str, object]
    ) -> Answer:
        """Do the run, and note in its log line what is known of it."""
        parsed = parse_request(
            request,
            default_use_case=clients()[0].use_case,
            today=self.clock.now().date(),
            has_trials=self.has_trials,
        )
        current = begun(parsed, self.function, clock=self.clock)
        line["use_case"] = current.use_case.name
        line["as_of"] = current.as_of.isoformat()
        try:
            answer = self._under_lease(current, body)
            line.update(_plain_fields(answer))
        finally:
            line["bytes_billed"] = current.warehouse.bytes_billed
        return answer

    def _under_lease(self, current: Run, body: Body) -> Answer:
        """Do a run while it has its lease, unless one that is done answers it."""
        scope = self.scope
        as_of = ANY_DATE
        if scope is None:
            scope = current.use_case.name
            as_of = current.as_of
        may_repeat = current.overrides.is_repeated or not self.once
        with leased(
            current.artifacts,
            scope,
            "trial" if current.trial else self.kind,
            as_of,
            run_id=current.run_id,
            clock=current.now,
            rerun=may_repeat,
        ) as lease:
            if lease.is_finished:
                return {**lease.answer, "repeated": True}
            result = body(replace(current, lease=lease))
            answer = {
                "use_case": current.use_case.name,
                "as_of": current.as_of,
                **result,
                "bytes_billed": current.warehouse.bytes_billed,
            }
            lease.answer = json.loads(json.dumps(answer, default=_in_json))
        return {**lease.answer, "repeated": False}


def _write(
    severity: str, message: str, line: Mapping[str, object], *, began: float
) -> None:
    """Write a log line, with the seconds since a time of the performance counter."""
    seconds = round(time.perf_counter() - began, 3)
    log.log(severity, message, **line, seconds=seconds)


def begun(parsed: RunRequest, function: str, *, clock: Clock) -> Run:
    """Return the run that a request is for."""
    settings, warehouse, artifacts = clients()
    if parsed.use_case == settings.use_case:
        usecases.require_default(settings)
    opened = of_use_case(
        usecases.load(parsed.use_case),
        settings,
        warehouse=warehouse,
        artifacts=artifacts,
    )
    return Run(
        function=function,
        run_id=uuid.uuid4().hex,
        settings=opened.settings,
        use_case=opened.use_case,
        as_of=parsed.as_of,
        overrides=parsed.overrides,
        trial=parsed.trial,
        began_at=clock.now(),
        warehouse=opened.warehouse,
        clock=clock,
        artifacts=artifacts,
    )


def parse_request(
    request: flask.Request,
    *,
    default_use_case: str,
    today: date,
    has_trials: bool = False,
) -> RunRequest:
    """
    Read the request of a scheduled function.

    It is a ``POST`` with an optional JSON object of ``use_case``, ``as_of`` (from 1971
    until today, in UTC; by default the day on which the scheduler's call was due, or
    else today), ``force`` and, of some functions, ``trial``.
    """
    # The body comes first: one that breaks off is refused whatever the method.
    content = _body_of(request).strip()
    if request.method != "POST":
        raise errors.MethodNotAllowed(request.method, allowed=("POST",))
    body = http.object_in(content) if content else {}
    allowed = ["use_case", "as_of", "force"]
    if has_trials:
        allowed.append("trial")
    unknown = sorted(name[:64] for name in set(body) - set(allowed))
    if unknown:
        raise errors.RequestError(
            f"there is no field {', '.join(unknown)}. "
            f"Use {', '.join(allowed[:-1])} or {allowed[-1]}",
            field=unknown[0],
        )
    use_case = body.get("use_case", default_use_case)
    if not isinstance(use_case, str):
        raise errors.RequestError("use_case must be a string", field="use_case")
    for name in ("force", "trial"):
        if not isinstance(body.get(name, False), bool):
            raise errors.RequestError(f"{name} must be true or false", field=name)
    as_of = body.get("as_of")
    if as_of is None:
        day = _day_due(request.headers.get(DUE, ""), today)
    else:
        day = _as_of(as_of, today)
    trial = body.get("trial") is True
    overrides = Overrides.of(force=body.get("force") is True, trial=trial)
    return RunRequest(use_case, day, overrides, trial=trial)


def _body_of(request: flask.Request) -> bytes:
    """Read a body; one that breaks off could otherwise begin a run of today's date."""
    # The server's errors of chunks; where it serves, it is loaded already.
    from gunicorn.http.errors import ParseException

    request.max_content_length = MAXIMUM_BODY
    try:
        body = request.get_data()
    except RequestEntityTooLarge as error:
        raise errors.TooLarge(f"the body is over {MAXIMUM_BODY} bytes") from error
    except (OSError, HTTPException, ParseException) as error:
        raise errors.RequestError(errors.BROKEN_BODY, field="body") from error
    finally:
        # The framework reads the rest of a body that was rejected.
        request.max_content_length = None
    # gunicorn takes the end of the connection for the end of the body.
    if request.content_length is not None and len(body) < request.content_length:
        raise errors.RequestError(errors.BROKEN_BODY, field="body")
    return body


def _day_due(due: str, today: date) -> date:
    """
    Return the day, in UTC, of a call that was due at a time; today if that is no time.

    A call that is repeated after midnight is still of the day before. Repetitions are
    over within a day, so any other day is not believed: a call by hand has a schedule
    that is years away.
    """
    with contextlib.suppress(ValueError):
        day = moment_of(due).date()
        if day == today - DAY:
            return day
    return today


def _waited_s(due: str, now: datetime) -> int | None:
    """Return for how long a call has been due; None of one that nobody repeats."""
    with contextlib.suppress(ValueError):
        waited = now - moment_of(due)
        # As in _day_due, a call by hand has a schedule that is years away.
        if abs(waited) < DAY:
            return int(waited.total_seconds())
    return None


def _as_of(value: object, today: date) -> date:
    try:
        as_of = day_of(value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise errors.RequestError(
            f"as_of must be a date: {error}", field="as_of"
        ) from error
    if as_of > today:
        problem = f"as_of is in the future: {as_of}. Today is {today} (UTC)"
        raise errors.RequestError(problem, field="as_of")
    if as_of < EARLIEST:
        problem = f"as_of is {as_of}; the earliest is {EARLIEST}"
        raise errors.RequestError(problem, field="as_of")
    return as_of


def _in_json(value: date | Decimal) -> str | float:
    return value.isoformat() if isinstance(value, date) else float(value)


def _plain_fields(entries: object) -> dict[str, object]:
    """Return what a log line has of an answer, or of the detail of a failure."""
    if not isinstance(entries, Mapping):
        return {}
    return {
        name: value
        for name, value in entries.items()
        if not isinstance(value, (Mapping, list))
    }


def _framework_failure(error: HTTPException) -> flask.Response:
    """Answer in JSON where the framework refuses a request before the function."""
    status = errors.PropensityError.status if error.code is None else error.code
    failure = errors.PropensityError("unexpected error; the log has its trace")
    if status == errors.NoSuchPath.status:
        failure = errors.NoSuchPath("there is nothing at this path")
    elif status < errors.PropensityError.status:
        failure = errors.RequestError(error.name)
    return _json_response(failure.body(), status)


def _json_response(
    body: Answer, status: int, headers: Mapping[str, str] | None = None
) -> flask.Response:
    text = json.dumps(body) + "\n"
    return flask.Response(text, status, headers, mimetype="application/json")
