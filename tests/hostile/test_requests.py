"""
Requests as those send them who look for a way in: by hand, and generated.

What reaches a function here has passed no load balancer. Those by hand are sent byte
for byte, over a socket where a client library would tidy them up. Schemathesis makes
others that fit docs/openapi.yaml, and some that break it on purpose. Whatever comes, a
function answers as it is described and never with a 5xx.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from docs import openapi
from propensity.runs.request import MAXIMUM_BODY
from tests.hostile.conftest import TIMEOUT_S, Serve, check_answer, described
from tests.hostile.dialogues import (
    ALL,
    ASYNCHRONOUS,
    FUNCTION_OR_LONG,
    GUNICORN_KEEPS_S,
    HOST,
    SILENCE_S,
    THREADED,
    check_received,
    dialogue,
    post,
    raw,
    status_of,
    valid_body,
)


class TestBodies:
    @pytest.mark.parametrize("target", ALL)
    @pytest.mark.parametrize("is_declared", [True, False], ids=["length", "chunked"])
    def test_over_the_limit_are_refused(self, serve, target, is_declared):
        """Both with and without a declared length: 413, and no more is read."""
        limit = openapi.MAXIMUM_BODIES.get(target, MAXIMUM_BODY)
        size = limit + 1
        data = (
            b" " * size if is_declared else iter([b" " * 65_536] * (size // 65_536 + 1))
        )
        try:
            answer = post(serve, target, data)
        except requests.ConnectionError:
            # It hung up on what it would not read; it must go on serving.
            answer = post(serve, target, json.dumps(valid_body(target)))
            assert answer.status_code < 500
        else:
            assert answer.status_code == 413
            check_answer(answer)
            assert answer.json()["error"] == "too_large"

    @pytest.mark.parametrize("target", ALL)
    def test_that_claim_to_be_huge_are_refused_at_once(self, serve, target):
        """A declared length is believed where it is too much; nothing is waited for."""
        head = raw(length=str(10**15))
        with socket.create_connection((HOST, serve(target).port), TIMEOUT_S) as link:
            link.sendall(head)
            received = link.recv(65_536)

        assert check_received(received) == 413

    @pytest.mark.parametrize("target", ALL)
    @pytest.mark.parametrize("length", ["-1", "abc", "1e3", "0x10", "1, 1", ""])
    def test_of_no_length_are_refused(self, serve, target, length):
        """A length that is none is the caller's error."""
        received = dialogue(
            serve(target).port, raw(body=b"{}", length=length), timeout_s=SILENCE_S
        )

        assert check_received(received) in (0, 200, 400, 404, 409, 413, 415, 422)

    @pytest.mark.parametrize("target", ALL)
    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 30_000,
            b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
            b'{"user_ids": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
            b'{"message": {"messageId": "1", "data": ' + b"[" * 9_000,
            b"\x00",
            b'{"user_ids": ["\x00"]}',
            b'{"as_of": "2026-03-01\\u0000"}',
            b'{"use_case": "\\ud800"}',
            b"\xff\xfe{}",
            b'{"user_id": "\xff"}',
            b"\xef\xbb\xbf{}",
            '{"as_of": "2026-03-01"}'.encode("utf-16"),
            *(b"null", b"true", b"1", b'"x"', b"[]", b'{"a": 1', b"NaN", b"<x/>"),
        ],
        ids=lambda body: repr(body[:40]),
    )
    def test_that_are_no_json_object_are_refused(self, serve, target, body):
        """Nesting exhausts no stack; NUL, halves of surrogates, other encodings, other
        values are none."""
        answer = post(serve, target, body)

        assert answer.status_code == 400
        check_answer(answer)

    @pytest.mark.parametrize("target", ALL)
    @pytest.mark.parametrize(
        "number",
        ["1e400", "-1e400", "9" * 400, "9" * 5_000, "1e-5000", "0." + "1" * 5_000],
        ids=["inf", "-inf", "long", "longer", "small", "precise"],
    )
    def test_with_numbers_beyond_all_bounds_are_refused(self, serve, target, number):
        """A number that no computer holds is no reason to fall over."""
        fields = ("as_of", "use_case", "version", "ingest_ts", "user_ids", "message")
        for field in fields:
            body = f'{{"{field}": {number}, "features": {{"age": {number}}}}}'
            answer = post(serve, target, body.encode())

            assert answer.status_code == 400, answer.text
            check_answer(answer)

    def test_with_a_field_twice_are_refused(self, serve):
        """By its name: the last one may be somebody else's figure."""
        body = b'{"user_ids": ["nobody"], "use_case": "x", "user_ids": ["ana"]}'
        answer = post(serve, "get_proba", body)

        assert (answer.status_code, answer.json()["field"]) == (400, "user_ids")
        check_answer(answer)


