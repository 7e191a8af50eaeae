"""Threads behind the answers, specified: what becomes of a call that has none."""

from __future__ import annotations

import asyncio
import threading

import pytest

from propensity.errors import Unavailable
from propensity.waiting.threads import DaemonThreads, in_thread


class TestCall:
    async def test_gives_its_result_or_its_error(self):
        threads = DaemonThreads()
        assert await in_thread(threads, divmod, 7, 2) == (3, 1)

    async def test_without_a_thread_fails_as_if_it_had_been_made(self, monkeypatch):
        """Whoever waits behind it is told by its future, and goes on."""

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)

        future = in_thread(DaemonThreads(), divmod, 7, 2)
        with pytest.raises(Unavailable, match="no thread"):
            await future

    async def test_that_was_given_up_ends_in_peace(self, monkeypatch):
        """Nobody takes its result, and its thread prints nothing."""
        printed: list[object] = []
        monkeypatch.setattr(threading, "excepthook", printed.append)
        go_on, name = threading.Event(), "given up"

        future = in_thread(DaemonThreads(name), go_on.wait, 20)
        future.cancel()
        await asyncio.sleep(0)
        [thread] = [thread for thread in threading.enumerate() if thread.name == name]
        go_on.set()
        thread.join(20)

        assert printed == []
