"""
Failures as answers and log lines, and bodies that say each thing once; the lines of the
log, one JSON object each, with its trace; counts of an instance.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from google.auth.exceptions import DefaultCredentialsError
from starlette.requests import Request

from propensity import errors
from propensity.gcp.asgi import body_of, json_errors
from propensity.gcp.http import Callers, failure_of
from propensity.gcp.log import Counts, trace_of

INSIDE = "the table p.d.secrets has no column x"
WAITS = errors.ExportLate("x", retry_after_s=600, detail={})


@pytest.mark.parametrize("callers", Callers)
@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (errors.RequestError("no such day", field="as_of"), {}),
        (errors.MethodNotAllowed("PUT", allowed=("GET",)), {"Allow": "GET"}),
    ],
)
def test_an_error_of_the_request_is_answered_in_full(error, headers, callers):
    """Whoever calls is told what is wrong with the request, and what to do."""
    failure = failure_of(error, callers)

    status = 200 if callers is Callers.SCHEDULER else error.status
    assert (failure.status, failure.body) == (status, error.body())
    assert failure.fields["status"] == error.status
    assert failure.headers == headers


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.SchemaError(INSIDE, field="secrets"), "says why"),
        (errors.AccessDenied(INSIDE, detail={"resource": "p.d.secrets"}), "says why"),
        (errors.MissingTable(INSIDE), "not there yet"),
        (errors.Unavailable(INSIDE), "try again"),
        (RuntimeError(INSIDE), "says why"),
    ],
)
def test_the_public_reads_no_error_of_operators(error, told):
    """The public reads neither message nor field nor detail, and what will pass. The
    log has the message, but for an error that nobody foresaw, which may name a user."""
    failure = failure_of(error, Callers.PUBLIC)

    assert "secrets" not in json.dumps(failure.body).lower()
    assert told in failure.body["message"]
    is_foreseen = isinstance(error, errors.PropensityError)
    assert (INSIDE in failure.message) == is_foreseen
    if is_foreseen:
        assert failure_of(error, Callers.OPERATORS).body == error.body()


@pytest.mark.parametrize(
    ("error", "status", "severity"),
    [
        # Nothing behind the function is a fault of the push: no 4xx.
        (errors.MissingTable("x"), 500, "ERROR"),
        (RuntimeError(INSIDE), 500, "ERROR"),
        # A run that waits is no error.
        (WAITS, 503, "WARNING"),
    ],
)
def test_a_failure_is_one_line_of_the_log(error, status, severity, capsys, monkeypatch):
    """It has the trace of the request, for Cloud Logging to show it under; and of an
    error that nobody foresaw its type and the place in the code."""

    @json_errors("tested", Callers.PUSHES)
    async def failing(request):
        raise error

    trace = b"00-105445aa7843bc8bf206b12000100000-00f067aa0ba902b7-01"
    headers = [(b"traceparent", trace)]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    answer = asyncio.run(failing(Request(scope)))

    [line] = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["outcome"] == json.loads(answer.body)["error"]
    assert line["status"] == answer.status_code == status
    assert line["severity"] == severity
    assert ("in failing\n" in line["message"]) == isinstance(error, RuntimeError)
    assert ("RuntimeError" in line["message"]) == isinstance(error, RuntimeError)
    assert INSIDE not in f"{line} {answer.body}"
    assert line["logging.googleapis.com/trace"].startswith("projects/p/traces/1054")
    assert trace_of("../../secrets") == {}


def test_a_function_without_a_login_says_how_to_log_in():
    """That is no bug: neither 500 `internal`, nor a trace in the log."""
    failure = failure_of(DefaultCredentialsError("not found"), Callers.OPERATORS)

    login = "gcloud auth application-default login"
    assert login in str(failure.body["message"])
    assert login in failure.message
    assert failure.fields["outcome"] == "access_denied"


async def test_a_body_is_read_up_to_its_maximum():
    """Whether or not it says how long it will be."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"12345", "more_body": bool(more.pop())}

    for headers in ([], [(b"content-length", b"10")]):
        request = Request({"type": "http", "headers": headers}, receive)
        more = [False, True]
        assert await body_of(request, maximum=10) == b"1234512345"
        more = [False, True]
        with pytest.raises(errors.TooLarge, match="larger than 9 bytes"):
            await body_of(request, maximum=9)


async def test_counts_are_one_line_of_all_that_was_counted(capsys, monkeypatch):
    """Counts of many groups are logged together, dead letters by their reasons; and
    whoever counts need not write."""
    monkeypatch.setattr("propensity.gcp.log.LOG_EVERY_S", 0.0)
    counts = Counts("streamFeatures")
    counts.add(rows_in=2, rows_out=2)
    counts.add({"bad_time": 1}, rows_in=3, rows_out=2, dead_letters=1)
    await asyncio.sleep(0.01)
    counts.add(rows_in=1)
    await asyncio.sleep(0.01)

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["function"], first["severity"]) == ("streamFeatures", "WARNING")
    assert (first["rows_in"], first["rows_out"], first["dead_letters"]) == (5, 4, 1)
    assert first["reasons"] == {"bad_time": 1}
    assert (second["severity"], second["rows_in"]) == ("INFO", 1)
    assert "reasons" not in second
