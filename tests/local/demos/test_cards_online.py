"""The fraud part of the demo against a server that answers by a script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from local.demos.cards_online import Online


class Scripted(BaseHTTPRequestHandler):
    """Answers by a script, and then by its last line for ever."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[list[tuple[int, int | None]]] = []
    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.bodies.append(json.loads(self.rfile.read(length)))
        status, version = self.script[min(len(self.bodies), len(self.script)) - 1]
        body = json.dumps({"model_version": version}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server that follows the script."""
    Scripted.bodies = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


class TestOnline:
    def asked(self, url: str) -> Online:
        """Ask until the script is at its end, and once more."""
        online = Online(url, [{"V1": "1.0"}, {"V1": "2.0"}])
        online.start()
        while len(Scripted.bodies) <= len(Scripted.script):
            time.sleep(0.01)
        online.stop()
        return online

    def test_versions_are_told_in_their_order(self, server):
        """What came before anything served is no failure."""
        Scripted.script = [(409, None), (409, None), (200, 0), (200, 0), (200, 1)]
        online = self.asked(server)

        assert online.versions == [0, 1]
        assert online.too_early == 2
        assert "2 before anything served; 0 failed" in online.summary
        assert "answered by version 0, then 1" in online.summary
        assert [one["V1"] for one in Scripted.bodies[:3]] == ["1.0", "2.0", "1.0"]

    def test_failures_are_counted_by_what_they_were(self, server):
        """Nothing serving is a failure, too, once something did."""
        Scripted.script = [(200, 4), (503, None), (409, None), (200, 4)]
        online = self.asked(server)

        assert online.versions == [4]
        assert "2 failed {'503': 1, '409': 1}" in online.summary

    def test_a_server_that_is_not_there_is_a_failure(self):
        """And no end of the demo."""
        online = Online("http://127.0.0.1:9", [{}])
        online.start()
        while not online.statuses:
            time.sleep(0.01)
        online.stop()

        assert "answered by version none, - at the median" in online.summary
        assert "'ConnectionError'" in online.summary
