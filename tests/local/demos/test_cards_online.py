"""The fraud part of the demo against a server that answers by a script."""

from __future__ import annotations

import json
import time

from local.demos.cards_online import Online
from tests.proxy import Asked, answering


class TestOnline:
    def ask(self, *script: tuple[int, int | None]) -> tuple[Online, list[Asked]]:
        """Ask a server until its script is at its end, and once more; the last line is
        its answer for ever."""

        def answer(request: Asked) -> tuple[int, bytes]:
            status, version = script[min(request.number, len(script) - 1)]
            return status, json.dumps({"model_version": version}).encode()

        with answering(answer) as server:
            online = Online(server.url, [{"V1": "1.0"}, {"V1": "2.0"}])
            online.start()
            while len(server.asked) <= len(script):
                time.sleep(0.01)
            online.stop()
            return online, server.asked

    def test_versions_are_told_in_their_order(self):
        """What came before anything served is no failure."""
        online, requests = self.ask(
            (409, None), (409, None), (200, 0), (200, 0), (200, 1)
        )

        assert online.versions == [0, 1]
        assert online.too_early == 2
        assert "2 before anything served; 0 failed" in online.summary
        assert "answered by version 0, then 1" in online.summary
        sent = [json.loads(request.body)["V1"] for request in requests[:3]]
        assert sent == ["1.0", "2.0", "1.0"]

    def test_failures_are_counted_by_what_they_were(self):
        """Nothing serving is a failure, too, once something did."""
        online, _ = self.ask((200, 4), (503, None), (409, None), (200, 4))

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