def broken(
    port: int, body: bytes, *, method: str, headers: tuple[str, ...]
) -> tuple[int, dict[str, str], bytes]:
    """Send a body that is wrong or ends too early; return status, headers and body."""
    request_headers = ("Content-Type: application/json", *headers)
    head = "\r\n".join([f"{method} / HTTP/1.1", "Host: f", *request_headers, "", ""])
    received = dialogue(port, head.encode() + body, ends=True)
    top, _, rest = received.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in top.decode().split("\r\n")[1:]]
    return (
        status_of(received),
        {name.lower(): value for name, _, value in lines},
        rest,
    )


CHUNKED = ("Transfer-Encoding: chunked",)
BROKEN = {
    "no size": (CHUNKED, b"ZZ\r\n"),
    "no size after a chunk": (CHUNKED, b"2\r\n{}\r\nZZ\r\n"),
    "a size below zero": (CHUNKED, b"-1\r\n{}\r\n0\r\n\r\n"),
    "a size beyond all": (CHUNKED, b"F" * 20 + b"\r\n{}\r\n"),
    "a chunk longer than its size": (CHUNKED, b"2\r\n{} and more\r\n0\r\n\r\n"),
    "a chunk cut short": (CHUNKED, b"5\r\nab"),
    "no last chunk": (CHUNKED, b"2\r\n{}\r\n"),
    "nothing": (CHUNKED, b""),
    "less than its length": (("Content-Length: 10",), b"{}"),
}


class TestBrokenBodies:
    @pytest.mark.parametrize("target", FUNCTION_OR_LONG.values())
    @pytest.mark.parametrize("method", ["POST", "GET"])
    def test_are_the_callers_fault(self, serve, target, method):
        """Chunks that are none or end too early: 400 and JSON, and no trace logged."""
        instance = serve(target)
        for case, (headers, body) in BROKEN.items():
            status, answer_headers, answer = broken(
                instance.port, body, method=method, headers=headers
            )

            # Where the method alone is refused the body need not be read.
            assert status in ((400,) if method == "POST" else (400, 405)), case
            assert answer_headers["content-type"] == "application/json", case
            refusal = json.loads(answer)
            assert refusal["error"] in ("bad_request", "method_not_allowed"), case
            assert refusal["retryable"] is False, case
            if method == "POST":
                assert refusal["field"] == "body", case
        assert "Traceback" not in instance.log()
        # And it goes on.
        answer = post(serve, target, b"[]")
        assert answer.status_code == 400
        check_answer(answer)

    @pytest.mark.parametrize("target", THREADED)
    @pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico"])
    def test_are_none_of_the_frameworks_own_pages(self, serve, target, path):
        """What functions-framework refuses by itself is JSON, too, whatever follows."""
        for headers, body in [((), b""), *BROKEN.values()]:
            head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: f", *headers, "", ""])
            data = head.encode() + body
            received = dialogue(serve(target).port, data, ends=True)

            assert check_received(received) == 404
            answer = json.loads(received.partition(b"\r\n\r\n")[2])
            assert answer["error"] == "no_such_path"
        assert "Traceback" not in serve(target).log()


@pytest.fixture
def slow(serve, request) -> Iterator[int]:
    """Hold connections open that send a byte now and then; return their number."""
    target, kind, count = request.param
    port = serve(target).port
    head = b"POST / HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\n"
    if kind == "body":
        head += b"Content-Length: 1000\r\n\r\n"
    links = [socket.create_connection((HOST, port), TIMEOUT_S) for _ in range(count)]
    for link in links:
        link.sendall(head)
    yield count
    for link in links:
        link.close()


def _drips(targets: tuple[str, ...], count: int) -> list[tuple[str, str, int]]:
    return [(target, kind, count) for target in targets for kind in ("head", "body")]


