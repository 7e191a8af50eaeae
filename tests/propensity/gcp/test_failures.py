"""Failures to JSON, specified: status, body, headers and log line of every error."""

from __future__ import annotations

import json

import pytest

from propensity import errors
from propensity.gcp.failures import OPERATORS, PUBLIC, PUSHES, Policy, failure_of

POLICIES = [OPERATORS, PUSHES, PUBLIC]
INSIDE = "the table p.d.secrets has no column x"
ALLOWED = {"Allow": "GET, POST"}
WAITS = errors.ExportLate("x", retry_after_s=600, detail={})


def raised(error: Exception) -> Exception:
    """The error as a function raises it."""
    try:
        raise error
    except Exception as found:
        return found


class TestTheRequest:
    @pytest.mark.parametrize("policy", POLICIES)
    @pytest.mark.parametrize(
        "error",
        [
            errors.RequestError("no such day", field="as_of"),
            errors.TooLarge("over 5 bytes"),
            errors.NoSuchPath("only / is served here"),
            errors.UnsupportedType("not JSON", field="Content-Type"),
            errors.MethodNotAllowed("PUT", allowed=("GET", "POST")),
            errors.NoChampion("train first"),
            errors.UnknownVersion("there is no version 7"),
            errors.SettingsError("X is not set", field="X", is_missing=True),
        ],
        ids=lambda one: type(one).__name__,
    )
    def test_is_answered_in_full(self, error, policy):
        """Whoever calls is told what is wrong with the request, and what to do."""
        failure = failure_of(error, policy)

        assert failure.status == error.status
        assert json.loads(failure.encoded) == error.body()


class TestBehindTheFunction:
    @pytest.mark.parametrize(
        "error",
        [
            errors.MissingTable(INSIDE),
            errors.SchemaError(INSIDE, field="secrets"),
            errors.Conflict(INSIDE),
            errors.SettingsError(INSIDE, field="PROPENSITY_SECRETS"),
            errors.AccessDenied(INSIDE, detail={"resource": "p.d.secrets"}),
            errors.Unavailable(INSIDE),
            RuntimeError(INSIDE),
        ],
        ids=lambda one: type(one).__name__,
    )
    def test_is_kept_from_the_public(self, error):
        """Neither message nor field nor detail is answered; the log has the message,
        but for that of an error that nobody foresaw, which may name a user."""
        failure = failure_of(error, PUBLIC)
        is_foreseen = isinstance(error, errors.PropensityError)

        assert "secrets" not in failure.encoded.decode().lower()
        assert (INSIDE in failure.log_message) == is_foreseen

    def test_is_told_to_operators(self):
        """Who runs the project reads in the answer what the log says."""
        error = errors.AccessDenied(INSIDE, detail={"resource": "p.d.secrets"})

        assert json.loads(failure_of(error, OPERATORS).encoded) == error.body()

    def test_has_the_function_s_own_words_for_an_error(self):
        """A function says in its callers' words what an error means to them."""
        policy = Policy(message="failed", messages={errors.MissingTable: "none yet"})

        assert failure_of(errors.MissingTable(INSIDE), policy).body == {
            "error": "missing_table",
            "message": "none yet",
            "retryable": False,
        }

    def test_says_whether_to_try_again(self):
        """Where a retry may help the message says so."""
        failure = failure_of(errors.Unavailable(INSIDE), PUBLIC)

        assert failure.body["message"].endswith("; try again")

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.MissingTable(INSIDE), 500),
            (errors.Unavailable(INSIDE), 503),
            (errors.RequestError("no push"), 400),
        ],
        ids=lambda one: type(one).__name__,
    )
    def test_is_no_fault_of_a_push(self, error, status):
        """Pub/Sub sends what it has: nothing behind the function is a 4xx to it."""
        assert failure_of(error, PUSHES).status == status


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


class TestTheLog:
    @pytest.mark.parametrize(
        ("error", "severity", "fields"),
        [
            (errors.RequestError("x"), "WARNING", ("bad_request", 400)),
            (errors.MissingTable("x"), "ERROR", ("missing_table", 500)),
            (RuntimeError("x"), "ERROR", ("internal", 500)),
            (WAITS, "WARNING", ("export_late", 503)),
        ],
        ids=lambda one: type(one).__name__,
    )
    def test_says_outcome_and_status(self, error, severity, fields):
        """By the status that is answered; a run that waits is no error."""
        failure = failure_of(error, PUSHES)

        assert failure.severity == severity
        assert tuple(failure.log_fields.values()) == fields

    def test_says_where_an_unforeseen_error_was_raised(self):
        """Its class and its frames, and no word of its own."""
        message = failure_of(raised(RuntimeError("ana.1")), PUBLIC).log_message

        assert message.startswith("unexpected error\nRuntimeError\n")
        assert "test_failures.py" in message
        assert "ana.1" not in message
