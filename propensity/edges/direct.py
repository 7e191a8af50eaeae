"""
The way of a request to its function, without the layers that it does not need.

functions-framework serves a function through seven layers of its own and of Starlette:
routes, an execution id, handlers of errors. They take half of a small request's time,
and do nothing for a function that answers its own failures, but answer some requests in
words of their own: what browsers and crawlers ask of any server, and methods or targets
without a route. A request to such a function goes to it directly; the framework only
loads it.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import functions_framework
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from propensity.edges.single_write import is_written
from propensity.errors import NoSuchPath

Function = Callable[[Request], Awaitable[Response]]

_PATH = "/"
# Its answer has a length and no body, which is for the server's own way.
_BODILESS = "HEAD"
# Pages that the framework refuses by itself: no function is asked for them.
_PAGES = frozenset({"/robots.txt", "/favicon.ico"})
_READS = frozenset({"GET", "HEAD"})

_NO_PAGE = Response(
    json.dumps(NoSuchPath("nothing is served at this path").body()),
    NoSuchPath.status,
    media_type="application/json",
)

# Functions that answer their own failures.
_answering: set[Any] = set()


def answers_itself(function: Function) -> Function:
    """Say that a function answers every request, and raises nothing."""
    _answering.add(function)
    return function


class Direct:
    """An ASGI application, with a shorter way to its function."""

    def __init__(self, app: ASGIApp, function: Function) -> None:
        self._app = app
        self._function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer a request by the function itself.

        Also one of a method or to a target that the framework would refuse, in words
        of its own.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in _PAGES and scope["method"] in _READS:
            await _NO_PAGE(scope, receive, send)
        else:
            response = await self._function(Request(scope, receive, send))
            tail = getattr(response, "tail", b"")
            if not (tail and scope["method"] != _BODILESS and is_written(tail, send)):
                await response(scope, receive, send)
            elif response.background is not None:
                await response.background()


def shortened(app: ASGIApp, framework: Any) -> ASGIApp:
    """
    Return an application with the shorter way, or itself if its function needs more.

    Args:
        app: What the server calls.
        framework: The application of functions-framework in it.
    """
    # Log lines get their execution id from the framework's layers.
    if functions_framework._enable_execution_id_logging():  # type: ignore[no-untyped-call]
        return app
    for route in getattr(framework, "routes", ()):
        if getattr(route, "path", None) == _PATH:
            function = _answering_function(route.endpoint)
            return app if function is None else Direct(app, function)
    return app


def _answering_function(endpoint: Any) -> Function | None:
    """Return the function under the framework's wrappers; None under any other."""
    while endpoint not in _answering:
        wrapper = getattr(endpoint, "__globals__", {}).get("__name__", "")
        if wrapper.partition(".")[0] != functions_framework.__name__:
            return None
        endpoint = getattr(endpoint, "__wrapped__", None)
    function: Function = endpoint
    return function
