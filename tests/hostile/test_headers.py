"""Hostile paths and headers, specified: each has its answer, and does no harm."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest

from tests.functions.streaming import USE_CASE
from tests.hostile.dialogues import (
    ALL,
    ASYNCHRONOUS,
    JSON,
    SILENCE_S,
    check_received,
    dialogue,
    post,
    raw,
    status_of,
    valid_body,
)

FUTURE = "2999-01-01"


class TestPaths:
    @pytest.mark.parametrize("target", ["get_proba", "score"])
    @pytest.mark.parametrize(
        "path",
        [
            *("//", "/./", "/../", "/%2e", "/%00", "/%ff", "/\\", "/;a=b"),
            *("/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd"),
            *("/admin", "/index.php", "/docs/openapi.yaml", "/main.py", "/.env"),
            *("/?user_id=ana/..", "/" + "a" * 5_000),
        ],
    )
    def test_of_another_shape_are_refused(self, serve, target, path):
        """One path is served, as it is written; nothing is a file here."""
        received = dialogue(serve(target).port, raw("GET", path))

        assert check_received(received) in (400, 404, 405, 414)
        assert b"root:" not in received

    @pytest.mark.parametrize("path", ["/?user_id=\u00e9", "/?user_id=a b"])
    def test_that_are_not_encoded_are_told_how_they_would_be(self, serve, path):
        """curl sends an address as it is typed: the answer says what to do."""
        received = dialogue(serve("get_proba").port, raw("GET", path))
        answer = json.loads(received.partition(b"\r\n\r\n")[2])

        assert check_received(received) == 400
        assert "percent-encode" in answer["message"]

    @pytest.mark.parametrize("target", ALL)
    @pytest.mark.parametrize(
        "path",
        [
            "http://metadata.google.internal/computeMetadata/v1/",
            "https://example.com/?user_id=ana",
            "//example.com/?user_id=ana",
            "*",
            "example.com:443",
            "/ HTTP/1.1\r\nX: y",
        ],
    )
    def test_that_name_another_host_lead_nowhere(self, serve, target, path):
        """No function is a proxy."""
        for method in ("GET", "CONNECT", "OPTIONS"):
            received = dialogue(serve(target).port, raw(method, path))

            check_received(received)
            assert b"computeMetadata" not in received
            assert b"Example Domain" not in received

    @pytest.mark.parametrize("target", ALL)
    @pytest.mark.parametrize(
        "method", ["TRACE", "PROPFIND", "PUT", "DELETE", "PATCH", "G"]
    )
    def test_take_no_other_method(self, serve, target, method):
        """TRACE echoes nothing, and nothing can be put or deleted."""
        data = raw(method, headers=("X-Secret: abc",), body=b"{}")
        received = dialogue(serve(target).port, data)

        assert check_received(received) in (400, 404, 405)
        assert b"abc" not in received


class TestHeaders:
    @pytest.mark.parametrize("target", ALL)
    @pytest.mark.parametrize(
        "name",
        ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "_method"],
    )
    def test_do_not_change_the_method(self, serve, target, name):
        """A GET stays one, whatever a header says it is."""
        headers = (f"{name}: POST", "Content-Type: application/json")
        body = json.dumps(valid_body(target)).encode()
        received = dialogue(serve(target).port, raw("GET", headers=headers, body=body))

        # Of a lookup GET is served, and wants its user in the address.
        assert check_received(received) == (400 if target == "get_proba" else 405)

    @pytest.mark.parametrize(
        "target",
        # By threads, and a whole run a request.
        [*ASYNCHRONOUS, pytest.param("model_evaluation", marks=pytest.mark.long)],
    )
    @pytest.mark.parametrize(
        "name",
        [
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Prefix: /admin",
            "X-Original-URL: /admin",
            "X-Rewrite-URL: /admin",
            "Forwarded: for=127.0.0.1;host=internal",
            "X-Forwarded-Host: internal",
            "Host: internal",
            "Transfer-Encoding: identity",
            "Expect: 200-ok",
            "Range: bytes=0-0",
            "Cookie: " + "a=b; " * 500,
            "Accept: ../../etc/passwd",
            "Accept-Encoding: gzip;q=nan",
            "traceparent: 00-00000000000000000000000000000000-zzz-01",
            "X-Cloud-Trace-Context: '; DROP TABLE x; --/1;o=1",
            "ce-type: x\x7f",
            "Authorization: Bearer x.y.z",
        ],
    )
    def test_of_any_kind_do_no_harm(self, serve, target, name):
        """What proxies add may be forged, and means nothing."""
        headers = (name, "Content-Type: application/json")
        body = json.dumps(valid_body(target)).encode()

        check_received(dialogue(serve(target).port, raw(headers=headers, body=body)))

    @pytest.mark.parametrize("target", ALL)
    def test_given_twice_do_not_split_a_request(self, serve, target):
        """Two lengths, or a length and chunks, are refused, or read as one request."""
        body = json.dumps(valid_body(target)).encode()
        inner = b"GET /smuggled HTTP/1.1\r\nHost: f\r\n\r\n"
        for headers in (
            ("Content-Length: 0",),
            (f"Content-Length: {len(body) + len(inner)}",),
            ("Transfer-Encoding: chunked",),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding: xchunked",),
        ):
            request_headers = ("Content-Type: application/json", *headers)
            data = raw(headers=request_headers, body=body + inner)
            received = dialogue(serve(target).port, data, timeout_s=SILENCE_S)

            # 501: the server knows no such coding.
            assert status_of(received) in (0, 200, 400, 404, 409, 501), received
            assert b"smuggled" not in received
            assert received.count(b"HTTP/1.1 ") <= 1, received

    @pytest.mark.parametrize("target", ALL)
    def test_that_are_too_many_or_too_long_are_refused(self, serve, target):
        """Neither fills the memory of an instance."""
        port = serve(target).port
        for headers in (
            tuple(f"X-{number}: y" for number in range(5_000)),
            ("X-Long: " + "y" * 1_000_000,),
        ):
            received = b""
            with contextlib.suppress(ConnectionError):
                received = dialogue(port, raw(headers=headers))

            assert check_received(received) in (0, 400, 413, 415, 431)

    def test_of_the_scheduler_prove_nothing(self, serve):
        """A request with Cloud Scheduler's headers is checked like any other."""
        forged = {
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": "propensity-model-evaluation",
            "X-CloudScheduler-ScheduleTime": datetime.now(UTC).isoformat(),
            "User-Agent": "Google-Cloud-Scheduler",
            **JSON,
        }
        for body in ({"as_of": FUTURE}, {"force": "yes"}, {"admin": True}):
            data = json.dumps(body)
            honest = post(serve, "model_evaluation", data)
            answer = post(serve, "model_evaluation", data, headers=forged)

            assert answer.status_code == honest.status_code == 400
            assert answer.json() == honest.json()

    def test_of_the_scheduler_change_no_day(self, serve):
        """The time that the header tells is not taken for today."""
        forged = {
            "X-CloudScheduler": "true",
            "X-CloudScheduler-ScheduleTime": "1999-01-01T00:00:00Z",
            **JSON,
        }
        body = json.dumps({"use_case": USE_CASE})
        answer = post(serve, "model_evaluation", body, headers=forged)

        assert answer.status_code == 200, answer.text
        assert answer.json()["as_of"] == str(datetime.now(UTC).date())
