"""
A rehearsal of a deployment: a machine as it comes, a buildpack's launcher, and a Google
that refuses whatever is asked of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.deploy.scripts.conftest import cloud, project

__all__ = ["cloud", "project"]


class Refusing(ThreadingHTTPServer):
    """Answers every request as Google does where an account lacks the permission."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)
        self.asked: list[str] = []
        self.status = 403

    @property
    def environment(self) -> dict[str, str]:
        """What leads Google's clients here."""
        url = f"http://127.0.0.1:{self.server_port}"
        return {"BIGQUERY_EMULATOR_HOST": url, "STORAGE_EMULATOR_HOST": url}


class _Refusal(BaseHTTPRequestHandler):
    server: Refusing

    def refuse(self) -> None:
        self.server.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reason = "accessDenied" if self.server.status == 403 else "backendError"
        error = {"code": self.server.status, "message": "Access Denied: the resource"}
        error["errors"] = [{"reason": reason, "message": error["message"]}]
        body = json.dumps({"error": error}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = refuse

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@pytest.fixture
def google() -> Iterator[Refusing]:
    """A Google where the account has no permission; it records what is asked."""
    with Refusing() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
