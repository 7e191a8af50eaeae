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
from deploy.functions import ROOT
from tests.deploy.conftest import ANSWER_S, serving
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


@pytest.mark.parametrize(
    ("statuses", "called", "exits_with"),
    [([200], 1, 0), ([409], 1, 1), ([503, 503, 200], 3, 0)],
    ids=["done", "refused", "asked to come again"],
)
def test_a_training_job_asks_until_it_is_answered(
    tmp_path, statuses, called, exits_with
):
    """Its program hands the request over without HTTP, and ends with 0 where the answer
    is 200. A training that waits for a day of the export is not over."""
    (tmp_path / "main.py").write_text(
        "import functions_framework\n"
        f"statuses = {statuses}\n"
        "@functions_framework.http\n"
        "def train(request):\n"
        "    print(request.method, request.get_json())\n"
        "    status = statuses.pop(0)\n"
        "    return {}, status, {'Retry-After': '1'} if status == 503 else {}\n"
    )
    program = (ROOT / "00-ModelTraining" / "job.py").read_text()
    command = [sys.executable, "-c", program, "train", '{"use_case": "mine"}']
    done = execute(command, cwd=tmp_path, status=exits_with)

    assert done.stdout.count("POST {'use_case': 'mine'}") == called
