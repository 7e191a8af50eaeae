"""The lines of the log: one JSON object each, with its trace; counts of an instance."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from propensity.gcp.log import Counts, trace_of
from tests.programs import execute

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


def test_a_line_is_one_object_whatever_other_threads_write():
    """Requests are answered by threads: no line is cut or joined by another's."""
    ran = execute([sys.executable, "-c", WRITERS])

    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    written = {(line["thread"], line["line"]) for line in lines}
    assert len(lines) == len(written) == THREADS * LINES
    assert {(line["severity"], line["message"]) for line in lines} == {
        ("INFO", "a line")
    }


@pytest.mark.parametrize(
    "value", ["", "00", f"00-{'0' * 32}-00f067aa0ba902b7-01", "../../secrets"]
)
def test_a_trace_is_none_where_the_header_is_not_one(value, monkeypatch):
    """Callers write headers; nothing of theirs is repeated as it came."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")

    assert trace_of(value) == {}


async def test_counts_are_one_line_of_all_that_was_counted(capsys, monkeypatch):
    """Counts of many groups are logged together, dead letters by their reasons; and
    whoever counts need not write."""
    monkeypatch.setattr("propensity.gcp.log.LOG_EVERY_S", 0.0)
    counts = Counts("streamFeatures")
    counts.add(rows_in=2, rows_out=2)
    counts.add({"bad_time": 1}, rows_in=3, rows_out=2, dead_letters=1)
    await asyncio.sleep(0.01)
    counts.add(rows_in=1)
    await asyncio.sleep(0.01)

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["function"], first["severity"]) == ("streamFeatures", "WARNING")
    assert (first["rows_in"], first["rows_out"], first["dead_letters"]) == (5, 4, 1)
    assert first["reasons"] == {"bad_time": 1}
    assert (second["severity"], second["rows_in"]) == ("INFO", 1)
    assert "reasons" not in second
