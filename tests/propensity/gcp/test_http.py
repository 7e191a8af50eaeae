"""Failures as answers and log lines, and bodies that say each thing once."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.requests import Request

from propensity import errors
from propensity.gcp.http import (
    OPERATORS,
    PUBLIC,
    PUSHES,
    answers_failures,
    each_once,
    failure_of,
)

INSIDE = "the table p.d.secrets has no column x"
ALLOWED = {"Allow": "GET, POST"}
WAITS = errors.ExportLate("x", retry_after_s=600, detail={})


@pytest.mark.parametrize("policy", [OPERATORS, PUSHES, PUBLIC])
@pytest.mark.parametrize(
    "error",
    [
        errors.RequestError("no such day", field="as_of"),
        errors.TooLarge("over 5 bytes"),
        errors.MethodNotAllowed("PUT", allowed=("GET", "POST")),
        errors.NoChampion("train first"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_of_the_request_is_answered_in_full(error, policy):
    """Whoever calls is told what is wrong with the request, and what to do."""
    failure = failure_of(error, policy)

    assert failure.status == error.status
    assert failure.body == error.body()


class TestBehindTheFunction:
    @pytest.mark.parametrize(
        "error",
        [
            errors.SchemaError(INSIDE, field="secrets"),
            errors.SettingsError(INSIDE, field="PROPENSITY_SECRETS"),
            errors.AccessDenied(INSIDE, detail={"resource": "p.d.secrets"}),
            errors.Unavailable(INSIDE),
            RuntimeError(INSIDE),
        ],
        ids=lambda one: type(one).__name__,
    )
    def test_an_error_is_kept_from_the_public(self, error):
        """Neither message nor field nor detail is answered; the log has the message,
        but for that of an error that nobody foresaw, which may name a user."""
        failure = failure_of(error, PUBLIC)

        assert "secrets" not in json.dumps(failure.body).lower()
        is_foreseen = isinstance(error, errors.PropensityError)
        assert (INSIDE in failure.line["message"]) == is_foreseen

    def test_an_error_is_answered_to_operators(self):
        """Who runs the project reads in the answer what the log says."""
        error = errors.AccessDenied(INSIDE, detail={"resource": "p.d.secrets"})

        assert failure_of(error, OPERATORS).body == error.body()

    def test_the_public_is_told_what_will_pass(self):
        missing, late = errors.MissingTable(INSIDE), errors.Unavailable(INSIDE)

        said = [failure_of(one, PUBLIC).body["message"] for one in (missing, late)]

        assert "not there yet" in said[0]
        assert "try again" in said[1]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.MissingTable(INSIDE), 500),
            (errors.Unavailable(INSIDE), 503),
            (errors.RequestError("no push"), 400),
        ],
        ids=lambda one: type(one).__name__,
    )
    def test_an_error_is_no_fault_of_a_push(self, error, status):
        """Pub/Sub sends what it has: nothing behind the function is a 4xx to it."""
        assert failure_of(error, PUSHES).status == status

    def test_an_unforeseen_error_is_logged_with_its_frames(self):
        """Its class and where it was raised, and no word of its own."""
        user = "ana.1"
        try:
            raise RuntimeError(user)
        except RuntimeError as error:
            message = failure_of(error, PUBLIC).line["message"]

        assert message.startswith("unexpected error\nRuntimeError\n")
        assert "test_http.py" in message
        assert user not in message


@pytest.mark.parametrize(
    ("error", "policy", "headers"),
    [
        (errors.MethodNotAllowed("PUT", allowed=("GET", "POST")), PUBLIC, ALLOWED),
        (errors.Unavailable(INSIDE), PUBLIC, {"Retry-After": "1"}),
        (WAITS, OPERATORS, {"Retry-After": "600"}),
        (errors.RequestError("no such day"), PUBLIC, {}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_headers_are_those_that_http_asks_of_an_answer(error, policy, headers):
    """The methods that are served; when to come again, as the scheduler reads it."""
    assert failure_of(error, policy).headers == headers


@pytest.mark.parametrize(
    ("error", "severity", "outcome"),
    [
        (errors.RequestError("x"), "WARNING", "bad_request"),
        (errors.MissingTable("x"), "ERROR", "missing_table"),
        (RuntimeError("x"), "ERROR", "internal"),
        (WAITS, "WARNING", "export_late"),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("policy", [PUBLIC, PUSHES])
def test_a_failure_is_one_line_of_the_log(error, severity, outcome, policy, capsys):
    """By the status that is answered; a run that waits is no error. It has the trace
    of the request, for Cloud Logging to show it under."""

    @answers_failures("tested", policy)
    async def failing(request):
        raise error

    trace = b"00-105445aa7843bc8bf206b12000100000-00f067aa0ba902b7-01"
    headers = [(b"traceparent", trace)]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        answer = asyncio.run(failing(Request(scope)))

    [line] = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["outcome"] == outcome == json.loads(answer.body)["error"]
    assert line["status"] == answer.status_code
    if policy is PUSHES:
        assert line["severity"] == severity
    assert line["logging.googleapis.com/trace"].startswith("projects/p/traces/1054")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"a": 1, "a": 2}', "a"),
        (r'{"a": 1, "\u0061": 2}', "a"),
        ('{"b": [{"c": {"": 1, "d": 2, "": 3}}]}', ""),
        (f'{{"{"n" * 1000}": 1, "{"n" * 1000}": 2}}', "n" * 64),
    ],
)
def test_a_name_is_once_in_an_object(body, name):
    """However deep, and however it is written; an answer repeats 64 characters."""
    with pytest.raises(errors.RequestError) as refused:
        json.loads(body, object_pairs_hook=each_once)

    assert refused.value.field == name


def test_a_name_may_be_in_several_objects():
    """And a value may be what a name is."""
    body = '{"a": {"a": "a"}, "b": [{"a": 1}, {"a": 2}]}'

    assert json.loads(body, object_pairs_hook=each_once) == json.loads(body)
