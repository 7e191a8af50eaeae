"""
The edge to HTTP, specified with a function of its own: requests, answers, log lines.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import flask
import functions_framework
import pytest

from local.processes import HOST
from propensity.clock import SYSTEM
from propensity.errors import NotEnoughData
from propensity.runs.run import MAXIMUM_BODY, Endpoint, Run
from tests.support.deployment import entered

TODAY = datetime.now(UTC).date()


class Function:
    """A function whose run answers, fails or waits as a test says."""

    def __init__(self, patch: pytest.MonkeyPatch, capfd) -> None:
        self.runs: list[Run] = []
        self.body = lambda run: {"answer": 42}
        self.app = flask.Flask("function")
        self.set = patch.setenv
        self.capfd = capfd
        # While it loads a function, the framework has the one of its application.
        patch.setattr(functions_framework, "errorhandler", self.app.errorhandler)

        @Endpoint("tested", kind="test", once=False, clock=SYSTEM)
        def function(run: Run):
            self.runs.append(run)
            return self.body(run)

        @self.app.route("/", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
        def view():
            return function(flask.request)

    def post(self, body: object = None, **arguments):
        if body is not None:
            arguments["data"] = body if isinstance(body, bytes) else json.dumps(body)
        return self.app.test_client().post("/", **arguments)

    def lines(self) -> list[dict]:
        """The JSON lines since last asked."""
        return [json.loads(line) for line in self.capfd.readouterr().err.splitlines()]


@contextlib.contextmanager
def function_of(deployment, capfd) -> Iterator[Function]:
    variables = {**deployment.environment, "PROPENSITY_DEADLINE_S": "1"}
    with entered(variables), pytest.MonkeyPatch.context() as patch:
        yield Function(patch, capfd)


@pytest.fixture
def function(deployment, capfd) -> Iterator[Function]:
    """A function that runs again whenever it is asked."""
    with function_of(deployment, capfd) as function:
        yield function


@pytest.mark.parametrize(
    ("days", "hour", "expected"),
    [
        (0, "T00:00:00.123456789Z", 0),
        (-2, "T23:30:00-02:00", -1),
        # By hand, and no time.
        (300, "T00:00:00Z", 0),
        (-1, " soon", 0),
    ],
)
def test_a_call_of_the_clock_is_of_the_day_on_which_it_was_due(
    function, days, hour, expected
):
    """Also when it is repeated after midnight."""
    due = f"{TODAY + timedelta(days=days)}{hour}"
    function.post(headers={"X-CloudScheduler-ScheduleTime": due})
    body = {"as_of": "2026-03-02"}
    function.post(body, headers={"X-CloudScheduler-ScheduleTime": due})
    usual, asked = function.runs

    assert usual.as_of == TODAY + timedelta(days=expected)
    assert asked.as_of == date(2026, 3, 2)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        ({"use_case": 1}, "use_case"),
        ({"use_case": "nobody_wrote_this"}, "use_case"),
        ({"as_of": 20260302}, "as_of"),
        ({"as_of": "0001-01-01"}, "as_of"),
        ({"as_of": str(TODAY + timedelta(days=2))}, "as_of"),
        ({"force": 1}, "force"),
        ({"as_off": "2026-03-02"}, "as_off"),
        # If a name is there twice, nobody knows which one was meant.
        (b'{"as_of": "2026-02-16", "force": true, "as_of": "2026-02-23"}', "as_of"),
    ],
)
def test_requests_that_cannot_be_understood_are_refused(function, body, field):
    """A bad request is 400 and names its field; nothing runs. Which texts are a
    date ``tests/test_timeframe.py`` says."""
    answer = function.post(body)
    [line] = function.lines()

    assert answer.status_code == 400
    assert answer.json["error"] == "bad_request"
    assert answer.json["field"] == field
    assert function.runs == []
    assert (line["outcome"], line["severity"]) == ("bad_request", "WARNING")


def test_requests_are_posts_of_a_size(function):
    """Only POST runs anything, and the answer says so; the limit is allowed."""
    got = function.app.test_client().get("/")
    refused = function.post(b"{}".ljust(MAXIMUM_BODY + 1))

    assert (got.status_code, got.headers["Allow"]) == (405, "POST")
    assert refused.status_code == 413
    assert function.runs == []
    assert function.post(b"{}".ljust(MAXIMUM_BODY)).status_code == 200


class TestLine:
    def test_a_run_logs_one_line(self, function):
        """With what was asked, what is plain in the answer, and what it cost."""
        function.body = lambda run: {"model_version": 1, "users": 3, "weeks": [{}]}
        headers = {"traceparent": f"00-{'4bf92f35' * 4}-00f067aa0ba902b7-01"}
        headers["X-CloudScheduler-ScheduleTime"] = "2026-03-02T17:00:00Z"
        function.post({"as_of": "2026-03-02"}, headers=headers)
        [line] = function.lines()

        assert line.pop("logging.googleapis.com/trace").endswith("4bf92f35" * 4)
        assert line.pop("seconds") >= 0
        assert line == {
            "severity": "INFO",
            "message": "ok",
            "due": "2026-03-02T17:00:00Z",
            "waited_s": None,
            "function": "tested",
            "use_case": "ga4_purchase",
            "as_of": "2026-03-02",
            "model_version": 1,
            "users": 3,
            "repeated": False,
            "bytes_billed": 0,
            "outcome": "ok",
            "status": 200,
        }

    def test_the_line_says_for_how_long_a_call_has_been_due(self, function):
        """Not of a call by hand, whose schedule is years away."""
        for due in (
            SYSTEM.now() - timedelta(hours=2),
            datetime(2028, 2, 29, tzinfo=UTC),
        ):
            function.post(headers={"X-CloudScheduler-ScheduleTime": due.isoformat()})
        repeated, by_hand = function.lines()

        assert 7_200 <= repeated["waited_s"] < 7_300
        assert by_hand["waited_s"] is None

    def test_the_line_of_a_failure_says_why(self, function):
        def fail(run):
            raise NotEnoughData("7 rows are too few", detail={"rows": 7})

        function.body = fail
        answer = function.post({"as_of": "2026-03-02"})
        [line] = function.lines()

        assert (answer.status_code, answer.json["error"]) == (422, "not_enough_data")
        assert (answer.json["retryable"], answer.json["detail"]) == (False, {"rows": 7})
        assert answer.json["message"] == line["message"] == "7 rows are too few"
        assert (line["outcome"], line["rows"]) == ("not_enough_data", 7)


@pytest.fixture
def silent() -> str:
    """The address of somebody who listens and never answers."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield f"{HOST}:{listener.getsockname()[1]}"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("service", ["BIGQUERY_STORAGE", "STORAGE"])
def test_a_service_that_is_down_is_503_in_time(emulated, capfd, silent, service):
    """As Google's clients have it. The Storage Read API, whose own deadline is a day,
    gets the time of a query. Without the bucket there is no lease, and nothing runs."""
    url = silent if service == "BIGQUERY_STORAGE" else f"http://{silent}"
    sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 200000)) AS n"
    with function_of(emulated, capfd) as function:
        function.set("PROPENSITY_QUERY_TIMEOUT_S", "3")
        function.set(f"{service}_EMULATOR_HOST", url)
        function.body = lambda run: {"batches": len(list(run.warehouse.batches(sql)))}
        answer = function.post({"as_of": "2026-03-02"})
        [line] = function.lines()

    assert (answer.status_code, answer.json["error"]) == (503, "unavailable")
    assert answer.json["retryable"] is True
    assert (line["outcome"], line["severity"]) == ("unavailable", "ERROR")
    assert bool(function.runs) is (service != "STORAGE")
