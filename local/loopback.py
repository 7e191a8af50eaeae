"""
Servers for programs of this machine, and for no page of the web.

A page that is open in a browser can have a name of its own lead to 127.0.0.1. The
browser then sends that name as the Host, and the page's address as the Origin.

    python local/loopback.py 8090             serves the files of the working folder
    python local/loopback.py --target=NAME …  serves a function, as functions-framework
                                              does, whose other options it takes, too

The environment of functions starts it, so it needs the standard library alone.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import (
    BaseHTTPRequestHandler,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from pathlib import Path
from typing import Any

OWN = re.compile(r"(http://)?(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
REFUSAL = "This server answers programs of this machine alone: call it by 127.0.0.1."
STATUS = HTTPStatus.MISDIRECTED_REQUEST


def is_foreign(host: str | None, origin: str | None) -> bool:
    """Return whether a request's Host or Origin is not this machine."""
    names = [host or "", *([] if origin is None else [origin])]
    return not all(map(OWN.fullmatch, names))


class LoopbackHandler(BaseHTTPRequestHandler):
    """Rejects requests from other hosts or origins before anything else."""

    protocol_version = "HTTP/1.1"
    # Without this every small answer waits 40 ms for the client's delayed ACK.
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """Read the request line and the headers."""
        if not super().parse_request():
            return False
        if is_foreign(self.headers["Host"], self.headers["Origin"]):
            self.close_connection = True  # its body is not read
            self.send_error(STATUS, REFUSAL)
            return False
        return True

    def body(self) -> bytes:
        """Read the body of a request."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
        """Answer with bytes, or with JSON."""
        data, kind = content, "*/*"
        if not isinstance(content, bytes):
            data, kind = json.dumps(content).encode(), "application/json"
        self.send_response(status)
        about = {"Content-Type": kind, "Content-Length": str(len(data)), **headers}
        for name, value in about.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a line a request would bury what matters, and names users."""


class Pages(LoopbackHandler, SimpleHTTPRequestHandler):
    """Serves files."""


def refusing(app: Any) -> Any:
    """Return an ASGI application that rejects requests from other hosts or origins."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            names = dict(scope["headers"])
            host, origin = (
                names[name].decode("latin-1") if name in names else None
                for name in (b"host", b"origin")
            )
            if is_foreign(host, origin):
                await send({"type": "http.response.start", "status": STATUS.value})
                await send({"type": "http.response.body", "body": REFUSAL.encode()})
                return
        await app(scope, receive, send)

    return answer


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
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()
    serve_function()
