"""
Servers for programs of this machine, and for no page of the web.

A page that is open in a browser can have a name of its own lead to 127.0.0.1. The
browser then sends that name as the Host, and the page's address as the Origin.

    python -m local.loopback 8090     serves the files of the folder it is started in
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import (
    BaseHTTPRequestHandler,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from typing import Any
from urllib.parse import urlsplit

from local.processes import HOST

NAMES = {HOST, "localhost", "::1"}
REFUSAL = "This server answers programs of this machine alone: call it by 127.0.0.1."


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Tell whether a request has another Host or Origin than this machine."""
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname
        origin = urlsplit(headers.get("origin", f"http://{HOST}")).hostname
    except ValueError:
        return True
    return host not in NAMES or origin not in NAMES


class LoopbackHandler(BaseHTTPRequestHandler):
    """Refuses what is foreign before it looks at anything else."""

    def parse_request(self) -> bool:
        """Read the request line and the headers."""
        if not super().parse_request():
            return False
        headers = {name.lower(): value for name, value in self.headers.items()}
        if is_foreign(headers):
            self.close_connection = True  # its body is not read
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, REFUSAL)
            return False
        return True


class Pages(LoopbackHandler, SimpleHTTPRequestHandler):
    """Serves files."""


def refusing(app: Any) -> Any:
    """Return an ASGI application that refuses what is foreign."""
    from starlette.responses import PlainTextResponse

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            pairs = scope["headers"]
            headers = {
                name.decode("latin-1"): of.decode("latin-1") for name, of in pairs
            }
            if is_foreign(headers):
                status = HTTPStatus.MISDIRECTED_REQUEST
                await PlainTextResponse(REFUSAL, status)(scope, receive, send)
                return
        await app(scope, receive, send)

    return answer


if __name__ == "__main__":
    ThreadingHTTPServer((HOST, int(sys.argv[1])), Pages).serve_forever()
