"""
The start command of Google's Python buildpack, specified on a staged function, and the
program of a training job.

The buildpack starts ``functions-framework`` without an argument: what to serve, and on
which port, is in the environment. Whether a function is served asynchronously is then
told by its decorator alone.

Source: GoogleCloudPlatform/buildpacks, cmd/python/functions_framework/lib/lib.go.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import requests

from deploy import functions, stage
from tests.deploy.conftest import ANSWER_S, ROOT, serving
from tests.programs import execute

EVERY = {function.target: function for function in functions.load()}


# One of each kind; tests of archives start all of them.
@pytest.mark.parametrize(
    ("target", "server"), [("get_proba", "uvicorn"), ("model_evaluation", "gunicorn")]
)
def test_a_function_is_served_as_it_is_declared(tmp_path, target, server):
    """Asynchronously, or with threads; a line of the log stays one of JSON, with the
    platform's execution id in it."""
    function, log = EVERY[target], tmp_path / "log"
    staged = stage.stage(
        ROOT / function.folder,
        tmp_path / "staged",
        requirements=function.requirements,
        locked=True,
    )
    environment = {
        "K_SERVICE": target,
        "LOG_EXECUTION_ID": "true",
        "CLOUD_RUN_TIMEOUT_SECONDS": function.flags["timeout"],
        "THREADS": "1",
    }
    program = Path(sys.executable).with_name("functions-framework")
    with serving(
        function, program=program, folder=staged, log=log, **environment
    ) as url:
        answer = requests.put(url, timeout=ANSWER_S)
    text = log.read_text()

    assert answer.status_code == 405
    assert answer.headers["server"] == server
    lines = [json.loads(line) for line in text.splitlines() if line[:1] == "{"]
    assert "method_not_allowed" in [line.get("outcome") for line in lines]
    assert any("logging.googleapis.com/labels" in line for line in lines)


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
