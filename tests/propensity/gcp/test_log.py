"""The lines of the log (propensity/gcp/log.py)."""

from __future__ import annotations

import json
import sys

from propensity.gcp.log import log
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


class TestLog:
    def test_is_one_object_a_line(self, capsys):
        """Cloud Logging reads each line as a JSON object."""
        log("INFO", "trained", version=3)

        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line) == {
            "severity": "INFO",
            "message": "trained",
            "version": 3,
        }

    def test_keeps_lines_of_threads_apart(self):
        """Requests are answered by threads: no line is cut or joined by another's."""
        ran = execute([sys.executable, "-c", WRITERS])

        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        written = {(line["thread"], line["line"]) for line in lines}
        assert len(lines) == len(written) == THREADS * LINES