class TestSlowClients:
    @pytest.mark.parametrize(
        ("slow", "target"),
        [(drip, drip[0]) for drip in _drips(ASYNCHRONOUS, 100)],
        indirect=["slow"],
        ids=lambda value: (
            value if isinstance(value, str) else "-".join(map(str, value))
        ),
    )
    def test_hold_up_nobody(self, serve, slow, target):
        """A hundred that never finish their head or body take no one's turn."""
        body = json.dumps(valid_body(target))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: post(serve, target, body), range(16)))

        assert {answer.status_code for answer in answers} <= {200, 404, 409}

    @pytest.mark.parametrize("target", ASYNCHRONOUS)
    def test_that_drip_are_answered_in_the_end(self, serve, target):
        """A client that sends a few bytes at a time is answered, however late."""
        body = json.dumps(valid_body(target)).encode()
        data = raw(body=body)
        with socket.create_connection((HOST, serve(target).port), TIMEOUT_S) as link:
            step = max(1, len(data) // 40)
            for start in range(0, len(data), step):
                link.sendall(data[start : start + step])
                time.sleep(0.005)
            received = link.recv(65_536)

        assert check_received(received) in (200, 404, 409)

    def test_that_pause_between_two_requests_are_answered(self, serve):
        """A pool's connection is still there after longer than gunicorn keeps one."""
        data = raw("GET", "/?user_id=ana").replace(b"Connection: close\r\n", b"")
        with contextlib.ExitStack() as stack:
            links = [
                stack.enter_context(
                    socket.create_connection((HOST, serve(target).port), TIMEOUT_S)
                )
                for target in ASYNCHRONOUS
            ]
            for link in links:
                link.sendall(data)
                assert link.recv(65_536)
            time.sleep(GUNICORN_KEEPS_S + 1)
            for link in links:
                link.sendall(data)
                assert 200 <= status_of(link.recv(65_536)) < 500

    @pytest.mark.parametrize("target", ALL)
    def test_that_leave_do_no_harm(self, serve, target):
        """Connections that end within a head, a body or at once."""
        port = serve(target).port
        for data in (b"", b"POST", raw(body=b"{}", length="100"), b"\x16\x03\x01\x02"):
            with socket.create_connection((HOST, port), TIMEOUT_S) as link:
                link.sendall(data)
        answer = post(serve, target, json.dumps(valid_body(target)))

        assert answer.status_code < 500


# Requests of each operation and kind: in every run, and in the long one.
FEW = 10
MANY = 110
# A run of a scheduled function takes longer than an answer.
RUNS = {"model_evaluation", "model_training", "predictions", "compact_features"}

QUICK = [("get_proba", "GET"), ("score", "POST"), ("model_evaluation", "POST")]
LONG = [
    *QUICK,
    *(("get_proba", method) for method in ("POST", "HEAD")),
    *(
        (target, "POST")
        for target in (
            *("stream_features", "model_training", "predictions", "compact_features"),
            "score_stream",
        )
    ),
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
MODES = {"fitting": GenerationMode.POSITIVE, "breaking": GenerationMode.NEGATIVE}


def attack(
    serve: Serve, target: str, method: str, mode: str, *, count: int
) -> Counter[int]:
    """Send generated requests, check every answer, and count them by status."""
    url = serve(target).url
    schema = schemathesis.openapi.from_dict(described(target))
    operation = schema["/"][method]
    sent: Counter[int] = Counter()
    with requests.Session() as session:

        @settings(
            max_examples=count,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=MODES[mode]))
        def send(case: Any) -> None:
            answer = case.call(base_url=url, session=session, timeout=TIMEOUT_S)
            sent[answer.status_code] += 1
            body = answer.request.body
            text = body.decode(errors="replace") if isinstance(body, bytes) else ""
            case.validate_response(answer, checks=CHECKS)
            check_answer(answer_of(answer), sent=f"{answer.request.url}{text}")

        send()
    return sent


def answer_of(answer: Any) -> requests.Response:
    """Return what requests knows of an answer that Schemathesis has wrapped."""
    plain = requests.Response()
    plain.status_code = answer.status_code
    plain._content = answer.content
    plain.headers.update({name: values[0] for name, values in answer.headers.items()})
    plain.request = answer.request
    return plain


CASES = [
    *((target, method, FEW) for target, method in QUICK),
    *(
        pytest.param(target, method, MANY, marks=pytest.mark.long)
        for target, method in LONG
    ),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("target", "method", "count"), CASES)
def test_generated_requests_are_answered_as_described(
    serve, target, method, count, mode
):
    """A few of each kind in every run, and thousands in the long one."""
    if target in RUNS:
        count //= 5
    sent = attack(serve, target, method, mode, count=count)
    print(f"\n{target} {method}, {mode}: {sent.total()} requests, {dict(sent)}")

    assert sent.total() >= count // 2
