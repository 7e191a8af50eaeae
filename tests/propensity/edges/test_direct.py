"""
The shorter way, specified: what is answered is what the framework would have answered.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import functions_framework.aio
import pytest

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
            ("TRACE", "/"),
            ("POST", "/elsewhere"),
            ("GET", "/favicon.ico"),
            ("GET", "/robots.txt"),
        ],
    )
    def test_answers_as_the_framework(self, method, path, body, application):
        """Whatever the method, the path, the answer or the failure."""
        framework, short = application("echoed")

        assert isinstance(short, Direct)
        assert answer(short, method, path, body) == answer(
            framework, method, path, body
        )

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
