"""
Servers for programs of this machine, and for no page of the web.

A page that is open in a browser can have a name of its own lead to 127.0.0.1. The
browser then sends that name as the Host, and the page's address as the Origin.

    python local/loopback.py 8090             serves the files of the working folder
    python local/loopback.py --target=NAME …  serves a function, as functions-framework
                                              does, whose other options it takes, too

The environment of functions starts it, so importing it needs the standard library
alone.
"""

from __future__ import annotations

import importlib
import re
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

OWN = re.compile(r"(http://)?(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
REFUSAL = "This server answers programs of this machine alone: call it by 127.0.0.1."
STATUS = HTTPStatus.MISDIRECTED_REQUEST


def is_foreign(host: str | None, origin: str | None) -> bool:
    """Return whether a request's Host or Origin is not this machine."""
    if host is None or not OWN.fullmatch(host):
        return True
    return origin is not None and not OWN.fullmatch(origin)


def refusing(app: Any) -> Any:
    """Return an ASGI application that rejects requests from other hosts or origins."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            texts = {
                name: value.decode("latin-1")
                for name, value in scope["headers"]
                if name in (b"host", b"origin")
            }
            if is_foreign(texts.get(b"host"), texts.get(b"origin")):
                await send({"type": "http.response.start", "status": STATUS.value})
                await send({"type": "http.response.body", "body": REFUSAL.encode()})
                return
        await app(scope, receive, send)

    return answer


def offset_of(content_range: str) -> int:
    """Return the place of a chunk's first byte; 0 of a chunk without any."""
    place = re.match(r"bytes (\d+)-", content_range)
    return int(place[1]) if place else 0


def serve(app: Any, port: int) -> None:
    """Serve an ASGI application to this machine only, until SIGTERM or SIGINT."""
    import uvicorn

    uvicorn.run(
        refusing(app),
        host="127.0.0.1",
        port=port,
        access_log=False,
        log_level="warning",
        # A client that goes on after a pause must not find its connection closed.
        timeout_keep_alive=60,
        timeout_graceful_shutdown=2,
    )


def serve_files(port: int) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    files = StaticFiles(directory=Path.cwd(), html=True)
    serve(Starlette(routes=[Mount("/", files)]), port)


def serve_function() -> None:
    """Run the function that the command line names, for this machine only."""
    import flask

    cli: Any = importlib.import_module("functions_framework._cli")
    # `python -m` puts the working folder here instead of this file's.
    sys.path[0] = str(Path.cwd())
    create = cli.create_server

    def refuse() -> tuple[str, int] | None:
        headers = flask.request.headers
        is_own = not is_foreign(headers.get("Host"), headers.get("Origin"))
        return None if is_own else (REFUSAL, STATUS.value)

    def create_guarded(app: Any, debug: bool) -> Any:
        if not isinstance(app, flask.Flask):
            return create(refusing(app), debug)
        app.before_request(refuse)
        return create(app, debug)

    cli.create_server = create_guarded
    cli._cli()


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        serve_files(int(sys.argv[1]))
    else:
        serve_function()
