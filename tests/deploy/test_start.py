"""
The start of what is deployed, specified: of a staged function, as Google's Python
buildpack starts it, and of the program of a training job.

The buildpack starts ``functions-framework`` without an argument: what to serve, and on
which port, is in the environment. Whether a function is served asynchronously is then
told by its decorator alone.

Source: GoogleCloudPlatform/buildpacks, cmd/python/functions_framework/lib/lib.go.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import requests

from deploy import functions, stage
from deploy.functions import ROOT, Function
from local.processes import spawn
from tests.functions.instances import Instance, python_of
from tests.programs import execute

EVERY = {function.target: function for function in functions.load()}
# Those that are deployed from the same files.
ARCHIVES: dict[tuple[str, str], list[str]] = {}
for one in EVERY.values():
    ARCHIVES.setdefault((one.folder, one.requirements), []).append(one.target)
RUNS_HERE = sys.version_info[:2] == (3, 11) and sys.platform == "linux"


def staged(function: Function, folder: Path) -> Path:
    return stage.stage(
        ROOT / function.folder,
        folder / "staged",
        requirements=function.requirements,
        locked=True,
    )


def check_served(function: Function, *, program: Path, folder: Path) -> None:
    """Serve a staged function as the platform does. It answers, asynchronously or with
    threads; a line of the log stays one of JSON, with the platform's execution id."""
    environment = {
        "PATH": os.environ["PATH"],
        # The buildpack and the platform set these.
        "FUNCTION_TARGET": function.target,
        "FUNCTION_SIGNATURE_TYPE": "http",
        "K_SERVICE": function.target,
        "LOG_EXECUTION_ID": "true",
        "CLOUD_RUN_TIMEOUT_SECONDS": function.flags["timeout"],
        "THREADS": "1",
        # It is deployed with these. Nothing listens at the endpoints.
        "GOOGLE_CLOUD_PROJECT": "p",
        "PROPENSITY_BUCKET": "bucket",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:9",
    }
    instance = Instance(function.target, environment, folder.parent)
    instance.process = spawn(
        function.target,
        [str(program)],
        environment={**environment, "PORT": str(instance.port)},
        folder=folder,
        port=instance.port,
        log=folder.with_name("log-0"),
    )
    with instance:
        instance.wait()
        answer = requests.put(instance.url, timeout=120)
    lines = instance.lines()

    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"
    server = "uvicorn" if function.is_asynchronous else "gunicorn"
    assert answer.headers["server"] == server
    assert "method_not_allowed" in [line.get("outcome") for line in lines]
    assert any("logging.googleapis.com/labels" in line for line in lines)


# One of each kind; tests of archives start all of them.
@pytest.mark.parametrize("target", ["get_proba", "compact_features"])
def test_a_function_is_served_as_it_is_declared(tmp_path, target):
    program = Path(sys.executable).with_name("functions-framework")
    folder = staged(EVERY[target], tmp_path)
    check_served(EVERY[target], program=program, folder=folder)


@pytest.mark.installs
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not RUNS_HERE, reason="locks are for CPython 3.11 on Linux")
@pytest.mark.parametrize("targets", ARCHIVES.values(), ids="-".join)
def test_an_archive_needs_nothing_else(targets, tmp_path):
    """Unpacked into an empty folder, installed into an empty environment under hash
    checking as the buildpack does: every function of it is served."""
    folder = staged(EVERY[targets[0]], tmp_path)
    venv = tmp_path / "venv"
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python"]
    install = [*pip, "install", "-q", "--require-hashes", "--only-binary=:all:"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", venv],
        [*install, "--no-deps", "--requirement", "requirements.txt", "--no-input"],
        [*pip, "check"],
    ):
        execute(command, cwd=folder)

    for target in targets:
        program = venv / "bin" / "functions-framework"
        check_served(EVERY[target], program=program, folder=folder)


@pytest.mark.parametrize(
    ("statuses", "called", "exits_with"),
    [([422], 1, 1), ([503, 503, 200], 3, 0), ([409] * 4, 3, 1)],
    ids=["refused", "asked to come again", "busy"],
)
def test_a_training_job_asks_until_it_is_answered(
    tmp_path, statuses, called, exits_with
):
    """Its program hands the request over without HTTP, and ends with 0 where the answer
    is 200. A training that waits for a day of the export is not over; another failure
    that may pass is tried twice more."""
    (tmp_path / "main.py").write_text(
        "import functions_framework\n"
        f"statuses = {statuses}\n"
        "@functions_framework.http\n"
        "def train(request):\n"
        "    print(request.method, request.get_json())\n"
        "    status = statuses.pop(0)\n"
        "    headers = {'Retry-After': '0'} if status == 503 else {}\n"
        "    return {'retryable': status in (409, 503)}, status, headers\n"
    )
    program = (ROOT / "00-ModelTraining" / "job.py").read_text()
    program = program.replace("[600, 1800]", "[0, 0]")
    command = [sys.executable, "-c", program, "train", '{"use_case": "mine"}']
    done = execute(command, cwd=tmp_path, status=exits_with)

    assert done.stdout.count("POST {'use_case': 'mine'}") == called


# Starts the function as the framework does, and says what it has not imported by then.
STARTED = """
import json, sys
from functions_framework import aio
aio.create_asgi_app("score", "main.py", "http")
heavy = ["google.cloud.bigquery", "pandas", "pyarrow", "sklearn"]
print(json.dumps([name for name in heavy if name not in sys.modules]))
"""


def test_what_takes_long_is_imported_before_the_instance_listens(tmp_path):
    """No request for a score waits for imports."""
    process = execute(
        [python_of("score"), "-c", STARTED],
        cwd=staged(EVERY["score"], tmp_path),
        env={"PATH": os.environ["PATH"]},
    )

    assert json.loads(process.stdout) == []
