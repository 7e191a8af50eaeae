"""The lines of the log: one JSON object each, with its trace; counts of an instance."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from propensity.gcp.log import Counts, log, trace_of
from tests.programs import execute

TRACE, SPAN = "105445aa7843bc8bf206b12000100000", "00f067aa0ba902b7"
FIELD = "logging.googleapis.com/trace"
THREADS, LINES = 8, 500
WRITERS = f"""
import sys, threading
from propensity.gcp.log import log

sys.setswitchinterval(1e-6)
start = threading.Barrier({THREADS})

def write(thread):
    start.wait()
    for line in range({LINES}):
        log("INFO", "a line", thread=thread, line=line)

threads = [threading.Thread(target=write, args=(n,)) for n in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


class TestLog:
    def test_is_one_object_a_line(self, capsys):
        """Cloud Logging reads each line as a JSON object."""
        log("INFO", "trained", version=3)

        (line,) = capsys.readouterr().err.splitlines()
        assert json.loads(line) == {
            "severity": "INFO",
            "message": "trained",
            "version": 3,
        }

    def test_keeps_lines_of_threads_apart(self):
        """Requests are answered by threads: no line is cut or joined by another's."""
        ran = execute([sys.executable, "-c", WRITERS])

        lines = [json.loads(line) for line in ran.stderr.splitlines()]
        written = {(line["thread"], line["line"]) for line in lines}
        assert len(lines) == len(written) == THREADS * LINES


class TestTrace:
    def test_is_read_from_the_standard_header(self, monkeypatch):
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        header = f"00-{TRACE}-{SPAN}-01"

        assert trace_of(header) == {FIELD: f"projects/p/traces/{TRACE}"}
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
        assert trace_of(header) == {}

    @pytest.mark.parametrize(
        "value", ["", "00", f"00-{'0' * 32}-{SPAN}-01", TRACE[1:], "../../secrets"]
    )
    def test_is_none_where_the_header_is_not_one(self, value, monkeypatch):
        """Callers write headers; nothing of theirs is repeated as it came."""
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")

        assert trace_of(value) == {}


class TestCounts:
    async def test_are_one_line_of_all_that_was_counted(self, capsys):
        """Counts of many groups are logged together, dead letters by their reasons."""
        counts = Counts("streamFeatures")
        counts.add(rows_in=2, rows_out=2, appends=1)
        counts.add({"bad_time": 1}, rows_in=3, rows_out=2, appends=1, dead_letters=1)
        counts.write()
        counts.add(rows_in=1, rows_out=1, appends=1)
        counts.write()

        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line["severity"] for line in lines] == ["WARNING", "INFO"]
        assert (lines[0]["rows_in"], lines[0]["rows_out"]) == (5, 4)
        assert (lines[0]["appends"], lines[0]["dead_letters"]) == (2, 1)
        assert lines[0]["reasons"] == {"bad_time": 1}
        assert (lines[1]["rows_in"], "reasons" in lines[1]) == (1, False)

    async def test_are_logged_by_themselves(self, monkeypatch, capsys):
        """Whoever counts need not write: a line comes when its time is over."""
        monkeypatch.setattr("propensity.gcp.log.LOG_EVERY_S", 0.0)

        Counts("score").add(requests=2)
        await asyncio.sleep(0.01)

        [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert (line["function"], line["requests"]) == ("score", 2)
