"""
The start command of Google's Python buildpack, specified on the staged functions.

It starts ``functions-framework`` without an argument: what to serve, and on which port,
is in the environment. Whether a function is served asynchronously is then told by its
decorator alone.

Source: GoogleCloudPlatform/buildpacks, cmd/python/functions_framework/lib/lib.go.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest
import requests

from deploy import functions, stage
from local.processes import HOST
from tests.deploy.conftest import ANSWER_S, ROOT, serving
from tests.programs import execute

EVERY = functions.load()
WAITING = 12
# Longer than the timeout of a request in the test of a pause.
PAUSE_S = 3

HALF = (
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{"
)


@pytest.fixture
def started(request, tmp_path):
    """A function as the platform starts it: its address, its log, and what it is."""
    function, log = request.param, tmp_path / "log"
    staged = stage.stage(
        ROOT / function.folder,
        tmp_path / "staged",
        requirements=function.requirements,
        locked=True,
    )
    environment = {
        "K_SERVICE": function.target,
        "LOG_EXECUTION_ID": "true",
        "CLOUD_RUN_TIMEOUT_SECONDS": str(int(function.flags["timeout"])),
        "THREADS": "1",
    }
    program = Path(sys.executable).with_name("functions-framework")
    with serving(
        function, program=program, folder=staged, log=log, **environment
    ) as url:
        yield function, url, log


# One of each kind; tests of archives start all of them.
STARTED = ("get_proba", "model_evaluation")


def served(asynchronously):
    """Functions that are served in one of the two ways."""
    return [
        pytest.param(function, id=function.target)
        for function in EVERY
        if function.target in STARTED and function.is_asynchronous == asynchronously
    ]


class TestStart:
    @pytest.mark.parametrize("started", served(True), indirect=True)
    def test_serves_asynchronously(self, started):
        """While a dozen requests wait for their bodies, another is answered, although
        there is one thread: by uvicorn, from one event loop."""
        _, url, log = started
        port = int(url.rpartition(":")[2].strip("/"))
        half = [socket.create_connection((HOST, port)) for _ in range(WAITING)]
        try:
            for connection in half:
                connection.sendall(HALF)
            answer = requests.put(url, timeout=ANSWER_S)
        finally:
            for connection in half:
                connection.close()

        assert answer.status_code == 405
        assert answer.headers["server"] == "uvicorn"
        assert any("405" in line for line in lines_of(log))

    @pytest.mark.parametrize("started", served(False), indirect=True)
    def test_serves_with_threads(self, started):
        """The others are served by gunicorn, with as many threads as THREADS says; a
        line of the log stays one of JSON with the platform's execution id in it."""
        function, url, log = started

        answer = requests.put(url, timeout=ANSWER_S)

        assert answer.status_code == 405
        assert answer.headers["server"] == "gunicorn"
        [line, *_] = [json.loads(line) for line in lines_of(log) if "outcome" in line]
        assert line["outcome"] == "method_not_allowed"
        assert "logging.googleapis.com/labels" in line


def lines_of(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith("{")]


class TestJob:
    def test_runs_a_function_without_http(self, tmp_path):
        """The program of a training job hands the request over and ends with 0 where
        the answer is 200."""
        (tmp_path / "main.py").write_text(
            "import flask, functions_framework\n"
            "@functions_framework.http\n"
            "def train(request):\n"
            "    print(request.method, request.get_json())\n"
            "    return {}, request.get_json()['status']\n"
        )

        def run(status):
            program = (ROOT / "00-ModelTraining" / "job.py").read_text()
            body = json.dumps({"status": status})
            return execute(
                [sys.executable, "-c", program, "train", body],
                cwd=tmp_path,
                status=None,
            )

        good, bad = run(200), run(409)

        assert (good.returncode, bad.returncode) == (0, 1)
        assert "POST {'status': 200}" in good.stdout

    def test_asks_again_when_it_is_told_to(self, tmp_path):
        """A training that waits for a day of the export is not over."""
        (tmp_path / "main.py").write_text(
            "import functions_framework\n"
            "calls = []\n"
            "@functions_framework.http\n"
            "def train(request):\n"
            "    calls.append(1)\n"
            "    late = len(calls) < 3\n"
            "    print('call', len(calls))\n"
            "    headers = {'Retry-After': '1'} if late else {}\n"
            "    return {}, 503 if late else 200, headers\n"
        )
        program = (ROOT / "00-ModelTraining" / "job.py").read_text()

        result = execute([sys.executable, "-c", program, "train", "{}"], cwd=tmp_path)
        assert "call 3" in result.stdout
