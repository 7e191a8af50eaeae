"""
The shorter way, specified: what is answered is what the framework would have answered.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import functions_framework.aio
import pytest

from local import venvs
from local.stack.state import LOCAL, ROOT
from propensity.edges.direct import Direct, shortened

SOURCE = """
import functools
import functions_framework.aio
from propensity.edges.asgi import Json, answers_failures, body_of
from propensity.errors import RequestError


@functions_framework.aio.http
@answers_failures("echoed")
async def echoed(request):
    body = await body_of(request, maximum=1000)
    if body == b"bad":
        raise RequestError("no", field="body")
    if body == b"broken":
        raise RuntimeError("no")
    return Json(body + request.scope["method"].encode(), headers=[(b"x-echo", b"1")])


def decorated(function):
    @functools.wraps(function)
    async def counted(request):
        return Json(b'"decorated"')

    return counted


@functions_framework.aio.http
@decorated
@answers_failures("wrapped")
async def wrapped(request):
    return Json(b'"bare"')


@functions_framework.aio.http
@answers_failures("plainly")
async def plainly(request):
    body = await body_of(request, maximum=1000)
    if body == b"?":
        raise RequestError("no", field="body")
    answer = Json(body)
    answer.background = followed
    return answer


async def followed():
    print("followed")


@functions_framework.aio.http
async def plain(request):
    return "text"
"""


@pytest.fixture
def application(tmp_path: Path):
    """A function of the source as the framework serves it, and with the shorter way."""
    source = tmp_path / "main.py"
    source.write_text(SOURCE)

    def served(target: str) -> tuple[Any, Any]:
        app = functions_framework.aio.create_asgi_app(target, str(source), "http")
        return app, shortened(app, app)

    return served


def answer(app: Any, method: str, path: str, body: bytes) -> tuple[int, Any, bytes]:
    """Return status, headers and body of the answer to a request."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
    }
    sent: list[dict[str, Any]] = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, *parts = sent
    whole = b"".join(part.get("body", b"") for part in parts)
    return start["status"], sorted(start["headers"]), whole


class TestShorterWay:
    @pytest.mark.parametrize("body", [b"1", b"bad", b"broken", b"x" * 2000])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/"),
            ("GET", "/"),
            ("PUT", "/"),
            ("HEAD", "/"),
            ("POST", "/elsewhere"),
            ("HEAD", "/elsewhere"),
            ("POST", "/robots.txt"),
        ],
    )
    def test_answers_as_the_framework(self, method, path, body, application):
        """Whatever the method, the path, the answer or the failure."""
        framework, short = application("echoed")

        assert isinstance(short, Direct)
        assert answer(short, method, path, body) == answer(
            framework, method, path, body
        )

    @pytest.mark.parametrize("path", ["/", "/elsewhere"])
    @pytest.mark.parametrize("method", ["TRACE", "PROPFIND"])
    def test_answers_a_method_that_the_framework_refuses(
        self, method, path, application
    ):
        """In JSON, as all that a function refuses, and not in the framework's words."""
        framework, short = application("echoed")

        assert answer(framework, method, path, b"")[2] == b"Method Not Allowed"
        assert answer(short, method, path, b"")[2] == method.encode()

    def test_answers_a_target_that_is_no_path(self, application):
        """OPTIONS of the server itself has no route; the function refuses it."""
        framework, short = application("echoed")

        assert answer(framework, "OPTIONS", "*", b"")[2] == b"Not Found"
        assert answer(short, "OPTIONS", "*", b"")[2] == b"OPTIONS"

    @pytest.mark.parametrize("path", ["/favicon.ico", "/robots.txt"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_refuses_the_frameworks_own_pages_in_json(self, method, path, application):
        """What browsers and crawlers ask of any server; the function is not called."""
        framework, short = application("echoed")
        status, headers, body = answer(short, method, path, b"")

        assert status == answer(framework, method, path, b"")[0] == 404
        assert (b"content-type", b"application/json") in headers
        assert json.loads(body)["error"] == "no_such_path"

    def test_leaves_out_no_decorator_of_ours(self, application):
        """Only the framework's own wrappers are passed."""
        framework, short = application("wrapped")

        assert short is framework
        assert answer(short, "POST", "/", b"")[2] == b'"decorated"'

    def test_is_for_functions_that_answer_failures(self, application):
        """Another's exceptions and texts are the framework's business."""
        framework, short = application("plain")

        assert short is framework
        assert answer(short, "GET", "/", b"")[2] == b"text"

    def test_gives_way_to_execution_ids(self, application, monkeypatch):
        """Where log lines are to carry them, the framework's layers stay."""
        monkeypatch.setenv("LOG_EXECUTION_ID", "true")
        framework, short = application("echoed")

        assert short is framework


# Arguments: the source of functions. Reads requests, a list for each connection; prints
# the answers of the framework and of the shorter way, and how many messages it sent.
EXCHANGES = """
import asyncio, json, sys

import functions_framework.aio
from uvicorn import Config
from uvicorn.server import ServerState

from propensity.edges.asgi import Json
from propensity.edges.direct import shortened
from propensity.edges.protocol import JsonErrors

messages = 0
call = Json.__call__


async def counted(self, *arguments):
    global messages
    messages += 1
    await call(self, *arguments)


async def exchange(app, requests):
    config = Config(app, http=JsonErrors, ws="none", access_log=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today"), *config.encoded_headers]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: JsonErrors(config, state, {}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("".join(requests).encode())
    answers = await reader.read()
    writer.close()
    server.close()
    return answers.decode()


framework = functions_framework.aio.create_asgi_app("plainly", sys.argv[1], "http")
short = shortened(framework, framework)
assert short is not framework
for requests in json.load(sys.stdin):
    by_framework = asyncio.run(exchange(framework, requests))
    print("and")
    messages, Json.__call__ = 0, counted
    by_short = asyncio.run(exchange(short, requests))
    Json.__call__ = call
    print(json.dumps([by_framework, by_short, messages]))
"""
POST = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
CLOSING = f"{POST}Connection: close\r\n\r\n"
# Requests on one connection, and how many of their answers are messages of ASGI.
CONNECTIONS = (
    ([f"{CLOSING}1"], 1),
    ([f"{POST}\r\n1", f"{POST}\r\n2", f"{CLOSING}3"], 1),
    ([f"{POST}\r\n1", "HEAD / HTTP/1.0\r\n\r\n"], 1),
    ([f"{POST}Expect: 100-continue\r\n\r\n1", "GET / HTTP/1.0\r\n\r\n"], 1),
    ([f"{POST}\r\n?", f"{POST}\r\n1", f"{CLOSING}?"], 2),
)
CHUNKS = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
OFFER = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n"
WEBSOCKET = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
# Requests of which some offer another protocol.
OFFERS = (
    [f"{POST}{OFFER}\r\n1", f"{CLOSING}2"],
    [f"{CHUNKS}{OFFER}\r\n1\r\n1\r\n0\r\n\r\n", f"{CLOSING}2"],
    [f"GET / HTTP/1.1\r\nHost: x\r\n{OFFER}\r\n", f"{CLOSING}2"],
    [f"{POST}{OFFER}\r\n1"] * 1500 + [f"{CLOSING}2"],
    [f"{POST}{OFFER}\r\n1", f"{CHUNKS}{OFFER}\r\nZZ\r\n"],
    [f"{POST}{WEBSOCKET}\r\n1", f"{CLOSING}2"],
)


def without_offers(requests: list[str]) -> list[str]:
    return [one.replace(OFFER, "").replace(WEBSOCKET, "") for one in requests]


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory) -> list[Any]:
    """What the requests of each connection are answered, then those of each offer and
    of the same requests without."""
    source = tmp_path_factory.mktemp("source") / "main.py"
    source.write_text(SOURCE)
    requirements = ROOT / "04-StreamFeatures" / "requirements.txt"
    python = venvs.python_of(requirements, folder=LOCAL / "venvs", say=print)
    program = subprocess.run(
        [python, "-c", EXCHANGES, source],
        input=json.dumps(
            [requests for requests, _ in CONNECTIONS]
            + [part for offers in OFFERS for part in (offers, without_offers(offers))]
        ),
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    # Log lines of failures are on the same stream.
    exchanges, tasks = [], [0]
    for line in program.stdout.splitlines():
        if line == "followed":
            tasks[-1] += 1
        elif line == "and":
            tasks.append(0)
        elif line.startswith("["):
            exchanges.append([*json.loads(line), tasks])
            tasks = [0]
    return exchanges


class TestSingleWrite:
    """On connections to uvicorn, in the environment of a function."""

    @pytest.mark.parametrize("number", range(len(CONNECTIONS)))
    def test_writes_the_bytes_of_uvicorn(self, number, exchanged):
        """Kept alive, closed, pipelined, expected, failed."""
        framework, short, *_ = exchanged[number]

        assert "HTTP/1.1 200 OK" in short
        assert short == framework

    @pytest.mark.parametrize("number", range(len(CONNECTIONS)))
    def test_is_for_plain_answers(self, number, exchanged):
        """Another status goes by messages, and the last answer of a connection."""
        assert exchanged[number][2] == CONNECTIONS[number][1]

    @pytest.mark.parametrize("number", range(len(CONNECTIONS)))
    def test_waits_for_background_tasks(self, number, exchanged):
        """An instance that is told to end goes on until they are done: rows of the log
        are written behind the answers."""
        framework, short = exchanged[number][3]

        assert framework == short > 0


class TestOffers:
    """Of another protocol, which no function speaks: they change nothing."""

    @pytest.mark.parametrize("number", range(len(OFFERS)))
    def test_lose_no_body_and_no_request(self, number, exchanged):
        """Java's client offers HTTP/2; it is answered in HTTP/1.1, and goes on so."""
        first = len(CONNECTIONS) + 2 * number
        offered, plain = exchanged[first][1], exchanged[first + 1][1]

        assert plain.startswith("HTTP/1.1 ")
        assert offered == plain
